"""How long a page of the table takes with 1,000,000 rows, against 10,000, on SQLite and on PostgreSQL.

Builds both corpora by SQL in databases of their own and asks the review page for every order, filter and kind of place, in
two processes, without a network. Every page is asked of one and of the other by turns, so that whatever else runs on the
machine meets both; the fastest of seven requests is compared with the fastest of seven, page by page, and all of
it is done twice. A page over the bar is asked of both up to 35 times.
PostgreSQL is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.harness import Options, Report, open_program, own_process, run_bench

FEW, MANY, QUICK_MANY = 10_000, 1_000_000, 50_000
REPEATS, MOST_REPEATS = 7, 35
BAR = 1.5
LABELS = ("sport", "economy", "science", "politics", "culture", "rare", "seldom")
BEAT = "the session went on for longer than planned and nobody could say why the matter had come up again"

# Two labels have as many rows in either corpus, so that the pages that are compared show equally many: 100, and about as
# many as are looked up by an index and sorted (900).
# Flags go with the queue, as the small model's do: what differs or was hard to learn comes first, what is likely right
# last. That is the hard case for a filter that meets the wrong order.
FILL = """
INSERT INTO annotation_sample (project_id, position, external_id, text, fields, content_hash, label_id, source,
    llm_label_id, llm_confidence, slm_label_id, confidence, clean_prob, clean_rank, risk, flag, queue_rank, round,
    corrected_by_id, version)
SELECT {project}, i, 'r' || i, 'number ' || i || ' ' || {beat} || ' in ' || (i * 31 % 997), '[]', (10000000 + i) || '00000000',
    {label} + slm, CASE WHEN i % 200 = 7 THEN 'person' WHEN slm = llm THEN 'llm' ELSE 'slm' END,
    {label} + llm, 0.5, {label} + slm, (i * 613 % 1000003) / 1000003.0, place * 1.0 / {rows}, place,
    1 - place * 1.0 / {rows},
    CASE WHEN slm <> llm THEN 'inconsistent' WHEN place < {rows} * 0.2 THEN 'wrong' ELSE 'right' END,
    place, CASE WHEN i % 1000 = 3 THEN 1 ELSE 2 END, CASE WHEN i % 200 = 7 THEN {user} + i / 200 % 2 END, 0
FROM (
    SELECT i, place, llm, CASE WHEN place < {rows} * 0.1 THEN (llm + 1 + i % 3) % 5 ELSE llm END AS slm
    FROM (SELECT i, 1 + i * 7919 % {rows} AS place, CASE WHEN i % ({rows} / 100) = 5 THEN 5
              WHEN i % ({rows} / 900) = 6 THEN 6 ELSE i * 17 % 5 END AS llm
          FROM (WITH RECURSIVE c(i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM c WHERE i + 1 < {rows})
                SELECT i FROM c) AS numbers) AS placed
) AS judged
"""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A project in a database of its own.

    Attributes:
        session: of a member who is signed in.
        labels: their ids.
        pages: addresses by name.
    """

    project: int
    session: str
    labels: list[int]
    pages: dict[str, str]


def measure(options: Options, report: Report) -> None:
    many = QUICK_MANY if options.quick else MANY
    for name, make_url in databases(options.extra.databases):
        with (
            tempfile.TemporaryDirectory(prefix="coral-table-") as folder,
            own_process() as ask,
            own_process() as ask_large,
        ):
            small = ask(build, Path(folder, "few"), make_url(FEW), FEW)
            large = ask_large(build, Path(folder, "many"), make_url(many), many)
            pages = [page for page in small.pages if page.startswith(options.extra.pages)]
            passes = range(1, 1 + (1 if options.quick else options.extra.passes))
            found = [
                _compare(report, page, (ask, small), (ask_large, large), database=name, number=number)
                for number in passes
                for page in pages
            ]
        report.measure(
            f"page_ratio_{name}", max(ratio for ratio, _seconds, _queries in found), must=f"<= {BAR}"
        )
        report.measure(
            f"page_ms_{name}", max(seconds for _ratio, seconds, _queries in found) * 1000, unit="ms"
        )
        report.measure(f"queries_per_page_{name}", max(queries for _ratio, _seconds, queries in found))


