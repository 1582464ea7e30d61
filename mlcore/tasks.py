"""Task types: how a row is shown to the models, which prompt asks, which kind of small model learns."""

from __future__ import annotations

from typing import ClassVar, Literal

from mlcore.errors import InvalidInputError
from mlcore.prompts import PromptTemplate
from mlcore.records import Row


class Task:
    """Strategy of a task type; a new type is a subclass and a line in ``TASKS``."""

    name: ClassVar[str]
    title: ClassVar[str]
    help: ClassVar[str]
    student: ClassVar[Literal["text", "table"]] = "text"
    default_prompt: ClassVar[PromptTemplate]

    def show(self, row: Row) -> str:
        return row.text


class Sentiment(Task):
    name, title, help = "sentiment", "Sentiment analysis", "Is a text positive or negative?"
    default_prompt = PromptTemplate(
        "You are a helpful assistant for the task of sentiment analysis. Classify the content as one of {labels}.",
        "{demonstrations}",
        "content: {content}\nlabel:",
    )


class Topic(Task):
    name, title, help = "topic", "Topic classification", "Which topic is a text about?"
    default_prompt = PromptTemplate(
        "You are a helpful assistant for the task of topic classification. Classify the content as one of {labels}.",
        "{demonstrations}",
        "content: {content}\nlabel:",
    )


class Tabular(Task):
    name, title, help = "tabular", "Tabular prediction", "Which class does a table row belong to?"
    student = "table"
    default_prompt = PromptTemplate(
        "You are a helpful assistant for the task of predicting a class from a table row. Classify it as one of {labels}.",
        "{demonstrations}",
        "content: {content}\nlabel:",
    )

    def show(self, row: Row) -> str:
        return "\n".join(f"{name}: {value}" for name, value in row.fields.items())


TASKS: dict[str, Task] = {task.name: task for task in (Sentiment(), Topic(), Tabular())}


def task_named(name: str) -> Task:
    if name not in TASKS:
        raise InvalidInputError(f"There is no task type {name!r}; there are {', '.join(TASKS)}.")
    return TASKS[name]
