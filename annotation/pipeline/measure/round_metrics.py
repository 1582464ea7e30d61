"""Numbers for pages, read from rows: nothing here is a counter that could drift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Count, F, Q
from django.utils.translation import gettext as _

from annotation.jobs.details import stage_cost
from annotation.jobs.round_metrics import RoundMetrics
from annotation.models import Iteration, Prediction, Project, Source
from annotation.pipeline.ingest.reference_labels import with_reference
from mlcore.measure.review_forecast import risk_curve

COUNTED_ROWS = 10_000  # of more, a page shows an accuracy that was counted before
CLEAN_AT_LEAST = 0.5


def record_metrics(iteration: Iteration) -> None:
    """Store what the round has reached so far. The only place where reference labels are read, besides the import."""
    metrics: dict[str, Any] = {}
    predictions, project = Prediction.objects.filter(iteration=iteration), iteration.project
    llm, slm = predictions.filter(source="llm"), predictions.filter(source="slm")
    if llm.exists():
        metrics["llm"] = _answers(llm) | _accuracy(llm, "label", project)
    if slm.exists():
        metrics["slm"] = _accuracy(slm, "label", project) | {"clean_share": clean_share(iteration)}
        metrics["verdict"] = _accuracy(slm, "verdict", project) | {"agreement": _agreement(slm)}
        metrics["flags"] = dict(slm.values_list("flag").annotate(Count("pk")).order_by())
        metrics["flips"] = _flips(iteration)
        metrics["final"] = final_accuracy(project)
        by_label = slm.values_list("verdict").annotate(Count("pk")).order_by()
        metrics["rows"] = {str(label_id): count for label_id, count in by_label}
        metrics["queue"] = _queue_curve(slm)
    iteration.metrics = RoundMetrics.from_json(metrics).to_json()
    iteration.save(update_fields=["metrics"])


def _queue_curve(slm: Any) -> dict[str, list[float]]:
    """Errors to expect along the review queue, of the rows that no person has decided."""
    open_rows = slm.exclude(sample__source=Source.PERSON)
    risks = open_rows.order_by("queue_rank").values_list("risk", flat=True)
    return risk_curve(risks.iterator(), open_rows.count())


def final_accuracy(project: Project) -> dict[str, Any]:
    """Accuracy of the current labels, people's included, against uploaded reference labels; empty without any."""
    return _accuracy(project.samples.all(), "label", project, sample="")


def shown_accuracy(project: Project, *, rows: int) -> dict[str, Any]:
    """:func:`final_accuracy` for a page: of a large corpus, what the newest round stored when it ended."""
    if rows <= COUNTED_ROWS:
        return final_accuracy(project)
    for iteration in project.iterations.order_by("-number"):
        final = RoundMetrics.of(iteration).final
        if final.reference_rows:
            return {**asdict(final), "of_round": iteration.number}
    return {}


@dataclass(frozen=True, slots=True)
class ModelsAlone:
    """How accurate each model alone is against reference labels, and which of them beats the file's labels."""

    llm: float | None = None
    slm: float | None = None
    better: str = ""


def models_alone(iteration: Iteration, *, file_accuracy: float) -> ModelsAlone:
    """What the round stored of its models; a round that trained on an earlier round's LLM labels has that one's."""
    slm = RoundMetrics.of(iteration).slm.accuracy
    llm = None
    earlier = iteration.project.iterations.standing().filter(number__lte=iteration.number)
    for each in earlier.order_by("-number"):
        llm = RoundMetrics.of(each).llm.accuracy
        if llm is not None or each.started_from == Iteration.Start.LLM:
            break
    best = max((value, name) for value, name in ((llm or 0.0, _("LLM")), (slm or 0.0, _("SLM"))))
    return ModelsAlone(llm, slm, best[1] if best[0] > file_accuracy else "")


