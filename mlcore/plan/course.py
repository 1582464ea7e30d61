"""What is to be expected while people answer: the wrong rows left and the bound on them, after any number of answers.

The riskiest rows are reviewed first, then rows are drawn by risk. All figures are means over both kinds of chance; the log
capital of a bet is taken to the second order. So a course is worked out in milliseconds for any number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcore.plan.betting import MOST_STAKE
from mlcore.plan.draw import EVEN_SHARE, LEAST_RISK, chances
from mlcore.records import FloatArray

LEVELS = 100  # of risk, into which rows are gathered
POINTS = 60  # numbers of answers, and gaps, that are worked out
REVIEWS = 12  # numbers of reviewed rows that are compared


@dataclass(frozen=True, slots=True)
class Profile:
    """Open rows by their risk, riskiest first: ``count (B,)`` rows of each ``risk (B,)``."""

    risk: FloatArray
    count: FloatArray

    @classmethod
    def of(cls, risk: FloatArray) -> Profile:
        """Of rows with this risk ``(M,)``."""
        parts = np.array_split(np.sort(risk)[::-1], min(LEVELS, max(len(risk), 1)))
        means = [part.mean() if len(part) else LEAST_RISK for part in parts]
        return cls(np.clip(means, LEAST_RISK, 1.0), np.array([len(part) for part in parts], dtype=float))

    @property
    def rows(self) -> float:
        return float(self.count.sum())

    @property
    def wrong(self) -> float:
        return float((self.count * self.risk).sum())

    def scaled(self, scale: float) -> Profile:
        return Profile(np.clip(self.risk * scale, LEAST_RISK, 1.0), self.count)

    def reviewed(self, rows: float) -> Profile:
        """Without the riskiest rows."""
        before = np.cumsum(self.count) - self.count
        return Profile(self.risk, np.clip(self.count - np.clip(rows - before, 0.0, None), 0.0, None))


@dataclass(frozen=True, slots=True)
class Course:
    """After ``answers (G,)``: the wrong rows ``left``, and with the bound's confidence at most ``bound`` of them."""

    answers: FloatArray
    left: FloatArray
    bound: FloatArray

    def needed(self, allowed: float) -> float:
        """Answers until no more than ``allowed`` wrong rows are shown; all rows show it for certain."""
        return float(self.answers[int((self.bound <= allowed).argmax())])

    def at(self, answers: float) -> tuple[float, float]:
        """Wrong rows left and the bound on them after so many answers."""
        return tuple(float(np.interp(answers, self.answers, line)) for line in (self.left, self.bound))  # type: ignore[return-value]


def draw_course(profile: Profile, bar: float, *, information: float = 0.0, review: float = 0.0) -> Course:
    """The course of drawing by risk, after so many rows were reviewed.

    Args:
        bar: log capital that a bet has to win.
        information: what the draws so far tell: the sum over them of one over the variance of the weight.
    """
    reviewed = np.linspace(0.0, review, REVIEWS)[: REVIEWS - 1] if review else np.zeros(0)
    open_wrong = np.array([profile.reviewed(size).wrong for size in reviewed])
    shown = _most_wrong(profile.rows - reviewed, open_wrong, bar, information)
    profile = profile.reviewed(review)
    rows = profile.rows
    points = np.unique(
        np.concatenate([[0.0], np.geomspace(min(5.0, max(rows, 1.0)), max(rows, 1.0), POINTS)])
    )
    count, lines = profile.count, []
    for end, begin in zip([*points[1:], points[-1]], points, strict=True):
        opened = count.sum()
        if opened < 0.5:
            lines.append((0.0, 1e-9, 1.0))
            continue
        chance = chances(profile.risk, count, EVEN_SHARE)
        left = float((count * profile.risk).sum())
        spread = float((count * profile.risk / chance).sum()) - left**2
        lines.append((left, max(spread, left), 1.0 / chance.min()))
        kept = count * np.exp(-chance * (end - begin))
        count = np.minimum(count, kept * max(opened - (end - begin), 0.0) / max(kept.sum(), 1e-12))
    left, spread, most = np.array(lines).T
    bound = left + _gaps(points, left, spread, most, bar, information)
    return Course(
        np.concatenate([reviewed, review + points]),
        np.concatenate([open_wrong, left]),
        np.concatenate([shown, bound]),
    )


def _most_wrong(opened: FloatArray, left: FloatArray, bar: float, information: float) -> FloatArray:
    """The bound that the draws so far lead to, while rows are reviewed that are no evidence."""
    gap = np.sqrt(2.0 * bar / information) if information else np.inf
    return np.asarray(np.minimum(left + gap, opened))


def _gaps(
    points: FloatArray, left: FloatArray, spread: FloatArray, most: FloatArray, bar: float, information: float
) -> FloatArray:
    """How far over ``left (G,)`` the bound is at each point; 0 once nothing is open."""
    gaps = np.geomspace(0.25, max(float(most.max()), 1.0), 2 * POINTS)[:, None]
    width = np.append(np.diff(points), 0.0)
    stake = np.minimum(
        gaps / (spread + gaps**2), MOST_STAKE / np.maximum(most - left - gaps, 1e-9)
    )  # (gaps, G)
    growth = np.maximum(stake * gaps - stake**2 * (spread + gaps**2) / 2, 0.0) * width
    won = np.cumsum(growth, axis=1) - growth + gaps**2 * information / 2
    gap = np.where((won >= bar).any(axis=0), gaps[(won >= bar).argmax(axis=0), 0], np.inf)
    opened = points[-1] - points
    return np.asarray(np.minimum(gap, np.maximum(opened - left, 0.0)))


def information_of(bound: float, expected: float, bar: float) -> float:
    """What draws have told, from the bound that they lead to and the wrong rows that are expected."""
    return 2.0 * bar / max(bound - expected, 1.0) ** 2


def courses_by_review(profile: Profile, bar: float, information: float, most: float) -> dict[int, Course]:
    """The courses for some numbers of rows, up to ``most``, that are reviewed before more are drawn."""
    sizes = np.unique(np.round(np.linspace(0.0, 1.0, REVIEWS) ** 2 * min(most, profile.rows)))
    return {
        int(size): draw_course(profile, bar, information=information, review=float(size)) for size in sizes
    }
