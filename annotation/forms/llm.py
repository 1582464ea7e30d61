"""The form of a language model: where it runs, how it is reached and asked, and what it may cost."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from annotation.forms.connection import MONEY_FIELDS, ConnectionForm
from annotation.models import ConnectionSettings
from mlcore.config import EMBEDDED_LLM, LlmConfig

HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


class LlmForm(ConnectionForm):
    """A language model of a project."""

    KINDS = [
        ("local", _("On this machine")),
        ("hub", _("Hugging Face Inference API")),
        ("endpoint", _("A server with an OpenAI-compatible API")),
    ]

    kind = forms.ChoiceField(label=_("Where does the LLM run?"), choices=KINDS, widget=forms.RadioSelect)
    local_model = forms.CharField(
        label=_("Model"),
        max_length=200,
        required=False,
        help_text=format_lazy(
            _(
                "The built-in {name} needs no setup but knows only English. You can also enter a "
                "folder in the model directory or a Hugging Face model name."
            ),
            name=EMBEDDED_LLM,
        ),
    )
    hub_model = forms.CharField(
        label=_("Model"),
        max_length=200,
        required=False,
        help_text=_(
            "The name on Hugging Face, as organisation/model. Where the hub can't be reached, whoever runs CORAL sets "
            "HF_ENDPOINT to a mirror."
        ),
        widget=forms.TextInput(
            attrs={"placeholder": "meta-llama/Llama-3.1-8B-Instruct", "list": "server-models"}
        ),
    )
    provider = forms.CharField(
        label=_("Provider (optional)"),
        max_length=60,
        required=False,
        help_text=_("If empty, Hugging Face chooses."),
    )
    endpoint_model = forms.CharField(
        label=_("Model name on that server"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"list": "server-models"}),
        help_text=_("After a test of the connection, the field offers the server's models."),
    )
    text_characters = forms.IntegerField(
        label=_("Characters of a text"),
        min_value=200,
        max_value=1_000_000,
        required=False,
        help_text=_(
            "The model reads the beginning and the end of longer texts. Left empty: 2,000 on this machine, 8,000 elsewhere."
        ),
    )
    demonstrations = forms.IntegerField(
        label=_("Demonstrations in the prompt"),
        min_value=0,
        max_value=32,
        help_text=_("More demonstrations use more tokens; 8 is a good start."),
    )
    concurrency = forms.IntegerField(
        label=_("Concurrent calls"), min_value=1, max_value=256, help_text=_("For the API and for servers.")
    )
    deadline_seconds = forms.FloatField(label=_("Timeout per answer (seconds)"), min_value=1, max_value=600)
    calibration_strength = forms.FloatField(
        label=_("Calibration strength"),
        min_value=0,
        max_value=1,
        help_text=_("How much of the LLM's bias towards some labels is removed; 0 removes none."),
    )
    asked_percent = forms.IntegerField(
        label=_("Rows that the LLM is asked about (%)"),
        min_value=1,
        max_value=100,
        help_text=_(
            "Of all rows, in one round. Below 100, the first round asks about random rows and the small model labels the "
            "others; later rounds ask about the riskiest ones. Cost and time fall in proportion."
        ),
    )
    second_question_percent = forms.IntegerField(
        label=_("Rows asked twice (%)"),
        min_value=0,
        max_value=100,
        help_text=_(
            "If a server returns no log-probabilities, the riskiest rows are asked a second time with "
            "a reworded prompt; whether both answers agree then shows how reliable the label is. 25 "
            "adds about a quarter to the cost. 0 turns this off."
        ),
    )
    llm_batch_size = forms.IntegerField(
        label=_("Inference batch size"),
        min_value=1,
        max_value=512,
        help_text=_("For a model on this machine."),
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        kind = data.get("kind")
        # A test lists the server's models, so that the name may be chosen after it.
        if kind and not data.get(f"{kind}_model") and not (kind == "endpoint" and "test" in self.data):
            self.add_error(f"{kind}_model", _("Enter the name of the model."))
        if kind == "hub" and data.get("hub_model") and not HUB_NAME.fullmatch(data["hub_model"]):
            sentence = _("“%(name)s” is not a Hugging Face model name; write organisation/model.")
            self.add_error("hub_model", sentence % {"name": data["hub_model"]})
        if kind == "endpoint":
            self.check_address(data.get("base_url", ""))
        return data

    @classmethod
    def initial_of(cls, connected: ConnectionSettings) -> dict[str, Any]:
        llm = connected.llm_config
        return {
            "kind": llm.kind,
            "local_model": EMBEDDED_LLM,
            f"{llm.kind}_model": llm.model,
            "provider": llm.provider,
            "base_url": llm.base_url,
            "demonstrations": llm.demonstrations,
            "concurrency": llm.concurrency,
            "deadline_seconds": llm.deadline_seconds,
            "calibration_strength": llm.calibration_strength,
            "asked_percent": llm.asked_percent,
            "second_question_percent": llm.second_question_percent,
            "llm_batch_size": llm.batch_size,
            "extra_body": llm.extra_body,
            "text_characters": llm.text_characters or None,
            **{name: getattr(llm, name) or 0 for name in (*MONEY_FIELDS, "price_cached")},
            "by_batches": llm.by_batches,
            "batch_percent": round(100 * llm.batch_share),
        }

    def llm_config(self) -> LlmConfig:
        data = self.cleaned_data
        kind = data["kind"]
        config = LlmConfig(
            kind=kind,
            model=data[f"{kind}_model"],
            base_url=data["base_url"] if kind == "endpoint" else "",
            provider=data["provider"] if kind == "hub" else "",
            extra_body="" if kind == "local" else data["extra_body"],
            text_characters=data["text_characters"] or 0,
            demonstrations=data["demonstrations"],
            concurrency=data["concurrency"],
            deadline_seconds=data["deadline_seconds"],
            calibration_strength=data["calibration_strength"],
            batch_size=data["llm_batch_size"],
            asked_percent=data["asked_percent"],
            second_question_percent=data["second_question_percent"],
            price_cached=data["price_cached"] or 0.0,
            by_batches=data["by_batches"] and kind != "local",
            batch_share=0.5 if data["batch_percent"] is None else data["batch_percent"] / 100,
        )
        return self.with_budget(config)


class FurtherLlmForm(LlmForm):
    """A further language model of a project, with the name under which it is chosen."""

    name = forms.CharField(label=_("Name"), max_length=80)

    @classmethod
    def initial_of(cls, connected: ConnectionSettings) -> dict[str, Any]:
        return super().initial_of(connected) | {"name": getattr(connected, "name", "")}
