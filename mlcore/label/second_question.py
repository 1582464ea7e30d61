"""A second question on rows whose first answer says nothing of its own certainty.

A server that gives no log-probabilities answers with a name alone. Asked once more in other words, with labels and
demonstrations in another order, a model that knows stays with its answer, and one that guesses often doesn't.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from mlcore.label.annotate import make_requests
from mlcore.prompting.prompts import PARAGRAPH, PromptTemplate
from mlcore.prompting.tasks import Task
from mlcore.records import NO_LABEL, Demonstration, FloatArray, IntArray, LabelSet, Request, Row

# What is assumed until people have checked rows; calibration and verdict are fitted to those then.
AGREED = 0.95  # both answers are the same
SPLIT = (0.5, 0.45)  # they differ: the first one's share, and the second one's
FIRST_ONLY = 0.7  # the second one can't be read
SECOND_ONLY = 0.6  # the first one can't be read
_QUESTION = (
    "Go through these names one by one: {labels}. Leave out what does not fit the following, and answer with "
    "the one name that fits best, without a word more."
)
_CHINESE_QUESTION = "请逐一看这些名称：{labels}。排除与下文不符的，只回答最合适的那一个名称，不要多写一个字。"
_CHINESE = re.compile(r"[\u3400-\u9fff]")
# Where words aren't parted, characters.
_WORDS = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"
_FEATURES = 2**18


def second_labels(labels: LabelSet) -> LabelSet:
    """The labels in the order in which the second question names them: the reverse."""
    return LabelSet(labels.labels[::-1])


def first_index(label: int, labels: LabelSet) -> int:
    """A label of the second question's as an index in the first one's order."""
    return label if label == NO_LABEL else len(labels) - 1 - label


def make_second_requests(
    rows: Sequence[Row],
    *,
    task: Task,
    template: PromptTemplate,
    labels: LabelSet,
    demonstrations: Sequence[Demonstration],
) -> list[Request]:
    """The second question on rows, to be asked with :func:`second_labels`.

    The task's description stays, since it is the user's; labels and demonstrations come in the reverse order, and the
    question is put in other words, in the prompt's language, right before the row.

    Args:
        rows, task, template, labels, demonstrations: of the first question, see :func:`mlcore.label.annotate.label_rows`.
    """
    return make_requests(
        rows,
        task=task,
        template=replace(template, output=_question_like(template) + PARAGRAPH + template.output),
        labels=second_labels(labels),
        demonstrations=list(demonstrations)[::-1],
    )


def _question_like(template: PromptTemplate) -> str:
    """The second question in the prompt's language: Chinese where the prompt has Chinese words, else English."""
    return _CHINESE_QUESTION if _CHINESE.search(template.description + template.output) else _QUESTION


def weigh_answers(first: int, second: int, classes: int) -> FloatArray | None:
    """The distribution ``(K,)`` that two answers to one row give; None if neither can be read.

    Args:
        first, second: label indices in the same order, or ``NO_LABEL``.
    """
    if first == second == NO_LABEL:
        return None
    shares: dict[int, float] = {}
    if first == second:
        shares[first] = AGREED
    elif second == NO_LABEL:
        shares[first] = FIRST_ONLY
    elif first == NO_LABEL:
        shares[second] = SECOND_ONLY
    else:
        shares[first], shares[second] = SPLIT
    probs = np.full(classes, (1.0 - sum(shares.values())) / classes)
    for label, share in shares.items():
        probs[label] += share
    return probs


class WordDoubt:
    """How much rows' words speak against their labels: what to doubt first where nothing else is known.

    Naive Bayes on words and word pairs, each row judged by all the others: the log-odds of the likeliest other label,
    per word, so that long rows are not doubted more than short ones. Texts are given twice, part by part, so that no more
    than a part of them is ever in memory: first all to :meth:`count`, then all to :meth:`judge`.

    Args:
        classes: number of labels.
    """

    def __init__(self, classes: int) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self._words = HashingVectorizer(
            n_features=_FEATURES,
            token_pattern=_WORDS,
            ngram_range=(1, 2),
            binary=True,
            norm=None,
            alternate_sign=False,
        )
        self._rows = np.zeros(classes)
        self._counts = np.zeros((classes, _FEATURES), dtype=np.float32)  # rows of each label with each word

    def count(self, texts: Sequence[str], labels: IntArray) -> None:
        """Take in some rows.

        Args:
            texts: B rows as the model sees them.
            labels: ``(B,)``, the label that each was given.
        """
        matrix = self._words.transform(texts)
        for label in range(len(self._rows)):
            self._counts[label] += np.asarray(matrix[labels == label].sum(axis=0)).ravel()
        self._rows += np.bincount(labels, minlength=len(self._rows))

    def judge(self, texts: Sequence[str], labels: IntArray) -> FloatArray:
        """The doubt about each of some rows ``(B,)`` that were all counted before."""
        matrix, place = self._words.transform(texts), np.arange(len(labels))
        length = np.asarray(matrix.sum(axis=1)).ravel()
        with_row, without_row, total = self._logs
        totals = np.tile(total, (len(labels), 1))
        totals[place, labels] -= length
        others = np.tile(self._rows, (len(labels), 1))
        others[place, labels] -= 1.0
        scores = matrix @ with_row.T
        scores[place, labels] = (matrix @ without_row.T)[place, labels]
        scores += np.log(others + 1.0) - length[:, None] * np.log(np.maximum(totals, 1.0))
        mine = scores[place, labels].copy()
        scores[place, labels] = -np.inf
        doubt: FloatArray = (scores.max(axis=1) - mine) / np.maximum(length, 1.0)
        return doubt

    @cached_property
    def _logs(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Smoothed log-counts of words ``(K, F)`` with a row's own among them and without it, and the smoothed number of
        all words of each label ``(K,)``."""
        known = int((self._counts.sum(axis=0) > 0).sum())
        total = self._counts.sum(axis=1, dtype=np.float64) + known
        return np.log(self._counts + 1.0), np.log(np.maximum(self._counts, 1.0)), total
