"""How much people found and how quickly, read from their corrections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Count, F, FloatField, Q, QuerySet, Sum, Value
from django.db.models.functions import Least
from django.utils import timezone

from annotation.models import Correction, Flag, Project, Source

LONGEST_LOOK = 120.0  # seconds; whoever looked longer at a row did something else meanwhile
STRETCH = 50  # answers
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Work:
    """What some answers came to. Rows that were shown to measure the file, not because they look wrong, count only in
    ``answers`` and ``seconds``."""

    answers: int
    shown: int
    wrong: int
    seconds: float

    @property
    def wrong_share(self) -> float | None:
        return self.wrong / self.shown if self.shown else None

    @property
    def rows_per_minute(self) -> float | None:
        return self.answers * 60 / self.seconds if self.seconds else None

    @property
    def errors_per_minute(self) -> float | None:
        return self.wrong * 60 / self.seconds if self.seconds else None


def work_of(corrections: QuerySet[Correction]) -> Work:
    """The sum of some standing corrections, in one query. An answer is an error found where it changed a model's label."""
    queued = Q(because=Correction.Because.QUEUE) & ~Q(replaced_source=Source.PERSON)
    looked = Least("seconds", Value(LONGEST_LOOK), output_field=FloatField())
    sums = corrections.aggregate(
        answers=Count("pk"),
        shown=Count("pk", filter=queued),
        same=Count("pk", filter=queued & Q(label=F("replaced_label"))),
        seconds=Sum(looked, filter=Q(seconds__isnull=False)),
    )
    return Work(sums["answers"], sums["shown"], sums["shown"] - sums["same"], sums["seconds"] or 0.0)


def answers_of(project: Project, user: User, *, since: datetime | None = None) -> QuerySet[Correction]:
    """The person's standing answers in the focus view, newest first."""
    answers = Correction.objects.standing().filter(
        sample__project=project, user=user, answer_id__isnull=False
    )
    return (answers.filter(created_at__gte=since) if since else answers).order_by("-pk")


def midnight() -> datetime:
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)


def last_stretch(project: Project, user: User) -> Work | None:
    """What the person's last fifty answers found; None before there are fifty."""
    newest = list(answers_of(project, user).values_list("pk", flat=True)[:STRETCH])
    return work_of(Correction.objects.filter(pk__in=newest)) if len(newest) == STRETCH else None


def rows_left(project: Project) -> int:
    """Rows that look wrong and that nobody has decided; counted up to 10,000."""
    flagged = project.samples.filter(flag__in=[Flag.WRONG, Flag.INCONSISTENT]).exclude(source=Source.PERSON)
    return flagged.order_by()[: MOST_COUNTED + 1].count()
