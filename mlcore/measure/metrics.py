"""Measures against reference labels. Nothing here feeds a model."""

from __future__ import annotations

import numpy as np

from mlcore.records import NO_LABEL, FloatArray, IntArray


def accuracy(predicted: IntArray, reference: IntArray) -> float:
    """Share of rows ``(N,)`` whose label is the reference's; a row without a label counts as wrong. NaN for no rows."""
    return float(np.mean(predicted == reference)) if len(reference) else float("nan")


def confusion(predicted: IntArray, reference: IntArray, count: int) -> IntArray:
    """Counts ``(K, K)``: row = reference, column = predicted. Rows without a label are left out."""
    readable = (predicted != NO_LABEL) & (reference != NO_LABEL)
    matrix = np.zeros((count, count), dtype=np.int64)
    np.add.at(matrix, (reference[readable], predicted[readable]), 1)
    return matrix


def macro_f1(predicted: IntArray, reference: IntArray, count: int) -> float:
    """Mean F1 over the classes that occur; a row without a label counts against its reference's recall."""
    scores = []
    for label in range(count):
        hits = np.sum((predicted == label) & (reference == label))
        involved = np.sum(predicted == label) + np.sum(reference == label)
        if involved:
            scores.append(2 * hits / involved)
    return float(np.mean(scores)) if scores else float("nan")


def expected_calibration_error(probs: FloatArray, reference: IntArray, *, bins: int = 15) -> float:
    """How far confidence and accuracy lie apart, over bins of equal width (Naeini et al., 2015). ``probs (N, K)``."""
    if not len(probs):
        return float("nan")
    confidence = probs.max(axis=1)
    correct = probs.argmax(axis=1) == reference
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = 0.0
    for index in np.unique(place):
        inside = place == index
        gap += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(gap)
