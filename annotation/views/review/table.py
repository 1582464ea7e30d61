"""The table of rows that the working pages share: the current state, or what a round said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _

from annotation.forms.fields import sentence_of
from annotation.models import Iteration, Label, Prediction, Project, Sample, Source
from annotation.pipeline.measure.draw_sample import open_draws
from annotation.table.columns import Columns, FurtherColumn, columns_of
from annotation.table.counts import Counts, count_matching, count_rows
from annotation.table.form import TableForm
from annotation.table.keyset import PAGE_ROWS, SORTS, Cursor, Page
from annotation.views.access import MemberRequest
from annotation.views.project.projects import bad_request

NEWEST_ROWS = 50
DISTRIBUTION_ROWS = 2_000  # newest answers whose labels are counted while a run fills the table
SHOWN_LABELS = 12
#: The orders that a click on a column's head changes between: of a number, what deserves a look comes first.
COLUMN_ORDERS = {
    "number": ("position", "queue"),
    "confidence": ("confidence", "-confidence"),
    "clean": ("clean", "-clean"),
    "flag": ("risk", "queue"),
}


@dataclass(slots=True)
class TableRow:
    """A row as a page shows it: today's state of the sample, or what one round's models said of it."""

    sample: Sample
    llm_label: Label | None = None
    llm_raw: str = ""
    llm_error: str = ""
    llm_kept: bool = False
    slm_label: Label | None = None
    confidence: float | None = None
    clean_prob: float | None = None
    clean_rank: int | None = None
    flag: str = ""
    label: Label | None = None
    source: str = ""
    sentence: str = ""
    saved: bool = False
    blind: bool = False
    cells: list[tuple[Any, Any]] = field(default_factory=list)
    further: list[tuple[Any, Any]] = field(default_factory=list)
    of_round: bool = False

    @property
    def label_source(self) -> str:
        """Which models say what the row's label is; it can come from weighing what both say, and be neither's."""
        says_llm, says_slm = self.label == self.llm_label, self.label == self.slm_label
        if says_llm and says_slm:
            return _("both models")
        return _("LLM") if says_llm else _("SLM") if says_slm else _("both combined")

    @property
    def tone(self) -> str:
        """The class that colours the row: today a person's word outweighs the models' flag."""
        return "person" if self.source == Source.PERSON and not self.of_round else self.flag


@dataclass(slots=True)
class Table:
    form: TableForm
    page: Page
    rows: list[TableRow] = field(default_factory=list)
    columns: Columns | None = None
    counts: Counts | None = None
    matching: int | None = None  # rows that match, where they can be counted

    @property
    def next_query(self) -> str:
        return self._query("after", self.page.next)

    @property
    def previous_query(self) -> str:
        return self._query("before", self.page.previous)

    @property
    def looked_at(self) -> int:
        """How many rows the search has looked at, with those of the pages before."""
        return (self.form.cleaned_data["far"] or 0) + (self.page.searched or 0)

    @property
    def first_number(self) -> int:
        """The place of the page's first row among those that match, from 1."""
        wanted = self.form.cleaned_data
        return wanted["seen"] + 1 if wanted["seen"] else wanted["row"] or 1

    @property
    def last_number(self) -> int:
        return self.first_number + len(self.rows) - 1

    @property
    def can_sort(self) -> bool:
        return len(self.form.fields["sort"].choices) > 1  # type: ignore[attr-defined]

    @property
    def sorts(self) -> dict[str, dict[str, str]]:
        """What a click on a column's head asks for, and how the column is sorted now, by the column's key."""
        now = self.form.cleaned_data["sort"] or self.form.default_sort
        return {column: self._sort_link(now, *orders) for column, orders in COLUMN_ORDERS.items()}

    def _sort_link(self, now: str, first: str, second: str) -> dict[str, str]:
        way = {True: "descending", False: "ascending"}
        return {
            "query": self.form.query(sort=second if now == first else first),
            "state": way[SORTS[now].descending] if SORTS[now].field == SORTS[first].field else "",
        }

    @property
    def onward_query(self) -> str:
        """Where a search goes on that has found nothing so far."""
        return self.previous_query if self.form.cleaned_data["before"] else self.next_query

    def _query(self, name: str, place: Cursor | None) -> str:
        far = self.looked_at if self.page.searched else ""
        seen = self.last_number if name == "after" else max(0, self.first_number - 1 - PAGE_ROWS)
        return self.form.query(**{name: str(place), "far": far, "seen": seen or ""}) if place else ""

    @property
    def first_query(self) -> str:
        return self.form.query()


class BadTableError(Exception):
    """The address asks for an order, a filter or a place that the table doesn't have."""


def current_table(request: MemberRequest, project: Project, *, default_sort: str) -> Table:
    """The rows as they stand now, sorted and filtered as the address says: a few queries, however many rows there are."""
    form = _checked(TableForm(request.GET, project=project, default_sort=default_sort))
    columns = columns_of(project, request.membership)
    page = form.page(shown_rows(columns))
    ids = [sample.pk for sample in page.rows]
    drawn = set(open_draws(project).filter(sample__in=ids).values_list("sample_id", flat=True))
    # What measures the file is answered without having seen what the models say, here as in the focus view.
    rows = [current_row(row, columns, blind=row.pk in drawn) for row in page.rows]
    counts = count_rows(project)
    return Table(form, page, rows, columns, counts, count_matching(project, form.conditions, counts))


