"""What an uploaded file is, judged by its content and never by its name."""

from __future__ import annotations

import codecs
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from annotation.errors import InvalidFileError
from annotation.files.decoding import open_decoded
from annotation.files.excel.package import main_part
from annotation.files.excel.sheets import list_sheets
from annotation.files.json_layouts import ONE_OBJECT, rows_within
from annotation.files.records import FileFormat, Limits, Notes, Reading, Sheet
from annotation.files.text.delimiters import sniff_delimiter
from annotation.files.text.encodings import detect_encoding
from annotation.files.text.streams import open_bytes, open_text
from annotation.files.writers import is_guarded
from annotation.messages import message

_HEAD = 1 << 18
_CHUNK = 1 << 20
_SAVE_AS = message("Save it as .xlsx or .csv.")

# First bytes -> what it is, for files that can't be read.
_FOREIGN = [
    (b"%PDF", message("a PDF document")),
    (b"\x89PNG", message("a PNG image")),
    (b"\xff\xd8\xff", message("a JPEG image")),
    (b"GIF8", message("a GIF image")),
    (b"PARE", message("an encrypted Parquet file")),
    (b"SQLite format 3\0", message("an SQLite database")),
    (b"7z\xbc\xaf\x27\x1c", message("a 7-Zip archive")),
    (b"Rar!", message("a RAR archive")),
    (b"BZh", message("a bzip2 archive")),
    (b"\xfd7zXZ", message("an xz archive")),
    (b"\x28\xb5\x2f\xfd", message("a zstd archive")),
    (b"\x7fELF", message("a program")),
    (b"MZ\x90", message("a program")),
    (b"\x93NUMPY", message("a NumPy array")),
    (b"{\\rtf", message("a Word document (RTF)")),
]
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_HTML = re.compile(
    r"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype html|html|head|body|table|script|meta)\b",
    re.IGNORECASE | re.DOTALL,
)
_ZIP_KINDS = [
    ("word/document.xml", message("a Word document")),
    ("ppt/presentation.xml", message("a PowerPoint presentation")),
]


def recognise(path: Path, limits: Limits) -> Reading:
    """How the file is to be read.

    Raises:
        InvalidFileError: It is empty, of a kind that can't be read (named), damaged, or unpacks to too much.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise InvalidFileError("The file is empty.")
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _recognise_zip(path, limits)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _recognise_sheets(path, limits)
    if head.startswith(b"\x1f\x8b"):
        return _recognise_text(path, limits, packed=True)
    if head.startswith(b"PAR1"):
        return Reading("parquet")
    _refuse_foreign(head)
    return _recognise_text(path, limits, packed=False)


def _refuse_foreign(head: bytes) -> None:
    for first, what in _FOREIGN:
        if head.startswith(first):
            raise InvalidFileError(
                "The file is %(what)s, not a table of text. %(save_as)s",
                what=what,
                save_as=_SAVE_AS,
            )
    if _PICKLE.match(head):
        raise InvalidFileError(
            "The file is a Python pickle, not a text file; pickles are never opened. %(save_as)s",
            save_as=_SAVE_AS,
        )


def _recognise_zip(path: Path, limits: Limits) -> Reading:
    try:
        with zipfile.ZipFile(path) as package:
            names = {name.replace("\\", "/").lower() for name in package.namelist()}
            is_ods = "mimetype" in names and "content.xml" in names
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise InvalidFileError(
            "The file looks like an Excel file or a ZIP archive, but is damaged or cut off. Upload it again."
        ) from None
    main = main_part(path, limits) if "_rels/.rels" in names else ""
    for part, what in _ZIP_KINDS:
        if part in names or (main and part.rpartition("/")[2] == main.rpartition("/")[2].lower()):
            raise InvalidFileError(
                "The file is %(what)s, which is not supported. %(save_as)s",
                what=what,
                save_as=_SAVE_AS,
            )
    if is_ods or "xl/workbook.bin" in names:
        return _recognise_sheets(path, limits)
    if not main and not any(name.startswith("xl/") for name in names):
        raise InvalidFileError(
            "The file is a ZIP archive of several files. Unpack it and upload the tables in it."
        )
    sheets, first = list_sheets(path, limits)
    return Reading("xlsx", sheet=first, sheets=sheets)


def _recognise_sheets(path: Path, limits: Limits) -> Reading:
    opened = open_decoded(path, Reading("sheets"), limits, Notes())
    opened.close()
    sheets = tuple(Sheet(name, hidden=name in opened.inner) for name in opened.columns)
    return Reading("sheets", sheet=opened.columns[0], sheets=sheets)


def _recognise_text(path: Path, limits: Limits, *, packed: bool) -> Reading:
    head, sample, valid_utf8 = _survey(path, limits, packed=packed)
    if not head.strip(b"\r\n\t \0\xef\xbb\xbf\xff\xfe"):
        raise InvalidFileError("The file is empty.")
    if packed:
        if head.startswith((b"PK\x03\x04", b"PAR1")):
            raise InvalidFileError(
                "The file is a packed ZIP, Excel or Parquet file. Unpack it and upload the file in it."
            )
        _refuse_foreign(head)
    encoding = detect_encoding(sample, valid_utf8=valid_utf8)
    reading = Reading("csv", gzip=packed, encoding=encoding.name, sure=encoding.sure)
    return detect_structure(path, reading, limits)


def detect_structure(path: Path, reading: Reading, limits: Limits) -> Reading:
    """Format, delimiter and quoting of a text file in the encoding that ``reading`` names.

    Raises:
        InvalidFileError: It is HTML, XML, one JSON object, or not text at all.
    """
    with open_text(path, replace(reading, separator_line=False), limits, Notes()) as stream:
        text = stream.read(_HEAD)
        complete = not stream.read(1)
    _refuse_untextual(text)
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith(("{", "[")) and (found := _json_format(start, complete=complete)):
        return replace(reading, format=found)
    reading = sniff_delimiter(
        text, replace(reading, format="csv", quote='"', separator_line=False), complete=complete
    )
    return replace(reading, guarded=is_guarded(text, reading))


def _survey(path: Path, limits: Limits, *, packed: bool) -> tuple[bytes, bytes, bool]:
    """Reads the whole file once: its head, the part to judge the encoding by, and whether all of it is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    head = sample = b""
    valid = True
    with open_bytes(path, packed=packed, limits=limits) as stream:
        while block := stream.read(_CHUNK):
            head = head or block[:_HEAD]
            if not valid:
                continue  # a packed file is still read to its end, so that it is known to unpack
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                # Where the head is plain ASCII, the place where UTF-8 fails says more.
                begin = block.rfind(b"\n", 0, max(0, error.start - 2**14)) + 1
                around = block[begin : error.start + 2**15]
                valid, sample = False, head if not head.isascii() else around
    return head, sample or head, valid


