"""The same question is never paid for twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotation.jobs import state
from annotation.models import CachedAnswer, Prediction, Project, Stage
from annotation.pipeline.label import answer_cache, run_labeling
from annotation.pipeline.label.answer_cache import KeepingModel, RememberingModel, question_keys
from annotation.pipeline.project import configure
from mlcore.config import LlmConfig
from mlcore.errors import ModelCallError
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.messages import Message
from mlcore.records import Answer, LabelSet, Prompt, Request, TurnedPrompt
from tests.support.factories import (
    ScriptedModel,
    judge_sentiment,
    make_project,
    make_user,
    run_llm_stage,
    start_llm_round,
)
from tests.support.fake_llm import fake_llm, says

pytestmark = pytest.mark.django_db(transaction=True)

LABELS = LabelSet.of("positive", "negative")


def use(
    monkeypatch: pytest.MonkeyPatch, judge: Any = judge_sentiment, identity: str = "one model"
) -> ScriptedModel:
    model = ScriptedModel(judge, identity=identity)
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: model)
    return model


def without_demonstrations(project: Project) -> Project:
    project.llm_settings = {**project.llm_settings, "demonstrations": 0}
    project.save()
    return project


def ask(model: RememberingModel, requests: Sequence[Request], labels: LabelSet = LABELS) -> list[Answer]:
    return list(
        KeepingModel(model, told=lambda _batch: None).ask(requests, labels, should_stop=lambda: False)
    )


def test_another_project_of_the_same_owner_asks_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = make_user()
    first, second = (without_demonstrations(make_project(owner=owner)) for _ in range(2))
    asked = use(monkeypatch)
    paid = run_llm_stage(start_llm_round(first))
    assert len(asked.asked) == 40
    assert CachedAnswer.objects.filter(owner=owner).count() == 40

    asked = use(monkeypatch)
    stage = run_llm_stage(start_llm_round(second))
    assert stage.status == Stage.Status.DONE
    assert asked.asked == []
    assert (stage.detail["cached"], stage.tokens_in, stage.tokens_out) == (40, 0, 0)
    assert paid.tokens_in == 40 * 7
    assert list(second.samples.values_list("llm_label__name", flat=True)) == list(
        first.samples.values_list("llm_label__name", flat=True)
    )
    assert Prediction.objects.filter(iteration=stage.iteration, origin="cache").count() == 40


def test_another_owner_is_never_served_from_somebody_elses_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    run_llm_stage(start_llm_round(without_demonstrations(make_project())))
    asked = use(monkeypatch)
    other = without_demonstrations(make_project(owner=make_user("otto")))
    run_llm_stage(start_llm_round(other))
    assert len(asked.asked) == 40


@pytest.mark.parametrize("changed", ["model", "prompt", "label name"])
def test_another_question_is_asked(monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    owner = make_user()
    use(monkeypatch)
    run_llm_stage(start_llm_round(without_demonstrations(make_project(owner=owner))))
    names = ("positive", "unpleasant") if changed == "label name" else ("positive", "negative")
    project = without_demonstrations(make_project(owner=owner, labels=names))
    if changed == "prompt":
        configure.set_prompt(
            project,
            description=project.prompt_description + " Be strict.",
            demonstration=project.prompt_demonstration,
            output=project.prompt_output,
        )
    asked = use(monkeypatch, identity="another model" if changed == "model" else "one model")
    run_llm_stage(start_llm_round(project))
    assert len(asked.asked) == 40


def test_a_pause_while_the_first_examples_are_labelled_costs_nothing_when_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = make_project(rows=40)
    iteration = start_llm_round(project)
    monkeypatch.setattr(answer_cache, "BATCH_ROWS", 5)
    monkeypatch.setattr("annotation.jobs.lease.STOP_POLL_SECONDS", 0.0)

    def judge(query: str, names: Any) -> Any:
        if CachedAnswer.objects.count() >= 10:
            state.request_pause(iteration.stages.get())
        return judge_sentiment(query, names)

    before = use(monkeypatch, judge)
    stage = run_llm_stage(iteration)
    assert (stage.status, stage.phase) == (Stage.Status.PAUSED, "self-annotation")
    assert 10 <= len(before.asked) < 40
    assert stage.detail["phase_total"] == 80, "the handful is labelled twice for several sets"
    assert not stage.detail.get("demonstrations_chosen"), "a choice among half of the answers is none"

    after = use(monkeypatch)
    state.resume(stage)
    stage = run_llm_stage(iteration)
    assert stage.status == Stage.Status.DONE
    assert sorted(before.asked + after.asked) == sorted([*project.samples.values_list("pk", flat=True)] * 3)
    assert stage.detail["cached"] == len(before.asked)


def test_answers_that_came_before_an_error_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    project = without_demonstrations(make_project())
    use(
        monkeypatch,
        lambda query, names: (
            ModelCallError("It broke.") if "number 30" in query else judge_sentiment(query, names)
        ),
    )
    run_llm_stage(start_llm_round(project))
    assert CachedAnswer.objects.count() == 30
    assert Prediction.objects.count() == 30


def test_equal_texts_in_one_run_are_asked_once() -> None:
    model = ScriptedModel(judge_sentiment)
    owner = make_user()
    requests = [Request(key, Prompt("Classify.", f"a dull text {key // 3}")) for key in range(9)]
    found = ask(RememberingModel(model, owner_id=owner.pk), requests)
    assert sorted(answer.key for answer in found) == list(range(9))
    assert model.asked == [0, 3, 6]
    assert sum(answer.tokens_in for answer in found if not answer.cached) == 3 * 7


def test_a_failed_call_is_asked_again_and_an_unreadable_answer_is_not() -> None:
    owner = make_user()

    class Failing(ScriptedModel):
        def _answer(self, request: Request, labels: LabelSet) -> Answer:
            error = Message("unreachable") if request.key == 1 else None
            return Answer(request.key, -1, None, raw="" if error else "No idea.", error=error, tokens_in=5)

    requests = [Request(key, Prompt("", f"row {key}")) for key in range(3)]
    model = Failing(judge_sentiment, identity="x")
    ask(RememberingModel(model, owner_id=owner.pk), requests)
    again = ask(RememberingModel(model, owner_id=owner.pk), requests)
    assert model.asked == [0, 1, 2, 1]
    unreadable = next(answer for answer in again if answer.key == 0)
    assert (unreadable.label, unreadable.raw, unreadable.cached) == (-1, "No idea.", True)


def test_answers_are_kept_with_the_transaction_that_stores_the_rows() -> None:
    owner = make_user()
    model = RememberingModel(ScriptedModel(judge_sentiment), owner_id=owner.pk)
    found = list(model.ask([Request(1, Prompt("", "a text"))], LABELS, should_stop=lambda: False))
    with transaction.atomic():
        model.keep(found)
        transaction.set_rollback(True)  # the rows could not be stored
    assert CachedAnswer.objects.count() == 0


def test_questions_that_only_look_alike_when_put_together_differ() -> None:
    first, second = Request(1, Prompt("ab", "c")), Request(2, Prompt("a", "bc"))
    keys = question_keys("m", LABELS, [first, second])
    assert keys[1] != keys[2]
    one, two = (
        Request(key, Prompt("a", "c"), ("x",), TurnedPrompt(prefix, ("good: ",), "c"))
        for key, prefix in ((3, "p"), (4, "q"))
    )
    longer = Request(5, Prompt("a", "c"), ("x", "p"))
    assert len(set(question_keys("m", LABELS, [one, two, longer]).values())) == 3
    assert keys[1] != question_keys("m", LabelSet.of("negative", "positive"), [first])[1]


def test_old_answers_are_forgotten() -> None:
    owner = make_user()
    for key, days in (("a", settings.CACHE_DAYS + 1), ("b", 1)):
        CachedAnswer.objects.create(owner=owner, key=key, label=0)
        CachedAnswer.objects.filter(key=key).update(created_at=timezone.now() - timedelta(days=days))
    assert answer_cache.forget_old_answers() == 1
    assert CachedAnswer.objects.get().key == "b"


def test_equal_texts_in_different_parts_are_asked_once() -> None:
    parts = [
        [Request(part * 10 + row, Prompt("", f"text {row if row else part}")) for row in range(10)]
        for part in range(3)
    ]
    with fake_llm(says("positive")) as server:
        config = LlmConfig(kind="endpoint", model="fake", base_url=server.url, concurrency=4)
        endpoint = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"])
        model = RememberingModel(endpoint, owner_id=make_user().pk)
        found = []
        for batch in answer_cache.gather(model.ask_parts(parts, LABELS, should_stop=lambda: False)):
            model.keep(batch)
            found += batch
        model.close()
    assert sorted(answer.key for answer in found) == list(range(30))
    texts = [call.prompt for call in server.calls]
    assert len(texts) == len(set(texts)) == 10
    assert sum(not answer.cached for answer in found) == 10 == CachedAnswer.objects.count()
