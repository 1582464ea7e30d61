"""Tokens with which programs use the API in a user's name."""

from __future__ import annotations

import hashlib
import logging
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.utils import timezone

from annotation.errors import AnnotationError
from annotation.models import ApiToken
from annotation.models.sql import little_patience

logger = logging.getLogger(__name__)

MOST_TOKENS = 50  # of one user
PREFIX = "coral_"  # by which scanners of leaked secrets know one
NOTE_USE_EVERY = timedelta(minutes=1)  # a write for each request would be one too many


def make_token(user: User, *, name: str, scope: str, days: int | None) -> tuple[ApiToken, str]:
    """Make a token. Returns it with its secret, which is stored nowhere.

    Args:
        days: until it expires; None for never.

    Raises:
        AnnotationError: the user has too many.
    """
    if user.api_tokens.count() >= MOST_TOKENS:
        raise AnnotationError("You have %(most)s tokens, the maximum. Revoke one first.", most=MOST_TOKENS)
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        scope=scope,
        digest=_digest(secret),
        beginning=secret[:12],
        expires_at=timezone.now() + timedelta(days=days) if days else None,
    )
    return token, secret


def token_of(secret: str) -> ApiToken | None:
    """The token with this secret; None if it was revoked, has expired, or never was.

    That it was used is written down once a minute, and where the database can be written to at once: programs read on while it
    is locked or read-only.
    """
    token = ApiToken.objects.usable().select_related("user").filter(digest=_digest(secret)).first()
    if token and (token.last_used_at is None or token.last_used_at < timezone.now() - NOTE_USE_EVERY):
        _note_use(token)
    return token


def _note_use(token: ApiToken) -> None:
    try:
        with little_patience(), transaction.atomic():
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=timezone.now())
    except DatabaseError as error:
        logger.warning("The use of token %s could not be written down: %s", token.beginning, error)


def _digest(secret: str) -> str:
    # A secret of 256 random bits needs no slow hash, which would cost every request.
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
