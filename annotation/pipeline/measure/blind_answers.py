"""Which drawn rows were answered blind, and what a draw still stands for when people decided some of its rows otherwise.

Only what people said of a row alone counts as a word here. A bulk correction is none: nobody need have looked at the row,
so it stays as good a member of the random sample as before, and can still be answered blind.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from annotation.models import Correction, Project

BLIND = (Correction.Because.AUDIT, Correction.Because.SECOND)


@dataclass(frozen=True, slots=True)
class Said:
    """One word of a person on a drawn row."""

    user: str | None
    label_id: int
    because: str
    at: datetime


def said_of_drawn_rows(project: Project) -> dict[int, list[Said]]:
    """What people said of each drawn row alone and nobody took back, oldest first, since it was last given back to the
    models or decided in bulk. A bulk correction after a blind answer leaves that answer as it is."""
    found: dict[int, list[Said]] = {}
    words = Correction.objects.filter(sample__audit_draws__project=project)
    for word in words.select_related("user", "undone_by").order_by("id"):
        # Not asked of the database: it would walk over all corrections that take none back.
        if word.undoes_id or hasattr(word, "undone_by"):
            continue
        said = found.setdefault(word.sample_id, [])
        if word.label_id is None or (word.batch_id and not blind_answer(said)):
            found[word.sample_id] = []
        elif not word.batch_id:
            user = word.user.get_username() if word.user else None
            said.append(Said(user, word.label_id, word.because, word.created_at))
    return found


def blind_answer(said: Sequence[Said]) -> Said | None:
    """A row's answer as a member of the random sample: the first word on it, if that was given blind.

    A row that was decided in another way first is no answer, whatever was said later; a blind answer stays one.
    """
    return said[0] if said and said[0].because == Correction.Because.AUDIT else None


def blind_answers(said: Mapping[int, Sequence[Said]]) -> dict[int, Said]:
    """Of the drawn rows, those that were answered blind, with the answer."""
    return {row: answer for row, words in said.items() if (answer := blind_answer(words))}


def share_left(drawn: int, answered_at: Sequence[datetime], lost_at: Sequence[datetime]) -> float:
    """The share of a stratum that its answered rows stand for: rows not yet decided otherwise when they were answered.

    The survival curve of the drawn rows (Kaplan and Meier 1958), at the answers' times, averaged over them.

    Args:
        drawn: rows drawn in the stratum.
        answered_at, lost_at: when rows were answered blind, and when they were decided otherwise before that.
    """
    left, waiting, total = 1.0, drawn, 0.0
    for _at, is_answer in sorted([(at, True) for at in answered_at] + [(at, False) for at in lost_at]):
        if is_answer:
            total += left
        else:
            left *= 1.0 - 1.0 / waiting
        waiting -= 1
    return total / len(answered_at) if answered_at else left


def share_answered_by(at: datetime, answered_at: Sequence[datetime]) -> float:
    """How much of a draw's answers, sorted by time, had been given by then: they tell of the file as it was before what
    people did afterwards."""
    return bisect_right(answered_at, at) / len(answered_at) if answered_at else 0.0
