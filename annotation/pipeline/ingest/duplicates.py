"""Which rows of a project have a given text, without an index of the database on all of them.

Hashes fall anywhere in such an index: a thousand rows more in a project of half a million would change 950 of its pages.
Here each import writes its rows' entries as one sorted run, in the transaction that finishes it, and a run is merged with
the one before while that is less than twice as long. So there are few runs, and a row is rewritten a few times in all
(the logarithmic method: Bentley and Saxe, 1980; as in log-structured merge trees: O'Neil et al., 1996).

An entry has 32 bits of the hash only: what it finds is checked against the whole hash in the row. Rows behind the last
run (of an import at work) are looked through one by one, so that the answer is exact at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter

import numpy as np
from django.db.models import Max, QuerySet
from numpy.typing import NDArray

from annotation.models import Project, Sample, TextPage
from annotation.models.sql import among

PAGE_ENTRIES = 4_096
_READ_ROWS = 5_000
_READ_PAGES = _WRITE_PAGES = 20
_PARTS = 16
_HALF = np.uint64(32)
_POSITION = np.uint64(2**32 - 1)

Numbers = NDArray[np.uint32]
Entries = NDArray[np.uint64]  # the key in the upper half, the position in the lower


class KnownTexts:
    """The texts of the rows before a position, for asking many times: 4 bytes of memory a row, 8 once one was found."""

    def __init__(self, project: Project, before: int) -> None:
        self._project, self._before = project, before
        self._rest = _read(project, _end(project), before)[0]
        self._keys = [*_runs(project, "keys"), _upper(self._rest)]

    @cached_property
    def _positions(self) -> list[Numbers]:
        return [*_runs(self._project, "positions"), _lower(self._rest)]

    def among(self, hashes: Sequence[str]) -> set[str]:
        """Those of the hashes that a row before the position has."""
        keys = _keys(hashes)
        first: dict[int, int] = {}
        for number, run in enumerate(self._keys):
            at = np.searchsorted(run, keys)
            there = at[at < len(run)]
            there = there[run[there] == keys[: len(there)]]
            if len(there):
                places = self._positions[number][there]
                first.update(zip(run[there].tolist(), places.tolist(), strict=True))
        if not first:
            return set()
        rows = self._project.samples.order_by().filter(position__in=among(list(first.values())))
        whole = dict(rows.values_list("position", "content_hash"))
        maybe = {digest: first[key] for digest in hashes if (key := _number(digest) >> 32) in first}
        known = {digest for digest, position in maybe.items() if whole.get(position) == digest}
        if others := maybe.keys() - known:  # the first row with this part of the hash has another text
            rest = rows_with_texts(self._project, others, before=self._before).order_by()
            known.update(rest.values_list("content_hash", flat=True))
        return known


def rows_with_texts(
    project: Project, hashes: Collection[str], *, before: int | None = None
) -> QuerySet[Sample]:
    """The project's rows whose content hash is one of these; of all rows, or of those before a position."""
    if not hashes:
        return Sample.objects.none()
    keys = _keys(hashes)
    end = _end(
        project
    )  # asked before the pages: what an import finishes in between is then found twice, not missed
    same = project.samples.filter(content_hash__in=set(hashes))
    if before is not None:
        same = same.filter(position__lt=before)
    places = set(same.order_by().filter(position__gte=end).values_list("position", flat=True))
    touched = project.text_pages.filter(smallest__lte=int(keys[-1]), largest__gte=int(keys[0]))
    for page in touched.values_list("keys", "positions").iterator(chunk_size=_READ_PAGES):
        run, positions = map(_decoded, page)
        ends = np.searchsorted(run, keys), np.searchsorted(run, keys, side="right")
        for at, behind in zip(*ends, strict=True):
            places.update(positions[at:behind].tolist())
    return same.filter(position__in=among(sorted(places)))


@dataclass(frozen=True, slots=True)
class Run:
    """Entries in ascending order, of the rows from one position to before another."""

    start: int
    end: int
    entries: Entries


