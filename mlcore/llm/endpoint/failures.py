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

Kind = Literal["transient", "limited", "unreadable", "row", "refused", "fatal"]

_SENTENCES = {
    400: "The server refused the request (400). Check the model's name and the server's settings.",
    401: "The server refused the token (401). Give a valid token in the LLM settings.",
    402: "The account has no credit left (402). Top it up, or use another token.",
    403: "The token may not use this model (403). Use another token, or ask for access to the model.",
    404: "The server has no such model or address (404). Check the model's name and the address.",
    422: "The server can't work with the request (422). Check the model's name and the server's settings.",
}
_UNREACHED = "The server can't be reached. Check that it runs, and its address."
_NOT_SECURE = (
    "No secure connection could be made. Check whether the server's address begins with https or http."
)
_UNTRUSTED = "The server's certificate can't be trusted, so nothing was sent. Check the address, or have its certificate mended."
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
    message: str
    wait: float | None = None
    names: tuple[str, ...] = ()


EMPTY = Failure("unreadable", "The server's answer held no text. Check that the model can chat.")


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
        return Failure("fatal", f"{error} Check the server's address.")
    if isinstance(error, AnswerUnreadableError):
        return Failure("unreadable", str(error))
    if isinstance(error, aiohttp.InvalidURL):
        return Failure("fatal", _UNREACHED)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Failure("fatal", _UNTRUSTED)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return Failure("transient", _NOT_SECURE)
    if isinstance(error, _NO_CONNECTION):
        return Failure("transient", _UNREACHED)
    if isinstance(error, TimeoutError):
        return Failure("transient", f"The server did not answer within {deadline:g} seconds.")
    if isinstance(error, aiohttp.ClientError | httpx2.TransportError):
        return Failure("transient", f"The connection broke ({type(error).__name__}).")
    if isinstance(error, OSError):
        return Failure("transient", f"The connection failed ({type(error).__name__}).")
    if isinstance(error, ValueError | TypeError | AttributeError | KeyError | RecursionError):
        # What the hub's client raises on a body that is not JSON, or JSON of another shape, or nested without end.
        return Failure("unreadable", "The server's answer is not what a chat server sends.")
    raise error


def _judge_status(status: int, asked_to_wait: str | None, body: str) -> Failure:
    wait = retry_after(asked_to_wait)
    if status == 429:
        return Failure("limited", "The server asks for fewer calls (429).", wait=wait)
    if status >= 500 or status in _TRANSIENT:
        return Failure("transient", f"The server failed ({status}).", wait=wait)
    if status == 413:
        return Failure("row", "The row is too long for the server (413). Shorten it.")
    message = _SENTENCES.get(status, f"The server refused the request ({status}).")
    if status in (400, 422):
        return Failure("refused", message, names=_complaints(body))
    return Failure("fatal", message)


def _complaints(body: str) -> tuple[str, ...]:
    body = body[:20_000].lower()
    schema = ("schema",) if any(word in body for word in _SCHEMA_WORDS) else ()
    return (*schema, "logprobs") if "logprob" in body else schema
