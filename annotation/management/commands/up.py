"""Start the whole program on this machine: ``coral up``."""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from annotation import __version__
from annotation.errors import NotReadyError
from annotation.jobs.broker import broker_answers, shown_address
from annotation.management.commands.web import bind_address
from annotation.models import OneTimePassword
from annotation.ops import valkey
from annotation.ops.reload import restart_on_change
from annotation.ops.supervisor import Service, Supervisor
from annotation.worker.fitness import is_migrated, newer_migrations, record_deployment

BROKER_SECONDS = 10.0
WEB_SECONDS = 60.0
WORKER_GRACE = 30.0
LLM_THREADS = 8
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


class Command(BaseCommand):
    help = (
        "Start everything on this machine and keep it running until Ctrl-C: a private Valkey server (unless REDIS_URL "
        "names one), the web server at CORAL_BIND, a worker for LLM labeling and files, and a worker for training. "
        "Applies migrations and collects static files first. On the very first start it makes the account `admin` and "
        "prints its password once. What dies is started again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--no-web",
            action="store_true",
            help="workers only, for a further machine; set DATABASE_URL and REDIS_URL as on the first one, and share its data "
            "folder; migrations are left to the machine with the web server",
        )
        parser.add_argument(
            "--demo",
            action="store_true",
            help="also load the sample projects and bring one of them to a certificate",
        )
        parser.add_argument(
            "--llm-server",
            metavar="COMMAND",
            default="",
            help="also start a server of language models on this machine, such as 'vllm serve Qwen/Qwen3-8B --port 8080', keep it "
            "running and stop it at the end; projects connect to its address",
        )
        parser.add_argument(
            "--reload",
            action="store_true",
            help="for developers: start the pages and workers anew whenever a source file changes",
        )

    def handle(
        self, *args: Any, no_web: bool, demo: bool, llm_server: str, reload: bool, **options: Any
    ) -> None:
        server = _server_command(llm_server)
        supervisor = Supervisor(sys.stdout, as_json=settings.LOG_FORMAT == "json")
        with _only_one_here():
            supervisor.catch_signals()
            os.umask(0o077)  # texts, answers and password hashes are nobody else's business
            try:
                _start_broker(supervisor)
                password = None
                check_not_newer()
                if no_web:
                    _wait_for_schema(supervisor)
                else:
                    supervisor.say("Bringing the database and the static files up to date.")
                    password = _prepare_site()
                if server and not supervisor.stopping:
                    supervisor.start(Service("llm-server", server, grace=WORKER_GRACE, foundation=True))
                if not supervisor.stopping:
                    _start_services(supervisor, web=not no_web, demo=demo)
                    _announce(supervisor, password, web=not no_web)
                if reload:
                    code = [settings.BASE_DIR / name for name in ("annotation", "coral_site", "mlcore")]
                    texts = [settings.ASSET_DIR / name for name in ("templates", "locale")]
                    restart_on_change(supervisor, [*code, *texts])
                supervisor.run()
            except NotReadyError as error:
                raise CommandError(str(error)) from error
            finally:
                supervisor.stop()


@contextmanager
def _only_one_here() -> Iterator[None]:
    """Hold the data folder's lock. Further machines may share the folder if they share the broker, too."""
    path = settings.DATA_DIR / (f"up-{socket.gethostname()}.lock" if settings.REDIS_URL_GIVEN else "up.lock")
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"CORAL is running already with the data folder {settings.DATA_DIR} (at {settings.BIND}, unless it was "
                "started with another address). Stop it first, or set CORAL_DATA_DIR to another folder."
            ) from None
        yield


