"""Forms only check and clean what a person typed; what is done with it stands in the pipeline."""

from __future__ import annotations

from typing import TypeVar

from django import forms
from django.utils.translation import gettext

from annotation.errors import AnnotationError

FormType = TypeVar("FormType", bound=forms.Form)


def validated(form: FormType) -> FormType:
    """The form, if it is valid.

    Raises:
        AnnotationError: with all that is wrong, as one text.
    """
    if not form.is_valid():
        raise AnnotationError(sentence_of(form))
    return form


def sentence_of(form: forms.Form) -> str:
    """All that is wrong with a form, as one text, for pages that do not show the form again: fields that a person sees are
    named, for Django's own sentences don't say which one they are of."""
    found = []
    for name, errors in form.errors.items():
        label = form.fields[name].label if name in form.fields else None
        for error in errors:
            found.append(
                gettext("%(what)s: %(value)s") % {"what": label, "value": error} if label else str(error)
            )
    return " ".join(found)


def is_id(text: str) -> bool:
    """Whether a text from an address can be a row's id; a longer number is more than a database can hold."""
    return text.isdecimal() and len(text) < 19
