from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from annotation.jobs import kinds
from annotation.management.commands import up
from annotation.models import Project, Stage
from annotation.pipeline.label import run_labeling
from tests.support.factories import BAD, GOOD, ScriptedModel, judge_sentiment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A file that is sorted by its label, as many are."""
    lines = [f"{row},{GOOD[row % 4]} ({row}),positive" for row in range(40)]
    lines += [f"{row},{BAD[row % 4]} ({row}),negative" for row in range(40, 80)]
    path = tmp_path / "films.csv"
    path.write_text("id,text,label\n" + "\n".join(line.replace(", ", " ") for line in lines))
    return path


def use_scripted_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(query: str, names: Any) -> Any:
        good = any(text.replace(",", "") in query.replace(",", "") for text in GOOD)
        return judge_sentiment(GOOD[0] if good else BAD[0], names)

    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: ScriptedModel(judge))


def test_a_database_of_a_newer_program_is_left_alone() -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_applied("annotation", "9999_of_a_later_version")
    try:
        with pytest.raises(CommandError, match="brought up to 9999_of_a_later_version by a newer version"):
            up.check_not_newer()
    finally:
        recorder.record_unapplied("annotation", "9999_of_a_later_version")
    up.check_not_newer()


def run(*arguments: Any) -> str:
    output = StringIO()
    call_command(*[str(argument) for argument in arguments], stdout=output)
    return output.getvalue()


def test_run_rounds_labels_a_file_and_prints_each_steps_accuracy(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_scripted_model(monkeypatch)
    printed = run(
        "run_rounds", "--input", corpus, "--limit", 60, "--rounds", 1, "--out", tmp_path / "out.xlsx"
    )

    assert "round   LLM       SLM       final" in printed
    assert "100.0 %" in printed
    assert "60 rows in" in printed
    project = Project.objects.get()
    assert set(project.labels.values_list("name", flat=True)) == {"positive", "negative"}
    assert project.samples.filter(reference__isnull=False).count() == 60
    # Drawn at random: the first 60 rows of this sorted file would hold two positives to one negative.
    assert 20 <= project.samples.filter(reference__name="negative").count() <= 40
    header, *rows = openpyxl.load_workbook(tmp_path / "out.xlsx").worksheets[0].iter_rows(values_only=True)
    assert header[:3] == ("id", "text", "label")
    assert len(rows) == 60


def test_columns_with_other_names_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_scripted_model(monkeypatch)
    path = tmp_path / "films.csv"
    lines = [f"{row},{(GOOD + BAD)[row % 8].replace(',', '')} {row},{'ab'[row % 8 > 3]}" for row in range(16)]
    path.write_text("number,remark,grade\n" + "\n".join(lines))
    run(
        "run_rounds",
        "--input",
        path,
        "--id",
        "number",
        "--reference",
        "grade",
        "--rounds",
        1,
        "--out",
        tmp_path / "o.xlsx",
    )
    project = Project.objects.get()
    assert (project.id_column, project.content_columns, project.reference_column) == (
        "number",
        ["remark"],
        "grade",
    )


def test_a_missing_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no file at"):
        run("run_rounds", "--input", tmp_path / "none.csv", "--out", tmp_path / "out.xlsx")


def test_a_wrong_column_gets_a_sentence(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="words"):
        run("run_rounds", "--input", corpus, "--content", "words", "--out", tmp_path / "out.xlsx")
    assert not Stage.objects.filter(kind=kinds.LLM.key).exists()


def test_a_file_without_labels_gets_a_sentence(corpus: Path, tmp_path: Path) -> None:
    corpus.write_text("id,text\n" + "\n".join(f"{row},text {row}" for row in range(20)))
    with pytest.raises(CommandError, match="at least 2"):
        run("run_rounds", "--input", corpus, "--out", tmp_path / "out.xlsx")


def test_the_demo_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel(lambda query, names: len(query) % len(names))
    monkeypatch.setattr(run_labeling, "open_model", lambda *args, **kwargs: model)
    first = run("demo", "--target", 60)
    assert "400 rows" in first
    projects = list(Project.objects.order_by("pk").values_list("pk", "name"))
    assert [name for _pk, name in projects] == ["Customer messages", "商品评价"]

    second = run("demo", "--target", 60)
    assert list(Project.objects.order_by("pk").values_list("pk", "name")) == projects
    assert Stage.objects.filter(kind=kinds.LLM.key).count() == 1
    assert "customer_messages.xlsx" in second
