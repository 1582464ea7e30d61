from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pyarrow.parquet as pq
import pytest

from annotation.jobs.work import run_stage
from annotation.models import Project, Stage
from annotation.pipeline.export.run_export import export_path, start_export
from annotation.pipeline.project.goal import set_goal
from annotation.pipeline.review import corrections
from tests.support.doors import TOOLS, lost_values, read_rows
from tests.support.factories import make_project
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project() -> Project:
    """Rows with a label of each source, odd characters, and column names that the tools use themselves."""
    made = make_project(rows=12)
    judge_rows(made)
    made.columns, made.content_columns = ["id", "text", "label"], ["text"]
    made.save()
    first, second = made.samples.order_by("position")[:2]
    first.fields[1] = first.text = "=1+1\n“双引号”, 'quotes' \\ and\ttabs"
    first.save()
    corrections.correct_sample(second.pk, label_id=first.reference_id, user=made.owner)
    return made


@pytest.mark.parametrize("format", TOOLS)
def test_a_file_brings_back_all_that_was_known(project: Project, tmp_path: Path, format: str) -> None:
    assert lost_values(project, format, tmp_path) == 0


@pytest.mark.parametrize(
    ("format", "label", "by"),
    [
        ("label-studio.json", "Label Studio label", "annotator"),
        ("label-studio-min.json", "Label Studio label", "annotator"),
        ("doccano.jsonl", "doccano label", "annotator"),
        ("argilla.json", "Argilla label", "annotator"),
        ("prodigy.jsonl", "Prodigy label", "annotator"),
    ],
)
def test_the_tool_s_own_label_stands_beside_the_columns(
    project: Project, tmp_path: Path, format: str, label: str, by: str
) -> None:
    assert lost_values(project, format, tmp_path) == 0
    rows = read_rows(tmp_path / f"rows.{format}")
    person = rows[1]
    assert person[label] == person["final_label"]
    if format in ("argilla.json", "prodigy.jsonl", "label-studio-min.json"):
        assert person[by] == "olga"


def test_what_was_changed_in_label_studio_is_read_back(project: Project, tmp_path: Path) -> None:
    assert lost_values(project, "label-studio.json", tmp_path) == 0
    path = tmp_path / "rows.label-studio.json"
    tasks = json.loads(path.read_text())
    assert [part["model_version"] for part in tasks[0]["predictions"]] == ["final", "LLM", "SLM"]
    changed = tasks[0]["predictions"][0]["result"]
    changed[0]["value"]["choices"] = ["negative"]
    tasks[0]["annotations"] = [{"id": 1, "completed_by": {"email": "ann@x.org"}, "result": changed}]
    path.write_text(json.dumps(tasks))
    row = read_rows(path)[0]
    assert (row["Label Studio label"], row["annotator"]) == ("negative", "ann@x.org")


def test_a_data_set_has_its_labels_as_classes_and_a_card_with_the_certificate(
    project: Project, tmp_path: Path
) -> None:
    set_goal(project, user=project.owner, target=0.9, money=None, minutes=None, autopilot=False)
    stage = start_export(project, user=project.owner, format="huggingface.zip")
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    with ZipFile(export_path(stage)) as packed:
        packed.extractall(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "path: data/train.parquet" in card
    assert "labels are right, with 95" in card
    table = pq.read_table(tmp_path / "data" / "train.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["coral_label"] == {"names": ["positive", "negative"], "_type": "ClassLabel"}
    names = features["coral_label"]["names"]
    assert [names[number] for number in table["coral_label"].to_pylist()] == table["final_label"].to_pylist()
