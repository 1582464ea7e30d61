"""The review queue: which rows a person is shown next, and who holds which row meanwhile.

Riskiest first, in the order that the small model's stage stored (spread over clusters), with blind rows among them:
those drawn at random to measure the file, and those that a second person answers too. A row that somebody is shown is
claimed for them, for ten minutes after their last sign of life, so two people never get the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from annotation.models import AuditDraw, Correction, Project, RowClaim, RowMark, RowSkip, Sample, Source
from annotation.models.sql import from_now
from annotation.pipeline.measure.draw_sample import pending_draws

HOLD_SECONDS = 600.0
HELD_ROWS = 8  # there before they are asked for
MOST_HELD = 40  # so many answers can wait for a lost connection
AUDIT_HELD = 2  # among them: about a quarter of the answers measures the file while it is being measured
SECOND_HELD = 1
TRIES = 4

Wanted = tuple[int, str]  # a row's id and why it is shown
Placed = tuple[int, str, int]  # and its place among the rows that the person holds


@dataclass(frozen=True, slots=True)
class NextRows:
    """Rows for a person: the riskiest with blind ones spread among them, or random ones alone."""

    riskiest: Sequence[Wanted] = ()
    blind: Sequence[Wanted] = ()
    random: Sequence[Wanted] = ()

    def placed(self, held: Sequence[RowClaim]) -> list[Placed]:
        """The rows with their places: behind those that the person holds; the blind ones soon, behind the first."""
        in_turn = [*self.riskiest, *self.random]
        if not held:
            return _placed(_spread(in_turn, self.blind), 1)
        next_place = held[min(1, len(held) - 1)].place
        return [(*row, next_place) for row in self.blind] + _placed(in_turn, held[-1].place + 1)


def take_rows(
    project: Project, *, user: User, count: int = HELD_ROWS, only_random: bool = False
) -> list[RowClaim]:
    """The rows that the person is to look at next, first one first; from now on they hold them.

    Args:
        count: how many to hold, at most ``MOST_HELD``. Fewer come back where fewer are left, and up to three more where blind
            rows are due that the person does not hold yet.
        only_random: only rows that were drawn at random to measure the file; others that the person holds go back.
    """
    count = min(count, MOST_HELD)
    if only_random:
        mine = RowClaim.objects.filter(project=project, user=user)
        mine.exclude(because=Correction.Because.AUDIT).delete()
    held = _renew(project, user)
    for _attempt in range(TRIES):
        free = max(0, count - len(held))
        rows = _choose_random(project, user, free) if only_random else _choose(project, user, held, free)
        if rows == NextRows():
            break
        _claim(project, user, rows.placed(held))
        held = _held(project, user)  # somebody may have been quicker with a row; then choose again
    return held


def peek_rows(project: Project, *, user: User, only_random: bool = False) -> list[Wanted]:
    """The rows that the person would be given, without a claim: for a database that can't be written at the moment."""
    held = _held(project, user)
    chosen = (
        _choose_random(project, user, HELD_ROWS) if only_random else _choose(project, user, held, HELD_ROWS)
    )
    return [(claim.sample_id, claim.because) for claim in held] + [row[:2] for row in chosen.placed(held)]


def hold_row(sample: Sample, *, user: User, because: str) -> None:
    """Give the person a row to look at again, before the others that they hold. Does nothing if somebody else holds it."""
    _claim(sample.project, user, [(sample.pk, because, 0)])


def skip_row(sample: Sample, *, user: User) -> None:
    """Pass a row over: it is free for others, and comes to this person again when nothing else is left."""
    with transaction.atomic():
        RowSkip.objects.update_or_create(sample=sample, user=user, defaults={"created_at": timezone.now()})
        RowClaim.objects.filter(sample=sample, user=user).delete()


# --- Holding ------------------------------------------------------------------------------------------------------


def _renew(project: Project, user: User) -> list[RowClaim]:
    """The rows that the person holds, for another ten minutes; those that somebody else has decided are let go."""
    mine = RowClaim.objects.live().filter(project=project, user=user)
    mine.filter(sample__source=Source.PERSON, because=Correction.Because.QUEUE).delete()
    mine.update(until=from_now(seconds=HOLD_SECONDS))
    return _held(project, user)


def _held(project: Project, user: User) -> list[RowClaim]:
    return list(RowClaim.objects.live().filter(project=project, user=user).order_by("place", "pk"))


def _placed(rows: Sequence[Wanted], first_place: int) -> list[Placed]:
    return [(*row, place) for place, row in enumerate(rows, start=first_place)]


