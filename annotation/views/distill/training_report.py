"""What a finished training says of itself: how the two models differ, what was trusted, and what became of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.http import urlencode
from django.utils.translation import gettext as _

from annotation.jobs.details import TrainingDetail
from annotation.messages import message_text
from annotation.models import Iteration, Project, Stage
from annotation.table.filter_fields import NO_LABEL
from annotation.templatetags.coral import share
from mlcore.verdict.constants import LEAST_WRONG, MOST_RIGHT, MOST_WEIGHT, MOST_WRONG, least_right

MOST_NAMED = 3  # pairs of labels that are told in words
HEAT_LEVELS = 4


@dataclass(frozen=True, slots=True)
class RoundLabel:
    """A label under the name that it had in the round."""

    pk: int
    name: str
    colour: int


@dataclass(frozen=True, slots=True)
class Pair:
    """The rows that the LLM labels one way and the small model another (or the same)."""

    given: RoundLabel | None
    predicted: RoundLabel
    count: int
    share: float
    same: bool
    query: str  # of its rows in the review

    @property
    def heat(self) -> int:
        """How strongly the cell is coloured, 0 to 4."""
        return min(HEAT_LEVELS, 1 + int(self.share * HEAT_LEVELS)) if self.count else 0


@dataclass(frozen=True, slots=True)
class PairLine:
    given: RoundLabel | None
    total: int
    pairs: list[Pair]


@dataclass(frozen=True, slots=True)
class PairTable:
    """LLM against SLM: a line for each label of the LLM, and one for the rows that it left without a label."""

    labels: list[RoundLabel]
    lines: list[PairLine]
    agreement: float
    most_frequent: list[Pair]


@dataclass(frozen=True, slots=True)
class Fact:
    """A number with what it means."""

    name: str
    value: str
    words: str


@dataclass(frozen=True, slots=True)
class ClassShare:
    """A class's share of all labelled rows, and of those that training took as clean."""

    label: RoundLabel
    before: float
    after: float

    @property
    def points(self) -> str:
        """The change in percentage points, with its sign."""
        return f"{(self.after - self.before) * 100:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")


@dataclass(frozen=True, slots=True)
class LossPart:
    """The losses of one class in words; ``boundary`` is None where no row was taken as clean."""

    label: RoundLabel | None
    rows: int
    expected_wrong: float | None
    boundary: float | None
    fallback: str


def report_context(stage: Stage, project: Project, iteration: Iteration) -> dict[str, Any]:
    """What the page shows of the training beyond its progress; parts that the run did not record are empty."""
    labels = round_label_list(project, iteration)
    is_done = stage.status == Stage.Status.DONE
    return {
        "epochs": TrainingDetail.of(stage).history,
        "pairs": pair_table(stage, labels) if is_done else None,
        "facts": evidence_facts(stage, len(labels)) if is_done else [],
        "stopped": TrainingDetail.of(stage).stopped if is_done else "",
        "class_shares": class_shares(stage, labels) if is_done else [],
        "loss_parts": loss_parts(stage, labels) if is_done else [],
    }


def round_label_list(project: Project, iteration: Iteration) -> list[RoundLabel]:
    """The round's labels in its order; one that the project no longer has is grey."""
    colours = dict(project.labels.values_list("pk", "colour"))
    return [RoundLabel(item["id"], item["name"], colours.get(item["id"], 8)) for item in iteration.labels]


def pair_table(stage: Stage, labels: list[RoundLabel]) -> PairTable | None:
    counts = TrainingDetail.of(stage).confusion
    if not counts or len(counts) != len(labels):
        return None
    lines = [_pair_line(label, line, labels) for label, line in zip(labels, counts, strict=True)]
    unreadable = TrainingDetail.of(stage).unreadable_by_label
    read = sum(line.total for line in lines)
    agreeing = sum(pair.count for line in lines for pair in line.pairs if pair.same)
    differing = sorted(
        (pair for line in lines for pair in line.pairs if pair.count and not pair.same),
        key=lambda pair: -pair.count,
    )
    if sum(unreadable):
        lines.append(_pair_line(None, unreadable, labels))
    return PairTable(labels, lines, agreeing / read if read else 0.0, differing[:MOST_NAMED])


