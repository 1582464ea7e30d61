from __future__ import annotations

import pytest

from tests.documents.generate import PAGES, ROOT, page


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_from_the_code_is_up_to_date(name: str) -> None:
    stored = (ROOT / "docs" / name).read_text(encoding="utf-8")
    # Python's versions wrap a command's help differently, so only the words are compared.
    assert stored.split() == page(name).split(), "Run “make docs” and commit what it changes."
