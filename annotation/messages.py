"""Messages of the application: made where something is to be told, stored, and read in the reader's language.

The sentences of the engine stand in :mod:`mlcore.messages`. A sentence of the application stands where it is used, as the
first argument of :func:`message`, of an error of :mod:`annotation.errors` or of ``Notes.notice``; our makemessages command
collects it from there. Whole numbers are shown with thousands separators, so placeholders are always ``%(name)s``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext

from mlcore.messages import Message

#: What marks its first argument for translation, besides gettext and its like.
KEYWORDS = (
    "message",
    "notice",
    "AnnotationError",
    "InvalidFileError",
    "NotReadyError",
    "BusyError",
    "PausedError",
    "ConflictError",
    "LeaseLostError",
)


def message(text: str, /, **params: Any) -> Message:
    """A message that is its own code: an English text with the values that belong into it."""
    return Message(text, params)


def message_text(stored: Mapping[str, Any] | str | None) -> str:
    """The sentence of a stored message; empty if there is none."""
    return str(Message.of(stored)) if stored else ""


def translate_messages() -> None:
    """Have every message read in the language of the request, or of the worker."""
    Message.translate = staticmethod(gettext)
