"""The small model that a project keeps: where it lies, how accurate it was measured to be, and its folder for others."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation import __version__
from annotation.errors import NotReadyError
from annotation.files import data_store
from annotation.jobs import kinds
from annotation.jobs.details import CertificateDetail, Json
from annotation.models import Iteration, Project, Stage
from annotation.pipeline.distill.training_folder import hub_token_of
from annotation.pipeline.engine_rows import round_labels
from annotation.pipeline.measure.certify import changed_since, newest_certificate
from annotation.pipeline.measure.checked_rows import CheckedRows
from annotation.pipeline.measure.statement_words import part_sentence, statement_sentence
from mlcore.distill.folder import MODEL
from mlcore.measure.estimate import Interval, estimate_share
from mlcore.weights import resolve_weights

CARD = "README.md"
ENCODER = "encoder"
FEW_ANSWERS = 10  # below, no accuracy is told


@dataclass(frozen=True)
class KeptModel:
    """The model that the round in force left, and its training's folder."""

    project: Project
    iteration: Iteration
    stage: Stage
    folder: Path

    @property
    def model_folder(self) -> Path:
        return self.folder / MODEL

    @property
    def spec(self) -> Json:
        """What the model's ``config.json`` holds."""
        stored: Json = json.loads((self.model_folder / "config.json").read_text(encoding="utf-8"))
        return stored

    def label_ids(self) -> list[int]:
        """The labels in the model's order.

        Raises:
            NotReadyError: one of them is no label of the project any more.
        """
        label_ids = round_labels(self.iteration)[1]
        if set(label_ids) != set(self.project.labels.values_list("pk", flat=True)):
            raise NotReadyError(
                "The labels have changed since the model was trained. Start another round first."
            )
        return label_ids


def kept_model(project: Project) -> KeptModel | None:
    """The project's model; None before the first SLM filtering, after one of an earlier version, and where its folder is
    lost."""
    iteration = project.iterations.in_force()
    stage = iteration.stage(kinds.SLM.key) if iteration else None
    if iteration is None or stage is None:
        return None
    kept = KeptModel(project, iteration, stage, settings.RUN_DIR / str(stage.run_id))
    return kept if data_store.bring_folder(kept.model_folder, last="config.json") else None


def needed_model(project: Project) -> KeptModel:
    """The project's model.

    Raises:
        NotReadyError: there is none.
    """
    kept = kept_model(project)
    if kept is None:
        raise NotReadyError("The project has no kept model yet. It is made at the end of SLM filtering.")
    return kept


@dataclass(frozen=True)
class MeasuredModel:
    """``right``: the share of right labels, on ``answers`` random rows that a person labelled blind."""

    right: Interval
    answers: int


def measure_model(kept: KeptModel) -> MeasuredModel | None:
    """How often the model is right, by what people said of rows drawn at random; each was labelled by a model that had not
    learned from it. None where fewer than ten are answered."""
    for name in ("keys.npy", "result.npz"):
        data_store.bring(kept.folder / name)
    keys = np.load(kept.folder / "keys.npy").tolist()
    with np.load(kept.folder / "result.npz", allow_pickle=False) as arrays:
        said = dict(zip(keys, arrays["kept_label"].tolist(), strict=True))
    ids = round_labels(kept.iteration)[1]
    checked = CheckedRows.read(kept.project)
    rows = [row for row in checked.checked if row.draw_number and row.sample_id in said]
    if len(rows) < FEW_ANSWERS:
        return None
    stands_for = {draw.sample_id: draw.weight for draw in checked.draws}
    weights = np.array([stands_for[row.sample_id] for row in rows])
    right = np.array([ids[said[row.sample_id]] == row.true_label_id for row in rows])
    # Rows were drawn with different chances: as many equal ones as tell as much.
    effective = max(round(weights.sum() ** 2 / np.square(weights).sum()), 1)
    share = float(np.average(right, weights=weights))
    return MeasuredModel(estimate_share(round(share * effective), effective), len(rows))


