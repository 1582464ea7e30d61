"""Read settings from the environment: typed, documented, failing loudly on a bad value.

Every call registers its setting in :data:`SETTINGS`; docs/settings.md is made from that list.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable of the program, as docs/settings.md has it."""

    name: str
    default: str
    meaning: str


SETTINGS: list[Setting] = []

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def _read(name: str, default: T, meaning: str, shown: str | None, parse: Callable[[str], T]) -> T:
    SETTINGS.append(Setting(name, str(default) if shown is None else shown, meaning))
    raw = os.environ.get(name)
    return default if raw is None else parse(raw)


def env_str(name: str, default: str, meaning: str, *, shown: str | None = None) -> str:
    return _read(name, default, meaning, shown, str.strip)


def env_list(name: str, default: list[str], meaning: str) -> list[str]:
    def parse(raw: str) -> list[str]:
        return [part.strip() for part in raw.split(",") if part.strip()]

    return _read(name, default, meaning, ", ".join(default) or "(empty)", parse)


def env_bool(name: str, default: bool, meaning: str) -> bool:
    def parse(raw: str) -> bool:
        if raw.strip().lower() in _TRUE:
            return True
        if raw.strip().lower() in _FALSE:
            return False
        raise ImproperlyConfigured(f"{name} is {raw!r}; allowed are 1/0, true/false, yes/no, on/off.")

    return _read(name, default, meaning, "on" if default else "off", parse)


def env_int(name: str, default: int, meaning: str, *, minimum: int = 0) -> int:
    def parse(raw: str) -> int:
        try:
            value = int(raw)
        except ValueError:
            raise ImproperlyConfigured(f"{name} is {raw!r}; it must be a whole number.") from None
        if value < minimum:
            raise ImproperlyConfigured(f"{name} is {value}; it must be at least {minimum}.")
        return value

    return _read(name, default, meaning, None, parse)
