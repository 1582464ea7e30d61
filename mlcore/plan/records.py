"""What goes into the certificate and the plan, and what comes out, as plain values; ``N`` rows, ``K`` labels.

Money is in the unit of the project's prices, minutes are people's minutes, a row is its index in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mlcore.messages import Message
from mlcore.records import FloatArray, IntArray

Unit = Literal["hour", "money"]
StepKind = Literal["try", "label", "train", "refine", "measure", "review", "compare", "relabel", "stop"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be spent from the beginning of the project; None where there is no limit."""

    money: float | None = None
    tokens: int | None = None
    minutes: float | None = None
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """The share of right labels that is wanted, the confidence with which it must be shown, and the limits."""

    target: float = 0.95
    confidence: float = 0.95
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person said of one row since the evidence began, in the order in which the rows were chosen.

    Attributes:
        asked: the file's label of the row when the evidence began.
        label: the person's label; ``NO_LABEL`` for a drawn row that is not answered yet, which counts as wrong.
        chance: the probability with which exactly this row was drawn from all open rows; None if it was chosen
            (by the queue, or by a person).
        least: the smallest such probability of any open row at that time; None if all open rows had the same.
        expected, spread: what was forecast before the draw, see :class:`mlcore.plan.draw.DrawnRows`; None if nothing was.
    """

    row: int
    asked: int
    label: int
    chance: float | None = None
    least: float | None = None
    expected: float | None = None
    spread: float | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """A share of right labels. ``low`` and ``high`` each hold at the certificate's confidence, however often one looks."""

    low: float
    estimate: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassBound:
    """How many labels of one class in the file are right (its precision); ``drawn`` rows of it are behind the bound."""

    label: int
    rows: int
    decided: int
    drawn: int
    precision: Bound


@dataclass(frozen=True, slots=True)
class CertifiedPart:
    """The largest part of the file that is shown to reach the target. ``others``: row indices outside it, riskiest first."""

    rows: int
    low: float
    others: IntArray


@dataclass(frozen=True, slots=True)
class Certificate:
    """What can be said of the file as it is.

    Attributes:
        drawn: answered rows that were drawn with a known probability: the evidence.
        decided: rows that people decided one by one, the drawn ones among them. They count as right, less people's errors.
        people_error: the rate of people's own errors that was allowed for; None if it is unknown and taken as 0.
        accuracy: of the whole file.
        classes: of each class on its own; each bound holds for itself, not all of them together.
        disagreed: rows where a person's label was not the file's.
        uncovered: open rows counted as wrong, since their label changed after the evidence began or nobody gave them one.
        unanswered: rows that were drawn and not answered; they count as wrong.
    """

    target: float
    confidence: float
    rows: int
    drawn: int
    decided: int
    people_error: float | None
    accuracy: Bound
    classes: tuple[ClassBound, ...]
    part: CertifiedPart
    disagreed: tuple[int, ...]
    uncovered: int
    unanswered: int

    @property
    def holds(self) -> bool:
        """Whether the whole file is shown to reach the target."""
        return self.accuracy.low >= self.target


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast figure with its 90 % range."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected after a step: the file's accuracy, what the step costs, and people's minutes for it.

    ``answers``: how many more answers the target takes after this step, 0 where it is shown then.
    """

    accuracy: Range
    money: Range
    minutes: Range
    answers: Range


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: ``amount`` rows of work of this kind, and why.

    Kinds: ``try`` rows with the LLM; ``label`` rows with it; ``train`` the small model; ``refine``: take over the labels that
    follow from the newest answers; ``measure``: ask people about rows drawn at random; ``review``: ask people about the riskiest
    rows; ``compare``: ask another LLM about the rows that people answered; ``relabel`` rows at risk with it; ``stop``.
    ``within_limits``: whether the target can be shown with what is left of the limits, as far as known. ``connection``: of the
    other LLM.
    """

    kind: StepKind
    amount: int
    reason: Message
    forecast: Forecast
    within_limits: bool = True
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """What one more unit of a limit brings: ``shown``, the share of right labels that a certificate would then state."""

    unit: Unit
    amount: float
    answers: int
    shown: Range
    accuracy: Range


@dataclass(frozen=True, slots=True)
class OtherModel:
    """A further LLM of the project, and how it did on answered rows at risk: on ``rows``, it was ``right``, the file
    ``file_right`` times. ``price``: of a row; None where it is unknown. ``rows`` 0: it was not asked yet."""

    connection: int
    name: str
    rows: int = 0
    right: int = 0
    file_right: int = 0
    price: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a project when the next step is chosen; ``M`` rows are open, those that no person has decided.

    Attributes:
        rows: of the file. ``lost`` of them count as wrong whatever is asked.
        risk: ``(M,)``, of the open rows being wrong as they are labelled now.
        stage: what the models have done so far.
        learned: whether the models' labels rest on the answers of people so far.
        answered: drawn rows that were answered, of all versions of the labels.
        drawn_risk, drawn_wrong: of those of this version, the sum of their risk and how many were wrong.
        bound: wrong rows among the open ones, at most, as the certificate has it; None before it has evidence.
        attempt, next_attempt: of the certificate with the labels as they are, and with others, see
            :class:`mlcore.plan.certificate.Evidence`.
        renewal: how many fewer wrong rows the labels would have that follow from the newest answers.
        minutes_an_answer: people's pace. ``minutes``, ``money``: what is left of the limits; None without one.
        label_cost: what labelling all rows costs, as far as a trial has told.
        others: further LLMs of the project.
        past: forecasts of the file's accuracy, and what came.
        is_certified: whether the newest certificate is of the file as it is.
    """

    goal: Goal
    rows: int
    risk: FloatArray
    lost: int = 0
    stage: Literal["new", "tried", "labelled", "trained"] = "trained"
    learned: bool = False
    answered: int = 0
    drawn_risk: float = 0.0
    drawn_wrong: int = 0
    bound: int | None = None
    attempt: int = 1
    next_attempt: int = 1
    renewal: float = 0.0
    minutes_an_answer: float = 8.0 / 60.0
    minutes: float | None = None
    money: float | None = None
    label_cost: Range | None = None
    others: tuple[OtherModel, ...] = ()
    past: tuple[tuple[Range, float], ...] = ()
    is_certified: bool = False

    @property
    def allowed(self) -> float:
        """Wrong rows that may stay among the open ones."""
        return (1.0 - self.goal.target) * self.rows - self.lost
