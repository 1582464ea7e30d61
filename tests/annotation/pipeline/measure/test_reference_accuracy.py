from __future__ import annotations

import pytest

from annotation.models import Project
from annotation.pipeline.ingest.reference_labels import (
    match_references,
    unknown_references,
    unknown_references_sentence,
)
from annotation.pipeline.measure.round_metrics import final_accuracy
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from tests.support.factories import make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    """Six of ten rows have a label that the project knows, all of them rightly labelled; three another; one has none."""
    project = make_project(rows=10)
    project.reference_column = "truth"
    project.save()
    for sample in project.samples.order_by("position"):
        sample.label = sample.reference
        if sample.position > 5:
            sample.reference = None
            sample.fields[2] = "" if sample.position == 9 else "mixed"
        sample.save()
    return project


def test_rows_whose_reference_is_no_label_count_as_wrong_and_are_told(project: Project) -> None:
    figures = final_accuracy(project)
    assert (figures["reference_rows"], figures["right"], figures["unknown_references"]) == (9, 6, 3)
    assert "3 rows have a reference label that is none of the project's: mixed (3). They count as wrong." in (
        unknown_references_sentence(project)
    )


def test_a_project_can_leave_them_out(project: Project) -> None:
    project.unknown_references = Project.UnknownReferences.LEFT_OUT
    assert final_accuracy(project)["accuracy"] == 1.0
    assert unknown_references_sentence(project).endswith("mixed (3). They are left out of the accuracy.")


def test_they_are_known_once_they_are_labels(project: Project) -> None:
    configure.set_labels(project, [LabelDraft(name) for name in ("positive", "negative", "Mixed")])
    assert match_references(project) == 9
    assert unknown_references(project).rows == 0
