"""A Hugging Face data set as a folder: one Parquet file, with the label's names in its schema, and a data card.

Format: https://huggingface.co/docs/datasets/about_dataset_features and https://huggingface.co/docs/hub/datasets-cards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

DATA, CARD = "data/train.parquet", "README.md"


def schema_metadata(label_column: str, labels: Sequence[str]) -> dict[str, str]:
    """What tells the library ``datasets`` that the column holds places of these labels; it finds the other types itself."""
    features = {label_column: {"names": list(labels), "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}


def card_header(name: str) -> list[str]:
    """The lines between the marks on top of a data card, which the hub reads."""
    return [
        "---",
        f"pretty_name: {json.dumps(name, ensure_ascii=False)}",
        "tags:",
        "- coral",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f"    path: {DATA}",
        "---",
        "",
    ]
