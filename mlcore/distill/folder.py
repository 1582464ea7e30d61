"""Distillation in a process of its own: inputs and result lie in a folder, progress comes as lines of JSON.

The parent calls :func:`write_inputs`, starts ``python -m mlcore.distill.folder FOLDER`` and, after exit code 0, calls
:func:`read_result`; both import only numpy and pandas. A crash of torch ends the child and nothing else.

Exit codes: 0 done; 3 an error that a person can mend, in ``FOLDER/error.json``; 4 stopped by SIGTERM, after the current
batch, or because the parent is gone; anything else is a crash. Started again on the same folder, it resumes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlcore.atomic_write import write_whole
from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, Distilled, EpochReport, Mixture, NoisyLabels, Progress
from mlcore.errors import EngineError, StoppedError
from mlcore.messages import Message
from mlcore.records import FloatArray, IntArray

if TYPE_CHECKING:
    from mlcore.distill.results import RowsNow

EXIT_ERROR, EXIT_STOPPED = 3, 4
EPOCH_FILE = "epoch.npz"
MODEL = "model"  # the folder of the kept model
SECONDS_BETWEEN_LINES = 0.2
# In the environment of the child only: a token is never written to the folder.
TOKEN_VARIABLE = "CORAL_HUB_TOKEN"  # noqa: S105
# Where these folders are on the child's machine, which need not be the one that wrote the inputs.
CACHE_VARIABLE, WEIGHTS_VARIABLE = "CORAL_CHILD_CACHE", "CORAL_CHILD_WEIGHTS"

_NOT_ARRAYS = {"history", "mixtures", "stopped", "warnings", "evidence"}
_ARRAYS = tuple(field.name for field in fields(Distilled) if field.name not in _NOT_ARRAYS)


def write_inputs(
    folder: Path,
    corpus: Corpus,
    noisy: NoisyLabels,
    config: DistillConfig,
    *,
    label_names: Sequence[str],
    cache_dir: Path,
    weights_dir: Path | None = None,
    task: str = "topic",
    columns: Sequence[str] = (),
) -> None:
    """Write everything that a run needs into ``folder`` (made if it is not there), whole or not at all.

    ``task`` and ``columns`` are what the kept model remembers of how a row is shown to it. An earlier result or error in the
    folder is removed; its checkpoints stay and are used if the inputs are the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.npz", "result.json", "error.json"):
        (folder / name).unlink(missing_ok=True)
    arrays: dict[str, Any] = {"given": noisy.given, "verified": noisy.verified}
    arrays |= {
        name: values
        for name in ("probs", "in_bulk", "stands_for")
        if (values := getattr(noisy, name)) is not None
    }
    _write_arrays(folder / "inputs.npz", arrays)
    table = None if corpus.table is None else corpus.table.astype(str).to_dict(orient="split", index=False)
    _write_json(
        folder / "inputs.json",
        {
            "texts": list(corpus.texts),
            "table": table,
            "column_kinds": dict(corpus.column_kinds),
            "label_names": list(label_names),
            "task": task,
            "columns": list(columns),
            "config": config.as_dict(),
            "cache_dir": str(cache_dir),
            "weights_dir": None if weights_dir is None else str(weights_dir),
        },
    )


@dataclass(frozen=True)
class Inputs:
    """What :func:`write_inputs` was given."""

    corpus: Corpus
    noisy: NoisyLabels
    config: DistillConfig
    label_names: list[str]
    task: str
    columns: list[str]
    cache_dir: Path
    weights_dir: Path | None


def read_inputs(folder: Path) -> Inputs:
    """Read back what :func:`write_inputs` wrote; the folders of cache and weights are this machine's where the parent told them."""
    stored = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
    table = stored["table"] and pd.DataFrame(stored["table"]["data"], columns=stored["table"]["columns"])
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        noisy = NoisyLabels(
            arrays["given"],
            arrays.get("probs"),
            arrays["verified"],
            len(stored["label_names"]),
            arrays.get("in_bulk"),
            arrays.get("stands_for"),
        )
    cache_dir = Path(os.environ.get(CACHE_VARIABLE) or stored["cache_dir"])
    weights = os.environ.get(WEIGHTS_VARIABLE) or stored["weights_dir"]
    config = DistillConfig(**stored["config"])
    # A folder that an earlier version wrote has no kinds and no task, and is finished with guessed ones.
    corpus = Corpus(stored["texts"], table, stored.get("column_kinds", {}))
    shown = stored.get("task", "topic"), stored.get("columns", [])
    return Inputs(
        corpus, noisy, config, stored["label_names"], *shown, cache_dir, Path(weights) if weights else None
    )


def read_label_arrays(folder: Path) -> tuple[IntArray, IntArray]:
    """The LLM's labels and the people's, ``(N,)`` each, as the run in this folder was given them."""
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        return arrays["given"], arrays["verified"]


