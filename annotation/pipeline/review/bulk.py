"""Corrections of many rows at once: accepted or relabelled, at once or in the background, and taken back as one step.

Each row gets a correction of its own, which names the bulk correction; history, export and the next round treat it like any
other. Rows that people have decided stay as they are, unless the bulk correction includes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, Case, Count, F, Max, Q, QuerySet, Value, When

from annotation.errors import AnnotationError, ConflictError
from annotation.jobs import kinds, state
from annotation.jobs.details import Detail
from annotation.jobs.work import Job
from annotation.models import Correction, CorrectionBatch, Label, Project, RowClaim, Sample, Source
from annotation.models.sql import parts_by_key
from annotation.pipeline.ingest.duplicates import rows_with_texts
from annotation.pipeline.review import corrections
from annotation.table.filters import filter_rows, stored_conditions
from mlcore.errors import StoppedError

LARGE_ROWS = 300  # more are done in the background
WRITE_ROWS = 100  # in one transaction, so that nobody's correction waits long for it


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are meant, and what becomes of them.

    Attributes:
        samples: ids of chosen rows; None for all rows that ``query`` matches.
        query: a filter's address.
        label: the new label; None accepts each row's own.
        include_corrected: whether rows that a person has decided are meant as well.
        same_texts: whether rows with the same text as a chosen one are meant as well.
        labels: a label's id for each chosen row, in place of ``label``.
    """

    label: Label | None = None
    samples: Sequence[int] | None = None
    query: str = ""
    include_corrected: bool = False
    same_texts: bool = False
    labels: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """How many rows a choice would change, and how many it would leave alone because a person decided them."""

    rows: int
    left_alone: int


def measure_reach(project: Project, choice: Choice) -> Reach:
    """Count what a choice would do, without doing it."""
    rows = _changeable(_chosen_rows(project, choice), label=choice.label, include_corrected=True)
    counts = rows.aggregate(all=Count("pk"), decided=Count("pk", filter=Q(source=Source.PERSON)))
    left_alone = 0 if choice.include_corrected else counts["decided"]
    return Reach(counts["all"] - left_alone, left_alone)


def start_batch(project: Project, choice: Choice, *, user: User) -> CorrectionBatch:
    """Correct the rows: at once if they are few, otherwise queue it.

    Raises:
        AnnotationError: no row is chosen, or the filter no longer fits.
    """
    chosen = _chosen_rows(project, choice)
    rows = _changeable(
        chosen, label=choice.label, include_corrected=choice.include_corrected, own=choice.labels is not None
    )
    ids = list(rows.values_list("pk", flat=True)[: LARGE_ROWS + 1])
    if not ids:
        raise AnnotationError("There is no row left to change. Choose other rows, or another filter.")
    samples = None if choice.samples is None else list(chosen.values_list("pk", flat=True))
    batch = CorrectionBatch(
        project=project,
        user=user,
        label=choice.label,
        query=choice.query if samples is None else "",
        samples=samples,
        labels=choice.labels and {str(row): label for row, label in choice.labels.items()},
        include_corrected=choice.include_corrected,
    )
    return _start(batch, ids if len(ids) <= LARGE_ROWS else None, total=rows.count())


def undo_batch(batch: CorrectionBatch, *, user: User) -> CorrectionBatch:
    """Take a bulk correction back: every row that nobody has corrected since gets what it had before.

    Raises:
        ConflictError: it is still at work, or was taken back already.
    """
    if batch.stage and batch.stage.is_active:
        raise ConflictError(
            "These corrections are still being made. Wait until they are done, or cancel the rest first."
        )
    undo = CorrectionBatch(project=batch.project, user=user, undoes=batch)
    ids = list(batch.corrections.order_by("pk").values_list("pk", flat=True)[: LARGE_ROWS + 1])
    try:
        with transaction.atomic():
            return _start(undo, ids if len(ids) <= LARGE_ROWS else None, total=batch.corrections.count())
    except IntegrityError as error:
        raise _taken_back() from error


def _taken_back() -> ConflictError:
    return ConflictError("These corrections have already been undone.")


def _start(batch: CorrectionBatch, ids: list[int] | None, *, total: int) -> CorrectionBatch:
    """Carry it out at once, or queue it where no ids are given."""
    with transaction.atomic():
        if ids is None:
            batch.stage = state.create_stage(batch.project, kinds.BULK, total=total, user=batch.user)
        batch.save()
        if ids is not None:
            carry_out(batch, ids)
    return batch


def run_batch(job: Job[Detail]) -> None:
    """Carry out a bulk correction in parts, each in a transaction under the lease's fence.

    Repeating it is safe: a row that it has corrected already is passed over.

    Raises:
        ConflictError: it was cancelled and then taken back: what it went on to correct, nobody could take back.
        StoppedError: a person asked to pause or cancel, or the worker is going; what is done stays, and can be undone.
    """
    batch = CorrectionBatch.objects.select_related("project", "label", "undoes").get(stage=job.stage)
    if CorrectionBatch.objects.filter(undoes=batch).exists():
        raise _taken_back()
    done = batch.corrections.count()
    job.progress.report(done=done, phase="correcting", force=True)
    for ids in _parts(batch):
        if job.lease.should_stop():
            raise StoppedError
        with job.lease.piece():
            done += carry_out(batch, ids)
        job.progress.report(done=done)
    job.progress.report(done=done, total=done, phase="", force=True)


