"""Files that are no table, and JSON."""

from __future__ import annotations

import base64
import gzip

from tests.support.malformed.case import Case, good, refused
from tests.support.malformed.excel import zip_of

FOREIGN = [
    refused(
        "M46 an old Excel file", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "workbook can't be read"
    ),
    refused(
        "M47 a binary Excel file",
        lambda: zip_of({"[Content_Types].xml": b"", "xl/workbook.bin": b"x"}),
        "workbook can't be read",
    ),
    refused(
        "M47 an OpenDocument file",
        lambda: zip_of(
            {"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": b"<a/>"}
        ),
        "workbook can't be read",
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
    refused("M49 a plain ZIP", lambda: zip_of({"a.csv": b"id,text\n", "b.csv": b"id,text\n"}), "ZIP archive"),
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
    good("M57 an array of texts", b'[\n "a b",\n "c, d"\n]\n', ["a b"], ["c, d"], columns=("text",)),
    good(
        "M57 rows in an object, in a line", b'{"data": [{"id": 1}, {"id": 2}]}', ["1"], ["2"], columns=("id",)
    ),
    good("M57 columns of an object", b'{"id": {"0": 1}, "text": {"0": "a"}}', ["1", "a"]),
    good(
        "M57 one row with a list in it",
        b'{"text": "x", "tags": [{"a": 1}]}',
        ["x", '[{"a": 1}]'],
        columns=("text", "tags"),
        notes={"lists and objects kept as JSON text": 1},
    ),
    good("M57 one object", b'{"rows": [\n{"id": 1}]}', ["1"], columns=("id",)),
    good(
        "M57 one object whose rows stand one a line",
        b'{\n "items": [\n  {"id": 1, "text": "a"},\n  {"id": 2, "text": "b"}\n ]\n}\n',
        ["1", "a"],
        ["2", "b"],
    ),
    refused("M57 an object that is no table", b'{\n"name": "x",\n"a": {"b": 1}\n}\n', "one JSON object"),
    good(
        "M58 a number of more digits than Python reads, in a list",
        b'{"id":[' + b"1" * 5_000 + b'],"text":"a"}\n',
        ['["' + "1" * 5_000 + '"]', "a"],
        notes={"lists and objects kept as JSON text": 1},
    ),
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
        rows=[["", ""], ["-Infinity", ""], ["1", "b"]],
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
