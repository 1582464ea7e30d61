"""Language models behind one protocol: weights on this machine, or an endpoint that speaks the chat protocol."""

from __future__ import annotations

from mlcore.llm.model import LanguageModel, open_model

__all__ = ["LanguageModel", "open_model"]
