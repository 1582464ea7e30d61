"""What the engine's certificate is made of: the file as it is, and all that people said of its rows.

Everything is read from rows, by the rows' places in the file. Reference labels take no part.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import numpy as np

from annotation.models import AuditDraw, Goal, Prediction, Project, Source
from annotation.models.sql import among
from annotation.pipeline.measure.agreement import double_review
from annotation.pipeline.measure.checked_rows import CheckedRows
from annotation.pipeline.measure.draw_for_certificate import (
    drawn_rows,
    evidence_began,
    labels_written,
    touched_rows,
)
from annotation.pipeline.project.goal import goal_of
from mlcore.plan.certificate import Evidence, could_pass
from mlcore.plan.records import Answer, Limits
from mlcore.plan.records import Goal as EngineGoal
from mlcore.records import NO_LABEL, BoolArray, IntArray

READ_ROWS = 5_000
UNKNOWN_RISK = 0.25  # of a row that nobody has judged and no model was sure of
FEWEST_PAIRS = 20  # rows that two people answered; below, their error rate is not known
ROW = [
    ("pk", np.int64),
    ("label", np.int64),
    ("before", np.int64),
    ("risk", np.float64),
    ("changed", np.bool_),
]


@dataclass(frozen=True)
class CertifiedFile:
    """The file and its evidence, by the rows' places.

    Attributes:
        label_ids: of the labels, in the order of the engine's indexes.
        pks: ``(N,)``, the rows' ids.
        draws: the rows that were drawn, in their order.
    """

    label_ids: list[int]
    pks: IntArray
    evidence: Evidence
    draws: list[AuditDraw]

    @classmethod
    def read(cls, project: Project, *, risk_now: bool = False) -> CertifiedFile:
        """Read all rows once, and what people said in a constant number of queries.

        Args:
            risk_now: take each open row's risk as it is now, for planning; a certificate takes what it was when the evidence
                began, since parts of the file may not follow from the answers.
        """
        checked = CheckedRows.read(project)
        label_ids = [label.pk for label in checked.labels]
        began = evidence_began(project)
        rows = _read_rows(project, label_ids, began)
        by_pk = {int(pk): place for place, pk in enumerate(rows["pk"])}
        draws = list(drawn_rows(project))
        drawn = {draw.sample_id for draw in draws}
        decided = np.zeros(len(rows), dtype=bool)
        for row in checked.checked:
            decided[by_pk[row.sample_id]] = (
                began is not None and row.first_at < began and row.sample_id not in drawn
            )
        _restore_risks(checked, by_pk, rows, all_rows=not risk_now)
        answers = _answers(checked, draws, touched_rows(project), decided, by_pk, rows)
        return cls(
            label_ids,
            rows["pk"],
            Evidence(
                labels=rows["label"],
                answers=answers,
                decided=decided,
                changed=rows["changed"],
                risk=rows["risk"],
                people_error=people_error(project),
                attempt=1 + past_attempts(project, goal_of(project)),
            ),
            draws,
        )


def as_goal(goal: Goal) -> EngineGoal:
    """The project's goal as the engine takes it."""
    limits = Limits(goal.money, goal.tokens, goal.minutes, goal.until)
    return EngineGoal(goal.target, goal.confidence, limits)


def people_error(project: Project) -> float | None:
    """How often one person is wrong, as far as two who answered the same rows blind tell; None where too few did."""
    review = double_review(project)
    if review.rows < FEWEST_PAIRS or review.share is None:
        return None
    return min((1.0 - review.share) / 2, 0.49)  # either of the two may be the one who is wrong


def file_hash(project: Project) -> str:
    """SHA-256 over content and label of every row, in the order of the file."""
    digest = hashlib.sha256()
    rows = project.samples.order_by("position").values_list("content_hash", "label__name")
    for content, label in rows.iterator(chunk_size=READ_ROWS):
        digest.update(f"{content} {label or ''}\n".encode())
    return digest.hexdigest()


