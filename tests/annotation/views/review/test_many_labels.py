from __future__ import annotations

import pytest

from annotation.models import Project
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from tests.support.focus import html_of
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    """Forty rows and a thousand labels."""
    cast = make_cast(rows=40)
    judge_rows(cast.project)
    names = [label.name for label in cast.project.label_list()]
    names += [f"another kind of message, number {number}" for number in range(998)]
    configure.set_labels(Project.objects.get(pk=cast.project.pk), [LabelDraft(name) for name in names])
    return cast


def test_pages_with_a_thousand_labels_stay_small(cast: Cast) -> None:
    table = cast.client("reviewer").get(cast.url("review/")).content
    assert table.count(b'value="another kind of message, number 7"') == 1
    assert len(table) < 1_000_000
    focus = html_of(cast)
    assert "data-find-label" in focus
    assert len(focus.encode()) < 1_000_000


def test_a_label_is_given_by_its_name_and_taken_back_by_none(cast: Cast) -> None:
    row = cast.project.samples.order_by("position")[1]
    client, url = cast.client("reviewer"), cast.url(f"samples/{row.pk}/correct/")
    client.post(url, {"label": "another kind of message, number 7", "version": row.version})
    row.refresh_from_db()
    assert (row.label and row.label.name, row.source) == ("another kind of message, number 7", "person")
    client.post(url, {"label": "", "version": row.version})
    row.refresh_from_db()
    assert row.source != "person"


def test_a_name_that_is_no_label_gets_a_sentence(cast: Cast) -> None:
    row = cast.project.samples.order_by("position")[1]
    url = cast.url(f"samples/{row.pk}/correct/")
    answer = cast.client("reviewer").post(url, {"label": "no such", "version": row.version}, follow=True)
    assert "This label does not belong to the project" in answer.content.decode()
