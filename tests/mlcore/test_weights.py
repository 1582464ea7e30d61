"""Model names lead to folders that are safe to load, or to a sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlcore.errors import ModelUnavailableError
from mlcore.weights import check_folder, fingerprint, resolve_weights


def make_folder(path: Path, *, config: dict[str, Any] | None = None, **files: str) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": "llama", **(config or {})}))
    (path / "model.safetensors").write_bytes(b"weights")
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def resolve(name: str, tmp_path: Path) -> Path:
    return resolve_weights(name, weights_dir=tmp_path / "models", cache_dir=tmp_path / "cache")


def test_a_folder_under_the_model_folder_is_found_by_its_name(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "models" / "mine")
    assert resolve("mine", tmp_path) == folder
    assert resolve(str(folder), tmp_path) == folder


@pytest.mark.parametrize(
    "name",
    [
        "/etc",
        "../outside",
        "..",
        ".",
        "~",
        "",
        "hf://a/b",
        "https://example.org/a",
        "a/b/c",
        "x" * 500,
        "mine\0",
        "a b",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _no_download)
    make_folder(tmp_path / "outside")
    make_folder(tmp_path / "models" / "mine")
    with pytest.raises(ModelUnavailableError):
        resolve(name, tmp_path)


def test_a_link_out_of_the_model_folder_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "outside")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "outside")
    inner = make_folder(tmp_path / "models" / "inner")
    (inner / "vocab.txt").symlink_to("/etc/hostname")
    for name in ("link", "inner"):
        with pytest.raises(ModelUnavailableError):
            resolve(name, tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "code.Model"}},
        {"text_config": {"auto_map": {}}},
        {"trust_remote_code": True},
        {"_attn_implementation_internal": "owner/kernel"},
        {"sub": [{"attn_implementation": "owner/kernel"}]},
        {"custom_pipelines": {}},
    ],
)
def test_a_config_that_would_run_code_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="refused"):
        check_folder(make_folder(tmp_path / "m", config=config))


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"vocab_file": "/etc/passwd"},
        {"vocab_file": "../x"},
        {"chat_template": {"../../x": "{{ 1 }}"}},
        {"auto_map": {}},
    ],
)
def test_a_tokenizer_that_reaches_out_of_its_folder_is_refused(
    tokenizer: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ModelUnavailableError, match="refused"):
        check_folder(make_folder(tmp_path / "m", tokenizer_config__json=json.dumps(tokenizer)))


def test_harmless_settings_pass(tmp_path: Path) -> None:
    config = {"_attn_implementation": "sdpa", "architectures": ["LlamaForCausalLM"]}
    tokenizer = json.dumps({"vocab_file": "vocab.json", "chat_template": "{{ messages }}"})
    folder = make_folder(tmp_path / "m", config=config, tokenizer_config__json=tokenizer)
    assert check_folder(folder) == folder


def test_other_formats_than_safetensors_are_refused_without_being_opened(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", pytorch_model__bin="cos\nsystem\n(S'touch marker'\ntR.")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match="safetensors"):
        check_folder(folder)


@pytest.mark.parametrize("broken", ["", "{", "[" * 100_000, "\xff"])
def test_a_broken_config_is_a_sentence(broken: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    (folder / "config.json").write_text(broken, encoding="latin-1")
    with pytest.raises(ModelUnavailableError):
        check_folder(folder)


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="llama"):
        check_folder(make_folder(tmp_path / "m", config={"model_type": "mystery"}))


def test_a_hub_download_never_uses_the_machines_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def download(name: str, **settings: Any) -> str:
        seen.append((name, settings["token"], settings["allow_patterns"]))
        return str(make_folder(tmp_path / str(len(seen))))

    monkeypatch.setenv("HF_TOKEN", "canary")
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    resolve_weights("owner/name", weights_dir=None, cache_dir=tmp_path)
    resolve_weights("owner/name", weights_dir=None, cache_dir=tmp_path, token="mine")
    assert [token for _name, token, _patterns in seen] == [False, "mine"]
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in seen[0][2])


def test_the_hub_out_of_reach_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _unreachable)
    with pytest.raises(ModelUnavailableError, match="can't be reached"):
        resolve("owner/name", tmp_path)


def test_the_fingerprint_changes_with_the_weights(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    before = fingerprint(folder)
    (folder / "model.safetensors").write_bytes(os.urandom(7))
    assert fingerprint(folder) != before


def _no_download(*_args: Any, **_settings: Any) -> str:
    raise AssertionError("nothing may be downloaded for this name")


def _unreachable(*_args: Any, **_settings: Any) -> str:
    raise OSError("no route")
