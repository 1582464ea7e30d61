"""The SLM page after a training: how the models differ, what was trusted, how the losses lie, and the way to a row."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.template.loader import render_to_string

from annotation.jobs import kinds
from annotation.live.stage_status import stage_context
from annotation.models import EpochRows, Iteration, Stage
from annotation.pipeline.measure.round_metrics import record_metrics
from annotation.views.distill.training_report import weight_words
from tests.support.pages import Cast, judge_rows, make_cast, one_line

pytestmark = pytest.mark.django_db

DETAIL = {
    "history": [
        {
            "epoch": 1,
            "phase": "robust",
            "loss": 0.5,
            "loss_unlabelled": 0.1,
            "clean_share": 0.75,
            "balance": [0.6, 0.4],
            "clean_balance": [0.55, 0.45],
        }
    ],
    "stopped": "Converged after epoch 1.",
    "warnings": ["1 label(s) have fewer than 10 rows; judgements about them are unreliable."],
    "evidence": {
        "student_right": 0.9,
        "contradicted_share": 0.25,
        "teacher_wrong_when_contradicted": 0.6,
        "teacher_weight": 0.2,
        "checked_rows": 3.0,
    },
    "confusion": [[4, 2], [2, 3]],
    "unreadable": [0, 1],
    "loss_histogram": {
        "edges": [0.0, 1.0, 2.0],
        "parts": [
            {"label": 0, "rows": 6, "counts": [4, 2], "clean": [4.1, 0.1], "noisy": [0.2, 1.6], "boundary": 0.8, "fallback": ""},
            {"label": 1, "rows": 5, "counts": [3, 2], "clean": [], "noisy": [], "boundary": None, "fallback": "5 rows are too few"},
        ],
    },
}  # fmt: skip


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    Stage.objects.filter(kind="slm").update(detail=DETAIL)
    return cast


def html_of(cast: Cast, path: str = "filtering/") -> str:
    answer = cast.client("viewer").get(cast.url(path))
    assert answer.status_code == 200
    return one_line(answer.content.decode())


def plots_of(cast: Cast) -> Any:
    return json.loads(cast.client("viewer").get(cast.url("filtering/plots/")).content)


def test_each_pair_of_labels_leads_to_its_rows_in_the_review(cast: Cast) -> None:
    html = html_of(cast)
    first, second = cast.project.label_list()
    assert "63.6\N{NO-BREAK SPACE}% of the rows" in html, "7 of 11 rows with a label"
    assert f'href="{cast.url("review/")}?llm={first.pk}&amp;slm={second.pk}"' in html
    shown = html_of(cast, f"review/?llm={first.pk}&slm={second.pk}")
    expected = cast.project.samples.filter(llm_label=first, slm_label=second)
    assert expected.exists()
    assert sorted(map(int, re.findall(r'<tr id="sample-(\d+)"', shown))) == sorted(row.pk for row in expected)


def test_rows_without_a_label_of_the_llm_can_be_opened_from_the_table_of_pairs(cast: Cast) -> None:
    second = cast.project.label_list()[1]
    assert f'href="{cast.url("review/")}?llm=none&amp;slm={second.pk}"' in html_of(cast)
    sample = cast.project.samples.filter(slm_label=second).first()
    assert sample is not None
    cast.project.samples.filter(pk=sample.pk).update(llm_label=None)
    shown = html_of(cast, f"review/?llm=none&slm={second.pk}")
    assert re.findall(r'<tr id="sample-(\d+)"', shown) == [str(sample.pk)]
    assert "no label" in shown, "the filter that is set is named"


def test_the_clean_share_is_shown_once_the_training_is_done(
    cast: Cast,
) -> None:
    iteration = cast.project.iterations.get()
    record_metrics(iteration)
    stage = iteration.stages.get(kind=kinds.SLM.key)
    html = one_line(render_to_string("annotation/jobs/_stage_progress.html", stage_context(stage)))
    assert re.search(r"Clean rows</span></dt><dd>66\.7", html), (
        "8 of 12 rows have a clean probability of 90 %"
    )
    stage.status, stage.detail = Stage.Status.RUNNING, {"clean_share": 0.75}
    html = one_line(render_to_string("annotation/jobs/_stage_progress.html", stage_context(stage)))
    assert re.search(r"Clean rows</span></dt><dd>75\.0", html)


@pytest.mark.parametrize("query", ["row=0", "row=abc", "row=9999999999999"])
def test_rows_that_cant_be_are_refused(cast: Cast, query: str) -> None:
    assert cast.client("viewer").get(cast.url(f"review/?{query}")).status_code == 400


def test_a_past_round_shows_its_pairs_without_links(cast: Cast) -> None:
    first = cast.project.iterations.get()
    Iteration.objects.create(
        project=cast.project,
        number=2,
        started_from="llm",
        labels=first.labels,
        prompt=first.prompt,
        llm_settings={},
        slm_settings={},
    )
    html = html_of(cast, "filtering/?round=1")
    assert "LLM vs. SLM" in html
    assert "review/?llm=" not in html


def test_what_was_trusted_is_said_in_words(cast: Cast) -> None:
    html = html_of(cast)
    for words in (
        "Converged after epoch 1.",
        "judgements about them are unreliable",
        "90.0",
        "It counts less than the small models",
        "-5.0",
        "+5.0",
    ):
        assert words in html


@pytest.mark.parametrize(
    ("weight", "words"),
    [(0.0, "hardly counts"), (0.3, "counts less"), (1.0, "counts more"), (8.0, "counts more")],
)
def test_the_weight_of_the_llms_word_is_said_by_its_size(weight: float, words: str) -> None:
    assert weight_words(weight).startswith(f"It {words}")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("teacher_wrong_when_contradicted", 0.02, "at most 2.0\N{NO-BREAK SPACE}%"),
        ("teacher_wrong_when_contradicted", 0.98, "at least 98.0\N{NO-BREAK SPACE}%"),
        ("teacher_wrong_when_contradicted", 0.03, "<b>3.0\N{NO-BREAK SPACE}%"),
        ("student_right", 0.55, "at most 55.0\N{NO-BREAK SPACE}%"),
        ("student_right", 0.995, "at least 99.5\N{NO-BREAK SPACE}%"),
        ("teacher_weight", 12.0, "12 or more"),
        ("teacher_weight", 11.5, "<b>11.5"),
    ],
)
def test_an_estimate_that_lies_at_its_bound_is_not_shown_as_a_measured_number(
    cast: Cast, name: str, value: float, words: str
) -> None:
    evidence = DETAIL["evidence"] | {name: value}  # type: ignore[operator]
    Stage.objects.filter(kind="slm").update(detail=DETAIL | {"evidence": evidence})
    assert words in html_of(cast)


def test_without_contradicted_rows_no_error_rate_is_told(cast: Cast) -> None:
    evidence = DETAIL["evidence"] | {"contradicted_share": 0.0, "teacher_weight": 12.0}  # type: ignore[operator]
    Stage.objects.filter(kind="slm").update(detail=DETAIL | {"evidence": evidence})
    html = html_of(cast)
    assert "Rows where they contradict the LLM" in html
    assert "LLM wrong on these rows" not in html
    assert "Weight of the LLM" not in html


def test_the_table_opens_at_a_row(cast: Cast) -> None:
    rows = re.findall(r'<td class="pos num">(\d+)</td>', html_of(cast, "filtering/?row=9"))
    assert rows == ["9", "10", "11", "12"]
    assert re.findall(r'<td class="pos num">(\d+)</td>', html_of(cast, "filtering/?row=1"))[0] == "1"
    assert "sample-" not in html_of(cast, "filtering/?row=500")


def test_the_plots_get_losses_by_label_and_points_with_their_rows(cast: Cast) -> None:
    data = plots_of(cast)
    assert [part["label"] for part in data["losses"]["parts"]] == ["positive", "negative"]
    samples = {row.pk: row for row in cast.project.samples.all()}
    assert len(data["points"]) == 12
    for sample, number, label, flag, rank, x, y in data["points"]:
        row = samples[sample]
        assert (number, flag, rank) == (row.number, row.flag, row.clean_rank)
        assert cast.project.label_list()[label] == row.slm_label
        assert (x, y) == (1.0, row.position)


@pytest.mark.parametrize("status", ["queued", "running", "paused", "cancelled", "failed"])
def test_an_unfinished_training_shows_its_epochs_and_no_report(cast: Cast, status: str) -> None:
    Stage.objects.filter(kind="slm").update(status=status)
    html = html_of(cast)
    assert "The histogram appears when training is done." in html
    assert "LLM vs. SLM" not in html
    assert plots_of(cast)["points"] == []
    assert len(plots_of(cast)["epochs"]) == 1


def test_a_run_that_recorded_less_shows_less(cast: Cast) -> None:
    Stage.objects.filter(kind="slm").update(detail={})
    html = html_of(cast)
    assert "This run did not record its losses." in html
    assert "No epoch has finished." in html
    assert "LLM vs. SLM" not in html
    assert "How labels were decided" not in html


def test_a_training_that_runs_shows_its_newest_epoch_in_the_table_and_on_the_map(cast: Cast) -> None:
    stage = Stage.objects.get(kind="slm")
    stage.status, stage.phase, stage.epoch = Stage.Status.RUNNING, "robust", 2
    stage.save()
    sample, label = cast.project.samples.get(position=4), cast.project.label_list()[1]
    rows = {str(sample.pk): [label.pk, 0.5125, 0.25, 3, "wrong", 0.5, -1.5, 5]}
    EpochRows.objects.create(stage=stage, epoch=2, rows=rows)
    html = html_of(cast)
    row = html[html.index(f'id="sample-{sample.pk}"') :].partition("</tr>")[0]
    assert all(words in row for words in (label.name, "51.2", "25.0", "#3", "likely wrong")), row
    answer = plots_of(cast)
    assert answer["points"] == [[sample.pk, 5, 1, "wrong", 3, 0.5, -1.5]]
    seen = cast.client("viewer").get(cast.url(f"filtering/plots/?seen={answer['version']}"))
    assert json.loads(seen.content) == {"version": answer["version"]}, "nothing new, nothing sent"


def test_an_area_of_the_map_filters_the_table(cast: Cast) -> None:
    shown = html_of(cast, "review/?area=0,1.5,2,4.5")  # judge_rows puts row N at (1, N)
    expected = cast.project.samples.filter(position__in=(2, 3, 4)).values_list("pk", flat=True)
    assert set(map(int, re.findall(r'<tr id="sample-(\d+)"', shown))) == set(expected)
    assert cast.client("viewer").get(cast.url("review/?area=0,1,2")).status_code == 400
    assert cast.client("viewer").get(cast.url("review/?area=a,b,c,nan")).status_code == 400
