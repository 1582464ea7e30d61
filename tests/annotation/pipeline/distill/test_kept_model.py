from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from annotation.errors import NotReadyError
from annotation.jobs.work import run_stage
from annotation.models import Correction, Flag, Prediction, Project, Source, Stage
from annotation.pipeline.distill.kept_model import (
    kept_model,
    measure_model,
    model_card,
    needed_model,
    zip_model,
)
from annotation.pipeline.distill.start_new_rows import new_rows, start_new_rows
from annotation.pipeline.engine_rows import as_table
from annotation.pipeline.measure.draw_sample import draw_sample, pending_draws
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.review import corrections
from mlcore import Classifier
from tests.support.factories import make_project
from tests.support.kept import add_rows, project_with_model

pytestmark = pytest.mark.django_db(transaction=True)
TRAINED, ADDED = 48, 12


@pytest.fixture(autouse=True)
def data_folders(tmp_path: Any, settings: Any) -> None:
    settings.RUN_DIR, settings.CACHE_DIR = tmp_path / "runs", tmp_path / "cache"


@pytest.fixture
def project() -> Project:
    return project_with_model(rows=TRAINED)


def test_new_rows_get_label_and_risk_without_a_language_model_and_join_the_queue(project: Project) -> None:
    with pytest.raises(NotReadyError, match="Add rows first"):
        start_new_rows(project, user=project.owner)
    add_rows(project)
    corrected = project.samples.get(position=TRAINED)
    wrong = next(label for label in project.label_list() if label.pk != corrected.reference_id)
    corrections.correct_sample(corrected.pk, label_id=wrong.pk, user=project.owner)
    before = {row.pk: row.label_id for row in project.samples.filter(position__lt=TRAINED)}
    stage = start_new_rows(project, user=project.owner)
    run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
    assert (stage.done, new_rows(project).count()) == (ADDED, 0)
    rows = list(project.samples.filter(position__gte=TRAINED).order_by("position"))
    assert rows[0].label_id == wrong.pk, "a person's label stays"
    assert sum(row.label_id == row.reference_id for row in rows[1:]) >= ADDED - 3
    assert all(row.source == Source.SLM and row.risk is not None and row.queue_rank for row in rows[1:])
    assert all(row.flag in Flag.values and row.flag and row.llm_label_id is None for row in rows)
    assert Prediction.objects.filter(source="slm").count() == TRAINED + ADDED
    assert {row.pk: row.label_id for row in project.samples.filter(position__lt=TRAINED)} == before


def test_labels_that_changed_are_told_before_the_model_is_asked(project: Project) -> None:
    add_rows(project)
    drafts = [LabelDraft(label.name) for label in project.label_list()]
    configure.set_labels(project, [*drafts, LabelDraft("mixed")])
    with pytest.raises(NotReadyError, match="labels have changed"):
        start_new_rows(project, user=project.owner)


def test_the_download_is_a_folder_that_needs_nothing_else(project: Project, tmp_path: Path) -> None:
    kept = needed_model(project)
    with zip_model(kept) as file, ZipFile(file) as packed:
        packed.extractall(tmp_path / "model")
    model = Classifier.load(tmp_path / "model")
    samples = list(project.samples.order_by("position"))
    predicted = model.predict(as_table(samples, project))
    assert model.about.labels == ["positive", "negative"]
    with np.load(kept.folder / "result.npz") as arrays:
        assert (predicted.label == arrays["label"]).mean() > 0.8
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Film notes" in card
    assert "Not measured" in card
    assert json.loads((tmp_path / "model" / "config.json").read_text())["data_sha256"] in card
    assert not any(path.suffix in (".pkl", ".pt", ".bin", ".py") for path in (tmp_path / "model").rglob("*"))


def test_the_measured_accuracy_comes_from_random_rows_that_people_labelled(project: Project) -> None:
    kept = needed_model(project)
    keys = np.load(kept.folder / "keys.npy").tolist()
    with np.load(kept.folder / "result.npz") as arrays:
        model_says = {
            key: kept.label_ids()[label] for key, label in zip(keys, arrays["kept_label"], strict=True)
        }
    assert draw_sample(project, rows=12, user=project.owner, seed=1) == 12
    for number, sample in enumerate(pending_draws(project, project.owner)):
        right = model_says[sample.pk]
        said = right if number else next(label for label in kept.label_ids() if label != right)
        corrections.correct_sample(
            sample.pk, label_id=said, user=project.owner, because=Correction.Because.AUDIT
        )
    measured = measure_model(kept)
    assert measured is not None
    assert measured.answers == 12
    assert measured.right.value == pytest.approx(11 / 12, abs=0.08)
    assert f"{measured.right.value * 100:.1f}" in model_card(kept)


def test_a_project_without_a_model_says_so() -> None:
    project = make_project(rows=12)
    assert kept_model(project) is None
    assert new_rows(project).count() == 0
    with pytest.raises(NotReadyError, match="no kept model"):
        needed_model(project)
