"""A project of which rows are decided in bulk, drawn and answered."""

from __future__ import annotations

from typing import Any

from django.db.models import Count

from annotation.models import (
    Correction,
    CorrectionBatch,
    Label,
    Project,
    Source,
)
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.review import bulk, corrections
from annotation.pipeline.review.bulk import Choice


def label_of(project: Project, place: int) -> Label:
    return project.label_list()[place]


def decide(
    project: Project, positions: Any = None, *, label: Label | None = None, **more: Any
) -> CorrectionBatch:
    """Accept or relabel rows at these positions in bulk, or all."""
    chosen = project.samples.all() if positions is None else project.samples.filter(position__in=positions)
    samples = list(chosen.values_list("pk", flat=True))
    return bulk.start_batch(project, Choice(label=label, samples=samples, **more), user=project.owner)


def answer(project: Project, rows: int | None = None) -> None:
    for sample in draw_sample.pending_draws(project, project.owner)[:rows]:
        corrections.correct_sample(
            sample.pk, label_id=sample.reference_id, user=project.owner, because=Correction.Because.AUDIT
        )


def evidence_of(project: Project) -> Evidence:
    """The evidence, whose counts are compared with a count over all rows."""
    evidence = Evidence.read(project)
    unchecked = project.samples.unchecked().order_by().values_list("label").annotate(Count("pk"))
    assert {label: count for label, count in evidence.unchecked_by_label.items() if count} == dict(unchecked)
    in_bulk = project.samples.filter(batch__isnull=False)
    assert evidence.decided_in_bulk == in_bulk.count()
    decided = project.samples.filter(source=Source.PERSON)
    assert len(evidence.checked) == decided.count() - in_bulk.count()
    return evidence
