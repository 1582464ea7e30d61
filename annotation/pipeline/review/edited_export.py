"""An export that comes back with labels changed in a spreadsheet: which rows were changed, and by whom else meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

from django.contrib.auth.models import User

from annotation.errors import AnnotationError
from annotation.files.open_table import open_table
from annotation.files.records import Reading, SourceRow
from annotation.files.writers import RESULT_COLUMNS, result_columns
from annotation.models import CorrectionBatch, Project, Sample, Upload
from annotation.pipeline.ingest.reference_labels import label_finder, plain_label
from annotation.pipeline.ingest.upload import file_limits, path_of
from annotation.pipeline.review.bulk import Choice, start_batch

SHOWN_CHANGES = 200
_ROWS = 1_000
_NEEDED = ("final_label", "source", "llm_label", "slm_label", "corrected_at")


class Change(NamedTuple):
    """A row whose label was changed in the file; ``is_conflict``: somebody has corrected it since the export."""

    sample_id: int
    name: str
    text: str
    now: str
    label: str
    label_id: int
    is_conflict: bool


@dataclass(slots=True)
class Edits:
    """What was changed in an export. ``unknown`` counts changed labels that are none of the project's, ``cleared`` those
    that were taken away, ``missing`` rows that the project hasn't."""

    changes: list[Change] = field(default_factory=list)
    unknown: int = 0
    cleared: int = 0
    missing: int = 0

    @property
    def conflicts(self) -> list[Change]:
        return [change for change in self.changes if change.is_conflict]

    @property
    def shown(self) -> list[Change]:
        return sorted(self.changes, key=lambda change: not change.is_conflict)[:SHOWN_CHANGES]


def is_edited_export(project: Project, upload: Upload) -> bool:
    """Whether a file is an export of this project's rows, which their id column names."""
    names = dict(zip(RESULT_COLUMNS, result_columns(project.columns), strict=True))
    needed = {project.id_column, *(names[name] for name in _NEEDED)}
    return bool(project.id_column) and needed <= set(upload.columns) and project.samples.exists()


def read_edits(project: Project, upload: Upload) -> Edits:
    """Compare the file's labels with those that the file itself says were exported."""
    reading = Reading.from_dict(upload.reading)
    reading = replace(reading, inner=tuple(name for name in reading.inner if name == project.id_column))
    table = open_table(path_of(upload), reading, file_limits())
    names = dict(zip(RESULT_COLUMNS, result_columns(project.columns), strict=True))
    places = {name: table.columns.index(names[name]) for name in _NEEDED}
    row_id = table.columns.index(project.id_column)
    find, edits = label_finder(project), Edits()
    rows = (row.cells for row in table.rows if isinstance(row, SourceRow))
    while part := list(islice(rows, _ROWS)):
        keys = {cells[row_id].strip() for cells in part} - {""}
        samples = {
            sample.external_id: sample
            for sample in project.samples.filter(external_id__in=keys).select_related("label", "corrected_by")
        }
        for cells in part:
            sample = samples.get(cells[row_id].strip())
            if sample is None:
                edits.missing += 1
                continue
            exported = {name: cells[place].strip() for name, place in places.items()}
            _compare(sample, exported, find(exported["final_label"]), edits)
    return edits


def take_edits(project: Project, upload: Upload, *, with_conflicts: bool, user: User) -> CorrectionBatch:
    """Correct the rows whose label was changed in the file; those with conflicts only where that is asked for.

    Raises:
        AnnotationError: no label was changed.
    """
    changes = [each for each in read_edits(project, upload).changes if with_conflicts or not each.is_conflict]
    if not changes:
        raise AnnotationError("There is no row left to change. Choose other rows, or another filter.")
    labels = {change.sample_id: change.label_id for change in changes}
    return start_batch(
        project, Choice(samples=list(labels), labels=labels, include_corrected=True), user=user
    )


def _compare(sample: Sample, exported: dict[str, str], label_id: int | None, edits: Edits) -> None:
    label = exported["final_label"]
    was_corrected = _moment(sample)
    is_later = was_corrected != exported["corrected_at"].replace(" ", "T")
    now = sample.label.name if sample.label else ""
    before = {"LLM": exported["llm_label"], "SLM": exported["slm_label"], "": ""}.get(exported["source"])
    if before is None:  # a person's, which the row still has unless somebody corrected it since
        before = None if is_later else now
    if label == before or label_id == sample.label_id:
        return
    if not label:
        edits.cleared += 1
    elif label_id is None:
        edits.unknown += 1
    else:
        edits.changes.append(
            Change(
                sample.pk, sample.external_id, sample.text[:200], now, plain_label(label), label_id, is_later
            )
        )


def _moment(sample: Sample) -> str:
    return sample.corrected_at.isoformat(timespec="seconds") if sample.corrected_at else ""
