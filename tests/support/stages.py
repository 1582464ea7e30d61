"""A stage at work, and what a broker holds for it."""

from __future__ import annotations

from datetime import timedelta

import dramatiq
from django.utils import timezone

from annotation.jobs import turns
from annotation.models import Stage
from mlcore.errors import StoppedError


def let_lease_run_out(stage: Stage) -> None:
    Stage.objects.filter(pk=stage.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def fresh(stage: Stage) -> Stage:
    return Stage.objects.get(pk=stage.pk)


def messages_for(stage: Stage) -> int:
    return sum(
        queue.qsize() for name, queue in dramatiq.get_broker().queues.items() if name == turns.queue_of(stage)
    )


def stop(error: BaseException | None = None) -> None:
    raise error or StoppedError()
