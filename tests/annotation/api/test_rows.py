from __future__ import annotations

from typing import Any

import pytest

from annotation.models import AuditDraw, Correction, Sample
from annotation.pipeline.measure.draw_sample import draw_sample
from tests.support.api import Program
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    cast.project.reference_column = "truth"
    cast.project.save()
    judge_rows(cast.project)
    return cast


def path(cast: Cast, rest: str) -> str:
    return f"/projects/{cast.project.pk}/{rest}"


def test_rows_come_page_by_page_with_their_evidence_and_without_the_reference(cast: Cast) -> None:
    program = Program(cast.users["viewer"])
    seen: list[Any] = []
    after: str | None = ""
    while after is not None:
        page = program.get(path(cast, "rows"), limit=5, **({"after": after} if after else {})).json()
        seen += page["items"]
        after = page["next"]
    assert [row["number"] for row in seen] == list(range(1, 13))
    assert seen[0]["llm_label"] == "negative"
    assert seen[0]["slm_label"] == "positive"
    assert seen[0]["flag"] == "inconsistent"
    assert seen[0]["fields"] == {"id": "r0", "text": seen[0]["text"]}


def test_rows_are_filtered_by_names_and_found_by_their_own_id(cast: Cast) -> None:
    program = Program(cast.users["viewer"])
    wrong = program.get(path(cast, "rows"), llm="negative", slm="positive", show="inconsistent").json()
    assert {row["number"] for row in wrong["items"]} == {1, 7}
    (row,) = program.get(path(cast, "rows"), external_id="r3").json()["items"]
    assert row["number"] == 4
    refused = program.get(path(cast, "rows"), label="neutral")
    assert refused.status_code == 400
    assert "label" in refused.json()["fields"]


def test_a_drawn_row_tells_nothing_of_the_models_until_it_is_answered(cast: Cast) -> None:
    draw_sample(cast.project, rows=10, user=cast.users["owner"], seed=1)
    drawn = AuditDraw.objects.first()
    assert drawn
    row = Program(cast.users["owner"]).get(path(cast, f"rows/{drawn.sample_id}")).json()
    assert row["blind"]
    assert not [row[name] for name in ("label", "llm_label", "slm_label", "risk") if row[name]]
    assert not row["said"] + row["similar"] + row["history"]
    assert set(row["fields"]) == {"text"}


def test_a_row_is_corrected_in_the_users_name_unless_somebody_was_quicker(cast: Cast) -> None:
    program = Program(cast.users["reviewer"])
    row = program.get(path(cast, "rows")).json()["items"][0]
    corrected = program.post(path(cast, f"rows/{row['id']}/correction"), {"label": "negative", "version": 0})
    assert corrected.status_code == 200
    assert corrected.json()["corrected_by"] == "reviewer"
    assert corrected.json()["version"] == 1
    late = program.post(path(cast, f"rows/{row['id']}/correction"), {"label": "positive", "version": 0})
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    back = program.post(path(cast, f"rows/{row['id']}/correction"), {"label": None})
    assert back.json()["corrected_by"] is None
    unknown = program.post(path(cast, f"rows/{row['id']}/correction"), {"label": "neutral"})
    assert unknown.status_code == 400
    assert "does not belong to the project" in unknown.json()["fields"]["label"][0]


def test_many_rows_are_counted_corrected_and_taken_back(cast: Cast) -> None:
    program = Program(cast.users["reviewer"])
    ids = [row["id"] for row in program.get(path(cast, "rows"), limit=3).json()["items"]]
    body = {"row": [str(number) for number in ids], "label": "negative"}
    reach = program.post(path(cast, "bulk-corrections/reach"), body).json()
    made = program.post(path(cast, "bulk-corrections"), body)
    assert made.status_code == 201
    assert made.json()["rows"] == reach["rows"] == Correction.objects.count() > 0
    undone = program.post(path(cast, f"bulk-corrections/{made.json()['id']}/undo"))
    assert undone.status_code == 201
    assert not Sample.objects.filter(source="person").exists()
    (batch,) = program.get(path(cast, "bulk-corrections")).json()
    assert batch["undone_by"] == undone.json()["id"]


def test_no_row_and_no_filter_is_said(cast: Cast) -> None:
    answer = Program(cast.users["reviewer"]).post(path(cast, "bulk-corrections"), {"label": "negative"})
    assert answer.status_code == 400
    assert "No row is selected" in answer.json()["sentence"]
