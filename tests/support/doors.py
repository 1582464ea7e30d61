"""Round trips through other tools' files: what CORAL knew of each row, and what a read file still tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

from annotation.files.open_table import open_table
from annotation.files.records import Limits, RejectedRow
from annotation.files.sniff import recognise
from annotation.files.tools.doccano import COLUMNS
from annotation.files.tools.hugging_face import DATA
from annotation.models import Project
from annotation.pipeline.export.rows import export_header, export_rows
from annotation.pipeline.export.run_export import WRITERS

#: Formats by the tool that they belong to; CORAL's own are one.
TOOLS = {
    "label-studio.json": "Label Studio",
    "label-studio-min.json": "Label Studio",
    "doccano.jsonl": "doccano",
    "doccano.csv": "doccano",
    "argilla.json": "Argilla",
    "prodigy.jsonl": "Prodigy",
    "huggingface.zip": "Hugging Face",
    "jsonl": "CORAL",
    "csv": "CORAL",
    "xlsx": "CORAL",
    "parquet": "CORAL",
}


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a file as CORAL's import reads them."""
    if path.suffix == ".zip":
        with ZipFile(path) as packed:
            path = Path(packed.extract(DATA, path.parent))
    limits = Limits()
    table = open_table(path, recognise(path, limits), limits)
    rows = []
    for row in table.rows:
        assert not isinstance(row, RejectedRow), str(row.reason)
        rows.append(dict(zip(table.columns, row.cells, strict=True)))
    return rows


def lost_values(project: Project, format: str, folder: Path) -> int:
    """How many values of the rows a file of this format does not bring back; a missing row loses all of its."""
    path = folder / f"rows.{format}"
    WRITERS[format](project, path)
    header, known = export_header(project), list(export_rows(project))
    back = read_rows(path)
    lost = len(header) * abs(len(known) - len(back))
    for cells, row in zip(known, back, strict=False):
        for name, value in zip(header, cells, strict=True):
            there = f"coral_{name}" if format == "doccano.csv" and name in COLUMNS else name
            lost += not _same(value, row.get(there))
    return lost


def _same(known: Any, back: str | None) -> bool:
    if known is None:
        return back in ("", None)  # Argilla leaves out what has no value
    if isinstance(known, float):
        return bool(back) and abs(float(back or "nan") - known) < 1e-9
    return str(known) == back
