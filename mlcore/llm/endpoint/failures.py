"""What a failed call means: whether to repeat it, to leave something out, to give up on the row, or on the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import aiohttp

from mlcore.llm.endpoint.capabilities import Capabilities
from mlcore.llm.endpoint.dialect import adapted
from mlcore.llm.endpoint.guard import (
    AddressRefusedError,
    AnswerUnreadableError,
    HttpResponse,
    RedirectRefusedError,
)
from mlcore.llm.endpoint.rate_limit import retry_after
from mlcore.llm.endpoint.server_errors import ServerError, read_error
from mlcore.messages import Message

# transient: repeat later. limited: all calls wait. unreadable: repeat once. row: this row alone is refused.
# refused: the request's form may be the reason. fatal: no call can succeed.
Kind = Literal["transient", "limited", "unreadable", "row", "refused", "fatal"]

REFUSED_STATUS = (400, 403, 422)  # with a sentence of their own
_TRANSIENT = (408, 409, 425, 499)
_NO_CONNECTION = aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError

# Words of providers' error codes and messages, in small letters.
_FILTERED = re.compile(
    r"content[_ -]?(filter|polic|management|moderation|exists? risk|violation|safety)|responsible_?ai|data_?inspection"
    r"|data inspection|inappropriate (content|input)|sensitive (content|information|word|data)|moderation"
    r"|\b(input|request|prompt|content|text)\b[^.]{0,40}\b(flagged|blocked)|prohibited[_ ](content|use)"
    r"|safety (system|filter|reason|polic|check)|usage polic|risk control|敏感|违规|不合规|风控|内容安全"
)
_TOO_LONG = re.compile(
    r"context[_ ](length|window|size)|maximum context|(prompt|input|text|message|request)[^.]{0,40}too (long|large|many)"
    r"|too many (input )?tokens|exceed[^.]{0,40}(context|input|token limit|max(imum)? length)|string_above_max_length"
    r"|range of input length|超[出过长][^。]{0,12}长度"
)
_NO_CREDIT = re.compile(
    r"insufficient[_ ]?(quota|credit|balance|fund)|billing|payment required|arrear|overdue|欠费|余额|额度|credit_?balance"
    r"|\b(credits?|balance|prepaid|funds?)\b[^.]{0,40}(exhaust|insufficient|too low|deplet|run out|not enough|used up|required)"
    r"|(out of|no|not enough|more|lack) (credit|balance|fund)|quota[^.]{0,40}(exceed|exhaust|used up)|exceed[^.]{0,40}quota"
    r"|(spend(ing)?|monthly|usage) (limit|cap)|hard limit"
)
_PASSING = re.compile(
    r"per[ -]?(second|minute|hour)|retry|rate[ _-]?limit|\b[rt]pm\b|too many requests|try again|concurren|overload|throttl"
    r"|requests? per|速率|频率|并发|稍后"
)
_PER_DAY = re.compile(r"per[ -_]?day|daily|每日|每天")
_TOKEN = re.compile(
    r"(invalid|incorrect|missing|wrong|expired|revoked|no|bad)[^.]{0,25}(api[_ -]?key|access token|credential|subscription key)"
    r"|api[_ -]?key[^.]{0,40}(invalid|not valid|expired|incorrect|missing|revoked|disabled|wrong|required)"
    r"|invalid_api_key|authenticat|unauthori[sz]ed|令牌|密钥"
)
_MODEL = re.compile(
    r"model_?(not_?found|not_?exist)|no such model|(unknown|invalid) model|not a valid model|模型不存在"
    r"|model\b[^.]{0,80}(does ?n[o']t exist|not exist|not found|not be found|is unknown|decommission|no longer|deprecated"
    r"|not available|unavailable|not loaded)|no endpoints found for"
)


NO_ERROR = ServerError(status=0)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call. ``wait``: seconds that the server asked for; ``error``: what the server told, or ``NO_ERROR``."""

    kind: Kind
    message: Message
    wait: float | None = None
    error: ServerError = NO_ERROR


