"""doccano, text classification: JSONL and CSV. Format: https://doccano.github.io/doccano/tutorial.

Its importer takes ``text`` and ``label`` and keeps all other keys as the example's metadata, which its export has again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from annotation.files.tools.rows import CORAL, Record, ToolRow, add_beside, one_of

TOOL = "doccano"
COLUMNS = ("text", "label")


def examples(rows: Iterable[ToolRow]) -> Iterator[Record]:
    """Examples for JSONL."""
    for row in rows:
        yield {"text": row.text, "label": [row.label] if row.label else [], CORAL: dict(row.cells)}


def lines(rows: Iterable[ToolRow]) -> Iterator[Record]:
    """Examples for CSV, where all columns stand side by side."""
    for row in rows:
        cells = {f"{CORAL}_{name}" if name in COLUMNS else name: cell for name, cell in row.cells.items()}
        yield {"text": row.text, "label": row.label} | cells


def flatten(record: Record) -> Record | None:
    """An example that CORAL wrote, as it was, with doccano's label; None for another record, which needs no flattening."""
    known = record.get(CORAL)
    if not isinstance(known, dict) or "label" not in record or "answer" in record or "accept" in record:
        return None
    return add_beside(
        dict(known), {"label": one_of(record["label"]), "annotator": record.get("username")}, TOOL
    )
