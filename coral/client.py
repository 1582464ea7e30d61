"""The connection to a server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import requests

from coral.errors import CoralError
from coral.project import Project

SECONDS = 60.0


class Client:
    """A server, and the user in whose name it is used."""

    def __init__(self, address: str = "http://127.0.0.1:8000", token: str = "") -> None:
        """
        Args:
            token: of the page “API tokens”; left empty, that of the environment variable ``CORAL_TOKEN``.
        """
        self.address = address.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token or os.environ['CORAL_TOKEN']}"

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request to a path of the API; ``options`` are those of :func:`requests.request`. Too many requests in a
        minute wait.

        Raises:
            CoralError: the server refused it.
        """
        while True:
            answer = self._session.request(
                method, f"{self.address}/api/v1{path}", timeout=SECONDS, allow_redirects=False, **options
            )
            if answer.status_code != 429:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        if answer.ok and not answer.is_redirect:
            return answer
        try:
            told = answer.json()
        except ValueError:
            told = {"sentence": f"{answer.status_code} {answer.reason}"}
        raise CoralError(
            told.get("sentence", str(told)),
            status=answer.status_code,
            code=told.get("code", ""),
            fields=told.get("fields"),
        )

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """:meth:`send`, and the answer's JSON."""
        answer = self.send(method, path, **options)
        return answer.json() if answer.content else None

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page."""
        after = None
        while True:
            page = self.ask("GET", path, params=query | {"after": after})
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def projects(self) -> list[Project]:
        """The projects that the user is a member of, the newest first."""
        return [Project(self, each["id"], each["name"]) for each in self.pages("/projects")]

    def project(self, project_id: int) -> Project:
        """
        Raises:
            CoralError: there is no such project, or the user is not a member.
        """
        return Project(self, project_id, self.ask("GET", f"/projects/{project_id}")["name"])

    def create_project(
        self, name: str, *, labels: Sequence[str | dict[str, str]], task: str = "topic"
    ) -> Project:
        """Make a project.

        Args:
            labels: names, or objects with ``name``, ``description`` and ``key``.
            task: ``topic``, ``sentiment`` or ``tabular``.
        """
        made = self.ask("POST", "/projects", json={"name": name, "task_type": task})
        project = self.project(made["id"])
        project.set_labels(labels)
        return project
