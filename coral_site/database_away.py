"""What a person gets while the database is busy for too long, is away, or its disk is full: a sentence, and no bare error."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from annotation.jobs.disk_space import is_disk_full, no_room

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5


class DatabaseAwayMiddleware:
    """Answers 503 with when to try again, so that pages and load balancers know a passing trouble from a fault of ours."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        full = is_disk_full(error)
        if not full and not _is_away(error):
            return None
        logger.exception("%s could not be answered.", request.path)
        sentence = no_room() if full else _("Your last change was not saved; try again in a few seconds.")
        page = render_to_string("503.html", {"sentence": sentence})
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_SECONDS)})


def _is_away(error: Exception) -> bool:
    """Busy, cut off, or not to be opened. SQLite calls a wrong statement an OperationalError as well, which is a fault."""
    is_wrong_statement = getattr(error.__cause__, "sqlite_errorname", "") == "SQLITE_ERROR"
    return isinstance(error, OperationalError | InterfaceError) and not is_wrong_statement
