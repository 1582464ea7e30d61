"""The parts of :mod:`tests.bench.scale` that ask one large database, in a process of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.harness import open_program
from tests.bench.pages import JUDGE
from tests.bench.table import fill

ROWS, QUICK_ROWS = 1_000_000, 50_000  # of the second project, in two rounds
LABELLED, QUICK_LABELLED = 200_000, 20_000
EDGE, QUICK_EDGE = 10_000, 2_000

Found = tuple[dict[str, Any], list[tuple[tuple[Any, ...], dict[str, Any]]]]


def measure_database(folder: Path, url: str, parts: Sequence[str], quick: bool) -> list[Found]:
    """Rows of the report, each with the measures that it gives."""
    open_program(folder, url)
    from django.db import connection

    began = time.monotonic()
    project, owner = fill(QUICK_ROWS if quick else ROWS)
    with connection.cursor() as cursor:
        for number in (1, 2):
            iteration = project.iterations.get_or_create(
                number=number,
                defaults={
                    "started_from": "llm",
                    "labels": [],
                    "prompt": {},
                    "llm_settings": {},
                    "slm_settings": {},
                },
            )[0]
            shift = {"iteration": iteration.pk, "shift": number, "label": project.label_list()[1].pk}
            cursor.execute(JUDGE.format(**shift))
        cursor.execute("ANALYZE")
    found: list[Found] = [({"part": "filled", "seconds": time.monotonic() - began}, [])]
    if "rate" in parts:
        found.append(_rate(owner, quick))
    if "requests" in parts:
        found += _requests(project, owner)
    return found


class InstantModel:
    """Answers at once, as a server would that takes no time, and without log-probabilities."""

    identity = "instant"
    capabilities = None

    def __init__(self) -> None:
        from mlcore.llm.endpoint.rate_limit import RateLimiter

        self.rate_limiter = RateLimiter(most=16)

    def ask(self, requests: Sequence[Any], labels: Any, *, should_stop: Callable[[], bool]) -> Iterator[Any]:
        return self.ask_stream(requests, labels, should_stop=should_stop)

    def ask_stream(
        self, items: Iterable[Any], labels: Any, *, should_stop: Callable[[], bool]
    ) -> Iterator[Any]:
        from mlcore.records import Answer

        for item in items:
            if should_stop():
                return
            if isinstance(item, Answer):
                yield item
            else:
                yield Answer(item.key, item.key % 2, None, raw="positive", tokens_in=40, tokens_out=3)

    def close(self) -> None:
        pass


def _rate(owner: Any, quick: bool) -> Found:
    from annotation.jobs.work import run_stage
    from annotation.models import Sample
    from annotation.pipeline.iterate import start_round
    from annotation.pipeline.label import label_rows, parts, run_labeling
    from tests.support.factories import make_project, make_sample

    rows, edge = (QUICK_LABELLED, QUICK_EDGE) if quick else (LABELLED, EDGE)
    project = make_project(rows=0, owner=owner)
    labels = project.label_list()
    Sample.objects.bulk_create((make_sample(project, row, labels) for row in range(rows)), batch_size=2_000)
    project.llm_settings |= {"kind": "endpoint", "base_url": "http://127.0.0.1:1/v1", "model": "instant"}
    project.llm_settings |= {"demonstrations": 0, "second_question_percent": 0}
    project.save()
    run_labeling.open_model = parts.open_model = lambda *_args, **_more: InstantModel()  # type: ignore[attr-defined]
    stored, times = label_rows.store_answers, [(0, time.monotonic())]

    def timed(run: Any, batch: Any, *rest: Any, **more: Any) -> None:
        stored(run, batch, *rest, **more)
        times.append((times[-1][0] + len(batch), time.monotonic()))

    label_rows.store_answers = timed
    stage = start_round.start_round(project, started_from="llm", user=owner).stages.get()
    times[0] = (0, time.monotonic())
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert (stage.status, stage.done) == ("done", rows), stage.error
    first = next((done, at) for done, at in times if done >= edge)
    last = next((done, at) for done, at in times if done >= rows - edge)
    first_rate = first[0] / (first[1] - times[0][1])
    last_rate = (times[-1][0] - last[0]) / (times[-1][1] - last[1])
    row = {"part": "rate", "rows": rows, "first_rows_s": first_rate, "last_rows_s": last_rate}
    return row, [(("pg_llm_rate_drop", last_rate / first_rate), {"must": ">= 0.9"})]


def _requests(project: Any, owner: Any) -> list[Found]:
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    call_command("collectstatic", interactive=False, verbosity=0)
    settings.ALLOWED_HOSTS = ["*"]
    client = Client()
    client.force_login(owner)
    client.get("/")  # what a web process loads with its first page is no matter of size
    at = f"/projects/{project.pk}"
    labels = {"labels-TOTAL_FORMS": "7", "labels-INITIAL_FORMS": "7"}
    for number, label in enumerate(project.label_list()):
        labels |= {f"labels-{number}-name": label.name, f"labels-{number}-description": f"about {label.name}"}
    posts: dict[str, tuple[str, dict[str, str] | None]] = {
        "review": (f"{at}/review/", None),
        "search without a hit": (f"{at}/review/?q=xyzzyx", None),
        "save label descriptions": (f"{at}/configure/labels/", labels | {"unknown_references": "wrong"}),
        "draw an audit": (f"{at}/accuracy/draw/", {"size": "100"}),
        "project": (f"{at}/", None),
        "accuracy": (f"{at}/accuracy/", None),
        "rounds": (f"{at}/rounds/", None),
        "start a round": (f"{at}/rounds/start/", {"started_from": "llm"}),
    }
    found: list[Found] = []
    for name, (address, data) in posts.items():
        began = time.perf_counter()
        answer = client.get(address) if data is None else client.post(address, data)
        found.append(
            (
                {
                    "part": "requests",
                    "request": name,
                    "status": answer.status_code,
                    "seconds": time.perf_counter() - began,
                },
                [],
            )
        )
    slowest = max(row["seconds"] for row, _measures in found)
    return [
        *found,
        (
            {"part": "requests", "request": "slowest", "seconds": slowest},
            [(("slowest_request_1m", slowest), {"unit": "s", "must": "<= 1"})],
        ),
    ]
