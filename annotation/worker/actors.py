"""The broker's entry points: an id in, one pipeline step, nothing else.

The pipeline is imported inside the bodies, so that a process that only sends messages loads no model code. There are
no retries and no time limit here: the reaper over the stage rows is the retry, the lease is the limit.
"""

from __future__ import annotations

import dramatiq

from annotation.jobs.work import work_on


@dramatiq.actor(queue_name="llm", max_retries=0)  # type: ignore[untyped-decorator]
def label_corpus(stage_id: int) -> None:
    from annotation.pipeline.label import run_labeling

    with work_on(stage_id) as job:
        if job:
            run_labeling.run_labeling(job)


@dramatiq.actor(queue_name="llm", max_retries=0)  # type: ignore[untyped-decorator]
def try_rows(stage_id: int) -> None:
    from annotation.pipeline.label import try_out

    with work_on(stage_id) as job:
        if job:
            try_out.run_trial(job)


@dramatiq.actor(queue_name="slm", max_retries=0)  # type: ignore[untyped-decorator]
def train_student(stage_id: int) -> None:
    from annotation.pipeline.distill import run_distillation

    with work_on(stage_id) as job:
        if job:
            run_distillation.run_distillation(job)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def import_file(stage_id: int) -> None:
    from annotation.pipeline.ingest import start_import

    with work_on(stage_id) as job:
        if job:
            start_import.run_import(job)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def export_file(stage_id: int) -> None:
    from annotation.pipeline.export import run_export

    with work_on(stage_id) as job:
        if job:
            run_export.run_export(job)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def correct_rows(stage_id: int) -> None:
    from annotation.pipeline.review import bulk

    with work_on(stage_id) as job:
        if job:
            bulk.run_batch(job)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def restore_round(stage_id: int) -> None:
    from annotation.pipeline.iterate import restore_round as restore

    with work_on(stage_id) as job:
        if job:
            restore.run_restore(job)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def delete_project(stage_id: int) -> None:
    from annotation.pipeline.project import archive

    with work_on(stage_id) as job:
        if job:
            archive.run_deletion(job)