def write_result(folder: Path, result: Distilled) -> None:
    """Write a result; ``result.json`` comes last and says that it is whole."""
    arrays = {name: values for name in _ARRAYS if (values := getattr(result, name)) is not None}
    _write_arrays(folder / "result.npz", arrays)
    _write_json(
        folder / "result.json",
        {
            "history": [asdict(report) for report in result.history],
            "mixtures": [asdict(mixture) for mixture in result.mixtures],
            "stopped": result.stopped and result.stopped.as_json(),
            "warnings": [warning.as_json() for warning in result.warnings],
            "evidence": result.evidence,
        },
    )


def read_result(folder: Path) -> Distilled:
    """The result of a finished run.

    Raises:
        EngineError: the run failed with a sentence, or has not finished.
    """
    if (folder / "error.json").exists():
        raise EngineError(read_error(folder))
    if not (folder / "result.json").exists():
        raise EngineError("no_result", folder=str(folder))
    stored = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    with np.load(folder / "result.npz", allow_pickle=False) as arrays:
        return Distilled(
            **{name: arrays[name] for name in _ARRAYS if name in arrays},
            history=[EpochReport(**report) for report in stored["history"]],
            mixtures=[_read_mixture(mixture) for mixture in stored["mixtures"]],
            stopped=stored["stopped"] and Message.of(stored["stopped"]),
            warnings=[Message.of(warning) for warning in stored["warnings"]],
            evidence=stored["evidence"],
        )


def read_views(folder: Path) -> FloatArray | None:
    """The small models' opinions ``(N, V, K)`` of a finished run; None where there are none, or an earlier version wrote it."""
    if not (folder / "result.json").exists():
        return None
    with np.load(folder / "result.npz", allow_pickle=False) as arrays:
        stored: FloatArray | None = arrays.get("views")
        return stored


def _read_mixture(stored: dict[str, Any]) -> Mixture:
    pairs = {name: tuple(stored[name]) for name in ("weights", "means", "deviations")}
    return Mixture(**{**stored, **pairs, "fallback": stored["fallback"] and Message.of(stored["fallback"])})


def read_error(folder: Path) -> Message:
    """Why the run in this folder failed."""
    return Message.of(json.loads((folder / "error.json").read_text(encoding="utf-8"))["error"])


def run_folder(folder: Path) -> int:
    """Distil what lies in ``folder``; returns the exit code."""
    # torch is loaded here, in the child only
    from mlcore.classifier.classifier import About
    from mlcore.distill.distill import distill_labels

    stopping = StopSignal()
    token = os.environ.pop(TOKEN_VARIABLE, "")
    try:
        inputs = read_inputs(folder)
        result = distill_labels(
            inputs.corpus,
            inputs.noisy,
            inputs.config,
            on_progress=ProgressLines(),
            on_epoch=_EpochFile(folder),
            should_stop=stopping,
            cache_dir=inputs.cache_dir,
            weights_dir=inputs.weights_dir,
            checkpoint_dir=folder / "checkpoints",
            hub_token=token,
            about=About(inputs.label_names, inputs.task, inputs.columns),
            model_dir=folder / MODEL,
        )
    except StoppedError:
        return EXIT_STOPPED
    except EngineError as error:
        _write_json(folder / "error.json", {"error": error.message.as_json(), "kind": type(error).__name__})
        return EXIT_ERROR
    write_result(folder, result)
    return 0


class StopSignal:
    """True once SIGTERM came, or once the process that started this one is gone."""

    def __init__(self) -> None:
        self.asked = False
        self.parent = os.getppid()
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked or os.getppid() != self.parent


class ProgressLines:
    """Prints progress as JSON, at most five lines a second; the first of a phase and the last of an epoch always."""

    def __init__(self) -> None:
        self.last = 0.0
        self.phase = ""

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        finished = progress.batches > 0 and progress.batch >= progress.batches
        if progress.phase == self.phase and not finished and now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last, self.phase = now, progress.phase
        print(json.dumps(asdict(progress)), flush=True)


class _EpochFile:
    """Keeps the rows after the newest epoch beside the inputs, and prints that they are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, rows: RowsNow) -> None:
        _write_arrays(self.folder / EPOCH_FILE, vars(rows))
        print(json.dumps({"rows": len(rows.rank)}), flush=True)


def read_epoch(folder: Path) -> dict[str, Any]:
    """The arrays of :class:`RowsNow` after the newest epoch."""
    with np.load(folder / EPOCH_FILE, allow_pickle=False) as arrays:
        return dict(arrays)


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _write_json(path: Path, value: Any) -> None:
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m mlcore.distill.folder FOLDER")
    sys.exit(run_folder(Path(sys.argv[1])))
