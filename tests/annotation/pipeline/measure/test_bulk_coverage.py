"""The interval of the measured accuracy covers the truth, whatever people decide in bulk, and whenever: simulated on MR with
ChatGPT's labels by the code that the pages use.

A hundred audits find what is broken; ``python -m tests.bench.review`` simulates a thousand of each and holds them to the bar.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlcore.records import BoolArray
from tests.mlcore.measure.test_estimate import chatgpt_on_mr
from tests.support.bulk_audits import SimulatedFile

AUDITS = 100
BAR = 0.93
CHANCE = 2 * (BAR * (1 - BAR) / AUDITS) ** 0.5  # two standard errors of so few audits
Scenario = Callable[[SimulatedFile, int, np.random.Generator], None]


def likely_right(file: SimulatedFile) -> BoolArray:
    """What 'accept all that the filter matches' is mostly used for."""
    return np.asarray(~file.differ & (file.risk < np.median(file.risk)))


def some(file: SimulatedFile, share: float, rng: np.random.Generator) -> BoolArray:
    return rng.random(len(file.label)) < share


def is_wrong(file: SimulatedFile) -> BoolArray:
    return np.asarray(file.label != file.truth)


def accept_a_filter_then_draw(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.decide_in_bulk(likely_right(file))
    file.draw(rows)
    file.answer()


def draw_then_accept_a_filter(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.draw(rows)
    file.answer()
    file.decide_in_bulk(likely_right(file))


def accept_random_rows_while_answering(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.draw(rows)
    file.answer(rows // 2)
    file.decide_in_bulk(some(file, 0.4, rng))
    file.answer()


def accept_all_wrong_rows_then_draw(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.decide_in_bulk(is_wrong(file))
    file.draw(rows)
    file.answer()


def accept_wrong_rows_after_and_while_answering(
    file: SimulatedFile, rows: int, rng: np.random.Generator
) -> None:
    file.draw(rows)
    file.answer(rows // 2)
    file.decide_in_bulk(is_wrong(file) & some(file, 0.5, rng))
    file.answer()
    file.decide_in_bulk(is_wrong(file))


def relabel_random_rows_then_draw(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.decide_in_bulk(some(file, 0.2, rng), label=1)
    file.draw(rows)
    file.answer()


def relabel_a_filter_between_two_draws(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.draw(rows)
    file.answer()
    file.decide_in_bulk(file.differ & some(file, 0.8, rng), label=3 - file.models_say)
    file.draw(rows)
    file.answer()


def relabel_after_all_answers(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.draw(rows)
    file.answer()
    file.decide_in_bulk(some(file, 0.1, rng), label=2)


def relabel_while_answering(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.draw(rows)
    file.answer(rows // 2)
    file.decide_in_bulk(is_wrong(file) | some(file, 0.05, rng), label=3 - file.models_say)
    file.answer()


def accept_then_mend_alone_in_queue_and_table(
    file: SimulatedFile, rows: int, rng: np.random.Generator
) -> None:
    file.decide_in_bulk(likely_right(file))
    file.draw(rows)
    file.mend(np.argsort(-file.risk)[:800], from_queue=True)
    file.answer(rows // 2)
    file.decide_in_bulk(some(file, 0.1, rng))
    file.mend(np.flatnonzero(is_wrong(file) & some(file, 0.3, rng)))
    file.answer()


def relabel_and_mend_some_of_it_alone(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.draw(rows)
    file.answer()
    file.decide_in_bulk(some(file, 0.15, rng), label=1)
    file.mend(np.flatnonzero((file.batch > 0) & is_wrong(file) & some(file, 0.6, rng)))
    file.draw(rows)
    file.answer()


def a_round_after_accepting_and_answering(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.draw(rows)
    file.answer(rows // 2)
    file.decide_in_bulk(likely_right(file))
    better = np.where(some(file, 0.4, rng), file.truth, file.models_say)
    file.run_models(better)
    file.answer()


def two_bulks_two_rounds_two_draws(file: SimulatedFile, rows: int, rng: np.random.Generator) -> None:
    file.decide_in_bulk(likely_right(file))
    file.draw(rows)
    file.answer()
    file.run_models(np.where(some(file, 0.05, rng), 3 - file.models_say, file.models_say))
    file.decide_in_bulk(file.differ, label=2)
    file.draw(rows)
    file.answer()


SCENARIOS: list[Scenario] = [
    accept_a_filter_then_draw,
    draw_then_accept_a_filter,
    accept_random_rows_while_answering,
    accept_all_wrong_rows_then_draw,
    accept_wrong_rows_after_and_while_answering,
    relabel_random_rows_then_draw,
    relabel_a_filter_between_two_draws,
    relabel_after_all_answers,
    relabel_while_answering,
    accept_then_mend_alone_in_queue_and_table,
    relabel_and_mend_some_of_it_alone,
    a_round_after_accepting_and_answering,
    two_bulks_two_rounds_two_draws,
]


SIZES = (50, 100, 400)


def coverage(scenario: Scenario, rows: int, *, audits: int, seed: int = 0) -> float:
    """The share of simulated audits whose interval holds the true number of wrong rows left."""
    wrong, differ, risk = chatgpt_on_mr()
    models_say = np.where(np.random.default_rng(1).random(len(wrong)) < 0.5, 1, 2)
    covered = []
    for number in range(audits):
        rng = np.random.default_rng([seed, rows, number])
        file = SimulatedFile(models_say, wrong, differ, risk, rng)
        scenario(file, rows, rng)
        interval = file.evidence().wrong_left
        assert interval is not None
        covered.append(interval.low <= file.wrong_left <= interval.high)
    return float(np.mean(covered))


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_the_interval_covers_the_wrong_rows_left(scenario: Scenario, rows: int) -> None:
    assert coverage(scenario, rows, audits=AUDITS) >= BAR - CHANCE
