"""What each language model said of rows: the answers of two models to one row are two opinions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from annotation.models import Iteration, Prediction, Project
from annotation.pipeline.project.connection import identity_of
from mlcore.config import LlmConfig


class LlmRounds(NamedTuple):
    """The rounds that asked one model, the oldest first. ``name``: the model's, with its number where names are equal."""

    name: str
    rounds: list[Iteration]


def rounds_by_model(project: Project, *, up_to: int, label_ids: Sequence[int]) -> list[LlmRounds]:
    """Which models the standing rounds up to a number asked, with the same labels as now, whatever their order."""
    found: dict[tuple[str, ...], LlmRounds] = {}
    asked = project.iterations.standing().filter(number__lte=up_to, started_from=Iteration.Start.LLM)
    for iteration in asked.order_by("number"):
        if sorted(item["id"] for item in iteration.labels) != sorted(label_ids):
            continue
        config = LlmConfig.from_dict(iteration.llm_settings)
        names = [model.name for model in found.values()]
        is_new = identity_of(config) not in map(list, found)
        name = f"{config.model} ({len(names) + 1})" if is_new and config.model in names else config.model
        found.setdefault(tuple(identity_of(config)), LlmRounds(name, [])).rounds.append(iteration)
    return list(found.values())


def own_answers(iteration: Iteration) -> Iterator[Prediction]:
    """The round's LLM answers, without those that it kept from earlier rounds."""
    return (
        iteration.predictions.filter(source=Prediction.ModelKind.LLM)
        .exclude(origin=Prediction.Origin.EARLIER)
        .only("sample_id", "label_id", "calibrated")
        .iterator()
    )


def labels_by_model(
    project: Project, samples: Collection[int], *, up_to: int, label_ids: Sequence[int]
) -> dict[str, dict[int, int | None]]:
    """For each model the label that it gave each of some rows last; rows that it was not asked about are left out."""
    said: dict[str, dict[int, int | None]] = {}
    for model in rounds_by_model(project, up_to=up_to, label_ids=label_ids):
        answers = Prediction.objects.filter(
            iteration__in=model.rounds, source=Prediction.ModelKind.LLM, sample__in=samples
        ).exclude(origin=Prediction.Origin.EARLIER)
        by_round = answers.order_by("iteration__number").values_list("sample_id", "label_id")
        said[model.name] = dict(by_round.iterator())
    return said
