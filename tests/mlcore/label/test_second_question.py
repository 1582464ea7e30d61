"""The second question: which rows deserve it, and what two answers say together."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.label.second_question import (
    AGREED,
    WordDoubt,
    first_index,
    make_second_requests,
    second_labels,
    weigh_answers,
)
from mlcore.prompting.prompts import PromptTemplate
from mlcore.prompting.tasks import task_named
from mlcore.records import NO_LABEL, Demonstration, FloatArray, IntArray, LabelSet, Row

LABELS = LabelSet.of("bad", "fair", "good")


def doubt_of(texts: list[str], labels: IntArray, classes: int, *, part: int = 1_000) -> FloatArray:
    words = WordDoubt(classes)
    parts = [slice(start, start + part) for start in range(0, len(texts), part)]
    for each in parts:
        words.count(texts[each], labels[each])
    return np.concatenate([words.judge(texts[each], labels[each]) for each in parts])


@pytest.mark.parametrize("part", [7, 1_000])
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("a warm clever film {}", "a dull tedious mess {}"),
        ("味道很好，{}", "等了太久，{}"),
    ],
)
def test_wrong_labels_stand_out_by_the_words_of_the_other_rows(good: str, bad: str, part: int) -> None:
    texts = [(good if row % 2 else bad).format(row) for row in range(200)]
    labels = np.arange(200) % 2
    wrong = np.array([3, 50, 77, 120, 199])
    labels[wrong] = 1 - labels[wrong]
    doubt = doubt_of(texts, labels, 2, part=part)
    assert set(np.argsort(-doubt)[:5]) == set(wrong)


def test_rows_without_words_are_no_trouble() -> None:
    doubt = doubt_of(["", "…", "one word"], np.array([0, 1, 0]), 3)
    assert np.isfinite(doubt).all()


def test_the_label_keeps_its_mass_where_both_agree_and_shares_it_where_they_differ() -> None:
    agreed, split = weigh_answers(2, 2, 3), weigh_answers(2, 0, 3)
    first_only, second_only = weigh_answers(2, NO_LABEL, 3), weigh_answers(NO_LABEL, 1, 3)
    for probs, label in ((agreed, 2), (split, 2), (first_only, 2), (second_only, 1)):
        assert probs is not None
        assert probs.sum() == pytest.approx(1.0)
        assert probs.argmax() == label
    assert agreed is not None
    assert split is not None
    assert agreed.max() > AGREED > split.max()
    assert split[0] > 0.4 > split[1]
    assert weigh_answers(NO_LABEL, NO_LABEL, 3) is None


def test_the_second_question_turns_labels_and_demonstrations_round() -> None:
    task = task_named("sentiment")
    shown = [Demonstration(-1, "first example", "bad"), Demonstration(-2, "second example", "good")]
    rows = [Row(1, "the row")]
    [request] = make_second_requests(
        rows, task=task, template=task.default_prompt, labels=LABELS, demonstrations=shown
    )
    text = request.prompt.text
    assert "good, fair, bad" in text
    assert "bad, fair, good" not in text
    assert text.index("second example") < text.index("first example") < text.index("the row")
    assert second_labels(LABELS).names == ("good", "fair", "bad")
    assert [first_index(label, LABELS) for label in (0, 1, 2, NO_LABEL)] == [2, 1, 0, NO_LABEL]


def test_a_chinese_prompt_is_asked_in_chinese_the_second_time() -> None:
    english = task_named("sentiment").default_prompt
    chinese = PromptTemplate(
        "判断外卖评价的情感。名称：{labels}", "{demonstrations}", "评价：{content}\n情感："
    )
    asked = [
        make_second_requests(
            [Row(1, "很好吃")],
            task=task_named("sentiment"),
            template=template,
            labels=LabelSet.of("差评", "好评"),
            demonstrations=[],
        )[0].prompt.text
        for template in (english, chinese)
    ]
    assert "Go through these names one by one: 好评, 差评." in asked[0]
    assert "请逐一看这些名称：好评, 差评。" in asked[1]
    assert "Go through" not in asked[1]
