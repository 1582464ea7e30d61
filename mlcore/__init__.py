"""The engine of CORAL: pure Python, usable from a notebook, knowing nothing of the web application.

Names in ``__all__`` are its public interface. Each is loaded when it is first asked for: settings don't load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "mlcore.classifier.classifier": ("Classifier",),
    "mlcore.config": ("DistillConfig", "LlmConfig"),
    "mlcore.corpus": ("Corpus", "Distilled", "NoisyLabels", "Progress"),
    "mlcore.distill.distill": ("distill_labels",),
    "mlcore.label.annotate": ("label_rows", "self_annotate"),
    "mlcore.llm.model": ("open_model",),
    "mlcore.prompting.tasks": ("task_named",),
    "mlcore.records": ("NO_LABEL", "LabelSet", "Row"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
