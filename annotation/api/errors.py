"""Errors as JSON: ``code`` for programs, ``sentence`` for people, in their language and the same as on pages."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import NinjaAPI, Schema
from ninja.errors import HttpError, Throttled, ValidationError

from annotation.errors import AnnotationError, BusyError, ConflictError, InvalidFileError, NotReadyError
from mlcore.errors import EngineError, MessageError


class Refusal(Schema):
    """Why a request was refused. ``fields``: of values that are wrong, what is wrong with each."""

    code: str
    sentence: str
    fields: dict[str, list[str]] = {}


CODES: list[tuple[type[MessageError], str]] = [
    (InvalidFileError, "invalid_file"),
    (NotReadyError, "not_ready"),
    (BusyError, "busy"),
    (ConflictError, "conflict"),
    (MessageError, "refused"),
]
STATUS_CODES = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "refused",
    413: "too_large",
    429: "too_many_requests",
}


def add_handlers(api: NinjaAPI) -> None:
    """Have every error that the operations raise answered in this form."""

    def refuse(request: HttpRequest, status: int, sentence: str, **more: Any) -> HttpResponse:
        told = {"code": STATUS_CODES[status], "sentence": sentence} | more
        return api.create_response(request, told, status=status)

    def of_message(request: HttpRequest, error: Any) -> HttpResponse:
        code = next(code for kind, code in CODES if isinstance(error, kind))
        return refuse(request, 409, str(error), code=code)

    def of_values(request: HttpRequest, error: Any) -> HttpResponse:
        fields: dict[str, list[str]] = {}
        sentences = []
        for each in error.errors:
            name = ".".join(
                str(part) for part in each["loc"] if part not in ("body", "query", "path", "values")
            )
            fields.setdefault(name, []).append(each["msg"])
            title = each.get("label", name)
            sentences.append(
                _("%(what)s: %(value)s") % {"what": title, "value": each["msg"]} if title else each["msg"]
            )
        return refuse(request, 400, " ".join(sentences), fields=fields)

    def of_status(request: HttpRequest, error: Any) -> HttpResponse:
        answer = refuse(request, error.status_code, _status_sentence(error))
        if isinstance(error, Throttled):
            answer["Retry-After"] = str(error.wait)
        return answer

    def of_absence(request: HttpRequest, _error: Any) -> HttpResponse:
        return refuse(request, 404, _("This does not exist, or you are not a member of its project."))

    def of_role(request: HttpRequest, error: Any) -> HttpResponse:
        return refuse(request, 403, str(error))

    def of_size(request: HttpRequest, _error: Any) -> HttpResponse:
        return refuse(request, 413, _("The body is too large. Send rows as a file, or in several requests."))

    api.add_exception_handler(AnnotationError, of_message)
    api.add_exception_handler(EngineError, of_message)
    api.add_exception_handler(ValidationError, of_values)
    api.add_exception_handler(HttpError, of_status)
    api.add_exception_handler(Http404, of_absence)
    api.add_exception_handler(PermissionDenied, of_role)
    api.add_exception_handler(RequestDataTooBig, of_size)


def _status_sentence(error: HttpError) -> str:
    if isinstance(error, Throttled):
        return _("Too many requests in a minute. Try again in %(seconds)s seconds.") % {"seconds": error.wait}
    return {
        "Unauthorized": _("Sign in, or send a token: “Authorization: Bearer coral_…”."),
        "CSRF check Failed": _("Send the page's CSRF token, or use an API token."),
        "Cannot parse request body": _("The body is no JSON that can be read."),
    }.get(str(error), str(error))
