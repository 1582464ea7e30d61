"""The SLM stage: train the small model on the round's noisy labels in a child process, and store its verdict on every row.

Training runs in a process of its own: a crash of the numerics takes down only itself, a cancel ends it at once,
and its memory is returned.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext as _

from annotation import jobs, stats
from annotation.errors import AnnotationError
from annotation.models import Flag, Iteration, Prediction, Sample, Source
from annotation.models.sample import Verdict
from annotation.pipeline.rows import as_row, as_table, round_labels
from annotation.pipeline.training_folder import keep_features, training_folder
from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, Distilled, NoisyLabels
from mlcore.distill_folder import EXIT_ERROR, read_result, write_inputs
from mlcore.errors import StoppedError
from mlcore.records import NO_LABEL, label_array

WRITE_ROWS = 1_000
WATCH_SECONDS = 0.5
TERMINATE_SECONDS = 15
TRAINING_PHASES = ("warm-up", "robust")
EPOCH_FIGURES = ("epoch", "phase", "loss", "loss_unlabelled", "clean_share")
FLAGS = (Flag.RIGHT, Flag.WRONG, Flag.INCONSISTENT)  # in the order of the engine's numbers


def run_distillation(claim: jobs.Claim) -> None:
    """Train on all LLM labels and all corrections; write a prediction and a verdict for every row.

    A killed run resumes from its newest whole checkpoint. Corrections made meanwhile win: they are checked in the
    statement that writes.

    Raises:
        AnnotationError: the training process failed; the sentence says why.
        StoppedError: a person asked to pause or cancel.
    """
    iteration = Iteration.objects.select_related("project").get(stages=claim.stage)
    samples = list(iteration.project.samples.order_by("position"))
    folder = training_folder(claim.stage)
    claim.report(phase="features", total=len(samples), done=0, force=True)
    if not (folder / "inputs.json").exists():
        _prepare(folder, iteration, samples)
    _train(claim, folder)
    result = read_result(folder)
    claim.report(phase="saving", detail=_summary(result), force=True)
    _store_result(claim, iteration, samples, result)
    keep_features(claim.stage, samples, result.features)
    stats.record_metrics(iteration)


# --- What goes in -------------------------------------------------------------------------------------------------


def _prepare(folder: Path, iteration: Iteration, samples: Sequence[Sample]) -> None:
    labels, label_ids = round_labels(iteration)
    project = iteration.project
    place = {label_id: index for index, label_id in enumerate(label_ids)}
    corpus = Corpus(
        texts=[project.task.show(as_row(sample, project)) for sample in samples],
        table=as_table(samples, project) if project.task.student == "table" else None,
    )
    noisy = NoisyLabels(
        given=label_array([place.get(sample.llm_label_id or 0, NO_LABEL) for sample in samples]),
        probs=_llm_probs(iteration, samples, label_ids),
        verified=label_array(
            [
                place.get(sample.label_id or 0, NO_LABEL) if sample.source == Source.PERSON else NO_LABEL
                for sample in samples
            ]
        ),
        count=len(labels),
    )
    write_inputs(
        folder,
        corpus,
        noisy,
        DistillConfig(**iteration.slm_settings),
        label_names=labels.names,
        cache_dir=settings.CACHE_DIR,
        weights_dir=settings.MODEL_DIR,
    )


def _llm_probs(iteration: Iteration, samples: Sequence[Sample], label_ids: Sequence[int]) -> Any:
    """The LLM's newest calibrated distribution of every row (N, K), NaN where it gave none; None if it never gives any.

    Rounds whose labels were others are passed over; the labels' order may have changed since.
    """
    rows = {sample.pk: index for index, sample in enumerate(samples)}
    probs = np.full((len(samples), len(label_ids)), np.nan)
    rounds = iteration.project.iterations.filter(number__lte=iteration.number).order_by("number")
    for earlier in rounds:
        then = [item["id"] for item in earlier.labels]
        if sorted(then) != sorted(label_ids):
            continue
        order = [then.index(label_id) for label_id in label_ids]
        stored = earlier.predictions.filter(source=Prediction.ModelKind.LLM).values_list(
            "sample_id", "calibrated"
        )
        for sample_id, values in stored.iterator():
            if values and sample_id in rows:
                probs[rows[sample_id]] = [values[place] for place in order]
    return None if np.isnan(probs).all() else probs


# --- The child process --------------------------------------------------------------------------------------------


def _train(claim: jobs.Claim, folder: Path) -> None:
    """Run the training process, pass on what it reports, and end it when the stage is to stop."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(settings.THREADS or os.cpu_count() or 1),
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", "mlcore.distill_folder", str(folder)]
    log = (folder / "log.txt").open("a")
    with (
        log,
        subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        ) as child,
    ):
        stopper = threading.Thread(target=_terminate_on_wish, args=(claim, child), daemon=True)
        stopper.start()
        history: dict[int, dict[str, Any]] = {}
        for event in _events(child):
            _report(claim, event, history)
        code = child.wait()
        stopper.join()
    if claim.should_stop():
        raise StoppedError(_("Stopped on request; the training goes on from its last epoch when resumed."))
    if code == 0:
        return
    raise AnnotationError(_mendable_error(folder) if code == EXIT_ERROR else _crash_sentence(code, folder))