def _refuse_untextual(text: str) -> None:
    start = text.lstrip("\ufeff \t\r\n")
    if _HTML.match(start):
        raise InvalidFileError(
            "The file is HTML (a web page), not a table. Open it in Excel or a browser. %(save_as)s",
            save_as=_SAVE_AS,
        )
    if start.startswith("<?xml"):
        raise InvalidFileError("The file is XML, not a table. %(save_as)s", save_as=_SAVE_AS)
    controls = sum(
        (char < " " and char not in "\t\r\n") or "\udc00" <= char <= "\udcff" for char in text[:4096]
    )
    if controls > max(10, 0.1 * len(text[:4096])):
        raise InvalidFileError(
            "The file is not a text file (it holds binary data). %(save_as)s", save_as=_SAVE_AS
        )


def _json_format(start: str, *, complete: bool) -> FileFormat | None:
    """``jsonl`` if most of the first lines are values of their own, ``json`` for arrays and values over several lines,
    ``object`` for one object that is a whole table."""
    lines = [line for line in re.split(r"[\r\n]+", start, maxsplit=20)[:20] if line.strip()]
    values = list(map(_json_value, lines if complete or len(lines) < 2 else lines[:-1]))
    rows = sum(isinstance(value, dict | list) for value in values)
    if start.startswith("["):
        if len(values) > 1 and rows * 2 > len(values):
            return "jsonl"
        return "json" if re.match(r'\[\s*[\{\["\]]', start) else None
    if not re.match(r'\{\s*("|\})', start):
        return None
    if isinstance(values[0], dict):
        if len(values) == 1 and rows_within(values[0]) is not None:
            return "object"
        return "jsonl"
    return _spread_format(start, complete=complete)


def _spread_format(start: str, *, complete: bool) -> FileFormat | None:
    """What an object is that goes over several lines, or over more than was read."""
    try:
        value, end = json.JSONDecoder(parse_int=str).raw_decode(start)
    except (ValueError, RecursionError):
        # Cut off by what was read of it, or damaged; text in braces is neither.
        return None if re.match(r'\{[^"\n]*\}', start) else "object"
    if start[end:].strip(" \t\r\n,"):
        return "json"
    if rows_within(value) is None and complete:
        raise InvalidFileError(ONE_OBJECT)
    return "object"


def _json_value(line: str) -> Any:
    try:
        return json.loads(line, parse_int=str)
    except (ValueError, RecursionError):
        return None
