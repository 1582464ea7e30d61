"""Which database, and how SQLite is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dj_database_url


def database(url: str, data_folder: Path) -> dict[str, Any]:
    """Django's settings of the database at an address, or of SQLite in the data folder where there is none."""
    if url:
        return {**dj_database_url.parse(url, conn_max_age=0, conn_health_checks=True)}
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(data_folder / "coral.sqlite3"),
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            # Rows are indexed all over the file: the later the log (here of up to 32 MB) is moved into it, the
            # more changes of a page are written at once.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536; "
            "PRAGMA wal_autocheckpoint=8000;",
        },
    }
