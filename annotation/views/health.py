"""Whether this machine can serve: for a load balancer and for the operator."""

from __future__ import annotations

import logging
import shutil

from django.conf import settings
from django.db import DatabaseError, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotation.jobs import broker
from annotation.jobs.turns import queues
from annotation.models import Stage
from annotation.models.sql import little_patience

logger = logging.getLogger(__name__)


LEAST_FREE_MB = 100  # below it the next import or export will fail


@never_cache
@require_GET
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while pages can be read, with what is amiss: writing, room on the disk, the broker, workers; 503 otherwise."""
    try:
        overdue = Stage.objects.overdue().count()
    except DatabaseError:
        logger.exception("The database does not answer.")
        return JsonResponse({"status": "down", "database": "unreachable"}, status=503)
    seen = {queue: broker.worker_seen(queue) for queue in queues()}
    free_mb = shutil.disk_usage(settings.DATA_DIR).free // 2**20
    writable = _is_writable()
    well = all(seen.values()) and writable and free_mb >= LEAST_FREE_MB
    return JsonResponse(
        {
            "status": "ok" if well else "degraded",
            "database": "ok" if writable else "read-only",
            "disk_free_mb": free_mb,
            "broker": "unreachable" if None in seen.values() else "ok",
            "workers": {
                queue: "unknown" if alive is None else "ok" if alive else "missing"
                for queue, alive in seen.items()
            },
            "overdue_stages": overdue,
        }
    )


@never_cache
@require_GET
def readyz(request: HttpRequest) -> JsonResponse:
    """200 while this process can do all that a page may ask of it, which takes a database that can be written."""
    ready = _is_writable()
    return JsonResponse({"status": "ready" if ready else "not ready"}, status=200 if ready else 503)


def _is_writable() -> bool:
    try:
        with little_patience(), transaction.atomic():
            Stage.objects.filter(pk=0).update(
                done=0
            )  # changes no row, and is refused where none may be changed
    except DatabaseError:
        logger.exception("The database can't be written.")
        return False
    return True
