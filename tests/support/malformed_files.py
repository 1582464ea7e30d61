"""Files as people have them, and what must come of each: bytes made by code, beside the outcome.

A case that names an ``error`` is refused as a whole with a sentence in which that is found. Any other gives these
columns, these rows, and these rejected lines.
"""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

import openpyxl
import xlsxwriter

HEADER = ("id", "text")


@dataclass(frozen=True)
class Case:
    """``rows`` None means that they are too many to write down; ``count`` then says how many there are."""

    name: str
    make: Callable[[], bytes]
    columns: tuple[str, ...] = HEADER
    rows: list[list[str]] | None = None
    count: int | None = None
    rejected: dict[int, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    reading: dict[str, object] = field(default_factory=dict)
    error: str = ""

    def __str__(self) -> str:
        return self.name


def good(name: str, data: bytes | Callable[[], bytes], *rows: list[str], **more: object) -> Case:
    return Case(name, data if callable(data) else lambda: data, rows=list(rows), **more)  # type: ignore[arg-type]


def refused(name: str, data: bytes | Callable[[], bytes], error: str) -> Case:
    return Case(name, data if callable(data) else lambda: data, error=error)


CHINESE = "id,text\n1,这家外卖送得很快，味道也好\n2,等了一个小时才送到\n"
CHINESE_ROWS = (["1", "这家外卖送得很快，味道也好"], ["2", "等了一个小时才送到"])
JAPANESE = "id,text\n1,この店の料理はとても美味しいです\n2,配達が遅くて残念でした\n"
JAPANESE_ROWS = (["1", "この店の料理はとても美味しいです"], ["2", "配達が遅くて残念でした"])
KOREAN = "id,text\n1,이 식당의 음식은 정말 맛있어요\n2,배달이 늦어서 아쉬웠습니다\n"
KOREAN_ROWS = (["1", "이 식당의 음식은 정말 맛있어요"], ["2", "배달이 늦어서 아쉬웠습니다"])
FRENCH = "id,text\n1,Le café était très bon\n2,plain words\n"
FRENCH_ROWS = (["1", "Le café était très bon"], ["2", "plain words"])

ENCODINGS = [
    good("M01 UTF-8 with a byte order mark", "\ufeffid,text\n1,a\n".encode(), ["1", "a"]),
    good(
        "M02 UTF-16LE with a mark, as Excel's Unicode text",
        "id\ttext\n1\thé\n".encode("utf-16"),
        ["1", "hé"],
        reading={"encoding": "utf-16-le", "delimiter": "\t", "sure": True},
    ),
    good("M02 UTF-16BE with a mark", b"\xfe\xff" + CHINESE.encode("utf-16-be"), *CHINESE_ROWS),
    good(
        "M03 UTF-16BE without a mark",
        CHINESE.encode("utf-16-be"),
        *CHINESE_ROWS,
        reading={"encoding": "utf-16-be"},
    ),
    good(
        "M03 UTF-16LE without a mark",
        FRENCH.encode("utf-16-le"),
        *FRENCH_ROWS,
        reading={"encoding": "utf-16-le"},
    ),
    good("M03 UTF-32 with a mark", FRENCH.encode("utf-32"), *FRENCH_ROWS, reading={"encoding": "utf-32-le"}),
    good(
        "M03 UTF-32BE without a mark",
        CHINESE.encode("utf-32-be"),
        *CHINESE_ROWS,
        reading={"encoding": "utf-32-be"},
    ),
    good(
        "M04 Latin-1", FRENCH.encode("latin-1"), *FRENCH_ROWS, reading={"encoding": "cp1252", "sure": False}
    ),
    good(
        "M04 Windows-1252 with its quotes", "id,text\n1,it’s “fine”\n".encode("cp1252"), ["1", "it’s “fine”"]
    ),
    good(
        "M06 GB18030",
        CHINESE.encode("gb18030"),
        *CHINESE_ROWS,
        reading={"encoding": "gb18030", "sure": False},
    ),
    good("M06 Shift JIS", JAPANESE.encode("shift_jis"), *JAPANESE_ROWS, reading={"encoding": "shift_jis"}),
    good("M06 EUC-JP", JAPANESE.encode("euc_jp"), *JAPANESE_ROWS, reading={"encoding": "euc_jp"}),
    good("M06 EUC-KR", KOREAN.encode("euc_kr"), *KOREAN_ROWS, reading={"encoding": "euc_kr"}),
    Case(
        "M07 a thousand lines of UTF-8, then one of Latin-1",
        lambda: b"id,text\n" + "0,café\n".encode() * 1000 + b"1,caf\xe9\n2,ok\n",
        count=1001,
        rejected={1002: "0xE9 does not fit the encoding UTF-8"},
        reading={"encoding": "utf-8", "sure": False},
    ),
    Case(
        "M07 the Latin-1 byte lies far below the beginning",
        lambda: (
            b"id,text\n"
            + b"0,plain text\n" * 25_000
            + "1,Übergröße für später, naïve Café\n".encode("cp1252")
            .replace(b",", b";")
            .replace(b";", b",", 1)
        ),
        count=25_001,
        reading={"encoding": "cp1252"},
    ),
    Case(
        "M08 overlong and surrogate sequences",
        lambda: b"id,text\n1,\xc0\xaf\n2,\xed\xa0\x80\n3,ok\n",
        rows=[["3", "ok"]],
        rejected={2: "0xC0 does not fit", 3: "0xED does not fit"},
    ),
    good("M09 NUL in a cell", b"id,text\n1,a\0b\n", ["1", "a\ufffdb"], notes={"NUL characters replaced": 1}),
    good(
        "M11 joined emoji, combining marks, direction marks, a mark inside",
        "id,text\n1,👩‍👩‍👧 e\u0301 \u202eabc\u202c \u200bשלום a\ufeffb\n".encode(),
        ["1", "👩‍👩‍👧 e\u0301 \u202eabc\u202c \u200bשלום a\ufeffb"],
    ),
    good("M12 control characters", b"id,text\n1,a\x0bb\x1b[31mc\x07\n", ["1", "a\x0bb\x1b[31mc\x07"]),
    good(
        "M13 U+2028 and U+0085 are no line ends",
        "id,text\n1,a\u2028b\u0085c\x0cd\n".encode(),
        ["1", "a\u2028b\u0085c\x0cd"],
    ),
]

STRUCTURE = [
    Case(
        "M14 some rows too long",
        lambda: b"id,text\n1,a,b\n2,c\n3,d,,\n",
        rows=[["2", "c"], ["3", "d"]],
        rejected={2: "the row has 3 fields, the header has 2 names"},
        notes={"rows with empty cells beyond the header": 1},
    ),
    Case(
        "M14 some rows too short",
        lambda: b"id,text,label\n1,a,x\n2,b\n",
        columns=("id", "text", "label"),
        rows=[["1", "a", "x"]],
        rejected={3: "the row has 2 fields, the header has 3 names"},
    ),
    refused(
        "M16 every row too long",
        b"id,text\n1,a,b\n2,c,d\n",
        "The header has 2 names, but the rows have 3 fields",
    ),
    refused(
        "M16 every row too long, by different numbers",
        b"id,text\n1,a,b\n2,c,d,e\n",
        "the rows have 3 to 4 fields",
    ),
    refused(
        "M16 a header of one name over rows of two",
        b"text\n1,a\n2,b\n",
        "The header has 1 name, but the rows have 2 fields",
    ),
    refused(
        "M16 every row too short", b"a,b,c\n1,2\n3,4\n", "The header has 3 names, but the rows have 2 fields"
    ),
    good(
        "M17 a name twice",
        b"text,text,text\na,b,c\n",
        ["a", "b", "c"],
        columns=("text", "text (2)", "text (3)"),
    ),
    good(
        "M18 empty names",
        b"id,,text,\n1,x,a,\n",
        ["1", "x", "a", ""],
        columns=("id", "column 2", "text", "column 4"),
    ),
    good(
        "M19 blanks around names, and names that differ in capitals",
        b" id , Text ,ID\n1,a,b\n",
        ["1", "a", "b"],
        columns=("id", "Text", "ID"),
        notes={"column names that differ in upper and lower case only": 1},
    ),
    good(
        "M21 semicolons, with commas in the text",
        b"id;text\n1;a, b, c\n2;d\n",
        ["1", "a, b, c"],
        ["2", "d"],
        reading={"delimiter": ";"},
    ),
    good(
        "M21 tabs, with commas in the text",
        b"id\ttext\n1\ta, b\n2\tc;d\n",
        ["1", "a, b"],
        ["2", "c;d"],
        reading={"delimiter": "\t"},
    ),
    good("M21 bars", b"id|text\n1|a, b\n2|c\n", ["1", "a, b"], ["2", "c"], reading={"delimiter": "|"}),
    good("M21 carets", b"id^text\n1^a, b\n2^c\n", ["1", "a, b"], ["2", "c"], reading={"delimiter": "^"}),
    good(
        "M21 full-width commas",
        "编号，文本\n1，物流很快\n2，味道一般, 太咸\n".encode(),
        ["1", "物流很快"],
        ["2", "味道一般, 太咸"],
        columns=("编号", "文本"),
        reading={"delimiter": "\uff0c"},
    ),
    good(
        "M21 one Chinese text a line, with full-width commas",
        "物流很快，下次还来\n味道一般，太咸\n包装破了，汤都洒了，不想再点\n".encode(),
        ["味道一般，太咸"],
        ["包装破了，汤都洒了，不想再点"],
        columns=("物流很快，下次还来",),
        reading={"delimiter": ""},
    ),
    good(
        "M21 one text a line, with commas",
        b"text\nhello, you\nworld\na, b, c\n",
        ["hello, you"],
        ["world"],
        ["a, b, c"],
        columns=("text",),
        reading={"delimiter": ""},
    ),
    good(
        "M21 one text a line, each with one comma",
        b"text\nHello, the parcel is late\nSorry, I was billed twice\n",
        ["Hello, the parcel is late"],
        ["Sorry, I was billed twice"],
        columns=("text",),
        reading={"delimiter": ""},
    ),
    good(
        "M21 one Chinese text a line, each with one full-width comma",
        "内容\n你好，包裹晚了\n抱歉，多收了钱\n".encode(),
        ["你好，包裹晚了"],
        ["抱歉，多收了钱"],
        columns=("内容",),
        reading={"delimiter": ""},
    ),
    refused(
        "M16 a header of one name over rows of two, with blanks between",
        b"text\n1, a\n2, b\n",
        "The header has 1 name, but the rows have 2 fields",
    ),
    good(
        "M22 a first line that names the delimiter",
        b"sep=;\nid;text\n1;a,b\n",
        ["1", "a,b"],
        reading={"separator_line": True},
    ),
    good(
        "M22 the same with an unusual delimiter",
        b"sep=^\r\nid^text\r\n1^a,b\r\n",
        ["1", "a,b"],
        reading={"delimiter": "^"},
    ),
    good(
        "M23 line ends, quotes and commas in quotes",
        b'id,text\n1,"a\nb ""q"", c"\n2,"x\r\ny"\n',
        ["1", 'a\nb "q", c'],
        ["2", "x\r\ny"],
    ),
    good("M23 quotes in the middle of a cell", b'id,text\n1,a 5" disk\n', ["1", 'a 5" disk']),
    Case(
        "M23 text after a closing quote",
        lambda: b'id,text\n1,"ab" cd\n2,x\n',
        rows=[["2", "x"]],
        rejected={2: "after its closing quote"},
    ),
    refused(
        "M24 a quote that is never closed",
        b'id,text\n1,a\n2,"never closed\n3,b\n',
        "quote opened at line 3 is never closed",
    ),
    refused(
        "M24 a quote that another row's quote closes",
        b'id,text\n1,a\n2,"never\n3,b\n4,"c"\n5,d\n',
        "quote opened at line 3",
    ),
    refused(
        "M24 an unclosed quote above megabytes",
        lambda: b'id,text\n1,"' + b"line of text\n" * 200_000,
        "quote opened at line 2",
    ),
    good(
        "M24 quotes that mean nothing in a tab-separated file",
        b'id\ttext\n1\t"Great film\n2\tbad\n',
        ["1", '"Great film'],
        ["2", "bad"],
    ),
    good("M26 line ends of old Macs", b"id,text\r1,a\r2,b\r", ["1", "a"], ["2", "b"]),
    good("M26 line ends of all kinds", b"id,text\r\n1,a\n2,b\r3,c", ["1", "a"], ["2", "b"], ["3", "c"]),
    Case(
        "files put together end to end",
        lambda: "id,text\n1,a\n".encode("utf-8-sig") + "id, text\n2,b\n".encode("utf-8-sig"),
        rows=[["1", "a"], ["2", "b"]],
        rejected={3: "repeats the column names"},
    ),
    good("a text that is the column's name", b"text\ntext\na\n", ["text"], ["a"], columns=("text",)),
    good(
        "M27 blank lines, and rows of commas and blanks",
        b"id,text\n\n,,\n  \n , \n1,a\n\n",
        ["1", "a"],
        notes={"blank rows left out": 5},
    ),
    refused("M28 nothing", b"", "The file is empty"),
    refused("M28 only line ends", b"\n\r\n\n", "The file is empty"),
    refused("M28 only a byte order mark", b"\xef\xbb\xbf", "The file is empty"),
    Case("M29 only a header", lambda: b"id,text\n", rows=[]),
    Case(
        "M31 a cell of 10 MB",
        lambda: b"id,text\n1," + b"x" * 10_000_000 + b"\n2,ok\n",
        rows=[["2", "ok"]],
        rejected={2: "the row has 10,000,003 characters"},
    ),
    Case(
        "M31 a quoted cell of 5 MB over many lines",
        lambda: b'id,text\n1,"' + b"abcd\n" * 1_000_000 + b'"\n2,ok\n',
        rows=[["2", "ok"]],
        rejected={2: "262,144 characters"},
    ),
    good("M31 a cell of 200,000 characters", b"id,text\n1," + b"x" * 200_000 + b"\n", ["1", "x" * 200_000]),
    refused("M31 an endless line", lambda: b"x" * 20_000_000, "the row has 20,000,000 characters"),
    good(
        "M34 words that mean nothing to us",
        b"id,text\n007,NA\n1.10,null\n+1,None\n1e5,nan\n-0,N/A\n",
        ["007", "NA"],
        ["1.10", "null"],
        ["+1", "None"],
        ["1e5", "nan"],
        ["-0", "N/A"],
    ),
    good(
        "M36 what looks like other types",
        b"id,text\nTRUE,1-2\n2020-01-01,inf\n1e999,-Infinity\n",
        ["TRUE", "1-2"],
        ["2020-01-01", "inf"],
        ["1e999", "-Infinity"],
    ),
    good(
        "M39 formulas, markup and templates",
        b"id,text\n=1+1,<script>alert(1)</script>\n@x,{text.__class__}{{7*7}}\n",
        ["=1+1", "<script>alert(1)</script>"],
        ["@x", "{text.__class__}{{7*7}}"],
    ),
    good(
        "T19 column names out of a nightmare",
        b'"id"" ; drop",a.b,__class__,x__startswith,"a\x1b[31m\nb"\n1,2,3,4,5\n',
        ["1", "2", "3", "4", "5"],
        columns=('id" ; drop', "a.b", "__class__", "x__startswith", "a [31m b"),
    ),
    good("packed with gzip", gzip.compress(b"id,text\n1,a\n"), ["1", "a"], reading={"gzip": True}),
    refused(
        "packed with gzip and cut off",
        gzip.compress(b"id,text\n" + b"1,some text\n" * 1000)[:-20],
        "damaged or cut off",
    ),
    refused(
        "a gzip bomb", lambda: gzip.compress(b"\0" * 200_000_000), "unpacks to more than 100 times its size"
    ),
    refused(
        "more columns than allowed",
        b",".join(b"c%d" % i for i in range(600)) + b"\n",
        "600 columns; at most 512",
    ),
]

FOREIGN = [
    refused("M46 an old Excel file", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Excel workbook"),
    refused(
        "M47 a binary Excel file",
        lambda: zip_of({"[Content_Types].xml": b"", "xl/workbook.bin": b"x"}),
        "xlsb",
    ),
    refused(
        "M47 an OpenDocument file",
        lambda: zip_of(
            {"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": b"<a/>"}
        ),
        "OpenDocument",
    ),
    refused(
        "M47 a Word document",
        lambda: zip_of({"[Content_Types].xml": b"", "word/document.xml": b"x"}),
        "Word document",
    ),
    refused(
        "M48 an Excel file with a password",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le"),
        "password",
    ),
    refused(
        "M49 HTML under a wrong name",
        b"<!DOCTYPE html><html><table><tr><td>a</td></tr></table></html>",
        "HTML",
    ),
    refused("M49 XML under a wrong name", b"<?xml version='1.0'?><rows/>", "XML"),
    refused("M49 a PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
    refused("M49 a PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
    refused("M49 a pickle", b"\x80\x04\x95\x1a\0\0\0\0\0\0\0", "pickle"),
    refused("M49 an encrypted Parquet file", b"PARE\x15\x04", "encrypted Parquet"),
    refused("M49 a plain ZIP", lambda: zip_of({"a.csv": b"id,text\n"}), "ZIP archive"),
    refused("M49 binary rubbish", bytes(range(256)) * 40, "not a text file"),
    refused(
        "M49 binary rubbish in base64 has one column and no header",
        lambda: base64.b64decode(base64.b64encode(bytes(range(256)) * 40)),
        "not a text file",
    ),
]

JSON = [
    Case(
        "M56 a bad line, a cut last line, blank lines, a mark",
        lambda: b'\xef\xbb\xbf{"id":"1","text":"a"}\n\n{"id":"2",}\n{"id":"3","text":"c"}\n{"id":"4","te',
        rows=[["1", "a"], ["3", "c"]],
        rejected={3: "not valid JSON", 5: "not valid JSON"},
        notes={"blank rows left out": 1},
        reading={"format": "jsonl"},
    ),
    Case(
        "M56 a comma after a line",
        lambda: b'{"id":"1","text":"a"}\n{"id":"2","text":"b"},\n',
        rows=[["1", "a"]],
        rejected={2: "not valid JSON"},
    ),
    good(
        "M57 an array",
        b'[{"id":"1","text":"a"},\n{"id":"2","text":"b"}]',
        ["1", "a"],
        ["2", "b"],
        reading={"format": "json"},
    ),
    good(
        "M57 an array over many lines",
        b'\n[\n  {\n "id": 1,\n "text": "[{\\"a\\"]"\n }\n ,{"id": 2.50}\n]\n',
        ["1", '[{"a"]'],
        ["2.50", ""],
    ),
    refused("M57 an array that is cut off", b'[{"id":"1","text":"a"},{"id":"2"', "damaged"),
    refused("M57 an array without its end", b'[{"id":"1","text":"a"},', "cut off"),
    refused("M57 an array of texts", b'[\n "a b",\n "c, d"\n]\n', "JSON array of texts"),
    refused("M57 an array of texts in a line", b'["one text", "two text"]', "JSON array of texts"),
    refused("M57 rows in an object, in a line", b'{"data": [{"id": 1}, {"id": 2}]}', "one JSON object"),
    refused("M57 columns of an object", b'{"id": {"0": 1}, "text": {"0": "a"}}', "one JSON object"),
    good(
        "M57 one row with a list in it",
        b'{"text": "x", "tags": [{"a": 1}]}',
        ["x", '[{"a": 1}]'],
        columns=("text", "tags"),
        notes={"lists and objects kept as JSON text": 1},
    ),
    refused("M57 one object", b'{"rows": [\n{"id": 1}]}', "one JSON object"),
    Case(
        "M57 lines that are no objects",
        lambda: b'{"id":"1","text":"a"}\n5\n"x"\n[1]\nnull\n{"id":"2"}\n',
        rows=[["1", "a"], ["2", ""]],
        rejected={2: "a single value", 3: "a single value", 4: "a list", 5: "a single value"},
    ),
    good(
        "M58 mixed types",
        b'{"id":1,"text":true}\n{"id":null,"text":-1.0}\n{"id":12345678901234567890123,"text":1e5}\n',
        ["1", "true"],
        ["", "-1.0"],
        ["12345678901234567890123", "1e5"],
    ),
    good(
        "M58 lists and objects in a column that no model sees",
        '{"id":[1,"é"],"text":"a"}\n'.encode(),
        ['[1, "é"]', "a"],
        notes={"lists and objects kept as JSON text": 1},
    ),
    Case(
        "M58 an object where a text must be",
        lambda: b'{"id":1,"text":{"a":1}}\n{"id":2,"text":"b"}\n',
        rows=[["2", "b"]],
        rejected={1: "the cell 'text' is an object, not a text"},
    ),
    Case(
        "M58 a new key far below",
        lambda: b'{"id":1,"text":"a"}\n' * 5000 + b'{"id":2,"late":"x"}\n',
        columns=("id", "text", "late"),
        count=5001,
    ),
    Case(
        "M59 NaN, Infinity, keys twice",
        lambda: b'{"id":NaN}\n{"id":-Infinity}\n{"id":"1","text":"a","text":"b"}\n',
        rows=[["1", "b"]],
        rejected={1: "NaN is not a JSON value", 2: "-Infinity is not"},
        notes={"keys given twice in a row; the last counts": 1},
    ),
    good(
        "M59 odd keys are plain columns",
        b'{"__proto__":"1","constructor":"2","__class__":"3","pk":"4"}\n',
        ["1", "2", "3", "4"],
        columns=("__proto__", "constructor", "__class__", "pk"),
    ),
    Case(
        "deep nesting",
        lambda: b'{"id":1,"text":"a"}\n{"id":' + b"[" * 100_000 + b"\n",
        rows=[["1", "a"]],
        rejected={2: "nested too deeply"},
    ),
    Case(
        "half a surrogate pair",
        lambda: b'{"id":1,"text":"\\ud800"}\n{"id":2,"text":"\\ud83d\\ude00"}\n',
        rows=[["2", "😀"]],
        rejected={1: "half of a surrogate pair"},
    ),
    good(
        "NUL in a JSON text",
        b'{"id":1,"text":"a\\u0000b"}\n',
        ["1", "a\ufffdb"],
        notes={"NUL characters replaced": 1},
    ),
    good("JSON Lines in UTF-16", '{"id":1,"text":"é"}\n'.encode("utf-16"), ["1", "é"]),
    good(
        "JSON Lines packed with gzip",
        gzip.compress(b'{"id":1,"text":"a"}\n'),
        ["1", "a"],
        reading={"gzip": True, "format": "jsonl"},
    ),
]


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


ODD_ROWS = (["007", "a\rb\x0b\x07 _x000D_ =1 \ufffe <r>"], ["=1+1", "é 你好 😀 \u202e"])

EXCEL = [
    good("a plain workbook", SMALL, ["1", "a"], ["2", "b"], reading={"format": "xlsx", "sheet": "Sheet"}),
    good("odd characters among shared strings", _odd_text, *ODD_ROWS),
    good("odd characters among inline strings", lambda: _odd_text(constant_memory=True), *ODD_ROWS),
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

CASES = [*ENCODINGS, *STRUCTURE, *FOREIGN, *JSON, *EXCEL]
