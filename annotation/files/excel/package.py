"""The parts of an Excel workbook, unpacked and parsed under limits.

Own code rather than openpyxl's: that one keeps all shared strings in memory, believes the size that a sheet states,
turns ``_x000D_`` and its like into something else, and takes ten times as long. Parts stream through expat, a document
type is refused where it begins, and shared strings lie in a temporary file.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from xml.parsers import expat

from annotation.errors import InvalidFileError
from annotation.files.records import Limits, Notes, Sheet
from annotation.files.text.streams import check_unpacked

_CHUNK = 1 << 16
_MAX_ENTRIES = 1000
# A single tag or attribute longer than this is an attack: expat holds it in memory as a whole.
_MAX_TOKEN = 1 << 20

StartHandler = Callable[[str, dict[str, str]], None]
EndHandler = Callable[[str], None]
TextHandler = Callable[[str], None]


class SheetPart(NamedTuple):
    sheet: Sheet
    part: str


class Package:
    """An opened workbook."""

    def __init__(self, path: Path, limits: Limits, notes: Notes | None = None) -> None:
        self._limits, self._notes = limits, notes or Notes()
        self._size, self._unpacked = path.stat().st_size, 0
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise InvalidFileError("The Excel file is damaged. Open it in Excel and save it again.") from None
        entries = self._zip.infolist()
        if len(entries) > _MAX_ENTRIES:
            self._zip.close()
            raise InvalidFileError(
                "The Excel file has %(entries)s parts; at most %(max_entries)s are read.",
                entries=len(entries),
                max_entries=_MAX_ENTRIES,
            )
        self._parts = {entry.filename.replace("\\", "/").lstrip("/").lower(): entry for entry in entries}

    def __enter__(self) -> Package:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def has(self, part: str) -> bool:
        return part.lower() in self._parts

    def follow(self, parts: Iterable[str]) -> None:
        """From now on the notes tell how much of these parts, where they are there, was read."""
        sizes = [self._parts[part.lower()].file_size for part in parts if self.has(part)]
        self._notes.bytes_read, self._notes.bytes_total = 0, max(1, sum(sizes))

    def parse(
        self,
        part: str,
        *,
        start: StartHandler,
        end: EndHandler | None = None,
        text: TextHandler | None = None,
    ) -> Iterator[None]:
        """Feeds a part to the handlers (names without their prefix), block by block, yielding after each."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = _CHUNK
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = _refuse_doctype
        fed = 0
        try:
            for block in self._blocks(part):
                fed += len(block)
                parser.Parse(block, False)
                if fed - max(parser.CurrentByteIndex, 0) > _MAX_TOKEN:
                    raise InvalidFileError(
                        "The Excel file was rejected for safety: a single tag of %(part)s is endless.",
                        part=part,
                    )
                yield
            parser.Parse(b"", True)
            yield
        except expat.ExpatError as error:
            raise InvalidFileError(
                "The Excel file is damaged (%(part)s, line %(line)s). Open it in Excel and save it again.",
                part=part,
                line=error.lineno,
            ) from None

    def parse_all(self, part: str, *, start: StartHandler, end: EndHandler | None = None) -> None:
        for _block in self.parse(part, start=start, end=end):
            pass

    def _blocks(self, part: str) -> Iterator[bytes]:
        entry = self._parts.get(part.lower())
        if entry is None:
            raise InvalidFileError(
                "The Excel file is damaged: its part %(part)s is missing. Save it again.", part=part
            )
        try:
            with self._zip.open(entry) as stream:
                while block := stream.read(_CHUNK):
                    self._unpacked += len(block)
                    self._notes.bytes_read += len(block)
                    check_unpacked(self._unpacked, packed=self._size, limits=self._limits)
                    yield block
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
            raise InvalidFileError("The Excel file is damaged. Open it in Excel and save it again.") from None
        except RuntimeError:
            raise InvalidFileError(
                "The Excel file is protected with a password. Save it without one."
            ) from None


def local(name: str) -> str:
    """A tag's or attribute's name without its namespace prefix."""
    return name.rpartition(":")[2]


