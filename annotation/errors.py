"""The application's errors. Each carries a message: what was seen, what is allowed, what to do.

To raise one: ``raise InvalidFileError("The file has %(rows)s rows.", rows=3)``. The English text is the message's code;
it is translated for whoever reads it, also where a worker stored it. See :mod:`annotation.messages`.
"""

from __future__ import annotations

from typing import Any

from mlcore.errors import MessageError
from mlcore.messages import Message


class AnnotationError(MessageError):
    """Root of the errors that a page or a command shows as a sentence."""


class InvalidFileError(AnnotationError):
    """An uploaded file, or its mapping, can't be imported."""


class NotReadyError(AnnotationError):
    """A step was asked for before what it needs is there."""


class BusyError(AnnotationError):
    """Another stage of the project is at work."""


class PausedError(AnnotationError):
    """The run can't go on now. ``retry_in``: seconds until it is tried again by itself; None waits for a person."""

    def __init__(self, message: Message | str, /, *, retry_in: float | None = None, **params: Any) -> None:
        super().__init__(message, **params)
        self.retry_in = retry_in


class ConflictError(AnnotationError):
    """Someone else changed the same row meanwhile."""


class LeaseLostError(AnnotationError):
    """This worker no longer owns the stage; another one does, so nothing more may be written."""
