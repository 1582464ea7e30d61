from __future__ import annotations

import numpy as np
import pytest
import torch

from mlcore.slm.fixmatch import EpochRows, Learner, TrainingConfig, make_batches
from mlcore.slm.heads import FeatureHead, TableMlp, standardise


def test_batches_hold_every_row_once() -> None:
    batches = make_batches(np.arange(103), 16, None, torch.Generator().manual_seed(0))
    assert sorted(int(row) for batch in batches for row in batch) == list(range(103))
    assert max(len(batch) for batch in batches) <= 16


def test_rows_of_similar_length_share_a_batch() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 640)
    generator = torch.Generator().manual_seed(0)
    plain = make_batches(np.arange(640), 32, None, generator)
    sorted_by_length = make_batches(np.arange(640), 32, lengths, generator)

    def padding(batches: list[torch.Tensor]) -> int:
        return sum(int(lengths[batch].max()) * len(batch) - int(lengths[batch].sum()) for batch in batches)

    assert sorted(int(row) for batch in sorted_by_length for row in batch) == list(range(640))
    assert padding(sorted_by_length) < 0.2 * padding(plain)


def test_a_head_on_its_way_to_the_ridge_optimum_separates_two_clouds() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    features = standardise(rng.normal(size=(200, 5)) + labels[:, None])
    learner = Learner(lambda: FeatureHead(features, 2), TrainingConfig(32, 1e-2, 1e-3), seed=0)
    everyone, nobody = np.arange(200), np.arange(0)
    for _ in range(10):
        rows = EpochRows(everyone, nobody, np.ones(200))
        learner.train_epoch(np.eye(2)[labels], rows, lr_factor=1.0, on_batch=lambda *_: None)
    assert (learner.predict(everyone).argmax(axis=1) == labels).mean() > 0.85


def test_rows_of_weight_zero_teach_nothing() -> None:
    features = standardise(np.random.default_rng(0).normal(size=(64, 3)))
    learner = Learner(lambda: FeatureHead(features, 2), TrainingConfig(16, 1e-2, 0.0), seed=0)
    everyone = np.arange(64)
    rows = EpochRows(everyone, everyone[:0], np.zeros(64))
    learner.train_epoch(np.eye(2)[everyone % 2], rows, lr_factor=1.0, on_batch=lambda *_: None)
    assert learner.predict(everyone) == pytest.approx(np.full((64, 2), 0.5), abs=1e-6)


def test_the_plain_view_of_a_table_does_not_depend_on_chance() -> None:
    network = TableMlp(torch.randn(10, 4), torch.tensor([0, 0, 1, 2]), 3, 8)
    rows = torch.arange(10)
    outputs = [network(rows, "plain", torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert torch.equal(outputs[0], outputs[1])
    views = [network(rows, "strong", torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert not torch.equal(views[0], views[1])


def test_an_adaptive_threshold_aligns_pseudo_labels_with_the_labelled_rows() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(300) < 0.5).astype(int)
    features = standardise(rng.normal(size=(300, 4)) + 2 * labels[:, None])
    learner = Learner(lambda: FeatureHead(features, 2), TrainingConfig(32, 1e-1, 0.0, adaptive=True), seed=0)
    known, rest = np.arange(100), np.arange(100, 300)
    rest = rest[labels[rest] == 1]  # one class only
    rows = EpochRows(known, rest[:0], np.ones(300))
    learner.train_epoch(np.eye(2)[labels], rows, lr_factor=1.0, on_batch=lambda *_: None)
    threshold = learner.choose_threshold(known, rest, 2)
    assert threshold.align[0] > 1.0 > threshold.align[1]
    assert 0.45 <= threshold.confidence <= 0.9
    learner = Learner(lambda: FeatureHead(features, 2), TrainingConfig(32, 1e-1, 0.0), seed=0)
    fixed = learner.choose_threshold(known, rest, 2)
    assert fixed.confidence == 0.95
    assert fixed.align.tolist() == [1.0, 1.0]


def test_features_are_standardised_without_a_copy() -> None:
    features = (3 * np.random.default_rng(0).normal(size=(5000, 4)) + [0, 1, 2, 3]).astype(np.float16)
    features[:, 3] = 7
    found = standardise(features)
    assert np.shares_memory(found.values.numpy(), features)
    rows = found.rows(torch.arange(5000))
    assert rows.mean(dim=0).numpy() == pytest.approx(np.zeros(4), abs=1e-4)
    assert rows.std(dim=0).numpy() == pytest.approx([1, 1, 1, 0], abs=1e-3)
