"""How much people found and how quickly, read from their corrections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Count, F, FloatField, Max, Q, QuerySet, Sum, Value
from django.db.models.functions import Least
from django.utils import timezone

from annotation.models import Correction, Flag, Project, Source
from annotation.pipeline.measure.agreement import second_answers
from annotation.table.counts import count_rows

LONGEST_LOOK = 120.0  # seconds; whoever looked longer at a row did something else meanwhile
LAST_ANSWERS = 50  # over which a person is told the share of wrong rows
TOTAL_SECONDS = Sum(
    Least("seconds", Value(LONGEST_LOOK), output_field=FloatField()), filter=Q(seconds__isnull=False)
)


@dataclass(frozen=True, slots=True)
class Throughput:
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


def throughput_of(corrections: QuerySet[Correction]) -> Throughput:
    """The sum of some standing corrections, in one query. An answer is an error found where it changed a model's label."""
    queued = Q(because=Correction.Because.QUEUE) & ~Q(replaced_source=Source.PERSON)
    sums = corrections.aggregate(
        answers=Count("pk"),
        shown=Count("pk", filter=queued),
        same=Count("pk", filter=queued & Q(label=F("replaced_label"))),
        seconds=TOTAL_SECONDS,
    )
    return Throughput(sums["answers"], sums["shown"], sums["shown"] - sums["same"], sums["seconds"] or 0.0)


def answers_of(project: Project, user: User, *, since: datetime | None = None) -> QuerySet[Correction]:
    """The person's standing answers in the focus view, newest first."""
    answers = Correction.objects.standing().filter(
        sample__project=project, user=user, answer_id__isnull=False
    )
    return (answers.filter(created_at__gte=since) if since else answers).order_by("-pk")


def midnight() -> datetime:
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)


def last_answers(project: Project, user: User) -> Throughput | None:
    """What the person's last ``LAST_ANSWERS`` answers came to; None before there are so many."""
    newest = list(answers_of(project, user).values_list("pk", flat=True)[:LAST_ANSWERS])
    return throughput_of(Correction.objects.filter(pk__in=newest)) if len(newest) == LAST_ANSWERS else None


def rows_left(project: Project) -> int:
    """Rows that look wrong and that nobody has decided; cheap enough to be told with every answer."""
    flags = count_rows(project).flags
    return flags[Flag.WRONG] + flags[Flag.INCONSISTENT]


# --- The team -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class MemberThroughput:
    """What one person did in the project, and how often they agree with others who answered the same rows blind."""

    name: str
    answers: int
    timed: Throughput
    today: int
    changed: int
    newest: datetime | None
    agreed: int = 0
    compared: int = 0

    @property
    def changed_share(self) -> float | None:
        return self.changed / self.answers if self.answers else None

    @property
    def agreement(self) -> float | None:
        return self.agreed / self.compared if self.compared else None


def team_throughput(project: Project) -> list[MemberThroughput]:
    """Everybody who has corrected something, most answers first: three queries, whatever the number of people."""
    standing = Correction.objects.standing().filter(sample__project=project).order_by()
    sums = standing.values("user", "user__username").annotate(
        answers=Count("pk"),
        today=Count("pk", filter=Q(created_at__gte=midnight())),
        changed=Count("pk", filter=~Q(label=F("replaced_label"))),
        timed=Count("pk", filter=Q(seconds__isnull=False)),
        seconds=TOTAL_SECONDS,
        newest=Max("created_at"),
    )
    members = {
        row["user"]: MemberThroughput(
            name=row["user__username"] or "–",
            answers=row["answers"],
            timed=Throughput(row["timed"], 0, 0, row["seconds"] or 0.0),
            today=row["today"],
            changed=row["changed"],
            newest=row["newest"],
        )
        for row in sums
    }
    for pair in second_answers(project):
        for annotation in pair:
            if annotation.user_id in members:
                members[annotation.user_id].compared += 1
                members[annotation.user_id].agreed += pair[0].label_id == pair[1].label_id
    return sorted(members.values(), key=lambda member: -member.answers)
