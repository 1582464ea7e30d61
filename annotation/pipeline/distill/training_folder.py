"""The folder in which a stage's training lies: inputs, checkpoints, result, features. The same over all its attempts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from django.conf import settings

from annotation.files import data_store
from annotation.jobs import kinds
from annotation.models import Iteration, Project, Sample, Stage
from annotation.models.secret import readable
from mlcore.config import LlmConfig
from mlcore.records import FloatArray


def training_folder(stage: Stage) -> Path:
    """Where the stage's training lies; made if it is not there."""
    folder: Path = settings.RUN_DIR / str(stage.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_features(stage: Stage, samples: Sequence[Sample], features: FloatArray) -> None:
    """Keep what later rounds need, the rows' features (N, D), and drop the rest of the training."""
    folder = training_folder(stage)
    np.save(folder / "keys.npy", np.array([sample.pk for sample in samples]))
    np.save(folder / "features.npy", features)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    data_store.send(folder)


def newest_features(project: Project, samples: Sequence[Sample]) -> FloatArray | None:
    """Features (N, D) of some rows from the project's newest training; None where its folder is not there any more."""
    stage = project.stages.filter(kind=kinds.SLM.key, status=Stage.Status.DONE).order_by("-id").first()
    if stage is None:
        return None
    folder = training_folder(stage)
    if not data_store.bring(folder / "features.npy"):
        return None
    data_store.bring(folder / "keys.npy")
    keys = np.load(folder / "keys.npy")
    features: FloatArray = np.load(folder / "features.npy")
    place = {key: row for row, key in enumerate(keys.tolist())}
    if not all(sample.pk in place for sample in samples):
        return None
    return features[[place[sample.pk] for sample in samples]]


def hub_token_of(iteration: Iteration) -> str:
    """The token of the round's LLM, if it is one for the hub: that of another server must not be sent there.

    Raises:
        AnnotationError: it can't be decrypted.
    """
    kind = LlmConfig.from_dict(iteration.llm_settings).kind
    return "" if kind == "endpoint" else readable(iteration.connected.llm_token)
