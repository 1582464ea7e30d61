"""The form of the language model's and the small model's settings."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from annotation.forms.connection import MONEY_FIELDS, ConnectionForm
from annotation.models import Project
from mlcore.config import EMBEDDED_ENCODER, EMBEDDED_LLM, SECOND_ENCODER, DistillConfig, LlmConfig

HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


class ModelsForm(ConnectionForm):
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
                "The built-in {name} knows a hundred languages; {other} is quicker and knows only English. You can also "
                "enter a folder or a Hugging Face model name."
            ),
            name=EMBEDDED_ENCODER,
            other=SECOND_ENCODER,
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
        # A test lists the server's models, so that the name may be chosen after it.
        if kind and not data.get(f"{kind}_model") and not (kind == "endpoint" and "test" in self.data):
            self.add_error(f"{kind}_model", _("Enter the name of the model."))
        if kind == "hub" and data.get("hub_model") and not HUB_NAME.fullmatch(data["hub_model"]):
            sentence = _("“%(name)s” is not a Hugging Face model name; write organisation/model.")
            self.add_error("hub_model", sentence % {"name": data["hub_model"]})
        if kind == "endpoint":
            self.check_address(data.get("base_url", ""))
        if data.get("epochs") and data.get("warmup_epochs") and data["warmup_epochs"] >= data["epochs"]:
            sentence = _(
                "%(warmup)d warm-up epochs leave none of the %(epochs)d epochs for robust training. Choose fewer."
            )
            self.add_error(
                "warmup_epochs", sentence % {"warmup": data["warmup_epochs"], "epochs": data["epochs"]}
            )
        return data

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
            **{name: getattr(llm, name) or 0 for name in (*MONEY_FIELDS, "price_cached")},
            "by_batches": llm.by_batches,
            "batch_percent": round(100 * llm.batch_share),
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
            price_cached=data["price_cached"] or 0.0,
            by_batches=data["by_batches"] and kind != "local",
            batch_share=0.5 if data["batch_percent"] is None else data["batch_percent"] / 100,
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
