"""Records of other tools as rows; each tool knows its own."""

from __future__ import annotations

from typing import Any

from annotation.files.tools import argilla, doccano, label_studio, prodigy

_TOOLS = (label_studio.flatten, argilla.flatten, doccano.flatten, prodigy.flatten)


def flatten_record(value: Any) -> Any:
    """The record as one flat object, if a tool that CORAL knows wrote it; anything else as it is."""
    if not isinstance(value, dict):
        return value
    return next((row for flatten in _TOOLS if (row := flatten(value)) is not None), value)
