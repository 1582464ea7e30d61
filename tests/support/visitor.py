"""A person with a session at a running program, as a browser without JavaScript."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tests.support.program import Program

TOKEN = "a" * 32  # against forged requests: the same in the cookie and in the form
BOUNDARY = "a-boundary-that-no-file-holds"

SIGN_IN = """
import json
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
user = User.objects.filter(username={name!r}).first() or User.objects.create_user({name!r})
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[-1]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(json.dumps([user.pk, session.session_key]))
"""


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Visitor:
    """Asks the program for pages. ``key``: of the person's session; empty for a stranger."""

    def __init__(self, address: str, key: str = "", *, seconds: float = 120.0) -> None:
        port = urlsplit(address).port
        self._address, self._seconds = address, seconds
        self._cookie = f"coral_{port}_csrf={TOKEN}" + (f"; coral_{port}_session={key}" if key else "")
        self._opener = build_opener(_Stay)

    @classmethod
    def sign_in(cls, program: Program, name: str) -> Visitor:
        """Whoever is called so; made if there is nobody."""
        _pk, key = json.loads(program.execute(SIGN_IN.format(name=name)).splitlines()[-1])
        return cls(program.address, key)

    def get(self, path: str) -> tuple[int, bytes, str]:
        """Status, body and, of a redirect, where to. No answer at all is status 0."""
        return self._ask(Request(f"{self._address}{path}"))

    def post(self, path: str, **fields: str) -> tuple[int, bytes, str]:
        body = urlencode({"csrfmiddlewaretoken": TOKEN, **fields}).encode()
        return self._ask(Request(f"{self._address}{path}", data=body))

    def upload(self, path: str, name: str, data: bytes) -> tuple[int, bytes, str]:
        """Send a file as the form of the wizard does."""
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n{TOKEN}\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        )
        body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
        request = Request(f"{self._address}{path}", data=body)
        request.add_header("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        return self._ask(request)

    def _ask(self, request: Request) -> tuple[int, bytes, str]:
        request.add_header("Cookie", self._cookie)
        try:
            with self._opener.open(request, timeout=self._seconds) as answer:
                return answer.status, answer.read(), ""
        except HTTPError as error:
            return error.code, error.read(), error.headers.get("Location", "")
        except (OSError, HTTPException):
            return 0, b"", ""
