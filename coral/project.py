"""A project of a server."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from coral.errors import CoralError

if TYPE_CHECKING:
    import pandas as pd

    from coral.client import Client

Json = dict[str, Any]
POLL_SECONDS = 1.0


class Project:
    """A project. What is not among the methods is asked by ``project.ask("POST", "/trial")``; ``/api/v1/docs`` of the server lists
    all operations."""

    def __init__(self, client: Client, project_id: int, name: str) -> None:
        self.client, self.id, self.name = client, project_id, name

    def __repr__(self) -> str:
        return f"<Project {self.id} “{self.name}” at {self.client.address}>"

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Ask an operation of this project."""
        return self.client.ask(method, f"/projects/{self.id}{path}", **options)

    # --- Configure ------------------------------------------------------------------------------------------------

    def set_labels(self, labels: Sequence[str | Json]) -> None:
        lines = [{"name": label} if isinstance(label, str) else label for label in labels]
        self.ask("PUT", "/labels", json={"labels": lines})

    def set_models(self, **settings: Any) -> Json:
        """Change settings of both models, such as ``kind="endpoint", base_url=…, endpoint_model=…, token=…``."""
        changed: Json = self.ask("PATCH", "/models", json=settings)
        return changed

    def set_goal(self, **goal: Any) -> Json:
        """Set ``target`` and ``confidence`` (percent), the limits ``money``, ``tokens``, ``minutes`` and ``until``, ``autopilot``."""
        plan: Json = self.ask("PUT", "/goal", json=goal)
        return plan

    def upload(
        self,
        data: pd.DataFrame | str | Path,
        *,
        text: str | Sequence[str],
        id: str = "",
        reference: str = "",
    ) -> Json:
        """Import rows; returns when they are there.

        Args:
            data: a DataFrame, or the path of a file in any format that CORAL reads.
            text: the column, or columns, that the models read.
            id: the column of your own ids.
            reference: the column of labels that are known; they are for measuring only.
        """
        if isinstance(data, str | Path):
            path = Path(data)
            with path.open("rb") as file:
                sent = self.ask("POST", "/uploads", files={"file": (path.name, file)})
        else:
            parquet = data.to_parquet(index=False)
            sent = self.ask("POST", "/uploads", files={"file": ("frame.parquet", parquet)})
        roles = {
            "content_columns": [text] if isinstance(text, str) else list(text),
            "id_column": id,
            "reference_column": reference,
        }
        return self.wait(self.ask("POST", f"/uploads/{sent['id']}/import", json=roles))

    # --- Run ------------------------------------------------------------------------------------------------------

    def start_round(self, start: str = "llm", **options: Any) -> Json:
        """Start a round from the LLM, or from the small model (``slm``)."""
        started: Json = self.ask("POST", "/rounds", json={"started_from": start, **options})
        return started

    def wait(self, stage: Json) -> Json:
        """Wait until a job is done, and return it.

        Raises:
            CoralError: it failed, was cancelled, or pauses for a person.
        """
        while stage["status"] != "done":
            if stage["status"] in ("failed", "cancelled", "paused") and not stage["resume_at"]:
                raise CoralError(
                    f"{stage['name']}: {stage['status']}. {stage['error']}", code=stage["status"]
                )
            time.sleep(POLL_SECONDS)
            stage = self.ask("GET", f"/stages/{stage['id']}")
        return stage

    def plan(self) -> Json:
        """The goal, what is known of the accuracy, and the next step, once what happened is taken into account."""
        plan: Json = self.ask("GET", "/goal")
        while plan["is_planning"]:
            time.sleep(POLL_SECONDS)
            plan = self.ask("GET", "/goal")
        return plan

    def run(self, answer: Callable[[Json], str]) -> Json:
        """Follow the plan to its end, and return the certificate.

        Args:
            answer: gets a row and returns the name of its label; it is asked where people are needed. Rows that measure the file come
                without what the models say of them.

        Raises:
            CoralError: a job failed, or the plan needs somebody to choose another model or prompt.
        """
        while True:
            plan = self.plan()
            step = plan["next_step"]
            if plan["at_work"]:
                self.wait(self.ask("GET", f"/stages/{plan['at_work']}"))
            elif plan["obstacle"] or (step and step["kind"] == "relabel"):
                raise CoralError(plan["obstacle"] or step["reason"], code="relabel")
            elif plan["waiting_rows"]:
                self._answer_queue(answer, plan["waiting_rows"], only_random=True)
            elif step is None:
                return self.certificate()
            else:
                begun = self.ask("POST", "/goal/step")
                if begun["kind"] == "review":
                    self._answer_queue(answer, begun["rows"], only_random=False)
                    self.ask("POST", "/goal/plan")
                elif begun["kind"] == "stop":
                    self.wait(self.ask("GET", f"/stages/{begun['stage']}"))
                    return self.certificate()

    def _answer_queue(self, answer: Callable[[Json], str], count: int, *, only_random: bool) -> None:
        while count > 0 and (rows := self.questions(min(count, 8), only_random=only_random)):
            for row in rows[:count]:
                self.answer(row, answer(row))
            count -= len(rows)

    # --- Rows -----------------------------------------------------------------------------------------------------

    def rows(self, **filters: Any) -> Iterator[Json]:
        """Rows with their evidence, filtered as the review table: ``show="wrong"``, ``label="refund"``, ``q="late"``."""
        yield from self.client.pages(f"/projects/{self.id}/rows", **filters)

    def correct(self, row: Json, label: str | None) -> Json:
        """Set a row's label; None takes the correction back.

        Raises:
            CoralError: somebody has changed the row meanwhile (code ``conflict``).
        """
        body = {"label": label, "version": row["version"]}
        corrected: Json = self.ask("POST", f"/rows/{row['id']}/correction", json=body)
        return corrected

    def questions(self, count: int = 8, *, only_random: bool = False) -> list[Json]:
        """The rows that the user is to look at next; nobody else gets them for ten minutes."""
        asked = self.ask("POST", "/queue", json={"count": count, "only_random": only_random})
        rows: list[Json] = asked["items"]
        return rows

    def answer(self, row: Json, label: str, *, seconds: float | None = None) -> Json:
        """Answer a row of :meth:`questions`."""
        body = {"label": label, "version": row["version"], "because": row["because"]}
        body |= {"id": row.get("answer_id") or str(uuid4()), "seconds": seconds}
        answered: Json = self.ask("POST", f"/rows/{row['id']}/answer", json=body)
        return answered

    # --- Results --------------------------------------------------------------------------------------------------

    def certificate(self) -> Json:
        """The newest certificate: ``statement`` is everything that it says."""
        made: Json = self.ask("GET", "/certificate")
        return made

    def export(self, *, query: str = "") -> pd.DataFrame:
        """All rows with their labels, and where these come from. ``query``: a filter as in the review table's address."""
        import pandas as pd

        return pd.read_parquet(io.BytesIO(self.download("parquet", query=query)))

    def download(self, format: str = "xlsx", *, query: str = "") -> bytes:
        """A file of the rows: xlsx, csv, jsonl or parquet."""
        made = self.ask("POST", "/exports", json={"format": format, "query": query})
        stage = self.wait(made["stage"])
        return self.client.send("GET", f"/projects/{self.id}/exports/{stage['id']}/download").content
