"""Prodigy: JSONL of the ``choice`` and ``classification`` interfaces. Format: https://prodi.gy/docs/api-interfaces.

Keys that Prodigy does not know stay with the task, so ``db-out`` has them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from annotation.files.tools.rows import CORAL, Record, ToolRow, add_beside, one_of

TOOL = "Prodigy"


def tasks(rows: Iterable[ToolRow], labels: Sequence[str]) -> Iterator[Record]:
    """Tasks with the labels as options, the final one chosen; an answer where a person gave one."""
    options = [{"id": name, "text": name} for name in labels]
    for row in rows:
        task: Record = {"text": row.text, "options": options, "accept": [row.label] if row.label else []}
        if row.opinions and row.opinions[0].confidence is not None:
            task["meta"] = {"score": row.opinions[0].confidence}
        if row.person:
            task |= {"answer": "accept", "_annotator_id": row.person}
        yield task | {"_view_id": "choice", CORAL: dict(row.cells)}


def flatten(record: Record) -> Record | None:
    """A task as one row with its label (none where it was rejected or ignored); None for another record."""
    if not isinstance(record.get("text"), str) or not (
        "_view_id" in record or "_task_hash" in record or "accept" in record
    ):
        return None
    known = record.get(CORAL)
    row = dict(known) if isinstance(known, dict) else {"text": record["text"]}
    label = record["accept"] if "accept" in record else record.get("label")
    answer = record.get("answer")
    told: Record = {
        "label": one_of(label) if answer in (None, "accept") else "",
        "answer": answer,
        "annotator": record.get("_annotator_id") or record.get("_session_id"),
        "annotated_at": _moment(record.get("_timestamp")),
    }
    meta = record.get("meta")
    if not isinstance(known, dict) and isinstance(meta, dict):
        told |= meta
    return add_beside(row, told, TOOL)


def _moment(seconds: Any) -> str:
    """ISO time of a Unix time, which the readers keep as it is written."""
    try:
        return datetime.fromtimestamp(float(seconds), UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
