"""A project's goal, as people type it: shares in percent, and limits that may be empty."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.models import Goal, Project
from annotation.pipeline.project.connection import allowed_hosts
from annotation.pipeline.project.goal import goal_of
from mlcore.errors import MessageError
from mlcore.llm.endpoint.guard import check_address

PERCENT = {"min": 50, "max": 99.9, "step": "any", "inputmode": "decimal"}
LIMITS = ("money", "tokens", "minutes", "until", "webhook")


class WebhookField(forms.URLField):
    """An address that CORAL may call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=500, assume_scheme="https", **options)

    def clean(self, value: Any) -> Any:
        address = super().clean(value)
        if address:
            try:
                check_address(address, allowed_hosts())
            except MessageError as error:
                raise forms.ValidationError(str(error)) from None
        return address


class WebhookForm(forms.Form):
    address = WebhookField(
        label=_("Address"), help_text=_("It must be on the administrator's list of allowed servers.")
    )


class GoalForm(forms.Form):
    """Target and confidence left out keep their defaults, so that a project can be started without a thought for them."""

    target = forms.FloatField(
        label=_("Right labels (%)"),
        required=False,
        min_value=50,
        max_value=99.9,
        widget=forms.NumberInput(attrs=PERCENT),
        help_text=_("At least this share of the file's labels is to be right."),
    )
    confidence = forms.FloatField(
        label=_("Confidence (%)"),
        required=False,
        min_value=50,
        max_value=99.9,
        widget=forms.NumberInput(attrs=PERCENT),
        help_text=_("How sure the statement has to be."),
    )
    money = forms.FloatField(
        label=_("At most this cost"),
        required=False,
        min_value=0,
        max_value=1e9,
        help_text=_("In the currency of the prices under Models. Empty means no limit."),
    )
    tokens = forms.IntegerField(
        label=_("At most so many tokens"), required=False, min_value=0, max_value=10**15
    )
    minutes = forms.IntegerField(
        label=_("At most so many minutes of people's time"), required=False, min_value=0, max_value=10**6
    )
    until = forms.DateTimeField(
        label=_("Finish by"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    webhook = WebhookField(
        label=_("Webhook"),
        required=False,
        help_text=_("An address that is called when people are needed and when the certificate is there."),
    )
    autopilot = forms.BooleanField(
        label=_("Autopilot"),
        required=False,
        help_text=_(
            "Carries out what needs no person by itself, within these limits, and waits where people are needed. A step that "
            "costs more than a tenth of the budget asks first."
        ),
    )

    def __init__(self, data: Any, *, project: Project) -> None:
        goal = goal_of(project) or Goal()
        initial = {name: getattr(goal, name) for name in (*LIMITS, "autopilot")}
        initial |= {"target": percent(goal.target), "confidence": percent(goal.confidence)}
        super().__init__(data, initial=initial)
        self._config = project.llm_config

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        for name in ("target", "confidence"):
            if name in data:
                data[name] = round((data[name] or self.initial[name]) / 100, 6)
        config = self._config
        if data.get("money") and config.kind != "local" and not (config.price_in or config.price_out):
            self.add_error(
                "money", _("Enter the prices under Models first: without them, every call counts as free.")
            )
        if data.get("until") and data["until"] != self.initial["until"] and data["until"] <= timezone.now():
            self.add_error("until", _("This time has passed."))
        return data


def percent(share: float) -> float:
    """A share as a percentage without the dust of floating point."""
    return round(share * 100, 4)
