"""The LLM step: ask a language model for every row's label, and let it make its own first demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from mlcore.label.calibrate import calibrate_batch
from mlcore.llm.model import LanguageModel
from mlcore.prompting.demonstrations import (
    can_be_shown,
    count_demonstrations,
    deal_sets,
    share_places,
)
from mlcore.prompting.injection import looks_like_prompt
from mlcore.prompting.prompts import PromptTemplate, render_prompt, turn_round
from mlcore.prompting.similarity import are_near, distinct_shingles
from mlcore.prompting.tasks import Task
from mlcore.records import NO_LABEL, Answer, Demonstration, FloatArray, IntArray, LabelSet, Request, Row

ANNOTATED_PER_DEMONSTRATION = 25
ANNOTATED_AT_LEAST = 100
MOST_TURNED = 8  # labels; a question that is turned round costs a pass for each


def label_rows(
    model: LanguageModel,
    rows: Sequence[Row],
    *,
    task: Task,
    template: PromptTemplate,
    labels: LabelSet,
    demonstrations: Sequence[Demonstration],
    should_stop: Callable[[], bool],
    sets: int = 1,
) -> Iterator[Answer]:
    """Ask for the label of every row.

    A row is never its own demonstration, nor is a near-duplicate of it: such rows are asked without that one.

    What a small model says hangs on the wording and on which demonstrations it was shown, more than on the row. With
    ``sets`` over 1 each row is therefore asked once with the whole prompt but no demonstrations, and once behind each set
    of demonstrations with nothing before them, and the log-probabilities are averaged. With few labels the last set stands
    before the question turned round: how probable does each label make the row? Measured with the embedded LLM
    (``docs/benchmarks.md``): several points of accuracy over any single prompt, without a label to choose it by.

    Args:
        model: who is asked.
        rows: N rows.
        task: says how a row is shown.
        template: the prompt's blocks.
        labels: the labels to choose from.
        demonstrations: labelled examples for the prompt.
        should_stop: asked now and then; true ends the run early, without an error.
        sets: into how many sets the demonstrations are dealt; over 1 for models that score labels and cost nothing.

    Yields:
        One answer a row, in the order in which they come.

    Raises:
        ModelUnavailableError, ModelCallError: see :class:`mlcore.llm.LanguageModel`.
    """
    requests = make_requests(
        rows, task=task, template=template, labels=labels, demonstrations=demonstrations, sets=sets
    )
    yield from model.ask(requests, labels, should_stop=should_stop)


def make_requests(
    rows: Sequence[Row],
    *,
    task: Task,
    template: PromptTemplate,
    labels: LabelSet,
    demonstrations: Sequence[Demonstration],
    sets: int = 1,
) -> list[Request]:
    """What :func:`label_rows` asks, one request a row; see there."""
    shown = [task.show(row) for row in rows]
    render = partial(render_prompt, template, labels=labels)
    marks = _marks(shown, demonstrations)
    theirs = dict(zip((each.key for each in demonstrations), marks[len(rows) :], strict=True))
    dealt = deal_sets(demonstrations, sets=sets, classes=len(labels))
    alone = sets == 1 or (len(dealt) == 1 and bool(demonstrations))
    requests = []
    for row, text, own in zip(rows, shown, marks, strict=False):
        fitting = [
            [each for each in group if each.key != row.key and not are_near(own, theirs[each.key])]
            for group in dealt
        ]
        if alone:
            requests.append(Request(row.key, render(demonstrations=fitting[0], shown=text)))
            continue
        turned = None
        if len(fitting) > 1 and len(labels) <= MOST_TURNED:
            turned = turn_round(template, labels=labels, demonstrations=fitting.pop(), shown=text)
        others = (render(demonstrations=group, shown=text, instructions=False).prefix for group in fitting)
        requests.append(Request(row.key, render(demonstrations=[], shown=text), tuple(others), turned))
    return requests


def prompt_like_keys(rows: Sequence[Row], *, task: Task, labels: LabelSet) -> set[int]:
    """The keys of the rows that look like prompts, see :mod:`mlcore.prompting.injection`."""
    return {row.key for row in rows if looks_like_prompt(task.show(row), labels.names)}


def _marks(shown: Sequence[str], demonstrations: Sequence[Demonstration]) -> list[frozenset[str]]:
    """By what rows and demonstrations are compared, in this order; nothing where there is nothing to compare rows with."""
    if not demonstrations:
        return [frozenset()] * len(shown)
    return distinct_shingles([*shown, *(each.shown for each in demonstrations)])


def passes_a_row(sets: int, *, classes: int, demonstrated: bool = False) -> int:
    """How many forward passes :func:`label_rows` takes for a row, where it is asked with several sets."""
    if sets == 1:
        return 1
    if not demonstrated:
        return 2
    return sets + (classes if classes <= MOST_TURNED else 1)


def annotation_passes(sets: int) -> int:
    """How often :func:`self_annotate` asks for each row of its handful."""
    return 2 if sets > 1 else 1


def self_annotate(
    model: LanguageModel,
    rows: Sequence[Row],
    *,
    task: Task,
    template: PromptTemplate,
    labels: LabelSet,
    count: int,
    seed: int,
    should_stop: Callable[[], bool],
    sets: int = 1,
) -> list[Demonstration]:
    """First round: the LLM labels a random handful without examples, and its surest answers become examples.

    As in the paper, with two changes. The answers are calibrated before they are compared, and every class gets the
    same number of places: a small model asked without examples prefers one label, and examples of that label alone
    would confirm it. Where a model gives no probabilities, readable answers are taken as they come. With several sets
    the handful is labelled once more with the examples found, and the surest of those answers replace them.

    Args:
        model: who is asked.
        rows: the corpus, or a random part of it.
        task: says how a row is shown.
        template: the prompt's blocks.
        labels: the labels to choose from.
        count: how many demonstrations a prompt holds.
        seed: decides which rows are asked, and the order of the demonstrations.
        should_stop: asked now and then; true ends with the answers so far.
        sets: how many sets of demonstrations the rows will be asked with; see :func:`label_rows`.

    Returns:
        At most ``count`` demonstrations a set, no two of them near-duplicates.

    Raises:
        ModelUnavailableError, ModelCallError: see :class:`mlcore.llm.LanguageModel`.
    """
    if count <= 0 or not rows:
        return []
    rng = np.random.default_rng(seed)
    asked = min(len(rows), max(ANNOTATED_AT_LEAST, ANNOTATED_PER_DEMONSTRATION * count))
    handful = [rows[index] for index in rng.permutation(len(rows))[:asked]]
    wanted = count_demonstrations(count, sets=sets, classes=len(labels))
    found: list[Demonstration] = []
    for _ in range(annotation_passes(sets)):
        answers = label_rows(
            model,
            handful,
            task=task,
            template=template,
            labels=labels,
            demonstrations=found,
            should_stop=should_stop,
            sets=sets,
        )
        chosen = _demonstrate_surest(list(answers), handful, task=task, labels=labels, count=wanted)
        found = [chosen[index] for index in rng.permutation(len(chosen))]
    return found


def _demonstrate_surest(
    answers: Sequence[Answer], rows: Sequence[Row], *, task: Task, labels: LabelSet, count: int
) -> list[Demonstration]:
    """The surest answers as demonstrations, class by class."""
    by_key = {answer.key: answer for answer in answers if answer.label != NO_LABEL}
    answered = [row for row in rows if row.key in by_key and can_be_shown(task.show(row), labels)]
    label_index, confidence = _judge([by_key[row.key] for row in answered], len(labels))
    shown = [task.show(row) for row in answered]
    chosen = _surest(shown, label_index, confidence, classes=len(labels), count=count)
    return [
        Demonstration(answered[index].key, shown[index], labels.names[int(label_index[index])])
        for index in chosen
    ]


def _judge(answers: Sequence[Answer], classes: int) -> tuple[IntArray, FloatArray]:
    """Labels (N,) and confidences (N,): calibrated where the model gives distributions, else as they were read."""
    given = [answer.probs for answer in answers if answer.probs is not None]
    if len(given) < len(answers) or not given:
        return np.array([answer.label for answer in answers], dtype=np.int64), np.ones(len(answers))
    calibrated = calibrate_batch(np.stack(given))
    return calibrated.argmax(axis=1), calibrated.max(axis=1)


def _surest(
    shown: Sequence[str], label_index: IntArray, confidence: FloatArray, *, classes: int, count: int
) -> list[int]:
    """The surest rows of each class, class by class, without near-duplicates."""
    order = np.argsort(-confidence, kind="stable")
    supply = [[int(row) for row in order if label_index[row] == label] for label in range(classes)]
    marks = distinct_shingles(shown)
    chosen: list[int] = []
    for label, places in enumerate(share_places(count, [len(rows) for rows in supply])):
        taken = 0
        for row in supply[label]:
            if taken == places:
                break
            if not any(are_near(marks[row], marks[other]) for other in chosen):
                chosen.append(row)
                taken += 1
    return chosen
