"""What people see first: the flag of a row, and the review queue."""

from __future__ import annotations

import numpy as np

from mlcore.corpus import INCONSISTENT, LIKELY_RIGHT, LIKELY_WRONG
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray

# Highest risk of a row that is called right. It is shown wherever flags are. Not varied.
RISKY = 0.2
# Above it a row is called wrong even where the two models differ; with two labels no final label is over 0.5. Not varied.
EVEN_ODDS = 0.4


def flag_rows(risk: FloatArray, given: IntArray, prediction: IntArray) -> IntArray:
    """Flags ``(N,)`` int8 that follow from the risk ``(N,)``: likely right up to ``RISKY``, and nowhere else.

    Above it a row is inconsistent where the LLM's label and the prediction differ, up to ``EVEN_ODDS``; else likely wrong.
    """
    differ = (given != NO_LABEL) & (given != prediction) & (risk <= EVEN_ODDS)
    return np.where(risk <= RISKY, LIKELY_RIGHT, np.where(differ, INCONSISTENT, LIKELY_WRONG)).astype(np.int8)


def review_order(risk: FloatArray, doubt: FloatArray, checked: BoolArray) -> IntArray:
    """The review queue: row numbers by falling risk ``(N,)``, equal risks by falling ``doubt (N,)``; checked rows last."""
    return np.lexsort((-doubt, -risk, checked))
