"""Files of the data folder that other machines need as well: sent to the store, brought from it where they are missing.

Where all machines share one data folder, there is no store: sending does nothing, and what isn't there is nowhere.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages

from annotation.errors import AnnotationError
from mlcore.atomic_write import write_whole

logger = logging.getLogger(__name__)

COPY_SECONDS = 86_400  # of a local copy that nobody needs for now

_background = threading.Lock()
_bringing = threading.Lock()  # two threads of a process would write to one temporary file


def store() -> Storage:
    """The store of the data folder's files."""
    return storages["data"]


def is_apart() -> bool:
    """Whether there is a store beside this machine's data folder."""
    return "data" in settings.STORAGES


def send(path: Path, *, name: Path | None = None) -> None:
    """Copy a file, or a folder's files, to the store.

    Args:
        name: where the file will lie in the data folder, if not where it is.

    Raises:
        AnnotationError: the store refused it or didn't answer.
    """
    if not is_apart():
        return
    with _told():
        for file in _files(path):
            _save(file, _key(name or file))


def send_new(folder: Path) -> list[str]:
    """Copy those files of a folder to the store that it has none of the same name of; returns where they lie in the data folder.

    Raises:
        AnnotationError: the store refused one or didn't answer.
    """
    if not is_apart():
        return []
    with _told():
        there = set(_stored(_key(folder)))
        new = [file for file in _files(folder) if _key(file) not in there]
        for file in new:
            _save(file, _key(file))
    return [_key(file) for file in new]


def bring(path: Path) -> bool:
    """Have a file here; False if it is nowhere.

    Raises:
        AnnotationError: the store didn't answer.
    """
    if path.exists() or not is_apart():
        return path.exists()
    with _bringing, _told():
        if path.exists():
            return True
        if not store().exists(_key(path)):
            return False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (
            store().open(_key(path)) as content,
            write_whole(path) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(content, file, 2**20)
    return True


def bring_folder(folder: Path, *, last: str) -> bool:
    """Have a folder's files here; False if they are nowhere.

    Args:
        last: a file of it that is brought last, so that the folder is whole if that one is here.

    Raises:
        AnnotationError: the store didn't answer.
    """
    if (folder / last).exists() or not is_apart():
        return (folder / last).exists()
    with _told():
        found = sorted(_stored(_key(folder)), key=lambda key: key == _key(folder / last))
    for key in found:
        bring(settings.DATA_DIR / key)
    return (folder / last).exists()


def bring_soon(*paths: Path) -> bool:
    """Whether all these files are here. Where some aren't, they are brought in the background, for a later question."""
    missing = [path for path in paths if not path.exists()]
    if missing and is_apart() and _background.acquire(blocking=False):
        threading.Thread(target=_bring_all, args=(missing,), daemon=True).start()
    return not missing


def is_kept(path: Path) -> bool:
    """Whether a file is here or in the store."""
    if path.exists() or not is_apart():
        return path.exists()
    with _told():
        return store().exists(_key(path))


def drop(path: Path) -> None:
    """Remove a file or folder, here and from the store."""
    if is_apart():
        with _told():
            for key in list(_stored(_key(path))) or [_key(path)]:
                store().delete(key)
    remove_here(path)


def remove_here(path: Path) -> None:
    """Remove a file or folder from this machine's disk, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def drop_older(folder: Path, moment: float) -> int:
    """Remove a folder's files from the store that were sent before a time (Unix seconds); returns how many."""
    if not is_apart():
        return 0
    oldest = datetime.fromtimestamp(moment, UTC)
    with _told():
        old = [key for key in _stored(_key(folder)) if store().get_modified_time(key) < oldest]
        for key in old:
            store().delete(key)
    return len(old)


def drop_copies(folder: Path, *, but: set[str]) -> None:
    """Remove what lies in a folder here and was not touched for a day: it is brought again when it is needed.

    Args:
        but: names, without what follows a dot, of what stays.
    """
    if not is_apart() or not folder.is_dir():
        return
    oldest = time.time() - COPY_SECONDS
    for path in folder.iterdir():
        if path.name.partition(".")[0] not in but and _touched(path) < oldest:
            remove_here(path)


def _bring_all(paths: list[Path]) -> None:
    try:
        for path in paths:
            bring(path)
    except AnnotationError:
        logger.exception("Files could not be brought from the store; they are asked for again.")
    finally:
        _background.release()


def _save(file: Path, key: str) -> None:
    with file.open("rb") as content:
        store().save(key, File(content))


def _key(path: Path) -> str:
    return path.relative_to(settings.DATA_DIR).as_posix()


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [each for each in sorted(path.rglob("*")) if each.is_file() and each.suffix != ".tmp"]


def _stored(folder: str) -> Iterator[str]:
    """The keys below a folder of the store."""
    try:
        folders, files = store().listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in files:
        if name:  # some stores keep an empty object for the folder itself
            yield f"{folder}/{name}"
    for name in folders:
        yield from _stored(f"{folder}/{name}")


def _touched(path: Path) -> float:
    return max(each.stat().st_mtime for each in (path, *path.rglob("*")))


@contextmanager
def _told() -> Iterator[None]:
    """Say in a sentence what the store said."""
    try:
        yield
    except _errors() as error:
        raise AnnotationError(
            "The store of files (CORAL_STORE) did not do what it was asked: %(why)s. Try again; if it goes on, ask an administrator.",
            why=str(error),
        ) from error


def _errors() -> tuple[type[Exception], ...]:
    """What the store's library raises."""
    if isinstance(store(), FileSystemStorage):
        return (OSError,)
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (OSError, Boto3Error, BotoCoreError, ClientError)
