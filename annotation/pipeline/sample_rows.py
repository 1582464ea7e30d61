"""From the rows of a file to samples: which cells make the text, what is a duplicate, what is rejected and why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from django.db.models import QuerySet

from annotation.files.records import RejectedRow, SourceRow
from annotation.models import Project, Sample
from annotation.pipeline.references import label_ids_by_value
from mlcore.records import Row

if TYPE_CHECKING:
    from annotation.pipeline.ingest import ImportReport

MAX_ID = 200
_LOOKUP = 500
# White space, and what has no width: a text of nothing else is empty to everyone who looks at it.
_INVISIBLE = " \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\xad\u1680\u180e\u3000\u3164\ufeff\ufffd\u2800" + "".join(
    map(chr, [*range(0x2000, 0x2010), *range(0x2028, 0x2030), *range(0x205F, 0x2070)])
)


class SampleMaker:
    """Makes samples of rows, by the project's mapping."""

    def __init__(self, project: Project, columns: Sequence[str]) -> None:
        place = {name: index for index, name in enumerate(columns)}
        self._project = project
        self._order = [place[name] for name in project.columns]
        self._in_order = self._order == list(range(len(columns)))
        self._content = [(name, project.columns.index(name)) for name in project.content_columns]
        self._id = project.columns.index(project.id_column) if project.id_column else -1
        self._reference = project.columns.index(project.reference_column) if project.reference_column else -1
        self._labels = label_ids_by_value(project)
        self._show = project.task.show if project.task.student == "table" else None

    def samples_of(self, batch: Iterable[SourceRow | RejectedRow], report: ImportReport) -> list[Sample]:
        """The samples of a batch, positions still open. Rejected rows and duplicates are told to the report."""
        made: list[tuple[int, Sample]] = []
        for row in batch:
            if isinstance(row, RejectedRow):
                report.note(row.line, "rejected", row.reason)
                continue
            sample = self._sample_of(row)
            if isinstance(sample, RejectedRow):
                report.note(sample.line, "rejected", sample.reason)
            else:
                made.append((row.line, sample))
        kept = self._first_of_each_id(made, report) if self._id >= 0 else self._unknown_texts(made, report)
        if self._reference >= 0:
            for sample in kept:
                report.count_reference(sample.fields[self._reference].strip())
        return kept

    def _sample_of(self, row: SourceRow) -> Sample | RejectedRow:
        cells = row.cells if self._in_order else [row.cells[place] for place in self._order]
        text = self._text_of(cells)
        if not text:
            return RejectedRow(row.line, "the text is empty")
        external_id = cells[self._id].strip() if self._id >= 0 else ""
        if len(external_id) > MAX_ID:
            return RejectedRow(row.line, f"the id has {len(external_id):,} characters; at most {MAX_ID} are allowed")
        return Sample(
            project=self._project,
            external_id=external_id,
            text=text,
            fields=cells,
            content_hash=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
            reference_id=self._labels.get(cells[self._reference].strip().casefold()) if self._reference >= 0 else None,
        )

    def _text_of(self, cells: list[str]) -> str:
        """What a person reads, or nothing if there is nothing to see."""
        filled = [(name, cells[place]) for name, place in self._content if cells[place].strip(_INVISIBLE)]
        if not filled:
            return ""
        if self._show:
            return self._show(Row(key=0, text="", fields={name: cells[place] for name, place in self._content}))
        return "\n".join([cell for _, cell in filled])

    def _first_of_each_id(self, made: Sequence[tuple[int, Sample]], report: ImportReport) -> list[Sample]:
        """One row per id: the same again is a duplicate, another text under the same id is rejected."""
        known = self._known("external_id", [sample.external_id for _, sample in made if sample.external_id])
        kept = []
        for line, sample in made:
            name = sample.external_id
            before = known.get(name) if name else None
            if before is None:
                known[name] = sample.content_hash
                kept.append(sample)
            elif before == sample.content_hash:
                report.note(line, "duplicate", f"the id {name!r} is on an earlier row with the same text")
            else:
                report.note(line, "rejected", f"the id {name!r} is on an earlier row with another text")
        return kept

    def _unknown_texts(self, made: Sequence[tuple[int, Sample]], report: ImportReport) -> list[Sample]:
        """Rows whose text no earlier file brought; equal texts within one file are all kept."""
        if not report.start_position:
            return [sample for _, sample in made]
        earlier = self._project.samples.filter(position__lt=report.start_position)
        known = self._known("content_hash", [sample.content_hash for _, sample in made], earlier)
        kept = []
        for line, sample in made:
            if sample.content_hash in known:
                report.note(line, "duplicate", "the same text is in the project already")
            else:
                kept.append(sample)
        return kept

    def _known(self, field: str, values: Sequence[str], rows: QuerySet[Sample] | None = None) -> dict[str, str]:
        """Of these values those that stored rows have, each with its row's content hash."""
        stored = self._project.samples.all() if rows is None else rows
        found: dict[str, str] = {}
        for begin in range(0, len(values), _LOOKUP):
            chunk = set(values[begin : begin + _LOOKUP])
            found.update(stored.order_by().filter(**{f"{field}__in": chunk}).values_list(field, "content_hash"))
        return found
