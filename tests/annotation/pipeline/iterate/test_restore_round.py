"""A round that makes the file worse, from the first click to the exported file: both models really run."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest

from annotation.jobs import kinds
from annotation.jobs.work import work_on
from annotation.models import Activity, Correction, Iteration, Source, Stage
from annotation.pipeline.distill import run_distillation
from annotation.pipeline.export.provenance import provenance_lines
from annotation.pipeline.iterate import restore_round
from annotation.pipeline.label import run_labeling
from annotation.pipeline.measure import compare_rounds, draw_sample
from annotation.pipeline.review import corrections
from tests.support.factories import ScriptedModel, run_llm_stage
from tests.support.pages import Cast, make_cast, one_line

pytestmark = pytest.mark.django_db(transaction=True)

ROWS, DRAWN = 80, 24


@pytest.fixture(autouse=True)
def data_folders(tmp_path: Any, settings: Any) -> None:
    settings.RUN_DIR = tmp_path / "runs"


@pytest.fixture
def cast() -> Cast:
    return make_cast(rows=ROWS)


def llm_says(monkeypatch: pytest.MonkeyPatch, wrong: set[int]) -> None:
    """The LLM is sure of every row, and wrong on these positions."""

    def judge(query: str, names: Any) -> list[float]:
        found = re.search(r"number (\d+)", query)
        assert found
        position = int(found[1])
        return [0.97, 0.03] if (position % 2 == 0) != (position in wrong) else [0.03, 0.97]

    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: ScriptedModel(judge))


def run_round(cast: Cast, monkeypatch: pytest.MonkeyPatch, *, wrong: set[int]) -> Iteration:
    """A round by the buttons of the pages; the workers' part is done here."""
    llm_says(monkeypatch, wrong)
    client = cast.client("owner")
    client.post(cast.url("rounds/start/"), {"started_from": "llm", "ask_all": "yes"})
    iteration = cast.project.iterations.latest("number")
    assert run_llm_stage(iteration).status == Stage.Status.DONE
    client.post(cast.url("filtering/start/"))
    work(iteration.stages.get(kind=kinds.SLM.key), run_distillation.run_distillation)
    return iteration


def work(stage: Stage, run: Any) -> None:
    with work_on(stage.pk) as job:
        assert job is not None
        run(job)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error


def answer_blind(cast: Cast) -> None:
    """Every drawn row, in the view row by row."""
    draw_sample.draw_sample(cast.project, rows=DRAWN, user=cast.users["owner"], seed=0)
    client = cast.client("reviewer")
    for row in draw_sample.pending_draws(cast.project, cast.users["reviewer"]):
        answer = {"sample": row.pk, "label": row.reference_id, "version": row.version, "because": "audit"}
        sent = client.post(cast.url("focus/answer/"), answer | {"id": uuid4(), "seconds": 3})
        assert sent.status_code == 302
        assert Correction.objects.filter(sample=row, because="audit").exists()


def labels_of(cast: Cast) -> dict[int, int | None]:
    return dict(cast.project.samples.values_list("pk", "label_id"))


def decided_rows(cast: Cast) -> dict[int, tuple[Any, ...]]:
    rows = cast.project.samples.filter(source=Source.PERSON)
    return {row[0]: row for row in rows.values_list("pk", "label", "corrected_by", "corrected_at", "version")}


def test_a_worse_round_is_marked_and_undone_by_one_click(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_round(cast, monkeypatch, wrong={3, 20, 41})
    before = labels_of(cast)
    second = run_round(cast, monkeypatch, wrong={row for row in range(ROWS) if row // 2 % 2})
    spoiled = labels_of(cast)
    assert sum(spoiled[row] != before[row] for row in before) > 10
    assert not Activity.objects.filter(verb=Activity.Verb.FOUND_WORSE).exists(), "nobody has measured it yet"
    answer_blind(cast)
    people = decided_rows(cast)
    assert len(people) == DRAWN

    # It is marked in words on both pages, and in the activity log.
    for path in ("rounds/", "accuracy/"):
        page = cast.client("owner").get(cast.url(path)).content.decode()
        assert "Round 2 is worse than round 1." in page
        assert "became wrong (exact paired test" in page
    found = Activity.objects.get(verb=Activity.Verb.FOUND_WORSE)
    assert re.match(
        rf"round 2: of {DRAWN} sampled rows \d+ became right and \d+ wrong since round 1", found.what
    )
    compare_rounds.check_round(second)  # as a stage does that runs once more after a crash
    assert Activity.objects.filter(verb=Activity.Verb.FOUND_WORSE).count() == 1
    log = cast.client("owner").get(cast.url("members/activity/")).content.decode()
    assert found.what in log

    # Somebody goes on meanwhile, and then the one click that the page offers.
    late = cast.project.samples.exclude(source=Source.PERSON).first()
    assert late is not None
    corrections.correct_sample(late.pk, label_id=late.reference_id, user=cast.users["owner"])
    people = decided_rows(cast)
    button = re.search(
        r'action="(/projects/\d+/rounds/\d+/restore/)"[^>]*>(?:(?!</form>).)*Roll back to round 1', page, re.S
    )
    assert button
    cast.client("owner").post(button[1])
    waiting = one_line(cast.client("owner").get(cast.url("rounds/")).content.decode())
    assert 'id="after-stage" data-after-stage' in waiting, "the table of rounds asks anew once it is done"
    work(cast.project.stages.get(kind=kinds.RESTORE.key), restore_round.run_restore)

    after = labels_of(cast)
    assert decided_rows(cast) == people
    assert {row: after[row] for row in after if row not in people} == {
        row: before[row] for row in before if row not in people
    }
    assert Activity.objects.get(verb=Activity.Verb.RESTORED).what == "round 1"
    second.refresh_from_db()
    assert second.withdrawn_at is not None

    # Nothing is marked any more, and the file tells whose labels it holds.
    assert "is worse than" not in cast.client("owner").get(cast.url("accuracy/")).content.decode()
    told = {str(line[0]): line[1:] for line in provenance_lines(cast.project) if line}
    assert told["models' labels from"] == [f"round {first.number}"]
    assert told["rolled back at"][1] == "the labels of an earlier round are used instead"
    assert "those of round 1" in cast.client("viewer").get(cast.url("export/")).content.decode()


def test_a_round_that_is_as_good_is_neither_marked_nor_on_record(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_round(cast, monkeypatch, wrong={3, 20, 41})
    answer_blind(cast)
    second = run_round(cast, monkeypatch, wrong={5, 22, 41})
    assert "is worse than" not in cast.client("owner").get(cast.url("rounds/")).content.decode()
    comparison = compare_rounds.check_round(second)
    assert comparison is not None
    assert comparison.rows == DRAWN
    assert not Activity.objects.filter(verb=Activity.Verb.FOUND_WORSE).exists()
    told = {str(line[0]): line[1:] for line in provenance_lines(cast.project) if line}
    assert told["models' labels from"] == ["round 2"]
