"""How long a page of the table takes with 1,000,000 rows, against 10,000, on SQLite and on PostgreSQL.

Builds both corpora by SQL in databases of their own, asks the review page for every order, filter and kind of place, and
compares page by page (the fastest of nine requests, in one process, without a network). PostgreSQL is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.harness import Options, Report, run_bench

FEW, MANY, QUICK_MANY = 10_000, 1_000_000, 50_000
REPEATS = 9
LABELS = ("sport", "economy", "science", "politics", "culture", "rare")
BEAT = "the session went on for longer than planned and nobody could say why the matter had come up again"

# Flags go with the queue, as the small model's do: what differs or was hard to learn comes first, what is likely right
# last. That is the hard case for a filter that meets the wrong order.
FILL = """
INSERT INTO annotation_sample (project_id, position, external_id, text, fields, content_hash, label_id, source,
    llm_label_id, llm_confidence, slm_label_id, confidence, clean_prob, clean_rank, risk, flag, queue_rank, round,
    corrected_by_id, version)
SELECT {project}, i, 'r' || i, 'number ' || i || ' ' || {beat} || ' in ' || (i * 31 % 997), '[]', 'h' || i,
    {label} + slm, CASE WHEN i % 200 = 7 THEN 'person' WHEN slm = llm THEN 'llm' ELSE 'slm' END,
    {label} + llm, 0.5, {label} + slm, (i * 613 % 1000003) / 1000003.0, place * 1.0 / {rows}, place,
    1 - place * 1.0 / {rows},
    CASE WHEN slm <> llm THEN 'inconsistent' WHEN place < {rows} * 0.2 THEN 'wrong' ELSE 'right' END,
    place, CASE WHEN i % 1000 = 3 THEN 1 ELSE 2 END, CASE WHEN i % 200 = 7 THEN {user} + i / 200 % 2 END, 0
