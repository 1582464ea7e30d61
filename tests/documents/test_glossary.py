"""The texts of the program use the terms of the glossary, and none of the words that it replaces."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings

from tests.documents.test_translations import entries

TERMS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (Path(settings.BASE_DIR) / "docs" / "glossary.md").read_text("utf-8").splitlines()
    if line.startswith("|") and not line.startswith(("| term", "|---"))
]
REPLACED = [word.strip() for term in TERMS for word in re.split(r"[,/]", term[3]) if word.strip()]


def test_each_term_is_defined_once_in_both_languages() -> None:
    assert len(TERMS) >= 30
    assert all(len(term) == 4 and all(term[:3]) for term in TERMS)
    for language in (0, 1):
        names = [term[language] for term in TERMS]
        assert len(names) == len(set(names))


def test_no_text_uses_a_word_that_the_glossary_replaces() -> None:
    texts = [
        text
        for entry in entries()
        for text in (entry["msgid"], entry.get("msgid_plural", ""), entry["msgstr"])
    ]
    used = [
        (word, text)
        for word in REPLACED
        for text in texts
        if re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", text, re.IGNORECASE)
    ]
    assert used == []
