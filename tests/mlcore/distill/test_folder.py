from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlcore.classifier.classifier import Classifier
from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.distill.folder import EXIT_ERROR, EXIT_STOPPED, MODEL, read_inputs, read_result, write_inputs
from mlcore.errors import EngineError
from mlcore.messages import Message
from mlcore.records import NO_LABEL
from tests.support.program import is_running
from tests.support.services import wait_for

ROOT = Path(__file__).resolve().parents[3]


def prepare(folder: Path, *, rows: int = 120, given: np.ndarray | None = None, epochs: int = 3) -> None:
    """A tabular run: it needs no encoder."""
    rng = np.random.default_rng(0)
    truth = np.arange(rows) % 2
    table = pd.DataFrame(
        {"amount": (truth + rng.normal(0, 0.2, rows)).round(3).astype(str), "空": ["é"] * rows}
    )
    in_bulk = (np.arange(rows) == 2) & (given is None)
    verified = np.where(in_bulk, truth, NO_LABEL)
    labels = NoisyLabels(truth if given is None else given, None, verified, 2, in_bulk)
    table.loc[3, "amount"] = "a lot"
    corpus = Corpus([f"amount: {value}" for value in table["amount"]], table, {"amount": "number"})
    names = ["low", "high"]
    write_inputs(
        folder,
        corpus,
        labels,
        DistillConfig(epochs=epochs),
        label_names=names,
        cache_dir=folder / "cache",
        task="tabular",
        columns=["amount", "空"],
    )


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "mlcore.distill.folder", str(folder)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_child_process_distils_and_reports(tmp_path: Path) -> None:
    prepare(tmp_path)
    child = start(tmp_path)
    lines, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    events = [json.loads(line) for line in lines.splitlines()]
    assert [event["phase"] for event in events if "phase" in event][-2:] == ["verdict", "model"]
    assert {"epoch", "epochs", "batch", "batches", "clean_share", "seconds_left"} <= set(events[0])
    result = read_result(tmp_path)
    assert result.label.shape == (120,)
    assert Message("not_numbers", {"count": 1, "column": "amount"}) in result.warnings
    assert len(result.history) == 3
    assert result.kept_label is not None
    table = read_inputs(tmp_path).corpus.table
    kept = Classifier.load(tmp_path / MODEL).predict(table if table is not None else [])
    assert (kept.label == np.arange(120) % 2).mean() > 0.8
    assert not list(tmp_path.glob("*.tmp"))


def test_an_error_is_a_sentence_in_a_file(tmp_path: Path) -> None:
    prepare(tmp_path, rows=6, given=np.full(6, NO_LABEL))
    child = start(tmp_path)
    child.communicate(timeout=120)
    assert child.returncode == EXIT_ERROR
    with pytest.raises(EngineError, match="No row has a readable label"):
        read_result(tmp_path)


def test_sigterm_stops_after_the_batch_and_a_second_start_resumes(tmp_path: Path) -> None:
    prepare(tmp_path, rows=3000, epochs=60)
    child = start(tmp_path)
    assert child.stdout is not None
    for line in child.stdout:
        if json.loads(line).get("epoch", 0) >= 2:
            break
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=120)
    assert child.returncode == EXIT_STOPPED
    assert (tmp_path / "checkpoints" / "last.pt").exists()

    again = start(tmp_path)
    assert again.stdout is not None
    first = json.loads(again.stdout.readline())
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=120)
    assert first["epoch"] >= 2


def test_the_child_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    prepare(tmp_path, rows=3000, epochs=2000)
    script = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'mlcore.distill.folder', {str(tmp_path)!r}],"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    child = int(parent.stdout)
    try:
        wait_for(lambda: not is_running(child), seconds=60, what="the child ends")
        assert not is_running(child)
    finally:
        if is_running(child):
            os.kill(child, signal.SIGKILL)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    prepare(tmp_path, rows=5)
    inputs = read_inputs(tmp_path)
    assert inputs.corpus.table is not None
    assert list(inputs.corpus.table.columns) == ["amount", "空"]
    assert inputs.corpus.column_kinds == {"amount": "number"}
    assert inputs.noisy.count == 2
    assert inputs.noisy.verified.tolist() == [NO_LABEL, NO_LABEL, 0, NO_LABEL, NO_LABEL]
    assert inputs.noisy.in_bulk is not None
    assert inputs.noisy.in_bulk.tolist() == [False, False, True, False, False]
    assert inputs.config == DistillConfig(epochs=3)


def test_writing_and_reading_load_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, mlcore.distill.folder\n"
        "heavy = {'torch', 'sklearn', 'transformers', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_result_yet_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no finished result"):
        read_result(tmp_path)