FROM (
    SELECT i, place, llm, CASE WHEN place < {rows} * 0.1 THEN (llm + 1 + i % 3) % 5 ELSE llm END AS slm
    FROM (SELECT i, 1 + i * 7919 % {rows} AS place, CASE WHEN i % 2000 = 5 THEN 5 ELSE i * 17 % 5 END AS llm
          FROM (WITH RECURSIVE c(i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM c WHERE i + 1 < {rows})
                SELECT i FROM c) AS numbers) AS placed
) AS judged
"""


def measure(options: Options, report: Report) -> None:
    if options.extra.database:
        print(json.dumps(_measure_here(options.extra.rows)))
        return
    many = QUICK_MANY if options.quick else MANY
    for name, make_url in _databases():
        with tempfile.TemporaryDirectory(prefix="coral-table-") as folder:
            times = [_measure_in(make_url(Path(folder), rows), rows, Path(folder)) for rows in (FEW, many)]
        _report(report, name, *times)


def _report(report: Report, name: str, few: dict[str, Any], many: dict[str, Any]) -> None:
    ratios = {}
    for page, (seconds, queries) in many.items():
        ratios[page] = seconds / few[page][0]
        report.row(
            database=name,
            page=page,
            few_ms=few[page][0] * 1000,
            many_ms=seconds * 1000,
            ratio=ratios[page],
            queries=queries,
        )
    report.measure(f"page_ratio_{name}", max(ratios.values()), must="<= 1.5")
    report.measure(f"page_ms_{name}", max(seconds for seconds, _ in many.values()) * 1000, unit="ms")
    report.measure(f"queries_per_page_{name}", max(queries for _, queries in many.values()))


# --- Databases ----------------------------------------------------------------------------------------------------


def _databases() -> Iterator[tuple[str, Any]]:
    yield "sqlite", lambda folder, rows: ""
    from tests.services import MissingServerError, PostgresServer

    try:
        with PostgresServer(Path(tempfile.gettempdir())) as server:
            yield "postgres", lambda folder, rows: server.make_database(f"rows_{rows}")
    except MissingServerError as missing:
        print(f"  postgres is left out: {missing}")


def _measure_in(url: str, rows: int, folder: Path) -> dict[str, Any]:
    """Measure in a process of its own: Django is set up for one database."""
    own = folder / str(rows)
    own.mkdir()
    command = [sys.executable, "-m", "tests.bench.table", "--database", url or "sqlite", "--rows", str(rows)]
    environment = {**os.environ, "CORAL_DATA_DIR": str(own), "DATABASE_URL": url}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"The measurement of {rows:,} rows ended with code {done.returncode}.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return found


def _set_up() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "coral_site.settings"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


# --- One database -------------------------------------------------------------------------------------------------


def _measure_here(rows: int) -> dict[str, Any]:
    _set_up()
    project, user = _build(rows)
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext, override_settings

    client = Client()
    client.force_login(user)
    found = {}
    with override_settings(ALLOWED_HOSTS=["*"]):
        for name, address in _pages(project, rows).items():
            with CaptureQueriesContext(connection) as queries:
                assert client.get(address).status_code == 200, address
            asked = len(queries)  # now: the requests that follow clear the log
            found[name] = (_seconds(client, address), asked)
    return found


def _seconds(client: Any, address: str) -> float:
    times = []
    for _ in range(REPEATS):
        gc.collect()
        started = time.perf_counter()
        client.get(address)
        times.append(time.perf_counter() - started)
    return min(times)  # whatever else ran on the machine only adds


def _build(rows: int) -> tuple[Any, Any]:
    from django.contrib.auth.models import User
    from django.db import connection

    from annotation.models import Iteration
    from annotation.pipeline import configure
    from annotation.pipeline.configure import LabelDraft

    user = User.objects.create_user("olga", password="correct horse battery")
    User.objects.create_user("piet", password="correct horse battery")
    project = configure.create_project(name="Many rows", task_type="topic", owner=user)
    labels = configure.set_labels(project, [LabelDraft(name) for name in LABELS])
    Iteration.objects.create(
        project=project, number=1, started_from="llm", labels=[], prompt={}, llm_settings={}, slm_settings={}
    )
    values = {
        "project": project.pk,
        "rows": rows,
        "label": labels[0].pk,
        "user": user.pk,
        "beat": f"'{BEAT}'",
    }
    with connection.cursor() as cursor:
        cursor.execute(FILL.format(**values))
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")  # as its own daemon does within minutes
    return project, user


def _pages(project: Any, rows: int) -> dict[str, str]:
    """Every kind of page, by a name."""
    from annotation.keyset import SORTS, Cursor

    labels = project.label_list()
    first, second, rare = labels[0].pk, labels[1].pk, labels[5].pk
    user = project.owner_id
    middle = project.samples.get(position=rows // 2)
    pages = {"first": ""}
    for name, sort in SORTS.items():
        pages[f"sort {name}"] = f"sort={name}"
        place = Cursor(getattr(middle, sort.field), middle.pk)
        pages[f"sort {name}, deep"] = f"sort={name}&after={place}"
        pages[f"sort {name}, backwards"] = f"sort={name}&before={place}"
    for show in ("right", "wrong", "inconsistent", "corrected", "unlabelled"):
        for name in ("queue", "-clean", "risk", "position"):
            pages[f"{show}, {name}"] = f"show={show}&sort={name}"
    for name in ("queue", "-clean", "position"):
        pages[f"label, {name}"] = f"label={first}&sort={name}"
        pages[f"rare label, {name}"] = f"label={rare}&sort={name}"
        pages[f"cell, {name}"] = f"llm={first}&slm={second}&sort={name}"
        pages[f"agreeing cell, {name}"] = f"llm={first}&slm={first}&sort={name}"
        pages[f"corrected by, {name}"] = f"by={user}&sort={name}"
        pages[f"source, {name}"] = f"source=slm&sort={name}"
        pages[f"old round, {name}"] = f"in_round=1&sort={name}"
        pages[f"models differ, {name}"] = f"differ=models&sort={name}"
        pages[f"confidence, {name}"] = f"min_confidence=40&max_confidence=40.5&sort={name}"
        pages[f"common word, {name}"] = f"q=session&sort={name}"
        pages[f"rare word, {name}"] = f"q=number {rows // 2} &sort={name}"
        pages[f"no such word, {name}"] = f"q=zebra&sort={name}"
        pages[f"all at once, {name}"] = (
            f"show=inconsistent&label={second}&llm={first}&source=slm&min_confidence=20&q=number&sort={name}"
        )
    return {name: f"/projects/{project.pk}/review/?{query}" for name, query in pages.items()}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)


if __name__ == "__main__":
    sys.exit(run_bench("table", __doc__, measure, add_arguments=_add_arguments))
