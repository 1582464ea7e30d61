from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import pytest

from annotation.management.commands import up
from annotation.ops.supervisor import Service, Supervisor


def test_with_json_logs_every_line_is_an_object() -> None:
    out = io.StringIO()
    supervisor = Supervisor(out, as_json=True)
    code = """print('{"message": "of a child"}'); print('{no object'); print('Killed')"""
    supervisor.say("Starting.")
    supervisor.start(Service("child", [sys.executable, "-c", code], once=True))
    deadline = time.monotonic() + 20
    while out.getvalue().count("\n") < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    supervisor.stop()
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["message"] for line in told] == ["Starting.", "of a child", "{no object", "Killed"]
    assert [line.get("logger") for line in told] == ["up", None, "child", "child"]


@pytest.mark.parametrize(
    ("named", "found"), [("2, 3", ["2", "3"]), ("", []), (None, ["0", "1"])], ids=["named", "none", "all"]
)
def test_each_gpu_gets_a_worker(
    named: str | None, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("0000:3b:00.0", "0000:5e:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(up, "NVIDIA_GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert up.gpus() == found
