"""Whether this machine can serve: for a load balancer and for the operator."""

from __future__ import annotations

import logging

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotation.jobs import broker
from annotation.jobs.kinds import queues
from annotation.models import Stage

logger = logging.getLogger(__name__)


@never_cache
@require_GET
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while pages work, which takes the database; a broker or a worker that is missing is told as degraded."""
    try:
        overdue = Stage.objects.overdue().count()
    except DatabaseError:
        logger.exception("The database does not answer.")
        return JsonResponse({"status": "down", "database": "unreachable"}, status=503)
    seen = {queue: broker.worker_seen(queue) for queue in queues()}
    return JsonResponse(
        {
            "status": "ok" if all(seen.values()) else "degraded",
            "database": "ok",
            "broker": "unreachable" if None in seen.values() else "ok",
            "workers": {
                queue: "unknown" if found is None else "ok" if found else "missing"
                for queue, found in seen.items()
            },
            "overdue_stages": overdue,
        }
    )
