"""The report of an import: what became of the rows of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from operator import itemgetter
from typing import Any, Literal

from django.utils.translation import gettext as _

from annotation.models import LeftOutRow, Project, Upload
from annotation.models.sql import parts_by_key
from annotation.pipeline.ingest.reference_labels import MAX_VALUES
from mlcore.messages import Message

KEPT_ROWS = 1_000
_READ_ROWS = 2_000

LeftOut = tuple[int, str, Message]


@dataclass(slots=True)
class ImportReport:
    """What became of the rows of a file.

    ``rows`` names the first rejected and duplicate ones: line, outcome, reason. All of them are in the database.
    """

    read: int = 0
    imported: int = 0
    duplicates: int = 0
    rejected: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    reference_values: dict[str, int] = field(default_factory=dict)
    further_references: int = 0  # rows with other values than the first 1,000
    start_position: int | None = None
    finished: bool = False
    rows: list[LeftOut] = field(default_factory=list)
    unsaved: list[LeftOut] = field(default_factory=list)

    @classmethod
    def of(cls, upload: Upload) -> ImportReport:
        report = cls(**{name: value for name, value in upload.report.items() if name in _STORED})
        rows = upload.left_out.values_list("line", "outcome", "reason")[:KEPT_ROWS]
        report.rows = [(line, outcome, Message.of(reason)) for line, outcome, reason in rows]
        return report

    def save(self, upload: Upload) -> None:
        """Store the report, and the rows that it has named since it was stored last."""
        LeftOutRow.objects.bulk_create(
            [
                LeftOutRow(upload=upload, line=line, outcome=outcome, reason=reason.as_text())
                for line, outcome, reason in sorted(self.unsaved, key=itemgetter(0))
            ],
            batch_size=1_000,
        )
        self.unsaved.clear()
        Upload.objects.filter(pk=upload.pk).update(report={name: getattr(self, name) for name in _STORED})

    def note(self, line: int, outcome: Literal["rejected", "duplicate"], reason: Message) -> None:
        if outcome == "rejected":
            self.rejected += 1
        else:
            self.duplicates += 1
        self.unsaved.append((line, outcome, reason))
        if len(self.rows) < KEPT_ROWS:
            self.rows.append((line, outcome, reason))

    def count_reference(self, value: str) -> None:
        if value == "[]":  # a list of no labels
            return
        if value in self.reference_values or (value and len(self.reference_values) < MAX_VALUES):
            self.reference_values[value] = self.reference_values.get(value, 0) + 1
        elif value:
            self.further_references += 1


_STORED = [each.name for each in fields(ImportReport) if each.name not in ("rows", "unsaved")]


def clear_report(upload: Upload) -> None:
    """Forget what became of an upload's rows, since they are not in the project any more."""
    Upload.objects.filter(pk=upload.pk).update(report={})
    upload.left_out.all().delete()


def left_out_rows(upload: Upload) -> Iterator[LeftOut]:
    """Every row of the file that was not imported, in the order of the file."""
    rows = upload.left_out.values_list("pk", "line", "outcome", "reason")
    for part in parts_by_key(rows, "pk", _READ_ROWS, itemgetter(0)):
        for _pk, line, outcome, reason in part:
            yield line, outcome, Message.of(reason)


def finished_uploads(project: Project) -> list[Upload]:
    """The files that were imported, in the order in which they were uploaded."""
    return [upload for upload in project.uploads.order_by("pk") if upload.report.get("finished")]


def rejected_uploads(project: Project) -> list[Upload]:
    """The imported files of which rows were rejected."""
    return [upload for upload in finished_uploads(project) if upload.report.get("rejected")]


def stored_summary(report: dict[str, Any]) -> str:
    """A finished import in one line, as the exported file tells it."""
    counts = ("read", "imported", "duplicates", "rejected")
    return _(
        "%(read)s rows read = %(imported)s imported + %(duplicates)s duplicates + %(rejected)s rejected"
    ) % {name: f"{report[name]:,}" for name in counts}
