"""The data card of a project's labelled rows, with the certificate where the project has a goal."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _

from annotation import __version__
from annotation.files.tools.hugging_face import card_header
from annotation.models import Project
from annotation.pipeline.measure.certify import make_statement
from annotation.pipeline.measure.statement_words import part_sentence, statement_sentence
from annotation.pipeline.project.goal import goal_of


def data_card(project: Project, rows: int, label_column: str) -> str:
    """The card in Markdown."""
    return "\n".join([*card_header(project.name), *_lines(project, rows, label_column), ""])


def _lines(project: Project, rows: int, label_column: str) -> Iterator[str]:
    yield f"# {project.name}"
    yield ""
    yield _(
        "%(rows)s rows, labelled with CORAL %(version)s by a language model, a small model and people."
    ) % {
        "rows": f"{rows:,}",
        "version": __version__,
    }
    yield ""
    yield _("The column %(label)s holds the final label as a class; final_label holds its name.") % {
        "label": label_column
    }
    yield ""
    yield f"## {_('Labels')}"
    yield ""
    for label in project.label_list():
        yield f"- {label.name}" + (f": {label.description}" if label.description else "")
    yield ""
    yield f"## {_('Certificate')}"
    yield ""
    goal = goal_of(project)
    if goal is None:
        yield _("There is none: the project has no goal.")
        return
    statement, _others = make_statement(project, goal)
    yield statement_sentence(statement)
    yield part_sentence(statement)
    yield ""
    for name in ("method", "drawn", "decided", "uncovered", "unanswered", "made_at", "data_sha256"):
        yield f"- {name}: {statement[name]}"
