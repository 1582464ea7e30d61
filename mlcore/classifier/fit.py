"""Fit the model that is kept: the same views as in training, on the final labels of all rows."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np

from mlcore.classifier.calibration import NETWORK, fit_calibration
from mlcore.classifier.classifier import About, Classifier
from mlcore.classifier.ngrams import fit_ngrams
from mlcore.config import DistillConfig
from mlcore.corpus import Corpus
from mlcore.records import FloatArray, IntArray
from mlcore.slm.cross_fit import LEAST_WEIGHT, Trained, assign_folds, train
from mlcore.slm.heads import FeatureHead
from mlcore.slm.inputs import Inputs, Monitor, choose_network
from mlcore.verdict.classifiers import has_spaces

LEAST_STEPS = (
    400  # of the optimiser, on made tables of 120 rows: 20 steps leave a network that says one label of all
)


@dataclass(frozen=True)
class Fitted:
    """``out_of_fold (N, K)``: what a model that did not learn from the row says of it; ``refitted (N, K)``: what the kept
    one says."""

    classifier: Classifier
    out_of_fold: FloatArray
    refitted: FloatArray


def fit_classifier(
    corpus: Corpus,
    inputs: Inputs,
    labels: IntArray,
    risk: FloatArray,
    weights: FloatArray,
    config: DistillConfig,
    about: About,
    monitor: Monitor,
    *,
    network: FloatArray | None = None,
) -> Fitted:
    """Fit to final labels, calibrated out of fold on two halves.

    Args:
        corpus: N rows.
        inputs: what the networks see of them.
        labels: ``(N,)``, final labels.
        risk: ``(N,)``, the probability that each is wrong: a row counts less by it.
        weights: ``(N,)``, how much each row counts otherwise.
        config: how the network is trained.
        about: labels, task and columns.
        monitor: told of the training; may raise to stop.
        network: ``(N, K)``, out-of-fold probabilities that stand for a network's that is too costly to train two more
            times; None trains it on both halves.
    """
    count, weights = len(about.labels), weights * np.maximum(1.0 - risk, LEAST_WEIGHT)
    halves = assign_folds(corpus.texts, labels, 2, seed=config.seed)
    plain = replace(config, method="plain")
    if network is None:
        plain = _to_the_end(plain, len(labels))
        network = train(inputs, labels, weights, halves, count, plain, monitor, None).probs
    whole = replace(plain, folds=1)
    trained = train(inputs, labels, weights, np.zeros_like(halves), count, whole, monitor, None)
    views, refitted = {NETWORK: network}, {NETWORK: trained.probs}
    ngrams = []
    if corpus.table is None:
        for analyzer in ("word", "char") if has_spaces(corpus.texts) else ("char",):
            if (fitted := fit_ngrams(corpus.texts, analyzer, labels, weights, halves, count)) is None:
                continue
            model, views[analyzer], refitted[analyzer] = fitted
            ngrams.append(model)
    calibration = fit_calibration(views, labels, risk)
    classifier = Classifier(
        about=about,
        network="table" if corpus.table is not None else choose_network(config),
        weights=network_weights(trained),
        calibration=calibration,
        ngrams=tuple(ngrams),
        columns=inputs.columns,
        encoder_name=inputs.encoder_name,
        fingerprint=inputs.encoder.fingerprint if inputs.encoder else "",
        data_sha256=hash_rows(corpus),
        rows=len(corpus),
    )
    if inputs.encoder is not None:
        classifier.__dict__["encoder"] = inputs.encoder  # loaded already
    return Fitted(classifier, calibration.pool(views), calibration.pool(refitted))


def _to_the_end(config: DistillConfig, rows: int) -> DistillConfig:
    """The settings for a network that is cheap to train: it is not stopped where it seems to rest."""
    epochs = max(config.epochs, math.ceil(LEAST_STEPS * config.batch_size / rows))
    return replace(config, epochs=epochs, warmup_epochs=epochs)


def network_weights(trained: Trained) -> dict[str, FloatArray]:
    """The weights of the only network of a training, and the mean and deviation of the features that it was given."""
    learner = trained.learners[0]
    weights = {name: value.detach().cpu().numpy() for name, value in learner.final_weights.items()}
    if isinstance(learner.network, FeatureHead):
        features = learner.network.features
        weights |= {"features.mean": features.mean.numpy(), "features.deviation": features.deviation.numpy()}
    return weights


def hash_rows(corpus: Corpus) -> str:
    """SHA-256 of the rows as the models see them, whatever their order."""
    digests = sorted(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in corpus.texts)
    return hashlib.sha256(b"".join(digests)).hexdigest()
