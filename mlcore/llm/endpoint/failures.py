"""What a failed call means: whether to repeat it, to give up on the row, or to give up on the model.

Messages hold the status and our own words, never the server's: its answer may come from an inner system, or repeat a
secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import aiohttp
import httpx2
from huggingface_hub.errors import HfHubHTTPError

from mlcore.llm.endpoint.capabilities import ServerRefusedError
from mlcore.llm.endpoint.guard import AddressRefusedError, AnswerUnreadableError, RedirectRefusedError
from mlcore.llm.endpoint.rate_limit import retry_after
from mlcore.messages import Message

Kind = Literal["transient", "limited", "unreadable", "row", "refused", "fatal"]

FATAL_STATUS = (400, 401, 402, 403, 404, 422)
_TRANSIENT = (408, 409, 425)
# httpx2 is what the hub's client asks the hub with, for a model's provider.
_NO_CONNECTION = (
    aiohttp.ClientConnectorError
    | aiohttp.ConnectionTimeoutError
    | httpx2.ConnectError
    | httpx2.ConnectTimeout
)
_SCHEMA_WORDS = ("response_format", "json_schema", "grammar", "guided", "structured")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call. ``wait``: seconds that the server asked for; ``names``: which extras it complained about."""

    kind: Kind
    message: Message
    wait: float | None = None
    names: tuple[str, ...] = ()


EMPTY = Failure("unreadable", Message("no_answer_text"))


def is_free(error: BaseException) -> bool:
    """Whether a call that failed so costs nothing for sure: it was refused with a status, or never left."""
    return isinstance(
        error, ServerRefusedError | HfHubHTTPError | AddressRefusedError | aiohttp.InvalidURL | _NO_CONNECTION
    )


def judge(error: Exception, *, deadline: float) -> Failure:
    """Say what a call's error means; errors that are faults of our own are raised again."""
    if isinstance(error, ServerRefusedError):
        said = error.response
        return _judge_status(said.status, said.headers.get("Retry-After"), said.body.decode(errors="replace"))
    if isinstance(error, HfHubHTTPError):
        told = error.response
        return _judge_status(told.status_code, told.headers.get("Retry-After"), told.text)
    if isinstance(error, RedirectRefusedError | AddressRefusedError):
        return Failure("fatal", error.message)
    if isinstance(error, AnswerUnreadableError):
        return Failure("unreadable", error.message)
    if isinstance(error, aiohttp.InvalidURL):
        return Failure("fatal", Message("unreachable"))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Failure("fatal", Message("untrusted_certificate"))
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return Failure("transient", Message("no_secure_connection"))
    if isinstance(error, _NO_CONNECTION):
        return Failure("transient", Message("unreachable"))
    if isinstance(error, TimeoutError):
        return Failure("transient", Message("timed_out", {"seconds": deadline}))
    if isinstance(error, aiohttp.ClientError | httpx2.TransportError):
        return Failure("transient", Message("connection_broke", {"kind": type(error).__name__}))
    if isinstance(error, OSError):
        return Failure("transient", Message("connection_failed", {"kind": type(error).__name__}))
    if isinstance(error, ValueError | TypeError | AttributeError | KeyError | RecursionError):
        # What the hub's client raises on a body that is not JSON, or JSON of another shape, or nested without end.
        return Failure("unreadable", Message("not_a_chat_server"))
    raise error


def _judge_status(status: int, asked_to_wait: str | None, body: str) -> Failure:
    wait = retry_after(asked_to_wait)
    if status == 429:
        return Failure("limited", Message("http_429"), wait=wait)
    if status >= 500 or status in _TRANSIENT:
        return Failure("transient", Message("server_failed", {"status": status}), wait=wait)
    if status == 413:
        return Failure("row", Message("http_413"))
    message = (
        Message(f"http_{status}")
        if status in FATAL_STATUS
        else Message("request_refused", {"status": status})
    )
    if status in (400, 422):
        return Failure("refused", message, names=_complaints(body))
    return Failure("fatal", message)


def _complaints(body: str) -> tuple[str, ...]:
    body = body[:20_000].lower()
    schema = ("schema",) if any(word in body for word in _SCHEMA_WORDS) else ()
    return (*schema, "logprobs") if "logprob" in body else schema
