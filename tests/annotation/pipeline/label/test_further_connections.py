"""Several language models on one corpus: their rounds, their opinions, and how they compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from annotation.errors import AnnotationError, NotReadyError
from annotation.jobs.work import run_stage
from annotation.models import AuditDraw, Connection, Correction, Prediction, Stage
from annotation.pipeline.distill.run_distillation import llm_probs
from annotation.pipeline.distill.training_folder import hub_token_of
from annotation.pipeline.iterate import start_round
from annotation.pipeline.label import compare_models, run_labeling, start_try_out
from annotation.pipeline.measure.llm_opinions import labels_by_model
from annotation.pipeline.measure.model_comparison import compare_models as compared_models
from annotation.pipeline.project import configure, connection
from annotation.pipeline.review import corrections
from mlcore.config import LlmConfig
from tests.support.factories import ScriptedModel, judge_sentiment, run_llm_stage, start_llm_round
from tests.support.pages import Cast, make_cast, one_line

pytestmark = pytest.mark.django_db(transaction=True)

RISKY = 8
OTHER = LlmConfig(kind="endpoint", base_url="http://127.0.0.1:9/v1", model="other", demonstrations=0)


def contrary(_query: str, _names: Any) -> tuple[float, float]:
    return (0.2, 0.8)


def answer_by(monkeypatch: pytest.MonkeyPatch, **judges: Any) -> list[tuple[str, str]]:
    """Models by the names in their settings; returns who was opened with which token."""
    opened: list[tuple[str, str]] = []

    def open_model(config: LlmConfig, *, token: str, **_more: Any) -> ScriptedModel:
        opened.append((config.model, token))
        return ScriptedModel(judges.get(config.model, judge_sentiment), identity=config.model)

    for step in (run_labeling, compare_models):
        monkeypatch.setattr(step, "open_model", open_model)
    return opened


@pytest.fixture
def cast() -> Cast:
    cast = make_cast(rows=40)
    cast.project.llm_settings = {**cast.project.llm_settings, "demonstrations": 0, "demonstration_sets": 1}
    cast.project.llm_token = "own-token"
    cast.project.save()
    return cast


def add_other(cast: Cast) -> Connection:
    further = Connection(project=cast.project, name="second opinion")
    connection.save_connection(further)
    configure.set_llm(further, config=OTHER, token="other-token")
    return further


def two_rounds(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A round of the project's own model, then one that asks the other about the first 8 rows."""
    opened = answer_by(monkeypatch, other=contrary)
    assert run_llm_stage(start_llm_round(cast.project)).status == Stage.Status.DONE
    cast.project.samples.update(flag="right", risk=0.05, clean_prob=0.95)
    cast.project.samples.filter(position__lt=RISKY).update(flag="wrong", risk=0.6, clean_prob=0.2)
    second = start_round.start_round(
        cast.project, started_from="llm", user=cast.project.owner, connection=add_other(cast)
    )
    stage = run_llm_stage(second)
    assert stage.status == Stage.Status.DONE, stage.error
    return opened


def test_a_round_asks_the_other_model_with_its_own_token_about_rows_at_risk(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = two_rounds(cast, monkeypatch)
    assert opened == [(cast.project.llm_config.model, "own-token"), ("other", "other-token")]
    latest = cast.project.latest_iteration()
    assert latest is not None
    own = latest.predictions.filter(source="llm").exclude(origin=Prediction.Origin.EARLIER)
    assert own.count() == RISKY
    assert latest.llm_settings["model"] == "other"
    assert hub_token_of(latest) == ""


def test_the_answers_of_two_models_are_two_opinions(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    two_rounds(cast, monkeypatch)
    samples, ids = (
        list(cast.project.samples.order_by("position")),
        [label.pk for label in cast.project.label_list()],
    )
    latest = cast.project.latest_iteration()
    assert latest is not None
    own, other = labels_by_model(
        cast.project, [sample.pk for sample in samples], up_to=2, label_ids=ids
    ).values()
    assert (len(own), len(other)) == (40, RISKY)

    together = llm_probs(latest, samples, ids)
    first = cast.project.iterations.get(number=1)
    alone = llm_probs(first, samples, ids)
    assert np.allclose(together[RISKY:], alone[RISKY:]), (
        "rows that only one was asked about stay as they were"
    )
    contradicted = [row for row, sample in enumerate(samples[:RISKY]) if own[sample.pk] != other[sample.pk]]
    assert contradicted
    assert (together[contradicted].max(axis=1) < alone[contradicted].max(axis=1)).all()
    assert np.allclose(together.sum(axis=1), 1.0)


def test_a_connection_that_a_round_asked_stays(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    two_rounds(cast, monkeypatch)
    with pytest.raises(AnnotationError, match="has labelled rows"):
        connection.remove_connection(Connection.objects.get())
    with pytest.raises(AnnotationError, match="another LLM named"):
        connection.save_connection(Connection(project=cast.project, name="second opinion"))
    cast.project.delete()
    assert not Connection.objects.exists()


def check_blind(cast: Cast, rows: int) -> None:
    for sample in cast.project.samples.order_by("position")[:rows]:
        AuditDraw.objects.create(
            project=cast.project,
            sample=sample,
            draw_number=1,
            round=1,
            stratum="all",
            stratum_rows=40,
            stratum_drawn=rows,
            frame_rows=40,
            drawn_at=timezone.now(),
        )
        corrections.correct_sample(
            sample.pk,
            label_id=sample.reference_id,
            user=cast.project.owner,
            because=Correction.Because.AUDIT,
        )


def test_models_and_prompts_are_compared_on_the_same_blind_rows(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_by(monkeypatch, other=contrary)
    further = add_other(cast)
    with pytest.raises(NotReadyError, match="People have answered 0 rows"):
        start_try_out.start_comparison(cast.project, user=cast.project.owner)
    check_blind(cast, 20)
    before = list(cast.project.samples.order_by("pk").values_list("llm_label", "label"))
    for asked in (None, further):
        run_stage(start_try_out.start_comparison(cast.project, user=cast.project.owner, connection=asked).pk)
    blocks = cast.project.prompt.blocks | {"description": "Say which of {labels} it is."}
    configure.set_prompt(cast.project, **blocks)
    run_stage(start_try_out.start_comparison(cast.project, user=cast.project.owner, connection=further).pk)

    models, rows = compared_models(cast.project)
    assert rows == 20
    assert [(each.model == "other", each.prompt) for each in models] == [(False, 1), (True, 2), (True, 1)]
    assert models[0].accuracy.value == 1.0
    assert models[1].accuracy.value == 0.5
    assert models[1].accuracy.low < 0.5 < models[1].accuracy.high
    assert (models[1].better, models[1].worse) == (0, 10)
    assert models[1].chance is not None
    assert models[1].chance < 0.01
    assert list(cast.project.samples.order_by("pk").values_list("llm_label", "label")) == before
    assert not Prediction.objects.exists()
    page = one_line(cast.client("owner").get(cast.url("configure/connections/")).content.decode())
    assert "0 rows better, 10 worse (McNemar: p = 0.002)" in page
    assert "On 20 rows that all of them answered" in page
