"""Scripted chat servers, each with habits of its own: what it takes, how it thinks, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from mlcore.records import LabelSet
from tests.support.fake_llm import Call, Script, Step, fails, says

LABELS = LabelSet.of("wool", "linen", "silk")
Rule = Callable[[dict[str, Any]], Step | None]  # a server's refusal of a body, or None


def refuses(status: int, message: str, **more: Any) -> Step:
    return fails(status, json.dumps({"error": {"message": message, **more}}))


def server_of(rule: Rule, **answer: Any) -> Callable[[int, Call], Step]:
    """A server that labels each row rightly, as far as the rule lets it."""
    return lambda _number, call: rule(call.json) or says(label_of(call), **answer)


def label_of(call: Call) -> str:
    content = call.json["messages"][0]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    key = text.partition("row ")[2].split()  # a text that is no row asks for the first label
    return json.dumps({"label": LABELS.names[int(key[0]) % 3 if key else 0]})


RULES: dict[str, Rule] = {
    "the limit has another name": lambda body: (
        refuses(400, "'max_tokens' is unsupported here; use 'max_completion_tokens'", param="max_tokens")
        if "max_tokens" in body
        else None
    ),
    "no limit is known": lambda body: (
        refuses(422, "unknown field") if {"max_tokens", "max_completion_tokens"} & set(body) else None
    ),
    "temperature is fixed": lambda body: (
        refuses(400, "Only the default temperature of 1 is supported", param="temperature")
        if "temperature" in body
        else None
    ),
    "logprobs are forbidden": lambda body: (
        refuses(403, "logprobs are not enabled for this deployment") if "logprobs" in body else None
    ),
    "a fault of the server that goes away": lambda body: (
        refuses(500, "top_logprobs: assertion failed") if "logprobs" in body else None
    ),
    "any JSON object only": lambda body: (
        refuses(400, "response_format.type must be json_object or text")
        if body.get("response_format", {}).get("type") == "json_schema"
        else None
    ),
    "no schema at all": lambda body: (
        refuses(400, "Unrecognized request argument supplied: response_format")
        if "response_format" in body
        else None
    ),
    "FastAPI's path to the field": lambda body: (
        fails(
            422,
            json.dumps({"detail": [{"loc": ["body", "logprobs"], "msg": "Extra inputs are not permitted"}]}),
        )
        if "logprobs" in body
        else None
    ),
    "a refusal that names nothing": lambda body: (
        fails(400, "Bad Request") if "logprobs" in body or "response_format" in body else None
    ),
    "content in parts": lambda body: (
        refuses(400, "messages.0.content: Input should be a valid list")
        if isinstance(body["messages"][0]["content"], str)
        else None
    ),
    "thinking must be off": lambda body: (
        refuses(400, "enable_thinking must be false when the answer is not streamed")
        if body.get("enable_thinking") is not False
        else None
    ),
    "an error in a body of status 200": lambda body: (
        Step(body=json.dumps({"error": {"message": "temperature is unsupported", "code": 400}}).encode())
        if "temperature" in body
        else None
    ),
    "no endpoint for the parameters": lambda body: (
        refuses(404, "No endpoints found that can handle the requested parameters.", code=404)
        if "logprobs" in body
        else None
    ),
}


def thinks(call: Call, *, tokens: int, field: str) -> Step:
    """An answer behind so many tokens of thoughts; nothing but thoughts where the limit is lower."""
    limit = call.json.get("max_tokens") or call.json.get("max_completion_tokens") or 10**6
    usage = {"prompt_tokens": 40, "completion_tokens": min(limit, tokens + 5)}
    label = label_of(call) if limit > tokens else ""
    message = {"role": "assistant", "content": label, field: "wool or silk, I wonder"}
    if field == "inline":
        message = {"role": "assistant", "content": "<think>wool, " + ("</think>" + label if label else "")}
    choice = {"index": 0, "finish_reason": "stop" if label else "length", "message": message}
    return Step(body=json.dumps({"choices": [choice], "usage": usage}).encode())


def streams_only(_number: int, call: Call) -> Step:
    if not call.json.get("stream"):
        return refuses(400, "This model supports streaming only; set stream to true.")
    pieces = [{"role": "assistant", "reasoning_content": "hm"}, *({"content": c} for c in label_of(call))]
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": piece}]} for piece in pieces]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 7}})
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return Step(body=body.encode(), headers={"Content-Type": "text/event-stream"})


def knows_efforts(_number: int, call: Call) -> Step:
    effort = call.json.get("reasoning_effort", "medium")
    if effort not in ("low", "medium", "high"):
        return refuses(
            400, f"Unsupported value '{effort}'. Use 'low', 'medium' or 'high'.", param="reasoning_effort"
        )
    thought = 10 if effort == "low" else 900
    usage = {
        "prompt_tokens": 40,
        "completion_tokens": 5 + thought,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": label_of(call)}}
    return Step(body=json.dumps({"choices": [choice], "usage": usage}).encode())


def switched_off(switch: str, off: object, *, field: str = "reasoning_content") -> Script:
    """A server whose model thinks unless a parameter says that it shall not."""

    def script(_number: int, call: Call) -> Step:
        if call.json.get(switch) == off:
            return says(label_of(call))
        return thinks(call, tokens=400, field=field)

    return script


def key_of(call: Call) -> int:
    return int(call.prompt.partition("row ")[2].split()[0])


WRAPPINGS = (
    "{label}", "**{label}**", "Label: {label}", "The answer is {label}.", "```json\n{json}\n```", "[{json}]",
    "{json}\n\nIt says so.", "<answer>{label}</answer>", "\\boxed{{{label}}}", "{label}<|im_end|>",
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{label}", "1. {label}",
)  # fmt: skip


def wraps(number: int, call: Call) -> Step:
    label = json.loads(label_of(call))["label"]
    wrapping = WRAPPINGS[number % len(WRAPPINGS)]
    return says(wrapping.format(label=label, json=json.dumps({"label": label})))


def limits(number: int, call: Call) -> Step:
    """Asks for fewer calls at first, by a body of status 200."""
    limited = Step(body=b'{"error": {"message": "Provider returned error", "code": 429}}')
    return limited if number < 3 else says(label_of(call))


def strict_reasoner(_number: int, call: Call) -> Step:
    """Takes neither the usual limit nor a temperature nor log-probabilities, and thinks unseen."""
    for name in ("max_tokens", "temperature", "logprobs"):
        if name in call.json:
            return refuses(400, f"Unsupported parameter: '{name}'. Use 'max_completion_tokens'.", param=name)
    return knows_efforts(0, call)


def refuses_rows(refusal: Step) -> Script:
    """Refuses the first two rows and every fifth one for what they say."""
    return lambda _number, call: (
        refusal if key_of(call) < 2 or key_of(call) % 5 == 0 else says(label_of(call))
    )


FILTERED = refuses(400, "The prompt was filtered.", code="content_filter")
SCRIPTS: Mapping[str, Script] = {
    **{name: server_of(rule) for name, rule in RULES.items()},
    "streams only": streams_only,
    "names in wrappings": wraps,
    "a limit in a body of status 200": limits,
    "a strict model that thinks unseen": strict_reasoner,
    "three efforts": knows_efforts,
    "thoughts in their own field": lambda _number, call: thinks(call, tokens=300, field="reasoning_content"),
    "long thoughts": lambda _number, call: thinks(call, tokens=3_000, field="reasoning"),
    "thoughts in the text": lambda _number, call: thinks(call, tokens=300, field="inline"),
    "a chat template's switch": switched_off(
        "chat_template_kwargs", {"enable_thinking": False}, field="inline"
    ),
    "a switch of its own": switched_off("enable_thinking", False),
    "thinking of a type": switched_off("thinking", {"type": "disabled"}),
    "reasoning that can be left out": switched_off("reasoning", {"enabled": False}, field="reasoning"),
    "a content filter": refuses_rows(FILTERED),
    "a model that refuses": refuses_rows(says(None, finish_reason="content_filter")),
}
REFUSING = ("a content filter", "a model that refuses")  # rows that these answer: see refuses_rows
PERMANENT: Mapping[str, Step] = {
    "quota used up": refuses(429, "You exceeded your current quota, see billing.", type="insufficient_quota"),
    "no credit": refuses(402, "Insufficient Balance"),
    "no credit, by 403": refuses(403, "Sorry, your account balance is insufficient", code=30011),
    "no credit in a body of status 200": Step(
        body=b'{"error": {"message": "Insufficient credits", "code": 402}}'
    ),
    "wrong token": refuses(401, "Incorrect API key provided"),
    "wrong token, by 400": refuses(400, "API key not valid. Please pass a valid API key."),
    "no such model": refuses(404, "The model `m` does not exist", code="model_not_found"),
    "no such address": fails(404, "<h1>Not Found</h1>"),
    "a refusal without a word": fails(400, ""),
}
