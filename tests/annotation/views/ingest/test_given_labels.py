"""Labels from outside: a column of corrections, and an export that was edited in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from openpyxl import load_workbook

from annotation.jobs.work import run_stage
from annotation.models import Project, Role, Stage, Upload
from annotation.pipeline.export.run_export import write_csv, write_excel
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.review import bulk, corrections
from tests.support.factories import make_user
from tests.support.imports import load

pytestmark = pytest.mark.django_db

CSV = "\n".join(
    [
        "id,text,given,by",
        *(
            f"r{number},text {number},{'good' if number % 2 else 'Bad'},{'mia' if number < 3 else 'x'}"
            for number in range(12)
        ),
    ]
)


@pytest.fixture
def project() -> Project:
    project = configure.create_project(name="Letters", task_type="sentiment", owner=make_user())
    load(project, CSV.encode(), id_column="id", reference_column="")
    project.refresh_from_db()
    configure.set_labels(project, [LabelDraft("good"), LabelDraft("bad")])
    return project


@pytest.fixture
def owner(project: Project) -> Client:
    client = Client()
    client.force_login(project.owner)
    return client


def labels_of(project: Project) -> list[str | None]:
    return list(project.samples.order_by("position").values_list("label__name", flat=True))


def test_a_column_is_taken_as_corrections_by_whom_the_rows_name(project: Project, owner: Client) -> None:
    mia = make_user("mia")
    project.memberships.create(user=mia, role=Role.REVIEWER)
    html = owner.get(f"/projects/{project.pk}/configure/start/").content.decode()
    assert 'name="label_columns" value="given"' in html.replace("  ", " ")
    data = {"label_columns": ["given"], "use": "people", "person": "by"}
    answer = owner.post(f"/projects/{project.pk}/configure/start/labels/", data, follow=True)
    assert "12 rows are corrected." in answer.content.decode()
    assert labels_of(project) == ["bad", "good"] * 6
    assert project.samples.filter(corrected_by=mia).count() == 3
    for batch in project.correction_batches.all():
        bulk.undo_batch(batch, user=project.owner)
    assert set(labels_of(project)) == {None}


def test_a_column_is_taken_as_coarse_labels(project: Project, owner: Client) -> None:
    owner.post(
        f"/projects/{project.pk}/configure/start/labels/", {"label_columns": ["given"], "use": "coarse"}
    )
    assert Stage.objects.get(project=project, kind="given").status == Stage.Status.QUEUED


def test_the_labeling_page_shows_that_labels_are_being_taken_and_why_they_could_not_be(
    project: Project, owner: Client
) -> None:
    url, given = f"/projects/{project.pk}/labeling/", {"label_columns": ["by"], "use": "coarse"}
    assert "Not started yet" in owner.get(url).content.decode()
    owner.post(f"/projects/{project.pk}/configure/start/labels/", given)
    stage = Stage.objects.get(project=project, kind="given")
    html = owner.get(url).content.decode()
    assert f'data-stage="{stage.pk}"' in html
    assert "Taking of existing labels" in html
    assert "Not started yet" not in html
    assert "in the prompt" not in html
    run_stage(stage.pk)
    html = owner.get(url).content.decode()
    assert "No cell of the chosen columns names a label of the project." in html
    assert "Continue configuration" in html


def test_the_labeling_page_shows_the_round_once_the_labels_are_taken(project: Project, owner: Client) -> None:
    given = {"label_columns": ["given"], "use": "coarse"}
    owner.post(f"/projects/{project.pk}/configure/start/labels/", given)
    run_stage(Stage.objects.get(project=project, kind="given").pk)
    html = owner.get(f"/projects/{project.pk}/labeling/").content.decode()
    assert f'data-stage="{Stage.objects.get(project=project, kind="llm").pk}"' in html
    assert "SLM filtering is already running." in html
    assert "Columns with labels</dt> <dd>given</dd>" in " ".join(html.split())
    assert "Not started yet" not in html
    assert "in the prompt" not in html


def edited_csv(path: Path, edit: Callable[[list[dict[str, str]]], None]) -> bytes:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    edit(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def send(owner: Client, project: Project, data: bytes, name: str) -> str:
    url = f"/projects/{project.pk}/configure/data/upload/"
    return owner.post(url, {"file": SimpleUploadedFile(name, data)}, follow=True).content.decode()


def test_changed_labels_of_an_export_become_corrections_and_conflicts_are_told(
    project: Project, owner: Client, tmp_path: Path
) -> None:
    good, _bad = project.label_list()
    rows = list(project.samples.order_by("position"))
    for row in rows[:6]:
        corrections.correct_sample(row.pk, label_id=good.pk, user=project.owner)
    write_csv(project, tmp_path / "a.csv")
    project.samples.filter(pk=rows[1].pk).update(corrected_at="2030-01-01T00:00:00Z")

    def edit(lines: list[dict[str, str]]) -> None:
        for at in (0, 1, 7):
            lines[at]["final_label"] = "bad"
        lines[2]["final_label"], lines[3]["final_label"], lines[4]["id"] = "", "what", "r99"

    html = send(owner, project, edited_csv(tmp_path / "a.csv", edit), "back.csv")
    assert "3 rows have another label in this file" in html
    assert "1 of them was corrected here after the export." in " ".join(html.split())
    assert html.count("corrected since") == 2
    stored = Upload.objects.latest("pk")
    owner.post(f"/projects/{project.pk}/configure/data/{stored.pk}/edits/")
    assert labels_of(project) == ["bad", "good", "good", "good", "good", "good", None, "bad", *[None] * 4]
    assert not Upload.objects.filter(pk=stored.pk).exists()


def test_an_edited_workbook_is_known_by_its_ids_and_conflicts_are_taken_if_asked(
    project: Project, owner: Client, tmp_path: Path
) -> None:
    good, _bad = project.label_list()
    first = project.samples.get(position=0)
    write_excel(project, tmp_path / "a.xlsx")
    corrections.correct_sample(first.pk, label_id=good.pk, user=project.owner)
    book, back = load_workbook(tmp_path / "a.xlsx"), io.BytesIO()
    book["Rows"]["E2"] = "bad"
    book.save(back)
    assert "1 row has another label" in send(owner, project, back.getvalue(), "back.xlsx")
    url = f"/projects/{project.pk}/configure/data/{Upload.objects.latest('pk').pk}/edits/"
    owner.post(url, {"with_conflicts": "on"})
    assert labels_of(project)[0] == "bad"


def test_what_models_said_later_is_no_edit(project: Project, owner: Client, tmp_path: Path) -> None:
    good, bad = project.label_list()
    project.samples.update(label=good, llm_label=good, source="llm")
    write_csv(project, tmp_path / "a.csv")
    project.samples.update(label=bad, llm_label=bad)
    html = send(owner, project, edited_csv(tmp_path / "a.csv", lambda rows: None), "back.csv")
    assert "0 rows have another label" in html
