"""Bodies and queries of requests. The pages' forms check them, so that the limits and the sentences are the same."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from django import forms
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from django.utils.translation import override
from ninja import Schema
from ninja.errors import ValidationError
from ninja.parser import Parser
from pydantic import ConfigDict, Field, create_model

from annotation.models import Label

FormType = TypeVar("FormType", bound=forms.BaseForm)
#: The type of a form's field as JSON, by the first class that fits.
TYPES: list[tuple[type[forms.Field], Any]] = [
    (forms.FloatField, float),
    (forms.IntegerField, int),
    (forms.BooleanField, bool),
    (forms.MultipleChoiceField, list[str]),
    (forms.ModelChoiceField, str),
    (forms.Field, str),
]
BOUNDS = {"max_length": "maxLength", "min_value": "minimum", "max_value": "maximum"}


class JsonParser(Parser):
    """Reads a body as JSON, without NaN and Infinity, which JSON does not have."""

    def parse_body(self, request: HttpRequest) -> Any:
        return json.loads(request.body, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def body_of(
    form: type[forms.Form], name: str, *, without: Collection[str] = (), partial: bool = False, **more: Any
) -> type[Schema]:
    """The JSON object that holds a form's values.

    Args:
        without: fields that only a page has.
        partial: nothing is required, since what is missing stays as it is.
        more: further members, as pydantic's ``create_model`` takes them.
    """
    with override("en"):
        members = {
            key: _member(field, partial=partial)
            for key, field in form.base_fields.items()
            if key not in without
        }
    return create_model(name, __base__=_Body, **(members | more))


class _Body(Schema):
    model_config = ConfigDict(extra="forbid")


def _member(field: forms.Field, *, partial: bool) -> tuple[Any, Any]:
    kind = next(kind for of, kind in TYPES if isinstance(field, of))
    shown = {there: getattr(field, here) for here, there in BOUNDS.items() if getattr(field, here, None)}
    if isinstance(field, forms.ChoiceField) and not isinstance(field, forms.ModelChoiceField) and kind is str:
        choices = [str(value) for value, _words in list(field.choices)]  # type: ignore[arg-type]
        shown |= {"enum": choices} if choices else {}
    words = " ".join(filter(None, (str(field.label or ""), str(field.help_text or ""))))
    about: dict[str, Any] = {"description": words or None, "json_schema_extra": shown or None}
    if field.required and not partial and not isinstance(field, forms.BooleanField):
        return kind, Field(..., **about)
    return kind | None, Field(None, **about)


def posted(values: Schema | Mapping[str, Any], **more: Any) -> MultiValueDict[str, Any]:
    """Values as a form takes them; a null is a field that was left empty."""
    given = values.model_dump(exclude_unset=True) if isinstance(values, Schema) else values
    return MultiValueDict(
        {
            name: value if isinstance(value, list) else [value]
            for name, value in {**more, **given}.items()
            if value is not None
        }
    )


def checked(form: FormType) -> FormType:
    """The form, if its values are right; labels and people are chosen by their names.

    Raises:
        ValidationError: what is wrong, in the form's sentences.
    """
    for field in form.fields.values():
        if isinstance(field, forms.ModelChoiceField) and field.queryset is not None:
            name = {Label: "name", User: "username"}.get(field.queryset.model)
            field.to_field_name = name
    if not form.is_valid():
        raise ValidationError(
            [
                {"loc": [name], "msg": str(error), "label": _title(form, name)}
                for name, errors in form.errors.items()
                for error in errors
            ]
        )
    return form


def _title(form: forms.BaseForm, name: str) -> str:
    field = form.fields.get(name)
    return str(field.label) if field and field.label else ""
