"""How long every page of the measured accuracy takes with 1,000,000 rows, against 10,000, on SQLite and on PostgreSQL.

Both corpora are the table's (:mod:`tests.bench.table`), judged in two rounds, with the same work of people in both: 3,000
rows of the queue and 400 rows drawn at random. So a page that takes longer with more rows reads more than it needs. Then
a fifth of the rows is accepted in bulk, and the pages are asked for again. Time: the fastest of several requests in one
process, without a network. Memory: the most that one request holds of Python's objects and arrays.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.bench.harness import Options, Report, in_process, open_program, run_bench
from tests.bench.table import FEW, MANY, QUICK_MANY, databases, fill

REPEATS, ENOUGH_SECONDS = 7, 4.0
QUEUED, DRAWN = 3_000, 400
Ask = Callable[[], Any]
DRAW = "draw 100 rows"

JUDGE = """
INSERT INTO annotation_prediction (sample_id, iteration_id, source, label_id, probs, raw, error, origin, loss,
    clean_prob, clean_rank, verdict_id, risk, flag, queue_rank)
SELECT id, {iteration}, 'slm', slm_label_id, '[0.6, 0.1, 0.1, 0.1, 0.1, 0, 0]', '', '', '', 0.3, clean_prob, clean_rank,
    CASE WHEN (id + {shift}) % 50 = 0 THEN {label} ELSE slm_label_id END, risk, flag, queue_rank
FROM annotation_sample
"""
NOBODY = (
    "UPDATE annotation_sample SET label_id = slm_label_id, machine_label_id = NULL, corrected_by_id = NULL, "
    "corrected_at = NULL, source = 'slm', round = 2"
)
ACCEPT = """
INSERT INTO annotation_correction (sample_id, user_id, label_id, replaced_label_id, replaced_source, round, because,
    batch_id, created_at)
SELECT id, {user}, {relabel}, label_id, source, 2, 'browsing', {batch}, '{now}'
FROM annotation_sample WHERE position % 5 = 1 AND source <> 'person'
"""
ACCEPTED = """
UPDATE annotation_sample SET label_id = {relabel}, machine_label_id = label_id, source = 'person', batch_id = {batch},
    corrected_by_id = {user}, corrected_at = '{now}', risk = 0
WHERE position % 5 = 1 AND source <> 'person'
"""


def measure(options: Options, report: Report) -> None:
    sizes = (FEW, QUICK_MANY if options.quick else options.extra.rows)
    for name, make_url in databases(options.extra.databases):
        with tempfile.TemporaryDirectory(prefix="coral-pages-") as folder:
            few, many = (
                in_process(measure_pages, Path(folder, str(rows)), make_url(rows), rows) for rows in sizes
            )
        _report(report, name, few, many)


def _report(report: Report, name: str, few: dict[str, Any], many: dict[str, Any]) -> None:
    for page, (seconds, queries, memory) in many.items():
        report.row(
            database=name,
            page=page,
            few_ms=few[page][0] * 1000,
            many_ms=seconds * 1000,
            queries=queries,
            few_mb=few[page][2],
            many_mb=memory,
        )
    # A draw is no page: it reads all rows that nobody has checked, once.
    pages = [each[0] for page, each in many.items() if not page.startswith(DRAW)]
    report.measure(f"slowest_page_ms_{name}", max(pages) * 1000, must="<= 1000")
    report.measure(f"draw_ms_{name}", max(many[DRAW][0], many[f"{DRAW}, after a bulk"][0]) * 1000)
    measured = [
        each[0]
        for page, each in many.items()
        if page.endswith("after a bulk") and page.startswith(("accuracy", "compare rounds"))
    ]
    report.measure(f"measured_after_a_bulk_ms_{name}", max(measured) * 1000, must="< 500")
    report.measure(f"most_memory_mb_{name}", max(each[2] for each in many.values()), must="<= 100")
    report.measure(f"most_queries_{name}", max(each[1] for each in many.values()))


# --- One database -------------------------------------------------------------------------------------------------


def measure_pages(folder: Path, database: str, rows: int) -> dict[str, tuple[float, int, float]]:
    """Seconds, queries and MB of every page, in a process of its own."""
    open_program(folder, database)
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    call_command("collectstatic", interactive=False, verbosity=0)
    settings.ALLOWED_HOSTS = ["*"]
    project, user = fill(rows)
    _judge(project)
    _review(project, user)
    client = Client()
    client.force_login(user)
    found = {name: _measured(name, ask) for name, ask in _pages(client, project).items()}
    _accept_in_bulk(project, user)
    for name, ask in _pages(client, project).items():
        found[f"{name}, after a bulk"] = _measured(name, ask)
    return found


def _measured(name: str, ask: Ask) -> tuple[float, int, float]:
    """Seconds, queries and MB of a page; it is asked for once before."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        answer = ask()
        assert answer.status_code in (200, 302), (name, answer.status_code, answer.content[:500])
    asked = len(queries)
    del queries, answer
    memory = _peak_mb(ask)
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < ENOUGH_SECONDS:
        gc.collect()
        started = time.perf_counter()
        ask()
        times.append(time.perf_counter() - started)
    return min(times), asked, memory


def _peak_mb(ask: Ask) -> float:
    gc.collect()
    tracemalloc.start()
    ask()
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**20


