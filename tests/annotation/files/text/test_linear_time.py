"""A strange file is looked at in time linear in its size, since a person waits for it and the whole web process with them."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from annotation.errors import InvalidFileError
from annotation.files.sniff import recognise
from annotation.pipeline.ingest.upload import file_limits

SIZE = 2**18
END = b"\na, b\nc, d, e\n"
PATTERNS = {
    "empty lines": b"\n",
    "carriage returns": b"\r",
    "blanks": b" ",
    "tabs": b"\t",
    "digits": b"1",
    "numbers in sentences": b", .",
    "quotes": b'"',
    "quoted commas": b'",',
    "escaped quotes": b'\\"',
    "high bytes": b"\xe4\xe5\xf6",
    "high bytes and letters": b"a\xe4\xe5",
    "brackets": b"[",
    "objects": b'{"a":',
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_a_file_of_one_thing_over_and_over_is_recognised_at_once(tmp_path: Path, pattern: bytes) -> None:
    path = tmp_path / "strange.csv"
    path.write_bytes(b"text\n" + pattern * (SIZE // len(pattern)) + END)
    began = time.process_time()
    with suppress(InvalidFileError):  # some are nothing that can be read
        recognise(path, file_limits())
    assert time.process_time() - began < 5  # a quadratic reading takes minutes
