"""Where a server gives no log-probabilities, the riskiest rows are asked again in other words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from annotation.jobs import state
from annotation.messages import message_text
from annotation.models import CachedAnswer, Prediction, Project, Stage
from annotation.pipeline.distill.run_distillation import llm_probs
from annotation.pipeline.label import second_question
from annotation.pipeline.project import configure
from mlcore.config import LlmConfig
from mlcore.label.second_question import AGREED, SPLIT
from tests.support.factories import GOOD, make_project, make_user, run_llm_stage, start_llm_round
from tests.support.fake_llm import Call, FakeLlm, Script, Step, fake_llm, says
from tests.support.pages import make_cast

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = "Go through these names one by one"


def is_second(call: Call) -> bool:
    return SECOND in call.prompt


def name_of(call: Call) -> str:
    return "positive" if any(text in call.prompt.splitlines()[-2] for text in GOOD) else "negative"


def truthful(_number: int, call: Call) -> Step:
    return says(name_of(call))


def ask_server(project: Project, server: FakeLlm, **settings: Any) -> None:
    config = LlmConfig(
        kind="endpoint",
        model="fake",
        base_url=server.url,
        demonstrations=0,
        concurrency=4,
        **settings,
    )
    configure.set_llm(project, config=config, token=None)


def run_round(script: Script, project: Project, **settings: Any) -> tuple[Stage, FakeLlm]:
    with fake_llm(script) as server:
        ask_server(project, server, **settings)
        stage = run_llm_stage(start_llm_round(project))
    return stage, server


def answers() -> Any:
    return Prediction.objects.filter(source="llm")


def test_a_quarter_of_the_rows_is_asked_twice_and_agreement_makes_them_sure() -> None:
    project = make_project()
    stage, server = run_round(truthful, project)
    assert stage.status == Stage.Status.DONE, stage.error
    assert [is_second(call) for call in server.calls].count(True) == 10
    assert len(server.calls) == 40 + 10
    assert (stage.detail["asked_twice"], stage.detail["agreed"]) == (10, 10)
    twice = answers().filter(second_raw__isnull=False)
    assert all(max(each.calibrated) >= AGREED for each in twice)
    assert {each.label_id for each in twice} <= {each.pk for each in project.labels.all()}
    assert answers().filter(second_raw__isnull=True, probs__isnull=True).count() == 30
    assert stage.tokens_in == 50 * 40, "both questions count"
    assert all(each.label.name == each.sample.reference.name for each in answers())


def test_the_second_question_names_labels_in_another_order_and_is_worded_otherwise() -> None:
    _stage, server = run_round(truthful, make_project())
    first = next(call for call in server.calls if not is_second(call))
    again = next(call for call in server.calls if is_second(call))
    assert "positive, negative" in first.prompt
    assert "negative, positive" in again.prompt
    assert "positive, negative" not in again.prompt


def test_answers_that_differ_split_the_mass_and_keep_the_first_label() -> None:
    def unsteady(_number: int, call: Call) -> Step:
        return says(
            {"positive": "negative", "negative": "positive"}[name_of(call)]
            if is_second(call)
            else name_of(call)
        )

    stage, _server = run_round(unsteady, make_project())
    assert (stage.detail["asked_twice"], stage.detail.get("agreed", 0)) == (10, 0)
    for each in answers().filter(second_raw__isnull=False):
        assert each.label.name == each.sample.reference.name
        assert sorted(each.calibrated) == pytest.approx([SPLIT[1] + 0.025, SPLIT[0] + 0.025])


def test_unreadable_rows_are_asked_first_and_get_a_label_if_the_second_answer_is_one() -> None:
    def script(_number: int, call: Call) -> Step:
        unsure = "number 7" in call.prompt and not is_second(call)
        return says("It is hard to say." if unsure else name_of(call))

    stage, server = run_round(script, make_project(), second_question_percent=3)
    assert [is_second(call) for call in server.calls].count(True) == 2
    row = answers().get(sample__position=7)
    assert (row.raw, row.second_raw) == ("It is hard to say.", row.label.name)
    assert max(row.calibrated) == pytest.approx(0.8)
    assert stage.detail["asked_twice"] == 2


def test_nobody_is_asked_twice_where_log_probabilities_exist_or_the_share_is_nothing() -> None:
    def sure(_number: int, call: Call) -> Step:
        name = name_of(call)
        top = [
            {"token": each, "logprob": -0.1 if each == name else -2.4} for each in ("positive", "negative")
        ]
        return says(name, logprobs={"content": [{"token": name, "logprob": -0.1, "top_logprobs": top}]})

    owner = make_user()
    for script, percent in ((sure, 25), (truthful, 0)):
        _stage, server = run_round(script, make_project(owner=owner), second_question_percent=percent)
        assert len(server.calls) == 40
    assert not answers().filter(second_raw__isnull=False).exists()


def test_a_run_that_is_stopped_among_second_questions_goes_on_with_the_same_quarter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = make_project()
    monkeypatch.setattr("annotation.pipeline.label.answer_cache.BATCH_ROWS", 3)
    with fake_llm(truthful) as server:
        ask_server(project, server)
        iteration = start_llm_round(project)
        stored: list[int] = []
        store = second_question.store_second_answers

        def killed(*arguments: Any) -> None:
            if stored:
                raise RuntimeError("The worker died.")
            stored.append(1)
            store(*arguments)

        monkeypatch.setattr(second_question, "store_second_answers", killed)
        stage = run_llm_stage(iteration)
        assert stage.status == Stage.Status.FAILED
        assert answers().filter(second_raw__isnull=False).count() == 3
        monkeypatch.setattr(second_question, "store_second_answers", store)
        state.resume(stage)
        stage = run_llm_stage(iteration)
    assert stage.status == Stage.Status.DONE
    asked = [call.prompt for call in server.calls if is_second(call)]
    assert len(set(asked)) == 10, "no other row was chosen"
    assert len(asked) <= 10 + 3 * 4
    assert (stage.detail["asked_twice"], stage.detail["agreed"]) == (10, 10)
    assert answers().filter(second_raw__isnull=False).count() == 10


def test_the_most_doubtful_rows_are_chosen_whatever_the_chunk_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = [f"number {number}" for number in (3, 12, 29, 30)]

    def script(_number: int, call: Call) -> Step:
        name = name_of(call)
        is_wrong = any(f"{each}</row>\n" in call.prompt for each in wrong)
        return says({"positive": "negative", "negative": "positive"}[name] if is_wrong else name)

    owner = make_user()
    for part in (3, 5_000):
        monkeypatch.setattr(second_question, "TEXT_ROWS", part)
        monkeypatch.setattr(second_question, "READ_ROWS", part)
        project = make_project(owner=owner)
        run_round(script, project)
        twice = project.samples.filter(predictions__second_raw__isnull=False)
        assert set(twice.values_list("position", flat=True)) >= {3, 12, 29, 30}
        assert twice.count() == 10


def test_the_budget_holds_for_second_questions_too() -> None:
    project = make_project()
    # What 44 answers cost; the next call would go beyond.
    stage, server = run_round(truthful, project, budget_tokens=44 * 43 + 600)
    assert stage.status == Stage.Status.PAUSED
    assert "budget" in message_text(stage.error)
    assert stage.tokens_in + stage.tokens_out <= 44 * 43 + 600
    twice = [call for call in server.calls if is_second(call)]
    assert 0 < len(twice) < 10
    assert answers().filter(second_raw__isnull=False).count() == len(twice), "what was paid for is kept"


def test_second_answers_come_from_the_cache_the_next_time() -> None:
    owner = make_project().owner
    first, again = make_project(owner=owner), make_project(owner=owner)
    with fake_llm(truthful) as server:
        for project in (first, again):
            ask_server(project, server)
            assert run_llm_stage(start_llm_round(project)).status == Stage.Status.DONE
    assert len(server.calls) == 50 == CachedAnswer.objects.count()


def test_the_small_model_takes_rows_asked_once_to_be_as_sure_as_those_that_agreed() -> None:
    project = make_project()

    def script(_number: int, call: Call) -> Step:
        return says("negative" if is_second(call) else name_of(call))

    run_round(script, project)
    iteration = project.iterations.get()
    samples = list(project.samples.order_by("position"))
    probs = llm_probs(iteration, samples, [item["id"] for item in iteration.labels])
    assert np.isfinite(probs).all()
    twice = {each.sample_id: max(each.calibrated) for each in answers().filter(second_raw__isnull=False)}
    once = [probs[row].max() for row, sample in enumerate(samples) if sample.pk not in twice]
    assert once == pytest.approx([max(twice.values())] * 30)
    assert min(twice.values()) < max(twice.values())


def test_the_page_tells_how_many_were_asked_twice() -> None:
    cast = make_cast(rows=20)
    run_round(truthful, cast.project)
    page = cast.client("owner").get(cast.url("labeling/")).content.decode()
    assert "Asked twice" in page
    assert "5 rows, 5 agree" in page
