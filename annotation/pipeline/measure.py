"""What is known of the file's accuracy, from the rows that were drawn at random and what people said of them.

A person's word is taken as the truth. The machines' label of a row that a person decided is what the round's models
would say had nobody looked (their opinions are out of fold), so rounds can be compared on the very same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np
from django.db.models import Count, Min

from annotation.models import (
    AuditDraw,
    Correction,
    Flag,
    Iteration,
    Label,
    Prediction,
    Project,
    Source,
    Stage,
)
from mlcore.agreement import cohen_kappa, krippendorff_alpha, paired_test
from mlcore.estimate import (
    Batch,
    ClassQuality,
    Interval,
    estimate_classes,
    estimate_share,
    estimate_wrong,
    rows_for_margin,
)
from mlcore.records import NO_LABEL, IntArray

FEW_ROWS = 10  # answered; below, nothing is said
BEYOND_CHANCE = 0.05
MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class Word:
    """A row that a person decided. ``batch`` is 0 if it was not drawn at random."""

    sample_id: int
    label_id: int
    first_at: datetime
    llm_label_id: int | None
    batch: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What a round's models would say of a row by themselves."""

    label_id: int | None
    slm_label_id: int | None = None
    flag: str = ""


@dataclass(frozen=True, slots=True)
class FlagPrecision:
    """``wrong`` of ``checked`` rows with this flag had a wrong label; the interval is of those drawn at random alone."""

    flag: Flag
    checked: int
    wrong: int
    drawn: int
    share: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """A round against the one before it: on the audited rows, and by the shares of its classes."""

    before: Iteration
    after: Iteration
    rows: int
    better: int
    worse: int
    chance: float
    lost_labels: list[str]

    @property
    def chance_words(self) -> str:
        return "< 0.001" if self.chance < 0.001 else f"= {self.chance:.3f}"

    @property
    def is_worse(self) -> bool:
        return bool(self.lost_labels) or (self.worse > self.better and self.chance < BEYOND_CHANCE)


