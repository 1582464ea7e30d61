"""The default prompt of each task, also in the reader's language, for a corpus in that language."""

from __future__ import annotations

from django.utils.translation import gettext, gettext_noop

from mlcore.prompting.prompts import PromptTemplate
from mlcore.prompting.tasks import Task

#: The blocks of the tasks' default prompts, as the engine has them.
BLOCKS = (
    gettext_noop(
        "Classify each text by its overall sentiment. The labels are: {labels}. "
        "Answer with one label and nothing else.\n{label_descriptions}"
    ),
    gettext_noop("Text: {content}\nSentiment:"),
    gettext_noop(
        "Classify each text by its topic. The labels are: {labels}. "
        "Answer with one label and nothing else.\n{label_descriptions}"
    ),
    gettext_noop("Text: {content}\nTopic:"),
    gettext_noop(
        "Predict the label of each record from its columns. The labels are: {labels}. "
        "Answer with one label and nothing else.\n{label_descriptions}"
    ),
    gettext_noop("Record:\n{content}\nLabel:"),
)


def default_prompts(task: Task) -> list[PromptTemplate]:
    """The task's default prompt, and the same in the reader's language if that is another."""
    prompt = task.default_prompt
    translated = PromptTemplate(
        description=gettext(prompt.description),
        demonstration=prompt.demonstration,
        output=gettext(prompt.output),
    )
    return [prompt] if translated == prompt else [prompt, translated]
