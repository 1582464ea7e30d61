"""What the engine says of itself, in the reader's language.

The engine knows no gettext: it says finished English sentences, which are stored with the run. They are known again here
by their pattern. Sentences of the program's own that a worker stored, in the worker's language, are looked up as they are.
One that is not known is shown as it is.
"""

from __future__ import annotations

import re

from django.utils.translation import gettext, gettext_noop

TRAINING = (
    gettext_noop("All %(epochs)s epochs were trained."),
    gettext_noop("Converged after epoch %(epoch)s: fewer than 0.2 %% of the predictions still change."),
    gettext_noop("All readable labels are the same, so nothing can be told about which are wrong."),
    gettext_noop("%(count)s label(s) have fewer than 10 rows; verdicts on them are unreliable."),
    gettext_noop("%(count)s row(s) have no text."),
    gettext_noop("%(count)s value(s) of the column “%(column)s” are not numbers and count as missing there."),
    gettext_noop("%(count)s batch(es) of the training gave no finite loss and were left out."),
    gettext_noop(
        "The training went astray in epoch %(epoch)s: the loss is no finite number. Choose a smaller learning rate."
    ),
    gettext_noop("all losses are equal"),
    gettext_noop("%(rows)s rows are too few for a mixture, it takes %(least)s"),
    gettext_noop("the losses have one mode only"),
    gettext_noop("The corpus has %(rows)s rows. Training needs at least 2."),
    gettext_noop("The task has %(count)s labels. Training needs at least 2."),
    gettext_noop("No row has a readable label. Run the LLM step again, or correct some rows by hand."),
)
CALLS = (
    gettext_noop("The server refused the request (400). Check the model's name and the server's settings."),
    gettext_noop("The server refused the token (401). Give a valid token in the LLM settings."),
    gettext_noop("The account has no credit left (402). Top it up, or use another token."),
    gettext_noop(
        "The token may not use this model (403). Use another token, or ask for access to the model."
    ),
    gettext_noop("The server has no such model or address (404). Check the model's name and the address."),
    gettext_noop(
        "The server can't work with the request (422). Check the model's name and the server's settings."
    ),
    gettext_noop("The server refused the request (%(status)s)."),
    gettext_noop("The server failed (%(status)s)."),
    gettext_noop("The server asks for fewer calls (429)."),
    gettext_noop("The row is too long for the server (413). Shorten it."),
    gettext_noop("The server's answer held no text. Check that the model can chat."),
    gettext_noop("The server's answer is not what a chat server sends."),
    gettext_noop("The server did not answer within %(seconds)s seconds."),
    gettext_noop("The server can't be reached. Check that it runs, and its address."),
    gettext_noop(
        "The server's certificate can't be trusted, so nothing was sent. Check the address, or have its certificate mended."
    ),
    gettext_noop(
        "No secure connection could be made. Check whether the server's address begins with https or http."
    ),
    gettext_noop("The connection broke (%(kind)s)."),
    gettext_noop("The connection failed (%(kind)s)."),
    gettext_noop("The answer is longer than %(count)s bytes."),
    gettext_noop("The answer's packing is damaged."),
    gettext_noop("The answer is packed as %(kind)s, which wasn't asked for."),
    gettext_noop("The server answered with a redirect (%(status)s). Check the server's address."),
    gettext_noop("%(host)s leads to an internal address, which isn't allowed. Check the server's address."),
    gettext_noop("%(count)s calls in a row failed, so the run was paused. The last reason: %(reason)s"),
    gettext_noop(
        "The budget is spent: %(spent)s of %(most)s tokens, and the next call may take up to %(next)s. "
        "What was answered is kept; raise the budget to go on."
    ),
    gettext_noop(
        "The budget is spent: %(spent)s of %(most)s, and the next call may cost up to %(next)s. "
        "What was answered is kept; raise the budget to go on."
    ),
)
MODELS = (
    gettext_noop("The Hugging Face Inference API needs a token. Give one."),
    gettext_noop(
        "“%(address)s” is not an address. Write it as http(s)://host:port/path, without a user name or a question mark."
    ),
    gettext_noop(
        "“%(address)s” is not a server's address. "
        "Write it as http(s)://host:port/path, without a user name or a question mark."
    ),
    gettext_noop(
        "“%(address)s” holds a space. Write it as http(s)://host:port/path, without a user name or a question mark."
    ),
    gettext_noop(
        "The host “%(host)s” is not allowed. Ask the operator to add it to the list of allowed hosts."
    ),
    gettext_noop("The host “%(host)s” is not allowed: it is an internal address."),
    gettext_noop("%(name)s has no config.json, so it is not a model's folder."),
    gettext_noop(
        "%(name)s has no safetensors file. Other formats can run code when loaded and are refused; "
        "convert the weights to safetensors."
    ),
    gettext_noop(
        "An unexpected error ended the run; what was stored is kept. Resume it to go on. If it happens again, look in "
        "the log for the run %(run)s."
    ),
)
PROMPTS = (
    gettext_noop("The prompt has %(count)s bytes; at most %(most)s are allowed. Shorten it."),
    gettext_noop(
        "The output control holds {content} %(count)s times; it must stand there exactly once, "
        "since that is where the row goes."
    ),
    gettext_noop("The description holds {content}; move it to the output control."),
    gettext_noop("The demonstration holds {content}; move it to the output control."),
    gettext_noop("{demonstrations} belongs into the demonstration block only; take it out elsewhere."),
    gettext_noop("The demonstration block lacks {demonstrations}. Add it, or empty the block."),
    gettext_noop("{labels} is missing: the model must be told the labels. Add it to the description."),
)
SENTENCES = (*TRAINING, *CALLS, *MODELS, *PROMPTS)

_TEXTS = ("column", "kind", "host", "address", "name", "run")
_NESTED = "reason"


def _pattern(sentence: str) -> re.Pattern[str]:
    def value(found: re.Match[str]) -> str:
        return f"(?P<{found[1]}>{'.+' if found[1] in (*_TEXTS, _NESTED) else '[0-9][0-9.,]*'})"

    plain = re.escape(sentence.replace("%%", "%"))
    return re.compile(re.sub(r"%\\\((\w+)\\\)s", value, plain), re.DOTALL)


PATTERNS = tuple((sentence, _pattern(sentence)) for sentence in SENTENCES)


def engine_words(sentence: str) -> str:
    """A sentence of the engine in the reader's language, or as it is where it is not one of those above."""
    for known, pattern in PATTERNS:
        if found := pattern.fullmatch(sentence):
            values = {
                name: engine_words(text) if name == _NESTED else text
                for name, text in found.groupdict().items()
            }
            return gettext(known) % values
    return gettext(sentence) if sentence else sentence
