from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils import timezone

from annotation.jobs import reaper, state
from annotation.jobs.details import LabelingDetail, stage_cost
from annotation.jobs.work import run_stage
from annotation.messages import message_text
from annotation.models import Project, Stage, SubmittedBatch
from annotation.pipeline.label import batches, unanswered
from annotation.pipeline.project import configure
from annotation.table.filters import filter_rows
from mlcore.config import LlmConfig
from mlcore.llm.batch import BatchClient
from tests.support.batch_server import BatchServer
from tests.support.factories import GOOD, make_project, run_llm_stage, start_llm_round
from tests.support.fake_llm import Call, FakeLlm, Step, fails, fake_llm, says

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project() -> Project:
    return make_project()


def truthful(_number: int, call: Call) -> Step:
    asked = call.prompt.rpartition("<row>")[2]
    return says("positive" if any(text in asked for text in GOOD) else "negative")


def start(project: Project, server: FakeLlm, **settings: Any) -> Stage:
    given: dict[str, Any] = {
        "price_in": 1.0,
        "price_out": 2.0,
        "second_question_percent": 0,
        "demonstrations": 0,
    }
    config = LlmConfig(kind="endpoint", model="m", base_url=server.url, by_batches=True, **(given | settings))
    configure.set_llm(project, config=config, token=None)
    return run_llm_stage(start_llm_round(project))


def go_on(stage: Stage) -> Stage:
    """What the reaper and a worker do once the wait is over."""
    Stage.objects.filter(pk=stage.pk).update(resume_at=timezone.now())
    reaper.reap()
    run_stage(stage.pk)
    stage.refresh_from_db()
    return stage


def right_rows(project: Project) -> int:
    return sum(sample.llm_label_id == sample.reference_id for sample in project.samples.all())


def test_rows_are_asked_by_a_batch_while_no_worker_waits(project: Project) -> None:
    script = BatchServer(truthful, is_working=False)
    with fake_llm(script) as server:
        stage = start(project, server)
        assert (stage.status, stage.resume_at is not None) == (Stage.Status.PAUSED, True)
        assert "1 batches with 40 rows are being processed" in message_text(stage.error)
        assert go_on(stage).status == Stage.Status.PAUSED
        script.is_working = True
        assert go_on(stage).status == Stage.Status.DONE, stage.error
    assert (right_rows(project), len(script.batches), script.tokens["plain"]) == (40, 1, 0)
    assert stage.tokens_in + stage.tokens_out == script.tokens["batch"]
    assert stage_cost(stage) == pytest.approx(0.5 * (stage.tokens_in * 1.0 + stage.tokens_out * 2.0) / 1e6)


