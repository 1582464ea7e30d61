"""Workbooks, as other programs write them."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta

import openpyxl
import xlsxwriter

from tests.support.malformed.case import Case, good, refused


def zip_of(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in parts.items():
            package.writestr(name, data)
    return file.getvalue()


def workbook(fill: Callable[[openpyxl.Workbook], None]) -> bytes:
    book = openpyxl.Workbook()
    fill(book)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def sheet(*rows: list[object]) -> bytes:
    def fill(book: openpyxl.Workbook) -> None:
        for row in rows:
            book.active.append(row)  # type: ignore[union-attr]

    return workbook(fill)


def patched(data: bytes, part: str, change: Callable[[bytes], bytes | None]) -> bytes:
    """The workbook with one part changed, or taken out."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    changed = change(parts[part])
    if changed is None:
        del parts[part]
    else:
        parts[part] = changed
    return zip_of(parts)


SHEET_XML = "xl/worksheets/sheet1.xml"


SMALL = sheet(["id", "text"], [1, "a"], [2, "b"])


def _typed() -> bytes:
    def fill(book: openpyxl.Workbook) -> None:
        page = book.active
        assert page is not None
        page.append(["day", "moment", "clock", "span", "float", "share", "code", "flag", "big"])
        clock, span = time(10, 5), timedelta(hours=26, minutes=30)
        page.append(
            [date(2020, 1, 31), datetime(2020, 1, 31, 10, 5, 6), clock, span, 0.1 + 0.2, 0.05, 7, True, 1e15]
        )
        page["F2"].number_format, page["G2"].number_format = "0%", "000"
        page.append([date(1900, 1, 1), datetime(1900, 3, 1), None, None, 2.0, 0.125, 1234, False, 0.000001])
        page["F3"].number_format, page["G3"].number_format = "0.0%", "000"

    return workbook(fill)


def _typed_1904() -> bytes:
    def fill(book: openpyxl.Workbook) -> None:
        book.epoch = datetime(1904, 1, 1)
        book.active.append(["day"])  # type: ignore[union-attr]
        book.active.append([date(2020, 1, 31)])  # type: ignore[union-attr]

    return workbook(fill)


def _xlsx_writer(fill: Callable[[xlsxwriter.Workbook], None], **options: bool) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"strings_to_formulas": False, **options}) as book:
        fill(book)
    return file.getvalue()


def _odd_text(**options: bool) -> bytes:
    def fill(book: xlsxwriter.Workbook) -> None:
        page = book.add_worksheet()
        page.write_row(0, 0, ["id", "text"])
        page.write_row(1, 0, ["007", "a\rb\x0b\x07 _x000D_ =1 \ufffe <r>"])
        page.write_row(2, 0, ["=1+1", "é 你好 😀 \u202e"])

    return _xlsx_writer(fill, **options)


def _shared() -> bytes:
    """A workbook whose texts stand in a part of their own."""

    def fill(book: xlsxwriter.Workbook) -> None:
        page = book.add_worksheet("Sheet")
        page.write_row(0, 0, ["id", "text"])
        page.write_row(1, 0, [1, "a"])

    return _xlsx_writer(fill)


def _sheets() -> bytes:
    def fill(book: xlsxwriter.Workbook) -> None:
        book.add_worksheet("Empty")
        hidden = book.add_worksheet("Hidden")
        hidden.write_row(0, 0, ["secret"])
        book.add_chartsheet("Chart")
        page = book.add_worksheet("Data")
        page.write_row(0, 0, ["id", "text"])
        page.write_row(1, 0, [1, "a"])
        hidden.hide()

    return _xlsx_writer(fill)


def _merged() -> bytes:
    def fill(book: xlsxwriter.Workbook) -> None:
        page = book.add_worksheet()
        page.write_row(0, 0, ["id", "text"])
        page.merge_range("A2:A3", "m")
        page.write_column(1, 1, ["a", "b"])

    return _xlsx_writer(fill)


def _far_cell() -> bytes:
    def fill(book: openpyxl.Workbook) -> None:
        page = book.active
        assert page is not None
        page.append(["id", "text"])
        page.append([1, "a"])
        page["XFD1048576"] = "far"

    return workbook(fill)


