"""What the columns of a file are to a project, and whether that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from django.utils.translation import gettext as _

from annotation.errors import InvalidFileError
from annotation.models import Project, Upload
from mlcore.column_kinds import CHOICES

OnBadRow = Literal["skip", "reject"]


@dataclass(frozen=True, slots=True)
class ImportChoices:
    """What is to become of rows that are not as they should be.

    Attributes:
        on_bad_row: import the good rows and list the others, or import nothing if one row is bad.
        keep_duplicates: import rows, too, whose text an earlier file brought (without an id column only).
        keep_empty: import rows, too, without a text.
    """

    on_bad_row: OnBadRow = "skip"
    keep_duplicates: bool = False
    keep_empty: bool = False

    @classmethod
    def stored(cls, detail: Mapping[str, Any]) -> Self:
        """The choices that a stage was started with."""
        return cls(**{each.name: detail[each.name] for each in fields(cls) if each.name in detail})


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


def check_column_kinds(kinds: Mapping[str, str], content_columns: Sequence[str]) -> None:
    for name, kind in kinds.items():
        if name not in content_columns:
            raise InvalidFileError(
                _("“%(name)s” is none of the columns that the models see, so it needs no kind.")
                % {"name": name}
            )
        if kind not in CHOICES:
            raise InvalidFileError(
                _("“%(name)s” can't hold “%(kind)s”. Choose one of: %(allowed)s.")
                % {"name": name, "kind": kind, "allowed": ", ".join(CHOICES)}
            )


def check_same_columns(first: Upload, other: Upload) -> None:
    if set(first.columns) != set(other.columns):
        raise InvalidFileError(
            _("“%(other)s” has other columns than “%(first)s”: %(columns)s. Import it on its own.")
            % {"other": other.name, "first": first.name, "columns": _quoted(other.columns)}
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
