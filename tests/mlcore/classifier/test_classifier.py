from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore import Classifier
from mlcore.classifier.classifier import About
from mlcore.classifier.fit import Fitted, fit_classifier
from mlcore.config import DistillConfig
from mlcore.corpus import Corpus
from mlcore.errors import EngineError, InvalidInputError
from mlcore.slm.cross_fit import assign_folds, train
from mlcore.slm.inputs import FINETUNE, Monitor, prepare
from tests.support.distillation import make_corpus, save_tiny_encoder, text_table

TEXTS, TRUTH, _ = make_corpus(160)
NEW_TEXTS, NEW_TRUTH, _ = make_corpus(80, seed=9)


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    save_tiny_encoder(root)
    return root


def fit(weights_dir: Path, cache: Path, network: str, task: str = "topic") -> Fitted:
    table = text_table(TEXTS) if task == "tabular" else None
    corpus = Corpus(TEXTS, table)
    config = DistillConfig(encoder="tiny", network=network, epochs=4, batch_size=16)  # type: ignore[arg-type]
    monitor = Monitor(lambda progress: None, lambda: False)
    inputs = prepare(corpus, config, 2, cache_dir=cache, weights_dir=weights_dir, monitor=monitor)
    ones, risk = np.ones(len(TEXTS)), np.full(len(TEXTS), 0.05)
    halves = None
    if inputs.defaults is FINETUNE:
        folds = assign_folds(TEXTS, TRUTH, 2, seed=0)
        halves = train(inputs, TRUTH, ones, folds, 2, config, monitor, None).probs
    about = About(
        ["sport", "money"], task, ["one", "two", "three"] if task == "tabular" else ["title", "text"]
    )
    return fit_classifier(corpus, inputs, TRUTH, risk, ones, config, about, monitor, network=halves)


@pytest.mark.parametrize(
    ("network", "task"), [("head", "topic"), ("finetune", "topic"), ("table", "tabular")]
)
def test_a_loaded_model_says_what_the_refitted_one_said(
    weights_dir: Path, tmp_path: Path, network: str, task: str
) -> None:
    fitted = fit(weights_dir, tmp_path / "cache", network, task)
    fitted.classifier.save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model", cache_dir=tmp_path / "other", weights_dir=weights_dir)
    predicted = loaded.predict(text_table(TEXTS) if task == "tabular" else TEXTS)
    np.testing.assert_allclose(predicted.probs, fitted.refitted, atol=2e-3)
    assert (predicted.label == fitted.refitted.argmax(axis=1)).all()
    fresh = loaded.predict(text_table(NEW_TEXTS) if task == "tabular" else NEW_TEXTS)
    assert (fresh.label == NEW_TRUTH).mean() > 0.8
    assert fresh.names[0] == ["sport", "money"][fresh.label[0]]
    assert ((fresh.risk > 0) & (fresh.risk < 1)).all()


def test_a_folder_holds_no_pickle_and_nothing_is_left_beside_it(weights_dir: Path, tmp_path: Path) -> None:
    fitted = fit(weights_dir, tmp_path / "cache", "finetune")
    for _ in range(2):  # the second one takes the first one's place
        fitted.classifier.save(tmp_path / "models" / "model")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["model"]
    suffixes = {path.suffix for path in (tmp_path / "models").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".txt"}


def test_records_are_shown_as_in_training(weights_dir: Path, tmp_path: Path) -> None:
    fitted = fit(weights_dir, tmp_path / "cache", "head")
    records: list[dict[str, Any]] = [
        {"title": "goal match", "text": "the team", "other": 1},
        {"title": None, "text": "bank stock"},
    ]
    texts = fitted.classifier.predict(["goal match the team", "bank stock"])
    np.testing.assert_allclose(fitted.classifier.predict(records).probs, texts.probs, atol=1e-3)
    with pytest.raises(InvalidInputError, match="no column title"):
        fitted.classifier.predict(pd.DataFrame({"text": ["goal"]}))
    assert fitted.classifier.predict([]).names == []


def test_a_table_needs_records(weights_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="trained on records"):
        fit(weights_dir, tmp_path / "cache", "table", "tabular").classifier.predict(["goal"])


def test_another_encoder_is_told(weights_dir: Path, tmp_path: Path) -> None:
    fit(weights_dir, tmp_path / "cache", "head").classifier.save(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    spec = json.loads(config.read_text())
    config.write_text(json.dumps(spec | {"fingerprint": "another"}))
    with pytest.raises(EngineError, match="another one here than in training"):
        Classifier.load(tmp_path / "model", weights_dir=weights_dir).predict(["goal"])
    config.write_text(json.dumps(spec | {"format": 99}))
    with pytest.raises(EngineError, match="Update CORAL"):
        Classifier.load(tmp_path / "model")


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "vocabulary.json"])
def test_a_damaged_folder_is_a_sentence(weights_dir: Path, tmp_path: Path, damage: str) -> None:
    fit(weights_dir, tmp_path / "cache", "head").classifier.save(tmp_path / "model")
    (tmp_path / "model" / damage).write_bytes(b"{")
    with pytest.raises(EngineError, match="holds no model that CORAL kept"):
        Classifier.load(tmp_path / "model")
