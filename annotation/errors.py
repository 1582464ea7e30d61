"""The application's error tree. Every message is a sentence for a person: what was seen, what is allowed, what to do."""

from __future__ import annotations


class AnnotationError(Exception):
    """Root of the errors that a page or a command shows as a sentence."""


class InvalidFileError(AnnotationError):
    """An uploaded file, or its mapping, can't be imported."""


class NotReadyError(AnnotationError):
    """A step was asked for before what it needs is there."""


class BusyError(AnnotationError):
    """Another stage of the project is at work."""


class PausedError(AnnotationError):
    """The run can't go on now. ``retry_in``: seconds until it is tried again by itself; None waits for a person."""

    def __init__(self, sentence: str, *, retry_in: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_in = retry_in


class ConflictError(AnnotationError):
    """Someone else changed the same row meanwhile."""


class LeaseLostError(AnnotationError):
    """This worker no longer owns the stage; another one does, so nothing more may be written."""