def _pair_line(given: RoundLabel | None, counts: list[int], labels: list[RoundLabel]) -> PairLine:
    total = sum(counts)
    pairs = [
        Pair(
            given,
            label,
            count,
            count / total if total else 0.0,
            given == label,
            "?" + urlencode({"llm": given.pk if given else NO_LABEL, "slm": label.pk}),
        )
        for label, count in zip(labels, counts, strict=True)
    ]
    return PairLine(given, total, pairs)


def evidence_facts(stage: Stage, count: int) -> list[Fact]:
    """What the verdicts of a round with ``count`` labels trusted, and how much, in plain words."""
    measured = TrainingDetail.of(stage).evidence
    if not {"student_right", "contradicted_share", "teacher_wrong_when_contradicted"} <= measured.keys():
        return []
    facts = [
        Fact(
            _("Small models combined"),
            share_within(measured["student_right"], least_right(count), MOST_RIGHT),
            _(
                "Estimated accuracy of the small models combined, over all rows. It is derived from how often they contradict each other."
            ),
        ),
        Fact(
            _("Rows where they contradict the LLM"),
            share(measured["contradicted_share"]),
            _(
                "Two small models with different features (meaning; words or columns) agree on a label other than the LLM's."
            ),
        ),
    ]
    if measured["contradicted_share"]:
        facts += _facts_of_contradicted(measured)
    facts.append(
        Fact(
            _("Rows labelled by people"),
            f"{measured.get('checked_rows', 0):.0f}",
            _(
                "Their labels are final. With enough of them, the weights are fitted to them instead of estimated."
            ),
        )
    )
    return facts


def _facts_of_contradicted(measured: dict[str, float]) -> list[Fact]:
    """What is estimated from the rows on which both contradict the LLM; without any, nothing is."""
    wrong = Fact(
        _("LLM wrong on these rows"),
        share_within(measured["teacher_wrong_when_contradicted"], LEAST_WRONG, MOST_WRONG),
        _(
            "Estimated share of those rows. Below one half the LLM deserves more trust; above it, the small models do."
        ),
    )
    if "teacher_weight" not in measured:
        return [wrong]
    weight = round(measured["teacher_weight"], 1)
    shown = _("%(weight)d or more") % {"weight": MOST_WEIGHT} if weight >= MOST_WEIGHT else f"{weight:.1f}"
    return [wrong, Fact(_("Weight of the LLM's label"), shown, weight_words(weight))]


def share_within(value: float, least: float, most: float) -> str:
    """A share that was estimated between two bounds; one that lies at a bound is known no nearer."""
    if value <= least:
        return _("at most %(share)s") % {"share": share(least)}
    if value >= most:
        return _("at least %(share)s") % {"share": share(most)}
    return share(value)


def weight_words(weight: float) -> str:
    """What the weight of the LLM's word means, where the small models' is 1."""
    if weight < 0.1:
        return _("It hardly counts: where the small models disagree with the LLM, their label is used.")
    if weight < 1:
        return _("It counts less than the small models: the LLM's label is kept only where they are unsure.")
    return _(
        "It counts more than the small models: the LLM's label is kept unless they are very sure of another one."
    )


def class_shares(stage: Stage, labels: list[RoundLabel]) -> list[ClassShare]:
    history = TrainingDetail.of(stage).history
    last = history[-1] if history else {}
    before, after = last.get("balance", []), last.get("clean_balance", [])
    if len(before) != len(labels) or len(after) != len(labels):
        return []
    return [ClassShare(*values) for values in zip(labels, before, after, strict=True)]


def loss_parts(stage: Stage, labels: list[RoundLabel]) -> list[LossPart]:
    return [
        LossPart(
            label=_label_at(labels, part["label"]),
            rows=part["rows"],
            expected_wrong=sum(part["noisy"]) if part["noisy"] else None,
            boundary=part["boundary"],
            fallback=message_text(part["fallback"]),
        )
        for part in TrainingDetail.of(stage).loss_histogram.get("parts", [])
    ]


def _label_at(labels: list[RoundLabel], place: int) -> RoundLabel | None:
    return labels[place] if 0 <= place < len(labels) else None


def loss_plot(stage: Stage, labels: list[RoundLabel]) -> dict[str, Any]:
    """The histogram for the page's script, with names instead of places."""
    stored = TrainingDetail.of(stage).loss_histogram
    parts = []
    for part in stored.get("parts", []):
        label = _label_at(labels, part["label"])
        named = {"label": label.name if label else "", "fallback": message_text(part["fallback"])}
        parts.append({**part, **named})
    return {"edges": stored.get("edges", []), "parts": parts}
