"""Processes that are killed in the middle of a real run: the run ends all the same, and every row is labelled once."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from annotation.messages import message_text
from tests.support.program import Program, children_of, is_running
from tests.support.services import PostgresServer, wait_for

pytestmark = pytest.mark.slow

ROWS = 60
CALLS_AT_ONCE = 2
#: Rows that a killed worker may have asked for in vain: what is on the way, and a batch that is not stored yet.
PAID_TWICE = 20


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A caller that was killed has closed its end; that is what these tests are about."""


class ChatServer:
    """A language model's server: answers each row after a while, and counts how often it was asked for it."""

    def __init__(self, delay: float) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(server.answer(asked["messages"][-1]["content"])).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.delay = delay
        self.asked: Counter[int] = Counter()
        self._http = _QuietServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answer(self, prompt: str) -> object:
        row = int(re.findall(r"number (\d+)", prompt)[-1])
        self.asked[row] += 1
        time.sleep(self.delay)
        message = {"role": "assistant", "content": "positive" if row % 2 == 0 else "negative"}
        return {
            "id": "1", "object": "chat.completion", "created": 1, "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51},
        }  # fmt: skip

    def close(self) -> None:
        self._http.shutdown()


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    server = ChatServer(delay=0.1)
    yield server
    server.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("program")) as program:
        program.start()
        yield program


def start_run(program: Program, chat: ChatServer, name: str) -> int:
    """Start the labeling of a new project; return the stage's id."""
    return int(
        program.execute(f"""
from dataclasses import replace
from annotation.pipeline.iterate import start_round
from annotation.pipeline.project import configure
from tests.support.factories import make_project, make_user
project = make_project(rows={ROWS}, owner=make_user({name!r}))
config = replace(
    project.llm_config,
    kind="endpoint",
    base_url={chat.address!r},
    model="fake",
    concurrency={CALLS_AT_ONCE},
    demonstrations=0,
    second_question_percent=0,
)
configure.set_llm(project, config=config, token=None)
print(start_round.start_round(project, started_from="llm", user=project.owner).stages.get().pk)
""")
    )


def wait_for_stage(program: Program, stage: int, condition: str, *, seconds: float = 30.0) -> None:
    program.wait_for_row(
        f"SELECT 1 FROM annotation_stage WHERE id = {stage} AND ({condition})", seconds=seconds
    )


def stage_row(program: Program, stage: int) -> dict[str, object]:
    columns = ("status", "done", "attempt", "crashes", "error")
    [row] = program.query(f"SELECT {', '.join(columns)} FROM annotation_stage WHERE id = {stage}")
    return dict(zip(columns, row, strict=True))


def assert_labelled_once(program: Program, stage: int, chat: ChatServer, *, deaths: int) -> None:
    """Every row has one answer, the right one, in the prediction and on the row; little was paid for twice."""
    wait_for_stage(program, stage, "status = 'done'")
    counted = program.query(f"""
        SELECT count(*), count(DISTINCT sample.id), sum(CASE WHEN sample.label_id = sample.reference_id THEN 1 ELSE 0 END)
        FROM annotation_prediction prediction
        JOIN annotation_sample sample ON sample.id = prediction.sample_id
        JOIN annotation_stage stage ON stage.iteration_id = prediction.iteration_id
        WHERE prediction.source = 'llm' AND prediction.label_id = sample.label_id AND stage.id = {stage}""")
    assert counted == [(ROWS, ROWS, ROWS)]
    assert stage_row(program, stage)["done"] == ROWS
    assert chat.asked.keys() == set(range(ROWS))
    assert chat.asked.total() <= ROWS + PAID_TWICE * deaths


def test_a_worker_killed_in_mid_run_is_replaced_and_the_run_goes_on(
    program: Program, chat: ChatServer
) -> None:
    stage = start_run(program, chat, "kill-worker")
    wait_for_stage(program, stage, "done >= 10")
    program.kill("llm")
    assert_labelled_once(program, stage, chat, deaths=1)
    assert (stage_row(program, stage)["attempt"], stage_row(program, stage)["crashes"]) == (2, 1)


def test_a_run_whose_worker_dies_three_times_fails_with_a_sentence(
    program: Program, chat: ChatServer
) -> None:
    chat.delay = 0.5
    stage = start_run(program, chat, "kill-three-times")
    for attempt in (1, 2, 3):
        wait_for_stage(program, stage, f"status = 'running' AND attempt = {attempt}")
        program.kill("llm")
    wait_for_stage(program, stage, "status = 'failed'")
    row = stage_row(program, stage)
    assert message_text(str(row["error"])).startswith("The worker crashed 3 times in a row")
    time.sleep(3)
    assert stage_row(program, stage) == row, "it is not tried a fourth time"

    chat.delay = 0.05
    program.execute(
        f"from annotation.jobs import state; from annotation.models import Stage; state.resume(Stage.objects.get(pk={stage}))"
    )
    assert_labelled_once(program, stage, chat, deaths=3)


def test_a_worker_that_is_asked_to_end_hands_its_run_back(program: Program, chat: ChatServer) -> None:
    stage = start_run(program, chat, "terminate-worker")
    wait_for_stage(program, stage, "done >= 10")
    worker, begun = program.send("llm", signal.SIGTERM), time.monotonic()
    wait_for(lambda: not is_running(worker), seconds=30, what="the worker ends")
    assert time.monotonic() - begun < 10
    assert_labelled_once(program, stage, chat, deaths=0)
    assert (stage_row(program, stage)["attempt"], stage_row(program, stage)["crashes"]) == (2, 0)