def model_card(kept: KeptModel) -> str:
    """What the model is, in Markdown, for people who get the folder."""
    spec = kept.spec
    lines = ["---", "library_name: coral", "tags:", "- text-classification", "- coral", "---", ""]
    lines += [f"# {kept.project.name}", "", *_how_made(kept, spec), "", *_measured(kept), ""]
    lines += [f"## {_('Labels')}", "", *(f"- {name}" for name in spec["about"]["labels"]), ""]
    lines += [f"## {_('How to use it')}", "", "```python", "from mlcore import Classifier", ""]
    rows = '["..."]' if not spec["columns"] else "pandas.DataFrame(...)"
    lines += ["model = Classifier.load(folder)", f"predicted = model.predict({rows})"]
    lines += ["predicted.names, predicted.confidence, predicted.risk", "```", ""]
    return "\n".join(lines)


def _how_made(kept: KeptModel, spec: Json) -> Iterator[str]:
    yield _(
        "A small model that CORAL %(version)s trained in round %(round)s of the project “%(project)s”, on the final labels of "
        "%(rows)s rows: a person's where there is one, otherwise the most likely one given a language model and small models. "
        "Uncertain labels counted less."
    ) % {
        "version": __version__,
        "round": kept.iteration.number,
        "project": kept.project.name,
        "rows": f"{spec['rows']:,}",
    }
    yield ""
    for name, value in (
        (_("network"), spec["network"]),
        (_("encoder"), spec["encoder_name"] or "–"),
        (_("columns"), ", ".join(spec["about"]["columns"]) or "–"),
        (_("SHA-256 of the rows"), spec["data_sha256"]),
        (_("trained at"), (kept.stage.finished_at or timezone.now()).isoformat(timespec="seconds")),
    ):
        yield f"- {name}: {value}"


def _measured(kept: KeptModel) -> Iterator[str]:
    yield f"## {_('Accuracy')}"
    yield ""
    measured = measure_model(kept)
    yield measured_sentence(measured)
    made = newest_certificate(kept.project)
    if made and not changed_since(kept.project, made):
        statement = CertificateDetail.of(made).statement
        yield ""
        yield _("The certificate of the labelled file that it was trained on, which is not the model's own:")
        yield ""
        yield f"> {statement_sentence(statement)} {part_sentence(statement)}"


def measured_sentence(measured: MeasuredModel | None) -> str:
    """The measured accuracy in words."""
    if measured is None:
        return _("Not measured: too few rows drawn at random have been labelled by people.")
    return _(
        "%(share)s of its labels are right (95 %% interval: %(low)s to %(high)s), measured on %(answers)s random rows that people "
        "labelled without seeing the models' labels. None of them was learned from for this."
    ) % {
        "share": f"{measured.right.value * 100:.1f} %",
        "low": f"{measured.right.low * 100:.1f} %",
        "high": f"{measured.right.high * 100:.1f} %",
        "answers": measured.answers,
    }


def model_files(kept: KeptModel) -> Iterator[tuple[str, Path]]:
    """The model's files by their names in a folder that needs nothing else: the encoder is among them."""
    for path in sorted(kept.model_folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(kept.model_folder).as_posix(), path
    name = kept.spec["encoder_name"]
    if not name or (kept.model_folder / ENCODER).is_dir():
        return
    folder = resolve_weights(
        name,
        weights_dir=settings.MODEL_DIR,
        cache_dir=settings.CACHE_DIR,
        token=hub_token_of(kept.iteration),
    )
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt", ".model", ".jinja"):
            yield f"{ENCODER}/{path.name}", path


def zip_model(kept: KeptModel) -> BinaryIO:
    """The folder as a zip file that vanishes when it is closed."""
    file = tempfile.TemporaryFile(dir=kept.folder)  # noqa: SIM115 - whoever is given it closes it
    with ZipFile(file, "w", ZIP_STORED) as packed:
        packed.writestr(CARD, model_card(kept))
        for name, path in model_files(kept):
            packed.write(path, name)
    file.seek(0)
    return file