@dataclass
class Evidence:
    """All that was read for one look at a project; the figures are worked out from it when asked for."""

    project: Project
    labels: list[Label]
    words: list[Word]
    draws: list[AuditDraw]
    rounds: list[Iteration]  # judged by a small model, oldest first
    machine: dict[int, dict[int, Machine]] = field(default_factory=dict)  # round -> row -> what it said

    @cached_property
    def current(self) -> Iteration | None:
        """The round whose labels are in force."""
        kept = [iteration for iteration in self.rounds if iteration.withdrawn_at is None]
        return kept[-1] if kept else None

    @cached_property
    def answered(self) -> list[Word]:
        return [word for word in self.words if word.batch]

    @property
    def pending(self) -> int:
        return len(self.draws) - len(self.answered)

    @cached_property
    def open_by_label(self) -> dict[int, int]:
        """Rows of each current label that no person has decided."""
        stored = self.current.metrics.get("rows") if self.current else None
        if stored is None:
            rows = self.project.samples.filter(label__isnull=False).exclude(source=Source.PERSON).order_by()
            return dict(rows.values_list("label").annotate(Count("pk")))
        counts = Counter({int(label_id): count for label_id, count in stored.items()})
        counts.subtract(
            said.label_id for word in self.words if (said := self.said(self.current, word)).label_id
        )
        return {label_id: max(count, 0) for label_id, count in counts.items()}

    @property
    def open_rows(self) -> int:
        return sum(self.open_by_label.values())

    def said(self, iteration: Iteration | None, word: Word) -> Machine:
        if iteration is None:
            return Machine(word.llm_label_id)
        return self._of_round(iteration).get(word.sample_id, Machine(word.llm_label_id))

    def _of_round(self, iteration: Iteration) -> dict[int, Machine]:
        if iteration.pk not in self.machine:
            found = Prediction.objects.filter(
                iteration=iteration, source=Prediction.ModelKind.SLM, sample__source=Source.PERSON
            ).values_list("sample_id", "verdict_id", "label_id", "flag")
            self.machine[iteration.pk] = {
                row: Machine(verdict, label, flag) for row, verdict, label, flag in found.iterator()
            }
        return self.machine[iteration.pk]

    def is_wrong(self, iteration: Iteration | None, word: Word) -> bool:
        return self.said(iteration, word).label_id != word.label_id

    # --- Accuracy -------------------------------------------------------------------------------------------------

    def wrong_left(self) -> Interval | None:
        """Wrong rows among those that no person has decided."""
        batches = self._batches(self.current, left=True)
        return estimate_wrong(batches, least=0, most=self.open_rows)

    def accuracy(self) -> Interval | None:
        """Of the file as it is now, people's rows included; rows without a label are not counted."""
        wrong, rows = self.wrong_left(), self.open_rows + len(self.words)
        return None if wrong is None else right_share(wrong, rows)

    def round_accuracy(self, iteration: Iteration) -> Interval | None:
        """Of what a round's models would say of all rows by themselves."""
        rows = sum(iteration.metrics.get("rows", {}).values())
        if not rows:
            return None
        wrong = estimate_wrong(self._batches(iteration, left=False), least=0, most=rows)
        return None if wrong is None else right_share(wrong, rows)

    def _batches(self, iteration: Iteration | None, *, left: bool) -> list[Batch]:
        """The draws with what the round said of them. Counted on are the wrong rows left open, or all of the round's."""
        words = {word.sample_id: word for word in self.words}
        wrong = {word.sample_id for word in self.words if self.is_wrong(iteration, word)}
        batches = []
        for number in sorted({draw.batch for draw in self.draws}):
            drawn = [draw for draw in self.draws if draw.batch == number]
            rows = {draw.stratum: draw.stratum_rows for draw in drawn}
            checked = Counter(draw.stratum for draw in drawn if draw.sample_id in words)
            errors = Counter(draw.stratum for draw in drawn if draw.sample_id in wrong)
            others = max(
                drawn[0].frame_rows - sum(rows.values()), 0
            )  # strata whose rows all went back unanswered
            names = sorted(rows)
            inside = {draw.sample_id for draw in drawn} | {
                word.sample_id for word in self.words if word.first_at > drawn[0].drawn_at
            }
            batches.append(
                Batch(
                    np.array([*(rows[name] for name in names), *([others] if others else [])]),
                    np.array([*(checked[name] for name in names), *([0] if others else [])]),
                    np.array([*(errors[name] for name in names), *([0] if others else [])]),
                    float(-len(wrong & inside) if left else len(wrong - inside)),
                )
            )
        return batches

    def rows_to_measure(self, margin: float = MARGIN) -> int:
        """How many more rows to draw for about this margin."""
        found = sum(self.is_wrong(self.current, word) for word in self.answered)
        rate = (found + 1) / (len(self.answered) + 2)
        return max(0, rows_for_margin(rate, margin, self.open_rows) - len(self.answered))

    def classes(self) -> tuple[list[ClassQuality], Interval | None]:
        """Precision, recall and F1 of each label, and macro F1, of the file as it is now."""
        place = {label.pk: number for number, label in enumerate(self.labels)}
        weights = {draw.sample_id: draw.weight for draw in self.draws}
        seen = [
            (place[said], place[word.label_id], weights[word.sample_id])
            for word in self.answered
            if (said := self.said(self.current, word).label_id) in place
        ]
        machine, truth, weight = (
            (np.array(column) for column in zip(*seen, strict=True)) if seen else 3 * [np.zeros(0, int)]
        )
        decided = Counter(word.label_id for word in self.words)
        wrong = self.wrong_left() or Interval(0.0, 0.0, 0.0)
        return estimate_classes(
            machine,
            truth,
            weight,
            open_rows=np.array([self.open_by_label.get(label.pk, 0) for label in self.labels]),
            decided=np.array([decided[label.pk] for label in self.labels]),
            wrong_left=wrong,
        )

    def flags(self) -> list[FlagPrecision]:
        """How often a row with a flag was wrong, among those that people checked."""
        found = []
        for flag in (Flag.WRONG, Flag.INCONSISTENT, Flag.RIGHT):
            checked = [word for word in self.words if self.said(self.current, word).flag == flag]
            wrong = [word for word in checked if self.is_wrong(self.current, word)]
            drawn = sum(bool(word.batch) for word in checked)
            share = estimate_share(sum(bool(word.batch) for word in wrong), drawn)
            found.append(FlagPrecision(flag, len(checked), len(wrong), drawn, share))
        return found

    # --- Rounds and raters ----------------------------------------------------------------------------------------

    def compare(self, before: Iteration, after: Iteration) -> Comparison:
        """McNemar's exact test on the audited rows, and labels that have all but vanished."""
        was, now = (
            np.array([not self.is_wrong(each, word) for word in self.answered], dtype=bool)
            for each in (before, after)
        )
        better, worse, chance = paired_test(was, now)
        return Comparison(
            before, after, len(self.answered), better, worse, chance, lost_labels(before, after, self.labels)
        )

    def ratings(self) -> tuple[list[str], IntArray]:
        """Who said what of the rows drawn at random: people, then the two models ``(R, N)``."""
        place = {label.pk: number for number, label in enumerate(self.labels)}
        rows = {word.sample_id: number for number, word in enumerate(self.answered)}
        said = Correction.objects.filter(sample__in=list(rows), label__isnull=False, user__isnull=False)
        people: dict[str, IntArray] = {}
        for name, sample_id, label_id in said.order_by("id").values_list(
            "user__username", "sample_id", "label_id"
        ):
            people.setdefault(name, np.full(len(rows), NO_LABEL))[rows[sample_id]] = place[label_id]
        machine = [self.said(self.current, word) for word in self.answered]
        models = {
            "LLM": [place.get(word.llm_label_id or 0, NO_LABEL) for word in self.answered],
            "SLM": [place.get(said.slm_label_id or 0, NO_LABEL) for said in machine],
        }
        lines = [*people.values(), *(np.array(line, dtype=np.int64) for line in models.values())]
        return [*people, *models], np.stack(lines)

    def agreement(self) -> tuple[list[tuple[str, str, int, float]], float | None]:
        """Cohen's kappa of every pair with at least ``FEW_ROWS`` common rows, and Krippendorff's alpha of all."""
        names, lines = self.ratings()
        pairs = []
        for first, name in enumerate(names):
            for second in range(first + 1, len(names)):
                common = int(((lines[first] != NO_LABEL) & (lines[second] != NO_LABEL)).sum())
                kappa = cohen_kappa(lines[first], lines[second], len(self.labels))
                if common >= FEW_ROWS and kappa is not None:
                    pairs.append((name, names[second], common, kappa))
        return pairs, krippendorff_alpha(lines, len(self.labels)) if len(self.answered) >= FEW_ROWS else None


