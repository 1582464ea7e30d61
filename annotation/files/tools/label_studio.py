"""Label Studio: JSON (tasks with annotations and predictions) and JSON_MIN (one flat object a task).

Formats: https://labelstud.io/guide/export and https://labelstud.io/guide/predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from annotation.files.tools.rows import CORAL, Record, ToolRow, add_beside, one_of

TOOL = "Label Studio"
CONTROL, OBJECT = "label", "text"  # names in the labeling configuration: <Choices name="label" toName="text">


def tasks(rows: Iterable[ToolRow]) -> Iterator[Record]:
    """Tasks that Label Studio imports: people's labels as annotations, the models' as predictions."""
    for row in rows:
        data = {**row.cells}
        if OBJECT not in data:
            data[OBJECT] = row.text
        task: Record = {"data": data, "meta": {CORAL: dict(row.cells)}, "annotations": []}
        if row.person:
            task["annotations"] = [
                {"result": [_choice(row.label)], "was_cancelled": False, "updated_at": row.at}
            ]
        task["predictions"] = [
            {"model_version": opinion.model, "score": opinion.confidence, "result": [_choice(opinion.label)]}
            for opinion in row.opinions
        ]
        yield task


def small_tasks(rows: Iterable[ToolRow]) -> Iterator[Record]:
    """Flat objects as of JSON_MIN."""
    for number, row in enumerate(rows, start=1):
        known = {"id": number, OBJECT: row.text}
        told = {CONTROL: row.label, "annotator": row.person, "updated_at": row.at}
        yield add_beside({**known, **row.cells}, told, TOOL)


def _choice(label: str) -> Record:
    return {"from_name": CONTROL, "to_name": OBJECT, "type": "choices", "value": {"choices": [label]}}


def flatten(record: Record) -> Record | None:
    """A task as one row: its data, what the newest annotation says, and what each model predicted; None for another record.

    Where several people annotated a task, each one's label is a column, too. Skipped tasks have no label.
    """
    data, annotations = record.get("data"), record.get("annotations", record.get("completions"))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        return None
    meta = record.get("meta")
    known = meta.get(CORAL) if isinstance(meta, dict) else None
    row = dict(known) if isinstance(known, dict) else dict(data)
    given = [part for part in annotations if isinstance(part, dict) and part.get("was_cancelled") is not True]
    given.sort(key=lambda part: (part.get("ground_truth") is True, str(part.get("updated_at") or "")))
    told: Record = {}
    if given:
        told = _labels(given[-1]) | {
            "annotator": _who(given[-1]),
            "annotated_at": given[-1].get("updated_at") or given[-1].get("created_at"),
        }
    if len(given) > 1:
        for part in given:
            told |= {f"{name} by {_who(part)}": label for name, label in _labels(part).items()}
    predictions = [part for part in record.get("predictions") or [] if isinstance(part, dict)]
    for part in predictions:
        model = f" by {part.get('model_version')}" if len(predictions) > 1 else ""
        told |= {f"predicted {name}{model}": label for name, label in _labels(part).items()}
        told[f"prediction score{model}"] = part.get("score")
    return add_beside(row, told, TOOL)


def _labels(part: Record) -> Record:
    """What an annotation or a prediction says, by the control's name."""
    labels: Record = {}
    for item in part.get("result") or []:
        value = item.get("value") if isinstance(item, dict) else None
        if isinstance(value, dict):
            labels[str(item.get("from_name"))] = one_of(value.get(str(item.get("type"))))
    return labels


def _who(part: Record) -> Any:
    who = part.get("completed_by")
    return who.get("email") or who.get("id") if isinstance(who, dict) else who
