"""A ZIP archive that holds one file is that file."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

from annotation.errors import InvalidFileError
from annotation.files.records import Limits
from annotation.files.text.streams import CountedReader

_OFFICE = ("[content_types].xml", "_rels/.rels", "content.xml", "mimetype")


def unpack_only_file(path: Path, limits: Limits) -> None:
    """Put the only file of an archive in the archive's place; everything else stays as it is.

    Raises:
        InvalidFileError: the file in it needs a password, is damaged, or unpacks to too much.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            if any(each.filename.lower() in _OFFICE for each in members):
                return
            members = [each for each in members if not each.filename.rpartition("/")[2].startswith(".")]
            members = [each for each in members if not each.filename.startswith("__MACOSX/")]
            if len(members) != 1:
                return
            if members[0].flag_bits & 1:
                raise InvalidFileError(
                    "The file in the ZIP archive needs a password. Unpack it, and upload the file."
                )
            unpacked = path.with_suffix(".unpacked")
            try:
                with archive.open(members[0]) as source, unpacked.open("xb") as target:
                    counted = CountedReader(source, packed_bytes=path.stat().st_size, limits=limits)
                    shutil.copyfileobj(counted, target)
                unpacked.replace(path)
            finally:
                unpacked.unlink(missing_ok=True)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, zlib.error, EOFError):
        raise InvalidFileError(
            "The file looks like an Excel file or a ZIP archive, but is damaged or cut off. Upload it again."
        ) from None
