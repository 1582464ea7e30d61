"""The whole of what people did in one file: the database, uploaded files, models, and on request the keys."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from annotation import __version__
from annotation.errors import NotReadyError

FOLDERS = ("uploads", "models")
KEYS = ("secret.key", "token.key")
MANIFEST = "manifest.json"
DATABASE = {"sqlite": "coral.sqlite3", "postgresql": "coral.dump"}


def back_up(target: Path, *, with_keys: bool) -> int:
    """Write a backup, also while the program is at work; return its bytes. The file is there when it is whole.

    Args:
        with_keys: also the keys that sign sessions and decrypt stored API tokens. Whoever has them and the file can
            call the language models on your account.
    """
    part = target.with_name(f"{target.name}.part")
    with TemporaryDirectory(dir=settings.DATA_DIR) as folder:
        copy = Path(folder) / DATABASE[connection.vendor]
        _copy_database(copy)
        with _private(part), tarfile.open(part, "w") as archive:
            _add_manifest(archive)
            archive.add(copy, copy.name)
            for name in (*FOLDERS, *(KEYS if with_keys else ())):
                if (settings.DATA_DIR / name).exists():
                    archive.add(settings.DATA_DIR / name, name)
    part.replace(target)
    return target.stat().st_size


def restore(source: Path) -> dict[str, Any]:
    """Bring a backup into an empty data folder and database; return its manifest.

    Raises:
        NotReadyError: the file is no backup of this kind of database, or there is data here already.
    """
    try:
        archive = tarfile.open(source)  # noqa: SIM115 (closed below)
    except (OSError, tarfile.ReadError) as error:
        raise NotReadyError("%(file)s can't be read as a backup: %(why)s.", file=source, why=error) from error
    with archive:
        manifest = _manifest(archive, source)
        _refuse_data()
        connection.close()
        archive.extractall(settings.DATA_DIR, filter="data")
    if connection.vendor == "postgresql":
        dump = settings.DATA_DIR / DATABASE["postgresql"]
        _run(
            [
                "pg_restore",
                "--no-owner",
                "--exit-on-error",
                "--single-transaction",
                f"--dbname={_name()}",
                str(dump),
            ]
        )
        dump.unlink()
    return manifest


def _copy_database(copy: Path) -> None:
    if connection.vendor == "sqlite":
        # A copy page by page starts anew whenever another process commits, so during a run it never ends.
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(copy)])
        return
    _run(["pg_dump", "--format=custom", f"--file={copy}", _name()])


def _refuse_data() -> None:
    """Raises NotReadyError unless database and folder are as new: nothing that is there may be lost."""
    tables = connection.introspection.table_names()
    files = [name for name in FOLDERS if any((settings.DATA_DIR / name).glob("*"))]
    if tables or files:
        raise NotReadyError(
            "There is data in %(folder)s or in its database already. A backup is restored into an empty one: set "
            "CORAL_DATA_DIR (and DATABASE_URL) to a new one, or move the old one away.",
            folder=settings.DATA_DIR,
        )


def _add_manifest(archive: tarfile.TarFile) -> None:
    content = {
        "program": "coral",
        "version": __version__,
        "migration": _newest_migration(),
        "database": connection.vendor,
        "made": timezone.now().isoformat(),
    }
    data = json.dumps(content, indent=2).encode()
    entry = tarfile.TarInfo(MANIFEST)
    entry.size, entry.mtime = len(data), int(timezone.now().timestamp())
    archive.addfile(entry, BytesIO(data))


def _manifest(archive: tarfile.TarFile, source: Path) -> dict[str, Any]:
    first = archive.next()
    content = archive.extractfile(first) if first and first.name == MANIFEST else None
    if content is None:
        raise NotReadyError("%(file)s is no backup made by `coral backup`.", file=source)
    manifest: dict[str, Any] = json.load(content)
    if manifest["database"] != connection.vendor:
        raise NotReadyError(
            "The backup is of %(there)s, this program uses %(here)s. Set or unset DATABASE_URL.",
            there=manifest["database"],
            here=connection.vendor,
        )
    known = {name for app, name in MigrationLoader(None).disk_migrations if app == "annotation"}
    if manifest["migration"] not in known:
        raise NotReadyError(
            "The backup was made by CORAL %(version)s, which is newer than this %(own)s. Restore it with that version.",
            version=manifest["version"],
            own=__version__,
        )
    return manifest


def _newest_migration() -> str:
    return max(name for app, name in MigrationLoader(connection).applied_migrations if app == "annotation")


@contextmanager
def _private(part: Path) -> Iterator[None]:
    """The file is its owner's alone, and goes if it can't be finished."""
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        yield
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _name() -> str:
    return str(connection.settings_dict["NAME"])


def _run(command: Sequence[str]) -> None:
    """Run a program of PostgreSQL, with the password where no other user of the machine can read it."""
    parameters = connection.get_connection_params()
    given = {
        f"PG{name.upper()}": str(parameters[name])
        for name in ("host", "port", "user", "password", "sslmode", "sslrootcert", "service")
        if parameters.get(name)
    }
    try:
        done = subprocess.run(command, env=os.environ | given, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotReadyError(
            "The program %(name)s is missing. Install PostgreSQL's client programs.", name=command[0]
        ) from error
    if done.returncode:
        raise NotReadyError("%(name)s: %(why)s", name=command[0], why=done.stderr.strip())
