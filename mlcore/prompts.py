"""Prompts in three blocks (task description, in-context demonstration, output control), as in the CORAL paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlcore.records import NO_LABEL, Demonstration, LabelSet, Prompt

MOST_CHARACTERS = 20_000
_PLACEHOLDER = re.compile(r"\{(labels|label_descriptions|demonstrations|content)\}")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """What a person may change of a prompt."""

    description: str
    demonstration: str
    output: str


def render_prompt(
    template: PromptTemplate, *, labels: LabelSet, demonstrations: Sequence[Demonstration], shown: str
) -> Prompt:
    """Fill the template for one row, in one pass: what stands in a sample is never expanded."""
    values = {
        "labels": ", ".join(f"'{name}'" for name in labels.names),
        "label_descriptions": "\n".join(f"- {x.name}: {x.description}" for x in labels if x.description),
        "demonstrations": "\n".join(f"content: {d.shown}\nlabel: {d.label}" for d in demonstrations),
        "content": shown,
    }

    def fill(block: str) -> str:
        return _PLACEHOLDER.sub(lambda match: values[match[1]], block)

    prefix = [fill(template.description)] + ([fill(template.demonstration)] if demonstrations else [])
    return Prompt("\n\n".join(prefix), fill(template.output))


def check_template(template: PromptTemplate) -> list[str]:
    """What is wrong with a template, as sentences; empty if nothing is."""
    problems = []
    if "{content}" not in template.output:
        problems.append("The output control has no {content}: put it where the row's text belongs.")
    if sum(map(len, (template.description, template.demonstration, template.output))) > MOST_CHARACTERS:
        problems.append(f"The prompt is longer than {MOST_CHARACTERS} characters.")
    return problems


def read_answer(raw: str, labels: LabelSet) -> int:
    cleaned = raw.strip().strip("'\"[]。.").casefold()
    return next((i for i, name in enumerate(labels.names) if name.casefold() == cleaned), NO_LABEL)
