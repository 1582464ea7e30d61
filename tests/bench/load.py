"""People at work beside a running LLM stage: how long a correction takes, and whether any is lost.

The whole program runs as ``manage.py up`` starts it, once on SQLite with 25 people and once on PostgreSQL with 50. Each
person loads a page of the review and corrects a row of it every 8 seconds, while a language model (a server on this
machine that answers after 200 ms) labels the corpus. The people are threads of this process, on the same cores.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.bench.harness import Options, Report, run_bench
from tests.support.fake_llm import Call, FakeLlm, Step, fake_llm, says
from tests.support.program import Program
from tests.support.services import MissingServerError, PostgresServer

PEOPLE = {"sqlite": 25, "postgres": 50}
PACE_SECONDS = 8.0
RUN_SECONDS, QUICK_SECONDS = 60.0, 16.0
ROWS = 20_000
ANSWER_SECONDS, CALLS_AT_ONCE = 0.2, 16
PAGES = ("", "?sort=position", "?sort=clean", "?show=unlabelled", "?q=number+1", "?label={label}")

SET_UP = """
import json
from dataclasses import replace
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from annotation.models import Membership, Sample
from annotation.pipeline.iterate import start_round
from annotation.pipeline.project import configure
from annotation.pipeline.ingest.duplicates import index_rows, store_run
from tests.support.factories import make_project, make_sample
project = make_project(rows=0)
labels = project.label_list()
Sample.objects.bulk_create((make_sample(project, place, labels) for place in range({rows})), batch_size=500)
store_run(project, index_rows(project, 0)[0])
config = replace(
    project.llm_config, kind="endpoint", base_url={url!r}, model="fake", concurrency={calls}, demonstrations=0
)
configure.set_llm(project, config=config, token=None)
keys = []
for number in range({people}):
    user = User.objects.create_user(f"person{{number}}")
    Membership.objects.create(project=project, user=user, role="reviewer")
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    keys.append(session.session_key)
start_round.start_round(project, started_from="llm", user=project.owner)
print(json.dumps({{"project": project.pk, "labels": [label.pk for label in labels], "keys": keys}}))
"""


def measure(options: Options, report: Report) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
    seconds = QUICK_SECONDS if options.quick else RUN_SECONDS
    lost = locked = 0
    for name, people in PEOPLE.items():
        with _program(name) as program, fake_llm(_answer) as llm:
            if program is None:
                continue
            found = _work(program, llm, people=people, seconds=seconds)
            corrections = found.times["correction"]
            lost += found.lost(program)
            locked += program.log.count("database is locked")
            labelled = program.query("SELECT done FROM annotation_stage WHERE kind = 'llm'")[0][0]
        for kind, times in found.times.items():
            report.row(
                database=name,
                people=people,
                request=kind,
                count=len(times),
                median_ms=statistics.median(times) * 1000,
                p95_ms=_p95(times) * 1000,
                slowest_ms=max(times) * 1000,
                conflicts=found.conflicts,
                failures=found.failures,
                labelled_meanwhile=labelled,
            )
        report.measure(f"{name}_correction_p95_ms", _p95(corrections) * 1000, unit="ms", must="< 400")
        report.measure(f"{name}_failures", found.failures, must="== 0")
    report.measure("corrections_lost", lost, must="== 0")
    report.measure("locked_errors", locked, must="== 0")


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def _answer(_number: int, _call: Call) -> Step:
    step = says("positive")
    return Step(body=step.body, delay=ANSWER_SECONDS)


@contextmanager
def _program(database: str) -> Iterator[Program | None]:
    """The program on this kind of database; None where PostgreSQL is not installed."""
    with tempfile.TemporaryDirectory(prefix="coral-load-") as folder, ExitStack() as servers:
        environment = {"CORAL_LEASE_SECONDS": "30"}
        if database == "postgres":
            try:
                server = servers.enter_context(PostgresServer(Path(folder)))
            except MissingServerError as missing:
                print(f"  postgres is left out: {missing}")
                yield None
                return
            environment["DATABASE_URL"] = server.make_database("load")
        with Program(Path(folder), **environment) as program:
            program.start()
            yield program


# --- People -------------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """What the people saw.

    Attributes:
        times: seconds of each request, by its kind: page, correction.
        accepted: the row, label and person of every correction that the program said it saved.
        conflicts: corrections that were answered with what somebody else chose meanwhile.
        failures: requests that were not answered, or with an error.
    """

    times: dict[str, list[float]] = field(default_factory=lambda: {"page": [], "correction": []})
    accepted: list[tuple[int, int, str]] = field(default_factory=list)
    conflicts: int = 0
    failures: int = 0

    def lost(self, program: Program) -> int:
        """Accepted corrections that the history doesn't have."""
        kept = Counter(
            program.query(
                "SELECT said.sample_id, said.label_id, person.username FROM annotation_correction said "
                "JOIN auth_user person ON person.id = said.user_id"
            )
        )
        return (Counter(self.accepted) - kept).total()


