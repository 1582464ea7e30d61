"""Sentences on a stage that depend on what it did; an empty one leaves the word to the general sentence of its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext, ngettext

from annotation.jobs.details import RoundMetrics

if TYPE_CHECKING:
    from annotation.models import Stage


def import_failed(stage: Stage) -> str:
    return "" if stage.done else gettext("It stopped with the error below; no row of this file was imported.")


def rows_read(stage: Stage) -> str:
    return ngettext("%(shown)s row was read.", "%(shown)s rows were read.", stage.done) % {
        "shown": f"{stage.done:,}"
    }


def labelled(stage: Stage) -> str:
    """An answer in which no label was found is none: whoever reads “done” must hear of it here."""
    unreadable = RoundMetrics.of(stage.iteration).llm.unreadable if stage.iteration else 0
    if unreadable and unreadable >= stage.done:
        return gettext(
            "No answer could be read as a label, so the SLM has nothing to learn from. Try another prompt or model on 20 rows."
        )
    if unreadable:
        return ngettext(
            "All rows are processed; %(count)s answer could not be read as a label.",
            "All rows are processed; %(count)s answers could not be read as a label.",
            unreadable,
        ) % {"count": f"{unreadable:,}"}
    if stage.done >= stage.total:
        return gettext("Every row has an answer.")
    return gettext("All rows are processed.")
