"""Whether this machine fits the others: the same version and tables, the same key, the same files, a right clock.

A worker that does not fit would fail jobs that another one can do, or lose files that nobody else sees.
"""

from __future__ import annotations

import tempfile
import uuid

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.models.functions import Now
from django.utils import timezone

from annotation import __version__
from annotation.errors import AnnotationError
from annotation.files import data_store
from annotation.jobs.lease import machine_name
from annotation.models import Deployment, DrainedMachine

MARK = "folder.id"
PROBE = "coral"
CLOCK_SECONDS = 60.0  # leases are the database's times; logs, retries and certificates of servers are not


def record_deployment() -> None:
    """Note what workers must agree with. Called where pages are served from."""
    path = settings.DATA_DIR / MARK
    if not data_store.bring(path):
        path.write_text(uuid.uuid4().hex)
        data_store.send(path)
    found = {"version": __version__, "folder": path.read_text(), "probe": PROBE}
    if not Deployment.objects.filter(pk=1, version=__version__, folder=found["folder"]).exists():
        Deployment.objects.update_or_create(pk=1, defaults=found)


def misfits() -> list[str]:
    """Why this machine may take no work, a sentence each. Empty if it fits, or no web server has started yet.

    Raises:
        DatabaseError: the database can't be asked.
    """
    if newer := newer_migrations():
        return [
            f"The database was brought up to {max(newer)} by a newer version of CORAL; this one is {__version__}. "
            "Install the newer version on this machine."
        ]
    if not is_migrated():
        return [
            "The database is not up to date yet. `coral up` on the machine with the web server does that."
        ]
    if DrainedMachine.objects.filter(name=machine_name()).exists():
        return [
            "An administrator has drained this machine. It takes work again once it is deleted from Drained machines in the "
            "administration."
        ]
    row = Deployment.objects.annotate(now=Now()).first()
    if row is None:
        return []
    skew = (timezone.now() - row.now).total_seconds()
    found = _folder_misfits(row)
    if row.version != __version__:
        found.append(
            f"This machine has version {__version__}, the web server {row.version}. Install the same on both."
        )
    if row.probe != PROBE:
        found.append(
            "The key of the API tokens is another one here. Set the same CORAL_TOKEN_KEYS on all machines."
        )
    if abs(skew) > CLOCK_SECONDS:
        found.append(f"This machine's clock differs by {skew:+.0f} s from the database's. Set it by NTP.")
    return found


def _folder_misfits(row: Deployment) -> list[str]:
    folder = settings.DATA_DIR
    path = folder / MARK
    try:
        is_same = data_store.bring(path) and path.read_text() == row.folder
    except AnnotationError as error:
        return [str(error)]
    if not is_same and data_store.is_apart():
        return ["The store of files is not the web server's. Set the same CORAL_STORE on all machines."]
    if not is_same:
        return [
            f"The data folder {folder} is not the web server's. Share one folder between all machines, and set "
            "CORAL_DATA_DIR to where it is mounted."
        ]
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            return []
    except OSError as error:
        return [f"The data folder {folder} can't be written to ({error.strerror}). Mount it writable."]


def newer_migrations() -> list[str]:
    """Migrations that were applied and that this version does not have: an older program would write rows that lack what the
    newer one relies on."""
    loader = MigrationLoader(connection)
    newest = max(name for app, name in loader.disk_migrations if app == "annotation")
    return [name for app, name in loader.applied_migrations if app == "annotation" and name > newest]


def is_migrated() -> bool:
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
