"""What a stored Excel value looks like as text: dates in ISO form, numbers without the noise of floats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from annotation.files.excel.package import Package, local, whole

Kind = Literal["number", "date", "duration", "percent", "zeros"]


class CellFormat(NamedTuple):
    kind: Kind = "number"
    has_date: bool = False
    has_time: bool = False
    zeros: int = 0


GENERAL = CellFormat()
_DATE, _TIME = CellFormat("date", has_date=True), CellFormat("date", has_time=True)
_DATE_TIME = CellFormat("date", has_date=True, has_time=True)
# Formats that Excel knows by number only; 27 to 36 and 50 to 58 are the dates and times of the Chinese, Japanese and
# Korean versions, where a number may mean the one here and the other there.
_EITHER = CellFormat("date")
_BUILT_IN: Mapping[int, CellFormat] = {
    **dict.fromkeys((14, 15, 16, 17), _DATE),
    **dict.fromkeys((18, 19, 20, 21, 45, 47), _TIME),
    22: _DATE_TIME,
    46: CellFormat("duration"),
    **dict.fromkeys((9, 10), CellFormat("percent")),
    **dict.fromkeys((*range(27, 37), *range(50, 59)), _EITHER),
}
_NOT_CODE = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?![hms]+\])[^\]]*\]', re.IGNORECASE)
_LAST_DAY = 2_958_465.99999  # where 9999-12-31 ends
_DAYS_TO_1904 = 1462
_FAR = 1e15  # a number beyond is no date, time or code, whatever its format


def format_of(code: str) -> CellFormat:
    """What a number format such as ``yyyy-mm-dd`` makes of a number. Only its first section counts (positive numbers)."""
    bare = _NOT_CODE.sub("", code.split(";")[0]).lower()
    if re.search(r"\[[hms]+\]", bare):
        return CellFormat("duration")
    if "general" in bare:
        return GENERAL
    if re.search(r"[dyhs]|m", bare) and not re.search(r"[#?]", bare):
        has_time = bool(re.search(r"[hs]", bare))
        has_date = bool(re.search(r"[dy]", bare)) or not has_time
        return CellFormat("date", has_date=has_date, has_time=has_time)
    if bare.endswith("%"):
        return CellFormat("percent")
    return CellFormat("zeros", zeros=len(bare)) if re.fullmatch("0{2,}", bare) else GENERAL


def read_formats(package: Package, part: str) -> list[CellFormat]:
    """The format of each cell style, in the order in which cells refer to them."""
    formats: list[CellFormat] = []
    custom: dict[int, CellFormat] = {}
    inside: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        name = local(tag)
        if name == "numFmt":
            custom[whole(attributes.get("numFmtId", ""), default=-1)] = format_of(
                attributes.get("formatCode", "")
            )
        elif name == "xf" and inside and inside[-1] == "cellXfs":
            number = whole(attributes.get("numFmtId", ""), default=0)
            formats.append(custom.get(number) or _BUILT_IN.get(number, GENERAL))
        inside.append(name)

    def end(_: str) -> None:
        inside.pop()

    if part and package.has(part):
        package.parse_all(part, start=start, end=end)
    return formats


def number_text(raw: str, cell_format: CellFormat, *, epoch_1904: bool) -> str:
    """A stored number as a person sees it, at full precision.

    ``0.30000000000000004`` is ``0.3`` (Excel itself shows 15 digits), ``7`` under the format ``000`` is ``007``,
    ``0.05`` under a percent format is ``5%``, a date is ISO text. What isn't a number comes back as it is.
    """
    try:
        value = float(raw)
    except ValueError:
        return raw
    if not abs(value) < _FAR:
        return plain_number(value)
    if cell_format.kind == "date" and 0 <= value < _LAST_DAY - (_DAYS_TO_1904 if epoch_1904 else 0):
        return _date_text(value, cell_format, epoch_1904)
    if cell_format.kind == "duration":
        return _duration_text(value)
    if cell_format.kind == "percent":
        return plain_number(value * 100) + "%"
    if cell_format.kind == "zeros" and value >= 0 and value == int(value):
        return str(int(value)).zfill(cell_format.zeros)
    # A whole number that is written out keeps its digits.
    return raw if raw.isdigit() else plain_number(value)


def plain_number(value: float) -> str:
    """At most 15 significant digits, whole numbers without a point, no exponent where a person would write none."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    text = f"{value:.15g}"
    if "e" not in text:
        return text
    return f"{Decimal(text):f}" if 1 <= abs(value) < 1e21 else text


def _date_text(value: float, cell_format: CellFormat, epoch_1904: bool) -> str:
    days, milliseconds = divmod(round(value * 86_400_000), 86_400_000)
    clock = timedelta(milliseconds=milliseconds)
    if days == 0 and (
        (cell_format.has_time and not cell_format.has_date) or (not cell_format.has_date and milliseconds)
    ):
        return (datetime.min + clock).time().isoformat()
    # Excel's calendar has a 29th of February 1900 that never was, so days before it count from one day later.
    epoch = datetime(1904, 1, 1) if epoch_1904 else datetime(1899, 12, 31 if days < 60 else 30)
    moment = epoch + timedelta(days=days) + clock
    if milliseconds or cell_format.has_time:
        return moment.isoformat()
    return moment.date().isoformat()


def _duration_text(value: float) -> str:
    milliseconds = round(abs(value) * 86_400_000)
    seconds, rest = divmod(milliseconds, 1000)
    hours, seconds = divmod(seconds, 3600)
    fraction = f".{rest:03d}" if rest else ""
    return f"{'-' if value < 0 else ''}{hours}:{seconds // 60:02d}:{seconds % 60:02d}{fraction}"
