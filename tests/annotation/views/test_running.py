"""The pages while models run and after: progress, controls, plots, rounds, export, members, accounts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from annotation.jobs import kinds
from annotation.models import Iteration, Prediction, Stage
from annotation.templatetags import coral
from tests.support.factories import start_llm_round
from tests.support.pages import Cast, judge_rows, make_cast, one_line
from tests.support.running import html_of, running

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def round_of(stage: Stage) -> Iteration:
    assert stage.iteration
    return stage.iteration


# --- Progress ---------------------------------------------------------------------------------------------------------


def test_the_page_follows_a_running_stage_by_socket_and_by_polling(cast: Cast) -> None:
    stage = running(cast)
    html = html_of(cast, "labeling/")
    assert f'ws-connect="/ws/stages/{stage.pk}/"' in html
    assert f'hx-get="{cast.url(f"stages/{stage.pk}/")}"' in html
    assert "5 of 12 rows" in html
    Stage.objects.filter(pk=stage.pk).update(status="done")
    partial = html_of(cast, f"stages/{stage.pk}/")
    assert partial.strip().startswith(f'<div id="stage-{stage.pk}"')
    assert "every 3s" not in partial


def test_the_same_partial_is_on_the_page_and_comes_by_polling(cast: Cast) -> None:
    stage = running(cast, status="failed", error="The server refused the token.")
    partial = html_of(cast, f"stages/{stage.pk}/").strip()
    assert partial in html_of(cast, "labeling/")
    assert "The server refused the token." in partial


def test_the_table_fills_with_the_newest_answers_first(cast: Cast) -> None:
    stage = running(cast)
    assert "No answers yet" in html_of(cast, "labeling/")
    label = cast.project.label_list()[0]
    for position in (2, 7):
        sample = cast.project.samples.get(position=position)
        Prediction.objects.create(
            sample=sample, iteration=round_of(stage), source="llm", label=label, calibrated=[0.8, 0.2]
        )
    answer = cast.client("viewer").get(
        cast.url("labeling/"), headers={"hx-request": "true", "hx-target": "rows"}
    )
    html = one_line(answer.content.decode())
    assert html.startswith('<div id="rows"')
    assert html.index("number 7") < html.index("number 2")
    assert "80.0" in html


def test_answers_that_failed_or_cant_be_read_say_so(cast: Cast) -> None:
    stage = running(cast)
    first, second = cast.project.samples.order_by("position")[:2]
    Prediction.objects.create(
        sample=first, iteration=round_of(stage), source="llm", error="Timed out after 60 s."
    )
    Prediction.objects.create(sample=second, iteration=round_of(stage), source="llm", raw="Hmm, hard to say!")
    html = html_of(cast, "labeling/")
    assert "call failed" in html
    assert "Timed out after 60 s." in html
    assert "unreadable" in html


def test_a_running_stage_tells_what_it_will_cost_and_how_many_answers_cant_be_read(cast: Cast) -> None:
    detail = {"price_in": 100.0, "price_out": 200.0, "tokens_before": [1_000, 0], "unreadable": 4}
    running(cast, total=200_000, done=50_000, tokens_in=1_001_000, tokens_out=500_000, detail=detail)
    html = html_of(cast, "labeling/")
    assert "200.10" in html, "so far"
    assert "800.10" in html, "when done: what came before the rows is not repeated"
    assert "4 of 50,000" in html


def test_the_page_tells_how_the_calls_go_and_what_the_prompt_shows(cast: Cast) -> None:
    calls = {
        "at_once": 8,
        "most": 64,
        "failures": {"limited": 3, "transient": 2},
        "next_at": datetime(2026, 1, 1, 12, 3, 10, tzinfo=UTC).timestamp(),
    }
    stage = running(cast, total=12, done=11, detail={"calls": calls})
    round_of(stage).project.iterations.update(
        demonstrations=[{"key": 1, "shown": "a warm <b>film</b>", "label": "positive"}]
    )
    html = html_of(cast, "labeling/")
    assert "8 of 64" in html
    assert "3 × rate limit (429), 2 × connection or server error" in html
    assert "the next call is at 12:03:10" in html
    assert "1 demonstration in the prompt" in html
    assert "a warm &lt;b&gt;film&lt;/b&gt;<b>→ positive</b>" in html


def test_a_stage_that_has_hardly_begun_or_costs_nothing_tells_no_cost(cast: Cast) -> None:
    stage = running(cast, done=5, tokens_in=500, detail={"price_in": 100.0, "tokens_before": [0, 0]})
    assert "Estimated total cost" not in html_of(cast, "labeling/")
    Stage.objects.filter(pk=stage.pk).update(done=11, detail={"tokens_before": [0, 0]})
    assert "Estimated total cost" not in html_of(cast, "labeling/")


def test_an_owner_pauses_resumes_and_cancels(cast: Cast) -> None:
    stage = start_llm_round(cast.project).stages.get()
    for action, status in (
        ("pause", "paused"),
        ("resume", "queued"),
        ("cancel", "cancelled"),
        ("cancel", "cancelled"),
        ("resume", "queued"),
    ):
        assert cast.client("owner").post(cast.url(f"stages/{stage.pk}/{action}/"))["Location"] == cast.url(
            "labeling/"
        )
        stage.refresh_from_db()
        assert stage.status == status


def test_a_round_without_an_answer_says_that_changed_settings_count(cast: Cast) -> None:
    stage = start_llm_round(cast.project).stages.get()
    frozen, counts = "keeps the settings", "take effect as soon as you resume it"
    assert frozen in html_of(cast, "configure/models/")
    Stage.objects.filter(pk=stage.pk).update(status="paused", error="The server can't be reached.")
    models = html_of(cast, "configure/models/")
    assert counts in models
    assert frozen not in models
    assert cast.url(f"stages/{stage.pk}/resume/") in html_of(cast, "configure/start/")
    assert cast.url("configure/models/") in html_of(cast, "labeling/")

    Prediction.objects.create(
        sample=cast.project.samples.get(position=1),
        iteration=round_of(stage),
        source="llm",
        label=cast.project.labels.first(),
    )
    assert frozen in html_of(cast, "configure/models/")
    assert cast.url("configure/models/") not in html_of(cast, "labeling/")


def test_a_running_stage_is_asked_to_stop_and_the_page_says_so(cast: Cast) -> None:
    stage = running(cast, lease_until=timezone.now() + timedelta(seconds=30))
    html = (
        cast.client("owner")
        .post(cast.url(f"stages/{stage.pk}/pause/"), headers={"hx-request": "true"})
        .content.decode()
    )
    assert 'data-status="pause"' in html
    assert "pausing" in html


def test_only_owners_see_the_controls(cast: Cast) -> None:
    stage = running(cast)
    assert f"stages/{stage.pk}/cancel/" in html_of(cast, "labeling/")
    assert f"stages/{stage.pk}/cancel/" not in html_of(cast, "labeling/", "reviewer")


def test_pages_before_the_start_say_what_to_do_next(cast: Cast) -> None:
    assert "Continue configuration" in html_of(cast, "labeling/")
    assert "An owner of the project can start it" in html_of(cast, "labeling/", "viewer")
    assert "it can start when LLM labeling is done" in html_of(cast, "filtering/")
    assert "No round yet" in html_of(cast, "rounds/")


# --- Filtering --------------------------------------------------------------------------------------------------------


def test_filtering_is_started_once_when_the_llm_is_done(cast: Cast) -> None:
    iteration = judge_rows(cast.project)
    iteration.stages.filter(kind="slm").delete()
    assert "Start SLM filtering" in html_of(cast, "filtering/")
    for _click in range(2):
        assert cast.client("owner").post(cast.url("filtering/start/"))["Location"] == cast.url("filtering/")
    assert Stage.objects.filter(kind="slm").count() == 1


def test_filtering_before_any_round_gets_a_sentence(cast: Cast) -> None:
    answer = cast.client("owner").post(cast.url("filtering/start/"), follow=True)
    assert "has no round yet" in answer.content.decode()


def test_each_row_shows_its_evidence(cast: Cast) -> None:
    judge_rows(cast.project)
    html = html_of(cast, "filtering/")
    for words in ("likely right", "models disagree", "90.0", "#1<"):
        assert words in html


def test_the_plots_get_epochs_and_points_as_json(cast: Cast) -> None:
    judge_rows(cast.project)
    answer = cast.client("viewer").get(cast.url("filtering/plots/"))
    assert answer["Content-Type"] == "application/json"
    data = json.loads(answer.content)
    assert data["epochs"] == [
        {"epoch": 1, "phase": "warm-up", "loss": 0.7, "loss_unlabelled": 0.0, "clean_share": 0.6}
    ]
    assert [label["name"] for label in data["labels"]] == ["positive", "negative"]
    assert len(data["points"]) == 12


def test_a_round_from_the_small_model_shows_the_llm_labels_that_it_works_on(cast: Cast) -> None:
    first = judge_rows(cast.project)
    second = Iteration.objects.create(
        project=cast.project,
        number=2,
        started_from="slm",
        labels=first.labels,
        prompt=first.prompt,
        llm_settings={},
        slm_settings={},
    )
    Stage.objects.create(project=cast.project, iteration=second, kind="slm", status="running")
    assert "uses the LLM labels of round 1" in html_of(cast, "labeling/")
    assert html_of(cast, "filtering/").count('class="chip') >= 12


# --- Rounds -----------------------------------------------------------------------------------------------------------


def test_rounds_are_compared_in_numbers(cast: Cast) -> None:
    iteration = judge_rows(cast.project)
    iteration.metrics = {
        "llm": {"accuracy": 0.7},
        "slm": {"accuracy": 0.8125, "clean_share": 1.0},
        "verdict": {"agreement": 0.75},
        "flips": None,
    }
    iteration.save()
    html = html_of(cast, "rounds/")
    assert re.search(r"70\.0\s%.*81\.2\s%", html, re.DOTALL)
    assert 'id="rounds-data" type="application/json"' in html
    assert "Cost, at the prices" not in html
    stage = iteration.stages.get(kind=kinds.LLM.key)
    stage.tokens_in, stage.tokens_out = 3_000_000, 1_000_000
    stage.detail = {"price_in": 0.5, "price_out": 1.5}
    stage.save()
    assert re.search(r"4,000,000<br><small[^>]*>Cost 3\.00<", html_of(cast, "rounds/"))


@pytest.mark.parametrize(("start", "page"), [("llm", "labeling/"), ("slm", "filtering/")])
def test_the_next_round_starts_once_and_leads_to_its_page(cast: Cast, start: str, page: str) -> None:
    judge_rows(cast.project)
    answer = cast.client("owner").post(cast.url("rounds/start/"), {"started_from": start})
    assert answer["Location"] == cast.url(page)
    again = cast.client("owner").post(cast.url("rounds/start/"), {"started_from": start}, follow=True)
    assert "Wait until it is done, or cancel it first" in again.content.decode()
    assert Iteration.objects.filter(project=cast.project).count() == 2


def test_an_unknown_start_gets_a_sentence(cast: Cast) -> None:
    judge_rows(cast.project)
    answer = cast.client("owner").post(cast.url("rounds/start/"), {"started_from": "scratch"}, follow=True)
    assert "scratch is not one of the available choices" in answer.content.decode()


# --- Words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.0"), (1.0, "100.0"), (0.5, "50.0"), (0.99999, "99.9"), (0.00001, "0.1")],
)
def test_a_share_is_never_rounded_to_certainty(value: float | None, text: str) -> None:
    assert coral.share(value).partition("\N{NO-BREAK SPACE}")[0] == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.4, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3700, "1 h 1 min")]
)
def test_a_duration_is_said_in_the_units_that_matter(seconds: float | None, text: str) -> None:
    assert coral.duration(seconds) == text


@pytest.mark.parametrize(("role", "offered"), [("owner", True), ("viewer", False)])
def test_a_project_without_rows_says_what_to_do_first(role: str, offered: bool) -> None:
    empty = make_cast(rows=0)
    for path in ("review/", "export/"):
        html = html_of(empty, path, role)
        assert "The project has no rows yet." in html
        assert (f'href="{empty.url("configure/data/")}">Upload a file</a>' in html) == offered
        assert "Review row by row" not in html
        assert "Create file" not in html
