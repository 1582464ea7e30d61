"""What the focus view shows of a row: the text, what the models said, rows like it, and its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from django.utils.translation import gettext as _

from annotation.models import Correction, Label, Prediction, Project, Sample
from annotation.pipeline.distill.neighbours import Neighbour, nearest_samples
from annotation.pipeline.measure.annotations import BLIND
from annotation.pipeline.project.configure import RESERVED_KEYS
from annotation.pipeline.review.risk_basis import risk_basis
from annotation.templatetags.coral import share


@dataclass(slots=True)
class Choice:
    """A label with the key that chooses it."""

    label: Label
    key: str


@dataclass(slots=True)
class ModelSaid:
    title: str
    label: Label | None
    shares: list[tuple[Label, float]]
    raw: str = ""
    second_raw: str | None = None
    error: str = ""


@dataclass(slots=True)
class Event:
    """One line of a row's history."""

    who: str
    label: Label | None
    round: int
    when: datetime | None = None
    note: str = ""


@dataclass(slots=True)
class SimilarRow:
    sample: Sample
    similarity: float


@dataclass(slots=True)
class FocusRow:
    sample: Sample
    because: str
    choices: list[Choice]
    sentence: str = ""
    answer_id: UUID = field(default_factory=uuid4)
    cells: list[tuple[str, str]] = field(default_factory=list)
    said: list[ModelSaid] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    similar: list[SimilarRow] = field(default_factory=list)
    history: list[Event] = field(default_factory=list)

    @property
    def is_blind(self) -> bool:
        """The answer measures something, so nothing is shown that could suggest one."""
        return self.because in BLIND

    @property
    def has_long_cells(self) -> bool:
        return any(len(value) > 2_000 for _name, value in self.cells)

    @property
    def source(self) -> str:
        return self.sample.source

    @property
    def flag(self) -> str:
        return self.sample.flag

    @property
    def similar_query(self) -> str:
        """The similar rows, for the address of a bulk correction."""
        return "".join(f"&row={each.sample.pk}" for each in self.similar)

    @property
    def suggestion(self) -> Label | None:
        return None if self.is_blind else self.sample.label


def label_choices(labels: Sequence[Label]) -> list[Choice]:
    """Each label's own key, or else the next free digit; labels beyond the digits have none."""
    own = [label.key.lower() for label in labels]
    own = [key if key not in RESERVED_KEYS and own.count(key) == 1 else "" for key in own]
    digits = iter([digit for digit in "1234567890" if digit not in own])
    return [Choice(label, key or next(digits, "")) for label, key in zip(labels, own, strict=True)]


def focus_rows(project: Project, wanted: Sequence[tuple[int, str]], *, sentence: str = "") -> list[FocusRow]:
    """The rows as the focus view shows them, in the order asked for; the number of queries does not depend on theirs.

    Args:
        wanted: ids of rows, and why each is shown.
        sentence: what a person must know before answering, shown on every row.
    """
    ids = [sample_id for sample_id, _because in wanted]
    samples = _samples(project, ids, "label", "llm_label", "slm_label", "corrected_by", "mark")
    labels = project.label_list()
    rows = [
        FocusRow(samples[sample_id], because, label_choices(labels), sentence)
        for sample_id, because in wanted
        if sample_id in samples
    ]
    for row in rows:
        row.cells = _cells(project, row.sample)
    _add_evidence(project, [row for row in rows if not row.is_blind], {label.pk: label for label in labels})
    basis = risk_basis(project)
    guessed = basis is not None and not basis.known
    for row in rows:
        row.reasons = (
            [_blind_reason(row.because)]
            if row.is_blind
            else list(_reasons(row.sample, len(labels), guessed=guessed))
        )
    return rows


def _samples(project: Project, ids: Iterable[int], *related: str) -> dict[int, Sample]:
    """Rows of the project by id. They are looked up by nothing else: the project's index would seem as good, and holds all
    rows."""
    found = Sample.objects.order_by().select_related(*related).in_bulk(ids)
    return {pk: sample for pk, sample in found.items() if sample.project_id == project.pk}


def _cells(project: Project, sample: Sample) -> list[tuple[str, str]]:
    """The content columns, where there are several; one column is read as a text."""
    if len(project.content_columns) < 2:
        return []
    cells = dict(zip(project.columns, sample.fields, strict=False))
    return [(name, cells.get(name, "")) for name in project.content_columns]


def _add_evidence(project: Project, rows: Sequence[FocusRow], labels: Mapping[int, Label]) -> None:
    ids = [row.sample.pk for row in rows]
    predictions = list(
        Prediction.objects.filter(sample__in=ids)
        .select_related("iteration", "label")
        .order_by("iteration__number", "source")
    )
    corrections = list(
        Correction.objects.filter(sample__in=ids).select_related("user", "label", "undone_by").order_by("pk")
    )
    nearest = nearest_samples(project, ids)
    for row in rows:
        predicted = [each for each in predictions if each.sample_id == row.sample.pk]
        corrected = [each for each in corrections if each.sample_id == row.sample.pk]
        row.said = list(_said(predicted, labels))
        row.history = [_machine_event(each) for each in predicted] + [
            _person_event(each) for each in corrected
        ]
    _add_similar(project, rows, nearest)


