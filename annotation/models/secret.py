"""A text column that is encrypted at rest: the key lies outside the database (settings.TOKEN_KEYS).

A row must open also when the key is lost (a backup that was restored without it): its pages are how a person enters the
secret anew. So a secret that can't be read is empty, kept as it is stored, and refused only where it is needed.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models

from annotation.errors import AnnotationError


class UnreadableSecret(str):
    """Stands for a secret that no key at hand decrypts: an empty text that is stored again as it was."""

    __slots__ = ("ciphertext",)
    ciphertext: str

    @classmethod
    def of(cls, ciphertext: str) -> Self:
        secret = cls()
        secret.ciphertext = ciphertext
        return secret


def readable(secret: str) -> str:
    """The secret of an encrypted field.

    Raises:
        AnnotationError: it can't be decrypted.
    """
    if isinstance(secret, UnreadableSecret):
        raise AnnotationError(
            "The stored API token can't be decrypted with the available keys. Restore token.key in "
            "the data folder (or CORAL_TOKEN_KEYS), or enter the token again under Models."
        )
    return secret


def _cipher() -> MultiFernet:
    keys = [base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()) for key in settings.TOKEN_KEYS]
    return MultiFernet([Fernet(key) for key in keys])


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """Plain text in Python, ciphertext in the database. Empty stays empty; see :func:`readable`."""

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, UnreadableSecret):
            return value.ciphertext
        value = super().get_prep_value(value)
        return _cipher().encrypt(value.encode()).decode() if value else ""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if not value:
            return ""
        try:
            return _cipher().decrypt(value.encode()).decode()
        except InvalidToken:
            return UnreadableSecret.of(value)
