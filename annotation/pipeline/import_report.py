"""The report of an import: what became of the rows of a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from annotation.models import Upload
from annotation.pipeline.references import MAX_VALUES

KEPT_ROWS = 1_000


@dataclass(slots=True)
class ImportReport:
    """What became of the rows of a file. ``rows`` names the first rejected and duplicate ones: line, outcome, reason."""

    read: int = 0
    imported: int = 0
    duplicates: int = 0
    rejected: int = 0
    rows: list[tuple[int, str, str]] = field(default_factory=list)
    warnings: dict[str, int] = field(default_factory=dict)
    reference_values: dict[str, int] = field(default_factory=dict)
    start_position: int | None = None
    finished: bool = False

    @classmethod
    def of(cls, upload: Upload) -> ImportReport:
        report = cls(**upload.report)
        report.rows = [
            (line, outcome, reason) for line, outcome, reason in report.rows
        ]  # JSON knows lists only
        return report

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def note(self, line: int, outcome: Literal["rejected", "duplicate"], reason: str) -> None:
        if outcome == "rejected":
            self.rejected += 1
        else:
            self.duplicates += 1
        if len(self.rows) < KEPT_ROWS:
            self.rows.append((line, outcome, reason))

    def count_reference(self, value: str) -> None:
        if value and (value in self.reference_values or len(self.reference_values) < MAX_VALUES):
            self.reference_values[value] = self.reference_values.get(value, 0) + 1
