"""Many chat calls in one file, which a server answers within a day for half the price: OpenAI's batch protocol.

https://platform.openai.com/docs/guides/batch; DashScope, Zhipu, vLLM's gateways and others speak it.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mlcore.config import LlmConfig
from mlcore.errors import EngineError, ModelCallError, ModelUnavailableError
from mlcore.llm.budget import Usage
from mlcore.llm.endpoint import failures
from mlcore.llm.endpoint.capabilities import Capabilities
from mlcore.llm.endpoint.chat import ChatClient
from mlcore.llm.endpoint.guard import HttpResponse
from mlcore.llm.endpoint.paid_calls import most_of_call
from mlcore.llm.endpoint.replies import label_distribution, read_reply, read_usage
from mlcore.messages import Message
from mlcore.prompting.answers import read_answer, read_confidence
from mlcore.records import NO_LABEL, Answer, LabelSet, Request

BATCH_ROWS = 10_000  # providers take 50,000; fewer are kept in memory when they come back
BATCH_BYTES = 45_000_000  # providers take 100 to 200 MB
FILE_BYTES = 200_000_000  # of a file of answers
CALL_SECONDS = 300.0
LISTED = 100
KEY = "coral_key"  # in the metadata, by which a batch is known again
ENDED = ("completed", "failed", "expired", "cancelled")
_VERSION = re.compile(r"/(v\d+)/chat/completions$")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is. ``said``: why the server would not take it."""

    status: str
    done: int = 0
    files: tuple[str, ...] = ()
    said: str = ""

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    def refusal(self) -> ModelUnavailableError:
        """What to raise where the server would not take the batch."""
        return ModelUnavailableError("batch_refused", said=self.said or self.status)


class BatchClient:
    """Submits batches to a server, and reads their answers.

    Args:
        config, token, headers, allowed_hosts: see :class:`mlcore.llm.endpoint.chat.ChatClient`.
        known: what an earlier run found out of the server.

    Raises:
        ModelUnavailableError: the address is not allowed; by every method: the server refuses what it does.
        ModelCallError: by every method: the server can't be reached for now.
    """

    def __init__(
        self,
        config: LlmConfig,
        *,
        token: str,
        headers: Mapping[str, str],
        allowed_hosts: Sequence[str],
        known: Capabilities | None,
    ) -> None:
        self._client = ChatClient(config, token=token, headers=headers, allowed_hosts=allowed_hosts)
        self._capabilities = replace(known or Capabilities(), stream="")
        self._runner = asyncio.Runner()

    def line(self, request: Request, labels: LabelSet) -> bytes:
        """The request as a line of the file."""
        version = _VERSION.search(self._client.url.partition("?")[0])
        line = {
            "custom_id": str(request.key),
            "method": "POST",
            "url": f"/{version[1] if version else 'v1'}/chat/completions",
            "body": self._client.body(request.prompt.text, labels=labels, capabilities=self._capabilities),
        }
        return json.dumps(line).encode() + b"\n"

    def most(self, request: Request, labels: LabelSet) -> Usage:
        """The most that the request can be charged for."""
        return most_of_call(request.prompt.text, labels, self._capabilities).by_batch()

    def submit(self, lines: Sequence[bytes], *, key: str) -> str:
        """Upload the lines and start a batch of them, marked with the key; return its id."""
        form, kind = _form(b"".join(lines), key)
        file = self._call("POST", "/files", body=form, kind=kind)
        endpoint = json.loads(lines[0])["url"]
        wanted = {"input_file_id": _text(file, "id"), "endpoint": endpoint, "completion_window": "24h"}
        batch = self._call("POST", "/batches", body=json.dumps(wanted | {"metadata": {KEY: key}}).encode())
        return _text(batch, "id")

    def find(self, key: str) -> str:
        """The id of the batch that was marked with this key, among the newest; empty if there is none."""
        listed = self._call("GET", f"/batches?limit={LISTED}")
        batches = listed.get("data") or []
        return next(
            (_text(batch, "id") for batch in batches if (batch.get("metadata") or {}).get(KEY) == key), ""
        )

    def look(self, batch_id: str) -> BatchState:
        batch = self._call("GET", f"/batches/{batch_id}")
        errors = (batch.get("errors") or {}).get("data") or []
        said = "; ".join(str(error.get("message") or error.get("code")) for error in errors[:3])
        files = (batch.get("output_file_id"), batch.get("error_file_id"))
        done = (batch.get("request_counts") or {}).get("completed") or 0
        return BatchState(_text(batch, "status"), int(done), tuple(filter(None, files)), said[:500])

    def cancel(self, batch_id: str) -> None:
        self._call("POST", f"/batches/{batch_id}/cancel")

    def answers(self, state: BatchState, labels: LabelSet) -> Iterator[tuple[Answer, Usage]]:
        """What the batch's files hold: an answer with an error for each call that failed, and what the calls took."""
        for file in state.files:
            response = self._run(self._client.call_beside("GET", f"/files/{file}/content", most=FILE_BYTES))
            for line in response.body.splitlines():
                if line.strip():
                    yield self._answer(json.loads(line), labels)

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def _answer(self, line: Any, labels: LabelSet) -> tuple[Answer, Usage]:
        key, response = int(line["custom_id"]), line.get("response") or {}
        status, completion = response.get("status_code") or 500, response.get("body")
        if line.get("error") or status >= 400:
            body = {"error": line["error"]} if line.get("error") else completion
            error = failures.ServerRefusedError(HttpResponse(status, {}, json.dumps(body).encode()))
            return Answer(key, NO_LABEL, None, "", self._judge(error).message), Usage()
        usage, reply = read_usage(completion).by_batch(), read_reply(completion)
        if reply is None or reply.refusal:
            message = Message("model_refused") if reply else failures.EMPTY.message
            return Answer(key, NO_LABEL, None, "", message), usage
        label = read_answer(reply.text, labels)
        probs = label_distribution(reply, labels) if label != NO_LABEL else None
        stated = None if probs is not None else read_confidence(reply.text)
        read, written = usage.tokens_in, usage.tokens_out
        return Answer(key, label, probs, reply.text, None, read, written, stated=stated), usage

    def _call(self, method: str, path: str, **sent: Any) -> Any:
        response = self._run(self._client.call_beside(method, path, most=FILE_BYTES, **sent))
        try:
            return dict(json.loads(response.body))
        except (ValueError, TypeError) as error:
            raise ModelUnavailableError("no_batches", path=path) from error

    def _run(self, call: Coroutine[Any, Any, _T]) -> _T:
        try:
            return self._runner.run(asyncio.wait_for(call, CALL_SECONDS))
        except EngineError:
            raise
        except Exception as error:
            failure = self._judge(error)
            if failure.kind in ("fatal", "refused", "row"):
                raise ModelUnavailableError(failure.message) from error
            raise ModelCallError(failure.message) from error

    def _judge(self, error: Exception) -> failures.Failure:
        client = self._client
        return failures.judge(
            error, deadline=CALL_SECONDS, sent=self._capabilities, url=client.url, secrets=client.secrets
        )


def _text(value: Mapping[str, Any], name: str) -> str:
    if not isinstance(value.get(name), str):
        raise ModelUnavailableError("no_batches", path=name)
    return str(value[name])


def _form(content: bytes, key: str) -> tuple[bytes, str]:
    """The upload as a form, and its content type."""
    mark = uuid.uuid4().hex
    purpose = f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="coral-{key}.jsonl"\r\n'
    body = f"{purpose}{head}Content-Type: application/jsonl\r\n\r\n".encode() + content
    return body + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"
