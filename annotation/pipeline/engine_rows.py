"""Between stored rows and the engine's records: the one place that knows both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from annotation.models import Iteration, Project, Sample
from mlcore.config import LlmConfig
from mlcore.prompting.prompts import PromptTemplate
from mlcore.records import Demonstration, Label, LabelSet, Row

if TYPE_CHECKING:
    import pandas as pd


def as_row(sample: Sample, project: Project) -> Row:
    """A sample as the engine sees it: its key, its text, and its content columns. Never the reference label."""
    cells = dict(zip(project.columns, sample.fields, strict=True))
    return Row(
        key=sample.pk, text=sample.text, fields={name: cells[name] for name in project.content_columns}
    )


def as_table(samples: Sequence[Sample], project: Project) -> pd.DataFrame:
    """The content columns of rows, all as text. (N rows)"""
    import pandas as pd  # for workers only: the web process shows rows and needs none of it

    places = [project.columns.index(name) for name in project.content_columns]
    return pd.DataFrame(
        [[sample.fields[place] for place in places] for sample in samples],
        columns=project.content_columns,
        dtype=str,
    )


def round_labels(iteration: Iteration) -> tuple[LabelSet, list[int]]:
    """The labels as the round froze them, and the ids of their rows in the same order."""
    frozen = iteration.labels
    return LabelSet(tuple(Label(item["name"], item["description"]) for item in frozen)), [
        item["id"] for item in frozen
    ]


def round_prompt(iteration: Iteration) -> PromptTemplate:
    """The prompt as the round froze it."""
    prompt, config = iteration.prompt, LlmConfig.from_dict(iteration.llm_settings)
    return PromptTemplate(
        prompt["description"],
        prompt["demonstration"],
        prompt["output"],
        characters=config.characters,
        fenced=config.is_fenced,
    )


def demonstration_as_dict(demonstration: Demonstration) -> dict[str, Any]:
    return {"key": demonstration.key, "shown": demonstration.shown, "label": demonstration.label}


def demonstration_from_dict(stored: dict[str, Any]) -> Demonstration:
    return Demonstration(key=stored["key"], shown=stored["shown"], label=stored["label"])
