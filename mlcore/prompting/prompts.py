"""Prompts: three blocks with named placeholders, rendered in one pass.

The blocks are the paper's: task description, in-context demonstrations, output control.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlcore.messages import Message
from mlcore.prompting.injection import FENCE_RULE, fenced, without_marks
from mlcore.records import Demonstration, LabelSet, Prompt, TurnedPrompt

PLACEHOLDERS = ("labels", "label_descriptions", "demonstrations", "content")
TEMPLATE_BYTES = 20_000
SHOWN_CHARACTERS = 2_000
DEMONSTRATION_CHARACTERS = 600
CUT_MARK = " […] "
PARAGRAPH = "\n\n"

_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_WORD_IN_BRACES = re.compile(r"\{([a-z_]+)\}")
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """The paper's three blocks.

    Placeholders: ``{labels}``, ``{label_descriptions}``, ``{demonstrations}`` and ``{content}``. Anything else
    in braces stays as it is written. A demonstration is written as the last paragraph of ``output``, with its
    text in place of ``{content}`` and its label behind; so the model sees examples in the form of the question.
    Of a row, ``characters`` are shown; see :func:`cut`. ``fenced`` rows stand between marks that they can't contain, and the
    prompt says so; for models that do as they are told.
    """

    description: str
    demonstration: str
    output: str
    characters: int = field(default=SHOWN_CHARACTERS, compare=False)
    fenced: bool = field(default=False, compare=False)

    @property
    def blocks(self) -> dict[str, str]:
        return {
            "description": self.description,
            "demonstration": self.demonstration,
            "output": self.output,
        }


def check_template(template: PromptTemplate) -> list[Message]:
    """The template's problems; an empty list if it can be used."""
    problems = []
    size = len((template.description + template.demonstration + template.output).encode())
    if size > TEMPLATE_BYTES:
        problems.append(Message("prompt_too_long", {"count": size, "most": TEMPLATE_BYTES}))
    found = template.output.count("{content}")
    if found != 1:
        problems.append(Message("content_times", {"count": found}))
    if "{content}" in template.description:
        problems.append(Message("content_in_description"))
    if "{content}" in template.demonstration:
        problems.append(Message("content_in_demonstration"))
    if "{demonstrations}" in template.description + template.output:
        problems.append(Message("demonstrations_elsewhere"))
    if template.demonstration.strip() and "{demonstrations}" not in template.demonstration:
        problems.append(Message("demonstrations_missing"))
    if "{labels}" not in template.description + template.output:
        problems.append(Message("labels_missing"))
    return problems


def unknown_placeholders(template: PromptTemplate) -> list[str]:
    """Words in braces that look like placeholders and are none; they go to the model as they are written."""
    whole = template.description + template.demonstration + template.output
    return [name for name in dict.fromkeys(_WORD_IN_BRACES.findall(whole)) if name not in PLACEHOLDERS]


def render_prompt(
    template: PromptTemplate,
    *,
    labels: LabelSet,
    demonstrations: Sequence[Demonstration],
    shown: str,
    instructions: bool = True,
) -> Prompt:
    """Render the prompt of one row.

    All that rows with the same demonstrations share goes into the prefix, so that a model (or a server's prefix
    cache) reads it once; only the paragraph with the row is left for the query.

    Args:
        template: the three blocks.
        labels: the label names and descriptions.
        demonstrations: labelled examples, in the order in which they are shown.
        shown: the row as its task shows it; cut to the template's ``characters``.
        instructions: off leaves out all that isn't demonstrations or the question, for a model that goes on with a text
            rather than doing as it is told.
    """
    constant = {"labels": ", ".join(labels.names), "label_descriptions": _describe(labels)}
    instruction, question = _split_output(template.output)
    blocks = [_fill(template.description, constant)] if instructions else []
    if template.fenced:
        blocks.append(FENCE_RULE)
    if demonstrations:
        written = PARAGRAPH.join(_demonstrate(template, question, constant, each) for each in demonstrations)
        blocks.append(_fill(template.demonstration, {**constant, "demonstrations": written}))
    if instructions:
        blocks.append(_fill(instruction, constant))
    prefix = PARAGRAPH.join(text for block in blocks if (text := _tidy(block)))
    content = _content(template, shown, template.characters)
    return Prompt(prefix=prefix, query=_fill(question, {**constant, "content": content}))


def turn_round(
    template: PromptTemplate, *, labels: LabelSet, demonstrations: Sequence[Demonstration], shown: str
) -> TurnedPrompt:
    """The question's paragraph turned round, behind demonstrations written in the same way: ``Topic: sport``, ``Text: …``.

    A model can then be asked how probable each label makes the row, rather than the other way round; see
    :meth:`mlcore.llm.local.model.LocalModel.ask`.
    """
    _instruction, question = _split_output(template.output)
    constant = {"labels": ", ".join(labels.names), "label_descriptions": _describe(labels)}
    before, after = (_fill(part, constant) for part in question.split("{content}", 1))
    ask, head = after.strip(), f"\n{before}"
    # The gap goes with the text: models have tokens for a space and a word, not for a space.
    gap = head[len(head.rstrip()) :]

    def lead(label: str) -> str:
        return f"{ask}{label_joint(ask)}{label}{head.rstrip()}"

    written = [
        lead(each.label) + gap + _content(template, each.shown, DEMONSTRATION_CHARACTERS)
        for each in demonstrations
    ]
    return TurnedPrompt(
        prefix=PARAGRAPH.join(written),
        leads=tuple(lead(name) for name in labels.names),
        text=gap + _content(template, shown, template.characters),
    )


def cut(text: str, limit: int) -> str:
    """The text, or ``limit`` characters of it: the first two thirds and the last third, with a mark between them."""
    if len(text) <= limit:
        return text
    tail = limit // 3  # conclusions stand at the end
    return f"{text[: limit - tail].rstrip()}{CUT_MARK}{text[-tail:].lstrip()}"


def _content(template: PromptTemplate, shown: str, characters: int) -> str:
    text = cut(shown, characters)
    return fenced(text) if template.fenced else without_marks(text)


def _fill(block: str, values: Mapping[str, str]) -> str:
    # One pass: what is put in is never searched again, so a sample that holds “{labels}” stays as it is.
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), block)


def _describe(labels: LabelSet) -> str:
    return "\n".join(f"{label.name}: {label.description}" for label in labels if label.description)


def _demonstrate(
    template: PromptTemplate, question: str, constant: Mapping[str, str], demonstration: Demonstration
) -> str:
    shown = _content(template, demonstration.shown, DEMONSTRATION_CHARACTERS)
    text = _fill(question, {**constant, "content": shown})
    return f"{text}{label_joint(text)}{demonstration.label}"


def label_joint(text: str) -> str:
    """What stands between a question and its label: a space, unless the question ends in one of its own."""
    return "" if not text or text[-1].isspace() or text[-1] in "：“「『【\"'" else " "


def _split_output(output: str) -> tuple[str, str]:
    """The instruction before the paragraph that holds ``{content}``, and that paragraph with all that follows."""
    start = output.rfind(PARAGRAPH, 0, max(output.find("{content}"), 0))
    return ("", output) if start < 0 else (output[:start], output[start + len(PARAGRAPH) :])


def _tidy(block: str) -> str:
    return _BLANK_LINES.sub(PARAGRAPH, block).strip()
