"""The form of the language model's and the small model's settings."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from annotation.forms.llm import LlmForm
from annotation.models import ConnectionSettings, Project
from mlcore.config import EMBEDDED_ENCODER, SECOND_ENCODER, DistillConfig


class ModelsForm(LlmForm):
    """The LLM and the small model."""

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
        if data.get("epochs") and data.get("warmup_epochs") and data["warmup_epochs"] >= data["epochs"]:
            sentence = _(
                "%(warmup)d warm-up epochs leave none of the %(epochs)d epochs for robust training. Choose fewer."
            )
            self.add_error(
                "warmup_epochs", sentence % {"warmup": data["warmup_epochs"], "epochs": data["epochs"]}
            )
        return data

    @classmethod
    def initial_of(cls, connected: ConnectionSettings) -> dict[str, Any]:
        """Of a project: both models' settings."""
        assert isinstance(connected, Project)
        slm = connected.distill_config.as_dict() | {"chain_stages": connected.chain_stages}
        return slm | super().initial_of(connected)

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
