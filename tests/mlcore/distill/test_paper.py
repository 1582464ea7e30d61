"""The paper's method: warm-up, one mixture, FixMatch on the rest, and the networks' own word on every row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.config import DistillConfig
from mlcore.corpus import LIKELY_RIGHT, LIKELY_WRONG, Corpus, Distilled
from mlcore.errors import InvalidInputError
from mlcore.messages import Message
from mlcore.records import NO_LABEL
from mlcore.slm.cross_fit import assign_folds, train
from mlcore.slm.inputs import Monitor, canonical_order, prepare, reorder
from mlcore.slm.noise import clean_probability, fit_mixture
from mlcore.verdict.opinions import CrossFitter
from mlcore.verdict.review_order import RISKY
from tests.support.distillation import make_corpus, noisy, run, text_table


def run_paper(
    texts: list[str],
    given: np.ndarray,
    weights_dir: Path,
    cache: Path,
    *,
    verified: np.ndarray | None = None,
    **settings: Any,
) -> Distilled:
    labels = noisy(given, verified=verified)
    return run(texts, labels, weights_dir, cache, **{"method": "paper", "epochs": 12, **settings})


def test_the_networks_alone_decide(
    weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("the label model was asked")

    for name in ("text_opinions", "tree_opinions", "refit_texts", "refit_trees"):
        monkeypatch.setattr(CrossFitter, name, refuse)
    monkeypatch.setattr("mlcore.verdict.decide.combine", refuse)
    texts, _, given = make_corpus(120)
    given[:6] = NO_LABEL
    result = run_paper(texts, given, weights_dir, tmp_path, epochs=5)

    corpus, labels = Corpus(texts), noisy(given)
    order = canonical_order(corpus, labels)
    corpus, labels = reorder(corpus, labels, order)
    config = DistillConfig(encoder="tiny", network="head", method="paper", epochs=5, warmup_epochs=2)
    monitor = Monitor(lambda progress: None, lambda: False)
    inputs = prepare(corpus, config, 2, cache_dir=tmp_path, weights_dir=weights_dir, monitor=monitor)
    folds = assign_folds(corpus.texts, labels.given, 5, seed=0)
    network = train(inputs, labels.given, np.ones(120), folds, 2, config, monitor, None)
    np.testing.assert_array_equal(result.probs[order], network.probs)
    np.testing.assert_array_equal(result.label, result.probs.argmax(axis=1))
    np.testing.assert_array_equal(result.prediction, result.label)
    np.testing.assert_allclose(result.risk, 1.0 - result.probs.max(axis=1))
    assert result.evidence == {}


def test_wrong_labels_are_found_and_replaced(weights_dir: Path, tmp_path: Path) -> None:
    texts, truth, given = make_corpus(300)
    result = run_paper(texts, given, weights_dir, tmp_path)
    wrong = given != truth
    assert (result.label == truth).mean() > (given == truth).mean() + 0.05
    assert wrong[np.argsort(result.rank)[: wrong.sum()]].mean() > 0.7
    assert result.clean_prob[wrong].mean() < 0.4 < 0.6 < result.clean_prob[~wrong].mean()


def test_a_whole_encoder_learns_from_noisy_labels(weights_dir: Path, tmp_path: Path) -> None:
    texts, truth, given = make_corpus(300, wrong=0.15)
    settings: dict[str, Any] = {"network": "finetune", "batch_size": 16, "learning_rate": 1e-2}
    result = run_paper(texts, given, weights_dir, tmp_path, warmup_epochs=3, **settings)
    assert (result.prediction == truth).mean() > 0.9


def test_one_mixture_on_all_losses_gives_clean_probabilities(weights_dir: Path, tmp_path: Path) -> None:
    texts, _, given = make_corpus(200)
    result = run_paper(texts, given, weights_dir, tmp_path)
    (mixture,) = result.mixtures
    assert (mixture.label, mixture.rows) == (-1, 200)
    assert mixture == fit_mixture(result.losses)
    np.testing.assert_array_equal(result.clean_prob, clean_probability(result.losses, mixture))
    np.testing.assert_array_equal(result.flag == LIKELY_RIGHT, result.risk <= RISKY)
    assert (np.diff(result.risk[result.order]) <= 0).all()


def test_rows_without_a_readable_label_go_by_the_prediction(weights_dir: Path, tmp_path: Path) -> None:
    texts, truth, given = make_corpus(200)
    given[:20] = NO_LABEL
    result = run_paper(texts, given, weights_dir, tmp_path)
    assert (result.label[:20] == truth[:20]).mean() > 0.7
    assert (result.clean_prob[:20] == 0).all()
    np.testing.assert_array_equal(result.flag[:20] == LIKELY_WRONG, result.risk[:20] > RISKY)


def test_one_fold_is_one_network_on_all_rows(weights_dir: Path, tmp_path: Path) -> None:
    texts, truth, given = make_corpus(200)
    result = run_paper(texts, given, weights_dir, tmp_path, folds=1)
    assert (result.label == truth).mean() > (given == truth).mean()
    assert result.history[-1].clean_share == pytest.approx((result.clean_prob > 0.5).mean(), abs=0.05)
    with pytest.raises(InvalidInputError, match="One fold"):
        run_paper(texts, given, weights_dir, tmp_path, folds=1, method="coral")


def test_rows_are_split_anew_in_every_epoch_after_the_warm_up(weights_dir: Path, tmp_path: Path) -> None:
    texts, _, given = make_corpus(200)
    settings: dict[str, Any] = {"learning_rate": 1e-2, "batch_size": 16}
    history = run_paper(texts, given, weights_dir, tmp_path, epochs=6, **settings).history
    warm_up, robust = history[:2], history[2:]
    assert all(report.clean_share == 1.0 and report.loss_unlabelled == 0.0 for report in warm_up)
    assert all(report.clean_share < 1.0 and report.loss_unlabelled > 0.0 for report in robust)
    assert len({report.clean_share for report in robust}) > 1


def test_training_ends_with_convergence_or_with_the_epoch_limit(weights_dir: Path, tmp_path: Path) -> None:
    texts, truth, given = make_corpus(120)
    converged = run_paper(texts, truth, weights_dir, tmp_path, epochs=60)
    assert len(converged.history) < 60
    assert converged.stopped == Message("converged", {"epoch": len(converged.history)})
    limited = run_paper(texts, given, weights_dir, tmp_path, epochs=4)
    assert limited.stopped == Message("all_epochs", {"epochs": 4})


@pytest.mark.parametrize("network", ["head", "table"])
def test_a_permutation_of_the_rows_permutes_the_result(
    network: str, weights_dir: Path, tmp_path: Path
) -> None:
    texts, _, given = make_corpus(90)
    order = np.random.default_rng(1).permutation(90)
    moved = [texts[row] for row in order]
    straight, shuffled = (
        run_paper(
            rows,
            labels,
            weights_dir,
            tmp_path / str(number),
            network=network,
            table=text_table(rows) if network == "table" else None,
        )
        for number, (rows, labels) in enumerate(((texts, given), (moved, given[order])))
    )
    np.testing.assert_allclose(straight.probs[order], shuffled.probs, atol=1e-3)
    np.testing.assert_allclose(straight.clean_prob[order], shuffled.clean_prob, atol=1e-2)
    assert (straight.label[order] == shuffled.label).mean() > 0.98


def test_a_persons_label_is_final_and_does_not_decide_how_its_row_was_judged(
    weights_dir: Path, tmp_path: Path
) -> None:
    texts, truth, given = make_corpus(120)
    verified = np.full(120, NO_LABEL)
    verified[:30] = 1 - truth[:30]  # a person may disagree with all evidence
    result = run_paper(texts, given, weights_dir, tmp_path, verified=verified)
    np.testing.assert_array_equal(result.label[:30], verified[:30])
    assert (result.risk[:30] == 0).all()
    assert (result.clean_prob[:30] == 1).all()
    assert (result.flag[:30] == LIKELY_RIGHT).all()
    assert set(result.order[-30:].tolist()) == set(range(30))
    np.testing.assert_array_equal(result.machine_label, result.prediction)
    np.testing.assert_array_equal(result.machine_flag[:30] == LIKELY_RIGHT, result.machine_risk[:30] <= RISKY)