EMPTY = Failure("unreadable", Message("no_answer_text"))


class ServerRefusedError(Exception):
    """The server answered with an error: by its status, or in the body of a status 200."""

    def __init__(self, response: HttpResponse, *, error: ServerError | None = None) -> None:
        super().__init__(f"status {response.status}")
        self.error = error or read_error(response.status, response.body)
        self.wait = retry_after(response.headers.get("Retry-After"))


def is_free(error: BaseException) -> bool:
    """Whether a call that failed so costs nothing for sure: it was refused with a status, or never left."""
    return isinstance(error, ServerRefusedError | AddressRefusedError | aiohttp.InvalidURL | _NO_CONNECTION)


def judge(
    error: Exception,
    *,
    deadline: float,
    sent: Capabilities | None = None,
    url: str = "",
    secrets: Sequence[str] = (),
) -> Failure:
    """Say what a call's error means; errors that are faults of our own are raised again.

    Args:
        deadline: seconds that the call was given.
        sent: the parameters that went with it.
        url: what was called.
        secrets: what is never shown, wherever the server repeats it.
    """
    if isinstance(error, ServerRefusedError):
        kind, message = _kind(error.error, sent or Capabilities(), url, asked_to_wait=error.wait is not None)
        if said := error.error.shown(secrets):
            message = Message("server_said", {"sentence": message, "said": said})
        return Failure(kind, message, error.wait, error.error)
    if isinstance(error, RedirectRefusedError | AddressRefusedError):
        return Failure("fatal", error.message)
    if isinstance(error, AnswerUnreadableError):
        return Failure("unreadable", error.message)
    if isinstance(error, aiohttp.ClientError | OSError):
        return _judge_connection(error, deadline)
    if isinstance(error, ValueError | TypeError | AttributeError | KeyError | RecursionError):
        # A body that is not JSON, or JSON of another shape, or nested without end.
        return Failure("unreadable", Message("not_a_chat_server"))
    raise error


def _judge_connection(error: aiohttp.ClientError | OSError, deadline: float) -> Failure:
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
    if isinstance(error, aiohttp.ClientError):
        return Failure("transient", Message("connection_broke", {"kind": type(error).__name__}))
    return Failure("transient", Message("connection_failed", {"kind": type(error).__name__}))


def _kind(error: ServerError, sent: Capabilities, url: str, *, asked_to_wait: bool) -> tuple[Kind, Message]:
    """The kind and our own sentence. Code and words come before the status, since providers differ in that."""
    words, status, is_client_error = error.words, {"status": error.status}, error.status < 500
    if is_client_error and error.status not in (401, 402, 429) and _FILTERED.search(words):
        return "row", Message("content_filtered")
    is_passing = asked_to_wait or _PASSING.search(words) is not None
    is_quota = _NO_CREDIT.search(words) and (not is_passing or "insufficient_quota" in words)
    is_daily = error.status == 429 and _PER_DAY.search(words)
    if error.status == 402 or (is_client_error and (is_quota or is_daily)):
        return "fatal", Message("no_credit", status)
    if error.status == 429 or (error.status == 200 and is_passing):
        return "limited", Message("http_429")
    if error.status == 401 or (error.status in (200, 400, 403) and _TOKEN.search(words)):
        return "fatal", Message("token_refused", status)
    if adapted(sent, error) != sent:
        return "refused", _refusal(error, url)
    if error.status == 413 or (is_client_error and _TOO_LONG.search(words)):
        return "row", Message("http_413")
    if is_client_error and _MODEL.search(words):
        return "fatal", Message("model_unknown", status)
    if error.status >= 500 or error.status == 200 or error.status in _TRANSIENT:
        return "transient", Message("server_failed", status)
    return "refused", _refusal(error, url)


def _refusal(error: ServerError, url: str) -> Message:
    if error.status == 404:
        return Message("http_404", {"url": url.partition("?")[0]})
    if error.status in REFUSED_STATUS:
        return Message(f"http_{error.status}")
    return Message("request_refused", {"status": error.status})
