from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DOC = Path(__file__).resolve().parents[2] / "docs" / "notebook.md"


def test_the_example_of_the_notebook_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), flags=re.DOTALL)
    topics = [
        ("sport", "The team won the match {} to 1."),
        ("money", "The bank raised its rate by {} points."),
    ]
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
