"""What people said of rows, and by which rules it counts."""

from __future__ import annotations

import random
import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db.models import Q

from annotation.errors import AnnotationError
from annotation.models import AuditDraw, Correction, CorrectionBatch, Label, Project
from annotation.models.sql import among
from annotation.pipeline.measure import draw_sample, round_metrics
from annotation.pipeline.measure.accuracy import Evidence
from annotation.pipeline.measure.agreement import second_answers
from annotation.pipeline.measure.annotations import RowAnnotations, blind_answers, read_annotations
from annotation.pipeline.review import bulk, corrections
from annotation.pipeline.review.bulk import Choice
from tests.support.factories import make_project, make_user
from tests.support.pages import judge_rows

pytestmark = pytest.mark.django_db

ROWS = 24


@pytest.fixture
def project() -> Project:
    project = make_project(rows=ROWS)
    judge_rows(project)
    round_metrics.record_metrics(project.iterations.get())
    return project


@pytest.fixture
def ben() -> User:
    return make_user("ben")


class People:
    """What people do with the first row, or another one."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.labels = project.label_list()
        self.rows = list(project.samples.order_by("position").values_list("pk", flat=True))

    def label(
        self, label: Label | None, *, row: int = 0, user: User | None = None, because: str = "browsing"
    ) -> None:
        corrections.correct_sample(
            self.rows[row],
            label_id=label.pk if label else None,
            user=user or self.project.owner,
            because=because,
            answer_id=uuid4(),
        )

    def bulk(self, label: Label | None, *rows: int, include_corrected: bool = True) -> CorrectionBatch:
        samples = [self.rows[row] for row in rows or (0,)]
        choice = Choice(label=label, samples=samples, include_corrected=include_corrected)
        return bulk.start_batch(self.project, choice, user=self.project.owner)

    def undo(self, user: User | None = None) -> None:
        corrections.undo_answer(self.project, user=user or self.project.owner, answer_id=uuid4())

    def read(self, row: int = 0) -> RowAnnotations:
        return read_annotations(among([self.rows[row]])).get(self.rows[row], RowAnnotations())


@pytest.fixture
def people(project: Project) -> People:
    return People(project)


def test_a_row_that_nobody_labelled_has_no_annotations(people: People) -> None:
    people.label(people.labels[0], row=1)
    assert list(read_annotations(among(people.rows))) == [people.rows[1]]


def test_an_annotation_tells_who_gave_which_label_when_and_why(people: People, ben: User) -> None:
    before = people.project.samples.get(pk=people.rows[0])
    people.label(people.labels[1], user=ben, because="queue")
    stored = Correction.objects.get()
    [annotation] = people.read().alone
    assert (annotation.user, annotation.user_id, annotation.label_id) == ("ben", ben.pk, people.labels[1].pk)
    assert (annotation.at, annotation.answer_id) == (stored.created_at, stored.answer_id)
    assert (annotation.replaced_label_id, annotation.replaced_source) == (before.label_id, before.source)
    assert (annotation.from_queue, annotation.is_blind, annotation.in_bulk) == (True, False, False)


def test_a_bulk_correction_over_a_label_given_alone_has_the_row_checked_anew(people: People) -> None:
    first, second = people.labels
    people.label(first)
    people.bulk(second)
    assert (people.read().first, people.read().bulk is None) == (None, False)
    people.label(first)
    row = people.read()
    assert [annotation.label_id for annotation in row.alone] == [first.pk]
    assert row.bulk is not None
    assert row.bulk.label_id == second.pk
    [checked] = Evidence.read(people.project).checked
    assert checked.first_at == Correction.objects.latest("pk").created_at
    assert checked.bulk_label is not None
    assert checked.bulk_label.label_id == second.pk


def test_a_bulk_correction_that_was_taken_back_is_as_if_it_had_never_been(people: People) -> None:
    first, second = people.labels
    people.label(first)
    batch = people.bulk(second, 0, 1)
    people.label(second, row=1)
    bulk.undo_batch(batch, user=people.project.owner)
    assert [annotation.label_id for annotation in people.read().alone] == [first.pk]
    assert people.read(1).bulk is None, "the row was passed over"
    assert [annotation.label_id for annotation in people.read(1).alone] == [second.pk]


def test_an_annotation_that_was_undone_leaves_the_one_before(people: People, ben: User) -> None:
    people.label(people.labels[0])
    people.label(people.labels[1], user=ben)
    people.undo(ben)
    assert [annotation.user for annotation in people.read().alone] == [people.project.owner.username]
    people.label(people.labels[0], row=1)
    people.undo()
    assert people.read(1) == RowAnnotations()


def test_a_row_given_back_to_the_models_counts_from_the_next_label(people: People, ben: User) -> None:
    people.label(people.labels[0])
    people.label(None)
    assert people.read().first is None
    people.label(people.labels[1], user=ben)
    assert [annotation.user for annotation in people.read().alone] == ["ben"]


def test_a_blind_answer_stays_one_whatever_follows(people: People, ben: User) -> None:
    people.label(people.labels[0], because="audit")
    people.label(people.labels[1], user=ben)
    people.bulk(people.labels[0])
    answer = people.read().blind_answer
    assert answer is not None
    assert (answer.label_id, answer.user) == (people.labels[0].pk, people.project.owner.username)


def test_a_row_decided_otherwise_first_is_no_blind_answer(people: People, ben: User) -> None:
    people.label(people.labels[0])
    people.label(people.labels[0], user=ben, because="audit")
    assert people.read().blind_answer is None


def test_only_drawn_rows_are_answers_of_the_sample(people: People) -> None:
    draw_sample.draw_sample(people.project, rows=5, user=None, seed=0)
    drawn = set(AuditDraw.objects.values_list("sample", flat=True))
    for row in range(ROWS):
        people.label(people.labels[0], row=row, because="audit")
    assert set(blind_answers(people.project)) == drawn
    assert {row.sample_id for row in Evidence.read(people.project).answered} == drawn


def test_a_second_answer_is_compared_with_the_label_that_stands(people: People, ben: User) -> None:
    carla = make_user("carla")
    people.label(people.labels[0])
    people.label(people.labels[1], user=carla)
    people.undo(carla)
    people.label(people.labels[0], user=ben, because="second")
    [(first, second)] = second_answers(people.project)
    assert (first.user, second.user) == (people.project.owner.username, "ben")


def test_rows_decided_in_bulk_are_not_read(people: People, django_assert_num_queries: Any) -> None:
    people.bulk(None, *range(ROWS), include_corrected=False)
    assert Evidence.read(people.project).annotations == {}
    with django_assert_num_queries(1):
        assert len(read_annotations(among(people.rows))) == ROWS


# --- Any sequence of actions --------------------------------------------------------------------------------------


def act_at_random(people: People, users: list[User], chance: random.Random) -> None:
    """One thing that a person may do, which may be refused."""
    user, label, row = chance.choice(users), chance.choice(people.labels), chance.randrange(ROWS)
    match chance.choice(["label"] * 4 + ["answer"] * 4 + ["bulk", "undo", "undo", "undo bulk", "draw"]):
        case "label":
            because = chance.choice(["browsing", "queue", "second"])
            people.label(chance.choice([label, label, label, None]), row=row, user=user, because=because)
        case "answer":
            if drawn := draw_sample.pending_draws(people.project, user).first():
                people.label(label, row=people.rows.index(drawn.pk), user=user, because="audit")
        case "bulk":
            rows = chance.sample(range(ROWS), 4)
            people.bulk(chance.choice([label, None]), *rows, include_corrected=chance.random() < 0.5)
        case "undo":
            people.undo(user)
        case "undo bulk":
            batches = people.project.correction_batches.filter(undoes=None, undone_by=None)
            if batch := batches.order_by("?").first():
                bulk.undo_batch(batch, user=user)
        case "draw":
            draw_sample.draw_sample(people.project, rows=8, user=user, seed=0)


def recount(sample_id: int) -> tuple[list[int], int | None]:
    """The corrections that count as given to a row alone, and the bulk correction before them: the rules as a pattern over
    what stands, where ``-`` gives the row back, ``b`` is in bulk, ``a`` a blind answer and ``o`` another label."""
    raw = Correction.objects.filter(sample=sample_id).select_related("batch__undone_by").order_by("pk")
    undone = set(raw.filter(undoes__isnull=False).values_list("undoes", flat=True))
    standing = [
        correction
        for correction in raw
        if correction.pk not in undone
        and correction.undoes_id is None
        and not (correction.batch and hasattr(correction.batch, "undone_by"))
    ]
    signs = "".join(
        "-"
        if not correction.label_id
        else "b"
        if correction.batch_id
        else "a"
        if correction.because == "audit"
        else "o"
        for correction in standing
    )
    begin = signs.rfind("-") + 1
    end = re.compile("(?:(?:o[ao]*)?b)*").match(signs, begin).end()  # type: ignore[union-attr]
    alone = [correction.pk for correction in standing[end:] if not correction.batch_id]
    return alone, standing[end - 1].pk if end > begin else None


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_actions_reads_as_a_plain_recount_of_all_corrections(
    people: People, seed: int
) -> None:
    chance = random.Random(seed)
    users = [people.project.owner, make_user("ben"), make_user("carla")]
    for _step in range(120):
        try:
            act_at_random(people, users, chance)
        except AnnotationError:
            continue
    expected = {row: recount(row) for row in people.rows}
    read = {row: people.read(index) for index, row in enumerate(people.rows)}
    assert {
        row: ([annotation.id for annotation in said.alone], said.bulk and said.bulk.id)
        for row, said in read.items()
    } == expected
    evidence = Evidence.read(people.project)
    alone = people.project.samples.filter(batch__isnull=True, source="person")
    assert {row.sample_id for row in evidence.checked} == set(alone.values_list("pk", flat=True))
    first = {row: Correction.objects.get(pk=ids[0]) for row, (ids, _bulk) in expected.items() if ids}
    assert all(row.first_at == first[row.sample_id].created_at for row in evidence.checked)
    answered = {
        draw.sample_id: draw.draw_number
        for draw in AuditDraw.objects.all()
        if draw.sample_id in first and first[draw.sample_id].because == "audit"
    }
    assert {row.sample_id: row.draw_number for row in evidence.answered} == answered
    assert all(row.true_label_id == first[row.sample_id].label_id for row in evidence.answered)
    in_bulk = people.project.samples.filter(Q(batch__isnull=False)).count()
    assert evidence.decided_in_bulk == in_bulk
