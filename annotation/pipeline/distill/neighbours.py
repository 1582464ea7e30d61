"""A row's nearest neighbours, from the features that the newest training left: light enough for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from django.conf import settings

from annotation.files import data_store
from annotation.jobs import kinds
from annotation.models import Project, Stage
from mlcore.records import FloatArray, IntArray
from mlcore.slm.neighbours import nearest_rows, unit_rows

POOL_ROWS = 20_000  # of a larger corpus, neighbours are looked for among so many rows, evenly spaced


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row like another. ``similarity`` is the cosine of their features, at most 1."""

    sample_id: int
    similarity: float


@dataclass(frozen=True, slots=True)
class _Pool:
    keys: IntArray  # (N,) ids of all rows
    features: FloatArray  # (N, D), on disk
    pool_keys: IntArray  # (P,)
    pool: FloatArray  # (P, D), unit rows


def nearest_samples(
    project: Project, sample_ids: Sequence[int], *, count: int = 4
) -> dict[int, list[Neighbour]]:
    """The nearest neighbours of some rows; rows that the newest training has not seen are left out."""
    pool = _newest_pool(project)
    if pool is None:
        return {}
    found = {sample_id: _neighbours(pool, sample_id, count) for sample_id in sample_ids}
    return {sample_id: neighbours for sample_id, neighbours in found.items() if neighbours}


def _neighbours(pool: _Pool, sample_id: int, count: int) -> list[Neighbour]:
    places = np.flatnonzero(pool.keys == sample_id)
    if not len(places):
        return []
    row = unit_rows(pool.features[places[:1]])[0]
    best, similarity = nearest_rows(pool.pool, row, count=count + 1)
    found = [
        Neighbour(int(pool.pool_keys[place]), float(value))
        for place, value in zip(best, similarity, strict=True)
    ]
    return [neighbour for neighbour in found if neighbour.sample_id != sample_id][:count]


def _newest_pool(project: Project) -> _Pool | None:
    stages = project.stages.filter(kind=kinds.SLM.key, status=Stage.Status.DONE).order_by("-id")
    run_id = stages.values_list("run_id", flat=True).first()
    if run_id is None:
        return None
    folder = settings.RUN_DIR / str(run_id)
    if not data_store.bring_soon(folder / "keys.npy", folder / "features.npy"):
        return None  # not here yet, or lost
    return _pool(folder, (folder / "features.npy").stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _pool(folder: Path, _stamp: int) -> _Pool:
    keys = np.load(folder / "keys.npy")
    features = np.load(folder / "features.npy", mmap_mode="r")
    step = max(1, -(-len(keys) // POOL_ROWS))
    return _Pool(keys, features, keys[::step], unit_rows(np.array(features[::step])))
