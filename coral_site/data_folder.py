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
    """Make the data folder, and close it to the machine's other users if it is ours to close.

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
    if folder.stat().st_uid == os.getuid():  # a mounted volume may belong to somebody else
        folder.chmod(0o700)


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
    """The private broker's address: in the data folder, or, as a socket's path may have 107 bytes, in one of the user's own.

    Raises:
        ImproperlyConfigured: that folder belongs to another user.
    """
    socket = data_folder / "broker.sock"
    if len(bytes(socket)) > 100:
        digest = hashlib.sha1(str(data_folder).encode(), usedforsecurity=False).hexdigest()[:10]
        folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"coral-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
            raise ImproperlyConfigured(
                f"{folder} belongs to another user, so the private broker's socket can't lie there. Set REDIS_URL, or a "
                "shorter CORAL_DATA_DIR."
            )
        socket = folder / f"{digest}.sock"
    return f"unix://{socket}?db=0"
