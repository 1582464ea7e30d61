"""The embedded encoders with perfect labels: how right a linear head on their frozen features is, out of fold.

Five folds; copies of a text share one. The head is a ridge logistic regression on standardised features; its strength
is the best of three for each encoder and corpus. ``--rows`` of each corpus, drawn by a seed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from mlcore.config import EMBEDDED_ENCODER, SECOND_ENCODER
from mlcore.records import FloatArray, IntArray
from mlcore.slm.cross_fit import assign_folds
from mlcore.slm.encoders import encode_texts, load_encoder
from mlcore.slm.heads import standardise
from mlcore.verdict.classifiers import out_of_fold
from mlcore.weights import resolve_weights
from tests.bench.harness import Options, Report, run_bench
from tests.bench.scores import accuracy, index_labels, read

CORPORA = {
    "mr": "label",
    "agnews": "label",
    "zh_waimai": "label",
    "airline_tweets": "airline_sentiment",
    "sms_spam": "label",
}
STRENGTHS = (1e-4, 1e-3, 1e-2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=1_000, help="of each corpus")
    parser.add_argument("--only", nargs="+", choices=list(CORPORA), default=list(CORPORA), help="corpora")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: Options, report: Report) -> None:
    rows = 60 if options.quick else options.extra.rows
    with tempfile.TemporaryDirectory() as cache:
        encoders = {
            name: load_encoder(resolve_weights(name, weights_dir=None, cache_dir=Path(cache)))
            for name in (EMBEDDED_ENCODER, SECOND_ENCODER)
        }
        for corpus in options.extra.only:
            target = CORPORA[corpus]
            frame = read(options, f"{corpus}.csv").sample(rows, random_state=options.extra.seed)
            texts, names = list(frame["text"]), sorted(frame[target].unique())
            truth = index_labels(frame[target], names)
            features: dict[str, FloatArray] = {}
            for name, encoder in encoders.items():
                begun = time.process_time()
                pooled = encode_texts(texts, encoder, cache_dir=Path(cache))
                speed = len(texts) / (time.process_time() - begun)
                features[name] = standardise(pooled).rows(torch.arange(len(texts))).numpy()
                right = best_accuracy(features[name], texts, truth, len(names), options.extra.seed)
                report.row(data=corpus, encoder=name, accuracy=right, rows_a_second=speed)
                report.measure(f"{corpus}_{name}", right)
            both = np.concatenate(list(features.values()), axis=1)
            right = best_accuracy(both, texts, truth, len(names), options.extra.seed)
            report.row(data=corpus, encoder="both", accuracy=right)
            report.measure(f"{corpus}_both", right)


def best_accuracy(features: FloatArray, texts: list[str], truth: IntArray, count: int, seed: int) -> float:
    """The share of rows that a head of the best strength gets right, out of fold."""
    folds = assign_folds(texts, truth, 5, seed=seed)
    found = []
    for strength in STRENGTHS:
        head = LogisticRegression(C=strength, max_iter=200)
        probs = out_of_fold(head, features, truth, folds, count, np.ones(len(truth)))
        found.append(accuracy(probs.argmax(axis=1), truth))
    return max(found)


if __name__ == "__main__":
    run_bench("encoders", __doc__, measure, add_arguments=add_arguments)
