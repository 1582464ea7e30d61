"""Who a request comes from: a token's user, or the person who is signed in to the pages."""

from __future__ import annotations

from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Path
from ninja.errors import AuthenticationError, AuthorizationError, Throttled
from ninja.security import HttpBearer, SessionAuth

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
        return known


class PageAuth(SessionAuth):
    """The browser's session, with Django's check that the request comes from one of our pages."""

    def __call__(self, request: HttpRequest) -> Any:
        return super().__call__(request) if request.user.is_authenticated else None
