"""Answers of chat servers, in the shapes that each of them uses.

The bodies follow the servers' documented protocols: which keys are there, which are null, how a token is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlcore.llm.endpoint.replies import label_distribution, read_reply
from mlcore.prompting.answers import read_answer
from mlcore.records import NO_LABEL, FloatArray, LabelSet

Body = dict[str, Any]
Token = tuple[str, Mapping[str, float]]  # what was generated, and the candidates' probabilities

MOOD = LabelSet.of("positive", "negative")
NEWS = LabelSet.of("World", "Sports", "Business", "Sci/Tech")
REVIEW = LabelSet.of("差评", "好评")
CARDS = LabelSet.of("card arrival", "card linking", "lost card")


def router(content: Any, tokens: Sequence[Token] = ()) -> Body:
    """The hub's router: everything is there, log-probabilities null where the provider gives none."""
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": content, "tool_calls": None},
        "logprobs": {"content": _tokens(tokens)} if tokens else None,
    }
    return _body(choice, usage={"prompt_tokens": 40, "completion_tokens": 3, "total_tokens": 43})


def tgi(content: Any, tokens: Sequence[Token] = ()) -> Body:
    """Text Generation Inference: tokens without bytes, the stop token among them."""
    listed = [*_tokens(tokens), *_tokens([("</s>", {"</s>": 0.99})])] if tokens else None
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "logprobs": {"content": listed} if listed else None,
        "finish_reason": "stop",
    }
    return _body(choice, system_fingerprint="3.0.1-native")


def vllm(content: Any, tokens: Sequence[Token] = ()) -> Body:
    """vLLM: bytes with every token, a place for reasoning, and −9999 for what can't be."""
    listed = [each | {"bytes": list(each["token"].encode())} for each in _tokens(tokens)]
    for each in listed:
        each["top_logprobs"].append({"token": "<unk>", "logprob": -9999.0, "bytes": []})
    message = {
        "role": "assistant",
        "content": content,
        "reasoning_content": None,
        "refusal": None,
        "tool_calls": [],
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": listed} if listed else None,
        "finish_reason": "stop",
        "stop_reason": None,
    }
    return _body(choice, prompt_logprobs=None)


def llama_cpp(content: Any, tokens: Sequence[Token] = ()) -> Body:
    """llama.cpp: ids and bytes with every token, and its own timings."""
    listed = [
        {"id": 7 + place, "bytes": list(each["token"].encode())} | each
        for place, each in enumerate(_tokens(tokens))
    ]
    choice: Body = {
        "finish_reason": "stop",
        "index": 0,
        "message": {"role": "assistant", "content": content},
    }
    if listed:
        choice["logprobs"] = {"content": listed}
    return _body(choice, timings={"prompt_n": 40, "predicted_n": 2})


def ollama(content: Any, tokens: Sequence[Token] = ()) -> Body:
    """Ollama: no key for log-probabilities at all."""
    assert not tokens
    return _body({"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"})


def _body(choice: Body, *, usage: Body | None = None, **more: Any) -> Body:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    } | more


def _tokens(tokens: Sequence[Token]) -> list[Body]:
    listed = []
    for text, candidates in tokens:
        top = [{"token": each, "logprob": math.log(share)} for each, share in candidates.items()]
        listed.append({"token": text, "logprob": math.log(candidates[text]), "top_logprobs": top})
    return listed


def certain(*texts: str) -> list[Token]:
    """Tokens that had no alternative."""
    return [(text, {text: 1.0}) for text in texts]


def read_label(body: Any, labels: LabelSet) -> tuple[int, FloatArray | None]:
    reply = read_reply(body)
    if reply is None:
        return NO_LABEL, None
    label = read_answer(reply.text, labels)
    return label, label_distribution(reply, labels) if label != NO_LABEL else None