def _pages(client: Any, project: Any) -> dict[str, Ask]:
    """Every page, by a name."""
    from annotation.models import RowClaim

    base = f"/projects/{project.pk}/"
    second = project.iterations.get(number=2)
    htmx = {"hx-request": "true", "hx-target": "measured"}

    def first_row() -> Any:
        RowClaim.objects.all().delete()
        return client.get(f"{base}focus/")

    def next_row() -> Any:
        return client.post(f"{base}focus/next/", {"have": ""})

    def get(path: str) -> Ask:
        return lambda: client.get(path)

    return {
        "projects": get("/"),
        "project": get(base),
        "review": get(f"{base}review/"),
        "accuracy": get(f"{base}accuracy/"),
        "accuracy card": lambda: client.get(f"{base}accuracy/", headers=htmx),
        "compare rounds": get(f"{base}rounds/"),
        "changes in a round": get(f"{base}rounds/{second.pk}/flips/"),
        "focus, first row": first_row,
        "focus, next row": next_row,
        "team": get(f"{base}members/"),
        "activity log": get(f"{base}members/activity/"),
        "export": get(f"{base}export/"),
        DRAW: lambda: client.post(f"{base}accuracy/draw/", {"rows": "100"}),
    }


# --- What happened in the project ---------------------------------------------------------------------------------


def _judge(project: Any) -> None:
    """Two finished rounds of all rows, that differ in some."""
    from django.db import connection

    from annotation.models import Iteration, Stage
    from annotation.pipeline.measure.round_metrics import record_metrics

    names = [{"id": label.pk, "name": label.name, "description": ""} for label in project.label_list()]
    with connection.cursor() as cursor:
        cursor.execute(NOBODY)
    for number in (1, 2):
        frozen = {
            "labels": names,
            "prompt": {},
            "llm_settings": {},
            "slm_settings": {},
            "started_from": "llm",
        }
        iteration, _made = Iteration.objects.update_or_create(project=project, number=number, defaults=frozen)
        with connection.cursor() as cursor:
            cursor.execute(JUDGE.format(iteration=iteration.pk, shift=number, label=names[0]["id"]))
        for kind in ("llm", "slm"):
            Stage.objects.create(project=project, iteration=iteration, kind=kind, status=Stage.Status.DONE)
        record_metrics(iteration)
    _tidy()


def _review(project: Any, user: Any) -> None:
    """What people said of the rows in front of the queue, and of the rows drawn at random: every sixth was wrong."""
    from annotation.models import Correction
    from annotation.pipeline.measure import draw_sample

    queue = project.samples.filter(queue_rank__lte=QUEUED).order_by("queue_rank")
    _say(project, user, list(queue), Correction.Because.QUEUE)
    draw_sample.draw_sample(project, rows=DRAWN, user=user, seed=0)
    drawn = project.samples.filter(audit_draws__isnull=False).order_by("audit_draws__id")
    _say(project, user, list(drawn), Correction.Because.AUDIT)
    _tidy()


def _say(project: Any, user: Any, samples: list[Any], because: str) -> None:
    from django.utils import timezone

    from annotation.models import Correction, Sample

    labels, now = [label.pk for label in project.label_list()], timezone.now()
    said = []
    for number, sample in enumerate(samples):
        before = sample.label_id, sample.source
        if number % 6 == 0:
            sample.label_id = labels[(labels.index(sample.label_id) + 1) % 5]
        sample.machine_label_id = before[0]
        sample.source, sample.corrected_by, sample.corrected_at, sample.risk = "person", user, now, 0.0
        said.append(
            Correction(
                sample=sample,
                user=user,
                label_id=sample.label_id,
                replaced_label_id=before[0],
                replaced_source=before[1],
                because=because,
                round=2,
                answer_id=uuid4(),
                seconds=4.0,
            )
        )
    Correction.objects.bulk_create(said, batch_size=500)
    columns = ["label", "source", "corrected_by", "corrected_at", "machine_label", "risk"]
    Sample.objects.bulk_update(samples, columns, batch_size=200)


def _accept_in_bulk(project: Any, user: Any) -> None:
    """A fifth of the rows decided in one step, half of them against the models."""
    from django.db import connection
    from django.utils import timezone

    from annotation.models import CorrectionBatch

    batch = CorrectionBatch.objects.create(project=project, user=user)
    label = project.label_list()[0].pk
    values = {
        "user": user.pk,
        "batch": batch.pk,
        "now": timezone.now().strftime("%Y-%m-%d %H:%M:%S.%f+00")[
            : None if connection.vendor == "postgresql" else -3
        ],
        "relabel": f"CASE WHEN position % 10 = 1 THEN {label} ELSE label_id END",
    }
    with connection.cursor() as cursor:
        cursor.execute(ACCEPT.format(**values))
        cursor.execute(ACCEPTED.format(**values))
    _tidy()


def _tidy() -> None:
    """What PostgreSQL's own daemon does within minutes."""
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--databases", default="sqlite,postgres", metavar="NAMES")
    parser.add_argument("--rows", type=int, default=MANY, help="of the large corpus")


if __name__ == "__main__":
    sys.exit(run_bench("pages", __doc__, measure, add_arguments=_add_arguments))
