"""The content policy of the admin pages: its theme evaluates expressions and brings style elements of its own."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

from csp.constants import UNSAFE_EVAL
from django.http import HttpRequest, HttpResponse

_STYLE = re.compile(rb"<style[^>]*>(.*?)</style>", re.DOTALL)


class AdminPolicyMiddleware:
    """Widens the policy for the admin only: Alpine.js needs eval, and its style elements are allowed by their hashes.

    Staff alone see these pages, nothing on them is markup from data, and all other pages keep the strict policy.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        match = request.resolver_match
        if match and match.app_name == "admin" and not response.streaming:
            hashes = [f"'sha256-{_digest(style)}'" for style in _STYLE.findall(response.content)]
            response._csp_update = {"script-src": [UNSAFE_EVAL], "style-src": hashes}  # type: ignore[attr-defined]
        return response


def _digest(style: bytes) -> str:
    return base64.b64encode(hashlib.sha256(style).digest()).decode()