def _parts(batch: CorrectionBatch) -> Iterator[Sequence[int]]:
    """What is to do, part by part: ids of rows, or of corrections to take back."""
    if batch.undoes:
        corrected = batch.undoes.corrections.order_by().values_list("pk", flat=True)
        return parts_by_key(corrected, "pk", WRITE_ROWS, int)
    if batch.samples is None:
        matching = _matching(batch).values_list("position", flat=True)
        return (list(_ids_at(batch, part)) for part in parts_by_key(matching, "position", WRITE_ROWS, int))
    return (batch.samples[begin : begin + WRITE_ROWS] for begin in range(0, len(batch.samples), WRITE_ROWS))


def _ids_at(batch: CorrectionBatch, positions: Sequence[int]) -> QuerySet[Sample, int]:
    return batch.project.samples.order_by().filter(position__in=positions).values_list("pk", flat=True)


def carry_out(batch: CorrectionBatch, ids: Sequence[int]) -> int:
    """Change these rows, or take these corrections back, as far as they still match; return how many."""
    return _take_back(batch, ids) if batch.undoes else _correct(batch, ids)


def _correct(batch: CorrectionBatch, ids: Sequence[int]) -> int:
    # Of all corrections of these rows: the batch's own index would lead to all of its rows.
    before = Correction.objects.order_by().filter(sample__in=ids).values_list("sample_id", "batch_id")
    corrected = {sample_id for sample_id, batch_id in before if batch_id == batch.pk}
    rows = _still_matching(batch, [pk for pk in ids if pk not in corrected]).order_by("pk")
    samples = list(rows.select_for_update(of=("self",)).only("pk", "label_id", "source", "round"))
    if not samples:
        return 0
    given = {sample.pk: (batch.labels or {}).get(str(sample.pk), batch.label_id) for sample in samples}
    made = Correction.objects.bulk_create(
        Correction(
            sample=sample,
            user=batch.user,
            label_id=given[sample.pk] or sample.label_id,
            replaced_label_id=sample.label_id,
            replaced_source=sample.source,
            round=sample.round,
            batch=batch,
        )
        for sample in samples
    )
    changed = [sample.pk for sample in samples]
    # All expressions of an update read the row as it was before.
    model_label = Case(When(source=Source.PERSON, then=F("machine_label")), default=F("label"))
    labels = [When(pk__in=keys, then=Value(label)) for label, keys in _by_label(given).items()]
    Sample.objects.filter(pk__in=changed).update(
        **({"label": Case(*labels, default=F("label"), output_field=BigIntegerField())} if labels else {}),
        source=Source.PERSON,
        batch=batch,
        machine_label=model_label,
        risk=0.0,
        corrected_by=batch.user,
        corrected_at=made[0].created_at,
        version=F("version") + 1,
    )
    RowClaim.objects.filter(sample__in=changed).delete()
    return len(samples)


def _by_label(given: Mapping[int, int | None]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = defaultdict(list)
    for pk, label in given.items():
        if label is not None:
            rows[label].append(pk)
    return rows


def _take_back(undo: CorrectionBatch, ids: Sequence[int]) -> int:
    """Take corrections back that are still the newest of their rows."""
    targets = list(Correction.objects.filter(pk__in=ids))
    rows = Sample.objects.select_related("label").order_by("pk").select_for_update(of=("self",))
    samples = {row.pk: row for row in rows.filter(pk__in=[target.sample_id for target in targets])}
    by_row = Correction.objects.order_by().filter(sample__in=samples).values_list("sample")
    newest = dict(by_row.annotate(Max("pk")))
    standing = [target for target in targets if newest[target.sample_id] == target.pk]
    for target in standing:
        target.sample = samples[target.sample_id]
        if target.replaced_source == Source.PERSON:
            corrections.take_back(target.sample, target, user=undo.user, batch=undo)
    of_models = [target for target in standing if target.replaced_source != Source.PERSON]
    corrections.take_back_to_models(samples, of_models, user=undo.user, batch=undo)
    return len(standing)


# --- Which rows ---------------------------------------------------------------------------------------------------


def _matching(batch: CorrectionBatch) -> QuerySet[Sample]:
    """The rows that the bulk correction's filter matches now, by a query that goes through them in the order of the file."""
    return _matching_of(batch, batch.project.samples.order_by())


def _still_matching(batch: CorrectionBatch, ids: Sequence[int]) -> QuerySet[Sample]:
    """Those of the rows that still match."""
    # Looked up by nothing but their ids: every other index leads to far more.
    rows = Sample.objects.filter(pk__in=ids)
    if batch.samples is None:
        return _matching_of(batch, rows)
    return _changeable(
        rows, label=batch.label, include_corrected=batch.include_corrected, own=batch.labels is not None
    )


def _matching_of(batch: CorrectionBatch, rows: QuerySet[Sample]) -> QuerySet[Sample]:
    rows = stored_conditions(batch.project, batch.query).apply_in_order(rows, indexed={})
    return _changeable(rows, label=batch.label, include_corrected=batch.include_corrected)


def _chosen_rows(project: Project, choice: Choice) -> QuerySet[Sample]:
    if choice.samples is None:
        return filter_rows(project, choice.query)
    rows = project.samples.order_by()
    chosen = rows.filter(pk__in=choice.samples)
    if not choice.same_texts:
        return chosen
    return rows_with_texts(project, list(chosen.values_list("content_hash", flat=True))).order_by()


def _changeable(
    rows: QuerySet[Sample], *, label: Label | None, include_corrected: bool, own: bool = False
) -> QuerySet[Sample]:
    """Without rows that have no label to accept, or that a person gave this label already. ``own``: each gets its own."""
    if own:
        return rows if include_corrected else rows.filter(~Q(source=Source.PERSON))
    if label is None:
        return rows.filter(~Q(source=Source.PERSON), label__isnull=False)
    if include_corrected:
        return rows.exclude(source=Source.PERSON, label=label)
    return rows.filter(~Q(source=Source.PERSON))
