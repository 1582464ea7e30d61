from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.db import connection

from annotation.jobs.work import run_stage
from annotation.models import Stage
from annotation.pipeline.project.tokens import make_token
from coral import project
from tests.support.factories import make_user
from tests.support.fake_llm import Call, Step, fake_llm, says

DOC = Path(__file__).resolve().parents[2] / "docs" / "notebook.md"


TOPICS = [
    ("sport", "The team won the match {} to 1."),
    ("money", "The bank raised its rate by {} points."),
]


def examples() -> list[str]:
    """The code of the page: with a server, and without."""
    return re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_example_of_the_notebook_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = examples()[1]
    topics = TOPICS
    rows = [
        {"text": topics[i % 2][1].format(i), "label": topics[(i + (i % 10 == 0)) % 2][0]} for i in range(60)
    ]
    rows[5]["label"] = ""
    pd.DataFrame(rows).to_csv(tmp_path / "noisy.csv", index=False)
    monkeypatch.chdir(tmp_path)

    found: dict[str, object] = {}
    exec(compile(code, str(DOC), "exec"), found)

    frame = found["frame"]
    assert isinstance(frame, pd.DataFrame)
    truth = np.array([topics[i % 2][0] for i in range(60)])
    assert (frame["verdict"].to_numpy() == truth).mean() > 0.95
    assert "risk" in capsys.readouterr().out
    assert len([line for line in code.splitlines() if line.strip()]) <= 18


@contextmanager
def worker() -> Iterator[None]:
    """Does the work of queued stages in a thread, as workers do in processes of their own."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            for stage_id in Stage.objects.filter(status=Stage.Status.QUEUED).values_list("pk", flat=True):
                run_stage(stage_id)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def reply(_number: int, call: Call) -> Step:
    """A language model that is wrong where the number of the row, the prompt's last text, ends in a seven."""
    text = call.json["messages"][-1]["content"]
    topic, number = re.findall(r"The (team|bank)\D+(\d+)", text)[-1]
    return says("sport" if (topic == "team") != number.endswith("7") else "money")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_example_with_a_server_ends_with_a_certificate(
    live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = examples()[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    secret = make_token(make_user(), name="notebook", scope="write", days=None)[1]
    texts = [TOPICS[number % 2][1].format(number) for number in range(60)]
    pd.DataFrame({"id": range(60), "text": texts}).to_csv(tmp_path / "messages.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(project, "POLL_SECONDS", 0.1)
    found: dict[str, object] = {"input": lambda asked: "sport" if "match" in asked else "money"}
    with fake_llm(reply) as server, worker():
        for written, here in (
            ("http://127.0.0.1:8000", live_server.url),
            ("coral_…", secret),
            ("https://llm.example.com/v1", server.url),
        ):
            code = code.replace(written, here)
        exec(compile(code, str(DOC), "exec"), found)

    labelled = found["labelled"]
    assert isinstance(labelled, pd.DataFrame)
    assert len(labelled) == 60
    right = labelled["final_label"] == ["sport" if "match" in text else "money" for text in labelled["text"]]
    assert right.mean() >= 0.95
    assert "labels are right, with 95" in capsys.readouterr().out
