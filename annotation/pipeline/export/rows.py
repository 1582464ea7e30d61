"""Which rows an export has, and the cells of each: the uploaded ones, then CORAL's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Self

from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from annotation.errors import AnnotationError, NotReadyError
from annotation.files.cells import TEXT, TypedText
from annotation.files.excel.writer import Cell
from annotation.files.writers import NUMBERS, RESULT_COLUMNS, result_columns
from annotation.jobs.details import ExportDetail
from annotation.models import Flag, Project, Sample, Source
from annotation.models.sql import parts_by_key
from annotation.table.filters import plain_query, stored_conditions

OnProgress = Callable[[int], None]

READ_ROWS = 2_000
TELL_ROWS = 500
# Words in the file, the same in every language of the pages, so that a file can be read by a program.
SOURCE_WORDS = {Source.NONE: "", Source.LLM: "LLM", Source.SLM: "SLM", Source.PERSON: "person"}
FLAG_WORDS = {
    Flag.NONE: "",
    Flag.RIGHT: "likely right",
    Flag.WRONG: "likely wrong",
    Flag.INCONSISTENT: "inconsistent",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows are exported; all of them if nothing is said.

    Attributes:
        query: a filter of the table, as its address has it.
        certainty: how probable it must be that the final label is right, 0 to 1. What a person decided counts as
            certain, a row that no small model has judged as not.
    """

    query: str = ""
    certainty: float | None = None

    @classmethod
    def of(cls, project: Project, *, query: str = "", certainty: float | None = None) -> Self:
        """A selection that has rows.

        Raises:
            AnnotationError: the filter does not fit the project, or the certainty is no share.
            NotReadyError: there are no such rows.
        """
        if certainty is not None and not 0 <= certainty <= 1:
            raise AnnotationError("The minimum probability must be between 0 and 100 %.")
        selection = cls(plain_query(project, query) if query else "", certainty)
        if not project.samples.exists():
            raise NotReadyError("The project has no rows to export yet. Upload a file first.")
        if query and not selection.query:
            stored_conditions(project, query)  # says what does not fit
        if not selection.rows(project).exists():
            raise NotReadyError("No row matches. Choose other rows, or all.")
        return selection

    @classmethod
    def stored(cls, detail: ExportDetail) -> Self:
        """The selection that a stage was started with."""
        return cls(detail.query, detail.certainty)

    def rows(self, project: Project) -> QuerySet[Sample]:
        """The rows, put so that whoever reads them in their order, page by page, goes through them once."""
        rows: QuerySet[Sample] = project.samples.order_by()
        if self.query:
            rows = stored_conditions(project, self.query).apply_in_order(rows, indexed={})
        if self.certainty is not None:
            # Not the bare column: the index of risks would have each page sorted anew.
            rows = rows.alias(seen_risk=Coalesce("risk", 2.0)).filter(seen_risk__lte=1 - self.certainty)
        return rows

    @property
    def is_all(self) -> bool:
        return self == Selection()

    @property
    def words(self) -> list[str]:
        """The selection in the words of a file's name and of its own description."""
        chosen = ["filtered"] if self.query else []
        return chosen if self.certainty is None else [*chosen, f"from-{self.certainty * 100:g}-percent"]


ALL_ROWS = Selection()
COLUMNS = (
    "fields",
    "cell_types",
    "label_id",
    "source",
    "llm_label_id",
    "slm_label_id",
    "confidence",
    "clean_prob",
    "risk",
    "flag",
    "corrected_by__username",
    "corrected_at",
    "round",
    "mark__unclear",
    "mark__note",
)


def export_header(project: Project) -> list[str]:
    """The uploaded columns, then CORAL's."""
    return [*project.columns, *result_columns(project.columns)]


def number_columns(project: Project) -> dict[str, type[int] | type[float]]:
    """The columns that hold numbers, under the names that they have beside this project's own."""
    names = zip(result_columns(project.columns), RESULT_COLUMNS, strict=True)
    return {name: NUMBERS[plain] for name, plain in names if plain in NUMBERS}


def export_rows(
    project: Project, selection: Selection = ALL_ROWS, on_progress: OnProgress | None = None
) -> Iterator[list[Cell]]:
    """The selected rows in their order, read in pages so that neither memory nor a lock grows with the corpus."""
    names = dict(project.labels.values_list("pk", "name"))
    rows = selection.rows(project).values_list("position", *COLUMNS)
    done = 0
    for part in parts_by_key(rows, "position", READ_ROWS, itemgetter(0)):
        for _position, *values in part:
            yield _cells(values, names)
            done += 1
            if on_progress and done % TELL_ROWS == 0:
                on_progress(done)
    if on_progress:
        on_progress(done)


def _cells(values: Sequence[Any], names: dict[int, str]) -> list[Cell]:
    fields, types, label, source, llm, slm, confidence, clean, risk, flag, person, when, number, *marks = (
        values
    )
    unclear, note = marks
    if source == Source.PERSON:  # the models' opinion of a label that is not theirs any more
        clean, flag = None, Flag.NONE
    if types:
        fields = [
            cell if letter == TEXT else TypedText.of(cell, letter)
            for cell, letter in zip(fields, types, strict=True)
        ]
    return [
        *fields,
        names.get(label, ""),
        SOURCE_WORDS[source],
        names.get(llm, ""),
        names.get(slm, ""),
        _rounded(confidence),
        _rounded(clean),
        _rounded(risk),
        FLAG_WORDS[flag],
        person or "",
        when.isoformat(timespec="seconds") if when else "",
        number if label else None,
        "unclear" if unclear else "",
        note or "",
    ]


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)
