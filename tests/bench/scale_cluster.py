"""The machines of :mod:`tests.bench.scale`: PostgreSQL, Redis, a scripted server, and workers with data folders of their own."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fake_llm import Call, FakeLlm, Step, fake_llm, says
from tests.support.program import Program
from tests.support.services import PostgresServer, RedisServer, wait_for

ANSWER_SECONDS, CALLS_OF_WORKER = 0.2, 16

PROJECT = """
from dataclasses import replace
from django.contrib.auth.models import User
from annotation.pipeline.iterate import start_round
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
owner = User.objects.create_user("owner-of-{name}")
project = configure.create_project(name={name!r}, task_type="sentiment", owner=owner)
configure.set_slm(project, config=project.distill_config, chain_stages=False)
project.columns, project.content_columns = ["text"], ["text"]
project.save()
configure.set_labels(project, [LabelDraft("positive"), LabelDraft("negative")])
"""
LABEL = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute('''
        INSERT INTO annotation_sample (project_id, position, external_id, text, fields, content_hash, source, flag, round, version)
        SELECT %s, i, i, '{name} ' || i, jsonb_build_array('{name} ' || i), (10000000 + i), '', '', 0, 0
        FROM generate_series(0, {rows} - 1) AS numbers(i)''', [project.pk])
config = replace(
    project.llm_config, kind="endpoint", base_url={url!r}, model="fake", concurrency={calls}, demonstrations=0,
    second_question_percent=0, budget_tokens={budget},
)
configure.set_llm(project, config=config, token=None)
print(start_round.start_round(project, started_from="llm", user=owner).stages.get().pk)
"""


@dataclass(slots=True)
class Cluster:
    """PostgreSQL, Redis, the scripted server and the workers of a part."""

    program: Program
    postgres: PostgresServer
    redis: RedisServer
    llm: FakeLlm
    workers: list[subprocess.Popen[bytes]]
    machines: int = 0

    def start_workers(self, count: int, *, threads: int = 1) -> None:
        for _ in range(count):
            self.workers.append(self.start_worker(threads=threads))
        wait_for(
            lambda: self.program.log.count("At work on") >= len(self.workers),
            seconds=60,
            what="workers start",
        )

    def start_worker(
        self,
        queues: str = "llm,files,short",
        *,
        threads: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """One on a machine of its own."""
        self.machines += 1
        own = {"CORAL_DATA_DIR": str(self.program.folder / f"machine-{self.machines}")}
        return self.program.start_worker(queues, threads=threads, environment={**own, **(environment or {})})

    def stop_workers(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            worker.wait(40)
        self.workers.clear()
        self.program.clear_log()

    def label(self, name: str, rows: int, *, calls: int, budget: int = 0) -> int:
        """Start a labeling; return its stage."""
        code = (PROJECT + LABEL).format(
            name=name, rows=rows, url=f"{self.llm.url}/v1", calls=calls, budget=budget
        )
        return self.begin(code)

    def begin(self, code: str) -> int:
        """Run what starts a stage and prints its id last."""
        return int(self.program.execute(code, seconds=300).splitlines()[-1])

    def wait_for_end(self, stage: int, *, seconds: float = 460) -> float:
        """Seconds from the stage's start to its end by the database's clock."""
        found: list[Any] = []

        def ended() -> bool:
            columns = "status, extract(epoch FROM finished_at - queued_at), error"
            found[:] = self.program.query(f"SELECT {columns} FROM annotation_stage WHERE id = {stage}")[0]
            return found[0] not in ("queued", "running")

        wait_for(ended, seconds=seconds, what="the labeling ends")
        assert found[0] in ("done", "paused"), f"{found}\n{self.program.log}"
        return float(found[1] or 0)

    def asked_twice(self) -> int:
        return sum(count - 1 for count in Counter(call.prompt for call in self.llm.calls).values())


@contextmanager
def cluster() -> Iterator[Cluster]:
    def answer(_number: int, _call: Call) -> Step:
        return Step(body=says("positive").body, delay=ANSWER_SECONDS)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coral-scale-")))
        postgres = stack.enter_context(PostgresServer(folder, fsync=True))
        redis = stack.enter_context(RedisServer(folder))
        program = Program(
            folder,
            DATABASE_URL=postgres.make_database("scale"),
            REDIS_URL=redis.url,
            CORAL_LEASE_SECONDS="30",
            CORAL_LLM_CALLS=str(CALLS_OF_WORKER),
            CORAL_STORE=(folder / "store").as_uri(),
            CORAL_SECRET_KEY="the same on all machines",
            CORAL_TOKEN_KEYS="the same on all machines",
        )
        program.execute(
            "from django.core.management import call_command; call_command('migrate', verbosity=0)",
            seconds=400,
        )
        llm = stack.enter_context(fake_llm(answer))
        found = Cluster(program, postgres, redis, llm, [])
        try:
            yield found
        finally:
            for worker in found.workers:
                worker.kill()
                worker.wait()
