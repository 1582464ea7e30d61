"""What all projects of one owner may hold together, as the operator set it."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Sum

from annotation.errors import AnnotationError, InvalidFileError
from annotation.models import Project, Sample, Upload


def check_storage(project: Project, size: int) -> None:
    """Refuse a file of so many bytes that would take more room than the owner has.

    Raises:
        AnnotationError: it would.
    """
    if not settings.OWNER_MB:
        return
    kept = Upload.objects.filter(project__owner=project.owner_id).aggregate(size=Sum("size"))["size"] or 0
    if kept + size > settings.OWNER_MB * 2**20:
        raise AnnotationError(
            "With this file the owner's projects would keep %(size)s MB, more than the %(most)s MB that one owner has "
            "(CORAL_OWNER_MB). Delete a project that is not needed any more.",
            size=(kept + size) // 2**20,
            most=settings.OWNER_MB,
        )


def rows_of_owner(project: Project) -> int:
    """Rows of all projects of the project's owner; not counted where there is no limit."""
    return Sample.objects.filter(project__owner=project.owner_id).count() if settings.OWNER_ROWS else 0


def check_rows(rows: int) -> None:
    """Refuse so many rows of one owner.

    Raises:
        InvalidFileError: they are more than one may have.
    """
    if settings.OWNER_ROWS and rows > settings.OWNER_ROWS:
        raise InvalidFileError(
            "With this file the owner's projects would have more than %(most)s rows, as many as one owner may have "
            "(CORAL_OWNER_ROWS). Nothing was imported. Delete a project that is not needed any more.",
            most=settings.OWNER_ROWS,
        )
