"""How numbers and states are said on the pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.messages import message_text
from annotation.models import Label, Stage

register = template.Library()
register.filter(message_text)

TONES = {
    Stage.Status.QUEUED: "",
    Stage.Status.RUNNING: "run",
    Stage.Status.PAUSED: "warn",
    Stage.Status.CANCELLED: "warn",
    Stage.Status.FAILED: "bad",
    Stage.Status.DONE: "ok",
}


@register.simple_tag
def chip(label: Any) -> str:
    """A label as a chip of its colour. A tag and no partial, since a page of the table shows a hundred."""
    return format_html('<span class="chip c{}" title="{}">{}</span>', label.colour, label.name, label.name)


@register.simple_tag
def label_options(labels: Sequence[Label], chosen: int | None = None) -> str:
    """An option for each label, one of them selected: for fifty rows of a table, and any number of labels."""
    plain, selected = '<option value="{}">{}</option>', '<option value="{}" selected>{}</option>'
    options = [
        format_html(selected if label.pk == chosen else plain, label.pk, label.name) for label in labels
    ]
    return format_html_join("", "{}", ((option,) for option in options))


@register.filter
def share(value: float | None, decimals: int = 1) -> str:
    """A share from 0 to 1 as a percentage; what is not known is a dash. Nothing is rounded up to certainty."""
    if value is None or not math.isfinite(value):
        return "–"
    step = 10.0**-decimals
    percent = value * 100
    if 0 < value < 1:
        percent = min(max(percent, step), 100 - step)
    return f"{percent:.{decimals}f}\N{NO-BREAK SPACE}%"


@register.filter
def plain(value: float) -> str:
    """A number for an attribute: a point, never a comma, whatever the language."""
    return f"{value:.4f}"


@register.filter
def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


@register.filter
def duration(seconds: float | None) -> str:
    """A time in the two units that matter."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return _("%(seconds)d s") % {"seconds": whole}
    if whole < 3600:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": whole // 60, "seconds": whole % 60}
    return _("%(hours)d h %(minutes)d min") % {"hours": whole // 3600, "minutes": whole % 3600 // 60}


@register.filter
def money(value: float | None) -> str:
    """An amount in the currency of the prices that the user entered: more decimals where it is small."""
    if value is None:
        return "–"
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.4f}"


@register.filter
def clock(epoch: float) -> str:
    """A moment of the near future, as the time of day."""
    return timezone.localtime(datetime.fromtimestamp(epoch, UTC)).strftime("%H:%M:%S")


@register.filter
def failure_words(failures: Mapping[str, int]) -> str:
    """Failed calls by kind."""
    words = {
        "limited": _("too many calls (429)"),
        "transient": _("no connection, or a failing server"),
        "unreadable": _("an answer of another shape"),
        "row": _("row too long"),
        "refused": _("request refused"),
        "fatal": _("token, model or address refused"),
    }
    return ", ".join(f"{count:,} × {words.get(kind, kind)}" for kind, count in failures.items())


@register.filter
def stage_tone(stage: Stage) -> str:
    return TONES[Stage.Status(stage.status)]


@register.filter
def stage_words(stage: Stage) -> str:
    """What is going on, in one sentence."""
    if words := _broken_off_words(stage):
        return words
    if stage.status == Stage.Status.RUNNING and stage.requested_action == Stage.RequestedAction.PAUSE:
        return _("What is under way ends first, then it pauses. What is finished is kept.")
    if stage.status == Stage.Status.RUNNING and stage.requested_action == Stage.RequestedAction.CANCEL:
        return _("What is under way ends first, then it ends. What is finished is kept.")
    if stage.status == Stage.Status.RUNNING:
        return _phase_words(stage)
    if stage.status == Stage.Status.QUEUED:
        return _("A worker takes it up as soon as one is free. If this lasts, check that the workers run.")
    if stage.status == Stage.Status.PAUSED and stage.resume_at:
        return _(
            "It is tried again by itself at %(time)s, or when you resume it. What is finished is kept."
        ) % {"time": timezone.localtime(stage.resume_at).strftime("%H:%M:%S")}
    if stage.status == Stage.Status.PAUSED:
        return _("What is finished is kept; resume goes on from there.")
    if stage.status == Stage.Status.CANCELLED:
        return _("What is finished is kept; resume goes on from there, or start something else.")
    if stage.status == Stage.Status.FAILED:
        return _("It stopped with the error below. What is finished is kept; resume tries the rest again.")
    return _done_words(stage)


