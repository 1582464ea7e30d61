"""A chat server that takes batches as well, by OpenAI's protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.fake_llm import Call, Script, Step, fails


@dataclass
class BatchServer:
    """Answers chat calls by a script; batches do the same once :attr:`is_working`.

    ``tokens``: what was billed, by plain calls and by batches. ``lost``: how many submissions arrive and get no answer.
    ``refused``: what it says of every batch that it does not take.
    """

    chat: Script
    is_working: bool = True
    lost: int = 0
    refused: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=lambda: {"plain": 0, "batch": 0})

    def __call__(self, number: int, call: Call) -> Step:
        parts = call.path.partition("?")[0].strip("/").split("/")[1:]
        if parts[:1] == ["chat"]:
            step = self.chat(number, call)
            self._bill("plain", step)
            return step
        if call.method == "POST" and parts == ["files"]:
            self.files[f"file-{len(self.files)}"] = call.body.split(b"\r\n\r\n", 2)[2].rpartition(b"\r\n--")[
                0
            ]
            return self._json({"id": f"file-{len(self.files) - 1}"})
        if parts[:1] == ["files"]:
            return Step(body=self.files[parts[1]])
        if parts == ["batches"]:
            return (
                self._submit(call)
                if call.method == "POST"
                else self._json({"data": list(self.batches.values())})
            )
        batch = self.batches.get(parts[1]) if len(parts) > 1 else None
        if batch is None:
            return fails(404, "no such path")
        if parts[-1] == "cancel" and batch["status"] == "in_progress":
            batch["status"] = "cancelled"
        elif self.is_working and batch["status"] == "in_progress":
            self._work(batch)
        return self._json(batch)

    def _submit(self, call: Call) -> Step:
        batch = {"id": f"batch-{len(self.batches)}", "status": "in_progress", **call.json}
        if self.refused:
            batch |= {"status": "failed", "errors": {"data": [{"code": "bad", "message": self.refused}]}}
        self.batches[batch["id"]] = batch
        if self.lost:
            self.lost -= 1
            return Step(reset=True)
        return self._json(batch)

    def _work(self, batch: dict[str, Any]) -> None:
        out: list[str] = []
        errors: list[str] = []
        for text in self.files[batch["input_file_id"]].splitlines():
            line = json.loads(text)
            step = self.chat(0, Call(line["url"], {}, line["body"]))
            response = {"status_code": step.status, "body": json.loads(step.body)}
            (out if step.status == 200 else errors).append(
                json.dumps({"custom_id": line["custom_id"], "response": response, "error": None})
            )
            self._bill("batch", step)
        for name, lines in (("output_file_id", out), ("error_file_id", errors)):
            batch[name] = f"file-{len(self.files)}"
            self.files[batch[name]] = "\n".join(lines).encode()
        batch |= {"status": "completed", "request_counts": {"completed": len(out), "failed": len(errors)}}

    def _bill(self, kind: str, step: Step) -> None:
        if step.status == 200:
            self.tokens[kind] += json.loads(step.body)["usage"]["total_tokens"]

    @staticmethod
    def _json(value: Any) -> Step:
        return Step(body=json.dumps(value).encode())