def whole(text: str, *, default: int) -> int:
    """A number as Excel writes row numbers and indices; anything else, or one of absurd length, is the default."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else default


def _refuse_doctype(*_arguments: object) -> None:
    raise InvalidFileError(
        "The Excel file was rejected for safety: it declares a document type, as Excel never does."
    )


def relationships(package: Package, part: str) -> dict[str, tuple[str, str]]:
    """What a part refers to: id -> (kind, part)."""
    folder, name = posixpath.split(part)
    found: dict[str, tuple[str, str]] = {}
    source = posixpath.join(folder, "_rels", f"{name}.rels")
    if not package.has(source):
        return found

    def start(tag: str, attributes: dict[str, str]) -> None:
        if local(tag) == "Relationship" and attributes.get("TargetMode") != "External":
            target = attributes.get("Target", "")
            absolute = (
                target.lstrip("/")
                if target.startswith("/")
                else posixpath.normpath(posixpath.join(folder, target))
            )
            found[attributes.get("Id", "")] = (attributes.get("Type", "").rpartition("/")[2], absolute)

    package.parse_all(source, start=start)
    return found


def main_part(path: Path, limits: Limits) -> str:
    """The part that an Office document begins with, wherever it lies; empty if the package names none."""
    with Package(path, limits) as package:
        return _main_part(package)


def _main_part(package: Package) -> str:
    named = (part for kind, part in relationships(package, "").values() if kind == "officeDocument")
    return next(named, "")


class Workbook(NamedTuple):
    """Where the parts of a workbook are."""

    sheets: list[SheetPart]
    styles: str
    strings: str
    epoch_1904: bool


def read_workbook(package: Package) -> Workbook:
    """The worksheets (chart sheets left out), in order, and where their styles and strings lie."""
    main = _main_part(package) or "xl/workbook.xml"
    parts = relationships(package, main)
    sheets: list[SheetPart] = []
    epochs: list[bool] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if local(tag) == "sheet":
            link = next(
                (value for name, value in attributes.items() if ":" in name and local(name) == "id"), ""
            )
            kind, part = parts.get(link, ("", ""))
            if kind == "worksheet":
                hidden = attributes.get("state", "visible") != "visible"
                sheets.append(SheetPart(Sheet(attributes.get("name", ""), hidden), part))
        elif local(tag) == "workbookPr":
            epochs.append(attributes.get("date1904", "0") in ("1", "true"))

    package.parse_all(main, start=start)
    by_kind = dict(parts.values())
    return Workbook(sheets, by_kind.get("styles", ""), by_kind.get("sharedStrings", ""), any(epochs))


class SharedStrings:
    """The workbook's string table, kept in a temporary file: a million texts cost 8 MB of memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        begin, end = self._ends[index], self._ends[index + 1]
        return os.pread(self._file.fileno(), end - begin, begin).decode("utf-8")

    def append(self, text: str) -> None:
        self._file.write(data := text.encode("utf-8"))
        self._ends.append(self._ends[-1] + len(data))

    def close(self) -> None:
        self._file.close()


def read_strings(package: Package, part: str, limits: Limits) -> SharedStrings:
    """All shared strings; of one that is too long only so much as shows that it is."""
    strings = SharedStrings()
    pieces: list[str] = []
    state = {"reading": False, "phonetic": False, "size": 0}

    def start(tag: str, _attributes: dict[str, str]) -> None:
        name = local(tag)
        if name == "si":
            pieces.clear()
            state["size"] = 0
        elif name == "rPh":
            state["phonetic"] = True
        elif name == "t":
            state["reading"] = not state["phonetic"]

    def text(data: str) -> None:
        if state["reading"] and state["size"] <= limits.cell_characters:
            pieces.append(data)
            state["size"] += len(data)

    def end(tag: str) -> None:
        name = local(tag)
        if name == "t":
            state["reading"] = False
        elif name == "rPh":
            state["phonetic"] = False
        elif name == "si":
            strings.append("".join(pieces))

    if part and package.has(part):
        for _block in package.parse(part, start=start, end=end, text=text):
            pass
        strings._file.flush()
    return strings
