from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import Program, is_running
from tests.support.services import free_port, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("program")) as program:
        program.start()
        yield program


def get_json(address: str) -> dict[str, object]:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return dict(json.load(answer))


def is_healthy(program: Program) -> bool:
    return get_json(f"{program.address}/healthz")["status"] == "ok"


def test_everything_is_there_after_the_start(program: Program) -> None:
    assert set(program.children()) == {"broker", "web", "llm", "slm"}
    wait_for(lambda: is_healthy(program), seconds=10, what="all workers report")


def test_workers_give_way_to_people(program: Program) -> None:
    children = program.children()
    pages, *workers = (os.getpriority(os.PRIO_PROCESS, children[name]) for name in ("web", "llm", "slm"))
    assert min(workers) > pages


def test_the_first_start_makes_one_admin_with_a_random_password(program: Program) -> None:
    assert len(program.password) >= 16
    check = (
        "from django.contrib.auth.models import User\nadmin = User.objects.get()\n"
        f"print(admin.username, admin.is_superuser, admin.check_password({program.password!r}), admin.last_login)"
    )
    assert program.execute(check) == "admin True True None"


def test_a_server_of_language_models_is_kept_running_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    with Program(tmp_path) as program:
        program.start("--llm-server", f"{sys.executable} -m http.server {port} --bind 127.0.0.1")
        first = program.children()["llm-server"]
        wait_for(lambda: answers(port), seconds=10, what="the server answers")
        program.kill("llm-server")
        wait_for(lambda: program.children().get("llm-server", first) != first, seconds=20, what="it is back")
        wait_for(lambda: answers(port), seconds=10, what="the server answers again")
    assert not answers(port)


@pytest.mark.parametrize(
    ("command", "why"), [("no-such-program --port 1", "no program"), ("vllm 'serve", "no command")]
)
def test_a_command_that_can_t_be_run_is_told_before_anything_starts(
    program: Program, command: str, why: str
) -> None:
    answer = program.run("up", "--llm-server", command)
    assert answer.returncode == 1
    assert why in answer.stderr


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def test_a_second_start_in_the_same_folder_says_so_and_ends(program: Program) -> None:
    second = program.run("up")
    assert second.returncode == 1
    assert "CORAL is running already" in second.stderr
    assert set(program.children()) == {"broker", "web", "llm", "slm"}


@pytest.mark.parametrize("name", ["web", "slm", "broker"])
def test_a_child_that_is_killed_is_started_again(program: Program, name: str) -> None:
    killed = program.kill(name)
    wait_for(
        lambda: program.children().get(name, killed) != killed, seconds=20, what=f"{name} is started again"
    )
    assert f"{name} was ended by SIGKILL; it starts again in" in program.log

    def answers() -> bool:
        try:
            return is_healthy(program)
        except OSError:
            return False

    wait_for(answers, seconds=20, what="everything is well again")


def test_the_web_process_has_each_commit_on_the_disk_before_it_answers(program: Program) -> None:
    asked = (
        "import uvicorn\n"
        "from django.core.management import call_command\n"
        "from django.db import connection\n"
        "def mode():\n"
        "    with connection.cursor() as cursor:\n"
        "        return cursor.execute('PRAGMA synchronous').fetchone()[0]\n"
        "before = mode()\n"
        "uvicorn.run = lambda *_, **__: print(before, mode())\n"
        "call_command('web')"
    )
    assert program.execute(asked) == "1 2", "NORMAL in workers, FULL in the web process"


def test_a_page_is_served_with_its_static_files(program: Program) -> None:
    with urllib.request.urlopen(f"{program.address}/login/", timeout=10) as answer:
        page = answer.read().decode()
    style = next(part.split('"')[0] for part in page.split('href="') if ".css" in part.split('"')[0])
    with urllib.request.urlopen(f"{program.address}{style}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/css")


def test_help_says_what_it_starts(program: Program) -> None:
    shown = " ".join(program.run("up", "--help").stdout.split())
    for words in ("until Ctrl-C", "private Valkey server", "REDIS_URL", "--no-web", "--demo"):
        assert words in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_in_order_leaves_nothing_and_starts_again_with_the_same_admin(
    tmp_path: Path, number: int
) -> None:
    with Program(tmp_path) as program:
        program.start()
        children = program.children()
        begun = time.monotonic()
        assert program.stop(number) == 0
        assert time.monotonic() - begun < 15
        assert not any(is_running(pid) for pid in children.values())
        assert "Traceback" not in program.log
        program.start()
        assert "First login" not in program.log
        assert program.query("SELECT count(*) FROM auth_user") == [(1,)]


def test_an_address_that_is_taken_gets_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = Program(tmp_path, CORAL_BIND=f"127.0.0.1:{port}").run("up")
    assert failed.returncode == 1
    assert f"Can't serve at 127.0.0.1:{port}" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("VALKEY_SERVER", "/no/such/program", "VALKEY_SERVER is “/no/such/program”, which is no program"),
        ("VALKEY_SERVER", "/bin/false", "does not answer within"),
        (
            "REDIS_URL",
            "redis://:hunter2@127.0.0.1:1/0",
            "The broker at redis://127.0.0.1:1/0 does not answer within",
        ),
        ("CORAL_BIND", "8000", "CORAL_BIND is '8000'; it must be host:port"),
    ],
)
def test_a_broker_or_an_address_that_can_not_be_gets_a_sentence(
    tmp_path: Path, setting: str, value: str, sentence: str
) -> None:
    failed = Program(tmp_path, **{setting: value}).run("up")
    assert failed.returncode == 1
    assert sentence in failed.stderr, failed.stderr + failed.stdout
    assert "hunter2" not in failed.stderr + failed.stdout
    assert "Traceback" not in failed.stderr


def test_a_private_broker_that_outlived_its_supervisor_is_stopped_and_replaced(tmp_path: Path) -> None:
    with Program(tmp_path) as program:
        command = program.execute(
            "from annotation.ops import valkey; print(*valkey.server_command(), sep='\\n')"
        ).split("\n")
        orphan = subprocess.Popen(command)
        program.start()
        assert orphan.wait(10) == 0
        assert program.children()["broker"] != orphan.pid
        wait_for(lambda: is_healthy(program), seconds=10, what="all workers report")
