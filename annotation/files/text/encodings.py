"""Which encoding a text file has: marks and strict tests first, a guess (called one) only where these don't decide."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from annotation.messages import message

#: What a person may choose, most usual first. Python's name and the name to show.
ENCODINGS = {
    "utf-8": message("UTF-8"),
    "gb18030": message("GB18030 (Simplified Chinese)"),
    "big5": message("Big5 (Traditional Chinese)"),
    "shift_jis": message("Shift JIS (Japanese)"),
    "euc_jp": message("EUC-JP (Japanese)"),
    "euc_kr": message("EUC-KR (Korean)"),
    "cp1252": message("Windows-1252 (Western Europe)"),
    "latin-1": message("Latin-1 (Western Europe)"),
    "cp1250": message("Windows-1250 (Central Europe)"),
    "cp1251": message("Windows-1251 (Cyrillic)"),
    "utf-16-le": message("UTF-16, little endian"),
    "utf-16-be": message("UTF-16, big endian"),
    "utf-32-le": message("UTF-32, little endian"),
    "utf-32-be": message("UTF-32, big endian"),
}
# UTF-32's marks begin with UTF-16's, so they are looked for first.
_MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
# Overlong and surrogate sequences count too: such a file is bad UTF-8 and nothing else.
_UTF8_SEQUENCE = re.compile(rb"[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_LONE_HIGH_BYTE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")

#: Name of the error handler that marks each byte that doesn't fit by a lone surrogate, as PEP 383 does, but for
#: every byte, so that a row with such a byte can be named and rejected and the next one read.
MARK_BAD_BYTES = "coral-mark-bad-bytes"


def _mark_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(MARK_BAD_BYTES, _mark_bad_bytes)


class DetectedEncoding(NamedTuple):
    name: str
    sure: bool


def mark_of(head: bytes) -> tuple[str, int] | None:
    """The encoding that a byte order mark at the beginning names, and the mark's length."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    return None


def detect_encoding(head: bytes, *, valid_utf8: bool) -> DetectedEncoding:
    """The encoding of a file.

    Args:
        head: The file's beginning, some hundred kilobytes; where the file is not UTF-8, parts of it with
            non-ASCII bytes make the better guess.
        valid_utf8: Whether the whole file decodes as UTF-8.
    """
    if marked := mark_of(head):
        return DetectedEncoding(marked[0], True)
    if b"\0" in head and (wide := _wide_encoding(head)):
        return DetectedEncoding(wide, True)
    if valid_utf8:
        return DetectedEncoding("utf-8", True)
    if _mostly_utf8(head):
        return DetectedEncoding("utf-8", False)
    return DetectedEncoding(_guess(head), False)


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: the reading whose characters make a text, if there is one."""
    head = head[: min(len(head), 65536) // 4 * 4]
    if not head:
        return None
    best, best_score = None, 0.5
    for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        try:
            text = head.decode(name)
        except UnicodeDecodeError:
            continue
        # ASCII is a sign of the right byte order even in a Chinese file: delimiters, digits, line ends.
        ascii_share = sum(char.isascii() and (char.isprintable() or char in "\r\n\t") for char in text) / len(
            text
        )
        score = (
            ascii_share + (0.4 if "\n" in text or "\r" in text else 0.0) + (0.2 if "\0" not in text else -1.0)
        )
        if score > best_score:
            best, best_score = name, score
    return best


def _mostly_utf8(head: bytes) -> bool:
    """A UTF-8 file with some damaged places has far more whole sequences than bytes that fit nowhere."""
    whole = _UTF8_SEQUENCE.findall(head)
    stray = len(_HIGH_BYTE.findall(head)) - sum(map(len, whole))
    return len(whole) > 2 * stray


def _guess(head: bytes) -> str:
    """The encoding under which most letters are usual ones of its language."""
    head = head[:65536]
    # In Western European text, bytes above ASCII are few and stand alone.
    if 2 * len(_LONE_HIGH_BYTE.findall(head)) <= len(_HIGH_BYTE.findall(head)):
        # On a tie the first counts: few characters fit more than one encoding, and there are most readers of the first.
        score, name = max(
            ((_usual_share(head, name), name) for name in _IS_USUAL), key=lambda scored: scored[0]
        )
        if score > 0.6:
            return name
    try:
        head.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _usual_share(head: bytes, name: str) -> float:
    try:
        text = codecs.getincrementaldecoder(name)().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return 0.0
    letters = [char for char in text if char > "\x7f" and char.isalpha()]
    return sum(map(_IS_USUAL[name], letters)) / len(letters) if letters else 0.0


def _first_byte_within(char: str, encoding: str, low: int, high: int) -> bool:
    try:
        return low <= char.encode(encoding)[0] <= high
    except UnicodeEncodeError:
        return False


# The Chinese standards list the usual characters first. Kana are given weight over the Chinese characters beside
# them in the Japanese ones: a Chinese text has none.
_IS_USUAL: Mapping[str, Callable[[str], float]] = {
    "gb18030": lambda char: _first_byte_within(char, "gb2312", 0xB0, 0xD7),
    "big5": lambda char: _first_byte_within(char, "big5", 0xA4, 0xC6),
    "shift_jis": lambda char: 1.5 * ("\u3040" <= char <= "\u30ff"),
    "euc_jp": lambda char: 1.5 * ("\u3040" <= char <= "\u30ff"),
    "euc_kr": lambda char: 1.01 * ("\uac00" <= char <= "\ud7a3"),
    "cp1251": lambda char: 0.9 * ("\u0410" <= char <= "\u044f"),
}
