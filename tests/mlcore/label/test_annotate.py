"""The LLM step: every row is asked once, and never with itself as an example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mlcore.label.annotate import MOST_TURNED, label_rows, passes_a_row, self_annotate
from mlcore.prompting.tasks import TASKS
from mlcore.records import Answer, Demonstration, LabelSet, Request, Row
from tests.support.words import WORDS

LABELS = LabelSet.of("positive", "negative")
TASK = TASKS["sentiment"]


class Reader:
    """Tells “good” from the rest, with a strong liking for the first label; keeps what it was asked."""

    identity = "reader"
    capabilities = None
    rate_limiter = None

    def __init__(self, *, gives_probs: bool = True) -> None:
        self.asked: list[Request] = []
        self._gives_probs = gives_probs

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        for request in requests:
            if should_stop():
                return
            self.asked.append(request)
            good = "good" in request.prompt.query
            first = (0.99 if good else 0.8) - 0.0001 * (request.key % 7)
            probs = np.array([first, 1 - first])
            label = int(probs.argmax()) if self._gives_probs else (0 if good else 1)
            yield Answer(request.key, label, probs if self._gives_probs else None, raw=labels.names[label])

    def close(self) -> None:
        self.asked.clear()


def _rows(count: int) -> list[Row]:
    rng = np.random.default_rng(0)
    return [
        Row(key, f"{'good' if key % 2 else 'poor'} {' '.join(rng.permutation(WORDS)[:7])} {key}")
        for key in range(count)
    ]


def _never() -> bool:
    return False


def test_a_row_is_never_its_own_demonstration_nor_a_near_duplicates() -> None:
    rows = _rows(10)
    copy = Row(99, rows[3].text.upper() + "!")
    demonstrations = [Demonstration(row.key, row.text, "positive") for row in rows[:5]]
    model = Reader()
    list(
        label_rows(
            model,
            [*rows, copy],
            task=TASK,
            template=TASK.default_prompt,
            labels=LABELS,
            demonstrations=demonstrations,
            should_stop=_never,
        )
    )
    asked = {request.key: request.prompt.prefix for request in model.asked}
    assert all(rows[key].text not in asked[key] for key in range(10))
    assert all(rows[other].text in asked[key] for key in range(10) for other in range(5) if other != key)
    assert rows[3].text not in asked[99]
    assert len({asked[key] for key in range(5, 10)}) == 1


def _annotate(model: Reader, count: int = 8, rows: int = 300, seed: int = 0) -> list[Demonstration]:
    return self_annotate(
        model,
        _rows(rows),
        task=TASK,
        template=TASK.default_prompt,
        labels=LABELS,
        count=count,
        seed=seed,
        should_stop=_never,
    )


def test_self_annotation_is_balanced_although_the_model_prefers_one_label() -> None:
    found = _annotate(Reader())
    assert len(found) == 8
    assert sum(each.label == "positive" for each in found) == 4
    assert all(("good" in each.shown) == (each.label == "positive") for each in found)


def test_self_annotation_asks_a_handful_without_demonstrations() -> None:
    model = Reader()
    _annotate(model, rows=3000)
    assert len(model.asked) == 200
    assert len({request.prompt.prefix for request in model.asked}) == 1


def test_self_annotation_works_without_probabilities() -> None:
    found = _annotate(Reader(gives_probs=False))
    assert sum(each.label == "positive" for each in found) == 4


def test_self_annotation_depends_on_its_seed_only() -> None:
    assert _annotate(Reader()) == _annotate(Reader())
    assert _annotate(Reader()) != _annotate(Reader(), seed=1)


def test_no_rows_and_no_places_give_no_demonstrations() -> None:
    assert _annotate(Reader(), rows=0) == []
    assert _annotate(Reader(), count=0) == []


def test_rows_of_a_table_are_not_near_duplicates_for_their_column_names() -> None:
    rows = [
        Row(key, "", {"passenger class": str(key % 3), "full name": name, "port of departure": "Cork"})
        for key, name in enumerate(
            [
                "Ada Moor",
                "Bo Lindt",
                "Cy Young",
                "Di Wu",
                "Ed Frost",
                "Fay Pole",
                "Gus Hill",
                "Hal Stone",
                "Ida Reed",
                "Jo Marsh",
            ]
        )
    ]
    task = TASKS["tabular"]
    other = Row(99, "", {"passenger class": "1", "full name": "Kit Lake", "port of departure": "Cork"})
    demonstration = Demonstration(99, task.show(other), "yes")
    model = Reader()
    list(
        label_rows(
            model,
            rows,
            task=task,
            template=task.default_prompt,
            labels=LabelSet.of("yes", "no"),
            demonstrations=[demonstration],
            should_stop=lambda: False,
        )
    )
    assert all("Kit Lake" in request.prompt.prefix for request in model.asked)


def _ask_in_sets(
    demonstrations: list[Demonstration], *, sets: int = 3, rows: int = 6, labels: LabelSet = LABELS
) -> Reader:
    model = Reader()
    list(
        label_rows(
            model,
            _rows(rows),
            task=TASK,
            template=TASK.default_prompt,
            labels=labels,
            demonstrations=demonstrations,
            should_stop=_never,
            sets=sets,
        )
    )
    return model


def test_several_sets_stand_before_the_same_question_without_instructions() -> None:
    shown = [Demonstration(100 + row.key, row.text, LABELS.names[row.key % 2]) for row in _rows(40)[10:22]]
    request = _ask_in_sets(shown).asked[0]
    assert "Classify" in request.prompt.prefix
    assert not any(each.shown in request.prompt.prefix for each in shown)
    assert len(request.other_prefixes) == 2
    assert request.turned
    behind = [*request.other_prefixes, request.turned.prefix]
    for each in shown:
        assert sum(each.shown in prefix for prefix in behind) == 1
    for prefix in behind:
        assert "Classify" not in prefix
        assert prefix.count("Sentiment: positive") == prefix.count("Sentiment: negative") == 2


def test_with_many_labels_no_question_is_turned_round() -> None:
    labels = LabelSet.of(*(f"label {number}" for number in range(MOST_TURNED + 1)))
    shown = [Demonstration(100 + row.key, row.text, labels.names[row.key % 9]) for row in _rows(40)[10:28]]
    request = _ask_in_sets(shown, labels=labels).asked[0]
    assert request.turned is None
    assert len(request.other_prefixes) == 2
    assert passes_a_row(2, classes=len(labels), demonstrated=True) == 3


def test_passes_a_row_are_those_of_the_questions() -> None:
    shown = [Demonstration(100 + row.key, row.text, LABELS.names[row.key % 2]) for row in _rows(40)[10:22]]
    request = _ask_in_sets(shown).asked[0]
    assert request.turned
    passes = len(request.prefixes) + len(request.turned.leads)
    assert passes == passes_a_row(3, classes=len(LABELS), demonstrated=True)
    assert len(_ask_in_sets([]).asked[0].prefixes) == passes_a_row(3, classes=len(LABELS))


def test_a_row_is_in_none_of_its_own_sets() -> None:
    shown = [Demonstration(row.key, row.text, LABELS.names[row.key % 2]) for row in _rows(6)]
    for request in _ask_in_sets(shown).asked:
        own = _rows(6)[request.key].text
        assert all(own not in prefix for prefix in request.prefixes)


def test_without_demonstrations_the_question_is_asked_with_and_without_instructions() -> None:
    request = _ask_in_sets([]).asked[0]
    assert request.prompt.prefix
    assert request.other_prefixes == ("",)


def test_too_few_demonstrations_for_two_sets_stand_in_one_prompt() -> None:
    request = _ask_in_sets(
        [Demonstration(100, "Fine.", "positive"), Demonstration(101, "Bad.", "negative")]
    ).asked[0]
    assert "Fine." in request.prompt.prefix
    assert request.other_prefixes == ()


def test_self_annotation_for_several_sets_labels_its_handful_twice() -> None:
    model = Reader()
    found = self_annotate(
        model,
        _rows(300),
        task=TASK,
        template=TASK.default_prompt,
        labels=LABELS,
        count=4,
        seed=0,
        should_stop=_never,
        sets=3,
    )
    assert len(found) == 12
    assert sum(each.label == "positive" for each in found) == 6
    assert len(model.asked) == 2 * 100
    assert len({request.key for request in model.asked}) == 100
