from __future__ import annotations

import pytest

from annotation.errors import AnnotationError, BusyError, ConflictError, NotReadyError
from annotation.models import Correction, Iteration, Stage
from annotation.pipeline.iterate import start_round
from annotation.pipeline.label import script_warning
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.review import corrections
from mlcore.config import EMBEDDED_ENCODER, SECOND_ENCODER
from tests.support.factories import make_project, make_user, start_llm_round

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_round_freezes_what_decides_its_outcome() -> None:
    project = make_project()
    iteration = start_llm_round(project)
    configure.set_prompt(
        project, description="Other words: {labels}", demonstration="{demonstrations}", output="{content} ="
    )
    iteration.refresh_from_db()
    assert iteration.number == 1
    assert iteration.prompt["description"] != "Other words: {labels}"
    assert [item["name"] for item in iteration.labels] == ["positive", "negative"]


def test_two_clicks_make_one_round() -> None:
    project = make_project()
    start_llm_round(project)
    with pytest.raises(BusyError, match="waiting for a worker"):
        start_llm_round(project)
    assert Iteration.objects.count() == 1


def test_a_three_row_corpus_gets_a_sentence() -> None:
    with pytest.raises(NotReadyError, match="has 3 rows; the SLM needs at least 10"):
        start_llm_round(make_project(rows=3))


def test_an_empty_project_gets_a_sentence() -> None:
    with pytest.raises(NotReadyError, match="no rows yet"):
        start_llm_round(make_project(rows=0))


def test_training_before_labeling_gets_a_sentence() -> None:
    with pytest.raises(NotReadyError, match="Start LLM labeling"):
        start_round.start_round(make_project(), started_from="slm", user=None)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["good"], "at least 2"),
        (["good", "Good"], "could not tell these label names apart"),
        (["good", " "], "no name"),
        ([f"label {number}" for number in range(1_001)], "at most 1,000"),
    ],
)
def test_labels_that_can_not_work_get_a_sentence(names: list[str], sentence: str) -> None:
    project = make_project()
    with pytest.raises(AnnotationError, match=sentence):
        configure.set_labels(project, [LabelDraft(name) for name in names])
    assert [label.name for label in project.label_list()] == ["positive", "negative"]


def test_a_label_that_rows_carry_is_not_removed_in_silence() -> None:
    project = make_project()
    sample = project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=project.label_list()[0].pk, user=project.owner)
    with pytest.raises(AnnotationError, match="“positive” is used on rows"):
        configure.set_labels(project, [LabelDraft("negative"), LabelDraft("mixed")])


def test_labels_keep_their_rows_when_only_words_about_them_change() -> None:
    project = make_project()
    before = [label.pk for label in project.label_list()]
    configure.set_labels(
        project, [LabelDraft("negative", "complaints"), LabelDraft("positive"), LabelDraft("mixed")]
    )
    assert [label.pk for label in project.label_list()][:2] == before[::-1]


def test_a_correction_is_recorded_with_what_it_replaced() -> None:
    project = make_project()
    positive, negative = project.label_list()
    sample = project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=positive.pk, user=project.owner, seen_version=0)
    corrections.correct_sample(
        sample.pk, label_id=negative.pk, user=project.owner, seen_version=1, because="queue"
    )
    last = Correction.objects.latest("id")
    assert (last.label, last.replaced_label, last.replaced_source, last.because) == (
        negative,
        positive,
        "person",
        "queue",
    )
    assert Correction.objects.count() == 2


def test_a_stale_page_can_not_overwrite_somebody_elses_correction() -> None:
    project = make_project()
    positive, negative = project.label_list()
    sample = project.samples.get(position=0)
    corrections.correct_sample(sample.pk, label_id=positive.pk, user=make_user("ana"), seen_version=0)
    with pytest.raises(ConflictError, match="ana has set this row to “positive”"):
        corrections.correct_sample(sample.pk, label_id=negative.pk, user=project.owner, seen_version=0)
    assert Correction.objects.count() == 1