def _work(program: Program, llm: FakeLlm, *, people: int, seconds: float) -> Found:
    code = SET_UP.format(rows=ROWS, url=f"{llm.url}/v1", calls=CALLS_AT_ONCE, people=people)
    made = json.loads(program.execute(code).splitlines()[-1])
    program.wait_for_row("SELECT 1 FROM annotation_stage WHERE kind = 'llm' AND done > 0")
    found, until = Found(), time.monotonic() + seconds
    threads = [
        threading.Thread(
            target=Person(program.address, made, number, found).work,
            args=(lambda: time.monotonic() >= until,),
        )
        for number in range(people)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class Person:
    """Loads a page and corrects a row of it, again and again, at a person's pace."""

    def __init__(
        self,
        address: str,
        made: dict[str, Any],
        number: int,
        found: Found,
        *,
        pace: float = PACE_SECONDS,
        pages: Sequence[str] = PAGES,
        name: str = "",
    ) -> None:
        parts = urlsplit(address)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        self._path = f"/projects/{made['project']}"
        self._labels: list[int] = made["labels"]
        self._cookie = f"coral_{parts.port}_session={made['keys'][number]}"
        self._name = name or f"person{number}"
        self._random = random.Random(number)
        self._found = found
        self._pace, self._pages = pace, pages

    def work(self, is_over: Callable[[], bool]) -> None:
        time.sleep(self._random.uniform(0, self._pace))
        while not is_over():
            began = time.monotonic()
            self._http.close()  # the server has, after five idle seconds; a browser opens a new connection then, too
            try:
                self._correct_a_row()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                print(f"  {self._name}: {error!r}")
                self._found.failures += 1
                self._http.close()
            time.sleep(max(0.0, began + self._pace - time.monotonic()))

    def _correct_a_row(self) -> None:
        query = self._random.choice(self._pages).format(label=self._random.choice(self._labels))
        html = self._ask("page", "GET", f"{self._path}/review/{query}")
        rows = re.findall(
            r'action="[^"]*/samples/(\d+)/correct/".*?name="csrfmiddlewaretoken" value="(\w+)".*?name="version" value="(\d+)"',
            html,
            re.DOTALL,
        )
        if not rows:
            return  # nothing matches this filter yet
        sample, token, version = self._random.choice(rows)
        time.sleep(self._random.uniform(0.05, 0.25) * self._pace)
        label = self._random.choice(self._labels)
        body = urlencode({"label": label, "version": version, "because": "browsing"})
        url = f"{self._path}/samples/{sample}/correct/"
        answer = self._ask("correction", "POST", url, body=body, token=token)
        if "✓" in answer and 'class="saved"' in answer:
            self._found.accepted.append((int(sample), label, self._name))
        else:
            assert "meanwhile" in answer, answer[:300]
            self._found.conflicts += 1

    def _ask(self, kind: str, method: str, url: str, *, body: str = "", token: str = "") -> str:
        headers = {"Cookie": self._cookie, "HX-Request": "true" if body else "false"}
        if body:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "X-CSRFToken": token}
        began = time.perf_counter()
        self._http.request(method, url, body=body or None, headers=headers)
        answer = self._http.getresponse()
        text = answer.read().decode()
        self._found.times[kind].append(time.perf_counter() - began)
        assert answer.status == 200, f"{method} {url}: {answer.status}"
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie" and value.partition("=")[0].endswith("_csrf"):
                self._cookie = f"{self._cookie.partition('; ')[0]}; {value.partition(';')[0]}"
        return text


if __name__ == "__main__":
    sys.exit(run_bench("load", __doc__, measure))
