"""The files of a Hugging Face data set: of a folder, or by its name where the hub is reached."""

from __future__ import annotations

import os
import re
from pathlib import Path

from django.conf import settings

from annotation.errors import AnnotationError, InvalidFileError

HUB_NAME = re.compile(r"hf:/*(?:datasets/)?([\w.-]+/[\w.-]+)")
#: The hub keeps a copy in this form of each public data set, which is there where the data set has a script only.
CONVERTED = "refs/convert/parquet"
ENDINGS = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt")
# Files that tell about a data set.
_ABOUT = frozenset({"dataset_infos.json", "dataset_info.json", "state.json", "dataset_dict.json"})


def expand(name: str) -> list[Path]:
    """The files that a person meant by a name: a file, a data set's folder, or ``hf:owner/name`` on the hub.

    Raises:
        InvalidFileError: the folder or data set has no file that can be read.
        AnnotationError: the hub did not give the data set.
    """
    path = Path(name)
    if path.is_dir():
        return _needed(_files_of(path), name)
    on_hub = HUB_NAME.fullmatch(name)
    if on_hub is None or path.exists():
        return [path]
    return _needed(_fetch(on_hub[1], None) or _fetch(on_hub[1], CONVERTED), name)


def _files_of(folder: Path) -> list[Path]:
    """The folder's files with rows, those of one format where there are several: they hold the same."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in _ABOUT]
    by_ending = ([path for path in files if path.suffix == ending] for ending in ENDINGS)
    return next(filter(None, by_ending), [])


def _needed(files: list[Path], name: str) -> list[Path]:
    if not files:
        raise InvalidFileError(
            "“%(name)s” has no file with rows. Such a file ends in one of: %(endings)s.",
            name=name,
            endings=", ".join(ENDINGS),
        )
    return files


def _fetch(name: str, revision: str | None) -> list[Path]:
    """Download the files with rows; nothing where the data set has no such revision."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(
            name,
            repo_type="dataset",
            revision=revision,
            cache_dir=settings.CACHE_DIR / "hub",
            endpoint=os.environ.get("HF_ENDPOINT"),
            token=os.environ.get("HF_TOKEN") or False,
            allow_patterns=[f"*{ending}" for ending in ENDINGS],
            etag_timeout=10,
        )
    except RevisionNotFoundError:
        return []
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise AnnotationError(
            "There is no data set “%(name)s” on the hub, or it needs a token: put one that may read it into HF_TOKEN.",
            name=name,
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise AnnotationError(
            "The hub can't be reached for the data set “%(name)s”: %(problem)s",
            name=name,
            problem=str(error)[:300],
        ) from error
    return _files_of(Path(folder))
