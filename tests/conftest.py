"""What all tests share: folders of their own, a database file, and servers of the system where a test asks for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests.support.services import MissingServerError, PostgresServer, RedisServer

# Test processes share the cores. OpenMP's threads that wait for a busy core by spinning made a training of seconds take minutes
# (torch and scikit-learn read these when they are imported, after this).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "GOMP_SPINCOUNT", "3000"
)  # in the processes that the program starts, as in coral_site/command.py


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SQLite in a file, as in production: a database in memory has no WAL, and locks differently between threads."""
    settings = connections["default"].settings_dict
    folder = tmp_path_factory.mktemp("database")
    if settings["ENGINE"].endswith("sqlite3"):
        settings["TEST"]["NAME"] = str(folder / "test.sqlite3")
    else:
        settings["TEST"]["NAME"] = f"test_coral_{os.getpid()}"


@pytest.fixture(scope="session")
def unpacked_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the embedded models' weights, which take seconds to unpack, for the tests of all processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "weights"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _own_folders(
    settings: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, unpacked_weights: Path
) -> None:
    """No test reads or writes the developer's data folder."""
    settings.DATA_DIR = tmp_path
    settings.UPLOAD_DIR, settings.EXPORT_DIR = tmp_path / "uploads", tmp_path / "exports"
    settings.RUN_DIR, settings.CACHE_DIR = tmp_path / "runs", tmp_path_factory.mktemp("cache")
    (settings.CACHE_DIR / "weights").symlink_to(unpacked_weights)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A fresh PostgreSQL server on a unix socket."""
    with _server(PostgresServer, tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a fresh Redis server of the system on a free port."""
    with _server(RedisServer, tmp_path_factory) as server:
        yield server.url


def _server(kind: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    try:
        return kind(tmp_path_factory.mktemp(kind.__name__))
    except MissingServerError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing} Under CI it must be there.")
        pytest.skip(str(missing))
