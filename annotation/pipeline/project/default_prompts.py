"""The default prompt of each task, also in Chinese: a corpus in that language is asked about in it, whoever reads the pages."""

from __future__ import annotations

from django.utils.translation import gettext, override

from annotation.models import Project
from mlcore.prompting.prompts import PromptTemplate
from mlcore.prompting.tasks import Task

LOOKED_AT_ROWS = 200
CHINESE_SHARE = 0.3  # of the letters, as for the warning about the script


def default_prompts(task: Task) -> list[PromptTemplate]:
    """The task's default prompt, in English and in Chinese."""
    prompt = task.default_prompt
    with override("zh-hans"):
        description, output = gettext(prompt.description), gettext(prompt.output)
    return [
        prompt,
        PromptTemplate(description=description, demonstration=prompt.demonstration, output=output),
    ]


def use_corpus_language(project: Project) -> None:
    """Ask in Chinese about a Chinese corpus, unless somebody has written or saved a prompt."""
    english, chinese = default_prompts(project.task)
    untouched = project.prompt == english and "prompt" not in project.saved_steps
    if untouched and not project.iterations.exists() and is_chinese(project):
        project.prompt_description, project.prompt_output = chinese.description, chinese.output
        project.save(update_fields=["prompt_description", "prompt_output"])


def is_chinese(project: Project) -> bool:
    texts = project.samples.order_by("position").values_list("text", flat=True)[:LOOKED_AT_ROWS]
    letters = [char for text in texts for char in text[:500] if char.isalpha()]
    han = sum("\u4e00" <= char <= "\u9fff" for char in letters)
    return bool(letters) and han / len(letters) >= CHINESE_SHARE
