"""What the columns of a file are to a project, and whether that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from annotation.errors import InvalidFileError
from annotation.models import Project, Upload


def check_mapping(
    upload: Upload, content_columns: Sequence[str], id_column: str, reference_column: str
) -> None:
    if not content_columns:
        raise InvalidFileError(_("Choose at least one column that the models are to see."))
    named = [*content_columns, *filter(None, (id_column, reference_column))]
    for name in named:
        if name not in upload.columns:
            raise InvalidFileError(
                _("The file has no column “%(name)s”; it has %(columns)s.")
                % {"name": name, "columns": _quoted(upload.columns)}
            )
    if len(set(content_columns)) < len(content_columns):
        raise InvalidFileError(_("A column is chosen twice among those that the models see."))
    if reference_column in content_columns:
        raise InvalidFileError(
            _(
                "“%(name)s” holds the reference labels, so the models must not see it. Take it off the content columns."
            )
            % {"name": reference_column}
        )


def check_same_mapping(project: Project, mapping: dict[str, Any]) -> None:
    if missing := [name for name in project.columns if name not in mapping["columns"]]:
        raise InvalidFileError(
            _(
                "The project's rows have columns that this file lacks: %(names)s. Add them, or make a new project."
            )
            % {"names": _quoted(missing)}
        )
    if surplus := [name for name in mapping["columns"] if name not in project.columns]:
        raise InvalidFileError(
            _(
                "This file has columns that the project's rows lack: %(names)s. Remove them, or make a new project."
            )
            % {"names": _quoted(surplus)}
        )
    if any(
        mapping[name] != getattr(project, name)
        for name in ("content_columns", "id_column", "reference_column")
    ):
        raise InvalidFileError(
            _(
                "The project's columns are mapped already: content %(content)s, id %(id)s, reference %(reference)s. "
                "A later file must use the same."
            )
            % {
                "content": _quoted(project.content_columns),
                "id": _quoted(filter(None, [project.id_column])) or "–",
                "reference": _quoted(filter(None, [project.reference_column])) or "–",
            }
        )


def _quoted(names: Any) -> str:
    return ", ".join(f"“{name}”" for name in names)
