from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from annotation.jobs import state
from annotation.jobs.details import TrainingDetail
from annotation.jobs.work import work_on
from annotation.messages import message_text
from annotation.models import EpochRows, Flag, Iteration, Prediction, Project, Stage
from annotation.pipeline.distill import (
    run_distillation,
    start_distillation,
    store_predictions,
    training_process,
)
from annotation.pipeline.distill import (
    training_folder as folders,
)
from annotation.pipeline.distill.training_folder import newest_features, training_folder
from annotation.pipeline.iterate import start_round
from annotation.pipeline.label import demonstrations, run_labeling
from annotation.pipeline.review import bulk, corrections
from mlcore.distill.folder import read_inputs, read_result
from mlcore.prompting.demonstrations import select_demonstrations
from tests.support.factories import (
    ScriptedModel,
    judge_sentiment,
    make_project,
    run_llm_stage,
    start_llm_round,
)

pytestmark = pytest.mark.django_db(transaction=True)

WRONG = (3, 8, 21)  # positions whose LLM label is wrong


@pytest.fixture(autouse=True)
def data_folders(tmp_path: Any, settings: Any) -> None:
    settings.RUN_DIR = tmp_path / "runs"


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Project:
    """60 rows that an LLM has labelled, three of them wrongly."""

    def judge(query: str, names: Any) -> int:
        right = 0 if judge_sentiment(query, names)[0] > 0.9 else 1
        return 1 - right if any(f"number {position}\n" in query + "\n" for position in WRONG) else right

    def judge_query(query: str, names: Any) -> int:
        return judge(query.split("\n")[0], names)

    made = make_project(rows=60)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: ScriptedModel(judge_query))
    assert run_llm_stage(start_llm_round(made)).status == Stage.Status.DONE
    return made


def run_slm_stage(stage: Stage) -> Stage:
    with work_on(stage.pk) as job:
        assert job is not None
        run_distillation.run_distillation(job)
    stage.refresh_from_db()
    return stage


def newest(project: Project) -> Iteration:
    iteration = project.latest_iteration()
    assert iteration is not None
    return iteration


def test_training_gives_every_row_a_verdict_and_finds_the_wrong_labels(project: Project) -> None:
    stage = run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))

    assert stage.status == Stage.Status.DONE, stage.error
    assert stage.done == stage.total == 60
    assert (
        Prediction.objects.filter(iteration=stage.iteration, source="slm", verdict__isnull=False).count()
        == 60
    )
    rows = list(project.samples.order_by("position"))
    assert all(row.flag in Flag.values and row.risk is not None and row.queue_rank for row in rows)
    assert sorted(row.clean_rank or 0 for row in rows) == list(range(1, 61))
    suspects = {row.position for row in rows if (row.clean_rank or 99) <= 6}
    assert suspects >= set(WRONG), "the rows that the LLM got wrong are among the most suspicious ones"
    metrics = newest(project).metrics
    assert metrics["llm"]["accuracy"] == pytest.approx(57 / 60)
    assert metrics["final"]["accuracy"] >= metrics["llm"]["accuracy"]
    assert stage.detail["history"]
    assert stage.detail["stopped"]


def test_after_every_epoch_the_rows_say_what_the_networks_say_then(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[EpochRows] = []
    store = store_predictions.store_epoch

    def store_and_look(*arguments: Any) -> None:
        store(*arguments)
        kept.append(EpochRows.objects.get())

    monkeypatch.setattr(run_distillation, "store_epoch", store_and_look)
    stage = run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))

    assert [each.epoch for each in kept] == list(range(1, len(stage.detail["history"]) + 1))
    rows = {str(pk) for pk in project.samples.values_list("pk", flat=True)}
    assert all(set(each.rows) == rows for each in kept)
    first, last = kept[0].rows, kept[-1].rows
    assert any(first[row][1:4] != last[row][1:4] for row in rows), (
        "confidence, clean probability and rank move"
    )
    wrong = project.samples.get(position=WRONG[0])
    label, _confidence, _clean, _rank, flag, x, _y, number = last[str(wrong.pk)]
    assert (label, flag, number) == (wrong.reference_id, Flag.INCONSISTENT, wrong.number)
    assert x is not None
    assert not EpochRows.objects.exists(), "the verdicts stand in their place"


