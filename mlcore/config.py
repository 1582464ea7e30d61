"""Settings of the engine's steps: frozen, with defaults that are right for most corpora."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Method = Literal["coral", "paper", "adamatch", "plain"]

EMBEDDED_LLM = "smollm2-135m-instruct"
EMBEDDED_ENCODER = "multilingual-e5-small"
SECOND_ENCODER = "all-minilm-l6-v2"  # of English; takes the first one's place where that is not installed
RENAMED_SETTINGS = {"second_percent": "second_question_percent"}  # keys of settings that version 0.1 stored


@dataclass(frozen=True, slots=True)
class LlmConfig:
    """Which language model labels the corpus, and how.

    ``kind``: ``local`` (weights on this machine), ``hub`` (Hugging Face Inference API) or ``endpoint`` (a server
    with the chat protocol at ``base_url``). ``model`` is a hub name, a folder, or the embedded model's name.
    ``extra_body``: a JSON object whose members are added to the body of every call.
    ``text_characters``: how much of a row's text is shown; 0 takes the kind's own default, see :attr:`characters`.
    ``price_in``, ``price_out``: of a million tokens read and written; ``budget_tokens``, ``budget_money``: the most that
    one run may spend, 0 for no limit.
    ``price_cached``: of those read from the provider's cache, 0 as any other. ``by_batches``: rows are asked by the server's batch
    interface, which answers within a day for ``batch_share`` of the prices.
    ``second_question_percent``: of the rows that a server answers without log-probabilities, the share that is asked a second time
    in other words, see :mod:`mlcore.label.second_question`; 0 for none.
    ``asked_percent``: of all rows, the share that one round asks about: a sample in the first, the riskiest ones in later rounds; 100 for
    all rows, later for all at risk.
    ``demonstrations``: in one prompt. ``demonstration_sets``: how many different sets of them a local model is asked with.
    """

    kind: Literal["local", "hub", "endpoint"] = "local"
    model: str = EMBEDDED_LLM
    base_url: str = ""
    provider: str = ""
    extra_body: str = ""
    text_characters: int = 0
    demonstrations: int = 8
    demonstration_sets: int = 3
    concurrency: int = 16
    deadline_seconds: float = 60.0
    calibration_strength: float = 1.0
    batch_size: int = 32
    asked_percent: int = 100
    second_question_percent: int = 25
    price_in: float = 0.0
    price_out: float = 0.0
    price_cached: float = 0.0
    by_batches: bool = False
    batch_share: float = 0.5
    budget_tokens: int = 0
    budget_money: float = 0.0

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> LlmConfig:
        """Settings as :meth:`as_dict` stored them, in this version or an earlier one."""
        return cls(**{RENAMED_SETTINGS.get(name, name): value for name, value in stored.items()})

    @property
    def sets(self) -> int:
        """Sets of demonstrations that each row is asked with: one where a question costs money."""
        return self.demonstration_sets if self.kind == "local" else 1

    @property
    def characters(self) -> int:
        """The most characters of a row's text that the model is shown; longer ones lose their middle."""
        # Small models on this machine read slowly and lose themselves in long texts.
        return self.text_characters or (2_000 if self.kind == "local" else 8_000)

    @property
    def is_fenced(self) -> bool:
        """Whether rows stand between marks in the prompt: small models on this machine do worse with them, and as told."""
        return self.kind != "local"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """How the small model is trained. ``epochs`` counts the warm-up epochs too.

    ``network``: ``head`` on frozen features, ``finetune`` the whole encoder, ``table`` an MLP on columns; ``auto`` takes
    ``table`` for a table, ``finetune`` where there is a GPU, else ``head``. ``method``: ``coral`` is the default,
    ``paper`` the published method alone, ``adamatch`` its network with aligned classes and an adaptive threshold,
    ``plain`` a network trained on all labels; by all but ``paper`` the label model decides. ``folds`` of cross-fitting
    and ``learning_rate``: 0 is the network's own default; with ``paper``, 1 fold is one network on all rows.
    """

    encoder: str = EMBEDDED_ENCODER
    network: Literal["auto", "head", "finetune", "table"] = "auto"
    epochs: int = 12
    warmup_epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 0.0
    folds: int = 0
    clean_threshold: float = 0.5
    method: Method = "coral"
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
