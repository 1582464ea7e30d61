from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.distillation import save_tiny_encoder


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    save_tiny_encoder(root)
    return root