def _read_rows(project: Project, label_ids: list[int], began: datetime | None) -> np.ndarray:
    """The rows as an array of ``ROW``: label now, the label before people decided it alone or since, risk, and whether it was
    changed in bulk since the evidence began."""
    index = {label_id: place for place, label_id in enumerate(label_ids)}
    columns = ("pk", "label_id", "machine_label_id", "source", "batch_id", "risk", "llm_confidence")
    late = _late_batches(project, began)

    def values() -> Iterator[tuple[int, int, int, float, bool]]:
        rows = project.samples.order_by("position").values_list(*columns)
        for pk, label_id, model_id, source, batch, risk, sure in rows.iterator(chunk_size=READ_ROWS):
            label = index.get(label_id, NO_LABEL)
            before = index.get(model_id, NO_LABEL) if source == Source.PERSON else label
            doubt = UNKNOWN_RISK if sure is None else 1.0 - sure
            known = doubt if risk is None or source == Source.PERSON else risk
            yield pk, label, before, known, batch in late and label != before

    return np.fromiter(values(), dtype=ROW)


def _late_batches(project: Project, began: datetime | None) -> set[int]:
    batches = (
        project.correction_batches.filter(created_at__gte=began) if began else project.correction_batches
    )
    return set(batches.values_list("pk", flat=True))


def _restore_risks(checked: CheckedRows, by_pk: dict[int, int], rows: np.ndarray, *, all_rows: bool) -> None:
    """A row that people decided has no risk any more, and others have learned from answers since; what a row had when its label
    was written is in the round's prediction."""
    if checked.current is None:
        return
    said = Prediction.objects.filter(iteration=checked.current, source=Prediction.ModelKind.SLM)
    if not all_rows:
        said = said.filter(sample__in=among([*checked.checked_by_id]))
    for pk, risk in said.values_list("sample_id", "risk").iterator(chunk_size=READ_ROWS):
        if risk is not None and pk in by_pk:
            rows["risk"][by_pk[pk]] = risk


def _answers(
    checked: CheckedRows,
    draws: list[AuditDraw],
    touched: dict[int, datetime],
    decided: BoolArray,
    by_pk: dict[int, int],
    rows: np.ndarray,
) -> list[Answer]:
    """What people said since the evidence began, in the order in which the rows were drawn or chosen. A drawn row that was
    not answered blind, and a row that went back to the models' label, has no answer."""
    index = {label.pk: place for place, label in enumerate(checked.labels)}
    drawn = {draw.sample_id: draw for draw in draws}

    def answer(pk: int) -> Answer:
        row, place, draw = checked.checked_by_id.get(pk), by_pk[pk], drawn.get(pk)
        asked = (
            int(rows["before"][place]) if row is None else index.get(checked.file_label(row) or 0, NO_LABEL)
        )
        said, at = NO_LABEL, None
        if row is not None and (draw is None or row.draw_number == draw.draw_number):
            said, at = index[row.true_label_id], row.first_at
        if draw is None:
            return Answer(place, asked, said, at=at)
        return Answer(place, asked, said, draw.chance, draw.least, draw.expected, draw.spread, at)

    chosen = [
        (at, 0, pk)
        for pk, at in touched.items()
        if pk not in drawn and pk in by_pk and not decided[by_pk[pk]]
    ]
    order = sorted([*chosen, *((draw.drawn_at, turn, draw.sample_id) for turn, draw in enumerate(draws))])
    return [answer(pk) for _at, _turn, pk in order]


def past_attempts(project: Project, goal: Goal | None) -> int:
    """How many earlier versions of the models' labels could have been certified: where too few rows were drawn to show the
    target whatever people had said, no chance was taken."""
    if goal is None:
        return 0
    written = labels_written(project)
    earlier = AuditDraw.objects.filter(project=project, chance__isnull=False).order_by("drawn_at")
    draws = list(earlier.values_list("drawn_at", "chance", "least"))
    attempts = 0
    for version, rows in groupby(draws, key=lambda draw: bisect_right(written, draw[0])):
        if version < len(written):
            largest = [1.0 / (least or chance or 1.0) for _at, chance, least in rows]
            attempts += could_pass(largest, project.samples.count(), as_goal(goal), attempts + 1)
    return attempts
