from __future__ import annotations

import base64
import csv
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotation.models import Project
from tests.support.factories import BAD, GOOD, make_project
from tests.support.kept import project_with_model

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(tmp_path: Path, settings: Any) -> Project:
    settings.RUN_DIR, settings.CACHE_DIR = tmp_path / "runs", tmp_path / "cache"
    return project_with_model()


class Hub(BaseHTTPRequestHandler):
    """What the hub answers to a push; it keeps the files of the commit."""

    files: ClassVar[dict[str, bytes]] = {}
    tokens: ClassVar[set[str]] = set()
    private: ClassVar[list[bool]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.tokens.add(str(self.headers.get("Authorization")))
        if self.headers.get("Authorization") != "Bearer hf_right":
            self.answer({"error": "Invalid username or password."}, status=401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            self.private.append(asked.get("private") or asked.get("visibility") == "private")
            self.answer({"url": f"http://{self.headers['Host']}/me/film-notes", "name": "me/film-notes"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            wanted = json.loads(body)["files"]
            self.answer(
                {
                    "files": [
                        {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for file in wanted
                    ]
                }
            )
        elif "/commit/" in self.path:
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self.answer(
                {
                    "success": True,
                    "commitUrl": f"http://{self.headers['Host']}/me/film-notes/commit/{'1' * 40}",
                    "commitOid": "1" * 40,
                }
            )
        else:
            self.answer({"error": f"no such path {self.path}"}, status=404)

    def do_GET(self) -> None:
        self.answer({"error": "not found"}, status=404)

    def answer(self, value: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing into the tests' output."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.files, Hub.tokens, Hub.private = {}, set(), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    yield Hub
    server.shutdown()
    server.server_close()


def write_rows(path: Path) -> list[str]:
    texts = [f"{text}, number {place}" for place, text in enumerate([*GOOD, *BAD])]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["key", "text", "label"], *([f"k{i}", text, "=x"] for i, text in enumerate(texts))]
        )
    return texts


def test_a_file_is_labelled_by_a_project_s_model_and_by_its_folder(project: Project, tmp_path: Path) -> None:
    texts = write_rows(tmp_path / "new.csv")
    call_command("push", "model", str(project.pk), folder=tmp_path / "model", stdout=StringIO())
    said = StringIO()
    call_command(
        "predict", str(project.pk), str(tmp_path / "new.csv"), str(tmp_path / "out.jsonl"), stdout=said
    )
    call_command(
        "predict", str(tmp_path / "model"), str(tmp_path / "out.jsonl"), str(tmp_path / "out.parquet")
    )
    assert "8 rows written" in said.getvalue()
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == texts
    assert {row["label"] for row in rows} == {"=x"}, "the file's own column stays"
    meant = ["positive"] * 4 + ["negative"] * 4
    assert sum(row["coral_label"] == label for row, label in zip(rows, meant, strict=True)) >= 7
    assert all(0 < row["risk"] < 1 and 0.5 <= row["confidence"] <= 1 for row in rows)
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["coral_coral_label"] for row in table] == [row["coral_label"] for row in rows]
    assert [row["key"] for row in table] == [f"k{i}" for i in range(8)]


def test_columns_that_are_named_otherwise_are_chosen_and_missing_ones_told(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("note,n\n" + "".join(f"{text},1\n" for text in BAD))
    arguments = [str(project.pk), str(tmp_path / "new.csv"), str(tmp_path / "out.csv")]
    with pytest.raises(CommandError, match="no column text; it has note, n"):
        call_command("predict", *arguments)
    assert not (tmp_path / "out.csv").exists()
    call_command("predict", *arguments, content=["note"], stdout=StringIO())
    assert (tmp_path / "out.csv").read_text(encoding="utf-8-sig").splitlines()[
        0
    ] == "note,n,label,confidence,risk"
    with pytest.raises(CommandError, match="must end in one of"):
        call_command("predict", str(project.pk), str(tmp_path / "new.csv"), str(tmp_path / "out.doc"))
    with pytest.raises(CommandError, match="no project 999"):
        call_command("predict", "999", str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))


def test_a_model_is_pushed_to_the_hub_with_its_card(project: Project, hub: type[Hub]) -> None:
    said = StringIO()
    call_command("push", "model", str(project.pk), "me/film-notes", stdout=said)
    assert "me/film-notes" in said.getvalue()
    assert {"README.md", "config.json", "model.safetensors", "vocabulary.json"} <= set(hub.files)
    assert b"Film notes" in hub.files["README.md"]
    assert (hub.tokens, hub.private) == ({"Bearer hf_right"}, [True])


def test_rows_are_pushed_as_a_data_set_and_written_to_a_folder(hub: type[Hub], tmp_path: Path) -> None:
    project = make_project(rows=12)
    call_command("push", "data", str(project.pk), "me/film-notes", stdout=StringIO())
    call_command("push", "data", str(project.pk), folder=tmp_path / "data", stdout=StringIO())
    assert set(hub.files) >= {"README.md", "data/train.parquet"}
    assert (tmp_path / "data" / "data" / "train.parquet").read_bytes()[:4] == b"PAR1"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["README.md", "data"]


def test_what_the_hub_refuses_is_told(
    project: Project, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(CommandError, match=r"did not take it.*401"):
        call_command("push", "model", str(project.pk), "me/film-notes")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CommandError, match="HF_TOKEN is empty"):
        call_command("push", "model", str(project.pk), "me/film-notes")


def test_a_project_without_a_model_is_told() -> None:
    with pytest.raises(CommandError, match="no kept model"):
        call_command("push", "model", str(make_project(rows=12).pk), folder=Path("anywhere"))
