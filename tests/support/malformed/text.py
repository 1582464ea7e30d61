"""Text files: how they are encoded, quoted and divided into lines and cells."""

from __future__ import annotations

import gzip

from tests.support.malformed.case import Case, good, refused

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
        rejected={1002: "0xE9 is invalid in the encoding UTF-8"},
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
        rejected={2: "0xC0 is invalid", 3: "0xED is invalid"},
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
        "M21 one text per line, with commas",
        b"text\nhello, you\nworld\na, b, c\n",
        ["hello, you"],
        ["world"],
        ["a, b, c"],
        columns=("text",),
        reading={"delimiter": ""},
    ),
    good(
        "M21 one text per line, each with one comma",
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
    good(
        "M23 text after a closing quote",
        b'id,text\n1,"ab" cd\n2,x\n',
        ["1", '"ab" cd'],
        ["2", "x"],
        reading={"quote": ""},
    ),
    Case(
        "M23 text after a closing quote, beside cells in quotes",
        lambda: b'id,text\n1,"ab" cd\n2,"x, y"\n',
        rows=[["2", "x, y"]],
        rejected={2: "after its closing quote"},
    ),
    good(
        "M24 a quote that is never closed, where no cell stands in quotes",
        b'id,text\n1,a\n2,"never closed\n3,b\n',
        ["1", "a"],
        ["2", '"never closed'],
        ["3", "b"],
        reading={"quote": ""},
    ),
    refused(
        "M24 a quote that is never closed",
        b'id,text\n1,a\n2,"never closed\n3,"b, c"\n',
        "quote opened at line 3",
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
    refused("M31 a line of quotes alone", lambda: b'"' * 4_000_000, "the row has 4,000,000 characters"),
    Case(
        "M31 a row of commas alone",
        lambda: b"id,text\n" + b"," * 4_000_000 + b"\n1,ok\n",
        rows=[["1", "ok"]],
        rejected={2: "the row has 4,000,001 characters"},
    ),
    Case(
        "M31 a row of empty quoted cells",
        lambda: b"id,text\n" + b',""' * 1_500_000 + b"\n1,ok\n",
        rows=[["1", "ok"]],
        rejected={2: "the row has 4,500,001 characters"},
    ),
    Case(
        "M31 a long quoted cell of doubled quotes, with line ends",
        lambda: b'id,text\n1,"' + b'""\n' * 1_000_000 + b'",\n1,ok\n',
        rows=[["1", "ok"]],
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
