"""Whether the first row names the columns or is a row like the others, judged by comparing it with the rows below."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

from annotation.files.decoding import open_decoded
from annotation.files.excel.reader import read_excel
from annotation.files.records import WORKBOOKS, Limits, Notes, Reading, SourceRow
from annotation.files.text.csv_file import read_csv
from annotation.messages import message
from mlcore.messages import Message

_LOOK_ROWS = 200
_LOOK_CHARACTERS = 300  # of a cell
_ALIKE = 0.9  # share of a column's cells that make it a column of numbers, or of one shape
_LONG_AS = 0.4  # of the median text: shorter is rather a name
_SHORT_TEXT = 8  # characters: names and texts are as short
_NUMBER = re.compile(r"[-+]?[\d.,]+(?:[eE][-+]?\d+)?%?")
_YEAR = re.compile(r"(?:19|20)\d\d")
_STOP = re.compile(r"[，。！？；…]|[,.!?;]\s|[!?]$|\w{3}\.$")
_NAMES = (
    "id uid key index texts? content message reviews? sentence comment title body labels? class category target topic sentiment "
    "rating score date name source reference gold truth question answer email url "
    "编号 序号 文本 内容 正文 评论 留言 标题 标签 类别 日期 名称 姓名 来源"
)
#: One or more of the usual names, as in “review_text” and “评论内容”.
_KNOWN = re.compile(rf"\ufeff?(?:(?:{'|'.join(_NAMES.split())})[\s_-]*)+[.:：]?", re.IGNORECASE)


class FirstRow(NamedTuple):
    """The first row looks like a row; ``sure`` if nothing speaks for names."""

    sure: bool
    reason: Message


def judge_first_row(path: Path, reading: Reading, limits: Limits) -> FirstRow | None:
    """Why the first filled row looks like a row; None where it names the columns."""
    if reading.format not in ("csv", *WORKBOOKS):
        return None
    rows = first_rows(path, reading, limits, _LOOK_ROWS)
    if len(rows) < 3:
        return None
    first, below = rows[0], rows[1:]
    for_row: list[Message] = []
    for_names = 0
    for place, cell in enumerate(first):
        values = [row[place].strip() for row in below if len(row) > place and row[place].strip()]
        found = _compare(cell.strip(), values)
        for_names += found is False
        if isinstance(found, Message):
            for_row.append(found)
    filled = [cell.strip() for cell in first if cell.strip()]
    if len(set(filled)) < len(filled):
        for_row.append(message("two of its cells are the same"))
    if not for_row and len(first) == 1 and not for_names:
        for_row, for_names = [message("“%(cell)s” may be a text", cell=first[0])], 1
    if not for_row or for_names > len(for_row):
        return None
    return FirstRow(not for_names, for_row[0])


def first_rows(path: Path, reading: Reading, limits: Limits, count: int) -> list[list[str]]:
    """The first filled rows of a sheet or a delimited text, long cells cut."""
    if reading.format == "sheets":
        opened = open_decoded(path, reading, limits, Notes())
        rows, close = opened.rows, opened.close
    else:
        read = read_excel if reading.format == "xlsx" else read_csv
        rows, close = read(path, reading, limits, Notes()), lambda: None
    found = [
        [cell[:_LOOK_CHARACTERS] for cell in row.cells]
        for row in islice(rows, count)
        if isinstance(row, SourceRow) and any(map(str.strip, row.cells))
    ]
    close()
    return found


def _compare(cell: str, values: Sequence[str]) -> Message | bool:
    """Why a cell is one of its column's values; False if it is rather their name, True if nothing can be told."""
    if not cell or len(values) < 2:
        return True
    if _KNOWN.fullmatch(cell):
        return False
    if (same := _of_a_kind(cell, values)) is not None:
        return same
    different = set(values)
    if cell in different and len(different) < len(values):
        return message("“%(cell)s” stands in the same column again", cell=cell)
    if len(values) >= 8 and len(different) * 2 <= len(values):
        return False
    usual = median(map(len, values))
    if usual <= _SHORT_TEXT:
        return True
    if len(cell) < _LONG_AS * usual:
        return False
    is_sentence = len(cell.split()) > 2 or _STOP.search(cell) or (not cell.isascii() and " " not in cell)
    return message("“%(cell)s” is as long as the texts below", cell=cell) if is_sentence else True


def _of_a_kind(cell: str, values: Sequence[str]) -> Message | bool | None:
    """The same for a column of numbers, or of one shape, such as dates; None for another."""
    if _share(values, lambda value: _NUMBER.fullmatch(value) is not None):
        if _YEAR.fullmatch(cell) and not _share(values, lambda value: _YEAR.fullmatch(value) is not None):
            return True
        is_number = _NUMBER.fullmatch(cell) is not None
        return is_number and message("“%(cell)s” is a number as those below", cell=cell)
    shape = _shape(values[0])
    if "9" in shape and _share(values, lambda value: _shape(value) == shape):
        return _shape(cell) == shape and message("“%(cell)s” is written as the cells below", cell=cell)
    return None


def _shape(value: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", value))


def _share(values: Sequence[str], is_such: Callable[[str], bool]) -> bool:
    return sum(map(is_such, values)) >= _ALIKE * len(values)
