"""The data folder, and what is made in it on the first start."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def prepare_folder(folder: Path) -> None:
    """Make the data folder.

    Raises:
        ImproperlyConfigured: it can't be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The data folder {folder} can't be made ({error.strerror}). Set CORAL_DATA_DIR to another folder."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(
            f"The data folder {folder} can't be written to. Make it writable for the program's user, or set CORAL_DATA_DIR to "
            "another folder."
        )


def secret_from_file(path: Path) -> str:
    """A random secret made on first start and kept in a file that only the owner can read."""
    if path.exists() and (secret := path.read_text().strip()):
        return secret
    # An empty file is one whose making was cut off: it is filled, by one process if several start at once.
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if secret := file.read().strip():
            return secret
        file.write(secret := secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    return secret


def private_socket_url(data_folder: Path) -> str:
    """The private broker's address. A socket path may have 107 bytes, so it never lies in the data folder."""
    digest = hashlib.sha1(str(data_folder).encode(), usedforsecurity=False).hexdigest()[:10]
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return f"unix://{folder}/coral-{digest}.sock?db=0"
