"""A program that uses the API with a token."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from annotation.pipeline.project.tokens import make_token


class Program:
    """Sends JSON with a user's token; without a user, with none."""

    def __init__(self, user: User | None, *, scope: str = "write") -> None:
        self.headers: dict[str, str] = {}
        if user:
            secret = make_token(user, name="test", scope=scope, days=None)[1]
            self.headers = {"authorization": f"Bearer {secret}"}
        self._client = Client(enforce_csrf_checks=True)

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        if body is not None:
            options |= {"data": body, "content_type": "application/json"}
        ask = getattr(self._client, method.lower())
        return ask(f"/api/v1{path}", headers=self.headers | options.pop("headers", {}), **options)

    def get(self, path: str, **query: Any) -> Any:
        return self.send("get", path, query_params=query)

    def post(self, path: str, body: Any = None) -> Any:
        return self.send("post", path, {} if body is None else body)
