"""The engine's sentences are known by their patterns: the engine itself is made to say them here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from django.utils import translation

from annotation.engine_words import engine_words
from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, EpochReport, NoisyLabels
from mlcore.inputs import check_inputs
from mlcore.noise import split_clean
from mlcore.records import NO_LABEL
from mlcore.tables import encode_table
from mlcore.training import why_stop

EPOCH = EpochReport(1, "robust", 0.1, 0.0, 1.0, 0.0, 0.0, [], [], 1.0)


def warnings_of(given: list[int], texts: list[str]) -> list[str]:
    labels = NoisyLabels(np.array(given), None, np.full(len(given), NO_LABEL), 2)
    return check_inputs(Corpus(texts), labels, DistillConfig())


def said_by_the_engine() -> Iterator[str]:
    yield why_stop([replace(EPOCH, epoch=number) for number in range(1, 9)], DistillConfig())
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


def test_an_unknown_sentence_stays_as_it_is() -> None:
    assert engine_words("100 % odd (really)") == "100 % odd (really)"
