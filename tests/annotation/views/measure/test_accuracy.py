"""The pages of the measured accuracy and of the rounds."""

from __future__ import annotations

import pytest
from django.template.loader import render_to_string

from annotation.jobs import kinds, state
from annotation.models import Activity, AuditDraw, Correction, Iteration, Prediction, Sample, Source, Stage
from annotation.pipeline.iterate import restore_round
from annotation.pipeline.measure import draw_sample
from annotation.pipeline.measure.round_metrics import record_metrics
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.review import corrections
from mlcore.measure.estimate import Interval
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast(rows=40)
    record_metrics(judge_rows(cast.project))
    return cast


def answer(cast: Cast, rows: int) -> None:
    draw_sample.draw_sample(cast.project, rows=rows, user=cast.users["owner"], seed=0)
    for sample in draw_sample.pending_draws(cast.project, cast.users["reviewer"]):
        corrections.correct_sample(
            sample.pk,
            label_id=sample.reference_id,
            user=cast.users["reviewer"],
            because=Correction.Because.AUDIT,
        )


def card(cast: Cast, role: str) -> str:
    headers = {"hx-request": "true", "hx-target": "measured"}
    return cast.client(role).get(cast.url("accuracy/"), headers=headers).content.decode()


def test_the_card_says_that_nothing_is_known_and_offers_a_draw_to_who_may_review(cast: Cast) -> None:
    assert "Not known yet" in card(cast, "viewer")
    assert "draw 100 random rows" in card(cast, "reviewer")
    assert "draw 100 random rows" not in card(cast, "viewer")


def test_no_draw_is_offered_where_every_row_is_drawn_or_decided(cast: Cast) -> None:
    url = cast.url("accuracy/")
    assert ">Draw</button>" in cast.client("reviewer").get(url).content.decode()
    draw_sample.draw_sample(cast.project, rows=40, user=None, seed=0)
    page = cast.client("reviewer").get(url).content.decode()
    assert ">Draw</button>" not in page
    assert "Label the sampled rows" in page
    AuditDraw.objects.all().delete()
    for sample in cast.project.samples.all():
        corrections.correct_sample(sample.pk, label_id=sample.label_id, user=cast.users["owner"])
    page = cast.client("reviewer").get(url).content.decode()
    assert ">Draw</button>" not in page
    assert "There is no labelled row left to draw." in page
    assert "random rows</button>" not in card(cast, "reviewer")


def test_a_draw_leads_to_the_rows_and_is_on_record(cast: Cast) -> None:
    answer_page = cast.client("reviewer").post(cast.url("accuracy/draw/"), {"rows": "15"})
    assert answer_page["Location"] == cast.url("focus/?only=random")
    assert AuditDraw.objects.filter(project=cast.project).count() == 15
    assert Activity.objects.get(verb="drew").what == "15 rows"
    assert "Label 15 sampled rows" in card(cast, "reviewer")


@pytest.mark.parametrize("rows", ["", "9", "5001", "many"])
def test_an_impossible_number_of_rows_draws_none(cast: Cast, rows: str) -> None:
    cast.client("reviewer").post(cast.url("accuracy/draw/"), {"rows": rows})
    assert not AuditDraw.objects.exists()


def test_before_ten_answers_no_figure_is_shown(cast: Cast) -> None:
    draw_sample.draw_sample(cast.project, rows=30, user=None, seed=0)
    sample = draw_sample.pending_draws(cast.project, cast.users["owner"])[0]
    corrections.correct_sample(
        sample.pk, label_id=sample.label_id, user=cast.users["owner"], because=Correction.Because.AUDIT
    )
    assert "1 sampled row is labelled so far; an estimate needs 10." in card(cast, "owner")


def test_the_page_tells_accuracy_wrong_rows_classes_flags_and_agreement(cast: Cast) -> None:
    answer(cast, 25)
    page = cast.client("viewer").get(cast.url("accuracy/")).content.decode()
    for words in (
        "with 95 % confidence",
        "Wrong rows left",
        "25 labelled rows of the random sample",
        "On reference labels",
        "checked were wrong",
        "reviewer – LLM",
        "LLM – SLM",
        "Krippendorff",
        "Precision",
    ):
        assert words in page, words


def test_a_label_without_audited_rows_is_a_dash() -> None:
    cell = "annotation/measure/_interval_cell.html"
    assert ">–</span>" in render_to_string(cell, {"interval": None})
    html = render_to_string(cell, {"interval": Interval(0.288, 0.288, 0.6512)})
    assert "28.8\N{NO-BREAK SPACE}%<br>" in html
    assert "28.8\N{NO-BREAK SPACE}%–65.1\N{NO-BREAK SPACE}%" in html


