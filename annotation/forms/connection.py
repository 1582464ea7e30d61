"""The fields of a connection to a language model: what it may cost, its address, token, headers and parameters."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.utils.translation import gettext_lazy as _

from mlcore.config import LlmConfig

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


class ConnectionForm(BudgetForm):
    """How a model on another machine is reached."""

    base_url = forms.CharField(
        label=_("Address"),
        max_length=500,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "http://127.0.0.1:8080/v1", "inputmode": "url"}),
        help_text=_(
            "The address of the server's API (TGI, vLLM, llama.cpp, Ollama). It must be on the administrator's list of allowed servers."
        ),
    )
    price_cached = forms.FloatField(
        label=_("Price per million cached input tokens"),
        min_value=0,
        max_value=1e6,
        required=False,
        help_text=_("Of tokens that the provider had in its cache. 0 means as any other input."),
    )
    by_batches = forms.BooleanField(
        label=_("Ask the rows by batches"),
        required=False,
        help_text=_(
            "For servers with OpenAI's batch interface. They answer within a day, often within an hour, mostly for half the "
            "price. Demonstrations, trial runs and second questions are still asked at once."
        ),
    )
    batch_percent = forms.IntegerField(
        label=_("Price of batches, in percent of the other prices"),
        min_value=0,
        max_value=100,
        required=False,
    )
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

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        self._check_headers(data.get("headers", ""))
        self._check_extra_body(data.get("extra_body", ""))
        return data

    def check_address(self, address: str) -> None:
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

    def token_change(self) -> str | None:
        """The new token, an empty one to remove it, or None to keep what is stored."""
        return "" if self.cleaned_data["forget_token"] else self.cleaned_data["token"] or None

    def headers_change(self) -> str | None:
        """The new headers, an empty text to remove them, or None to keep what is stored."""
        lines = filter(str.strip, self.cleaned_data["headers"].splitlines())
        return "" if self.cleaned_data["forget_headers"] else "\n".join(lines) or None
