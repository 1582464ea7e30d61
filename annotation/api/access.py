"""Who a request comes from: a token's user, or the person who is signed in to the pages."""

from __future__ import annotations

from typing import Annotated, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _
from ninja import Path
from ninja.errors import AuthenticationError, AuthorizationError, Throttled
from ninja.security import HttpBearer, SessionAuth

from annotation.forms.fields import is_id
from annotation.models import ApiToken
from annotation.pipeline.project.tokens import token_of
from annotation.views.rate_limit import RateLimit

#: An id in an address; a number that no database can hold is no such thing.
Id = Annotated[int, Path(ge=0, lt=10**18)]
READING = ("GET", "HEAD", "OPTIONS")
REQUESTS = RateLimit(settings.API_RATE)


class TokenAuth(HttpBearer):
    """A token of the account page, as ``Authorization: Bearer coral_…``."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken:
        known = token_of(token)
        if known is None:
            raise AuthenticationError(
                message=_("This token is not valid: it was revoked, or it has expired. Make a new one.")
            )
        if wait := REQUESTS.wait(str(known.pk)):
            raise Throttled(wait=int(wait) + 1)
        if known.scope == ApiToken.Scope.READ and request.method not in READING:
            raise AuthorizationError(
                message=_("This token may only read. Make one with the scope “Read and write”.")
            )
        request.user = known.user
        hide_from_strangers(request)
        return known


class PageAuth(SessionAuth):
    """The browser's session, with Django's check that the request comes from one of our pages."""

    def __call__(self, request: HttpRequest) -> Any:
        if not request.user.is_authenticated:
            return None
        user = super().__call__(request)
        hide_from_strangers(request)
        return user


def hide_from_strangers(request: HttpRequest) -> None:
    """To others a project does not exist: they are told so before anything that they sent is looked at."""
    match, user = request.resolver_match, request.user
    project_id = match.kwargs.get("project_id") if match else None
    if project_id is None or not isinstance(user, User):
        return
    if not is_id(project_id) or not user.memberships.filter(project=int(project_id)).exists():
        raise Http404
