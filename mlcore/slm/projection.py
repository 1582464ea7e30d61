"""The map of the rows: their features in two dimensions, so that neighbours stay neighbours."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from mlcore.records import FloatArray

MOST_POINTS = 5_000  # on the map
DIRECTIONS = 30  # main directions that the map is made from; more changes nothing that is seen
PERPLEXITY = 30.0  # neighbours that count, scikit-learn's default
STEPS = 500  # of gradient descent; 1,000 take twice as long and keep as many neighbours
FEW = 20  # rows; fewer have no neighbourhoods


def map_points(features: FloatArray) -> FloatArray:
    """A map ``(N, 2)``, each axis of unit deviation; NaN for rows beyond 5,000.

    t-SNE (van der Maaten and Hinton, JMLR 9, 2008; scikit-learn's Barnes-Hut) on the main directions of the features, begun
    from the first two of them, so that nothing depends on chance.
    """
    points = np.full((len(features), 2), np.nan)
    rows = np.arange(len(features))[:: max(1, -(-len(features) // MOST_POINTS))]
    values = np.nan_to_num(features[rows].astype(np.float32))
    with threadpool_limits(1):
        main = main_directions(values, DIRECTIONS)
        flat = main[:, :2] if len(rows) < FEW else neighbour_map(main)
    points[rows] = (flat - flat.mean(axis=0)) / np.maximum(flat.std(axis=0), 1e-9)
    return points


def main_directions(values: FloatArray, most: int) -> FloatArray:
    """The values ``(N, D)`` along their main directions ``(N, min(D, most))``, at least two."""
    centred = values - values.mean(axis=0)
    if centred.shape[1] < 2:
        centred = np.pad(centred, ((0, 0), (0, 2 - centred.shape[1])))
    _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred.astype(np.float64))
    axes = directions[:, ::-1][:, :most]
    # A sign that does not depend on chance.
    peaks = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.asarray(centred @ (axes * np.where(peaks < 0, -1.0, 1.0)))


def neighbour_map(values: FloatArray) -> FloatArray:
    """The values ``(N, D)`` in two dimensions ``(N, 2)``, by t-SNE."""
    from sklearn.manifold import TSNE

    start = values[:, :2] / max(float(values[:, 0].std()), 1e-9) * 1e-4
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    projection = TSNE(init=start, perplexity=perplexity, max_iter=STEPS, random_state=0, n_jobs=1)
    return np.asarray(projection.fit_transform(values), dtype=np.float64)
