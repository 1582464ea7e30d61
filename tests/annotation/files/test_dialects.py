"""Encodings of many languages, ways to write quotes, old workbooks, and archives of one file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from annotation.errors import InvalidFileError
from annotation.files.open_table import open_table
from annotation.files.records import Limits, Reading, RejectedRow, SourceRow
from annotation.files.sniff import recognise
from annotation.files.text.encodings import ENCODINGS, detect_encoding
from annotation.files.unpack import unpack_only_file

LIMITS = Limits()
TEXTS = {
    "Η παράδοση άργησε πολύ, αλλά το προϊόν είναι καλό.": ("cp1253", "iso8859_7"),
    "Kargo çok geç geldi, ama ürün güzel çıktı; teşekkürler. Işık yandı.": ("cp1254", "iso8859_9"),
    "وصل الطرد متأخرا جدا ولكن المنتج جيد والسعر مناسب": ("cp1256", "iso8859_6"),
    "החבילה הגיעה מאוחר מאוד אבל המוצר טוב והמחיר הוגן": ("cp1255", "iso8859_8"),
    "พัสดุมาถึงช้ามาก แต่สินค้าดีและราคาเหมาะสม": ("cp874",),
    "Посылка пришла очень поздно, но товар хороший и цена честная.": (
        "cp1251",
        "koi8_r",
        "cp866",
        "iso8859_5",
    ),
    "Paczka przyszła późno, ale produkt jest świetny, cena też niezła.": ("cp1250", "iso8859_2"),
    "Siuntinys atėjo per vėlai, bet prekė puiki, ačiū už žemą kainą.": ("cp1257",),
    "A csomag későn érkezett, de a termék jó, örülök az új színnek. Hűvös őszi eső.": ("cp1250",),
    "Das Päckchen kam spät, aber die Qualität ist großartig und der Käufer fröhlich.": ("cp1252", "latin-1"),
    "包裹来得很晚，但是产品很好，价格也公道。": ("gb18030",),
}


@pytest.mark.parametrize(
    ("text", "encoding"), [(text, encoding) for text, encodings in TEXTS.items() for encoding in encodings]
)
def test_the_encoding_of_each_family_is_found_by_its_letters(text: str, encoding: str) -> None:
    data = "\n".join(["text,label", *[f"{text},a"] * 4]).encode(encoding)
    found = detect_encoding(data, valid_utf8=False)
    assert data.decode(found.name) == data.decode(encoding)
    assert not found.sure
    assert found.name in ENCODINGS


def read(folder: Path, data: bytes) -> tuple[Reading, list[list[str]]]:
    path = folder / "a"
    path.write_bytes(data)
    unpack_only_file(path, LIMITS)
    reading = recognise(path, LIMITS)
    rows = open_table(path, reading, LIMITS).rows
    return reading, [row.cells for row in rows if isinstance(row, SourceRow)]


def test_a_backslash_before_quotes_is_found(tmp_path: Path) -> None:
    data = b'id,text\n1,"She said \\"hi\\", twice"\n2,"plain"\n'
    reading, cells = read(tmp_path, data)
    assert reading.escaped
    assert cells == [["1", 'She said "hi", twice'], ["2", "plain"]]


def test_backslashes_of_texts_stay(tmp_path: Path) -> None:
    reading, cells = read(tmp_path, b'id,text\n1,"C:\\\\new"\n2,a \\ b\n')
    assert not reading.escaped
    assert cells == [["1", "C:\\\\new"], ["2", "a \\ b"]]


def test_rows_that_stand_in_quotes_are_split(tmp_path: Path) -> None:
    data = b'"id,text"\r\n"1,""one, two"""\r\n"2,three ""four"""\r\n'
    reading, cells = read(tmp_path, data)
    assert (reading.wrapped, reading.delimiter) == (True, ",")
    assert cells == [["1", "one, two"], ["2", 'three "four"']]


def test_texts_in_quotes_are_no_rows_in_quotes(tmp_path: Path) -> None:
    reading, cells = read(tmp_path, b'"text"\n"hello, you"\n"so, what, now"\n')
    assert not reading.wrapped
    assert cells == [["hello, you"], ["so, what, now"]]


def test_stray_quotes_are_plain_characters_where_no_cell_stands_in_quotes(tmp_path: Path) -> None:
    reading, cells = read(tmp_path, b'id,text\n1,"good" they said\n2,a 5" screen\n')
    assert reading.quote == ""
    assert cells == [["1", '"good" they said'], ["2", 'a 5" screen']]


CELL = '<table:table-cell office:value-type="{kind}" {more}><text:p>{text}</text:p></table:table-cell>'


def ods(*sheets: tuple[str, list[list[str]]]) -> bytes:
    tables = "".join(
        f'<table:table table:name="{name}">'
        + "".join(f"<table:table-row>{''.join(row)}</table:table-row>" for row in rows)
        + "</table:table>"
        for name, rows in sheets
    )
    names = " ".join(
        f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{short}:1.0"'
        for short in ("office", "table", "text")
    )
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {names} office:version="1.2"><office:body>'
        f"<office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr("content.xml", content)
    return file.getvalue()


def text(value: str) -> str:
    return CELL.format(kind="string", more="", text=value)


def number(value: str) -> str:
    return CELL.format(kind="float", more=f'office:value="{value}"', text=value)


def day(value: str) -> str:
    return CELL.format(kind="date", more=f'office:date-value="{value}"', text=value)


def test_an_opendocument_sheet_is_read_with_its_types(tmp_path: Path) -> None:
    rows = [
        [text("id"), text("text"), text("price"), text("day")],
        [number("1"), text("007"), number("1.5"), day("2024-01-02")],
        [number("2"), text("b")],
    ]
    path = tmp_path / "a"
    path.write_bytes(ods(("Notes", [[text("a title")]]), ("Data", rows)))
    reading = recognise(path, LIMITS)
    assert (reading.format, reading.sheet, [each.name for each in reading.sheets]) == (
        "sheets",
        "Data",
        ["Data", "Notes"],
    )
    assert list(open_table(path, reading, LIMITS).rows) == [
        SourceRow(2, ["1", "007", "1.5", "2024-01-02"], "isfd"),
        SourceRow(3, ["2", "b", "", ""], "is00"),
    ]


def test_a_cell_that_is_too_long_is_no_cell_of_a_sheet(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(ods(("Data", [[text("text")], [text("x" * 50)], [text("y")]])))
    rows = list(open_table(path, recognise(path, LIMITS), Limits(cell_characters=20)).rows)
    assert [type(row) for row in rows] == [RejectedRow, SourceRow]


def test_a_damaged_old_workbook_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2_000)
    with pytest.raises(InvalidFileError, match="The workbook can't be read"):
        recognise(tmp_path / "a", LIMITS)


def archive(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return file.getvalue()


def test_the_only_table_of_an_archive_is_read(tmp_path: Path) -> None:
    data = archive(**{"in/rows.csv": b"id,text\n1,a\n2,b\n", "__MACOSX/in/._rows.csv": b"\0"})
    assert read(tmp_path, data)[1] == [["1", "a"], ["2", "b"]]
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_an_archive_of_several_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="ZIP archive of several files"):
        read(tmp_path, archive(a=b"text\n1\n", b=b"text\n2\n"))


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="zip bomb"):
        read(tmp_path, archive(a=b"text\n" + b"x" * 50_000_000))
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
