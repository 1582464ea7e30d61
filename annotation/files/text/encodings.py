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
    "cp1253": message("Windows-1253 (Greek)"),
    "cp1254": message("Windows-1254 (Turkish)"),
    "cp1255": message("Windows-1255 (Hebrew)"),
    "cp1256": message("Windows-1256 (Arabic)"),
    "cp1257": message("Windows-1257 (Baltic)"),
    "cp1258": message("Windows-1258 (Vietnamese)"),
    "cp874": message("Windows-874 (Thai)"),
    "koi8_r": message("KOI8-R (Russian)"),
    "koi8_u": message("KOI8-U (Ukrainian)"),
    "cp866": message("DOS 866 (Cyrillic)"),
    "mac_cyrillic": message("Mac OS (Cyrillic)"),
    "mac_roman": message("Mac OS (Western Europe)"),
    "cp437": message("DOS 437 (United States)"),
    "cp850": message("DOS 850 (Western Europe)"),
    "cp852": message("DOS 852 (Central Europe)"),
    "iso8859_2": message("ISO 8859-2 (Central Europe)"),
    "iso8859_5": message("ISO 8859-5 (Cyrillic)"),
    "iso8859_6": message("ISO 8859-6 (Arabic)"),
    "iso8859_7": message("ISO 8859-7 (Greek)"),
    "iso8859_8": message("ISO 8859-8 (Hebrew)"),
    "iso8859_9": message("ISO 8859-9 (Turkish)"),
    "iso8859_15": message("ISO 8859-15 (Western Europe)"),
    "hz": message("HZ (Simplified Chinese)"),
    "iso2022_jp": message("ISO-2022-JP (Japanese)"),
    "utf-7": message("UTF-7"),
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
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
# A run is read once, from its begin: otherwise a long one that no letter follows would be read from each of its bytes.
_IN_LATIN_WORD = re.compile(rb"[A-Za-z][\x80-\xff]++|(?<![\x80-\xff])[\x80-\xff]++[A-Za-z]")
# Non-ASCII letters of the languages that are written in each encoding of Latin letters; the most usual encoding first.
_ALPHABETS = {
    "cp1252": (
        "äöüß",
        "àâæçéèêëîïôœùûüÿ",
        "áéíóúüñªº",
        "àáâãçéêíóôõúü",
        "àèéìòù",
        "åäöæøéüþðýúíóá",
        "áàäâéèëêíìïîóòöôúùüûýÿñçßœæåøžš",
    ),
    "cp1250": ("ąćęłńóśźż", "áčďéěíňóřšťúůýžäôĺľŕ", "áéíóöőúüű", "ăâîşţ", "čćđšž"),
    "cp1254": ("çğıöşüâîûi̇",),
    "cp1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž"),
    "iso8859_2": ("ąćęłńóśźż", "áčďéěíňóřšťúůýžäôĺľŕ", "áéíóöőúüű", "ăâîşţ", "čćđšž"),
    "latin-1": ("",),
}
_TYPOGRAPHY = frozenset("“”„‘’‚«»‹›–—…€·•°§©®™\xa0¿¡´")
# Encodings that charset-normalizer tells apart well, by how often letters come in their languages.
_BY_STATISTICS = [
    *("cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic", "cp1253", "iso8859_7"),
    *("cp1255", "iso8859_8", "cp1256", "iso8859_6", "cp874"),
]
_STATISTICS = 20_000  # bytes that it is given

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
    # In texts of Latin letters, bytes above ASCII are few and stand alone.
    if 2 * len(_LONE_HIGH_BYTE.findall(head)) > len(_HIGH_BYTE.findall(head)):
        return _latin(head)
    # On a tie the first counts: few characters fit more than one encoding, and there are most readers of the first.
    score, name = max(((_usual_share(head, name), name) for name in _IS_USUAL), key=lambda scored: scored[0])
    if score > 0.6 and name != "cp1251":
        return name
    if 2 * len(_IN_LATIN_WORD.findall(head)) > len(_HIGH_RUN.findall(head)):
        return _latin(head)
    import charset_normalizer  # few files need it

    found = charset_normalizer.from_bytes(head[:_STATISTICS], cp_isolation=_BY_STATISTICS).best()
    if found:
        return str(found.encoding)
    return name if score > 0.6 else _latin(head)


def _latin(head: bytes) -> str:
    return max(_ALPHABETS, key=lambda name: _alphabet_share(head, name))


def _alphabet_share(head: bytes, name: str) -> float:
    """The share of a text's characters above ASCII that are in the alphabet of one of the encoding's languages; -1 for bytes
    that it doesn't have."""
    try:
        text = head.decode(name)
    except UnicodeDecodeError:
        return -1.0
    letters = [char.lower() for char in text if char > "\x7f" and char not in _TYPOGRAPHY]
    shares = (
        sum(char in alphabet for char in letters) / max(1, len(letters)) for alphabet in _ALPHABETS[name]
    )
    return max(shares)


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