def test_a_finished_training_tells_how_the_models_differ_and_how_the_losses_lie(project: Project) -> None:
    unread = project.samples.get(position=5)
    project.samples.filter(pk=unread.pk).update(llm_label=None)
    stage = run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))
    detail = vars(TrainingDetail.of(stage))

    assert detail["labels"] == [label.pk for label in project.label_list()]
    pairs: Counter[tuple[int | None, int | None]] = Counter(
        project.samples.values_list("llm_label_id", "slm_label_id")
    )
    for given, line in zip(
        [*detail["labels"], None], [*detail["confusion"], detail["unreadable_by_label"]], strict=True
    ):
        assert line == [pairs[given, predicted] for predicted in detail["labels"]]
    histogram = detail["loss_histogram"]
    assert sum(sum(part["counts"]) for part in histogram["parts"]) == 59
    assert all(len(part["counts"]) + 1 == len(histogram["edges"]) for part in histogram["parts"])


def test_a_correction_trains_the_small_model_and_survives_it(project: Project) -> None:
    labels = project.label_list()
    corrected = project.samples.get(position=10)
    stage = start_distillation.start_filtering(newest(project), user=project.owner)
    corrections.correct_sample(corrected.pk, label_id=labels[1].pk, user=project.owner)
    answered_at = timezone.now()
    stage = run_slm_stage(stage)
    assert answered_at.isoformat() < stage.detail["read_at"] < timezone.now().isoformat()
    corrected.refresh_from_db()
    assert (corrected.label_id, corrected.source, corrected.risk) == (labels[1].pk, "person", 0.0)
    inputs = read_inputs(settings.RUN_DIR / str(stage.run_id))
    assert inputs.noisy.verified[10] == 1
    assert (inputs.noisy.verified >= 0).sum() == 1


def test_what_was_decided_in_bulk_is_trained_on_but_not_taken_as_checked(project: Project) -> None:
    labels = project.label_list()
    corrections.correct_sample(project.samples.get(position=10).pk, label_id=labels[1].pk, user=project.owner)
    chosen = [project.samples.get(position=place).pk for place in (12, 13)]
    bulk.start_batch(project, bulk.Choice(label=labels[0], samples=chosen), user=project.owner)
    stage = start_distillation.start_filtering(newest(project), user=project.owner)
    run_slm_stage(stage)
    noisy = read_inputs(settings.RUN_DIR / str(stage.run_id)).noisy
    assert np.flatnonzero(noisy.verified >= 0).tolist() == [10, 12, 13]
    assert np.flatnonzero(noisy.looked_at).tolist() == [10]
    stage.refresh_from_db()
    assert stage.detail["evidence"]["checked_rows"] == 1


def test_rows_that_people_looked_at_are_demonstrations_before_those_decided_in_bulk(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = project.label_list()
    run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))
    alone = project.samples.get(position=10)
    corrections.correct_sample(alone.pk, label_id=labels[1].pk, user=project.owner)
    chosen = list(project.samples.filter(position__in=range(20, 30)).values_list("pk", flat=True))
    bulk.start_batch(project, bulk.Choice(label=labels[0], samples=chosen), user=project.owner)
    told: dict[str, Any] = {}

    def told_of(*args: Any, **more: Any) -> Any:
        told.update(more)
        return select_demonstrations(*args, **more)

    monkeypatch.setattr(demonstrations, "MAX_CANDIDATES", 8)
    monkeypatch.setattr(demonstrations, "select_demonstrations", told_of)
    demonstrations.distilled_selection(newest(project), 2)
    assert told["keys"][0] == alone.pk
    assert set(told["keys"][1:4]) <= set(chosen)
    assert told["verified"].tolist() == [True] + 11 * [False]


