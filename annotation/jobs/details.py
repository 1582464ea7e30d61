"""What stages and rounds store in their JSON columns, typed: ``Stage.detail`` by kind, and ``Iteration.metrics``.

Rows of earlier versions stay readable: a missing value has its default, an unknown one is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from mlcore.llm.budget import Usage
from mlcore.llm.cost import Prices

if TYPE_CHECKING:
    from annotation.models import Stage

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An object in a JSON column."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})

    def to_json(self) -> Json:
        """The values that are not the defaults."""
        defaults = asdict(type(self)())
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}


@dataclass(frozen=True, kw_only=True)
class Detail(Stored):
    """Of a stage of any kind. ``not_followed``: the message why what was to follow could not be started."""

    not_followed: Json | str = ""
    died_at: list[int] = field(
        default_factory=lambda: [0, 0]
    )  # epoch and rows that no lost worker got beyond
    done_before: int = 0  # rows that earlier attempts did
    began_after: float = 0.0  # seconds of this attempt before its first row
    seconds_left: float | None = None  # where the work estimates it itself

    @classmethod
    def of(cls, stage: Stage) -> Self:
        return cls.from_json(stage.detail)


@dataclass(frozen=True, kw_only=True)
class ImportDetail(Detail):
    """``then``: ids of the uploads to be imported next. The last three are counts of rows."""

    upload: int = 0
    file: str = ""
    then: list[int] = field(default_factory=list)
    on_bad_row: str = "skip"
    keep_duplicates: bool = False
    keep_empty: bool = False
    imported: int = 0
    duplicates: int = 0
    rejected: int = 0


@dataclass(frozen=True, kw_only=True)
class GivenDetail(Detail):
    """``rounds``: ids of the rounds that the columns' labels are stored in, in the same order."""

    columns: list[str] = field(default_factory=list)
    confidence: str = ""
    rounds: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ModelDetail(Detail):
    """Of a stage that asks a language model. Prices are of a million tokens, limits 0 for none."""

    price_in: float = 0.0
    price_out: float = 0.0
    price_cached: float = 0.0
    batch_share: float = 0.5
    budget_tokens: int = 0
    budget_money: float = 0.0
    cached: int = 0  # answers from the cache, over all attempts
    assumed: int = 0  # calls that were charged at the most that they may have cost
    breaks: int = 0  # pauses in a row after failed calls
    calls: Json = field(default_factory=dict)  # at_once, most, failures by kind, next_at
    phase_done: int = 0
    phase_total: int = 0
    unreadable: int = 0  # answers without a label
    thoughts: int = 0  # tokens of reasoning among those written
    cached_tokens: int = 0  # of those read, from the provider's cache
    batch_tokens: list[int] = field(default_factory=lambda: [0, 0, 0])  # by batches: in, cached, out
    cut_rows: int = 0  # rows too long to be shown whole

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """What tokens cost at the prices of the last attempt; None where no price is set."""
        if not (self.price_in or self.price_out):
            return None
        prices = Prices(self.price_in, self.price_out, self.price_cached, self.batch_share)
        return prices.cost(self.usage(tokens_in, tokens_out))

    def usage(self, tokens_in: int, tokens_out: int) -> Usage:
        """The stage's tokens by kind."""
        return Usage(tokens_in, tokens_out, self.thoughts, self.cached_tokens, *self.batch_tokens)


@dataclass(frozen=True, kw_only=True)
class LabelingDetail(ModelDetail):
    """``kept``: answers of the round ``kept_from``. ``tokens_before``: in and out, when the rows began."""

    own: Json = field(
        default_factory=dict
    )  # figures before the rows were cut into parts, by the names of the columns
    demonstrations_chosen: bool = False
    features_lost: bool = False  # so that the LLM labelled rows to choose demonstrations from
    rows_chosen: int = 0  # for the LLM, of ``chosen_of`` rows, where not all are asked about
    chosen_of: int = 0
    kept: int = 0
    kept_from: int | None = None
    tokens_before: list[int] | None = None
    refused_rows: int = 0  # rows whose call failed
    refused_by: dict[str, int] = field(default_factory=dict)  # the same by reason, see FAILURES of the table
    batch_sweep: int = 1  # how often rows without an answer were gone through, by batches
    prompt_rows: int = 0  # rows that look like prompts
    asked_twice: int = 0
    agreed: int = 0
    calibration: Json = field(
        default_factory=dict
    )  # checked, strength, temperature, checksum of the answers, rows written


@dataclass(frozen=True, kw_only=True)
class PartDetail(LabelingDetail):
    """A part of a labeling: rows behind the position ``after`` up to ``last``, and the class shares that they ought to have."""

    after: int = -1
    last: int = 0
    target: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class ConnectionTestDetail(ModelDetail):
    """``connection``: the id of a further connection; 0 is the project's own."""

    connection: int = 0


