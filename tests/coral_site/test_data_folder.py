"""The data folder belongs to its owner alone, and so does the private broker's socket."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured

from coral_site.data_folder import prepare_folder, private_socket_url


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_the_brokers_socket_lies_in_the_data_folder() -> None:
    assert urlsplit(private_socket_url(Path("/srv/coral"))).path == "/srv/coral/broker.sock"


def test_a_long_path_leads_to_a_folder_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    socket = Path(urlsplit(private_socket_url(Path("/srv") / ("x" * 120))).path)
    assert socket.parent.parent == tmp_path
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_a_folder_that_somebody_else_put_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 4_242)
    with pytest.raises(ImproperlyConfigured, match="belongs to another user"):
        private_socket_url(Path("/srv") / ("x" * 120))