def index_rows(project: Project, start: int) -> tuple[Run | None, int]:
    """Read the rows from this position to the last.

    Returns:
        The run that makes them known, for :func:`store_run` (None if they are known), and how many texts they have.
    """
    entries, texts = _read(project, start)
    known = _end(project)
    if known > start or not len(entries):
        return None, texts
    end = int(_lower(entries).max()) + 1
    pieces = [entries] if known == start else [entries, _read(project, known, start)[0]]
    first = known
    runs = project.text_pages.values_list("run_start", "run_end").distinct().order_by("-run_start")
    for run_start, run_end in runs:
        if run_end - run_start >= 2 * (end - first):
            break
        first = run_start
    merged = project.text_pages.filter(run_start__gte=first).values_list("keys", "positions")
    pieces += [_packed(*map(_decoded, page)) for page in merged]
    if len(pieces) > 1:
        entries = np.concatenate(pieces)
        entries.sort()
    return Run(first, end, entries), texts


def store_run(project: Project, run: Run | None) -> None:
    """Store a run in place of those that are merged into it."""
    if run is None:
        return
    project.text_pages.filter(run_start__gte=run.start).delete()
    pages = [run.entries[begin : begin + PAGE_ENTRIES] for begin in range(0, len(run.entries), PAGE_ENTRIES)]
    for begin in range(0, len(pages), _WRITE_PAGES):
        TextPage.objects.bulk_create(
            TextPage(
                project=project,
                run_start=run.start,
                run_end=run.end,
                smallest=int(page[0] >> _HALF),
                largest=int(page[-1] >> _HALF),
                keys=_upper(page).astype("<u4").tobytes(),
                positions=_lower(page).astype("<u4").tobytes(),
            )
            for page in pages[begin : begin + _WRITE_PAGES]
        )


def _end(project: Project) -> int:
    """The first position that no run covers."""
    return project.text_pages.aggregate(end=Max("run_end"))["end"] or 0


def _read(project: Project, start: int, before: int | None = None) -> tuple[Entries, int]:
    """The entries of these rows in ascending order, and how many texts they have (by 64 bits of their hashes)."""
    rows = project.samples.filter(position__gte=start)
    if before is not None and start >= before:
        return np.empty(0, np.uint64), 0
    if before is not None:
        rows = rows.filter(position__lt=before)
    count = rows.count()
    numbers, places = np.empty(count, np.uint64), np.empty(count, np.uint32)
    read = rows.order_by("position").values_list("position", "content_hash")
    for index, (position, digest) in enumerate(read.iterator(chunk_size=_READ_ROWS)):
        numbers[index], places[index] = _number(digest), position
    texts = 0
    for part in range(_PARTS):  # a sixteenth at a time: sorting a copy of all would take twice the memory
        low, high = np.uint64(part << 60), np.uint64((part << 60) + (1 << 60) - 1)
        texts += len(np.unique(numbers[(numbers >= low) & (numbers <= high)]))
    numbers &= ~_POSITION
    numbers |= places
    numbers.sort()
    return numbers, texts


def _packed(keys: Numbers, positions: Numbers) -> Entries:
    return keys.astype(np.uint64) << _HALF | positions


def _upper(entries: Entries) -> Numbers:
    return (entries >> _HALF).astype(np.uint32)


def _lower(entries: Entries) -> Numbers:
    return entries.astype(np.uint32)


def _number(digest: str) -> int:
    return int(digest[:16], 16)


def _keys(hashes: Collection[str]) -> Numbers:
    """What the pages hold of these hashes, in ascending order."""
    return np.unique(np.fromiter((_number(each) >> 32 for each in hashes), np.uint32, len(hashes)))


def _runs(project: Project, column: str) -> list[Numbers]:
    """Each run's numbers, from first to last."""
    pages = project.text_pages.order_by("run_start", "pk").values_list("run_start", column)
    read = pages.iterator(chunk_size=_READ_PAGES)
    return [
        _decoded(b"".join(numbers for _start, numbers in run))
        for _start, run in groupby(read, key=itemgetter(0))
    ]


def _decoded(numbers: bytes | memoryview) -> Numbers:
    return np.frombuffer(numbers, "<u4")
