"""Stored messages, in the reader's language.

Sentences of the engine stand in :mod:`mlcore.messages`, those of the application where they are raised. What is stored
is a code with values; what an earlier version stored as a finished sentence is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext

from mlcore.messages import Message


def translate_engine() -> None:
    """Have every message read in the language of the request, or of the worker."""
    Message.translate = staticmethod(gettext)


def message_text(stored: Mapping[str, Any] | str | None) -> str:
    """The sentence of a stored message; empty if there is none."""
    return str(Message.of(stored)) if stored else ""
