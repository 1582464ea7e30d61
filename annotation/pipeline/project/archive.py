"""Put a project away, take it back, or delete it for good: in two steps, so that no click loses anybody's work."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from annotation.errors import AnnotationError, BusyError
from annotation.files import data_store
from annotation.jobs import kinds, state
from annotation.jobs.details import Detail, ExportDetail
from annotation.jobs.work import Job
from annotation.models import Activity, Project, Stage
from annotation.pipeline.project import activity
from annotation.pipeline.project.readiness import check_idle
from mlcore.errors import StoppedError

DELETE_ROWS = 500  # in one transaction, so that nobody's correction in another project waits long for it


def put_away(project: Project, *, user: User) -> None:
    """Take a project out of everybody's list; nothing of it is changed, and an owner can take it back.

    Raises:
        BusyError: a stage of it is at work, waits or is paused.
    """
    with transaction.atomic():
        row = Project.objects.select_for_update().get(pk=project.pk)
        check_idle(row, of_any_kind=True)
        row.put_away_at = timezone.now()
        row.save(update_fields=["put_away_at"])
        activity.record(row, user=user, verb=Activity.Verb.PUT_AWAY)


def take_back(project: Project, *, user: User) -> None:
    """Put a project that was put away back into its members' lists.

    Raises:
        BusyError: it is being deleted.
    """
    with transaction.atomic():
        row = Project.objects.select_for_update().get(pk=project.pk)
        if row.stages.filter(kind=kinds.DELETION.key).exists():
            raise BusyError("“%(name)s” is being deleted, so it can't be restored.", name=row.name)
        row.put_away_at = None
        row.save(update_fields=["put_away_at"])
        activity.record(row, user=user, verb=Activity.Verb.TOOK_BACK)


def start_deletion(project: Project, *, name: str, user: User) -> Stage:
    """Delete a project that was put away, with its rows, corrections and files, in the background and for good.

    A deletion that ended by an error is queued again. Answers of language models stay in the owner's cache, since they
    were paid for.

    Args:
        name: the project's name, typed by the person.

    Raises:
        AnnotationError: the name is another one, or the project was not put away.
        BusyError: a stage of it is at work.
    """
    if name.strip() != project.name.strip():
        raise AnnotationError(
            "To delete “%(name)s”, type its exact name; you typed “%(typed)s”. Nothing was deleted.",
            name=project.name,
            typed=name.strip(),
        )
    if project.put_away_at is None:
        raise AnnotationError("Archive the project first. Nothing was deleted.")
    begun = project.stages.filter(kind=kinds.DELETION.key).first()
    if begun is not None:
        if not begun.is_active:
            state.resume(begun)
        return begun
    check_idle(project, of_any_kind=True)
    return state.create_stage(project, kinds.DELETION, total=project.samples.count(), user=user)


def run_deletion(job: Job[Detail]) -> None:
    """Delete the rows piece by piece, then the files; the project itself goes with the end of the stage.

    Repeatable: a killed run goes on with what is left.

    Raises:
        StoppedError: the worker is going; what is deleted stays deleted.
    """
    project = job.stage.project
    done = 0
    while piece := list(project.samples.order_by("pk").values_list("pk", flat=True)[:DELETE_ROWS]):
        if job.lease.should_stop():
            raise StoppedError
        with job.lease.piece():
            project.samples.filter(pk__in=piece).delete()
        done += len(piece)
        job.progress.report(done=done)
    for upload in project.uploads.all():
        # Before its row goes: a file that no row names would lie there for ever.
        data_store.drop(upload.path)
    for stage in project.stages.all():
        _remove_files(stage)


def delete_emptied(stage: Stage) -> None:
    """Delete the project whose rows and files a deletion has removed."""
    stage.project.delete()


def drop_copies() -> None:
    """Remove what this machine's folders hold that lies in the store as well and nobody has needed for a day."""
    unfinished = Stage.objects.exclude(status=Stage.Status.DONE).values_list("run_id", flat=True)
    kept = {str(run_id) for run_id in unfinished}
    for folder in (settings.UPLOAD_DIR, settings.EXPORT_DIR, settings.RUN_DIR):
        data_store.drop_copies(folder, but=kept)


def _remove_files(stage: Stage) -> None:
    """What the stage left on the disk: its training, or the file that it exported."""
    data_store.drop(settings.RUN_DIR / str(stage.run_id))
    if stage.kind == kinds.EXPORT.key and (stored := ExportDetail.of(stage).stored):
        exports: Path = settings.EXPORT_DIR
        data_store.drop(exports / stored)