def _compare(
    report: Report, page: str, *corpora: tuple[Callable[..., Any], Corpus], database: str, number: int
) -> tuple[float, float, int]:
    """Tell how long the page takes with each corpus; return the ratio, the large one's seconds, and its queries."""
    queries = [ask(queries_of, corpus.session, corpus.pages[page]) for ask, corpus in corpora]
    times: list[list[float]] = [[] for _ in corpora]
    few, many, asked = 0.0, 1.0, 0
    while asked < REPEATS or (asked < MOST_REPEATS and many > BAR * few):
        for found, (ask, corpus) in zip(times, corpora, strict=True):
            found.append(ask(seconds_of, corpus.session, corpus.pages[page]))
        few, many = (min(found) for found in times)  # whatever else ran on the machine only adds
        asked += 1
    report.row(
        database=database,
        time=number,
        page=page,
        few_ms=few * 1000,
        many_ms=many * 1000,
        ratio=many / few,
        requests=asked,
        queries=queries[-1],
    )
    return many / few, many, queries[-1]


def databases(wanted: str) -> Iterator[tuple[str, Callable[[int], str]]]:
    """Databases by name, with what makes an empty one and tells its address."""
    from tests.support.services import MissingServerError, PostgresServer

    if "sqlite" in wanted:
        yield "sqlite", lambda rows: ""
    if "postgres" not in wanted:
        return
    try:
        with PostgresServer(Path(tempfile.gettempdir())) as server:
            yield "postgres", lambda rows: server.make_database(f"rows_{rows}")
    except MissingServerError as missing:
        print(f"  postgres is left out: {missing}")


# --- In the children ----------------------------------------------------------------------------------------------


def build(folder: Path, database: str, rows: int) -> Corpus:
    """A corpus that a small model has judged, and its pages."""
    open_program(folder, database)
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    call_command("collectstatic", interactive=False, verbosity=0)
    settings.ALLOWED_HOSTS = ["*"]
    project, user = fill(rows)
    client = Client()
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    return Corpus(project.pk, session, [label.pk for label in project.label_list()], _pages(project, rows))


def queries_of(session: str, address: str) -> int:
    """How many queries the page asks; the first request of it, which is not measured."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as asked:
        seconds_of(session, address)
    gc.freeze()  # what is there now needn't be looked through before every request
    return len(asked)


def seconds_of(session: str, address: str) -> float:
    from django.conf import settings
    from django.test import Client

    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = session
    gc.collect()
    started = time.perf_counter()
    answer = client.get(address)
    seconds = time.perf_counter() - started
    assert answer.status_code == 200, address
    return seconds


def fill(rows: int) -> tuple[Any, Any]:
    from django.contrib.auth.models import User
    from django.db import connection

    from annotation.models import Iteration
    from annotation.pipeline.ingest.duplicates import index_rows, store_run
    from annotation.pipeline.project import configure
    from annotation.pipeline.project.configure import LabelDraft

    user = User.objects.create_user("olga", password="correct horse battery")
    User.objects.create_user("piet", password="correct horse battery")
    project = configure.create_project(name="Bulk correction", task_type="topic", owner=user)
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
    store_run(project, index_rows(project, 0)[0])
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")  # as its own daemon does within minutes
    return project, user


def _pages(project: Any, rows: int) -> dict[str, str]:
    """Every kind of page, by a name."""
    from annotation.table.keyset import SORTS, Cursor

    labels = project.label_list()
    first, second, rare, seldom = (labels[place].pk for place in (0, 1, 5, 6))
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
        pages[f"seldom label, {name}"] = f"label={seldom}&sort={name}"
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
    parser.add_argument("--databases", default="sqlite,postgres", metavar="NAMES")
    parser.add_argument("--passes", type=int, default=2, metavar="N", help="measure every page so many times")
    parser.add_argument("--pages", default="", metavar="START", help="only pages whose names start like this")


if __name__ == "__main__":
    sys.exit(run_bench("table", __doc__, measure, add_arguments=_add_arguments))
