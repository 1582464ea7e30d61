"""What a stored round says of its rows: one score, and whether it is known or guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from annotation.jobs import kinds, state
from annotation.jobs.work import work_on
from annotation.models import Correction, Flag, Label, Project, Sample, Source
from annotation.pipeline.distill import start_distillation
from annotation.pipeline.distill.update_verdicts import run_update
from annotation.pipeline.export.run_export import write_jsonl
from annotation.pipeline.review import corrections
from annotation.pipeline.review.risk_basis import risk_basis
from mlcore.verdict.review_order import RISKY
from tests.annotation.pipeline.distill.test_run_distillation import (
    data_folders,
    newest,
    project,
    run_slm_stage,
)

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["data_folders", "project"]


def judge(project: Project) -> None:
    run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))


def test_flag_queue_and_export_of_a_stored_round_follow_from_the_risk(
    project: Project, tmp_path: Any
) -> None:
    judge(project)
    open_rows = project.samples.exclude(source=Source.PERSON).order_by("queue_rank")
    risks = [row.risk or 0.0 for row in open_rows]
    assert risks == sorted(risks, reverse=True)
    assert all((row.flag == Flag.RIGHT) == ((row.risk or 0) <= RISKY) for row in open_rows)
    write_jsonl(project, tmp_path / "rows.jsonl")
    written = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert len(written) == 60
    assert all((row["flag"] == "likely right") == (row["risk"] <= RISKY) for row in written)


def test_before_anybody_checked_the_risk_is_a_guess_with_a_range(project: Project, client: Client) -> None:
    assert risk_basis(project) is None
    judge(project)
    basis = risk_basis(project)
    assert basis
    assert not basis.known
    assert 0 < basis.low < basis.high < 1
    client.force_login(project.owner)
    page = client.get(f"/projects/{project.pk}/review/").content.decode()
    assert "Answer 40 random rows first" in page
    assert "no action needed" not in page


def test_forty_answers_make_the_risk_known_and_the_open_rows_are_ordered_anew(project: Project) -> None:
    judge(project)
    labels = project.label_list()
    rows = list(project.samples.order_by("position")[:41])
    for row in rows[:19]:
        correct(row, labels, project)
    assert not project.stages.filter(kind=kinds.UPDATE.key).exists()
    correct(rows[19], labels, project)
    stage = project.stages.get(kind=kinds.UPDATE.key)
    for row in rows[20:]:  # meanwhile
        correct(row, labels, project)
    with work_on(stage.pk) as job:
        assert job is not None
        run_update(job)

    basis = risk_basis(project)
    assert basis
    assert basis.known
    open_rows = project.samples.exclude(source=Source.PERSON).order_by("queue_rank")
    risks = [row.risk or 0.0 for row in open_rows]
    assert len(risks) == 19
    assert risks == sorted(risks, reverse=True)
    assert all((row.flag == Flag.RIGHT) == ((row.risk or 0) <= RISKY) for row in open_rows)
    decided = project.samples.filter(source=Source.PERSON)
    assert decided.count() == 41
    assert all((row.queue_rank or 0) > 19 for row in decided)
    assert set(decided.values_list("risk", flat=True)) == {0.0}


def test_an_update_leaves_the_rows_alone_while_a_step_of_the_loop_is_at_work(project: Project) -> None:
    judge(project)
    before = list(project.samples.order_by("pk").values_list("risk", "queue_rank"))
    correct(project.samples.order_by("position")[0], project.label_list(), project)
    stage = state.create_stage(project, kinds.UPDATE, user=None)
    state.create_stage(project, kinds.RESTORE, user=None)
    with work_on(stage.pk) as job:
        assert job is not None
        run_update(job)
    after = list(project.samples.order_by("pk").values_list("risk", "queue_rank"))
    assert after[1:] == before[1:]


def correct(row: Sample, labels: list[Label], project: Project) -> None:
    corrections.correct_sample(
        row.pk,
        label_id=labels[row.position % 2].pk,
        user=project.owner,
        seen_version=None,
        because=Correction.Because.QUEUE,
    )
