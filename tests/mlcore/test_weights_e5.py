from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mlcore.slm.encoders import load_encoder, pool_texts
from mlcore.weights import check_folder, resolve_weights
from mlcore.weights_e5 import unpack_e5
from mlcore.weights_embedded import is_installed

WIDTH, DEPTH, HEADS, INNER, POSITIONS = 32, 2, 2, 64, 16
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "▁query",
    ":",
    "▁good",
    "好",
    "吃",
    "～",
    "▁go",
    "od",
    "<mask>",
]
SCORES = [0.0, 0.0, 0.0, 0.0, -2.0, -3.0, -3.0, -4.0, -4.0, -4.0, -4.0, -5.0, -5.0, 0.0]


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor's shape; weights of more than one dimension, but for positions and types, are quantised."""
    named: dict[str, tuple[int, ...]] = {
        "emb.word": (len(PIECES), WIDTH),
        "emb.pos": (POSITIONS, WIDTH),
        "emb.type": (2, WIDTH),
        "emb.ln.w": (WIDTH,),
        "emb.ln.b": (WIDTH,),
    }
    sizes = {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH)}
    sizes |= {"fi": (INNER, WIDTH), "fo": (WIDTH, INNER)}
    for layer in range(DEPTH):
        for name, shape in sizes.items():
            named |= {f"l{layer}.{name}.w": shape, f"l{layer}.{name}.b": shape[:1]}
        for name in ("aln", "oln"):
            named |= {f"l{layer}.{name}.w": (WIDTH,), f"l{layer}.{name}.b": (WIDTH,)}
    return named


def packed(rng: np.random.Generator, shape: tuple[int, ...], quantised: bool) -> tuple[bytes, np.ndarray]:
    """A tensor as it lies in the file, and its values."""
    if not quantised:
        values = rng.normal(size=shape).astype("<f4")
        return values.tobytes(), values
    data = b""
    blocks = []
    for _block in range(int(np.prod(shape)) // 32):
        scale, numbers = np.float16(rng.uniform(0.01, 0.1)), rng.integers(0, 16, 32)
        data += scale.tobytes() + bytes(
            int(low) | int(high) << 4 for low, high in zip(*np.split(numbers, 2), strict=True)
        )
        blocks.append((numbers - 8) * np.float32(scale))
    return data, np.concatenate(blocks).reshape(shape)


def write_packed(path: Path) -> dict[str, np.ndarray]:
    """A small file in the package's format; returns the values of its tensors."""
    rng = np.random.default_rng(0)
    tensors = {name: packed(rng, shape, is_quantised(name, shape)) for name, shape in shapes().items()}
    blob = "".join(PIECES).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype("<u4")
    head = struct.pack(
        "<4sI7ifi", b"E5S1", 1, WIDTH, DEPTH, HEADS, INNER, len(PIECES), POSITIONS, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob))
    head += ends.tobytes() + np.array(SCORES, "<f4").tobytes() + blob
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x0A, 1, 0x20)
    start = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory = struct.pack("<i", len(tensors))
    for name, (data, values) in tensors.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", is_quantised(name, values.shape), values.size, start, len(data))
        start += len(data)
    path.write_bytes(head + directory + b"".join(data for data, _values in tensors.values()))
    return {name: values for name, (_data, values) in tensors.items()}


def is_quantised(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and name not in ("emb.pos", "emb.type")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    write_packed(tmp_path / "small.bin")
    unpack_e5(tmp_path / "small.bin", tmp_path / "out")
    return check_folder(tmp_path / "out")


def test_weights_are_unpacked_to_the_precision_of_half_floats(folder: Path, tmp_path: Path) -> None:
    values = write_packed(tmp_path / "again.bin")
    state = load_encoder(folder).model.state_dict()
    for name, theirs in (
        ("emb.word", "embeddings.word_embeddings.weight"),
        ("emb.pos", "embeddings.position_embeddings.weight"),
        ("l1.k.w", "encoder.layer.1.attention.self.key.weight"),
        ("l0.fo.w", "encoder.layer.0.output.dense.weight"),
        ("l0.fi.b", "encoder.layer.0.intermediate.dense.bias"),
        ("l1.oln.w", "encoder.layer.1.output.LayerNorm.weight"),
    ):
        np.testing.assert_allclose(state[theirs].numpy(), values[name], rtol=1e-3, atol=1e-6)
    assert len(state) == len(shapes())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("good", ["<s>", "▁query", ":", "▁good", "</s>"]),
        ("好吃～", ["<s>", "▁query", ":", "▁", "好", "吃", "～", "</s>"]),
        ("  ｇｏｏｄ\u200b good\n", ["<s>", "▁query", ":", "▁good", "▁good", "</s>"]),
        ("", ["<s>", "▁query", ":", "</s>"]),
    ],
)
def test_texts_become_the_prompt_and_the_likeliest_pieces(folder: Path, text: str, tokens: list[str]) -> None:
    encoder = load_encoder(folder)
    ids = encoder.tokenize([text]).input_ids[0]
    assert encoder.tokenizer.convert_ids_to_tokens(ids) == tokens


def test_the_folder_gives_features_of_texts(folder: Path) -> None:
    features = pool_texts(["good", "好吃"], load_encoder(folder))
    assert features.shape == (2, 4 * WIDTH)
    assert np.isfinite(features).all()


@pytest.mark.skipif(
    not is_installed("multilingual-e5-small"), reason="the encoder's package is not installed"
)
def test_the_embedded_encoder_knows_what_a_sentence_means_in_two_languages(tmp_path: Path) -> None:
    encoder = load_encoder(resolve_weights("multilingual-e5-small", weights_dir=None, cache_dir=tmp_path))
    texts = ["The food was cold.", "菜是凉的。", "The engine needs oil.", "发动机需要机油。"]
    vectors = torch.from_numpy(pool_texts(texts, encoder)[:, : encoder.dimensions].astype(np.float32))
    vectors = torch.nn.functional.normalize(vectors)
    likeness = vectors @ vectors.T
    assert likeness[0].argsort(descending=True)[1] == 1
    assert likeness[2].argsort(descending=True)[1] == 3
