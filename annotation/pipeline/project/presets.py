"""Known servers of language models, one a line of ``presets.csv``: what a preset fills into the form of a connection."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.utils.translation import gettext_lazy as _

FILE = Path(__file__).with_suffix(".csv")
NOTES = {
    "": "",
    "azure": _("Put your resource's name into the address; the model is the deployment's name."),
    "doubao": _("Instead of a model's name, the ID of an endpoint (ep-…) works as well."),
    "free": _("The suggested model was free of charge when this was noted."),
    "gateway": _("Hundreds of models; each has its own price."),
    "hub": _("The price depends on the provider that Hugging Face chooses."),
    "ollama": _("Ollama must run where CORAL's worker runs; fetch the model with “ollama pull” first."),
    "qwen": _("Accounts outside mainland China use dashscope-intl.aliyuncs.com in the address."),
    "server": _("The server must be running. Test the connection to see its models."),
}


@dataclass(frozen=True, slots=True)
class Preset:
    """A server. ``variable``: the name under which its token is usually kept; prices are of a million tokens, noted in the
    month ``priced_at``, and no more than a suggestion; ``note``: a key of ``NOTES``."""

    key: str
    name: str
    base_url: str
    variable: str
    model: str
    price_in: str
    price_out: str
    currency: str
    priced_at: str
    note: str

    @property
    def fields(self) -> dict[str, Any]:
        """What it fills into the form. A server without an address is the hub."""
        kind = "endpoint" if self.base_url else "hub"
        return {
            "kind": kind,
            f"{kind}_model": self.model,
            "base_url": self.base_url,
            "provider": "",
            "price_in": self.price_in or 0,
            "price_out": self.price_out or 0,
        }

    @property
    def told(self) -> Any:
        """The note in the reader's language."""
        return NOTES[self.note]


@cache
def presets() -> dict[str, Preset]:
    """All presets by key, in the file's order."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        return {line["key"]: Preset(**line) for line in csv.DictReader(lines)}


def preset_at(kind: str, base_url: str) -> Preset | None:
    """The preset whose address this is."""
    address = "" if kind == "hub" else base_url.strip().rstrip("/")
    known = (preset for preset in presets().values() if preset.base_url == address)
    return None if kind == "local" else next(known, None)