def test_a_correction_made_while_the_training_runs_wins(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = project.label_list()
    row = project.samples.get(position=12)
    real = read_result

    def correct_meanwhile(folder: Any) -> Any:
        thread = threading.Thread(
            target=corrections.correct_sample,
            args=(row.pk,),
            kwargs={"label_id": labels[1].pk, "user": project.owner},
        )
        thread.start()
        thread.join()
        return real(folder)

    monkeypatch.setattr(run_distillation, "read_result", correct_meanwhile)
    run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))
    row.refresh_from_db()
    assert (row.label_id, row.source) == (labels[1].pk, "person")
    assert row.slm_label is not None


def test_the_reference_labels_do_not_reach_the_training(project: Project) -> None:
    stage = run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))
    first = {row.pk: (row.label_id, row.risk) for row in project.samples.all()}
    project.samples.update(reference=None)
    again = run_slm_stage(
        start_round.start_round(project, started_from="slm", user=project.owner).stages.get()
    )
    assert again.status == stage.status == Stage.Status.DONE
    assert {row.pk: (row.label_id, row.risk) for row in project.samples.all()} == first


def test_the_second_round_takes_clean_and_corrected_rows_as_demonstrations(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))
    corrected = project.samples.get(position=WRONG[0])
    corrections.correct_sample(corrected.pk, label_id=corrected.reference_id, user=project.owner)
    assert newest_features(project, [corrected]) is not None
    model = ScriptedModel(judge_sentiment)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: model)
    at_risk = set(project.samples.at_risk().values_list("pk", flat=True))
    stage = run_llm_stage(start_llm_round(project))

    assert stage.status == Stage.Status.DONE, stage.error
    iteration = newest(project)
    chosen = {item["key"]: item["label"] for item in iteration.demonstrations}
    assert corrected.pk in chosen
    assert set(chosen.values()) == {"positive", "negative"}
    rows = {row.pk: row for row in project.samples.filter(pk__in=chosen)}
    assert all(rows[key].source == "person" or rows[key].flag == Flag.RIGHT for key in chosen)
    assert set(model.asked) == at_risk, (
        "no self-annotation any more, and no row that the small model takes as right"
    )
    assert 0 < len(model.asked) < 60


def test_a_crash_of_the_training_process_fails_the_stage_with_a_sentence(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    stage = run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))
    assert stage.status == Stage.Status.FAILED
    assert "training process ended with an unexpected error (exit code 1)" in message_text(stage.error)


def test_a_cancelled_training_ends_its_process_and_can_be_resumed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.jobs.lease.STOP_POLL_SECONDS", 0.0)
    stage = start_distillation.start_filtering(newest(project), user=project.owner)
    real = training_process.child_events
    cancelled: list[Any] = []

    def cancel_at_first_event(child: Any) -> Any:
        for event in real(child):
            if not cancelled:
                state.request_cancel(stage)
                cancelled.append(child)
            yield event

    monkeypatch.setattr(training_process, "child_events", cancel_at_first_event)
    stage = run_slm_stage(stage)
    assert stage.status == Stage.Status.CANCELLED
    assert cancelled[0].poll() is not None

    state.resume(stage)
    assert run_slm_stage(stage).status == Stage.Status.DONE
    assert Prediction.objects.filter(iteration=stage.iteration, source="slm").count() == 60


def test_the_token_of_another_server_never_goes_to_the_hub(project: Project) -> None:
    project.llm_token = "hf_mine"
    project.save()
    iteration = newest(project)
    seen: dict[str, str] = {}
    for kind in ("hub", "local", "endpoint"):
        iteration.llm_settings = {**iteration.llm_settings, "kind": kind}
        seen[kind] = folders.hub_token_of(iteration)
    assert seen == {"hub": "hf_mine", "local": "hf_mine", "endpoint": ""}


def test_the_training_is_told_what_a_person_said_that_columns_hold(project: Project) -> None:
    project.task_type, project.content_columns = "tabular", ["id", "text"]
    project.column_kinds = {"id": "number"}
    project.save()
    stage = run_slm_stage(start_distillation.start_filtering(newest(project), user=project.owner))

    assert stage.status == Stage.Status.DONE, stage.error
    assert read_inputs(training_folder(stage)).corpus.column_kinds == {"id": "number"}
    assert list(map(message_text, stage.detail["warnings"])) == [
        "60 value(s) of the column “id” are not numbers and count as missing there."
    ]
