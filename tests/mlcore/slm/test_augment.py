from __future__ import annotations

import torch

from mlcore.slm.augment import corrupt_columns, cut_tokens, drop_features, mix_features


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_dropped_features_keep_their_mean() -> None:
    dropped = drop_features(torch.ones(200, 200), 0.4, seeded())
    assert abs(float(dropped.mean()) - 1.0) < 0.02
    assert abs(float((dropped == 0).float().mean()) - 0.4) < 0.02


def test_a_mixed_row_stays_mostly_itself() -> None:
    features = torch.eye(50)
    mixed = mix_features(features, 0.2, seeded())
    assert bool((mixed.argmax(dim=1) == torch.arange(50)).all())
    assert torch.allclose(mixed.sum(dim=1), torch.ones(50))


def test_special_tokens_and_padding_are_never_cut() -> None:
    attention = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    special = torch.tensor([[1, 0, 0, 1, 1], [1, 0, 0, 0, 1]])
    cut = cut_tokens(attention, special, 0.9, seeded())
    assert bool((cut[special == 1] == attention[special == 1]).all())


def test_a_text_never_loses_all_of_its_tokens() -> None:
    attention, special = torch.ones(20, 4, dtype=torch.long), torch.zeros(20, 4, dtype=torch.long)
    assert bool((cut_tokens(attention, special, 1.0, seeded()).sum(dim=1) > 0).all())


def test_a_column_is_corrupted_as_a_whole() -> None:
    columns = torch.tensor([0, 0, 1])
    mixed = corrupt_columns(torch.zeros(500, 3), columns, torch.ones(500, 3), 0.3, seeded())
    assert bool((mixed[:, 0] == mixed[:, 1]).all())
    assert abs(float(mixed.mean()) - 0.3) < 0.05


def test_a_seed_decides_the_view() -> None:
    features = torch.randn(5, 5, generator=seeded())
    assert torch.equal(drop_features(features, 0.5, seeded()), drop_features(features, 0.5, seeded()))
