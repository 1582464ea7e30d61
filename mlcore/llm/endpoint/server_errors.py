"""What a server says when it refuses a call, in the shapes that servers use, and which kind of refusal it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN_CHARACTERS = 300
READ_CHARACTERS = 20_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
# What looks like a key: a scheme's credentials, a known prefix, or a long run of letters and digits of both kinds.
_SECRET = re.compile(
    r"(?i:bearer|basic)\s+\S+|\b(?:sk|hf|gsk|xai|key|pk)[-_][\w*.-]{6,}|\bAIza[\w-]{10,}"
    r"|\beyJ[\w-]+\.[\w.-]+|\b(?=\w*\d)(?=\w*[A-Za-z])\w{32,}\b"
)


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error as a server told it.

    Attributes:
        status: the HTTP status, or the one that the body names in a response of status 200.
        code, type, param: as in OpenAI's error object; empty where the server doesn't tell.
        text: the message, or the whole body where it has no known shape.
    """

    status: int
    code: str = ""
    type: str = ""
    param: str = ""
    text: str = ""

    @property
    def words(self) -> str:
        """All that was told, in small letters, to look for words in."""
        return f"{self.code} {self.type} {self.param} {self.text}".lower()

    def shown(self, secrets: Iterable[str]) -> str:
        """Code, type, parameter and message for a person: on one line, shortened, without what may open a server."""
        told = [value for value in (self.code, self.type, self.param) if value and value != str(self.status)]
        text = ": ".join(filter(None, [", ".join(dict.fromkeys(told)), self.text]))
        for secret in secrets:
            if len(secret) >= 4:
                text = text.replace(secret, "…")
        text = " ".join(_CONTROL.sub(" ", _SECRET.sub("…", text)).split())
        return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1].rstrip() + "…"


def read_error(status: int, body: bytes) -> ServerError:
    """The error in the body of a refusal."""
    text = body[:READ_CHARACTERS].decode(errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ServerError(status, text=re.sub(r"<[^>]*>", " ", text))
    return _error(value, status) or ServerError(status, text=text)


def error_in_completion(completion: Any) -> ServerError | None:
    """The error in a response of status 200, or None if there is none."""
    if isinstance(completion, list):
        completion = completion[0] if completion else {}
    if not isinstance(completion, dict):
        return None
    choices = completion.get("choices")
    if isinstance(choices, list) and choices:
        first = choices[0]
        told = first.get("error") if isinstance(first, dict) else None
        return _error({"error": told}, 200) if told else None
    base = completion.get("base_resp")  # MiniMax
    if isinstance(base, dict) and base.get("status_code"):
        return ServerError(status=200, code=str(base["status_code"]), text=str(base.get("status_msg", "")))
    is_error = (
        completion.get("error")
        or completion.get("errors")
        or completion.get("object") == "error"
        or isinstance(completion.get("message"), str)  # Ollama's own protocol has a dict there
        or completion.get("detail")
    )
    return _error(completion, 200) if is_error else None


def _error(value: Any, status: int) -> ServerError | None:
    """The error of a parsed body; None if it holds none of the known shapes."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    inner = value.get("error") or value.get("errors") or value.get("detail") or value
    if isinstance(inner, list):
        inner = inner[0] if inner else {}
    if isinstance(inner, str):
        inner = value | {"message": ": ".join(filter(None, [inner, _text(value.get("message"))]))}
    if not isinstance(inner, dict):
        return None
    code = _text(
        inner.get("code") or inner.get("error_code") or inner.get("errorCode") or inner.get("status")
    )
    param = inner.get("param") or inner.get("loc")
    if isinstance(param, list):  # FastAPI's path to a field
        param = ".".join(str(part) for part in param)
    return ServerError(
        _status(inner, status),
        code=code,
        type=_text(inner.get("type")),
        param=_text(param),
        text=_message(inner) or json.dumps(value, ensure_ascii=False),
    )


def _message(inner: Mapping[str, Any]) -> str:
    names = ("message", "msg", "errorMessage", "error_description", "title")
    text = next((_text(inner[name]) for name in names if _text(inner.get(name))), "")
    metadata = inner.get("metadata")  # OpenRouter: what the provider behind it said
    raw = _text(metadata.get("raw")) if isinstance(metadata, dict) else ""
    return f"{text} {raw}".strip()


def _status(inner: Mapping[str, Any], status: int) -> int:
    """The status that the error itself names, where the response's own says nothing."""
    for name in ("code", "status", "status_code"):
        value = str(inner.get(name, ""))
        if status == 200 and value.isdigit() and 400 <= int(value) <= 599:
            return int(value)
    return status


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None or isinstance(value, bool) else str(value)
