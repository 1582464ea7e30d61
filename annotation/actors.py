"""The broker's entry points: an id in, one pipeline step, nothing else.

The pipeline is imported inside the bodies, so that a process that only sends messages loads no model code. There are
no retries and no time limit here: the sweep over the stage rows is the retry, the lease is the limit.
"""

from __future__ import annotations

import dramatiq

from annotation.jobs import work_on


@dramatiq.actor(queue_name="llm", max_retries=0)  # type: ignore[untyped-decorator]
def label_corpus(stage_id: int) -> None:
    from annotation.pipeline import label

    with work_on(stage_id) as claim:
        if claim:
            label.run_labeling(claim)


@dramatiq.actor(queue_name="llm", max_retries=0)  # type: ignore[untyped-decorator]
def try_rows(stage_id: int) -> None:
    from annotation.pipeline import trial

    with work_on(stage_id) as claim:
        if claim:
            trial.run_trial(claim)


@dramatiq.actor(queue_name="slm", max_retries=0)  # type: ignore[untyped-decorator]
def train_student(stage_id: int) -> None:
    from annotation.pipeline import distill

    with work_on(stage_id) as claim:
        if claim:
            distill.run_distillation(claim)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def import_file(stage_id: int) -> None:
    from annotation.pipeline import ingest

    with work_on(stage_id) as claim:
        if claim:
            ingest.run_import(claim)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def export_file(stage_id: int) -> None:
    from annotation.pipeline import export

    with work_on(stage_id) as claim:
        if claim:
            export.run_export(claim)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def correct_rows(stage_id: int) -> None:
    from annotation.pipeline import bulk

    with work_on(stage_id) as claim:
        if claim:
            bulk.run_batch(claim)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def restore_round(stage_id: int) -> None:
    from annotation.pipeline import restore

    with work_on(stage_id) as claim:
        if claim:
            restore.run_restore(claim)


@dramatiq.actor(queue_name="files", max_retries=0)  # type: ignore[untyped-decorator]
def delete_project(stage_id: int) -> None:
    from annotation.pipeline import put_away

    with work_on(stage_id) as claim:
        if claim:
            put_away.run_deletion(claim)
