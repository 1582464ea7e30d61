from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from annotation.errors import AnnotationError, InvalidFileError
from annotation.pipeline.ingest.data_sets import expand

ROWS = b"text,label\nfine,good\n"


class Hub(BaseHTTPRequestHandler):
    """A hub with the data set ``me/notes``."""

    def do_HEAD(self) -> None:
        self.answer(ROWS, body=False)

    def do_GET(self) -> None:
        if self.path.startswith("/api/datasets/me/notes/revision/") or self.path.startswith(
            "/api/datasets/me/notes/tree/"
        ):
            names = ["README.md", "data/train.csv"]
            info = {"id": "me/notes", "sha": "1" * 40, "siblings": [{"rfilename": name} for name in names]}
            tree = [{"type": "file", "path": name, "size": len(ROWS), "oid": "2" * 40} for name in names]
            self.answer(json.dumps(tree if "/tree/" in self.path else info).encode())
        elif self.path.startswith("/datasets/me/notes/resolve/"):
            self.answer(ROWS)
        else:
            self.answer(b"{}", status=404, code="RepoNotFound")

    def answer(self, data: bytes, *, status: int = 200, body: bool = True, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("ETag", '"2222"')
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing into the tests' output."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    settings.CACHE_DIR = tmp_path / "cache"
    yield
    server.shutdown()
    server.server_close()


def test_a_data_set_on_the_hub_is_fetched_by_its_name(hub: None) -> None:
    for name in ("hf:me/notes", "hf://datasets/me/notes"):
        (path,) = expand(name)
        assert path.read_bytes() == ROWS


def test_a_data_set_that_is_not_there_is_a_sentence(hub: None) -> None:
    with pytest.raises(AnnotationError, match="no data set “me/other” on the hub"):
        expand("hf:me/other")


def test_a_folder_gives_its_files_of_one_format(tmp_path: Path) -> None:
    for name in (
        "data/test.parquet",
        "data/train.parquet",
        "data/train.csv",
        "dataset_infos.json",
        "README.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(ROWS)
    assert [path.name for path in expand(str(tmp_path))] == ["test.parquet", "train.parquet"]


def test_a_folder_without_rows_is_told_and_a_file_is_itself(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="no file with rows"):
        expand(str(tmp_path))
    assert expand("letters.csv") == [Path("letters.csv")]