def _server_command(line: str) -> list[str]:
    """The words of the command that starts a server of language models."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise CommandError(f"--llm-server is {line!r}, which is no command: {error}.") from error
    if words and shutil.which(words[0]) is None:
        raise CommandError(
            f"--llm-server: there is no program {words[0]!r}. Install it, or give its whole path."
        )
    return words


def _start_broker(supervisor: Supervisor) -> None:
    if not settings.REDIS_URL_GIVEN:
        valkey.stop_orphan()
        supervisor.start(Service("broker", valkey.server_command(), foundation=True))
    elif not broker_answers():
        supervisor.say("Waiting for the server that REDIS_URL names.")
    if not supervisor.wait_until(broker_answers, seconds=BROKER_SECONDS) and not supervisor.stopping:
        raise CommandError(
            f"The broker at {shown_address(settings.REDIS_URL)} does not answer within {BROKER_SECONDS:.0f} s. "
            + (
                "Start it, or mend REDIS_URL."
                if settings.REDIS_URL_GIVEN
                else f"Its log is {valkey.log_path()}. If its files are damaged, delete that folder: no work is lost by it."
            )
        )


def check_not_newer() -> None:
    newer = newer_migrations()
    connections.close_all()
    if newer:
        raise CommandError(
            f"The database was brought up to {max(newer)} by a newer version of CORAL; this one is {__version__}. Start the "
            "newer version, or restore a backup from before the update."
        )


def _prepare_site() -> str | None:
    """Bring database and static files up to date; return the first admin's password if one was made."""
    _check_address()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    record_deployment()
    password = make_first_admin()
    connections.close_all()
    return password


def _wait_for_schema(supervisor: Supervisor) -> None:
    """Wait until the machine with the web server has done that."""
    if not is_migrated():
        supervisor.say("Waiting for the machine with the web server to bring the database up to date.")
        supervisor.wait_until(is_migrated, seconds=float("inf"))
    connections.close_all()


def _check_address() -> None:
    host, port = bind_address(settings.BIND)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"Can't serve at {settings.BIND}: {error.strerror}. Set CORAL_BIND to a free address."
            ) from error


def make_first_admin() -> str | None:
    """Make the account `admin` if there is no account that can log in yet; return its random password."""
    if any(user.has_usable_password() for user in User.objects.only("password").iterator()):
        return None
    password = secrets.token_urlsafe(12)
    admin, _made = User.objects.get_or_create(
        username="admin", defaults={"is_staff": True, "is_superuser": True}
    )
    admin.set_password(password)
    admin.save()
    OneTimePassword.objects.update_or_create(user=admin, defaults={"password": admin.password})
    return password


def _start_services(supervisor: Supervisor, *, web: bool, demo: bool) -> None:
    command = settings.COMMAND
    if web:
        supervisor.start(Service("web", [*command, "web"]))
    llm = [*command, "worker", "--queues", "llm,files,short", "--threads", str(LLM_THREADS)]
    supervisor.start(Service("llm", llm, grace=WORKER_GRACE))
    slm = [*command, "worker", "--queues", "slm", "--threads", "1"]
    for gpu in gpus() or [""]:
        of_gpu = ["--gpu", gpu] if gpu else []
        supervisor.start(Service(f"slm{gpu}", [*slm, *of_gpu], grace=WORKER_GRACE))
    if demo:
        supervisor.start(Service("demo", [*command, "demo", "--with-workers"], once=True))


def gpus() -> list[str]:
    """The numbers of this machine's GPUs, of those that CUDA_VISIBLE_DEVICES names where it is set."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [number.strip() for number in chosen.split(",") if number.strip()]
    return [str(number) for number, _gpu in enumerate(NVIDIA_GPUS.glob("*"))]


def _announce(supervisor: Supervisor, password: str | None, *, web: bool) -> None:
    if not web:
        supervisor.say("The workers of this machine are started.")
    elif supervisor.wait_until(_web_answers, seconds=WEB_SECONDS):
        supervisor.say(f"CORAL is at http://{settings.BIND}/")
    if password:
        supervisor.say(f"First login: admin, password {password}")
        supervisor.say("It is shown only now. `coral changepassword admin` sets another one.")


def _web_answers() -> bool:
    host, port = bind_address(settings.BIND)
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (any address: ask the own one)
    try:
        with socket.create_connection((reachable, port), timeout=1):
            return True
    except OSError:
        return False
