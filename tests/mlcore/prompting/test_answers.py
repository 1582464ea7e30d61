"""Label names that an answer could not tell apart, and those that it can."""

from __future__ import annotations

import time

import pytest

from mlcore.prompting.answers import confusable_names, end_of_thoughts, read_answer
from mlcore.records import LabelSet


def test_names_that_differ_in_more_than_marks_are_no_problem() -> None:
    labels = LabelSet.of("<30", ">30", "NO")
    assert confusable_names(labels.names) == []
    assert [read_answer(f'{{"label": "{name}"}}', labels) for name in labels.names] == [0, 1, 2]
    assert [read_answer(f"Answer: {name}", labels) for name in labels.names] == [0, 1, 2]


def test_names_that_differ_in_marks_alone_are_told() -> None:
    assert confusable_names(["(other)", "other", "A", "A.", "fine"]) == ["(other)", "other", "A", "A."]


def test_the_name_itself_comes_before_one_that_looks_like_it() -> None:
    labels = LabelSet.of("A", "A.")
    assert [read_answer(name, labels) for name in labels.names] == [0, 1]


def test_a_name_within_another_one_is_not_read_for_it() -> None:
    labels = LabelSet.of("card", "lost card", "fee")
    assert read_answer("I would say: lost card, clearly", labels) == 1
    assert read_answer("cardiology", labels) == -1


@pytest.mark.parametrize("blank", [" ", "\n", "\t"])
def test_an_answer_of_nothing_but_blanks_is_read_at_once(blank: str) -> None:
    began = time.process_time()
    assert end_of_thoughts(blank * 200_000) == 0
    assert end_of_thoughts(blank * 200_000 + "<think>no</think>positive") > 200_000
    assert time.process_time() - began < 5  # a quadratic reading takes minutes