@dataclass(frozen=True, kw_only=True)
class ComparisonDetail(ModelDetail):
    """What a model answered about the blind rows. ``asked_with``: the settings; ``answers``: label ids by row, None where none
    could be read; tokens are of all these answers, as if the cache had none; ``latency``: mean seconds of an answer."""

    connection: int = 0
    name: str = ""
    asked_with: Json = field(default_factory=dict)
    answers: dict[str, int | None] = field(default_factory=dict)
    answer_tokens: list[int] = field(default_factory=lambda: [0, 0])
    latency: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrialDetail(ModelDetail):
    """``asked_with``: the settings asked with. ``estimate``: see mlcore.llm.cost.Forecast; None without an answer."""

    asked_with: Json = field(default_factory=dict)
    rows: list[Json] = field(default_factory=list)
    prefix: str = ""
    failed: int = 0
    unreadable_share: float | None = None
    estimate: Json | None = None
    corpus_rows: int = 0
    second_percent: int = 0


@dataclass(frozen=True, kw_only=True)
class FeaturesPartDetail(Detail):
    """Texts of a training to encode: the rows of its folder from ``start`` to ``end``.

    ``files``: where their features lie in the data folder, if they had to be sent to a store.
    """

    start: int = 0
    end: int = 0
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TrainingDetail(Detail):
    """Arrays follow the order of ``labels``, which are label ids. ``read_at``: when people's answers were read."""

    read_at: str = ""
    batch: int = 0
    batches: int = 0
    clean_share: float | None = None
    encoded: bool = False  # all texts have features
    shown_epoch: int = 0  # after which the rows are kept for pages, see EpochRows
    history: list[Json] = field(default_factory=list)  # see mlcore.corpus.EpochReport
    stopped: Json | str = ""
    warnings: list[Json | str] = field(default_factory=list)
    evidence: dict[str, float] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)
    loss_histogram: Json = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)
    unreadable_by_label: list[int] = field(default_factory=list)  # rows without a label of the LLM

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        # Until version 0.1 the rows without a label were called as the LLM's unreadable answers are.
        return super().from_json({"unreadable_by_label": stored.get("unreadable", []), **stored})


@dataclass(frozen=True, kw_only=True)
class ExportDetail(Detail):
    """``stored``: the file's name on the disk; ``file``: the one it is downloaded under; ``size`` in bytes."""

    format: str = "xlsx"
    language: str | None = None
    query: str = ""
    certainty: float | None = None
    stored: str = ""
    rows: int = 0
    size: int = 0
    file: str = ""
    sheets: int = 0


@dataclass(frozen=True, kw_only=True)
class RestoreDetail(Detail):
    """``round``: the number of the round whose labels are set."""

    round: int = 0


@dataclass(frozen=True, kw_only=True)
class PlanDetail(Detail):
    """``now``: the file's accuracy, its lower and its upper bound; None before a drawn row is answered. ``answered``: of these
    rows. ``tokens``, ``money``, ``minutes``: spent so far, by the models and by people, on ``timed`` answers. ``step``: what
    is to be done next, see mlcore.plan.records.Step; ``asks_first``: only if a person says so. ``offers``: what more of a limit
    brings, see mlcore.plan.records.Offer; ``lesson``: see mlcore.plan.outlook.Lesson. ``obstacle``: the message why
    the autopilot can't go on. ``told``: what the webhook was told last."""

    now: list[float] | None = None
    answered: int = 0
    tokens: int = 0
    money: float = 0.0
    minutes: float = 0.0
    timed: int = 0
    step: Json = field(default_factory=dict)
    asks_first: bool = False
    offers: list[Json] = field(default_factory=list)
    lesson: Json = field(default_factory=dict)
    obstacle: Json | str = ""
    told: str = ""


@dataclass(frozen=True, kw_only=True)
class UpdateDetail(Detail):
    """``renew``: take over the labels that follow from the answers although rows were drawn for the labels as they are;
    ``writes_labels``: whether it did. ``renewal``: how many fewer wrong rows such labels would have among the open ones.
    ``drawn_risk``: sum of the risk of the drawn and answered rows, as it is now."""

    renew: bool = False
    writes_labels: bool = False
    renewal: float = 0.0
    drawn_risk: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CertificateDetail(Detail):
    """``statement``: see :func:`annotation.pipeline.measure.certify.make_statement`. ``others``: places in the file of rows
    outside the certified part, riskiest first; of very many, the first."""

    statement: Json = field(default_factory=dict)
    others: list[int] = field(default_factory=list)


def stage_cost(stage: Stage) -> float | None:
    """What the stage's tokens cost; None where no price is set."""
    return ModelDetail.of(stage).cost(stage.tokens_in, stage.tokens_out)
