"""Exports for other annotation tools, with all that CORAL knows of each row; importing their files brings it back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_STORED, ZipFile

from annotation.files.parquet_writer import write_parquet_rows
from annotation.files.tools import argilla, doccano, hugging_face, label_studio, prodigy
from annotation.files.tools.rows import Opinion, Record, ToolRow
from annotation.files.writers import PREFIX, RESULT_COLUMNS, write_csv_rows
from annotation.models import Project
from annotation.pipeline.export.data_card import data_card
from annotation.pipeline.export.rows import (
    ALL_ROWS,
    OnProgress,
    Selection,
    export_header,
    export_rows,
    number_columns,
)

Writer = Callable[..., int]


def tool_rows(project: Project, selection: Selection, on_progress: OnProgress | None) -> Iterator[ToolRow]:
    """The rows of an export, with the models' opinions beside the cells."""
    header, content = (
        export_header(project),
        [project.columns.index(name) for name in project.content_columns],
    )
    for cells in export_rows(project, selection, on_progress):
        known = dict(zip(RESULT_COLUMNS, cells[len(project.columns) :], strict=True))
        texts = (str(cells[place]) for place in content)
        risk = known["risk"]
        sure = None if risk is None else 1.0 - float(str(risk))
        opinions = [Opinion("final", str(known["final_label"]), sure)] if known["final_label"] else []
        for model, column, confidence in (
            ("LLM", "llm_label", None),
            ("SLM", "slm_label", known["confidence"]),
        ):
            if known[column]:
                opinions.append(
                    Opinion(model, str(known[column]), None if confidence is None else float(str(confidence)))
                )
        yield ToolRow(
            text="\n".join(text for text in texts if text.strip()),
            cells=dict(zip(header, cells, strict=True)),
            label=str(known["final_label"]),
            person=str(known["corrected_by"]),
            at=str(known["corrected_at"]),
            opinions=tuple(opinions),
        )


def _label_names(project: Project) -> list[str]:
    return [label.name for label in project.label_list()]


def _json_writer(
    records: Callable[[Iterable[ToolRow], Sequence[str]], Iterable[Record]], *, lines: bool
) -> Writer:
    """A writer of an array of objects, or of an object a line."""

    def write(
        project: Project,
        path: Path,
        *,
        selection: Selection = ALL_ROWS,
        on_progress: OnProgress | None = None,
    ) -> int:
        count, between = 0, "\n" if lines else ",\n"
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write("" if lines else "[\n")
            for record in records(tool_rows(project, selection, on_progress), _label_names(project)):
                file.write((between if count else "") + json.dumps(record, ensure_ascii=False))
                count += 1
            file.write("\n" if lines else "\n]\n")
        return count

    return write


def write_doccano_csv(
    project: Project, path: Path, *, selection: Selection = ALL_ROWS, on_progress: OnProgress | None = None
) -> int:
    """Write rows as a CSV file that doccano imports. Returns the number of rows."""
    header = [f"{PREFIX}{name}" if name in doccano.COLUMNS else name for name in export_header(project)]
    examples = doccano.lines(tool_rows(project, selection, on_progress))
    with path.open("w", encoding="utf-8", newline="") as file:
        return write_csv_rows(
            file, [*doccano.COLUMNS, *header], (list(example.values()) for example in examples)
        )


def write_hugging_face(
    project: Project, path: Path, *, selection: Selection = ALL_ROWS, on_progress: OnProgress | None = None
) -> int:
    """Write a zip file of the folder of a Hugging Face data set. Returns the number of rows."""
    with TemporaryDirectory(dir=path.parent) as working:
        count, files = data_set_files(project, Path(working), selection, on_progress)
        with ZipFile(path, "w", ZIP_STORED) as packed:
            for name, file in files.items():
                packed.write(file, name)
    return count


def data_set_files(
    project: Project,
    folder: Path,
    selection: Selection = ALL_ROWS,
    on_progress: OnProgress | None = None,
) -> tuple[int, Mapping[str, Path]]:
    """Write the files of a data set into a folder. Returns the number of rows, and the files by their names."""
    header, labels = export_header(project), _label_names(project)
    label_column = "label"
    while label_column in header:
        label_column = PREFIX + label_column
    place = {name: number for number, name in enumerate(labels)}

    def with_class() -> Iterator[list[Any]]:
        final = len(project.columns)
        for cells in export_rows(project, selection, on_progress):
            yield [*cells, place.get(str(cells[final]))]

    files = {hugging_face.DATA: folder / "train.parquet", hugging_face.CARD: folder / "card.md"}
    count = write_parquet_rows(
        files[hugging_face.DATA],
        [*header, label_column],
        number_columns(project) | {label_column: int},
        with_class,
        typed=project.samples.exclude(cell_types="").exists(),
        metadata=hugging_face.schema_metadata(label_column, labels),
    )
    files[hugging_face.CARD].write_text(data_card(project, count, label_column), encoding="utf-8")
    return count, files


#: By the end of the file's name.
TOOL_WRITERS: dict[str, Writer] = {
    "label-studio.json": _json_writer(lambda rows, labels: label_studio.tasks(rows), lines=False),
    "label-studio-min.json": _json_writer(lambda rows, labels: label_studio.small_tasks(rows), lines=False),
    "doccano.jsonl": _json_writer(lambda rows, labels: doccano.examples(rows), lines=True),
    "doccano.csv": write_doccano_csv,
    "argilla.json": _json_writer(lambda rows, labels: argilla.records(rows), lines=False),
    "prodigy.jsonl": _json_writer(prodigy.tasks, lines=True),
    "huggingface.zip": write_hugging_face,
}
