"""What to do next with people's time, in one sentence, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from annotation.jobs.round_metrics import RoundMetrics
from annotation.models import Source
from annotation.pipeline.measure.accuracy import FEW_ROWS, Evidence
from annotation.pipeline.measure.annotations import Annotation
from mlcore.measure.estimate import Interval
from mlcore.measure.review_forecast import expected_errors, rows_to_remove

TARGETS = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
NEXT_ROWS = 100
WORTH_IT = 1.5  # times the errors that chance would find; below, the queue knows nothing any more


@dataclass(frozen=True, slots=True)
class Forecast:
    """The review queue from here on: ``more`` rows until the file is expected to reach ``target`` (None: not known),
    and the errors expected in the ``NEXT_ROWS`` next rows, by the queue and by chance."""

    target: float
    reached: bool
    more: int | None
    next_errors: float
    chance_errors: float
    in_bulk: float = 0.0  # wrong rows that the queue doesn't hold, since they were decided in bulk

    @property
    def sentence(self) -> str:
        target = f"{self.target * 100:g}\N{NO-BREAK SPACE}%"
        if self.reached:
            return _(
                "Target %(target)s reached: even the lower bound of the interval is above it. You can stop reviewing."
            ) % {"target": target}
        if self.more == 0:
            return _(
                "The estimate is above %(target)s, but the interval still reaches below it. Draw a larger random sample to be sure."
            ) % {"target": target}
        if self.more is None and self.in_bulk >= 1.0:
            return _(
                "The review queue does not hold enough wrong rows to reach %(target)s: about %(rows)s "
                "of the remaining wrong rows were corrected in bulk. Review those, or undo the bulk "
                "correction."
            ) % {"rows": round(self.in_bulk), "target": target}
        if self.more is None:
            return _("No forecast for %(target)s yet: SLM filtering must finish first.") % {"target": target}
        if self.next_errors < WORTH_IT * self.chance_errors:
            return _(
                "About %(rows)s more rows to reach %(target)s. The review queue now holds hardly more "
                "wrong rows than chance, so another round or a better prompt will help more than "
                "further review."
            ) % {"rows": self.more, "target": target}
        return _(
            "About %(rows)s more rows of the review queue to reach %(target)s; about %(errors)s of the next hundred are wrong."
        ) % {"rows": self.more, "target": target, "errors": round(self.next_errors)}


def next_target(accuracy: Interval) -> float:
    """The first round figure that the interval does not lie above wholly."""
    return next((target for target in TARGETS if accuracy.low < target), TARGETS[-1])


def forecast(evidence: Evidence, target: float | None = None) -> Forecast | None:
    """None until enough rows were checked to say anything."""
    accuracy, wrong = evidence.accuracy, evidence.wrong_left
    if accuracy is None or wrong is None or len(evidence.answered) < FEW_ROWS:
        return None
    target = target or next_target(accuracy)
    rows = evidence.unchecked_rows + len(evidence.checked)
    remove = wrong.value - (1.0 - target) * rows
    in_bulk = min(max(evidence.wrong_in_bulk, wrong.value - evidence.open_rows), wrong.value)
    queued = wrong.value - in_bulk
    chance = NEXT_ROWS * queued / max(evidence.open_rows, 1)
    curve = RoundMetrics.of(evidence.current).queue if evidence.current else None
    if not curve:
        return Forecast(target, accuracy.low >= target, 0 if remove <= 0 else None, chance, chance, in_bulk)
    assert evidence.current
    done = sum(not row.draw_number and row.first_at > evidence.current.created_at for row in evidence.checked)
    following = expected_errors(curve, done=done, more=NEXT_ROWS, wrong_left=queued)
    more = rows_to_remove(curve, done=done, remove=remove, wrong_left=queued)
    return Forecast(target, accuracy.low >= target, more, following, chance, in_bulk)


def errors_found(evidence: Evidence, *, points: int = 60) -> list[tuple[int, int]]:
    """Rows checked, and errors found in them, as people went on.

    A row counts when it first got a label alone, as an error if the last one is not what stood before. Rows decided in bulk
    were not looked at one by one; an error found in them later counts.
    """
    histories = [
        labelled
        for row in evidence.checked
        if row.sample_id in evidence.annotations
        and (labelled := _of_labelled_rows(evidence.annotations[row.sample_id].alone))
    ]
    curve, errors = [(0, 0)], 0
    for checked, history in enumerate(sorted(histories, key=lambda history: history[0].id), start=1):
        errors += history[-1].label_id != history[0].replaced_label_id
        curve.append((checked, errors))
    step = max(1, len(curve) // points)
    return [*curve[::step], curve[-1]] if (len(curve) - 1) % step else curve[::step]


def _of_labelled_rows(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Those before which the row had a label."""
    return [annotation for annotation in annotations if annotation.replaced_source != Source.NONE]
