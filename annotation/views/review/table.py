"""The table of rows that the working pages share: the current state, or what a round said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _

from annotation.forms.fields import sentence_of
from annotation.models import Iteration, Label, Prediction, Project, Sample, Source
from annotation.pipeline.measure.draw_sample import open_draws
from annotation.table.columns import Columns, columns_of
from annotation.table.form import TableForm
from annotation.table.keyset import Cursor, Page
from annotation.views.access import MemberRequest
from annotation.views.project.projects import bad_request

NEWEST_ROWS = 50


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
    def onward_query(self) -> str:
        """Where a search goes on that has found nothing so far."""
        return self.previous_query if self.form.cleaned_data["before"] else self.next_query

    def _query(self, name: str, place: Cursor | None) -> str:
        far = self.looked_at if self.page.searched else ""
        return self.form.query(**{name: str(place), "far": far}) if place else ""

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
    rows = [TableRow(row, blind=True) if row.pk in drawn else current_row(row, columns) for row in page.rows]
    return Table(form, page, rows, columns)


def shown_rows(columns: Columns) -> QuerySet[Sample]:
    """Rows with all that the member's table shows of them."""
    rows = Sample.objects.select_related("label", "llm_label", "slm_label", "corrected_by")
    return rows if columns.needs_uploaded else rows.defer("fields")


def round_table(request: MemberRequest, project: Project, iteration: Iteration) -> Table:
    """The rows in the file's order with what a round's models said of them."""
    form = _checked(TableForm(request.GET, project=project, default_sort="position", sorts=["position"]))
    page = form.page(Sample.objects.select_related("label", "corrected_by").defer("fields"))
    return Table(form, page, rows_of_round(page.rows, iteration))


def _checked(form: TableForm) -> TableForm:
    if not form.is_valid():
        raise BadTableError(sentence_of(form))
    return form


def refuse(request: MemberRequest, error: BadTableError) -> HttpResponse:
    return bad_request(request, str(error))


def current_row(sample: Sample, columns: Columns) -> TableRow:
    return TableRow(
        sample,
        llm_label=sample.llm_label,
        slm_label=sample.slm_label,
        confidence=sample.confidence,
        clean_prob=sample.clean_prob,
        clean_rank=sample.clean_rank,
        flag=sample.flag,
        label=sample.label,
        source=sample.source,
        further=[(column.title, column.value(sample)) for column in columns.further],
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
    asked = Prediction.objects.filter(iteration=iteration, source=Prediction.ModelKind.LLM)
    answers = asked.exclude(origin=Prediction.Origin.EARLIER).order_by("-id")
    newest = list(
        answers.select_related("label", "sample__label", "sample__corrected_by").defer("sample__fields")[
            :NEWEST_ROWS
        ]
    )
    return [_round_row(answer.sample, {(answer.sample_id, answer.source): answer}) for answer in newest]


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