def test_pieces_keep_to_the_limits_and_begin_alike(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_ROWS", 10)
    monkeypatch.setattr(batches, "READ_ROWS", 10)
    monkeypatch.setattr(unanswered, "READ_ROWS", 10)
    script = BatchServer(truthful)
    with fake_llm(script) as server:
        stage = go_on(start(project, server))
    assert stage.status == Stage.Status.DONE
    inputs = [script.files[batch["input_file_id"]].splitlines() for batch in script.batches.values()]
    assert [len(lines) for lines in inputs] == [10, 10, 10, 10]
    prompts = [json.loads(line)["body"]["messages"][0]["content"] for lines in inputs for line in lines]
    assert len({prompt.rpartition("<row>")[0] for prompt in prompts}) == 1, "a provider's cache can hold it"


def test_a_submission_whose_answer_was_lost_is_not_paid_for_twice(project: Project) -> None:
    script = BatchServer(truthful, lost=1)
    with fake_llm(script) as server:
        stage = start(project, server)
        assert stage.status == Stage.Status.PAUSED
        assert SubmittedBatch.objects.get().remote_id == ""
        assert go_on(stage).status == Stage.Status.DONE, stage.error
    assert (len(script.batches), right_rows(project)) == (1, 40)
    assert script.tokens["batch"] == stage.tokens_in + stage.tokens_out


def test_a_worker_that_dies_before_or_while_reading_answers_pays_nothing_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "READ_ROWS", 10)
    monkeypatch.setattr(unanswered, "READ_ROWS", 10)
    script = BatchServer(truthful)
    kept, calls = batches.answer_rows, []

    def dies(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 6:  # four submit, one is read
            raise RuntimeError("killed")
        kept(*args)

    with fake_llm(script) as server:
        stage = start(project, server)
        monkeypatch.setattr(batches, "answer_rows", dies)
        calls.extend([()] * 4)
        assert go_on(stage).status == Stage.Status.FAILED
        monkeypatch.setattr(batches, "answer_rows", kept)
        state.resume(stage)
        run_stage(stage.pk)
        stage.refresh_from_db()
    assert (stage.status, right_rows(project), len(script.batches)) == (Stage.Status.DONE, 40, 1)
    assert script.tokens["batch"] == stage.tokens_in + stage.tokens_out


def test_calls_that_failed_are_asked_again_and_a_refused_row_keeps_its_reason(project: Project) -> None:
    failed: set[str] = set()

    def flaky(_number: int, call: Call) -> Step:
        asked = call.prompt.rpartition("<row>")[2]
        if "number 7<" in asked:
            return fails(400, json.dumps({"error": {"code": "content_filter", "message": "filtered"}}))
        if "number 1" in asked and asked not in failed:
            failed.add(asked)
            return fails(500, json.dumps({"error": {"message": "overloaded"}}))
        return truthful(0, call)

    script = BatchServer(flaky)
    with fake_llm(script) as server:
        stage = go_on(start(project, server))
    assert stage.status == Stage.Status.DONE, stage.error
    assert right_rows(project) == 39
    assert LabelingDetail.of(stage).refused_by == {"refused": 1}
    for why, count in (("refused", 1), ("long", 0), ("other", 0), ("unreadable", 0)):
        assert filter_rows(project, f"failed={why}").count() == count
    assert stage.iteration
    error = stage.iteration.predictions.exclude(error="").get().error
    assert "content filter refused this row" in message_text(error)


def test_a_cancelled_stage_cancels_its_batches(project: Project) -> None:
    script = BatchServer(truthful, is_working=False)
    with fake_llm(script) as server:
        stage = start(project, server)
        state.request_cancel(stage)
        run_stage(stage.pk)
    assert [batch["status"] for batch in script.batches.values()] == ["cancelled"]


def test_the_budget_is_kept_at_the_price_of_batches(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "READ_ROWS", 10)
    monkeypatch.setattr(unanswered, "READ_ROWS", 10)
    script = BatchServer(truthful)
    with fake_llm(script) as server:
        stage = start(project, server, budget_money=0.005)
        submitted = sum(len(batch.rows) for batch in SubmittedBatch.objects.all())
        assert 0 < submitted < 40
        while stage.resume_at:
            stage = go_on(stage)
    cost = stage_cost(stage)
    assert cost is not None
    assert cost <= 0.005
    assert right_rows(project) >= submitted


def test_what_a_server_says_of_a_batch_that_it_refuses_is_shown(project: Project) -> None:
    script = BatchServer(truthful, refused="This model has no batches")
    with fake_llm(script) as server:
        stage = go_on(start(project, server))
        assert stage.status == Stage.Status.FAILED
        assert "This model has no batches" in message_text(stage.error)
        script.refused = ""
        state.resume(stage)
        run_stage(stage.pk)
        stage.refresh_from_db()
        assert go_on(stage).status == Stage.Status.DONE


def test_a_server_without_batches_says_so() -> None:
    with fake_llm(says("hello")) as server:
        config = LlmConfig(kind="endpoint", model="m", base_url=server.url)
        client = BatchClient(config, token="", headers={}, allowed_hosts=["127.0.0.1"], known=None)
        with pytest.raises(Exception, match="none of the batch interface"):
            client.look("batch-1")
        client.close()
