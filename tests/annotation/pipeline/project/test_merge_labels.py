"""Labels that rows carry are renamed, merged and deleted: rows keep their ids, and the activity says so."""

from __future__ import annotations

import pytest

from annotation.errors import AnnotationError, BusyError
from annotation.jobs import kinds, state
from annotation.models import Correction, Label, Project, Sample, Source
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.project.merge_labels import merge_label
from annotation.pipeline.review import corrections
from tests.support.factories import make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project(rows=6, labels=("good", "bad", "fair"))


def labelled(project: Project, *, by_person: int = 1) -> list[Label]:
    """Rows that a model called good, bad, good, …; a person set the first ones to “fair”."""
    good, bad, fair = project.label_list()
    for sample in project.samples.all():
        label = bad if sample.position % 2 else good
        project.samples.filter(pk=sample.pk).update(
            label=label, llm_label=label, machine_label=label, source=Source.LLM
        )
    for sample in project.samples.order_by("position")[:by_person]:
        corrections.correct_sample(sample.pk, label_id=fair.pk, user=project.owner)
    return [good, bad, fair]


def labels_of(project: Project) -> list[str | None]:
    return list(project.samples.order_by("position").values_list("label__name", flat=True))


def test_a_label_on_rows_is_renamed_everywhere_and_names_may_change_places(project: Project) -> None:
    good, bad, fair = labelled(project)
    drafts = [
        LabelDraft("bad", label=good.pk),
        LabelDraft("good", label=bad.pk),
        LabelDraft("so so", label=fair.pk),
    ]
    configure.set_labels(project, drafts)
    assert labels_of(project) == ["so so", "good", "bad", "good", "bad", "good"]
    assert [label.pk for label in project.label_list()] == [good.pk, bad.pk, fair.pk]


def test_merging_moves_rows_and_decisions_and_says_so(project: Project) -> None:
    good, _bad, fair = labelled(project)
    rows = list(project.samples.order_by("position").values_list("pk", flat=True))
    assert merge_label(project, fair, good, user=project.owner) == 1
    assert labels_of(project) == ["good", "bad", "good", "bad", "good", "bad"]
    assert list(project.samples.order_by("position").values_list("pk", flat=True)) == rows
    assert Correction.objects.get().label == good
    assert project.samples.get(position=0).source == Source.PERSON
    assert "“fair” merged into “good” on 1 rows" in project.activities.latest("pk").what


def test_a_label_of_models_alone_is_deleted_and_leaves_its_rows_without_one(project: Project) -> None:
    _good, bad, _fair = labelled(project)
    assert merge_label(project, bad, None, user=project.owner) == 3
    assert labels_of(project) == ["fair", None, "good", None, "good", None]
    row = project.samples.get(position=1)
    assert (row.source, row.llm_label, row.machine_label) == (Source.NONE, None, None)
    assert row in Sample.objects.at_risk()


def test_what_people_decided_is_not_deleted(project: Project) -> None:
    *_others, fair = labelled(project)
    with pytest.raises(AnnotationError, match="People gave “fair” to 1 rows"):
        merge_label(project, fair, None, user=project.owner)
    assert labels_of(project)[0] == "fair"


def test_two_labels_are_left_and_no_job_is_at_work(project: Project) -> None:
    good, bad, fair = labelled(project)
    stage = state.create_stage(project, kinds.EXPORT, total=0, user=project.owner)
    with pytest.raises(BusyError):
        merge_label(project, fair, good, user=project.owner)
    stage.delete()
    merge_label(project, fair, good, user=project.owner)
    with pytest.raises(AnnotationError, match="at least 2 labels"):
        merge_label(project, good, bad, user=project.owner)
