from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore.config import EMBEDDED_ENCODER, SECOND_ENCODER, DistillConfig
from mlcore.corpus import LIKELY_RIGHT, Corpus
from mlcore.distill.distill import choose_method, distill_labels
from mlcore.errors import InvalidInputError, ModelUnavailableError, StoppedError
from mlcore.records import NO_LABEL
from mlcore.slm.cross_fit import assign_folds, train, why_stop
from mlcore.slm.inputs import Monitor, choose_network, prepare
from mlcore.verdict.classifiers import boosted_probs, logistic_probs, neighbour_votes
from mlcore.verdict.opinions import CrossFitter
from mlcore.verdict.review_order import RISKY
from mlcore.weights_embedded import EMBEDDED, Embedded
from tests.support.distillation import make_corpus, noisy, run, same, text_table


@pytest.mark.parametrize("method", ["coral", "adamatch", "plain"])
def test_wrong_labels_are_found_and_replaced(method: str, weights_dir: Path, tmp_path: Path) -> None:
    texts, truth, given = make_corpus(300)
    result = run(texts, noisy(given), weights_dir, tmp_path, method=method)

    assert (given == truth).mean() < 0.85
    assert (result.label == truth).mean() > 0.95
    wrong = given != truth
    assert wrong[np.argsort(result.rank)[: wrong.sum()]].mean() > 0.9
    # A flag is about the final label, not about the one given: what was replaced surely enough is likely right.
    assert ((result.flag == LIKELY_RIGHT) == (result.risk <= RISKY)).all()


def test_the_result_has_a_verdict_on_every_row(weights_dir: Path, tmp_path: Path) -> None:
    texts, _, given = make_corpus(120)
    given[:6] = NO_LABEL
    result = run(texts, noisy(given), weights_dir, tmp_path)

    assert result.probs.shape == (120, 2)
    np.testing.assert_allclose(result.probs.sum(axis=1), 1)
    assert sorted(result.rank.tolist()) == list(range(1, 121))
    assert sorted(result.order.tolist()) == list(range(120))
    assert np.isnan(result.losses[:6]).all()
    assert np.isfinite(result.losses[6:]).all()
    assert (result.label >= 0).all()
    assert ((result.risk >= 0) & (result.risk <= 1)).all()
    assert result.features.dtype == np.float16
    assert result.points.shape == (120, 2)
    assert set(result.flag[:6].tolist()) <= {0, 1}
    assert len(result.history) == 5
    assert result.stopped is not None
    assert result.stopped.code in ("all_epochs", "converged")


def test_a_persons_label_is_final(weights_dir: Path, tmp_path: Path) -> None:
    texts, truth, given = make_corpus(120)
    verified = np.full(120, NO_LABEL)
    verified[:30] = 1 - truth[:30]  # a person may disagree with all evidence
    result = run(texts, noisy(given, verified=verified), weights_dir, tmp_path)

    assert (result.label[:30] == verified[:30]).all()
    assert (result.risk[:30] == 0).all()
    assert (result.flag[:30] == LIKELY_RIGHT).all()
    assert (result.clean_prob[:30] == 1).all()
    assert set(result.order[-30:].tolist()) == set(range(30))


@pytest.mark.parametrize("network", ["head", "table"])
def test_the_order_of_the_upload_changes_nothing(network: str, weights_dir: Path, tmp_path: Path) -> None:
    texts, _, given = make_corpus(90)
    order = np.random.default_rng(1).permutation(90)
    moved = [texts[row] for row in order]
    first, second = (text_table(each) if network == "table" else None for each in (texts, moved))
    straight = run(texts, noisy(given), weights_dir, tmp_path / "a", network=network, table=first)
    shuffled = run(moved, noisy(given[order]), weights_dir, tmp_path / "b", network=network, table=second)

    np.testing.assert_allclose(straight.probs[order], shuffled.probs, atol=1e-3)
    assert (straight.label[order] == shuffled.label).mean() > 0.98
    assert (straight.rank[order][:5] == shuffled.rank[:5]).all()


