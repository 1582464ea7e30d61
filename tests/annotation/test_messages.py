"""The engine's sentences are known by their patterns: the engine itself is made to say them here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import aiohttp
import httpx2
import numpy as np
import pandas as pd
import pytest
from django.utils import translation
from huggingface_hub.errors import HfHubHTTPError

from annotation.messages import engine_words
from mlcore.config import DistillConfig, LlmConfig
from mlcore.corpus import Corpus, EpochReport, NoisyLabels
from mlcore.errors import EngineError
from mlcore.llm.budget import Budget, Usage
from mlcore.llm.endpoint import failures
from mlcore.llm.endpoint.capabilities import ServerRefusedError
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.llm.endpoint.guard import HttpResponse, RedirectRefusedError, check_address
from mlcore.prompting.prompts import PromptTemplate, check_template
from mlcore.records import NO_LABEL
from mlcore.slm.cross_fit import EpochDone, Trained, refuse_divergence, why_stop
from mlcore.slm.inputs import check_inputs
from mlcore.slm.noise import split_clean
from mlcore.slm.trees import encode_table

EPOCH = EpochReport(1, "robust", 0.1, 0.0, 1.0, 0.0, 0.0, [], [], 1.0)


def warnings_of(given: list[int], texts: list[str]) -> list[str]:
    labels = NoisyLabels(np.array(given), None, np.full(len(given), NO_LABEL), 2)
    return check_inputs(Corpus(texts), labels, DistillConfig())


def failed_call(status: int) -> str:
    """By the server that is asked, and by the hub when it is asked for a model's provider: the same sentence."""
    refused = ServerRefusedError(HttpResponse(status, {}, b"no"))
    response = httpx2.Response(status, request=httpx2.Request("POST", "http://127.0.0.1/"))
    said = failures.judge(HfHubHTTPError("no", response=response), deadline=5.0)
    assert said == failures.judge(refused, deadline=5.0)
    return said.message


async def hold_too_much(budget: Budget) -> None:
    async with budget.hold(Usage(1_200, 20)):
        pass


def refused(attempt: Callable[[], object]) -> str:
    with pytest.raises(EngineError) as caught:
        attempt()
    return str(caught.value)


def said_by_the_language_model() -> Iterator[str]:
    for status in (400, 401, 402, 403, 404, 413, 418, 422, 429, 503):
        yield failed_call(status)
    key: Any = None
    untrusted = aiohttp.ClientConnectorCertificateError(key, ValueError("x"))
    insecure = aiohttp.ClientConnectorSSLError(key, OSError())
    errors = (TimeoutError(), httpx2.ConnectError("x"), httpx2.ReadError("x"), OSError(), ValueError())
    for error in (
        *errors,
        aiohttp.InvalidURL("x"),
        aiohttp.ClientPayloadError(),
        untrusted,
        insecure,
        RedirectRefusedError("The server answered with a redirect (302)."),
    ):
        yield failures.judge(error, deadline=2.5).message
    yield failures.EMPTY.message
    for budget in (Budget(tokens=1_000), Budget(money=0.001, price_in=10.0)):
        yield refused(partial(asyncio.run, hold_too_much(budget)))
    for address in ("http://[", "ftp://x", "http://a b/", "http://example.com/", "http://10.0.0.1/"):
        allowed = ["*"] if "10.0" in address else ["127.0.0.1"]
        yield refused(partial(check_address, address, allowed))
    yield refused(lambda: EndpointModel(LlmConfig(kind="hub", model="a/b"), token="", allowed_hosts=[]))
    yield from check_template(PromptTemplate("x" * 30_000, "{content}", "{demonstrations}"))
    yield from check_template(PromptTemplate("{content} {labels}", "shown:", "{content} {content}"))


def said_by_the_engine() -> Iterator[str]:
    yield from said_by_the_language_model()
    yield why_stop([replace(EPOCH, epoch=number) for number in range(1, 9)], DistillConfig())
    yield from Trained(np.zeros((2, 2)), np.zeros(2), [replace(EPOCH, skipped=3)]).warnings
    yield refused(
        partial(refuse_divergence, EpochDone(np.ones(2, dtype=bool), []), np.array([[np.nan, 1.0]]), 4)
    )
    yield from warnings_of([0] * 20, ["text"] * 20)
    yield from warnings_of([0] * 12 + [1] * 3, ["", *["text"] * 14])
    yield from encode_table(
        pd.DataFrame({"age (in 3 years)": ["old", "3"]}), {"age (in 3 years)": "number"}
    ).warnings
    for losses in (np.ones(60), np.array([0.1, 0.9]), np.random.default_rng(0).normal(5, 1, 900)):
        yield split_clean(losses, np.zeros(len(losses), dtype=np.int64), 1).mixtures[0].fallback


@pytest.mark.parametrize("sentence", [*said_by_the_engine(), "All 12 epochs were trained."])
def test_what_the_engine_says_is_translated_with_its_numbers(sentence: str) -> None:
    assert sentence
    with translation.override("en"):
        assert engine_words(sentence) == sentence
    with translation.override("zh-hans"):
        words = engine_words(sentence)
    assert words != sentence
    assert all(number in words for number in sentence.split() if number.isdigit())


def test_a_reason_within_a_sentence_is_translated_too() -> None:
    sentence = "20 calls in a row failed, so the run was paused. The last reason: The server failed (500)."
    with translation.override("zh-hans"):
        words = engine_words(sentence)
    assert "server" not in words
    assert "20" in words
    assert "500" in words


def test_what_a_worker_stored_in_its_own_language_is_looked_up() -> None:
    with translation.override("zh-hans"):
        assert engine_words("At work.") != "At work."
    assert engine_words("") == ""


def test_an_unknown_sentence_stays_as_it_is() -> None:
    assert engine_words("100 % odd (really)") == "100 % odd (really)"
