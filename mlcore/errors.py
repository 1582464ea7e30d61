"""The engine's errors. Each carries a message (:mod:`mlcore.messages`): the value seen, the value allowed, what to do."""

from __future__ import annotations

from typing import Any

from mlcore.messages import Message


class MessageError(Exception):
    """An error whose text is a message: its code and the values in it, or a message made before."""

    def __init__(self, message: Message | str, /, **params: Any) -> None:
        self.message = message if isinstance(message, Message) else Message(message, params)
        super().__init__(self.message)


class EngineError(MessageError):
    """Root of every error that the engine raises on purpose."""


class InvalidInputError(EngineError):
    """The rows, labels or settings given can't be worked with."""


class ModelUnavailableError(EngineError):
    """A model can't be loaded or reached: wrong name, wrong token, forbidden format, host not allowed."""


class ModelCallError(EngineError):
    """One call to a model failed; trying again later may succeed."""


class StoppedError(EngineError):
    """The caller asked the work to stop before it was done."""

    def __init__(self) -> None:
        super().__init__("stopped")


class BudgetSpentError(EngineError):
    """What is left of the budget does not cover one more call."""
