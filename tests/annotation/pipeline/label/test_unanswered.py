"""Which rows a round still asks about, and that finding them takes no longer the more are answered."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.models import Iteration, Prediction, Project
from annotation.pipeline.label import unanswered
from annotation.pipeline.label.unanswered import count_unanswered, unanswered_keys, unanswered_samples
from tests.support.factories import make_project, start_llm_round

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 60


@pytest.fixture
def iteration(monkeypatch: pytest.MonkeyPatch) -> Iteration:
    """A round of which rows 0 to 29 are answered, and the call about row 30 failed."""
    monkeypatch.setattr(unanswered, "WINDOW_ROWS", 20)
    monkeypatch.setattr(unanswered, "READ_ROWS", 8)
    iteration = start_llm_round(make_project(rows=ROWS))
    answer(iteration, range(30))
    answer(iteration, [30], error="away")
    return iteration


def answer(iteration: Iteration, positions: range | list[int], *, error: str = "") -> None:
    rows = iteration.project.samples.filter(position__in=positions)
    Prediction.objects.bulk_create(
        Prediction(sample=row, iteration=iteration, source="llm", error=error) for row in rows
    )


def positions(project: Project, keys: list[int]) -> list[int]:
    return list(project.samples.filter(pk__in=keys).values_list("position", flat=True))


def test_rows_without_an_answer_come_in_order_window_by_window(iteration: Iteration) -> None:
    windows = [positions(iteration.project, keys) for keys in unanswered_keys(iteration)]
    assert windows == [[], list(range(30, 40)), list(range(40, 60))]
    assert count_unanswered(iteration) == 30
    parts = [[row.position for row in part] for part in unanswered_samples(iteration, after=33)]
    assert [position for part in parts for position in part] == list(range(34, ROWS))
    assert max(map(len, parts)) == 8


def test_an_answer_of_another_round_or_model_is_none(iteration: Iteration) -> None:
    iteration.predictions.update(source="slm")
    assert count_unanswered(iteration) == ROWS


@pytest.mark.parametrize("answered", [30, 59])
def test_a_window_is_read_by_one_range_of_an_index(iteration: Iteration, answered: int) -> None:
    answer(iteration, range(31, answered))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        list(unanswered_keys(iteration))
    assert len(queries) == 7, "one read more tells that no window is left"
    of_answers = [each["sql"] for each in queries if "annotation_prediction" in each["sql"]]
    assert of_answers
    for statement in of_answers:
        assert all("annotation_sample" not in part for part in statement.split("FROM")[1:]), "no join"
        plan = explained(statement)
        assert "one_prediction_per_row_round_and_model" in plan or "sample_id" in plan
        assert "sample_id>" in plan.replace(" ", "")


def explained(statement: str) -> str:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET enable_seqscan = off")  # a table of 60 rows is read whole otherwise
        explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        cursor.execute(f"{explain} {statement}")
        return "\n".join(str(row) for row in cursor.fetchall())