def _broken_off_words(stage: Stage) -> str:
    """What becomes of an import or an export that ends early: neither leaves half of anything behind. Empty for others."""
    if stage.kind == Stage.Kind.EXPORT:
        if stage.status == Stage.Status.PAUSED:
            return _("Half a file is not kept; resume writes it from the first row.")
        if stage.status == Stage.Status.CANCELLED:
            return _("No file was made. Resume writes it from the first row, or make another one.")
        if stage.status == Stage.Status.FAILED:
            return _("It stopped with the error below, and no file was made. Resume tries it again.")
    if stage.kind == Stage.Kind.IMPORT:
        if stage.status == Stage.Status.RUNNING and stage.requested_action == Stage.RequestedAction.CANCEL:
            return _("The rows of this file that are in the project already are being taken out again.")
        if stage.status == Stage.Status.CANCELLED:
            return _(
                "No row of this file is in the project. Resume reads it from the first row, or upload another."
            )
        if stage.status == Stage.Status.FAILED and not stage.done:
            return _("It stopped with the error below, and no row of this file is in the project.")
    return ""


def _phase_words(stage: Stage) -> str:
    words = {
        "demonstrations": _("Choosing examples to show in the prompt."),
        "self-annotation": _(
            "The language model labels some random rows first; the surest become the examples in the prompt."
        ),
        "keeping": _("Keeping the earlier answers of the rows that are not at risk."),
        "trial": _("The language model answers a few rows; no row gets a label from it."),
        "labeling": _("The language model labels the rows."),
        "second": _(
            "The riskiest rows are asked once more, in other words; whether both answers agree tells how sure they are."
        ),
        "calibration": _("Removing the model's bias towards some labels."),
        "features": _("Turning the rows into features for the small model."),
        "warm-up": _("Warm-up: plain training on all labels."),
        "robust": _("Robust training: clean rows teach, the others are treated as unlabelled."),
        "verdict": _("Weighing the evidence on every row."),
        "saving": _("Writing the result to the rows."),
        "reading": _("Reading the file."),
        "writing": _("Writing the file."),
        "correcting": _("Correcting the rows, one piece after the other."),
    }
    return words.get(stage.phase, _("At work."))


def _done_words(stage: Stage) -> str:
    if stage.kind == Stage.Kind.LLM:
        return _labelled_words(stage)
    if stage.kind == Stage.Kind.SLM:
        return _("Every row has a prediction, a confidence and a clean probability.")
    if stage.kind == Stage.Kind.EXPORT:
        return _("The file is ready.")
    if stage.kind == Stage.Kind.TRIAL:
        return _("The answers are in the cache, so that the run does not ask these questions again.")
    if stage.kind == Stage.Kind.BULK:
        return _("The rows are corrected.")
    if stage.kind == Stage.Kind.RESTORE:
        return _("The rows have that round's labels again. What people corrected stays as it is.")
    return ngettext("%(shown)s row was read.", "%(shown)s rows were read.", stage.done) % {
        "shown": f"{stage.done:,}"
    }


def _labelled_words(stage: Stage) -> str:
    """An answer in which no label was found is none: whoever reads “done” must hear of it here."""
    unreadable = stage.iteration.metrics.get("llm", {}).get("unreadable", 0) if stage.iteration else 0
    if unreadable and unreadable >= stage.done:
        return _(
            "No answer could be read as a label, so there is nothing to learn from. Try another prompt or model on 20 rows."
        )
    if unreadable:
        return ngettext(
            "Every row has been asked about; %(count)s answer could not be read as a label.",
            "Every row has been asked about; %(count)s answers could not be read as a label.",
            unreadable,
        ) % {"count": f"{unreadable:,}"}
    return (
        _("Every row has an answer.") if stage.done >= stage.total else _("Every row has been asked about.")
    )
