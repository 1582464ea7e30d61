from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annotation.files.tools.flatten import flatten_record
from tests.support.doors import read_rows


def annotation(label: str, who: Any, at: str, **more: Any) -> dict[str, Any]:
    choice = {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
    return {"completed_by": who, "updated_at": at, "was_cancelled": False, "result": [choice], **more}


def test_a_label_studio_task_has_its_data_the_newest_label_and_each_opinion() -> None:
    task = {
        "id": 7,
        "data": {"text": "fine", "source": "web"},
        "annotations": [
            annotation("good", {"email": "ann@x.org"}, "2026-01-02T00:00:00Z"),
            annotation("bad", 4, "2026-01-03T00:00:00Z"),
            annotation("odd", 5, "2026-01-04T00:00:00Z", was_cancelled=True),
        ],
        "predictions": [annotation("good", None, "", model_version="m1", score=0.8)],
    }
    assert flatten_record(task) == {
        "text": "fine",
        "source": "web",
        "sentiment": "bad",
        "annotator": 4,
        "annotated_at": "2026-01-03T00:00:00Z",
        "sentiment by ann@x.org": "good",
        "sentiment by 4": "bad",
        "predicted sentiment": "good",
        "prediction score": 0.8,
    }


def test_a_name_that_the_data_has_already_gets_the_tool_before_it() -> None:
    task = {"data": {"text": "fine", "sentiment": "old"}, "annotations": [annotation("good", 1, "")]}
    row = flatten_record(task)
    assert (row["sentiment"], row["Label Studio sentiment"]) == ("old", "good")


def test_an_argilla_record_has_fields_metadata_responses_and_suggestions() -> None:
    record = {
        "id": "a1",
        "fields": {"text": "fine"},
        "metadata": {"source": "web"},
        "suggestions": {"label": {"value": "good", "score": 0.9, "agent": "m1"}},
        "responses": {"label": [{"value": "bad", "user_id": "u1"}, {"value": "good", "user_id": "u2"}]},
        "status": "completed",
    }
    row = flatten_record(record)
    assert row["text"] == "fine"
    assert (row["label"], row["annotator"], row["label by u2"]) == ("bad", "u1", "good")
    assert (row["suggested label"], row["suggestion score of label"], row["source"]) == ("good", 0.9, "web")


@pytest.mark.parametrize(("answer", "label"), [("accept", "good"), ("reject", ""), ("ignore", "")])
def test_a_prodigy_task_has_a_label_only_where_it_was_accepted(answer: str, label: str) -> None:
    choice = {
        "text": "fine",
        "accept": ["good"],
        "answer": answer,
        "_view_id": "choice",
        "_timestamp": 1767225600,
    }
    single = {"text": "fine", "label": "good", "answer": answer, "_task_hash": 3, "meta": {"source": "web"}}
    assert (flatten_record(choice)["label"], flatten_record(choice)["annotated_at"]) == (
        label,
        "2026-01-01T00:00:00+00:00",
    )
    assert (flatten_record(single)["label"], flatten_record(single)["source"]) == (label, "web")


@pytest.mark.parametrize(
    "record",
    [
        {"text": "fine", "label": ["good"], "id": 1},
        {"data": "fine", "annotations": []},
        {"text": "fine", "coral": {"a": 1}},
        {"fields": {"a": 1}, "responses": 3},
        {"text": "fine", "answer": "accept"},
        ["fine"],
    ],
)
def test_any_other_record_stays_as_it_is(record: Any) -> None:
    assert flatten_record(record) == record


def test_strange_parts_of_a_task_harm_nothing() -> None:
    task = {
        "data": {"text": "fine"},
        "annotations": [3, {"result": [4, {"value": 5}]}],
        "predictions": [None, {}],
    }
    assert flatten_record(task)["text"] == "fine"
    assert (
        flatten_record({"text": "fine", "_view_id": 1, "_timestamp": "never", "accept": 3})["annotated_at"]
        == ""
    )


def test_a_file_of_tasks_is_read_as_a_table(tmp_path: Path) -> None:
    tasks = [
        {
            "id": n,
            "data": {"text": f"row {n}", "n": n},
            "annotations": [annotation("good", 1, "")] if n else [],
        }
        for n in range(3)
    ]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    rows = read_rows(tmp_path / "tasks.json")
    assert [row["text"] for row in rows] == ["row 0", "row 1", "row 2"]
    assert [row["sentiment"] for row in rows] == ["", "good", "good"]
