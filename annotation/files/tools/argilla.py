"""Argilla: records as ``dataset.records.to_json`` writes and ``from_json`` reads them.

Format: https://docs.argilla.io/latest/how_to_guides/record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from annotation.files.tools.rows import Record, ToolRow, add_beside

TOOL = "Argilla"
FIELD, QUESTION = "text", "label"


def records(rows: Iterable[ToolRow]) -> Iterator[Record]:
    """Records with the columns as metadata, people's labels as responses, the final label as the suggestion."""
    for number, row in enumerate(rows, start=1):
        final = row.opinions[0] if row.opinions else None
        suggestion = {"value": final.label, "score": final.confidence, "agent": "CORAL"} if final else None
        yield {
            "id": str(number),
            "fields": {FIELD: row.text},
            # A value that is missing is no value of a metadata property.
            "metadata": {name: cell for name, cell in row.cells.items() if cell is not None},
            "suggestions": {QUESTION: suggestion} if suggestion else {},
            "responses": {QUESTION: [{"value": row.label, "user_id": row.person}]} if row.person else {},
            "vectors": {},
        }


def flatten(record: Record) -> Record | None:
    """A record as one row: fields, metadata, the label of the first response, each further person's, and the suggestion;
    None for another record."""
    fields, responses = record.get("fields"), record.get("responses")
    if not isinstance(fields, dict) or not isinstance(responses, dict):
        return None
    metadata = record.get("metadata")
    row = (dict(metadata) if isinstance(metadata, dict) else {}) or {}
    told: Record = {name: value for name, value in fields.items() if row.get(name) != value}
    for question, answers in responses.items():
        given = [part for part in answers or [] if isinstance(part, dict) and part.get("value") is not None]
        if given:
            told |= {question: given[0]["value"], "annotator": given[0].get("user_id")}
        for part in given if len(given) > 1 else ():
            told[f"{question} by {part.get('user_id')}"] = part["value"]
    told |= _suggestions(record.get("suggestions"))
    return add_beside(row, {"status": record.get("status"), **told}, TOOL)


def _suggestions(suggestions: Any) -> Record:
    told: Record = {}
    for question, part in suggestions.items() if isinstance(suggestions, dict) else ():
        if isinstance(part, dict):
            told |= {
                f"suggested {question}": part.get("value"),
                f"suggestion score of {question}": part.get("score"),
            }
    return told