def _moved_to_root(data: bytes) -> bytes:
    """A workbook whose parts lie in the package's root; only its relationships tell so."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    return zip_of({name.replace("xl/", ""): part.replace(b"xl/", b"") for name, part in parts.items()})


def _inline_and_stored(xml: bytes) -> bytes:
    """Cells that hold their text in both ways, as some programs write them."""
    return re.sub(rb"<is><t>([^<]*)</t></is>", rb"<is><t>\1</t></is><v>\1</v>", xml)


def _far_values() -> bytes:
    def fill(book: openpyxl.Workbook) -> None:
        book.epoch = datetime(1904, 1, 1)
        page = book.active
        assert page is not None
        page.append(["date", "span", "code"])
        page.append([2_958_465, 1e308, 1e300])
        page["A2"].number_format, page["B2"].number_format = "yyyy-mm-dd", "[h]:mm:ss"
        page["C2"].number_format = "000"

    return workbook(fill)


ODD_ROWS = (["007", "a\rb\x0b\x07 _x000D_ =1 \ufffe <r>"], ["=1+1", "é 你好 😀 \u202e"])


EXCEL = [
    good("a plain workbook", SMALL, ["1", "a"], ["2", "b"], reading={"format": "xlsx", "sheet": "Sheet"}),
    good("odd characters among shared strings", _odd_text, *ODD_ROWS),
    good("odd characters among inline strings", lambda: _odd_text(constant_memory=True), *ODD_ROWS),
    good("parts in the package's root", lambda: _moved_to_root(SMALL), ["1", "a"], ["2", "b"]),
    good(
        "texts both inline and as a value",
        lambda: patched(_odd_text(constant_memory=True), SHEET_XML, _inline_and_stored),
        *ODD_ROWS,
    ),
    good(
        "numbers too far for a date, a duration or a code",
        _far_values,
        ["2958465", "1e+308", "1e+300"],
        columns=("date", "span", "code"),
    ),
    good(
        "a filled column without a name",
        lambda: sheet(["id", "text"], [1, "a", "x"], [2, "b", "y"]),
        ["1", "a", "x"],
        ["2", "b", "y"],
        columns=("id", "text", "column 3"),
        notes={"columns without a name": 1},
    ),
    good(
        "a remark far below, beside the table",
        lambda: sheet(["id", "text"], *[[number, "a"] for number in range(150)], [150, "b", None, "ask"]),
        *[[str(number), "a", "", ""] for number in range(150)],
        ["150", "b", "", "ask"],
        columns=("id", "text", "column 3", "column 4"),
    ),
    good(
        "M41 merged cells",
        _merged,
        ["m", "a"],
        ["", "b"],
        notes={"merged areas, of which only the first cell has the value": 1},
    ),
    good(
        "M42 an empty, a hidden and a chart sheet before the data",
        _sheets,
        ["1", "a"],
        reading={"sheet": "Data"},
    ),
    good(
        "M43 an empty row and an empty column first",
        lambda: sheet([], [None, "text"], [None, "a"]),
        ["", "a"],
        columns=("column 1", "text"),
    ),
    good(
        "M44 dates, times, durations, shares, codes",
        _typed,
        [
            "2020-01-31",
            "2020-01-31T10:05:06",
            "10:05:00",
            "26:30:00",
            "0.3",
            "5%",
            "007",
            "TRUE",
            "1000000000000000",
        ],
        ["1900-01-01", "1900-03-01T00:00:00", "", "", "2", "12.5%", "1234", "FALSE", "1e-06"],
        columns=("day", "moment", "clock", "span", "float", "share", "code", "flag", "big"),
    ),
    good("M44 dates counted from 1904", _typed_1904, ["2020-01-31"], columns=("day",)),
    good(
        "M44 error cells, and a formula that was never computed",
        lambda: sheet(["id", "text"], ["#N/A", "a"], ["=1+1", "b"]),
        ["", "a"],
        ["", "b"],
        notes={"cells with an Excel error, left empty": 1, "formulas without a stored value, left empty": 1},
    ),
    good(
        "M51 a size stated too small",
        lambda: patched(SMALL, SHEET_XML, lambda xml: xml.replace(b'ref="A1:B3"', b'ref="A1:B2"')),
        ["1", "a"],
        ["2", "b"],
    ),
    good(
        "M51 a size stated too large",
        lambda: patched(SMALL, SHEET_XML, lambda xml: xml.replace(b'ref="A1:B3"', b'ref="A1:XFD1048576"')),
        ["1", "a"],
        ["2", "b"],
    ),
    Case(
        "M52 a cell in the last corner",
        _far_cell,
        rows=[["1", "a"]],
        rejected={1048576: "column 16,384; at most 512"},
    ),
    refused(
        "M53 a zip bomb",
        lambda: patched(
            SMALL, SHEET_XML, lambda xml: xml.replace(b"<sheetData>", b"<sheetData>" + b" " * 100_000_000)
        ),
        "more than 100 times its size",
    ),
    refused(
        "M53 more parts than any workbook has",
        lambda: zip_of({"xl/workbook.xml": b"<a/>", **{f"xl/x{i}": b"" for i in range(1100)}}),
        "1,101 parts",
    ),
    refused(
        "M54 a document type",
        lambda: patched(
            SMALL, SHEET_XML, lambda xml: b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + xml.partition(b"?>")[2]
        ),
        "rejected for safety",
    ),
    refused(
        "M54 an external entity in the strings",
        lambda: patched(
            _shared(),
            "xl/sharedStrings.xml",
            lambda xml: b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]>" + xml.partition(b"?>")[2],
        ),
        "rejected for safety",
    ),
    refused(
        "M54 an endless attribute",
        lambda: patched(
            SMALL,
            SHEET_XML,
            lambda xml: xml.replace(
                b"<sheetData>",
                b"<sheetData a='"
                + base64.b85encode(bytes(range(1, 256)) * 16_000).replace(b"<", b"").replace(b"&", b"")
                + b"'>",
            ),
        ),
        "more than 100 times|single tag",
    ),
    refused(
        "a sheet that is missing",
        lambda: patched(SMALL, SHEET_XML, lambda xml: None),
        "sheet 'Sheet' is missing",
    ),
    refused("a sheet that is cut off", lambda: patched(SMALL, SHEET_XML, lambda xml: xml[:-30]), "damaged"),
    refused("a workbook that is cut off", SMALL[: len(SMALL) // 2], "damaged or cut off"),
    refused(
        "a reference to a text that is missing",
        lambda: patched(
            _shared(), SHEET_XML, lambda xml: xml.replace(b"<v>2</v></c></row>", b"<v>99999</v></c></row>")
        ),
        "text that is missing",
    ),
    refused("an empty workbook", lambda: sheet(), "The file is empty"),
    Case("a cell that is too long", lambda: sheet(["id", "text"], [1, "x" * 32_767], [2, "b"]), count=2),
]