def test_the_same_seed_gives_the_same_result_and_another_does_not(weights_dir: Path, tmp_path: Path) -> None:
    texts, _, given = make_corpus(90)
    first, again, other = (run(texts, noisy(given), weights_dir, tmp_path, seed=seed) for seed in (3, 3, 4))
    same(first, again)
    assert not np.allclose(first.probs, other.probs)


@pytest.mark.parametrize(
    ("network", "method", "stop_after"),
    [("head", "coral", 40), ("finetune", "coral", 14), ("head", "paper", 60), ("table", "adamatch", 60)],
)
def test_a_resumed_run_ends_in_the_same_result(
    network: str, method: str, stop_after: int, weights_dir: Path, tmp_path: Path
) -> None:
    texts, _, given = make_corpus(60)
    settings: dict[str, Any] = {
        "network": network,
        "method": method,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "table": text_table(texts) if network == "table" else None,
    }
    whole = run(texts, noisy(given), weights_dir, tmp_path, **settings)
    with pytest.raises(StoppedError):
        run(
            texts,
            noisy(given),
            weights_dir,
            tmp_path,
            checkpoints=tmp_path / "c",
            stop_after=stop_after,
            **settings,
        )
    assert (tmp_path / "c" / "last.pt").exists()
    resumed = run(texts, noisy(given), weights_dir, tmp_path, checkpoints=tmp_path / "c", **settings)
    same(whole, resumed)


def test_a_checkpoint_of_other_labels_is_not_resumed(weights_dir: Path, tmp_path: Path) -> None:
    texts, truth, given = make_corpus(60)
    misled = run(texts, noisy(given), weights_dir, tmp_path, checkpoints=tmp_path / "c")
    resumed = run(texts, noisy(truth), weights_dir, tmp_path, checkpoints=tmp_path / "c")
    same(run(texts, noisy(truth), weights_dir, tmp_path), resumed)
    assert not np.allclose(misled.losses, resumed.losses)