def gather(project: Project) -> Evidence:
    """Read what the figures need: a constant number of queries over the rows that people decided, never over all rows."""
    draws = list(AuditDraw.objects.filter(project=project).order_by("id"))
    batch_of = {draw.sample_id: draw.batch for draw in draws}
    decided = project.samples.filter(source=Source.PERSON, label__isnull=False).order_by()
    words = [
        Word(pk, label_id, first_at, llm_label_id, batch_of.get(pk, 0))
        for pk, label_id, llm_label_id, first_at in decided.annotate(
            first=Min("corrections__created_at")
        ).values_list("pk", "label_id", "llm_label_id", "first")
    ]
    judged = project.iterations.filter(stages__kind=Stage.Kind.SLM, stages__status=Stage.Status.DONE)
    return Evidence(project, project.label_list(), words, draws, list(judged.order_by("number")))


def right_share(wrong: Interval, rows: int) -> Interval:
    """Wrong rows as accuracy."""
    return Interval(*(1.0 - each / max(rows, 1) for each in (wrong.value, wrong.high, wrong.low)))


LEAST_SHARE = 0.02  # of the file; a smaller label may vanish without alarm
COLLAPSE = 0.2  # what is left of its share when a label has all but vanished


def lost_labels(before: Iteration, after: Iteration, labels: Sequence[Label]) -> list[str]:
    """Labels that have all but vanished since the round before."""
    was, now = (each.metrics.get("rows", {}) for each in (before, after))
    if not was or not now:
        return []
    then, since = sum(was.values()), sum(now.values())
    return [
        label.name
        for label in labels
        if (share := was.get(str(label.pk), 0) / then) >= LEAST_SHARE
        and now.get(str(label.pk), 0) / since < COLLAPSE * share
    ]