def test_the_page_says_what_a_label_lacks_to_be_known(cast: Cast) -> None:
    names = [label.name for label in cast.project.label_list()]
    configure.set_labels(cast.project, [LabelDraft(name) for name in [*names, "mixed", "never"]])
    answer(cast, 25)
    mixed = cast.project.labels.get(name="mixed")
    rows = cast.project.samples.exclude(source=Source.PERSON).values_list("pk", flat=True)[:7]
    Prediction.objects.filter(sample__in=list(rows), source="slm").update(verdict=mixed)
    cast.project.samples.filter(pk__in=list(rows)).update(label=mixed)
    record_metrics(cast.project.iterations.get())
    page = one_line(cast.client("viewer").get(cast.url("accuracy/")).content.decode())
    assert "too few sampled rows of these labels: mixed<" in page
    assert "no sampled row yet, needs 5" in page
    assert "no row has this label" in page
    assert "The next draw includes rows of each label that lacks them" in page


def test_a_target_can_be_chosen_and_nonsense_is_ignored(cast: Cast) -> None:
    answer(cast, 25)
    client = cast.client("viewer")
    assert "99.5" in client.get(cast.url("accuracy/?target=0.995")).content.decode()
    assert client.get(cast.url("accuracy/?target=soon")).status_code == 200


def worse_round(cast: Cast) -> Iteration:
    """A second round that gives every row the first label."""
    first = cast.project.iterations.get()
    label = cast.project.label_list()[0]
    second = Iteration.objects.create(
        project=cast.project,
        number=2,
        started_from="slm",
        labels=first.labels,
        prompt={},
        llm_settings={},
        slm_settings={},
    )
    for said in first.predictions.filter(source="slm"):
        said.pk, said.iteration, said.verdict, said.label = None, second, label, label
        said.save()
    Stage.objects.create(project=cast.project, iteration=second, kind=kinds.SLM.key, status=Stage.Status.DONE)
    Sample.objects.exclude(source=Source.PERSON).update(label=label, round=2)
    record_metrics(second)
    return second


def test_a_worse_round_is_marked_in_words_and_an_owner_goes_back_with_one_click(cast: Cast) -> None:
    answer(cast, 25)
    worse_round(cast)
    page = cast.client("owner").get(cast.url("rounds/")).content.decode()
    assert "Round 2 is worse than round 1." in page
    assert "almost no rows are left with these labels: negative" in page
    assert "Roll back to round 1" in page
    assert "Roll back to round 1" not in cast.client("viewer").get(cast.url("rounds/")).content.decode()
    first = cast.project.iterations.get(number=1)
    cast.client("owner").post(cast.url(f"rounds/{first.pk}/restore/"))
    assert cast.project.stages.get(kind=kinds.RESTORE.key).detail == {"round": 1}


def test_while_rows_are_set_back_nothing_else_is_started(cast: Cast) -> None:
    second = worse_round(cast)
    restore_round.start_restore(cast.project.iterations.get(number=1), user=None)
    page = cast.client("owner").post(cast.url(f"rounds/{second.pk}/restore/"), follow=True).content.decode()
    assert "Rollback of this project is waiting for a worker" in page
    assert cast.project.stages.filter(kind=kinds.RESTORE.key).count() == 1


@pytest.mark.parametrize("what", ["pause", "resume", "cancel"])
def test_the_buttons_of_going_back_lead_to_the_rounds_without_scripts_too(cast: Cast, what: str) -> None:
    worse_round(cast)
    restore_round.start_restore(cast.project.iterations.get(number=1), user=None)
    stage = cast.project.stages.get(kind=kinds.RESTORE.key)
    if what == "resume":
        state.request_pause(stage)
    answered = cast.client("owner").post(cast.url(f"stages/{stage.pk}/{what}/"))
    assert (answered.status_code, answered["Location"]) == (302, cast.url("rounds/"))


def test_rounds_show_no_measured_accuracy_before_ten_answers_either(cast: Cast) -> None:
    draw_sample.draw_sample(cast.project, rows=30, user=None, seed=0)
    for sample in draw_sample.pending_draws(cast.project, cast.users["owner"])[:9]:
        corrections.correct_sample(
            sample.pk, label_id=sample.label_id, user=cast.users["owner"], because=Correction.Because.AUDIT
        )
    assert (
        "Accuracy has not been measured yet"
        in cast.client("viewer").get(cast.url("rounds/")).content.decode()
    )


def test_the_rows_that_a_round_changed_can_be_looked_through(cast: Cast) -> None:
    second = worse_round(cast)
    client = cast.client("viewer")
    page = client.get(cast.url(f"rounds/{second.pk}/flips/")).content.decode()
    changed = second.predictions.exclude(verdict__name="negative").filter(sample__reference__name="negative")
    assert page.count('<td class="pos">') == changed.count() > 0
    assert client.get(cast.url(f"rounds/{second.pk}/flips/"), {"after": "²"}).status_code == 200
    last = cast.project.samples.order_by("-pk")[0].pk
    assert (
        "Nothing changed" in client.get(cast.url(f"rounds/{second.pk}/flips/?after={last}")).content.decode()
    )


def test_the_queries_of_the_rounds_page_do_not_grow_with_the_rows(
    cast: Cast, django_assert_max_num_queries: object
) -> None:
    answer(cast, 25)
    worse_round(cast)
    with django_assert_max_num_queries(38):  # type: ignore[operator]
        page = cast.client("viewer").get(cast.url("rounds/"))
    assert page.content.decode().count("<tr") > 2
