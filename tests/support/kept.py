"""A project whose small model was trained and kept; a table, so that no encoder is needed."""

from __future__ import annotations

from dataclasses import replace

from annotation.jobs.work import run_stage
from annotation.models import Prediction, Project, Sample, Stage
from annotation.models.sample import LlmLabel
from annotation.pipeline.distill import start_distillation
from annotation.pipeline.project import configure
from tests.support.factories import make_project, make_sample, start_llm_round


def project_with_model(*, rows: int = 48) -> Project:
    """Its rows were labelled right by an LLM."""
    project = make_project(rows=rows, task_type="tabular")
    fast = replace(project.distill_config, epochs=4, warmup_epochs=1, batch_size=8)
    configure.set_slm(project, config=fast, chain_stages=False)
    iteration = start_llm_round(project)
    labelled = [LlmLabel(row.pk, row.reference_id, 0.9) for row in project.samples.all()]
    Sample.objects.write_llm_labels(labelled, round_number=1)
    Prediction.objects.bulk_create(
        Prediction(sample_id=row.sample_id, iteration=iteration, source="llm", label_id=row.label_id)
        for row in labelled
    )
    iteration.stages.update(status=Stage.Status.DONE, done=rows)
    stage = start_distillation.start_filtering(iteration, user=project.owner)
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    return project


def add_rows(project: Project, rows: int = 12) -> None:
    labels, first = project.label_list(), project.samples.count()
    Sample.objects.bulk_create(make_sample(project, place, labels) for place in range(first, first + rows))
