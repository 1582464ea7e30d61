"""Every locked file is known by its hash, every package by its licence."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))
# An unmodified library under one of these may be part of a program under MIT.
WEAK_COPYLEFT = re.compile(r"LGPL|Lesser General Public|MPL|Mozilla Public")
STRONG_COPYLEFT = re.compile(
    r"GPL|General Public|SSPL|Server Side Public|EUPL|European Union Public|OSL|CC.BY.(NC|SA)"
)


def locked(lock: str) -> dict[str, str]:
    """Each package of a lock file, with all that is said of it."""
    entries = re.split(r"\n(?=[^ #\n])", (ROOT / lock).read_text())
    return {entry.partition("==")[0]: entry for entry in entries if not entry.startswith("#")}


def licence(package: str) -> str:
    """What the package's metadata say; empty where it isn't installed on this platform."""
    try:
        told: Any = metadata(package)
    except PackageNotFoundError:
        return ""
    classifiers = [line for line in told.get_all("Classifier") or [] if line.startswith("License")]
    return " ".join([told.get("License-Expression") or (told.get("License") or "")[:200], *classifiers])


def is_strong(words: str) -> bool:
    return bool(
        STRONG_COPYLEFT.search(re.sub(r"LGPL\S*|(GNU )?Lesser General Public License\S*|MPL", "", words))
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(lock: str) -> None:
    packages = locked(lock)
    assert packages
    for name, entry in packages.items():
        assert re.match(r"[\w.-]+==\S+ ", entry), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name


@pytest.mark.parametrize("lock", LOCKS)
def test_no_locked_package_has_a_strong_copyleft_licence(lock: str) -> None:
    assert [name for name in locked(lock) if is_strong(licence(name))] == []


def test_weak_copyleft_is_named_and_every_package_of_the_program_described() -> None:
    page = (ROOT / "docs" / "third-party.md").read_text()
    words = set(re.findall(r"[\w-]+", page))
    program = {name for lock in LOCKS if lock != "requirements-dev.lock" for name in locked(lock)}
    assert program - words == set()
    paragraph = page.partition("Weak copyleft")[2].partition("\n\n")[0]
    named = set(re.findall(r"[\w-]+", paragraph))
    assert {name for lock in LOCKS for name in locked(lock) if WEAK_COPYLEFT.search(licence(name))} <= named


@pytest.mark.parametrize(
    ("words", "strong"),
    [
        ("GPL-3.0-or-later", True),
        ("License :: OSI Approved :: GNU Affero General Public License v3", True),
        ("LGPL-3.0-only", False),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 or later (LGPLv3+)", False),
        ("MPL-2.0 AND MIT", False),
        ("BSD-3-Clause", False),
    ],
)
def test_licences_are_told_apart(words: str, strong: bool) -> None:
    assert is_strong(words) is strong


def test_both_builds_of_pytorch_have_one_version() -> None:
    default, cpu = (
        locked(lock)["torch"].split()[0] for lock in ("requirements.lock", "requirements-cpu.lock")
    )
    assert cpu == f"{default}+cpu"


def test_installs_check_hashes() -> None:
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "-r requirements" in line]
    assert len(installs) == len(LOCKS)
    assert all("--require-hashes" in line for line in installs)
