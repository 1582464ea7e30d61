"""What a training says of itself, in the reader's language.

The engine knows no gettext: it says finished English sentences, which are stored with the run. They are known again here
by their pattern; one that is not known is shown as it is.
"""

from __future__ import annotations

import re

from django.utils.translation import gettext, gettext_noop

SENTENCES = (
    gettext_noop("All %(epochs)s epochs were trained."),
    gettext_noop("Converged after epoch %(epoch)s: fewer than 0.2 %% of the predictions still change."),
    gettext_noop("All readable labels are the same, so nothing can be told about which are wrong."),
    gettext_noop("%(count)s label(s) have fewer than 10 rows; verdicts on them are unreliable."),
    gettext_noop("%(count)s row(s) have no text."),
    gettext_noop("%(count)s value(s) of the column “%(column)s” are not numbers and count as missing there."),
    gettext_noop("all losses are equal"),
    gettext_noop("%(rows)s rows are too few for a mixture, it takes %(least)s"),
    gettext_noop("the losses have one mode only"),
)


def _pattern(sentence: str) -> re.Pattern[str]:
    plain = re.escape(sentence.replace("%%", "%"))
    named = plain.replace(r"%\(column\)s", "(?P<column>.+)")
    return re.compile(re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>\\d+)", named), re.DOTALL)


PATTERNS = tuple((sentence, _pattern(sentence)) for sentence in SENTENCES)


def engine_words(sentence: str) -> str:
    """A sentence of the engine in the reader's language, or as it is where it is not one of those above."""
    for known, pattern in PATTERNS:
        if found := pattern.fullmatch(sentence):
            return gettext(known) % found.groupdict()
    return sentence
