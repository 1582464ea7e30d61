"""The distribution over the labels that is read from an answer's log-probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcore.records import LabelSet
from tests.support.chat_servers import (
    CARDS,
    MOOD,
    NEWS,
    REVIEW,
    Body,
    certain,
    llama_cpp,
    read_label,
    router,
    tgi,
    vllm,
)

NESTED = LabelSet.of("sport", "sports car", "cooking")
CASED = LabelSet.of("Élevé", "moyen", "faible")


# --- Answers with log-probabilities -----------------------------------------------------------------------------------


JSON_HEAD = certain('{"', "label", '":', ' "')

DISTRIBUTIONS: dict[str, tuple[Body, LabelSet, list[float]]] = {
    "one token": (router("positive", [("positive", {"positive": 0.8, "negative": 0.2})]), MOOD, [0.8, 0.2]),
    "leading space": (
        llama_cpp(" positive", [(" positive", {" positive": 0.7, " negative": 0.3})]),
        MOOD,
        [0.7, 0.3],
    ),
    "space or none, capital or not": (
        vllm(
            "Positive",
            [("Positive", {"Positive": 0.4, " positive": 0.2, "positive": 0.1, " Negative": 0.3})],
        ),
        MOOD,
        [0.7, 0.3],
    ),
    "stop token behind": (
        tgi("negative", [("negative", {"negative": 0.9, "positive": 0.1})]),
        MOOD,
        [0.1, 0.9],
    ),
    "split into parts": (
        vllm("positive", [("pos", {"pos": 0.75, "neg": 0.25}), ("itive", {"itive": 1.0})]),
        MOOD,
        [0.75, 0.25],
    ),
    "two ways to split": (
        vllm("positive", [("pos", {"pos": 0.5, "positive": 0.2, "n": 0.3}), ("itive", {"itive": 1.0})]),
        MOOD,
        [0.7, 0.3],
    ),
    "opening quote": (
        llama_cpp(
            '"positive"', [*certain('"'), ("positive", {"positive": 0.6, "negative": 0.4}), *certain('"')]
        ),
        MOOD,
        [0.6, 0.4],
    ),
    "constrained to JSON": (
        vllm(
            '{"label": "Sports"}',
            [
                *JSON_HEAD,
                ("Sports", {"Sports": 0.6, "World": 0.2, "Business": 0.1, "Sci": 0.1}),
                *certain('"}'),
            ],
        ),
        NEWS,
        [0.2, 0.6, 0.1, 0.1],
    ),
    "JSON with the quote in the label's token": (
        tgi(
            '{"label":"World"}',
            [
                *certain('{"label":'),
                ('"World', {'"World': 0.7, '"Sports': 0.1, '"Business': 0.1, '"Sci': 0.1}),
                *certain('"}'),
            ],
        ),
        NEWS,
        [0.7, 0.1, 0.1, 0.1],
    ),
    "JSON with a line break and another key before": (
        llama_cpp(
            '{\n  "why": "cup",\n  "label": "Sports"\n}',
            [
                *certain("{\n", '  "why": "', "cup", '",\n  "label": "'),
                ("Sports", {"Sports": 0.9, "World": 0.1}),
                *certain('"\n}'),
            ],
        ),
        NEWS,
        [0.1, 0.9, 0.0, 0.0],
    ),
    "name with a stroke": (
        router(
            "Sci/Tech",
            [("Sci", {"Sci": 0.6, "World": 0.4}), ("/", {"/": 1.0}), ("Tech", {"Tech": 1.0})],
        ),
        NEWS,
        [0.4, 0.0, 0.0, 0.6],
    ),
    "shared first token": (
        vllm(
            "card linking",
            [("card", {"card": 0.9, "lost": 0.1}), (" linking", {" linking": 2 / 3, " arrival": 1 / 3})],
        ),
        CARDS,
        [0.3, 0.6, 0.1],
    ),
    "shared first token that wasn't taken": (
        vllm("lost card", [("lost", {"lost": 0.6, "card": 0.4}), (" card", {" card": 1.0})]),
        CARDS,
        [0.2, 0.2, 0.6],
    ),
    "a name that begins another, the shorter said": (
        vllm("sport", [("sport", {"sport": 0.8, "cooking": 0.2})]),
        NESTED,
        [0.8, 0.0, 0.2],
    ),
    "a name that begins another, the longer said": (
        vllm(
            "sports car",
            [("sport", {"sport": 0.8, "cooking": 0.2}), ("s", {"s": 1.0}), (" car", {" car": 1.0})],
        ),
        NESTED,
        [0.0, 0.8, 0.2],
    ),
    "Chinese, one token": (
        vllm("好评", [("好评", {"好评": 0.8, "差评": 0.2})]),
        REVIEW,
        [0.2, 0.8],
    ),
    "Chinese, several tokens": (
        router("差评", [("差", {"差": 0.7, "好": 0.3}), ("评", {"评": 1.0})]),
        REVIEW,
        [0.7, 0.3],
    ),
    "Chinese in its own quotes": (
        vllm("「好评」", [*certain("「"), ("好", {"好": 0.6, "差": 0.4}), *certain("评", "」")]),
        REVIEW,
        [0.4, 0.6],
    ),
    "Chinese in JSON": (
        tgi('{"label": "好评"}', [*JSON_HEAD, ("好", {"好": 0.9, "差": 0.1}), *certain("评", '"}')]),
        REVIEW,
        [0.1, 0.9],
    ),
    "accents": (
        vllm("élevé", [("é", {"é": 0.5, "moy": 0.3, "f": 0.2}), *certain("lev", "é")]),
        CASED,
        [0.5, 0.3, 0.2],
    ),
    "thoughts before": (
        vllm(
            "<think>\nnegative? no\n</think>\n\npositive",
            [
                *certain("<think>", "\n", "negative", "?", " no", "\n", "</think>", "\n\n"),
                ("positive", {"positive": 0.9, "negative": 0.1}),
            ],
        ),
        MOOD,
        [0.9, 0.1],
    ),
    "thoughts that hold a fake answer": (
        vllm(
            '<think>{"label": "negative"}</think>{"label": "positive"}',
            [
                *certain("<think>", '{"label": "', "negative", '"}', "</think>", '{"label": "'),
                ("positive", {"positive": 0.8, "negative": 0.2}),
                *certain('"}'),
            ],
        ),
        MOOD,
        [0.8, 0.2],
    ),
    "code fence": (
        llama_cpp(
            "```\npositive\n```",
            [*certain("```", "\n"), ("positive", {"positive": 0.7, "negative": 0.3}), *certain("\n", "```")],
        ),
        MOOD,
        [0.7, 0.3],
    ),
    "code fence with its language, bare name": (
        llama_cpp(
            "```text\nnegative\n```",
            [
                *certain("```", "text", "\n"),
                ("negative", {"negative": 0.7, "positive": 0.3}),
                *certain("\n```"),
            ],
        ),
        MOOD,
        [0.3, 0.7],
    ),
    "what went to no label is spread": (
        router("positive", [("positive", {"positive": 0.5, "neutral": 0.4, "negative": 0.1})]),
        MOOD,
        [0.7, 0.3],
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_distribution_over_the_labels_is_read(name: str) -> None:
    body, labels, wanted = DISTRIBUTIONS[name]
    label, probs = read_label(body, labels)
    assert probs is not None
    assert label == int(np.argmax(wanted))
    assert probs == pytest.approx(wanted, abs=2e-3)
    assert probs.sum() == pytest.approx(1)


# --- Log-probabilities that are not what they should be ---------------------------------------------------------------


def _with_logprobs(content: Any) -> Body:
    body = router("positive")
    body["choices"][0]["logprobs"] = content
    return body


@pytest.mark.parametrize(
    "logprobs",
    [
        {},
        {"content": None},
        {"content": []},
        {"content": "positive"},
        {"content": [None]},
        {"content": [{"token": 7, "logprob": -0.1}]},
        {"content": [{"token": "positive", "logprob": None, "top_logprobs": None}]},
        {"content": [{"token": "positive", "logprob": float("nan"), "top_logprobs": []}]},
        {"content": [{"token": "positive", "top_logprobs": [{"token": None, "logprob": -1}]}]},
        {"tokens": ["positive"], "token_logprobs": [-0.1]},
        {"content": [{"token": "positive", "logprob": -(10**400), "top_logprobs": []}]},
    ],
)
def test_broken_log_probabilities_cost_the_distribution_and_not_the_label(logprobs: Any) -> None:
    assert read_label(_with_logprobs(logprobs), MOOD) == (0, None)


def test_a_logprob_over_zero_or_endless_is_held_in_bounds() -> None:
    top = [{"token": "positive", "logprob": 3.0}, {"token": "negative", "logprob": float("-inf")}]
    _label, probs = read_label(
        _with_logprobs({"content": [{"token": "positive", "logprob": 3.0, "top_logprobs": top}]}), MOOD
    )
    assert probs is not None
    assert np.isfinite(probs).all()
    assert probs.argmax() == 0