def test_a_table_is_learned_by_an_mlp(weights_dir: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(400) % 2
    table = pd.DataFrame(
        {
            "amount": (truth + rng.normal(0, 0.4, 400)).round(3).astype(str),
            "kind": np.where(rng.random(400) < 0.9, truth, 1 - truth).astype(str),
            "noise": rng.normal(size=400).round(2).astype(str),
        }
    )
    given = np.where(rng.random(400) < 0.2, 1 - truth, truth)
    texts = [", ".join(f"{name}: {value}" for name, value in row.items()) for row in table.to_dict("records")]
    result = run(texts, noisy(given), weights_dir, tmp_path, table=table, network="auto", epochs=12)
    assert (result.label == truth).mean() > (given == truth).mean() + 0.05
    assert result.history[-1].phase == "robust"
    assert result.history[-1].loss_unlabelled > 0  # it learned from its own guesses too


def test_the_default_method_on_a_table_is_adamatch_and_a_chosen_one_stays() -> None:
    texts, table = Corpus(["a", "b"]), Corpus(["a", "b"], pd.DataFrame({"column": ["a", "b"]}))
    assert choose_method(DistillConfig(), texts) == "coral"
    assert choose_method(DistillConfig(), table) == "adamatch"
    assert choose_method(DistillConfig(method="paper"), table) == "paper"


STRANGE: list[tuple[list[str], list[int], int]] = [
    (["one text", "two texts"], [0, 1], 2),
    (["one text", "two texts", "three"], [0, 0, 0], 2),
    (["", "", " ", ""], [0, 1, 0, 1], 2),
    (["goal match", "bank stock", "goal team", "coach"], [0, 1, 0, 2], 9),
    (["same", "same", "same", "same"], [0, 1, 0, NO_LABEL], 2),
    (["\ud800 broken", "bank\x00", "𝕏" * 400, "٣"], [0, 1, 0, 1], 3),
]


@pytest.mark.parametrize(
    ("network", "method"),
    [("head", "coral"), ("head", "paper"), ("head", "adamatch"), ("finetune", "coral"), ("table", "coral")],
)
@pytest.mark.parametrize(("texts", "given", "count"), STRANGE)
def test_a_strange_corpus_gets_a_verdict(
    texts: list[str],
    given: list[int],
    count: int,
    network: str,
    method: str,
    weights_dir: Path,
    tmp_path: Path,
) -> None:
    cells = [text.replace("\ud800", "") for text in texts]  # no frame holds a lone surrogate
    table = pd.DataFrame({"text": cells, "empty": [""] * len(texts)}) if network == "table" else None
    settings: dict[str, Any] = {"network": network, "method": method, "table": table, "epochs": 3}
    result = run(texts, noisy(np.array(given), count=count), weights_dir, tmp_path, **settings)
    assert np.isfinite(result.probs).all()
    assert ((result.risk >= 0) & (result.risk <= 1)).all()
    assert ((result.label >= 0) & (result.label < count)).all()
    assert sorted(result.order.tolist()) == list(range(len(texts)))


@pytest.mark.parametrize("has_gpu", [True, False])
def test_the_default_network_follows_the_hardware(has_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    assert choose_network(DistillConfig()) == ("finetune" if has_gpu else "head")
    assert choose_network(DistillConfig(network="head")) == "head"
    assert choose_network(DistillConfig(network="finetune")) == "finetune"


def test_each_half_is_judged_by_the_encoder_that_was_tuned_on_the_other(
    weights_dir: Path, tmp_path: Path
) -> None:
    texts, _, given = make_corpus(60)
    config = DistillConfig(
        encoder="tiny",
        network="finetune",
        epochs=2,
        warmup_epochs=1,
        batch_size=16,
        learning_rate=1e-2,
    )
    monitor = Monitor(lambda progress: None, lambda: False)
    inputs = prepare(Corpus(texts), config, 2, cache_dir=tmp_path, weights_dir=weights_dir, monitor=monitor)
    assert inputs.defaults.folds == 2
    folds, weights = assign_folds(texts, given, 2, seed=0), np.ones(60)
    changed = np.where(folds == 1, 1 - given, given)
    before, after = (
        train(inputs, known, weights, folds, 2, config, monitor, None).probs for known in (given, changed)
    )
    np.testing.assert_allclose(before[folds == 1], after[folds == 1], atol=1e-6)
    assert not np.allclose(before[folds == 0], after[folds == 0])


def test_one_label_only_is_warned_about(weights_dir: Path, tmp_path: Path) -> None:
    result = run(["goal", "bank", "team"], noisy(np.zeros(3, dtype=int)), weights_dir, tmp_path)
    assert any("same" in str(warning) for warning in result.warnings)


@pytest.mark.parametrize(
    ("texts", "given", "count", "sentence"),
    [
        (["only one"], [0], 2, "at least 2"),
        (["a", "b"], [0, 0], 1, "at least 2"),
        (["a", "b"], [NO_LABEL, NO_LABEL], 2, "readable"),
        (["a", "b"], [0, 5], 2, "allowed"),
        (["a", "b"], [0], 2, "shape"),
    ],
)
def test_what_cannot_be_learned_is_refused_with_a_sentence(
    texts: list[str], given: list[int], count: int, sentence: str, weights_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        run(texts, noisy(np.array(given), count=count), weights_dir, tmp_path)


def test_features_that_are_not_numbers_do_not_spoil_the_verdict(
    weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, _, given = make_corpus(60)
    broken = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float16)
    broken[::7] = np.nan
    broken[3] = np.inf
    monkeypatch.setattr("mlcore.slm.inputs.encode_texts", lambda *args, **kwargs: broken)
    result = run(texts, noisy(given), weights_dir, tmp_path)
    assert np.isfinite(result.probs).all()
    assert np.isfinite(result.risk).all()


def test_no_row_is_judged_by_a_model_that_saw_its_label(weights_dir: Path, tmp_path: Path) -> None:
    """Changing the labels of one fold changes no opinion on that fold."""
    texts, _, given = make_corpus(100)
    folds = assign_folds(texts, given, 5, seed=0)
    changed = np.where(folds == 2, 1 - given, given)
    weights = np.ones(100)
    features = np.random.default_rng(0).normal(size=(100, 8))
    classifiers: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda labels: neighbour_votes(features, labels, folds, 2, weights=weights),
        lambda labels: logistic_probs(features, labels, folds, 2, weights=weights, strength=1.0),
        lambda labels: boosted_probs(features, labels, folds, 2, weights=weights, seed=0),
    ]
    for classify in classifiers:
        before, after = classify(given), classify(changed)
        np.testing.assert_allclose(before[folds == 2], after[folds == 2])
        assert not np.allclose(before[folds != 2], after[folds != 2])


def test_copies_of_a_text_share_a_fold_and_classes_are_spread() -> None:
    texts = [f"text {number // 2}" for number in range(200)]
    labels = np.arange(200) // 2 % 4
    folds = assign_folds(texts, labels, 5, seed=1)
    assert (folds[::2] == folds[1::2]).all()
    counts = np.array(
        [[((folds == fold) & (labels == label)).sum() for label in range(4)] for fold in range(5)]
    )
    assert counts.min() >= 8


def test_training_never_reports_convergence_during_warm_up() -> None:
    assert why_stop([], DistillConfig()) is None


def test_a_corpus_to_which_rows_were_added_encodes_the_new_ones_only(
    weights_dir: Path, tmp_path: Path
) -> None:
    texts, _, given = make_corpus(60)
    run(texts[:40], noisy(given[:40]), weights_dir, tmp_path, epochs=1)
    run(texts, noisy(given), weights_dir, tmp_path, epochs=1)
    assert sorted(len(np.load(path)) for path in tmp_path.rglob("*.keys.npy")) == [20, 40]


@pytest.mark.parametrize(("wrong", "refits"), [(0.38, 4), (0.0, 0)])
def test_models_are_fitted_to_the_verdict_only_where_the_labels_are_the_weaker_ones(
    wrong: float, refits: int, weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, truth, given = make_corpus(300, wrong=wrong, seed=1)
    fitted: list[np.ndarray] = []

    refit = CrossFitter.refit_texts

    def watch(fitter: CrossFitter, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fitted.append(labels)
        return refit(fitter, labels, weights)

    monkeypatch.setattr(CrossFitter, "refit_texts", watch)
    result = run(texts, noisy(given), weights_dir, tmp_path)
    assert len(fitted) == refits
    assert (result.label == truth).mean() > 0.9


def test_the_users_token_fetches_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def refuse(name: str, *, token: str, **folders: Any) -> Path:
        seen.append(token)
        raise ModelUnavailableError("no such model")

    monkeypatch.setattr("mlcore.slm.inputs.resolve_weights", refuse)
    texts, _, given = make_corpus(20)
    with pytest.raises(ModelUnavailableError):
        distill_labels(
            Corpus(texts),
            noisy(given),
            DistillConfig(encoder="owner/private"),
            on_progress=lambda progress: None,
            should_stop=lambda: False,
            cache_dir=tmp_path,
            hub_token="hf_mine",
        )
    assert seen == ["hf_mine"]


def test_an_encoder_whose_package_is_missing_is_replaced_with_a_warning(
    weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def resolve(name: str, **settings: Any) -> Path:
        names.append(name)
        return weights_dir / "tiny"

    monkeypatch.setitem(EMBEDDED, EMBEDDED_ENCODER, Embedded("no_such_weights", "model", ""))
    monkeypatch.setattr("mlcore.slm.inputs.resolve_weights", resolve)
    texts, _, given = make_corpus(60)
    config = DistillConfig(encoder=EMBEDDED_ENCODER, network="head", epochs=1, warmup_epochs=0)
    result = distill_labels(Corpus(texts), noisy(given), config, cache_dir=tmp_path)
    assert names == [SECOND_ENCODER]
    assert "coral install-models" in str(result.warnings[0])