def _claim(project: Project, user: User, wanted: Sequence[Placed]) -> None:
    """Claim rows; the database's unique constraint decides where two people want the same one."""
    until = from_now(seconds=HOLD_SECONDS)
    ordered = sorted(wanted)  # one order for all: nobody waits for each other in a circle
    claims = [
        RowClaim(sample_id=pk, project=project, user=user, because=because, place=place, until=until)
        for pk, because, place in ordered
    ]
    with transaction.atomic():
        RowClaim.objects.filter(sample__in=[claim.sample_id for claim in claims], until__lte=Now()).delete()
        RowClaim.objects.bulk_create(claims, ignore_conflicts=True)


# --- Choosing -----------------------------------------------------------------------------------------------------


def _choose(project: Project, user: User, held: Sequence[RowClaim], count: int) -> NextRows:
    """The blind rows that are due, and the riskiest for the rest of the free places."""
    held_for = [claim.because for claim in held]
    audit = _drawn(project, user, AUDIT_HELD - held_for.count(Correction.Because.AUDIT))
    second = second_rows(project, user, SECOND_HELD - held_for.count(Correction.Because.SECOND))
    risky = _riskiest(project, user, count - len(audit) - len(second))
    return NextRows(
        riskiest=_wanted(risky, Correction.Because.QUEUE),
        blind=_wanted(audit, Correction.Because.AUDIT) + _wanted(second, Correction.Because.SECOND),
    )


def _choose_random(project: Project, user: User, count: int) -> NextRows:
    return NextRows(random=_wanted(_drawn(project, user, count), Correction.Because.AUDIT))


def _wanted(sample_ids: Sequence[int], because: str) -> tuple[Wanted, ...]:
    return tuple((sample_id, because) for sample_id in sample_ids)


def _spread(in_turn: Sequence[Wanted], blind: Sequence[Wanted]) -> list[Wanted]:
    """One of the blind rows after every two others."""
    pairs = [in_turn[start : start + 2] for start in range(0, len(in_turn), 2)]
    parts = zip_longest(pairs, ([row] for row in blind), fillvalue=())
    return list(chain.from_iterable(chain.from_iterable(parts)))


def _riskiest(project: Project, user: User, count: int) -> list[int]:
    """Rows that no person has decided: by the queue's order, then those without a place in it, then skipped ones."""
    # Drawn rows are left out: whoever saw them here would have seen the models' labels.
    skipped = RowSkip.objects.filter(sample=OuterRef("pk"), user=user)
    drawn = AuditDraw.objects.filter(sample=OuterRef("pk"))
    unclear = RowMark.objects.filter(sample=OuterRef("pk"), unclear=True)
    waiting = _unheld(project.samples.filter(~Exists(drawn), ~Exists(unclear))).exclude(source=Source.PERSON)
    fresh = waiting.filter(~Exists(skipped))
    orders = (
        fresh.filter(queue_rank__isnull=False).order_by("queue_rank"),
        fresh.filter(queue_rank__isnull=True).order_by("position"),
        waiting.filter(skips__user=user).order_by("skips__created_at"),
    )
    riskiest: list[int] = []
    for rows in orders:
        if len(riskiest) < count:
            riskiest += rows.values_list("pk", flat=True)[: count - len(riskiest)]
    return riskiest


def _drawn(project: Project, user: User, count: int) -> list[int]:
    if count <= 0:
        return []
    return list(_unheld(pending_draws(project, user)).values_list("pk", flat=True)[:count])


def second_rows(project: Project, user: User, count: int) -> list[int]:
    """Rows that another person has decided alone and nobody has answered a second time, of the share that the project wants."""
    # The share is drawn by the text's hash: as good as random, the same for everybody, and nothing to store.
    if count <= 0 or not project.double_review_percent:
        return []
    corrections = Correction.objects.filter(sample=OuterRef("pk"))
    bound = (
        f"{project.double_review_percent * 16**8 // 100:08x}" if project.double_review_percent < 100 else "g"
    )
    rows = (
        _unheld(project.samples.checked_alone())
        .filter(content_hash__lt=bound)
        .filter(
            ~Exists(Correction.objects.of_row_by(user)),
            ~Exists(corrections.filter(because=Correction.Because.SECOND)),
        )
    )
    return list(rows.order_by("position").values_list("pk", flat=True)[:count])


def _unheld(rows: QuerySet[Sample]) -> QuerySet[Sample]:
    return rows.filter(~Exists(RowClaim.objects.live().filter(sample=OuterRef("pk"))))
