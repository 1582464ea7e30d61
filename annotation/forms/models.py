"""The form of the language model's and the small model's settings."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from annotation.models import Project
from mlcore.config import EMBEDDED_ENCODER, EMBEDDED_LLM, DistillConfig, LlmConfig

HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
TRANSPORT_HEADERS = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect")
SECRET_QUERY = re.compile(r"(^|&)[^=&]*(key|token|secret|password|sig)[^=&]*=", re.IGNORECASE)
MONEY_FIELDS = ("price_in", "price_out", "budget_money", "budget_tokens")


class BudgetForm(forms.Form):
    """The prices and the budget, which may change while a run is paused."""

    price_in = forms.FloatField(
        label=_("Price per million input tokens"),
        min_value=0,
        max_value=1e6,
        required=False,
        help_text=_("From the provider's price list, in any currency. 0 means free."),
    )
    price_out = forms.FloatField(
        label=_("Price per million output tokens"), min_value=0, max_value=1e6, required=False
    )
    budget_money = forms.FloatField(
        label=_("Budget per run (cost)"),
        min_value=0,
        max_value=1e9,
        required=False,
        help_text=_("A run pauses before it exceeds this amount. 0 means no limit."),
    )
    budget_tokens = forms.IntegerField(
        label=_("Budget per run (tokens)"), min_value=0, max_value=10**15, required=False
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("budget_money") and not (data.get("price_in") or data.get("price_out")):
            self.add_error(
                "budget_money", _("Enter the prices too: without them, every call counts as free.")
            )
        return data

    def with_budget(self, config: LlmConfig) -> LlmConfig:
        """The settings with these prices and limits."""
        limits: dict[str, Any] = {name: self.cleaned_data[name] or 0 for name in MONEY_FIELDS}
        return replace(config, **limits)


class ModelsForm(BudgetForm):
    """The LLM and the small model."""

    KINDS = [
        ("local", _("On this machine")),
        ("hub", _("Hugging Face Inference API")),
        ("endpoint", _("A server with an OpenAI-compatible API")),
    ]
    NETWORKS = [
        ("auto", _("chosen by the task")),
        ("head", _("a head on the encoder's features (quick on a CPU)")),
        ("finetune", _("the whole encoder, fine-tuned (for a GPU)")),
        ("table", _("a network for table rows")),
    ]
    METHODS = [
        (
            "coral",
            _(
                "Recommended. Labels that look wrong count less in training; "
                "then several small models and the LLM decide each row together."
            ),
        ),
        (
            "paper",
            _(
                "The paper's method. Rows that are easy to learn teach with their label, the others without it "
                "(FixMatch); the trained model decides each row alone."
            ),
        ),
        (
            "plain",
            _(
                "Plain training, for comparison. All labels count alike; "
                "then several small models and the LLM decide each row together."
            ),
        ),
        # Not offered; projects that chose it keep it.
        ("adamatch", _("AdaMatch. The paper's training with aligned classes and an adaptive threshold.")),
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
        help_text=_("The name on Hugging Face, as organisation/model."),
        widget=forms.TextInput(attrs={"placeholder": "meta-llama/Llama-3.1-8B-Instruct"}),
    )
    provider = forms.CharField(
        label=_("Provider (optional)"),
        max_length=60,
        required=False,
        help_text=_("If empty, Hugging Face chooses."),
    )
    base_url = forms.CharField(
        label=_("Address"),
        max_length=500,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "http://127.0.0.1:8080/v1", "inputmode": "url"}),
        help_text=_(
            "The address of the server's API (TGI, vLLM, llama.cpp, Ollama). It must be on the administrator's list of allowed servers."
        ),
    )
    endpoint_model = forms.CharField(label=_("Model name on that server"), max_length=200, required=False)
    token = forms.CharField(
        label=_("API token"),
        max_length=500,
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
        help_text=_("Stored encrypted and never shown again. Leave empty to keep the stored token."),
    )
    forget_token = forms.BooleanField(label=_("Remove the stored token"), required=False)
    headers = forms.CharField(
        label=_("Extra headers"),
        max_length=4_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "api-key: …", "spellcheck": "false"}),
        help_text=_(
            "For gateways that want more than a token: “Name: value”, a line each. Encrypted when stored, and never shown "
            "again. Left empty, the stored ones stay."
        ),
    )
    forget_headers = forms.BooleanField(label=_("Remove the stored headers"), required=False)
    extra_body = forms.CharField(
        label=_("Extra parameters"),
        max_length=4_000,
        required=False,
        widget=forms.Textarea(
            attrs={"rows": 2, "placeholder": '{"reasoning_effort": "low"}', "spellcheck": "false"}
        ),
        help_text=_(
            "A JSON object that goes into the body of every call. What a server takes is found out without it, and thinking is "
            "turned off where that is possible; what stands here comes first."
        ),
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

    encoder = forms.CharField(
        label=_("Encoder"),
        max_length=200,
        help_text=format_lazy(
            _(
                "The built-in {name} knows only English. You can also enter a folder or a Hugging Face model name."
            ),
            name=EMBEDDED_ENCODER,
        ),
    )
    epochs = forms.IntegerField(
        label=_("Epochs"),
        min_value=1,
        max_value=200,
        help_text=_("Passes over the corpus, including warm-up."),
    )
    warmup_epochs = forms.IntegerField(
        label=_("Warm-up epochs"),
        min_value=1,
        max_value=50,
        help_text=_("Plain training on all labels, before clean and noisy rows are separated."),
    )
    batch_size = forms.IntegerField(label=_("Batch size"), min_value=2, max_value=1024)
    network = forms.ChoiceField(label=_("What is trained"), choices=NETWORKS)
    method = forms.ChoiceField(label=_("Method"), choices=METHODS, widget=forms.RadioSelect)
    learning_rate = forms.FloatField(
        label=_("Learning rate"), min_value=0, max_value=1, help_text=_("0 uses the network's default.")
    )
    clean_threshold = forms.FloatField(
        label=_("Clean probability threshold"),
        min_value=0.05,
        max_value=0.95,
        help_text=_("Rows with a higher clean probability are trained with their label, the others without."),
    )
    chain_stages = forms.BooleanField(
        label=_("Start SLM filtering automatically when LLM labeling is done"), required=False
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        kind = data.get("kind")
        if kind and not data.get(f"{kind}_model"):
            self.add_error(f"{kind}_model", _("Enter the name of the model."))
        if kind == "hub" and data.get("hub_model") and not HUB_NAME.fullmatch(data["hub_model"]):
            sentence = _("“%(name)s” is not a Hugging Face model name; write organisation/model.")
            self.add_error("hub_model", sentence % {"name": data["hub_model"]})
        if kind == "endpoint":
            self._check_address(data.get("base_url", ""))
        self._check_headers(data.get("headers", ""))
        self._check_extra_body(data.get("extra_body", ""))
        if data.get("epochs") and data.get("warmup_epochs") and data["warmup_epochs"] >= data["epochs"]:
            sentence = _(
                "%(warmup)d warm-up epochs leave none of the %(epochs)d epochs for robust training. Choose fewer."
            )
            self.add_error(
                "warmup_epochs", sentence % {"warmup": data["warmup_epochs"], "epochs": data["epochs"]}
            )
        return data

    def _check_address(self, address: str) -> None:
        try:
            parts = urlsplit(address)
            extra = parts.username or parts.fragment or (parts.port == 0)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not extra
        except ValueError:
            sound = False
        if not sound:
            sentence = _(
                "“%(address)s” is not an address such as http://127.0.0.1:8080/v1 (no name or password in it)."
            )
            self.add_error("base_url", sentence % {"address": address})
        elif SECRET_QUERY.search(parts.query):
            self.add_error(
                "base_url", _("The address holds a key. Enter it as the token, or as an extra header.")
            )

    def _check_headers(self, text: str) -> None:
        for line in filter(str.strip, text.splitlines()):
            name, _colon, value = line.partition(":")
            if (
                not HEADER_NAME.fullmatch(name.strip())
                or not value.strip().isprintable()
                or not value.strip()
            ):
                self.add_error("headers", _("“%(line)s” is no header. Write “Name: value”.") % {"line": name})
            elif name.strip().lower() in TRANSPORT_HEADERS:
                self.add_error("headers", _("“%(line)s” is set by the connection itself.") % {"line": name})

    def _check_extra_body(self, text: str) -> None:
        try:
            members = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            members = None
        if not isinstance(members, dict) or "messages" in members:
            self.add_error("extra_body", _("Write a JSON object such as {“reasoning_effort”: “low”}."))

    @classmethod
    def initial_of(cls, project: Project) -> dict[str, Any]:
        llm, slm = project.llm_config, project.distill_config
        return slm.as_dict() | {
            "kind": llm.kind,
            "local_model": EMBEDDED_LLM,
            f"{llm.kind}_model": llm.model,
            "provider": llm.provider,
            "base_url": llm.base_url,
            "demonstrations": llm.demonstrations,
            "concurrency": llm.concurrency,
            "deadline_seconds": llm.deadline_seconds,
            "calibration_strength": llm.calibration_strength,
            "second_question_percent": llm.second_question_percent,
            "llm_batch_size": llm.batch_size,
            "extra_body": llm.extra_body,
            "text_characters": llm.text_characters or None,
            **{name: getattr(llm, name) or 0 for name in MONEY_FIELDS},
            "chain_stages": project.chain_stages,
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
            second_question_percent=data["second_question_percent"],
        )
        return self.with_budget(config)

    def distill_config(self, *, seed: int) -> DistillConfig:
        names = [
            "encoder",
            "network",
            "epochs",
            "warmup_epochs",
            "batch_size",
            "learning_rate",
            "clean_threshold",
            "method",
        ]
        return DistillConfig(**{name: self.cleaned_data[name] for name in names}, seed=seed)

    def token_change(self) -> str | None:
        """The new token, an empty one to remove it, or None to keep what is stored."""
        return "" if self.cleaned_data["forget_token"] else self.cleaned_data["token"] or None

    def headers_change(self) -> str | None:
        """The new headers, an empty text to remove them, or None to keep what is stored."""
        lines = filter(str.strip, self.cleaned_data["headers"].splitlines())
        return "" if self.cleaned_data["forget_headers"] else "\n".join(lines) or None
