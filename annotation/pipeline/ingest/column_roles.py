"""What the columns of a file are to a project, and whether that fits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

from annotation.errors import InvalidFileError
from annotation.jobs.details import ImportDetail
from annotation.models import Project, Upload
from mlcore.column_kinds import CHOICES

# What stands before the name of a field within others: data.text, messages[0].content.
_OUTER = re.compile(r".*[.\]](?=\w+$)")
OnBadRow = Literal["skip", "reject"]

ID_NAMES = ("id", "key", "uid", "编号")
REFERENCE_NAMES = (
    *("label", "reference", "class", "target", "gold", "category", "topic", "sentiment", "truth"),
    *("choices", "accept", "标签", "类别"),
)
TEXT_NAMES = (
    *("text", "content", "message", "review", "sentence"),
    *("文本", "内容", "正文", "评论", "留言"),
)


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
    def stored(cls, detail: ImportDetail) -> Self:
        """The choices that a stage was started with."""
        return cls(**{field.name: getattr(detail, field.name) for field in fields(cls)})


DEFAULT_CHOICES = ImportChoices()


@dataclass(frozen=True, slots=True)
class ColumnRoles:
    """What the columns of a file are to a project.

    Attributes:
        content_columns: what the models see.
        id_column: values that name a row; the same one twice is one row. Empty for none.
        reference_column: known labels, for measuring only. Empty for none.
        column_kinds: what content columns of a table hold (number, category, text), where the guess is not to count;
            None leaves what an earlier import said.
    """

    content_columns: Sequence[str]
    id_column: str = ""
    reference_column: str = ""
    column_kinds: Mapping[str, str] | None = None

    @classmethod
    def of(cls, project: Project) -> Self:
        """As in the project's last import."""
        return cls(project.content_columns, project.id_column, project.reference_column)


def guess_roles(project: Project, columns: Sequence[str]) -> dict[str, Any]:
    """What each column probably is: as in the project's last import, or by its name. No content where that is unsure."""
    if project.content_columns and set(project.content_columns) <= set(columns):
        names = ("content_columns", "id_column", "reference_column", "column_kinds")
        return {name: getattr(project, name) for name in names}
    row_id = _named(columns, ID_NAMES, endings=("编号",))
    reference = _named(columns, REFERENCE_NAMES, endings=("标签",)) or _annotated(columns)
    content = [name for name in columns if name not in (row_id, reference)]
    if project.task.student != "table" and len(content) > 1:
        text = _named(columns, TEXT_NAMES, endings=("内容", "文本", "正文"))
        content = [text] if text else []
    return {"content_columns": content, "id_column": row_id, "reference_column": reference}


def _named(columns: Sequence[str], names: Sequence[str], *, endings: tuple[str, ...]) -> str:
    """The column with the first of these names, else the only one that ends so, as Chinese compounds do; else ""."""
    folded = {column.strip().casefold(): column for column in columns}
    for name, column in list(folded.items()):  # a field within another, by its own name
        folded.setdefault(_OUTER.sub("", name), column)
    if name := next((name for name in names if name in folded), ""):
        return folded[name]
    ending = [column for name, column in folded.items() if name.endswith(endings)]
    return ending[0] if len(ending) == 1 else ""


def _annotated(columns: Sequence[str]) -> str:
    """The labels in a file of Label Studio, which people name as they like: they stand between the data and who gave them."""
    at = columns.index("annotator") if "annotator" in columns else 0
    is_told = at > 1 and "annotated_at" in columns[at + 1 : at + 2]
    return columns[at - 1] if is_told else ""


def check_roles(upload: Upload, roles: ColumnRoles) -> None:
    """Raise InvalidFileError if a file's columns can't have these roles."""
    content_columns, reference_column = roles.content_columns, roles.reference_column
    if not content_columns:
        raise InvalidFileError("Choose at least one column that the models are to see.")
    for name in [*content_columns, *filter(None, (roles.id_column, reference_column))]:
        if name not in upload.columns:
            raise InvalidFileError(
                "The file has no column “%(name)s”; it has %(columns)s.",
                name=name,
                columns=_quoted(upload.columns),
            )
    if len(set(content_columns)) < len(content_columns):
        raise InvalidFileError("A column is chosen twice among those that the models see.")
    if reference_column in content_columns:
        raise InvalidFileError(
            "“%(name)s” holds the reference labels, so the models must not see it. Take it off the content columns.",
            name=reference_column,
        )
    for name, kind in (roles.column_kinds or {}).items():
        if name not in content_columns:
            raise InvalidFileError(
                "“%(name)s” is none of the columns that the models see, so it needs no kind.",
                name=name,
            )
        if kind not in CHOICES:
            raise InvalidFileError(
                "“%(name)s” can't hold “%(kind)s”. Choose one of: %(allowed)s.",
                name=name,
                kind=kind,
                allowed=", ".join(CHOICES),
            )


def columns_kept(upload: Upload, roles: ColumnRoles) -> list[str]:
    """The file's columns; of the fields within others those that have a role, since the others are in their column."""
    used = {*roles.content_columns, roles.id_column, roles.reference_column}
    unused = {*upload.reading.get("inner", ())} - used
    return [name for name in upload.columns if name not in unused]


def check_same_columns(first: Upload, other: Upload) -> None:
    if set(first.columns) != set(other.columns):
        raise InvalidFileError(
            "“%(other)s” has other columns than “%(first)s”: %(columns)s. Import it on its own.",
            other=other.name,
            first=first.name,
            columns=_quoted(other.columns),
        )


def check_same_roles(project: Project, columns: Sequence[str], roles: ColumnRoles) -> None:
    """Raise InvalidFileError if a later file has other columns than the project's rows, or other roles for them."""
    if missing := [name for name in project.columns if name not in columns]:
        raise InvalidFileError(
            "The project's rows have columns that this file lacks: %(names)s. Add them, or make a new project.",
            names=_quoted(missing),
        )
    if surplus := [name for name in columns if name not in project.columns]:
        raise InvalidFileError(
            "This file has columns that the project's rows lack: %(names)s. Remove them, or make a new project.",
            names=_quoted(surplus),
        )
    if replace(roles, column_kinds=None) != ColumnRoles.of(project):
        raise InvalidFileError(
            "The project's columns are mapped already: content %(content)s, id %(id)s, reference %(reference)s. "
            "A later file must use the same.",
            content=_quoted(project.content_columns),
            id=_quoted(filter(None, [project.id_column])) or "–",
            reference=_quoted(filter(None, [project.reference_column])) or "–",
        )


def _quoted(names: Any) -> str:
    return ", ".join(f"“{name}”" for name in names)
