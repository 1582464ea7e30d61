from __future__ import annotations

import re
from pathlib import Path

from coral_site import settings  # noqa: F401 (fills the list)
from coral_site.env import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def test_the_readmes_table_of_settings_is_what_the_program_reads() -> None:
    documented = {match[1]: (match[2], match[3]) for match in LINE.finditer((ROOT / "README.md").read_text())}
    assert documented == {setting.name: (setting.default, setting.meaning) for setting in SETTINGS}


def test_every_local_link_of_the_documents_leads_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+?)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