def _terminate_on_wish(claim: jobs.Claim, child: subprocess.Popen[str]) -> None:
    try:
        while child.poll() is None:
            if claim.should_stop():
                _terminate(child)
                return
            time.sleep(WATCH_SECONDS)
    finally:
        connection.close()  # this thread's own


def _terminate(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(timeout=TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def _events(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("{"):
            yield json.loads(line)


def _report(claim: jobs.Claim, event: dict[str, Any], history: dict[int, dict[str, Any]]) -> None:
    """Pass one progress event on. The share of the epochs that is done counts as rows, so that one bar tells all."""
    training = event["phase"] in TRAINING_PHASES
    epoch_share = event["batch"] / event["batches"] if event["batches"] else 0.0
    share = (event["epoch"] - 1 + epoch_share) / event["epochs"] if training else 0.0
    if training and epoch_share >= 1.0:
        history[event["epoch"]] = {name: event[name] for name in EPOCH_FIGURES}
    detail = {name: event[name] for name in ("seconds_left", "batch", "batches")}
    if training:
        detail["clean_share"] = event["clean_share"]
    claim.report(
        phase=event["phase"],
        epoch=event["epoch"],
        epochs=event["epochs"],
        done=int(share * claim.stage.total),
        detail=detail | {"history": [history[epoch] for epoch in sorted(history)]},
    )


def _mendable_error(folder: Path) -> str:
    return str(json.loads((folder / "error.json").read_text())["error"])


def _crash_sentence(code: int, folder: Path) -> str:
    if code < 0:
        return _(
            "The training process died (signal %(signal)d); often the machine had too little memory. Its log lies in %(log)s."
        ) % {
            "signal": -code,
            "log": folder / "log.txt",
        }
    return _(
        "The training process ended with an unexpected error (exit code %(code)d). Its log lies in %(log)s."
    ) % {
        "code": code,
        "log": folder / "log.txt",
    }


# --- What comes out -----------------------------------------------------------------------------------------------


def _summary(result: Distilled) -> dict[str, Any]:
    return {
        "history": [asdict(report) for report in result.history],
        "mixtures": [asdict(mixture) for mixture in result.mixtures],
        "stopped": result.stopped,
        "warnings": result.warnings,
        "evidence": result.evidence,
        "losses": _histogram(result.losses),
    }


def _histogram(losses: Any, bins: int = 40) -> dict[str, list[float]]:
    known = losses[np.isfinite(losses)]
    if not len(known):
        return {"edges": [], "counts": []}
    counts, edges = np.histogram(known, bins=bins)
    return {"edges": [round(float(edge), 4) for edge in edges], "counts": [int(count) for count in counts]}


def _store_result(
    claim: jobs.Claim, iteration: Iteration, samples: Sequence[Sample], result: Distilled
) -> None:
    _labels, label_ids = round_labels(iteration)
    queue_rank = np.empty(len(samples), dtype=int)
    queue_rank[result.order] = np.arange(1, len(samples) + 1)
    for start in range(0, len(samples), WRITE_ROWS):
        part = range(start, min(start + WRITE_ROWS, len(samples)))
        predictions = [
            _prediction(iteration, samples[row], result, row, label_ids, int(queue_rank[row])) for row in part
        ]
        verdicts = [
            _verdict(samples[row], prediction) for row, prediction in zip(part, predictions, strict=True)
        ]
        with transaction.atomic():
            claim.fence()
            Prediction.objects.bulk_create(
                predictions,
                update_conflicts=True,
                unique_fields=["iteration", "source", "sample"],
                update_fields=[
                    "label",
                    "probs",
                    "loss",
                    "clean_prob",
                    "clean_rank",
                    "x",
                    "y",
                    "verdict",
                    "risk",
                    "flag",
                    "queue_rank",
                ],
                batch_size=500,
            )
            Sample.objects.write_verdicts(verdicts, round_number=iteration.number)
        claim.report(done=part.stop)
    claim.report(done=len(samples), force=True)


def _prediction(
    iteration: Iteration,
    sample: Sample,
    result: Distilled,
    row: int,
    label_ids: Sequence[int],
    queue_rank: int,
) -> Prediction:
    return Prediction(
        sample=sample,
        iteration=iteration,
        source=Prediction.ModelKind.SLM,
        label_id=label_ids[int(result.prediction[row])],
        probs=[round(float(value), 6) for value in result.probs[row]],
        loss=_finite(result.losses[row]),
        clean_prob=_finite(result.clean_prob[row]),
        clean_rank=int(result.rank[row]),
        x=_finite(result.points[row, 0]),
        y=_finite(result.points[row, 1]),
        verdict_id=label_ids[int(result.label[row])],
        risk=float(result.risk[row]),
        flag=FLAGS[int(result.flag[row])],
        queue_rank=queue_rank,
    )


def _verdict(sample: Sample, prediction: Prediction) -> Verdict:
    assert prediction.verdict_id
    assert prediction.label_id
    assert prediction.risk is not None
    assert prediction.probs is not None
    assert prediction.clean_rank
    assert prediction.queue_rank
    return Verdict(
        sample_id=sample.pk,
        label_id=prediction.verdict_id,
        source=Source.LLM if prediction.verdict_id == sample.llm_label_id else Source.SLM,
        risk=prediction.risk,
        slm_label_id=prediction.label_id,
        confidence=max(prediction.probs),
        clean_prob=prediction.clean_prob,
        clean_rank=prediction.clean_rank,
        flag=prediction.flag,
        queue_rank=prediction.queue_rank,
    )


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
