"""Prompts are filled in one pass, and answers are read strictly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlcore.prompting.answers import read_answer
from mlcore.prompting.prompts import (
    DEMONSTRATION_CHARACTERS,
    SHOWN_CHARACTERS,
    PromptTemplate,
    check_template,
    render_prompt,
    turn_round,
)
from mlcore.prompting.tasks import TASKS
from mlcore.records import NO_LABEL, Demonstration, Label, LabelSet

LABELS = LabelSet((Label("positive", "The writer is pleased."), Label("negative")))
TEMPLATE = PromptTemplate(
    "Choose from {labels}.\n{label_descriptions}",
    "Examples:\n{demonstrations}",
    "Be brief.\n\nContent: {content}\nLabel:",
)
DEMONSTRATIONS = [Demonstration(1, "fine film", "positive"), Demonstration(2, "dull film", "negative")]


def test_the_prefix_holds_all_that_rows_share_and_the_query_only_the_row() -> None:
    prompt = render_prompt(TEMPLATE, labels=LABELS, demonstrations=DEMONSTRATIONS, shown="a row")
    assert prompt.prefix == (
        "Choose from positive, negative.\npositive: The writer is pleased.\n\n"
        "Examples:\nContent: fine film\nLabel: positive\n\nContent: dull film\nLabel: negative\n\nBe brief."
    )
    assert prompt.query == "Content: a row\nLabel:"


def test_a_question_turned_round_has_the_label_first_in_the_words_of_the_prompt() -> None:
    turned = turn_round(TEMPLATE, labels=LABELS, demonstrations=DEMONSTRATIONS, shown="a row")
    assert turned.prefix == "Label: positive\nContent: fine film\n\nLabel: negative\nContent: dull film"
    assert turned.leads == ("Label: positive\nContent:", "Label: negative\nContent:")
    assert turned.text == " a row"


@pytest.mark.parametrize(
    ("output", "lead", "text"),
    [
        ("Record:\n{content}\nLabel:", "Label: positive\nRecord:", "\na row"),
        ("{content}", "positive", "\na row"),
        ("内容：{content}\n情感：", "情感：positive\n内容：", "a row"),
        ("Message: {content} This message is", "This message is positive\nMessage:", " a row"),
    ],
)
def test_every_form_of_question_can_be_turned_round(output: str, lead: str, text: str) -> None:
    template = PromptTemplate("Choose from {labels}.", "{demonstrations}", output)
    turned = turn_round(template, labels=LABELS, demonstrations=[], shown="a row")
    assert (turned.leads[0], turned.text) == (lead, text)


def test_without_demonstrations_their_block_is_left_out() -> None:
    assert "Examples" not in render_prompt(TEMPLATE, labels=LABELS, demonstrations=[], shown="a row").text


@pytest.mark.parametrize(
    "hostile",
    [
        "{labels}",
        "{demonstrations} {content}",
        "{0}",
        "{content.__class__}",
        "{content:>999999999}",
        "{{ x }}",
        "{% x %}",
    ],
)
def test_braces_in_a_sample_stay_as_they_are(hostile: str) -> None:
    prompt = render_prompt(TEMPLATE, labels=LABELS, demonstrations=DEMONSTRATIONS, shown=hostile)
    assert prompt.query == f"Content: {hostile}\nLabel:"


def test_other_braces_in_a_template_stay_as_they_are() -> None:
    template = PromptTemplate('Reply {"label": "A"} {x} {labels}', "", "{content.__class__} {content}")
    prompt = render_prompt(template, labels=LABELS, demonstrations=[], shown="row")
    assert prompt.text == 'Reply {"label": "A"} {x} positive, negative\n\n{content.__class__} row'


def test_long_rows_and_demonstrations_are_cut_with_a_mark() -> None:
    long = "x" * 10_000
    prompt = render_prompt(
        TEMPLATE, labels=LABELS, demonstrations=[Demonstration(1, long, "positive")], shown=long
    )
    assert prompt.query.count("x") == SHOWN_CHARACTERS
    assert prompt.prefix.count("x") == DEMONSTRATION_CHARACTERS + 1  # and the one of "Examples"
    assert "[…]" in prompt.query


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (PromptTemplate("{labels}", "{demonstrations}", "no row"), "0 times"),
        (PromptTemplate("{labels}", "{demonstrations}", "{content} {content}"), "2 times"),
        (PromptTemplate("{labels} {content}", "{demonstrations}", "{content}"), "description holds"),
        (PromptTemplate("{labels}", "none", "{content}"), "lacks {demonstrations}"),
        (PromptTemplate("{demonstrations} {labels}", "", "{content}"), "only in the demonstration block"),
        (PromptTemplate("Classify.", "", "{content}"), "{labels} is missing"),
        (PromptTemplate("{labels}" + "x" * 20_000, "", "{content}"), "20,000"),
    ],
)
def test_a_template_that_cannot_work_is_explained(template: PromptTemplate, problem: str) -> None:
    assert any(problem in str(message) for message in check_template(template))


@pytest.mark.parametrize("name", TASKS)
def test_the_default_prompts_have_no_problems(name: str) -> None:
    assert check_template(TASKS[name].default_prompt) == []


@pytest.mark.parametrize(
    "raw",
    [
        "positive",
        " Positive.\n",
        '"positive"',
        "'POSITIVE'",
        "[positive]",
        "“positive”。",
        "《positive》",
        "**positive**",
        "(positive)",
        '{"label": "positive"}',
        ' {"label": "Positive", "why": "x"} ',
        "It is positive",
        '{"label": ["positive"]}',
        '{"labels": "positive"}',
        "Label: positive",
    ],
)
def test_a_name_in_any_wrapping_is_read(raw: str) -> None:
    assert read_answer(raw, LABELS) == 0


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        ".",
        "pos",
        "positively",
        "positive or negative",
        "positive, negative",
        "neutral",
        "0",
        "not positive",
        "{}",
        '{"label": null}',
        '{"label"',
        "{" * 9999,
        "I can't help with that.",
        "正面",
        "pos\u200bitive",
        '["positive"] ["negative"]',
    ],
)
def test_anything_else_is_no_label(raw: str) -> None:
    assert read_answer(raw, LABELS) == NO_LABEL


def test_names_that_look_alike_are_not_guessed_between() -> None:
    assert read_answer("yes", LabelSet.of("Yes", "yes.")) == NO_LABEL


def test_chinese_names_are_read() -> None:
    assert read_answer("「好评」。", LabelSet.of("差评", "好评")) == 1


def test_a_long_row_loses_its_middle() -> None:
    template = replace(TEMPLATE, characters=30)
    query = render_prompt(template, labels=LABELS, demonstrations=[], shown="a" * 40 + "b" * 40).query
    assert "a" * 20 + " […] " + "b" * 10 in query
    assert (query.count("a" * 21), query.count("b" * 11)) == (0, 0)
