from __future__ import annotations

import pytest

from annotation.models import Project
from annotation.pipeline.ingest.column_roles import guess_roles


@pytest.mark.parametrize(
    ("columns", "reference"),
    [
        (["text", "table", "feeling", "annotator", "annotated_at"], "feeling"),
        (["text", "feeling", "annotator", "annotated_at", "feeling by ann"], "feeling"),
        (["text", "label", "tone", "annotator", "annotated_at"], "label"),
        (["text", "annotator", "annotated_at", "feeling"], ""),
        (["text", "table", "annotator"], ""),
        (["text", "annotated_at"], ""),
    ],
)
def test_the_labels_of_label_studio_are_known_by_who_gave_them(columns: list[str], reference: str) -> None:
    roles = guess_roles(Project(task_type="topic"), columns)
    assert roles == {"content_columns": ["text"], "id_column": "", "reference_column": reference}
