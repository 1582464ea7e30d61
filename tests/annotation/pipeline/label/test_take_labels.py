"""Labels that exist already become the coarse labels, and the SLM follows."""

from __future__ import annotations

import pytest

from annotation.errors import AnnotationError, NotReadyError
from annotation.jobs.work import work_on
from annotation.models import Prediction, Project, Stage
from annotation.pipeline.distill.run_distillation import llm_probs
from annotation.pipeline.label.take_labels import run_taking, start_taking
from annotation.pipeline.measure.llm_opinions import labels_by_model
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from tests.support.factories import make_user
from tests.support.imports import load

pytestmark = pytest.mark.django_db

ROWS = [
    "id,text,model,rule,sure",
    *(
        f"{at},text {at},{'good' if at % 3 else 'bad'},{'good' if at % 2 else '?'},0.{at % 9 + 1}"
        for at in range(12)
    ),
]


@pytest.fixture
def project() -> Project:
    project = configure.create_project(name="Letters", task_type="sentiment", owner=make_user())
    load(project, "\n".join(ROWS).encode(), id_column="id", reference_column="model")
    project.refresh_from_db()
    configure.set_labels(project, [LabelDraft("good"), LabelDraft("bad")])
    return project


def take(project: Project, columns: list[str], confidence: str = "") -> Stage:
    stage = start_taking(project, columns, confidence=confidence, user=project.owner)
    with work_on(stage.pk) as job:
        assert job is not None
        run_taking(job)
    stage.refresh_from_db()
    return stage


def test_a_column_is_a_round_of_coarse_labels_and_the_slm_follows(project: Project) -> None:
    stage = take(project, ["model"], confidence="sure")
    assert stage.status == Stage.Status.DONE
    (iteration,) = project.iterations.all()
    assert iteration.llm_settings["model"] == "model"
    assert set(iteration.stages.values_list("kind", "status")) == {("llm", "done"), ("slm", "queued")}
    first = project.samples.order_by("position")[1]
    assert (first.label and first.label.name, first.source, first.llm_confidence) == ("good", "llm", 0.2)
    ids = [label.pk for label in project.label_list()]
    probs = llm_probs(iteration, list(project.samples.order_by("position")), ids)
    assert probs is not None
    assert list(probs[1].round(6)) == [0.2, 0.8]


def test_what_was_the_reference_measures_nothing_any_more(project: Project) -> None:
    take(project, ["model"])
    project.refresh_from_db()
    assert project.reference_column == ""
    assert not project.samples.filter(reference__isnull=False).exists()


def test_each_column_is_an_opinion_and_unknown_cells_are_counted(project: Project) -> None:
    take(project, ["model", "rule"])
    ids = [label.pk for label in project.label_list()]
    rows = list(project.samples.order_by("position").values_list("pk", flat=True))
    said = labels_by_model(project, rows, up_to=2, label_ids=ids)
    assert list(said) == ["model", "rule"]
    assert [said["rule"][pk] for pk in rows[:2]] == [None, ids[0]]
    assert said["model"][rows[0]] == ids[1]
    rule = Stage.objects.get(iteration__number=2, kind="llm")
    assert rule.detail["unreadable"] == 6
    assert Prediction.objects.filter(iteration__number=2, label=None, raw="?").count() == 6


def test_columns_that_hold_no_labels_are_refused(project: Project) -> None:
    with pytest.raises(AnnotationError, match="can't hold labels"):
        start_taking(project, ["text"], user=None)
    with pytest.raises(AnnotationError, match="belongs to one column"):
        start_taking(project, ["model", "rule"], confidence="sure", user=None)
    stage = take(project, ["sure"])
    assert stage.status == Stage.Status.FAILED
    assert "No cell of the chosen columns" in str(stage.error)
    assert not project.iterations.exists()


def test_rows_and_labels_come_first() -> None:
    empty = configure.create_project(name="Letters", task_type="sentiment", owner=make_user())
    with pytest.raises(NotReadyError, match="no rows"):
        start_taking(empty, ["label"], user=None)
