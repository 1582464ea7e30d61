"""How often people agree with each other and with the models on rows that they answered blind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from annotation.models import Correction, Project
from annotation.pipeline.measure.accuracy import FEW_ROWS, Evidence
from annotation.pipeline.measure.annotations import Annotation, read_annotations
from annotation.pipeline.measure.llm_opinions import labels_by_model
from mlcore.measure.agreement import cohen_kappa, krippendorff_alpha
from mlcore.records import NO_LABEL, IntArray


@dataclass(frozen=True, slots=True)
class DoubleReview:
    """How often two people chose the same label of a row that the second answered blind."""

    rows: int
    agreed: int
    kappa: float | None  # Cohen's: 0 is what chance would give; None where it is not defined

    @property
    def share(self) -> float | None:
        return self.agreed / self.rows if self.rows else None


def double_review(project: Project) -> DoubleReview:
    """The agreement over all rows that a second person has answered; the first answers are taken as one rater's."""
    pairs = second_answers(project)
    labels = sorted({annotation.label_id for pair in pairs for annotation in pair})
    ratings = np.searchsorted(labels, [[annotation.label_id for annotation in pair] for pair in pairs])
    first, second = ratings.reshape(-1, 2).T
    return DoubleReview(len(pairs), int((first == second).sum()), cohen_kappa(first, second, len(labels)))


def second_answers(project: Project) -> list[tuple[Annotation, Annotation]]:
    """Of each row answered twice, the label that was given first and the second person's, given blind."""
    second = Correction.objects.standing().filter(sample__project=project, because=Correction.Because.SECOND)
    rows = read_annotations(second.values("sample"))
    return [pair for row in rows.values() for pair in row.second_answers]


def blind_ratings(evidence: Evidence) -> tuple[list[str], IntArray]:
    """Who said what, blind, of the rows drawn at random: people, then the models ``(R, N)``."""
    index = {label.pk: position for position, label in enumerate(evidence.labels)}
    people: dict[str, IntArray] = {}
    for column, row in enumerate(evidence.answered):
        for annotation in evidence.annotations[row.sample_id].alone:
            if annotation.user is not None and annotation.is_blind:
                ratings = people.setdefault(annotation.user, np.full(len(evidence.answered), NO_LABEL))
                ratings[column] = index[annotation.label_id]
    slm = [evidence.model_label(evidence.current, row).slm_label_id for row in evidence.answered]
    models = _llm_ratings(evidence) | {"SLM": slm}
    lines = [
        *people.values(),
        *(
            np.array([index.get(label or 0, NO_LABEL) for label in said], np.int64)
            for said in models.values()
        ),
    ]
    return [*people, *models], np.stack(lines)


def _llm_ratings(evidence: Evidence) -> dict[str, list[int | None]]:
    """The LLM's labels of the answered rows; one line for each model where several were asked about such rows."""
    rows, current = [row.sample_id for row in evidence.answered], evidence.current
    ids = [label.pk for label in evidence.labels]
    said = labels_by_model(current.project, rows, up_to=current.number, label_ids=ids) if current else {}
    by_model = {name: [labels.get(row) for row in rows] for name, labels in said.items() if labels}
    return by_model if len(by_model) > 1 else {"LLM": [row.llm_label_id for row in evidence.answered]}


def rater_agreement(evidence: Evidence) -> tuple[list[tuple[str, str, int, float]], float | None]:
    """Cohen's kappa of every pair with at least ``FEW_ROWS`` common rows, and Krippendorff's alpha of all."""
    if not evidence.answered:
        return [], None
    names, ratings = blind_ratings(evidence)
    pairs = []
    for first, name in enumerate(names):
        for second in range(first + 1, len(names)):
            common = int(((ratings[first] != NO_LABEL) & (ratings[second] != NO_LABEL)).sum())
            kappa = cohen_kappa(ratings[first], ratings[second], len(evidence.labels))
            if common >= FEW_ROWS and kappa is not None:
                pairs.append((name, names[second], common, kappa))
    enough = len(evidence.answered) >= FEW_ROWS
    return pairs, krippendorff_alpha(ratings, len(evidence.labels)) if enough else None
