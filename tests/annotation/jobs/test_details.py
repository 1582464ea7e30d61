from __future__ import annotations

from typing import Any

import pytest

from annotation.jobs import kinds
from annotation.jobs.details import (
    Detail,
    LabelingDetail,
    TrainingDetail,
    stage_cost,
)
from annotation.jobs.kinds import detail_of
from annotation.jobs.round_metrics import ModelMetrics, RoundMetrics
from annotation.models import Iteration, Stage

TYPES: list[type[Any]] = [
    *dict.fromkeys(kind.detail for kind in kinds.KINDS.values()),  # a set has another order in every process
    RoundMetrics,
    ModelMetrics,
]


@pytest.mark.parametrize("kind", TYPES)
def test_an_empty_column_has_the_defaults_and_defaults_are_not_stored(kind: type[Any]) -> None:
    assert kind.from_json({}) == kind()
    assert kind().to_json() == {}


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_that_this_version_does_not_know_is_no_obstacle(kind: type[Any]) -> None:
    assert kind.from_json({"of_a_newer_version": [1, 2]}) == kind()


def test_what_is_stored_is_read_back() -> None:
    detail = LabelingDetail(kept=3, kept_from=1, tokens_before=[5, 7], calls={"failures": {"limited": 2}})
    assert LabelingDetail.from_json(detail.to_json()) == detail
    metrics = RoundMetrics(llm=ModelMetrics(rows=9, accuracy=0.0), flips=0, rows={"4": 2})
    assert RoundMetrics.from_json(metrics.to_json()) == metrics


def test_the_kind_decides_what_unreadable_means_in_a_row_of_an_earlier_version() -> None:
    asked = Stage(kind=kinds.LLM.key, detail={"unreadable": 3})
    trained = Stage(kind=kinds.SLM.key, detail={"unreadable": [1, 2]})
    assert detail_of(asked).unreadable == 3
    assert detail_of(trained).unreadable_by_label == [1, 2]
    assert isinstance(detail_of(trained), TrainingDetail)
    assert type(detail_of(Stage(kind="of a newer version", detail={"done_before": 4}))) is Detail


def test_the_cost_of_a_stage_is_known_only_with_prices() -> None:
    stage = Stage(kind=kinds.LLM.key, tokens_in=2_000_000, tokens_out=1_000, detail={})
    assert stage_cost(stage) is None
    stage.detail = {"price_in": 0.5, "price_out": 2.0}
    assert stage_cost(stage) == pytest.approx(1.002)


def test_a_round_of_an_earlier_version_without_a_part_has_none_of_its_figures() -> None:
    metrics = RoundMetrics.of(Iteration(metrics={"llm": {"rows": 4, "accuracy": 0.75}}))
    assert (metrics.llm.accuracy, metrics.slm.accuracy, metrics.rows) == (0.75, None, None)
