"""The advice on what to do next with people's time, from what was measured."""

from __future__ import annotations

import pytest

from annotation.pipeline.measure.advice import TARGETS, Forecast, next_target
from mlcore.measure.estimate import Interval


@pytest.mark.parametrize(
    ("forecast", "sentence"),
    [
        (
            Forecast(0.97, reached=True, more=0, next_errors=1, chance_errors=1),
            "Target 97\N{NO-BREAK SPACE}% reached",
        ),
        (
            Forecast(0.97, reached=False, more=0, next_errors=1, chance_errors=1),
            "the interval still reaches below it. Draw a larger random sample",
        ),
        (
            Forecast(0.97, reached=False, more=240, next_errors=30, chance_errors=8),
            "About 240 more rows of the review queue to reach 97 %; about 30 of the next hundred are wrong.",
        ),
        (
            Forecast(0.995, reached=False, more=240, next_errors=8.5, chance_errors=8),
            "About 240 more rows to reach 99.5\N{NO-BREAK SPACE}%. The review queue now holds hardly more wrong rows than chance",
        ),
        (
            Forecast(0.97, reached=False, more=None, next_errors=0, chance_errors=0, in_bulk=41.6),
            "about 42 of the remaining wrong rows were corrected in bulk. Review those",
        ),
        (
            Forecast(0.97, reached=False, more=None, next_errors=0, chance_errors=0),
            "No forecast for 97 % yet: SLM filtering must finish first.",
        ),
    ],
)
def test_the_advice_says_when_to_stop_and_what_pays_otherwise(forecast: Forecast, sentence: str) -> None:
    assert sentence in forecast.sentence


@pytest.mark.parametrize(("low", "target"), [(0.5, 0.9), (0.9, 0.95), (0.962, 0.97), (0.999, TARGETS[-1])])
def test_the_next_target_is_the_first_that_the_interval_does_not_lie_above(low: float, target: float) -> None:
    assert next_target(Interval((low + 1) / 2, low, 1.0)) == target