def test_a_withdrawn_correction_returns_the_row_to_the_machines() -> None:
    project = make_project()
    positive, negative = project.label_list()
    sample = project.samples.get(position=0)
    sample.llm_label, sample.label, sample.source = positive, positive, "llm"
    sample.save()
    corrections.correct_sample(sample.pk, label_id=negative.pk, user=project.owner)
    sample = corrections.correct_sample(sample.pk, label_id=None, user=project.owner)
    assert (sample.label, sample.source, sample.corrected_by) == (positive, "llm", None)
    assert Correction.objects.filter(sample=sample).count() == 2, "both words stay on record"


def test_another_projects_label_is_refused() -> None:
    project, other = make_project(), make_project(owner=make_user("ana"))
    with pytest.raises(AnnotationError, match="does not belong to the project"):
        corrections.correct_sample(
            project.samples.get(position=0).pk, label_id=other.label_list()[0].pk, user=project.owner
        )


def test_a_stored_token_is_encrypted_and_does_not_follow_to_another_server() -> None:
    from dataclasses import replace

    from django.db import connection

    project = make_project()
    config = replace(project.llm_config, kind="endpoint", base_url="http://127.0.0.1:9/v1", model="m")
    configure.set_llm(project, config=config, token="canary-token")
    with connection.cursor() as cursor:
        cursor.execute("SELECT llm_token FROM annotation_project")
        assert "canary" not in cursor.fetchone()[0]
    project.refresh_from_db()
    assert project.llm_token == "canary-token"
    configure.set_llm(project, config=replace(config, base_url="http://127.0.0.1:10/v1"), token=None)
    assert project.llm_token == ""


def test_a_corpus_in_another_script_is_warned_about_and_english_is_not() -> None:
    project = make_project()
    assert script_warning.script_warning(project) == ""
    project.samples.update(text="送餐很快，味道不错")
    project.slm_settings = {"encoder": SECOND_ENCODER}
    sentence = "the built-in language model and the encoder all-minilm-l6-v2 know only English"
    assert sentence in script_warning.script_warning(project)


def test_an_encoder_that_knows_the_script_is_not_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    project.samples.update(text="送餐很快，味道不错")
    monkeypatch.setattr("mlcore.weights_embedded.is_installed", lambda name: True)
    assert "the built-in language model knows only English" in script_warning.script_warning(project)
    monkeypatch.setattr("mlcore.weights_embedded.is_installed", lambda name: name != EMBEDDED_ENCODER)
    assert "all-minilm-l6-v2" in script_warning.script_warning(project)


def test_a_stage_that_waits_can_be_cancelled_and_a_new_round_started() -> None:
    from annotation.jobs import state

    project = make_project()
    stage = start_llm_round(project).stages.get()
    state.request_cancel(stage)
    assert stage.status == Stage.Status.CANCELLED
    assert start_llm_round(project).number == 2


def test_a_round_without_an_answer_takes_mended_settings_when_it_is_resumed() -> None:
    from dataclasses import replace

    from annotation.jobs import state

    project = make_project()
    iteration = start_llm_round(project)
    stage = iteration.stages.get()
    state.request_cancel(stage)
    configure.set_llm(project, config=replace(project.llm_config, demonstrations=3), token=None)
    start_round.resume(stage)
    iteration.refresh_from_db()
    stage.refresh_from_db()
    assert stage.status == Stage.Status.QUEUED
    assert iteration.llm_settings["demonstrations"] == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "hub", "model": "org/name"}, "needs a token"),
        ({"kind": "endpoint", "base_url": "http://169.254.169.254/", "model": "m"}, "is not allowed"),
    ],
)
def test_an_llm_that_can_not_be_asked_is_told_before_the_start(
    changes: dict[str, str], sentence: str
) -> None:
    from dataclasses import replace

    from mlcore.errors import ModelUnavailableError

    project = make_project()
    config = replace(project.llm_config, **changes)  # type: ignore[arg-type]
    configure.set_llm(project, config=config, token=None)
    with pytest.raises((NotReadyError, ModelUnavailableError), match=sentence):
        start_llm_round(project)
