"""The default prompt of each task, also in the reader's language, for a corpus in that language."""

from __future__ import annotations

from django.utils.translation import gettext

from mlcore.prompting.prompts import PromptTemplate
from mlcore.prompting.tasks import Task


def default_prompts(task: Task) -> list[PromptTemplate]:
    """The task's default prompt, and the same in the reader's language if that is another."""
    prompt = task.default_prompt
    translated = PromptTemplate(
        description=gettext(prompt.description),
        demonstration=prompt.demonstration,
        output=gettext(prompt.output),
    )
    return [prompt] if translated == prompt else [prompt, translated]
