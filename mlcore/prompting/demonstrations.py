"""Distilled selection: which rows become the LLM's demonstrations once the small model has judged the corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mlcore.prompting.injection import looks_like_prompt
from mlcore.prompting.k_medoids import choose_medoids
from mlcore.prompting.similarity import are_near, distinct_shingles
from mlcore.records import BoolArray, Demonstration, FloatArray, IntArray, LabelSet

POOL_ROWS = 400  # k-medoids costs the square of the pool
POOL_SHARE = 0.2  # of a class' rows, as in FreeAL: the surest fifth
CLEAN_AT_LEAST = 0.5


def select_demonstrations(
    features: FloatArray,
    *,
    shown: Sequence[str],
    keys: Sequence[int],
    label_index: IntArray,
    labels: LabelSet,
    clean_prob: FloatArray,
    verified: BoolArray,
    count: int,
    seed: int,
) -> list[Demonstration]:
    """Choose representative rows whose labels are right, class by class.

    The pool of a class is its verified rows and its surest clean ones. K-medoids on the features cuts it
    into as many clusters as the class has places; each gives its medoid, or, where it holds verified rows, the
    verified row nearest to the medoid. CORAL's paper clusters all classes at once, which can leave a class out.

    Args:
        features: ``(N, D)``, the small model's features.
        shown: N rows as the LLM sees them.
        keys: N keys.
        label_index: ``(N,)``, each row's current label.
        labels: the labels.
        clean_prob: ``(N,)``, probability that the label is right.
        verified: ``(N,)``, whether a person gave or confirmed the label.
        count: how many demonstrations are wanted.
        seed: decides the order of the demonstrations.

    Returns:
        At most ``count`` demonstrations, at least one a class while they fit and rows allow it, no near-duplicates.
    """
    rng = np.random.default_rng(seed)
    usable = (np.asarray(verified) | (np.asarray(clean_prob) >= CLEAN_AT_LEAST)) & np.array(
        [can_be_shown(text, labels) for text in shown], dtype=bool
    )
    supply = [np.flatnonzero(usable & (label_index == label)) for label in range(len(labels))]
    marks = distinct_shingles(shown)
    rankings: list[IntArray] = []  # of each cluster, the rows in the order in which they may stand for it
    for label, places in enumerate(share_places(count, [len(rows) for rows in supply])):
        if not places:
            continue
        pool = _pool(supply[label], clean_prob, verified, places)
        for members in _clusters(features[pool], places):
            rows = pool[members]
            rankings.append(rows[np.argsort(~np.asarray(verified)[rows], kind="stable")])
    chosen: list[int] = []
    # A verified row goes before a near-duplicate that nobody has checked.
    for ranking in sorted(rankings, key=lambda rows: not verified[rows[0]]):
        fresh = (
            int(row) for row in ranking if not any(are_near(marks[row], marks[other]) for other in chosen)
        )
        chosen.extend(row for _, row in zip(range(1), fresh, strict=False))
    return [
        Demonstration(keys[row], shown[row], labels.names[int(label_index[row])])
        for row in rng.permutation(np.array(chosen, dtype=np.int64)).tolist()
    ]


def can_be_shown(shown: str, labels: LabelSet) -> bool:
    """Whether a row may stand in the prompt of others: an empty one teaches nothing, one like a prompt steers the model."""
    return bool(shown) and not looks_like_prompt(shown, labels.names)


def count_demonstrations(per_prompt: int, *, sets: int, classes: int) -> int:
    """How many demonstrations are wanted for ``sets`` sets; for one only, if a set can't show every class."""
    return per_prompt * sets if per_prompt >= classes else per_prompt


def deal_sets(
    demonstrations: Sequence[Demonstration], *, sets: int, classes: int
) -> list[list[Demonstration]]:
    """Deal demonstrations into at most ``sets`` sets, label by label, so that each set shows every label.

    Where there are too few for two such sets, all of them are one set. Their order is kept within a set.
    """
    sets = max(1, min(sets, len(demonstrations) // max(1, classes)))
    dealt: list[list[Demonstration]] = [[] for _ in range(sets)]
    seen: Counter[str] = Counter()
    for each in demonstrations:
        dealt[seen[each.label] % sets].append(each)
        seen[each.label] += 1
    return dealt


def share_places(count: int, supply: Sequence[int]) -> list[int]:
    """Deal ``count`` places among classes in turn, none more than its supply; the scarcest class comes first."""
    places = [0] * len(supply)
    turn = sorted(range(len(supply)), key=lambda label: supply[label])
    while sum(places) < count:
        open_classes = [label for label in turn if places[label] < supply[label]]
        if not open_classes:
            break
        for label in open_classes[: count - sum(places)]:
            places[label] += 1
    return places


def _pool(rows: IntArray, clean_prob: FloatArray, verified: BoolArray, places: int) -> IntArray:
    """A class' verified rows and its surest others, at most ``POOL_ROWS``."""
    order = np.lexsort((-np.asarray(clean_prob)[rows], ~np.asarray(verified)[rows]))
    size = max(int(np.sum(verified[rows])), int(np.ceil(len(rows) * POOL_SHARE)), 5 * places)
    return rows[order][: min(size, POOL_ROWS)]


def _clusters(features: FloatArray, count: int) -> list[IntArray]:
    """Rows of each cluster, its medoid first and then by distance from it."""
    points = np.asarray(features, dtype=np.float32)
    squares = np.sum(points**2, axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0))
    if len(points) <= count:
        return [np.array([index]) for index in range(len(points))]
    medoids = choose_medoids(distances, count)
    members = distances[medoids].argmin(axis=0)
    clusters: list[IntArray] = []
    for index, medoid in enumerate(medoids):
        inside = np.flatnonzero(members == index)
        clusters.append(inside[np.argsort(distances[medoid, inside], kind="stable")])
    return clusters