def test_a_run_goes_on_when_the_broker_is_killed_and_the_next_one_starts(
    program: Program, chat: ChatServer
) -> None:
    stage = start_run(program, chat, "kill-broker")
    wait_for_stage(program, stage, "done >= 10")
    broker = program.kill("broker")
    assert_labelled_once(program, stage, chat, deaths=0)
    assert stage_row(program, stage)["attempt"] == 1, "the broker is a hint; its death interrupts nothing"
    wait_for(
        lambda: program.children().get("broker", broker) != broker, seconds=10, what="the broker is back"
    )

    chat.asked.clear()
    chat.delay = 0.02
    assert_labelled_once(program, start_run(program, chat, "after-broker"), chat, deaths=0)


def test_a_worker_that_stalled_for_longer_than_its_lease_can_write_nothing(
    program: Program, chat: ChatServer
) -> None:
    stage = start_run(program, chat, "stall-worker")
    wait_for_stage(program, stage, "done >= 10")
    stalled = program.send("llm", signal.SIGSTOP)
    second = program.start_worker("llm,short")
    try:
        wait_for_stage(program, stage, "attempt = 2 AND status = 'running' AND done >= 20")
        program.send("llm", signal.SIGCONT)
        assert_labelled_once(program, stage, chat, deaths=1)
        wait_for(
            lambda: "another worker has taken over" in program.log or "The lease was lost" in program.log,
            seconds=10,
            what="it gives up",
        )
    finally:
        second.terminate()
        second.wait(30)
    assert is_running(stalled)
    assert stage_row(program, stage)["attempt"] == 2


def test_a_killed_supervisor_leaves_nothing_and_a_new_start_resumes(tmp_path: Path, chat: ChatServer) -> None:
    with Program(tmp_path) as program:
        program.start()
        stage = start_run(program, chat, "kill-supervisor")
        wait_for_stage(program, stage, "done >= 10")
        children = program.kill_supervisor()
        assert len(children) == 4
        wait_for(lambda: not any(is_running(pid) for pid in children), seconds=30, what="the children end")
        assert stage_row(program, stage)["status"] == "queued", "the worker handed it back before it ended"
        program.start()
        assert_labelled_once(program, stage, chat, deaths=0)


def test_everything_killed_at_once_resumes_after_a_new_start(tmp_path: Path, chat: ChatServer) -> None:
    with Program(tmp_path) as program:
        program.start()
        stage = start_run(program, chat, "kill-all")
        wait_for_stage(program, stage, "done >= 10")
        program.kill_all()
        assert stage_row(program, stage)["status"] == "running", "nobody was left to hand it back"
        program.start()
        assert_labelled_once(program, stage, chat, deaths=1)


def training_process(program: Program) -> int | None:
    """The process id of the child in which a worker trains. Jobs of few rows are done by the worker of the queue short."""
    worker = program.children().get("llm")
    return next((pid for pid in children_of(worker) if pid != worker), None) if worker else None


def test_a_killed_training_worker_takes_its_child_along(program: Program, chat: ChatServer) -> None:
    chat.delay = 0.0
    stage = start_run(program, chat, "kill-training")
    assert_labelled_once(program, stage, chat, deaths=0)
    training = int(
        program.execute(f"""
from annotation.models import Stage
from annotation.pipeline.distill import start_distillation
print(start_distillation.start_filtering(Stage.objects.get(pk={stage}).iteration, user=None).pk)
""")
    )
    wait_for(lambda: training_process(program) is not None, seconds=30, what="the training starts")
    child = training_process(program)
    assert child is not None
    program.kill("llm")
    wait_for(lambda: not is_running(child), seconds=10, what="the training's own process ends")
    wait_for_stage(program, training, "status = 'done'", seconds=90)
    assert (stage_row(program, training)["attempt"], stage_row(program, training)["crashes"]) == (2, 1)
    assert program.query(f"""
        SELECT count(*), count(DISTINCT sample_id) FROM annotation_prediction prediction
        JOIN annotation_stage stage ON stage.iteration_id = prediction.iteration_id
        WHERE prediction.source = 'slm' AND prediction.label_id IS NOT NULL AND stage.id = {training}""") == [
        (ROWS, ROWS)
    ]


@pytest.mark.services
def test_the_same_on_postgresql_and_redis_with_a_second_machine(
    tmp_path: Path, chat: ChatServer, postgres: PostgresServer, redis_url: str
) -> None:
    servers = {"DATABASE_URL": postgres.make_database("coral_kill"), "REDIS_URL": redis_url}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with Program(tmp_path / "first", **servers) as first, Program(tmp_path / "second", **servers) as second:
        first.start()
        second.start("--no-web")
        assert set(first.children()) == {"web", "llm", "slm"}
        assert set(second.children()) == {"llm", "slm"}
        stage = start_run(first, chat, "kill-far-worker")
        wait_for_stage(first, stage, "done >= 10")
        owner = first if "llm of project" in first.log else second
        owner.kill("llm")
        assert_labelled_once(first, stage, chat, deaths=1)
        assert stage_row(first, stage)["crashes"] == 1
