"""The loop: what a network learns from, what it never sees, when it ends, and what it does when training goes astray."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from mlcore.config import DistillConfig, Method
from mlcore.corpus import EpochReport, Progress
from mlcore.errors import InvalidInputError
from mlcore.messages import Message
from mlcore.records import NO_LABEL
from mlcore.slm.cross_fit import Trained, assign_folds, rows_by_method, train, why_stop
from mlcore.slm.fixmatch import (
    EpochLosses,
    EpochRows,
    Learner,
    TrainingConfig,
    load_checkpoint,
    save_checkpoint,
)
from mlcore.slm.heads import FeatureHead, Network, TableMlp, View, standardise
from mlcore.slm.inputs import HEAD, TABLE, Defaults, Inputs, Monitor
from mlcore.slm.noise import CleanSplit

ROWS = 120
METHODS: list[Method] = ["coral", "paper", "adamatch", "plain"]


def make_rows(seed: int = 0) -> tuple[Tensor, np.ndarray]:
    labels = np.arange(ROWS) % 2
    features = np.random.default_rng(seed).normal(size=(ROWS, 6)) + labels[:, None]
    return standardise(features).rows(torch.arange(ROWS)), labels


def make_inputs(features: Tensor, network: str) -> Inputs:
    columns = torch.arange(features.shape[1])
    build: Callable[[], Network] = partial(FeatureHead, standardise(features.numpy()), 2)
    defaults: Defaults = HEAD
    if network == "table":
        build, defaults = partial(TableMlp, features, columns, 2, 8), TABLE
    return Inputs(features.numpy().astype(np.float16), features.numpy(), build, defaults, build)


def train_on(
    known: np.ndarray,
    *,
    method: Method = "coral",
    network: str = "head",
    rate: float = 1e-2,
    checkpoint: Path | None = None,
    watch: list[Progress] | None = None,
) -> Trained:
    features, labels = make_rows()
    config = DistillConfig(method=method, epochs=4, warmup_epochs=1, batch_size=16, learning_rate=rate)
    folds = assign_folds([f"row {number}" for number in range(ROWS)], labels, 3, seed=0)
    seen = [] if watch is None else watch
    monitor = Monitor(seen.append, lambda: False)
    return train(make_inputs(features, network), known, np.ones(ROWS), folds, 2, config, monitor, checkpoint)


@pytest.mark.parametrize("network", ["head", "table"])
@pytest.mark.parametrize("method", METHODS)
def test_a_network_never_sees_the_labels_of_the_fold_that_it_judges(method: Method, network: str) -> None:
    _, labels = make_rows()
    folds = assign_folds([f"row {number}" for number in range(ROWS)], labels, 3, seed=0)
    changed = np.where(folds == 1, 1 - labels, labels)
    before, after = (train_on(known, method=method, network=network).probs for known in (labels, changed))
    np.testing.assert_allclose(before[folds == 1], after[folds == 1], atol=1e-6)
    assert not np.allclose(before[folds != 1], after[folds != 1])


def test_an_epochs_report_says_what_scikit_learn_says_of_the_same_predictions() -> None:
    _, labels = make_rows()
    known = np.where(np.arange(ROWS) % 7 == 0, NO_LABEL, labels)
    trained = train_on(known)
    report, read = trained.history[-1], known != NO_LABEL
    assert report.fit == pytest.approx(-log_loss(known[read], trained.probs[read]))
    np.testing.assert_allclose(report.balance, [np.mean(known[read] == label) for label in (0, 1)])
    assert 0.0 < report.clean_share <= 1.0


def test_rows_without_a_label_are_learned_from_as_unlabelled_ones() -> None:
    rows, allowed = np.array([0, 1, 2, 3]), np.arange(6)  # rows 4 and 5 were unreadable
    split = CleanSplit(np.array([0.9, 0.2, 0.8, 0.1]), np.array([True, False, True, False]), [])
    methods: list[Method] = ["paper", "adamatch"]
    for method in methods:
        taught = rows_by_method(rows, allowed, split, np.ones(6), method)
        assert taught.labelled.tolist() == [0, 2]
        assert taught.unlabelled.tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize("method", ["coral", "paper", "adamatch"])
def test_rows_that_a_person_checked_always_teach_with_their_own_weight(method: Method) -> None:
    rows = np.arange(4)
    split = CleanSplit(np.array([0.9, 0.0, 0.8, 0.0]), np.array([True, False, True, False]), [])
    weights = np.array([1.0, 5.0, 1.0, 1.0])
    taught = rows_by_method(rows, rows, split, weights, method)
    assert 1 in taught.labelled
    assert taught.weights[1] == 5.0
    if method == "coral":
        assert taught.labelled.tolist() == [0, 1, 2, 3]
        assert taught.weights[3] == pytest.approx(0.1)
        assert taught.weights[0] > taught.weights[2] > taught.weights[3]


def epochs(*changes: float) -> list[EpochReport]:
    return [
        EpochReport(number, "robust", 0.1, 0.0, 1.0, share, 0.0, [], [], 1.0)
        for number, share in enumerate(changes, start=1)
    ]


def test_training_ends_once_predictions_stand_still_after_the_warm_up() -> None:
    config = DistillConfig(warmup_epochs=3)
    assert why_stop(epochs(0, 0, 0, 0, 0), config) is None  # two robust epochs prove nothing yet
    assert why_stop(epochs(0, 0, 0, 0.1, 0.001, 0.003), config) is None
    assert "epoch 6" in str(why_stop(epochs(0, 0, 0, 0.1, 0.001, 0.001), config))


class Brittle(Network):
    """Row 5 has no finite loss; where ``steep``, all losses are finite and no gradient is."""

    def __init__(self, *, steep: bool) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 2)
        self.steep = steep

    def forward(self, rows: Tensor, view: View, generator: torch.Generator) -> Tensor:
        logits = torch.as_tensor(self.layer(rows[:, None].float() / ROWS))
        if self.steep:
            return logits + torch.sqrt(logits * 0.0)
        return torch.where((rows == 5)[:, None], torch.nan, logits)


def learn(*, steep: bool) -> tuple[Learner, EpochLosses, list[tuple[float, float]]]:
    learner = Learner(lambda: Brittle(steep=steep), TrainingConfig(10, 1e-2, 0.0), seed=0)
    told: list[tuple[float, float]] = []
    labels, everyone = np.arange(ROWS) % 2, np.arange(ROWS)
    done = learner.train_epoch(
        np.eye(2)[labels],
        EpochRows(everyone, everyone[:0], np.ones(ROWS)),
        lr_factor=1.0,
        on_batch=lambda _batch, _batches, loss, other: told.append((loss, other)),
    )
    return learner, done, told


def test_a_batch_without_a_finite_loss_is_left_out_and_counted() -> None:
    learner, done, told = learn(steep=False)
    assert (done.batches, done.skipped) == (12, 1)
    assert np.isfinite([done.labelled, *np.ravel(told)]).all()
    assert all(torch.isfinite(value).all() for value in learner.network.state_dict().values())


def test_a_gradient_that_is_no_number_does_not_reach_the_weights() -> None:
    learner, done, _ = learn(steep=True)
    assert done.skipped == done.batches == 12
    assert all(torch.isfinite(value).all() for value in learner.network.state_dict().values())


def test_a_training_that_went_astray_is_refused_with_a_sentence() -> None:
    _, labels = make_rows()
    with pytest.raises(InvalidInputError, match="smaller learning rate"):
        train_on(labels, network="table", rate=1e30)


def test_skipped_batches_are_a_warning() -> None:
    assert Trained(np.zeros((1, 2)), np.zeros(1), epochs(0, 0)).warnings == []
    skipped = [EpochReport(1, "robust", 0.1, 0.0, 1.0, 0.0, 0.0, [], [], 1.0, skipped=3)]
    warnings = Trained(np.zeros((1, 2)), np.zeros(1), skipped).warnings
    assert warnings == [Message("skipped_batches", {"count": 3})]


def test_a_resumed_average_stays_where_the_network_computes(tmp_path: Path) -> None:
    features, _ = make_rows()
    config = TrainingConfig(10, 1e-2, 0.0, average=0.9)
    one, other = (
        Learner(lambda: FeatureHead(standardise(features.numpy()), 2), config, seed=seed) for seed in (0, 1)
    )
    everyone = np.arange(ROWS)
    rows = EpochRows(everyone, everyone[:0], np.ones(ROWS))
    one.train_epoch(np.eye(2)[everyone % 2], rows, lr_factor=1.0, on_batch=lambda *_: None)
    save_checkpoint(tmp_path / "last.pt", [one], "same", {})
    before = dict(other.averaged)
    load_checkpoint(tmp_path / "last.pt", [other], "same")
    # The very tensors, not new ones on the processor: on a GPU a resumed run would fail otherwise.
    assert all(other.averaged[name] is tensor for name, tensor in before.items())
    np.testing.assert_array_equal(one.predict(everyone), other.predict(everyone))


def test_a_checkpoint_that_could_not_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    learner, _, _ = learn(steep=False)
    save_checkpoint(path, [learner], "same", {"epoch": 1})

    def fill_the_disk(_tensors: object, target: Path, **_rest: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("torch.save", fill_the_disk)
    with pytest.raises(OSError, match="space"):
        save_checkpoint(path, [learner], "same", {"epoch": 2})
    assert load_checkpoint(path, [learner], "same") == {"epoch": 1}


@pytest.mark.parametrize("labelled", [ROWS, ROWS // 2])
def test_after_the_warm_up_a_network_learns_from_its_own_guesses(labelled: int) -> None:
    _, labels = make_rows()
    known = np.where(np.arange(ROWS) < labelled, labels, NO_LABEL)
    trained = train_on(known, method="adamatch", network="table")
    assert trained.history[0].loss_unlabelled == 0.0
    assert trained.history[-1].loss_unlabelled > 0.0
    assert np.isnan(trained.losses[labelled:]).all()
