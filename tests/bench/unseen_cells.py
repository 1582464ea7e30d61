"""The cells of the unseen suite: corpora of different kinds, each with labels of which some are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.naive_bayes import MultinomialNB

from mlcore.corpus import Corpus
from mlcore.records import FloatArray, IntArray
from mlcore.slm.trees import encode_table
from mlcore.verdict.classifiers import ngram_features
from tests.bench.harness import Options
from tests.bench.quality_flips import weak_mistakes
from tests.bench.scores import index_labels, read

TARGETS = {"airline_tweets": "airline_sentiment", "tab_adult": "income", "tab_titanic": "Survived"}
# A name that ends in a rate has the wrong labels of ``flips``. Where a corpus has an LLM's labels, those are taken; all others
# get a weak classifier's mistakes, 20 %.
CELLS = (
    "mr",
    "semeval_relations",
    "misinfo_gpt4o",
    "airline_tweets",
    "zh_waimai",
    "tab_adult",
    "tab_titanic",
    "agnews_20",
    "agnews_40",
    "sms_spam_20",
    "sms_spam_40",
    "zh_hotel_20",
    "fin_phrasebank_20",
    "subj_20",
    "subj_40",
    "banking77_20",
    "tab_german_credit_20",
)
# Long texts, and many labels, cost most of the time: fewer rows are taken of them.
FEWER_ROWS = {
    "zh_waimai": 1_000,
    "zh_hotel": 1_000,
    "airline_tweets": 1_200,
    "tab_adult": 1_500,
    "sms_spam": 1_500,
    "banking77": 2_000,
}
QUICK_CELLS = ("tab_titanic", "tab_german_credit_20", "sms_spam_20", "subj_40")


@dataclass(frozen=True)
class Cell:
    """N rows with labels ``given (N,)`` of which some are wrong, and their reference labels ``truth (N,)``.

    ``probs (N, K)``: what the LLM stated of its confidence, where it did.
    """

    name: str
    corpus: Corpus
    given: IntArray
    probs: FloatArray | None
    truth: IntArray
    count: int


def load_cell(options: Options, name: str, seed: int, rows: int) -> Cell:
    """At most ``rows`` rows of a cell, fewer of some, drawn by seed 0; ``seed`` chooses the wrong labels where there are several files."""
    source, _, rate = name.rpartition("_")
    corpus, rate = (source, rate) if rate.isdigit() else (name, "")
    frame = read(options, f"{corpus}.csv")
    if "llm_label" in frame and "split" in frame:
        frame = frame[frame["split"] == "train"].reset_index(drop=True)
    target = TARGETS.get(corpus, "label")
    names = sorted(frame[target].unique())
    truth = index_labels(frame[target], names)
    table = None
    if corpus.startswith("tab_"):
        table = frame.drop(columns=[target, *frame.columns.intersection(["id"])])
        records = table.to_dict("records")
        texts = [", ".join(f"{key}: {value}" for key, value in record.items()) for record in records]
    else:
        texts = list(frame["text"])
    if rate:
        given = index_labels(read(options, f"flips/{corpus}_{rate}_{seed}.csv")["noisy_label"], names)
    elif "llm_label" in frame:
        given = index_labels(frame["llm_label"], names)
    else:
        matrix = ngram_features(texts, "char")
        if table is not None:
            values = encode_table(table).values
            matrix = values - values.min(axis=0)
        given = weak_mistakes(matrix, truth, 0.2, MultinomialNB(), seed)
    probs = None
    if "llm_confidence" in frame:
        stated = frame["llm_confidence"].astype(float).to_numpy()
        probs = np.repeat(((1.0 - stated) / (len(names) - 1))[:, None], len(names), axis=1)
        probs[np.arange(len(frame)), given] = stated
    drawn = np.sort(
        np.random.default_rng(0).permutation(len(frame))[: min(rows, FEWER_ROWS.get(corpus, rows))]
    )
    return Cell(
        name=name,
        corpus=Corpus([texts[row] for row in drawn], None if table is None else table.iloc[drawn]),
        given=given[drawn],
        probs=None if probs is None else probs[drawn],
        truth=truth[drawn],
        count=len(names),
    )
