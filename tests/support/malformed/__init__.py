"""Every malformed file of the tests."""

from __future__ import annotations

from tests.support.malformed.excel import EXCEL
from tests.support.malformed.other import FOREIGN, JSON
from tests.support.malformed.text import ENCODINGS, STRUCTURE

CASES = [*ENCODINGS, *STRUCTURE, *FOREIGN, *JSON, *EXCEL]
