"""Bytes and lines of an upload, read under limits: nothing here holds more than one line in memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, cast

from annotation.errors import InvalidFileError
from annotation.files.records import Limits, Notes, Reading
from annotation.files.text.encodings import MARK_BAD_BYTES, mark_of

_CHUNK = 1 << 16
# A packed file may grow a hundredfold; below the grace no ratio is asked for, since a tiny file packs very well.
_MAX_RATIO, _RATIO_GRACE = 100, 100_000


class Readable(Protocol):
    """What hands out bytes."""

    def read(self, size: int, /) -> bytes: ...


class CountedReader(io.RawIOBase):
    """A binary stream that counts what passes and refuses to hand out more than a file may unpack to."""

    def __init__(self, source: Readable, *, packed_bytes: int, limits: Limits) -> None:
        self._source, self._packed, self._limits = source, packed_bytes, limits
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            block = self._source.read(min(len(buffer), _CHUNK))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InvalidFileError("The packed file is damaged or cut off. Pack it again.") from None
        buffer[: len(block)] = block
        self.count += len(block)
        check_unpacked(self.count, packed=self._packed, limits=self._limits)
        return len(block)


def check_unpacked(unpacked: int, *, packed: int, limits: Limits) -> None:
    """Refuses what unpacks to more than allowed; called while unpacking, since headers may lie."""
    if unpacked > limits.unpacked_bytes:
        raise InvalidFileError(
            "The file unpacks to more than %(most)s MB, the maximum.",
            most=limits.unpacked_bytes // 2**20,
        )
    if unpacked > _RATIO_GRACE and unpacked > _MAX_RATIO * max(packed, 1):
        raise InvalidFileError(
            "The file unpacks to more than %(times)s times its size, as a zip bomb does. It was not read.",
            times=_MAX_RATIO,
        )


@contextmanager
def open_bytes(
    path: Path, *, packed: bool, limits: Limits, notes: Notes | None = None
) -> Iterator[io.BufferedReader[CountedReader]]:
    """The file's bytes, unpacked if it is a gzip. ``notes`` follows how much of the file itself was read."""
    size = path.stat().st_size
    with path.open("rb") as raw:
        source: Readable = _Followed(raw, notes, size) if notes is not None else raw
        if packed:
            source = gzip.GzipFile(mode="rb", fileobj=cast(IO[bytes], source))
        with io.BufferedReader(
            CountedReader(source, packed_bytes=size if packed else limits.unpacked_bytes, limits=limits),
            _CHUNK,
        ) as stream:
            yield stream


@contextmanager
def open_text(path: Path, reading: Reading, limits: Limits, notes: Notes) -> Iterator[io.TextIOWrapper]:
    """The file as text: byte order mark dropped, line ends as they are, bytes that don't fit marked."""
    with open_bytes(path, packed=reading.gzip, limits=limits, notes=notes) as stream:
        marked = mark_of(stream.peek(4)[:4])
        if marked and marked[0] == reading.encoding:
            stream.read(marked[1])
        yield io.TextIOWrapper(stream, reading.encoding, errors=MARK_BAD_BYTES, newline="")


class _Followed:
    """Tells ``notes`` how far a file was read."""

    def __init__(self, raw: IO[bytes], notes: Notes, size: int) -> None:
        self._raw, self._notes = raw, notes
        notes.bytes_read, notes.bytes_total = 0, size

    def read(self, size: int = -1, /) -> bytes:
        block = self._raw.read(size)
        self._notes.bytes_read += len(block)
        return block
