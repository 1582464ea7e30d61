"""Rows that the LLM has not answered in a round yet, window by window.

Two reads by an index each: the rows of a window of positions, and the answers to these rows. One statement for both, an
anti-join, is planned by statistics that know nothing of a round that has just begun: PostgreSQL then reads all answers of
the round for each page, so that the whole grows with the square of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from annotation.models import Iteration, Prediction, Sample
from annotation.models.sample import SampleQuerySet
from annotation.models.sql import among, parts_by_key

SOURCE = Prediction.ModelKind.LLM
WINDOW_ROWS = 1_000
READ_ROWS = 500


def asks_all(iteration: Iteration) -> bool:
    """Whether a round asks about all rows, or all that are at risk, and not about a share of them."""
    return int(iteration.llm_settings.get("asked_percent", 100)) >= 100


def rows_to_ask(iteration: Iteration) -> SampleQuerySet:
    """The rows that a round asks the LLM about, answered or not."""
    samples = iteration.project.samples
    return samples.all() if asks_all(iteration) else samples.filter(llm_round=iteration.number)


def count_answered(iteration: Iteration) -> int:
    """How many rows have an answer in a round, kept ones included."""
    return iteration.predictions.filter(source=SOURCE, error="").count()


def count_unanswered(iteration: Iteration) -> int:
    if asks_all(iteration):
        return iteration.project.samples.count() - count_answered(iteration)
    asked = rows_to_ask(iteration)
    answers = iteration.predictions.filter(source=SOURCE, error="", sample__in=asked.values("pk"))
    return asked.count() - answers.count()


def unanswered_ranges(iteration: Iteration) -> Iterator[tuple[int, int, int]]:
    """Windows with rows that have no answer: the position before the first row, that of the last, and how many there are."""
    for keys, after, last in _windows(iteration, after=-1, last=None):
        if keys:
            yield after, last, len(keys)


def unanswered_keys(
    iteration: Iteration, *, after: int = -1, last: int | None = None, rows: SampleQuerySet | None = None
) -> Iterator[list[int]]:
    """Ids of the rows without an answer, in the corpus' order, a window at a time.

    Args:
        after: the position before the first row.
        last: the last row's; None for the corpus' end.
        rows: where they are looked for; None for those that the round asks about.
    """
    return (keys for keys, _after, _last in _windows(iteration, after=after, last=last, rows=rows))


def _windows(
    iteration: Iteration, *, after: int, last: int | None, rows: SampleQuerySet | None = None
) -> Iterator[tuple[list[int], int, int]]:
    rows = (rows_to_ask(iteration) if rows is None else rows).filter(position__gt=after)
    if last is not None:
        rows = rows.filter(position__lte=last)
    pairs = rows.values_list("pk", "position")
    for window in parts_by_key(pairs, "position", WINDOW_ROWS, itemgetter(1)):
        keys = without_answer(iteration, [pk for pk, _position in window])
        yield keys, window[0][1] - 1, window[-1][1]


def without_answer(iteration: Iteration, keys: list[int]) -> list[int]:
    """Those of these rows that have no answer yet; a failed call is none."""
    answers = iteration.predictions.answers_to(keys, source=SOURCE)
    answered = set(answers.values_list("sample", flat=True))
    return [key for key in keys if key not in answered]


def unanswered_samples(
    iteration: Iteration, *, after: int = -1, last: int | None = None
) -> Iterator[list[Sample]]:
    """The same rows with what a question needs of them, a part at a time."""
    # Without the project it would be asked for row by row.
    rows = Sample.objects.only("project", "position", "text", "fields").order_by("position")
    for keys in unanswered_keys(iteration, after=after, last=last):
        for start in range(0, len(keys), READ_ROWS):
            yield list(rows.filter(pk__in=among(keys[start : start + READ_ROWS])))
