from __future__ import annotations

from typing import Any


class CoralError(Exception):
    """What the server refused.

    Attributes:
        status: of the answer, such as 404.
        code: a word for programs, such as ``busy``.
        fields: of values that are not allowed, what is wrong with each.
    """

    def __init__(self, sentence: str, *, status: int = 0, code: str = "", fields: Any = None) -> None:
        super().__init__(sentence)
        self.status, self.code, self.fields = status, code, fields or {}
