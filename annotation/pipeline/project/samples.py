"""The corpora that come with the program, and their projects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from django.contrib.auth.models import User
from django.core.files.base import File

from annotation.models import Project, Stage
from annotation.pipeline.ingest import start_import
from annotation.pipeline.ingest.column_roles import ColumnRoles
from annotation.pipeline.ingest.upload import store_upload
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from mlcore.prompting.prompts import PromptTemplate

FOLDER = Path(__file__).resolve().parents[2] / "samples"


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the corpora that come with the program, and how its project is set up. None is the task's default."""

    name: str
    file: str
    task: str
    reference: str
    labels: tuple[LabelDraft, ...]
    prompt: PromptTemplate | None = None
    demonstrations: int | None = None


# The embedded LLM is tiny. Asked in these words, and without demonstrations, it labels this corpus far better than with
# the default prompt (docs/benchmarks.md has the figures). Larger models are better off with the defaults.
ENGLISH = Sample(
    name="Customer messages",
    file="customer_messages.csv",
    task="topic",
    reference="topic",
    labels=(
        LabelDraft("billing", "charges, refunds, invoices, payment methods", "b"),
        LabelDraft("delivery", "shipping, parcels, delays, addresses", "d"),
        LabelDraft("product quality", "defects, performance, materials, missing parts", "q"),
        LabelDraft("account access", "login, passwords, verification, account settings", "a"),
    ),
    prompt=PromptTemplate("{labels}", "{demonstrations}", "Message: {content}\nThis message is about"),
    demonstrations=0,
)
CHINESE = Sample(
    name="商品评价",
    file="product_reviews_zh.csv",
    task="sentiment",
    reference="sentiment",
    labels=(LabelDraft("好评", "满意、推荐", "1"), LabelDraft("差评", "不满意、失望", "2")),
)


def configure_sample(sample: Sample, user: User) -> Project:
    """A new project that is set up for the sample; its rows are not there yet."""
    project = configure.create_project(name=sample.name, task_type=sample.task, owner=user)
    configure.set_labels(project, sample.labels)
    if sample.prompt:
        configure.set_prompt(project, **sample.prompt.blocks)
    if sample.demonstrations is not None:
        config = replace(project.llm_config, demonstrations=sample.demonstrations)
        configure.set_llm(project, config=config, token=None)
    return project


def import_sample(project: Project, sample: Sample, user: User) -> Stage:
    """Start the import of the sample's rows."""
    path = FOLDER / sample.file
    with path.open("rb") as file:
        upload = store_upload(project, File(file, name=path.name), user)
    return start_import.start_import(
        project, upload, ColumnRoles(["text"], "id", sample.reference), user=user
    )
