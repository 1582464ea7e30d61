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
from django.utils.translation import gettext_lazy

from annotation.jobs import kinds
from annotation.messages import message_text
from annotation.models import Label, Stage
from annotation.pipeline.project.configure import MANY_LABELS
from annotation.table.filters import FAILURES

register = template.Library()
register.filter(message_text)
register.filter(kinds.kind_name)

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
def sort_link(table: Any, column: str, title: str) -> str:
    """A column's head: a link that sorts by it where the table can be sorted."""
    if not table or not table.can_sort:
        return format_html("{}", title)
    link = table.sorts[column]
    arrow = {"ascending": " ↑", "descending": " ↓"}.get(link["state"], "")
    return format_html(
        '<a href="{0}" hx-get="{0}" hx-target="#rows" hx-swap="outerHTML">{1}{2}</a>',
        link["query"],
        title,
        arrow,
    )


@register.simple_tag
def sorted_as(table: Any, column: str) -> str:
    """The attribute that tells how a column is sorted."""
    state = table.sorts[column]["state"] if table and table.can_sort else ""
    return format_html('aria-sort="{}"', state) if state else ""


@register.simple_tag
def label_options(labels: Sequence[Label], chosen: int | None = None) -> str:
    """An option for each label, one of them selected: for fifty rows of a table, and any number of labels."""
    plain, selected = '<option value="{}">{}</option>', '<option value="{}" selected>{}</option>'
    options = [
        format_html(selected if label.pk == chosen else plain, label.pk, label.name) for label in labels
    ]
    return format_html_join("", "{}", ((option,) for option in options))


@register.simple_tag
def label_buttons(choices: Sequence[Any], suggestion: Label | None) -> str:
    """The focus view's button for each of many labels, as short as can be: a page holds several rows."""
    button = '<button class="btn answer c{}{}" name="label" value="{}"{}>{}</button>'
    return format_html_join(
        "",
        button,
        (
            (
                each.label.colour,
                " suggested" if each.label == suggestion else "",
                each.label.pk,
                format_html(' data-key="{}"', each.key) if each.key else "",
                each.label.name,
            )
            for each in choices
        ),
    )


@register.filter
def why_failed(why: str) -> Any:
    """Why rows have no answer of the LLM, in words."""
    return FAILURES[why]


@register.filter
def are_many(labels: Sequence[Any]) -> bool:
    """Whether there are so many labels that one is chosen by typing."""
    return len(labels) > MANY_LABELS


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
def goal_value(value: Any) -> Any:
    """A part of a goal as it was set: a switch in words, a moment in the reader's time zone, nothing as a dash."""
    if value in (None, ""):
        return "–"
    if isinstance(value, bool):
        return _("on") if value else _("off")
    if isinstance(value, datetime):
        return f"{timezone.localtime(value):%Y-%m-%d %H:%M %Z}"
    return value if isinstance(value, str) else f"{value:,.10g}"


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
    return timezone.localtime(datetime.fromtimestamp(epoch, UTC)).strftime("%H:%M:%S %Z")


@register.filter
def failure_words(failures: Mapping[str, int]) -> str:
    """Failed calls by kind."""
    words = {
        "limited": _("rate limit (429)"),
        "transient": _("connection or server error"),
        "unreadable": _("invalid answer"),
        "row": _("row too long"),
        "refused": _("request refused"),
        "fatal": _("token, model or address refused"),
    }
    return ", ".join(f"{count:,} × {words.get(kind, kind)}" for kind, count in failures.items())


@register.filter
def stage_tone(stage: Stage) -> str:
    return TONES[Stage.Status(stage.status)]


#: What is said of a stage in each of its states, unless its kind says otherwise.
STATE_SENTENCES = {
    "queued": gettext_lazy(
        "Starts as soon as a worker is free. If this takes long, check that the workers are running."
    ),
    "pausing": gettext_lazy("Pausing after the current batch. Finished work is kept."),
    "cancelling": gettext_lazy("Cancelling after the current batch. Finished work is kept."),
    "paused": gettext_lazy("Finished work is kept; resume to continue."),
    "cancelled": gettext_lazy("Finished work is kept. Resume to continue, or start something else."),
    "failed": gettext_lazy(
        "It stopped with the error below. Finished work is kept; resume to retry the rest."
    ),
}


@register.filter
def stage_words(stage: Stage) -> str:
    """What is going on, in one sentence: the kind's own for this state, or the one for stages of any kind."""
    kind, state = kinds.kind_of(stage), stage.state
    sentence = kind.sentences.get(state, "")
    words = str(sentence(stage) if callable(sentence) else sentence)
    if words:
        return words
    if state == Stage.Status.PAUSED and stage.resume_at:
        return _("It is retried automatically at %(time)s, or when you resume it. Finished work is kept.") % {
            "time": timezone.localtime(stage.resume_at).strftime("%H:%M:%S %Z")
        }
    return str(STATE_SENTENCES.get(state) or kind.phases.get(stage.phase) or _("Running."))
