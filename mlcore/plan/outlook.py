"""The future of a file by simulation: how wrong it may be, and what answers would bring, given what drawn rows have told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlcore.plan.certificate import error_share
from mlcore.plan.course import Course, Profile, courses_by_review, draw_course, information_of
from mlcore.plan.records import Forecast, Offer, Range, Situation, Unit
from mlcore.records import FloatArray

# Imagined wrong rows, with which the models' risk begins: drawn rows scale it. With 3 of them the 90 % range of the first forecast
# is 0.27 to 2.1 times the risk. Not tuned.
PRIOR_ERRORS = 3.0
SCALES = 21  # values of the scale that stand for its posterior, at even quantiles
NOTHING = Range(0.0, 0.0, 0.0)
# Of the answers still needed, how many have to be saved before people review rows that are no evidence, or evidence is given up
# for new labels. Not varied.
WORTHWHILE = 0.05
LESSONS = 3.0  # imagined forecasts that came true as told, beside those of the project


@dataclass(frozen=True, slots=True)
class Lesson:
    """What past forecasts teach: by how much outcomes were off on average, and how often they lay in the 90 % range.

    ``shift``: to be added to a forecast; ``widen``: factor of its range's width. ``inside`` of ``seen`` came true.
    """

    shift: float = 0.0
    widen: float = 1.0
    inside: int = 0
    seen: int = 0

    @classmethod
    def of(cls, past: Sequence[tuple[Range, float]]) -> Lesson:
        if not past:
            return cls()
        errors = np.array([outcome - forecast.value for forecast, outcome in past])
        sigmas = np.array([max(forecast.high - forecast.low, 1e-3) for forecast, _ in past]) / 3.29
        shift = float(errors.sum() / (len(past) + LESSONS))
        seen = np.square((errors - shift) / sigmas).sum()
        widen = float(np.sqrt((LESSONS + seen) / (LESSONS + len(past))))
        inside = sum(forecast.low <= outcome <= forecast.high for forecast, outcome in past)
        return cls(shift, widen, inside, len(past))

    def apply(self, told: Range) -> Range:
        """The range moved and widened, within 0 and 1."""
        value = told.value + self.shift
        low, high = (value + self.widen * (end - told.value) for end in (told.low, told.high))
        low, value, high = (min(max(number, 0.0), 1.0) for number in (low, value, high))
        return Range(value, low, high)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The posterior of how wrong the file is.

    Attributes:
        scales: ``(S,)``, equally likely factors of the risk.
        profile: the open rows by their risk, scaled to the middle of the posterior.
        courses: of the best plan, for each of the scales.
        review: rows to review before more are drawn.
        bar, information: see :func:`mlcore.plan.course.draw_course`.
    """

    situation: Situation
    scales: FloatArray
    profile: Profile
    courses: tuple[Course, ...]
    review: int
    lesson: Lesson
    bar: float
    information: float

    @property
    def needed(self) -> Range:
        """Answers until the target is shown."""
        return range_of([course.needed(self.situation.allowed) for course in self.courses])

    def forecast(self, *, answers: int = 0, money: Range = NOTHING, mended: float = 0.0) -> Forecast:
        """After so many more answers by the plan, and with ``mended`` wrong rows fewer by what models do."""
        situation = self.situation
        left = [course.at(answers)[0] for course in self.courses]
        rng = np.random.default_rng(situation.answered)
        # Which of the rows are wrong is chance as well.
        wrong = rng.poisson(np.repeat(np.maximum(np.array(left) - mended, 0.0), 25))
        minutes = answers * situation.minutes_an_answer
        more = [max(course.needed(situation.allowed) - answers, 0.0) for course in self.courses]
        return Forecast(
            self.lesson.apply(range_of(1.0 - (wrong + situation.lost) / max(situation.rows, 1))),
            money,
            Range(minutes, 0.6 * minutes, 1.6 * minutes),
            range_of(more),
        )

    def offer(self, answers: int, unit: Unit, amount: float) -> Offer:
        """What so many answers bring where as much as possible is to be shown by them."""
        situation = self.situation
        answers = min(answers, int(self.profile.rows))
        shown, accuracy = list[float](), list[float]()
        for scale in np.quantile(self.scales, [0.05, 0.5, 0.95]):
            told = Profile.of(situation.risk).scaled(float(scale))
            courses = courses_by_review(told, self.bar, self.information, answers)
            left, bound = min((course.at(answers) for course in courses.values()), key=lambda at: at[1])
            accuracy.append(1.0 - (left + situation.lost) / max(situation.rows, 1))
            shown.append(1.0 - (bound + situation.lost) / max(situation.rows, 1))
        return Offer(unit, amount, answers, *(Range(line[1], line[2], line[0]) for line in (shown, accuracy)))


def look_ahead(situation: Situation) -> Outlook:
    """Simulate the file's future on what is known."""
    scales = scales_of(situation.drawn_risk, situation.drawn_wrong)
    middle = float(np.median(scales))
    told = Profile.of(situation.risk)
    bar = float(np.log(1.0 / error_share(situation.goal.confidence, situation.attempt)))
    information = 0.0
    if situation.bound is not None and situation.bound < told.rows:
        information = information_of(situation.bound, told.scaled(middle).wrong, bar)
    choices = courses_by_review(told.scaled(middle), bar, information, told.rows)
    review = min(choices, key=lambda size: choices[size].needed(situation.allowed))
    if choices[review].needed(situation.allowed) > (1.0 - WORTHWHILE) * choices[0].needed(situation.allowed):
        review = 0
    courses = tuple(
        draw_course(told.scaled(float(scale)), bar, information=information, review=review)
        for scale in scales
    )
    return Outlook(
        situation, scales, told.scaled(middle), courses, review, Lesson.of(situation.past), bar, information
    )


def scales_of(drawn_risk: float, drawn_wrong: int) -> FloatArray:
    """Equally likely factors ``(S,)`` of the risk, given drawn rows with this sum of risks, so many of them wrong."""
    from scipy.special import gammaincinv  # only where it is needed: pages load no scipy

    quantiles = (np.arange(SCALES) + 0.5) / SCALES
    return np.asarray(gammaincinv(PRIOR_ERRORS + drawn_wrong, quantiles) / (PRIOR_ERRORS + drawn_risk))


def range_of(values: Sequence[float] | FloatArray) -> Range:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return Range(float(middle), float(low), float(high))
