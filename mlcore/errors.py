"""The engine's error tree. A message says the value seen, the value allowed, and what to do about it."""

from __future__ import annotations


class EngineError(Exception):
    """Root of every error that the engine raises on purpose; its text is a sentence for a person."""


class InvalidInputError(EngineError):
    """The rows, labels or settings given can't be worked with."""


class ModelUnavailableError(EngineError):
    """A model can't be loaded or reached: wrong name, wrong token, forbidden format, host not allowed."""


class ModelCallError(EngineError):
    """One call to a model failed; trying again later may succeed."""


class StoppedError(EngineError):
    """The caller asked the work to stop before it was done."""


class BudgetSpentError(EngineError):
    """What is left of the budget does not cover one more call."""