def _accuracy(rows: Any, field: str, project: Project, *, sample: str = "sample__") -> dict[str, Any]:
    """Rows without a label count as wrong: a file with holes is not more accurate for it."""
    counts = with_reference(rows.order_by(), project, sample=sample).aggregate(
        rows=Count("pk"),
        right=Count("pk", filter=Q(**{f"{field}_id": F(f"{sample}reference_id")})),
        unknown=Count("pk", filter=Q(**{f"{sample}reference__isnull": True})),
    )
    if not counts["rows"]:
        return {}
    return {
        "reference_rows": counts["rows"],
        "right": counts["right"],
        "unknown_references": counts["unknown"],
        "accuracy": counts["right"] / counts["rows"],
    }


def _answers(llm: Any) -> dict[str, int]:
    counts: dict[str, int] = llm.aggregate(
        rows=Count("pk"),
        unreadable=Count("pk", filter=Q(label__isnull=True, error="")),
        failed=Count("pk", filter=~Q(error="")),
    )
    return counts


def _share(rows: Any, **condition: Any) -> float:
    counts = rows.aggregate(all=Count("pk"), some=Count("pk", filter=Q(**condition)))
    return counts["some"] / counts["all"] if counts["all"] else 0.0


def clean_share(iteration: Iteration) -> float | None:
    """The share of rows with a clean probability of at least a half, as the table shows it; None if no row has one.
    What a training epoch keeps as clean is another figure: a stricter and changing choice of what to learn from."""
    judged = Prediction.objects.filter(
        iteration=iteration, source=Prediction.ModelKind.SLM, clean_prob__isnull=False
    )
    return _share(judged, clean_prob__gte=CLEAN_AT_LEAST) if judged.exists() else None


def _agreement(slm: Any) -> float:
    """Share of rows on which the small model does not contradict the LLM."""
    named = slm.filter(sample__llm_label__isnull=False)
    contradicted: int = named.exclude(label=F("sample__llm_label")).count()
    return 1.0 - contradicted / max(int(slm.count()), 1)


def _flips(iteration: Iteration) -> int | None:
    """Rows whose verdict differs from the round before; None in the first round."""
    before = (
        iteration.project.iterations.standing()
        .filter(number__lt=iteration.number, predictions__verdict__isnull=False)
        .order_by("-number")
        .first()
    )
    if before is None:
        return None
    now = dict(
        Prediction.objects.filter(iteration=iteration, source="slm").values_list("sample_id", "verdict_id")
    )
    then = Prediction.objects.filter(iteration=before, source="slm").values_list("sample_id", "verdict_id")
    return sum(now.get(sample_id, verdict_id) != verdict_id for sample_id, verdict_id in then.iterator())


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """One line of the comparison of rounds. Shares are 0 to 1; None where the round did not come so far."""

    iteration: Iteration
    llm_accuracy: float | None
    slm_accuracy: float | None
    final_accuracy: float | None
    agreement: float | None
    clean_share: float | None
    flips: int | None
    tokens: int
    cost: float | None  # at the prices of the time; None where none was set
    seconds: float


def round_summaries(project: Project) -> list[RoundSummary]:
    """All rounds, oldest first."""
    return list(_summaries(project))


def _summaries(project: Project) -> Iterator[RoundSummary]:
    for iteration in project.iterations.prefetch_related("stages").order_by("number"):
        metrics, stages = RoundMetrics.of(iteration), list(iteration.stages.all())
        costs = [cost for stage in stages if (cost := stage_cost(stage)) is not None]
        yield RoundSummary(
            iteration=iteration,
            llm_accuracy=metrics.llm.accuracy,
            slm_accuracy=metrics.slm.accuracy,
            final_accuracy=metrics.final.accuracy,
            agreement=metrics.verdict.agreement,
            clean_share=metrics.slm.clean_share,
            flips=metrics.flips,
            tokens=sum(stage.tokens_in + stage.tokens_out for stage in stages),
            cost=sum(costs) if costs else None,
            seconds=sum(stage.seconds for stage in stages),
        )
