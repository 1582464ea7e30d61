"""Projects that look as after a round, made from a corpus in seconds: for looking at pages and measuring them, not for results."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from django.contrib.auth.models import User

from annotation.jobs import kinds
from annotation.models import Flag, Iteration, Prediction, Project, Sample, Source, Stage
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from tests.support.factories import start_llm_round

FLAGS = (Flag.RIGHT, Flag.WRONG, Flag.INCONSISTENT)
EPOCHS = 6


def make_scene(
    path: Path, *, name: str, task: str, owner: User, label_column: str, content: Sequence[str], rows: int
) -> Project:
    """A project with rows of the file, judged by both models: every eighth label of the LLM is wrong, most are found."""
    project = import_rows(
        path, name=name, task=task, owner=owner, label_column=label_column, content=content, rows=rows
    )
    judge_rows_in_bulk(project)
    return project


def import_rows(
    path: Path, *, name: str, task: str, owner: User, label_column: str, content: Sequence[str], rows: int
) -> Project:
    with path.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    records = list(islice(records, 0, None, max(1, len(records) // rows)))[:rows]  # spread over a sorted file
    project = configure.create_project(name=name, task_type=task, owner=owner)
    configure.set_slm(project, config=project.distill_config, chain_stages=False)
    project.columns, project.content_columns = list(records[0]), list(content)
    project.reference_column = label_column
    project.save()
    names = sorted({record[label_column] for record in records})
    labels = {
        label.name: label for label in configure.set_labels(project, [LabelDraft(each) for each in names])
    }
    Sample.objects.bulk_create(
        Sample(
            project=project,
            position=position,
            text=(text := _text(record, content)),
            fields=list(record.values()),
            content_hash=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
            reference=labels[record[label_column]],
        )
        for position, record in enumerate(records)
    )
    return project


def _text(record: dict[str, str], content: Sequence[str]) -> str:
    if len(content) == 1:
        return record[content[0]]
    return "\n".join(f"{name}: {record[name]}" for name in content)


def judge_rows_in_bulk(project: Project, *, seed: int = 0) -> Iteration:
    """A finished round of both models."""
    iteration, rng = start_llm_round(project), np.random.default_rng(seed)
    samples = list(project.samples.order_by("position"))
    labels = project.label_list()
    place: dict[int | None, int] = {label.pk: index for index, label in enumerate(labels)}
    truth = np.array([place[sample.reference_id] for sample in samples])
    wrong = rng.random(len(samples)) < 1 / 8
    given = np.where(wrong, (truth + 1) % len(labels), truth)
    predicted = np.where(rng.random(len(samples)) < 0.06, (truth + 1) % len(labels), truth)
    clean = np.clip(np.where(given == predicted, 0.93, 0.2) + rng.normal(0, 0.05, len(samples)), 0.01, 0.99)
    flags = np.where(given == predicted, 0, np.where(rng.random(len(samples)) < 0.5, 1, 2))
    rank = np.argsort(np.argsort(clean)) + 1
    angle = 2 * np.pi * truth / len(labels)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 3 + rng.normal(0, 0.8, (len(samples), 2))
    predictions = []
    for row, sample in enumerate(samples):
        llm, slm = labels[given[row]], labels[predicted[row]]
        judged = {
            "clean_prob": float(clean[row]),
            "clean_rank": int(rank[row]),
            "flag": FLAGS[flags[row]],
            "risk": 1 - float(clean[row]),
            "queue_rank": int(rank[row]),
        }
        predictions += [
            Prediction(sample=sample, iteration=iteration, source="llm", label=llm, calibrated=[0.8, 0.2]),
            Prediction(
                sample=sample,
                iteration=iteration,
                source="slm",
                label=slm,
                verdict=slm,
                probs=[float(clean[row])],
                loss=1 - float(clean[row]),
                x=float(points[row, 0]),
                y=float(points[row, 1]),
                **judged,
            ),
        ]
        sample.label, sample.llm_label, sample.slm_label, sample.source = slm, llm, slm, Source.SLM
        sample.confidence, sample.round = float(0.5 + clean[row] / 2), iteration.number
        for name, value in judged.items():
            setattr(sample, name, value)
    Prediction.objects.bulk_create(predictions, batch_size=500)
    changed = ["label", "llm_label", "slm_label", "source", "confidence", "round", *judged]
    Sample.objects.bulk_update(samples, changed, batch_size=500)
    iteration.stages.update(status=Stage.Status.DONE, done=len(samples), total=len(samples))
    Stage.objects.create(
        project=project,
        iteration=iteration,
        kind=kinds.SLM.key,
        status=Stage.Status.DONE,
        epoch=EPOCHS,
        epochs=EPOCHS,
        total=len(samples),
        done=len(samples),
        detail=_training_detail(1 - clean, given, predicted, [label.pk for label in labels]),
    )
    return iteration


def _training_detail(losses: Any, given: Any, predicted: Any, labels: list[int]) -> dict[str, Any]:
    pairs = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(pairs, (given, predicted), 1)
    edges = np.linspace(0, 1, 31)
    counts = np.histogram(losses, edges)[0].tolist()
    part = {
        "label": -1,
        "rows": len(losses),
        "counts": counts,
        "clean": [count * 0.9 for count in counts],
        "noisy": [count * 0.1 for count in counts],
        "boundary": 0.5,
        "fallback": "",
    }
    return {
        "history": [
            {
                "epoch": epoch,
                "phase": "warm-up" if epoch < 3 else "training",
                "loss": 1.2 / epoch,
                "loss_unlabelled": 0.0 if epoch < 3 else 0.9 / epoch,
                "clean_share": 0.6 + 0.05 * epoch,
            }
            for epoch in range(1, EPOCHS + 1)
        ],
        "labels": labels,
        "confusion": pairs.tolist(),
        "loss_histogram": {"edges": edges.tolist(), "parts": [part]},
    }
