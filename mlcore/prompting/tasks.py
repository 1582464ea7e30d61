"""The task types. Each says how a row is shown to a model, how it is asked about, and which small model learns it.

A new type is one class here, in ``TASKS``, and a member of ``Project.TaskType``; CONTRIBUTING.md has the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol

from mlcore.errors import InvalidInputError
from mlcore.plan_texts import gettext_noop
from mlcore.prompting.prompts import PromptTemplate
from mlcore.records import Row


class Task(Protocol):
    """A strategy for one kind of labelling task."""

    name: ClassVar[str]
    title: ClassVar[str]
    help_text: ClassVar[str]
    student: ClassVar[Literal["text", "table"]]
    default_prompt: ClassVar[PromptTemplate]

    def show(self, row: Row) -> str:
        """The row as every model sees it."""
        ...


class SentimentTask:
    """What does the writer feel?"""

    name: ClassVar[str] = "sentiment"
    title: ClassVar[str] = gettext_noop("Sentiment analysis")
    help_text: ClassVar[str] = gettext_noop("Each row is a text; the labels are the feelings it can express.")
    student: ClassVar[Literal["text", "table"]] = "text"
    default_prompt: ClassVar[PromptTemplate] = PromptTemplate(
        description=gettext_noop(
            "Classify each text by its overall sentiment. The labels are: {labels}. "
            "Answer with one label and nothing else.\n{label_descriptions}"
        ),
        demonstration="{demonstrations}",
        output=gettext_noop("Text: {content}\nSentiment:"),
    )

    def show(self, row: Row) -> str:
        return _on_one_line(row.text)


class TopicTask:
    """What is the text about?"""

    name: ClassVar[str] = "topic"
    title: ClassVar[str] = gettext_noop("Topic classification")
    help_text: ClassVar[str] = gettext_noop(
        "Each row is a text; the labels are the subjects it can be about."
    )
    student: ClassVar[Literal["text", "table"]] = "text"
    default_prompt: ClassVar[PromptTemplate] = PromptTemplate(
        description=gettext_noop(
            "Classify each text by its topic. The labels are: {labels}. "
            "Answer with one label and nothing else.\n{label_descriptions}"
        ),
        demonstration="{demonstrations}",
        output=gettext_noop("Text: {content}\nTopic:"),
    )

    def show(self, row: Row) -> str:
        return _on_one_line(row.text)


class TabularTask:
    """Which class does this table row belong to?"""

    name: ClassVar[str] = "tabular"
    title: ClassVar[str] = gettext_noop("Tabular prediction")
    help_text: ClassVar[str] = gettext_noop(
        "Each row is a record with columns; the labels are the classes to predict."
    )
    student: ClassVar[Literal["text", "table"]] = "table"
    default_prompt: ClassVar[PromptTemplate] = PromptTemplate(
        description=gettext_noop(
            "Predict the label of each record from its columns. The labels are: {labels}. "
            "Answer with one label and nothing else.\n{label_descriptions}"
        ),
        demonstration="{demonstrations}",
        output=gettext_noop("Record:\n{content}\nLabel:"),
    )

    def show(self, row: Row) -> str:
        cells = (f"{_on_one_line(name)}: {_on_one_line(value)}" for name, value in row.fields.items())
        return "\n".join(cells) or _on_one_line(row.text)


TASKS: Mapping[str, Task] = {task.name: task for task in (SentimentTask(), TopicTask(), TabularTask())}


def task_named(name: str) -> Task:
    """The task type of this name.

    Raises:
        InvalidInputError: there is none.
    """
    if name not in TASKS:
        raise InvalidInputError("unknown_task", name=name, names=", ".join(TASKS))
    return TASKS[name]


def _on_one_line(text: str) -> str:
    # A line break inside a sample could pass for the prompt's own structure, so none is kept.
    return " ".join(text.split())