def shown_rows(columns: Columns) -> QuerySet[Sample]:
    """Rows with all that the member's table shows of them."""
    rows = Sample.objects.select_related("label", "llm_label", "slm_label", "corrected_by", "mark")
    return rows if columns.needs_uploaded else rows.defer("fields")


def round_table(request: MemberRequest, project: Project, iteration: Iteration) -> Table:
    """The rows in the file's order with what a round's models said of them."""
    form = _checked(TableForm(request.GET, project=project, default_sort="position", sorts=["position"]))
    columns = columns_of(project, None)
    page = form.page(shown_rows(columns))
    counts = count_rows(project)
    matching = count_matching(project, form.conditions, counts)
    return Table(
        form, page, with_cells(rows_of_round(page.rows, iteration), columns), columns, counts, matching
    )


def _checked(form: TableForm) -> TableForm:
    if not form.is_valid():
        raise BadTableError(sentence_of(form))
    return form


def refuse(request: MemberRequest, error: BadTableError) -> HttpResponse:
    return bad_request(request, str(error))


def with_cells(rows: list[TableRow], columns: Columns) -> list[TableRow]:
    """The same rows with the cells of a table's record."""
    for row in rows:
        row.cells = _cells(columns.cells, row.sample)
    return rows


def _cells(columns: Sequence[FurtherColumn], sample: Sample) -> list[tuple[Any, Any]]:
    return [(column.title, column.value(sample)) for column in columns]


def current_row(sample: Sample, columns: Columns, *, blind: bool = False) -> TableRow:
    """The row of a sample; of one that measures the file, nothing that the models say."""
    cells = _cells(columns.cells, sample)
    if blind:
        return TableRow(sample, blind=True, cells=cells)
    return TableRow(
        sample,
        cells=cells,
        llm_label=sample.llm_label,
        slm_label=sample.slm_label,
        confidence=sample.confidence,
        clean_prob=sample.clean_prob,
        clean_rank=sample.clean_rank,
        flag=sample.flag,
        label=sample.label,
        source=sample.source,
        further=_cells(columns.further, sample),
    )


def rows_of_round(samples: Sequence[Sample], iteration: Iteration) -> list[TableRow]:
    """What the round's models said; a round that started from the SLM worked on an earlier round's LLM labels."""
    source = labelling_round(iteration)
    by_llm = Q(iteration=source, source=Prediction.ModelKind.LLM) if source else Q()
    wanted = by_llm | Q(iteration=iteration, source=Prediction.ModelKind.SLM)
    found = Prediction.objects.filter(wanted, sample__in=[sample.pk for sample in samples]).select_related(
        "label"
    )
    said = {(prediction.sample_id, prediction.source): prediction for prediction in found}
    return [_round_row(sample, said) for sample in samples]


def labelling_round(iteration: Iteration) -> Iteration | None:
    """The round whose LLM labels this round works on: its own, or the newest before it that started from the LLM."""
    if iteration.started_from == Iteration.Start.LLM:
        return iteration
    earlier = iteration.project.iterations.filter(
        number__lt=iteration.number, started_from=Iteration.Start.LLM
    )
    return earlier.order_by("-number").first()


def newest_answers(iteration: Iteration) -> list[TableRow]:
    """The rows that the LLM answered last, newest first: the table that fills while it runs."""
    columns = columns_of(iteration.project, None)
    asked = Prediction.objects.filter(iteration=iteration, source=Prediction.ModelKind.LLM)
    answers = asked.exclude(origin=Prediction.Origin.EARLIER).order_by("-id")
    answers = answers.select_related("label", "sample__label", "sample__corrected_by")
    newest = list((answers if columns.needs_uploaded else answers.defer("sample__fields"))[:NEWEST_ROWS])
    rows = [_round_row(answer.sample, {(answer.sample_id, answer.source): answer}) for answer in newest]
    return with_cells(rows, columns)


def newest_distribution(iteration: Iteration, labels: Sequence[Label]) -> list[tuple[Label, int, float]]:
    """How often the LLM gave each label among its newest answers, the most frequent first; empty before the first one."""
    answers = Prediction.objects.filter(
        iteration=iteration, source=Prediction.ModelKind.LLM, label__isnull=False
    )
    given = Counter(answers.order_by("-id").values_list("label_id", flat=True)[:DISTRIBUTION_ROWS])
    counts = [(label, given[label.pk], given[label.pk] / given.total()) for label in labels if given]
    return sorted(counts, key=lambda line: -line[1])[:SHOWN_LABELS]


def _round_row(sample: Sample, said: Mapping[tuple[int, str], Prediction]) -> TableRow:
    llm, slm = said.get((sample.pk, "llm")), said.get((sample.pk, "slm"))
    row = TableRow(sample, label=sample.label, source=sample.source, of_round=True)
    if llm:
        row.llm_label, row.llm_raw, row.llm_error = llm.label, llm.raw, llm.error
        row.llm_kept = llm.origin == Prediction.Origin.EARLIER
        row.confidence = top_share(llm.calibrated or llm.probs)
    if slm:
        row.slm_label, row.confidence, row.flag = slm.label, top_share(slm.probs), slm.flag
        row.clean_prob, row.clean_rank = slm.clean_prob, slm.clean_rank
    return row


def top_share(probs: Any) -> float | None:
    return max(probs) if probs else None