def _add_similar(project: Project, rows: Sequence[FocusRow], nearest: Mapping[int, list[Neighbour]]) -> None:
    ids = {neighbour.sample_id for neighbours in nearest.values() for neighbour in neighbours}
    samples = _samples(project, ids, "label")
    for row in rows:
        row.similar = [
            SimilarRow(samples[neighbour.sample_id], neighbour.similarity)
            for neighbour in nearest.get(row.sample.pk, [])
            if neighbour.sample_id in samples
        ]


def _said(predictions: Sequence[Prediction], labels: Mapping[int, Label]) -> Iterable[ModelSaid]:
    """The newest word of each model, with the shares that it gave the labels."""
    titles = {Prediction.ModelKind.LLM: _("LLM"), Prediction.ModelKind.SLM: _("SLM")}
    for kind, title in titles.items():
        newest = next((each for each in reversed(predictions) if each.source == kind), None)
        if newest:
            shares = _shares(newest, labels)
            yield ModelSaid(
                title, newest.label, shares, raw=newest.raw, second_raw=newest.second_raw, error=newest.error
            )


def _shares(prediction: Prediction, labels: Mapping[int, Label]) -> list[tuple[Label, float]]:
    """Probabilities by label, the largest first; they are stored in the order that the round's labels had."""
    values = prediction.calibrated or prediction.probs or []
    ids = [item["id"] for item in prediction.iteration.labels]
    pairs = [(labels[pk], value) for pk, value in zip(ids, values, strict=False) if pk in labels]
    return sorted(pairs, key=lambda pair: -pair[1])[:4]


def _machine_event(prediction: Prediction) -> Event:
    note = _("the call failed") if prediction.error else "" if prediction.label_id else _("unreadable answer")
    return Event(prediction.get_source_display(), prediction.label, prediction.iteration.number, note=note)


def _person_event(correction: Correction) -> Event:
    who = correction.user.get_username() if correction.user else _("someone")
    if correction.undoes_id:
        note = _("undid an answer")
    elif hasattr(correction, "undone_by"):
        note = _("undone later")
    else:
        note = (
            _("in bulk")
            if correction.batch_id
            else ""
            if correction.label_id
            else _("back to the models' label")
        )
    return Event(who, correction.label, correction.round, correction.created_at, note)


def _blind_reason(because: str) -> str:
    if because == Correction.Because.SECOND:
        return _(
            "Someone has already labelled this row. Label it too, without seeing their label or the "
            "models', so that agreement between people can be measured."
        )
    return _(
        "Drawn at random to measure the accuracy of the file. No label is suggested, so that your answer is independent."
    )


def _reasons(sample: Sample, label_count: int, *, guessed: bool) -> Iterable[str]:
    """Why the row is worth a look, in sentences."""
    if sample.corrected_by_id:
        yield _("%(name)s has corrected this row.") % {"name": sample.corrected_by.get_username()}  # type: ignore[union-attr]
    elif sample.risk is not None and sample.label:
        yield _doubt_words(sample.label, sample.risk, label_count, guessed=guessed)
        if sample.label not in (sample.llm_label, sample.slm_label):
            yield _(
                "Neither model gave this label alone: it is the most likely one given both answers and similar rows."
            )
    if sample.prompt_like:
        yield _("The text reads like an instruction to a model, so what the models say of it is doubtful.")
    if sample.llm_label and sample.slm_label and sample.llm_label != sample.slm_label:
        yield _("The models disagree: the LLM says “%(llm)s”, the SLM “%(slm)s”.") % {
            "llm": sample.llm_label.name,
            "slm": sample.slm_label.name,
        }
    if sample.clean_prob is not None and sample.clean_prob < 0.5:
        yield _(
            "The LLM's label was hard to learn from similar rows (clean probability %(value)s, not calibrated)."
        ) % {"value": share(sample.clean_prob)}
    if sample.queue_rank:
        yield _("Number %(place)d in the review queue.") % {"place": sample.queue_rank}


def _doubt_words(label: Label, risk: float, label_count: int, *, guessed: bool) -> str:
    """How sure the suggested label is. The likeliest of many labels can still be wrong more often than right."""
    words = {"label": label.name, "risk": share(risk, 0), "count": label_count}
    if guessed:
        return (
            _(
                "“%(label)s” is the most likely label by the models. How often they are wrong is not known yet; they guess "
                "a risk of %(risk)s here."
            )
            % words
        )
    if risk < 0.5:
        return (
            _("“%(label)s” is the most likely label; the probability that it is wrong is about %(risk)s.")
            % words
        )
    if label_count == 2:
        return _("“%(label)s” is barely more likely than the other label: either may be right.") % words
    return (
        _(
            "“%(label)s” is the most likely of the %(count)d labels, but it is more likely wrong than "
            "right: wrong with a probability of about %(risk)s."
        )
        % words
    )
