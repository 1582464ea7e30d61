"""Sentences on a stage that depend on what it did; an empty one leaves the word to the general sentence of its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from annotation.jobs.round_metrics import RoundMetrics

if TYPE_CHECKING:
    from annotation.jobs.kind import Sentence
    from annotation.models import Stage


LABELING_PHASES = {
    "demonstrations": _("Choosing demonstrations for the prompt."),
    "self-annotation": _(
        "The LLM labels some random rows first; those with the highest confidence become the demonstrations in the prompt."
    ),
    "keeping": _("Keeping the earlier answers of rows that are not at risk."),
    "labeling": _("The LLM is labeling the rows."),
    "second": _(
        "Asking the riskiest rows a second time with a reworded prompt; whether both answers agree shows how reliable they are."
    ),
    "calibration": _("Removing the LLM's bias towards some labels."),
}


TRAINING_PHASES = {
    "features": _("Computing the features for the SLM."),
    "warm-up": _("Warm-up: plain training on all labels."),
    "robust": _("Robust training: the SLM learns from clean rows; the others count as unlabelled."),
    "verdict": _("Combining the evidence for every row."),
    "model": _("Fitting the model that is kept to the final labels of all rows."),
    "saving": _("Saving the results."),
}

COMPARISON_PHASES = {
    "comparing": _("The LLM answers the rows of the random sample; no row gets a label from it.")
}
NEW_ROWS_PHASES = {"predicting": _("The kept model labels the new rows.")}
NEW_ROWS_STATES: Mapping[str, Sentence] = {
    "done": _("The new rows have a label and a risk, and joined the review queue.")
}
RESTORE_STATES: Mapping[str, Sentence] = {
    "done": _("The rows have that round's labels again. Corrections by people are unchanged.")
}


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


IMPORT_STATES: Mapping[str, Sentence] = {
    "cancelling": _("Removing the rows of this file that were already imported."),
    "cancelled": _(
        "No row of this file was imported. Resume to read it from the start, or upload another file."
    ),
    "failed": import_failed,
    "done": rows_read,
}

EXPORT_STATES = {
    "paused": _("Partial files are not kept; resume to write the file from the start."),
    "cancelled": _("No file was created. Resume to write it from the start, or create another one."),
    "failed": _("It stopped with the error below, and no file was created. Resume to try again."),
    "done": _("The file is ready."),
}
