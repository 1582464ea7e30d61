"""Labels that exist already, in columns of the rows, as the coarse labels: each column is one model's opinion, and the SLM
looks for the errors in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from annotation.errors import AnnotationError
from annotation.jobs import kinds, state
from annotation.jobs.details import GivenDetail, LabelingDetail
from annotation.jobs.work import Job
from annotation.models import Iteration, Prediction, Project, Sample, Stage
from annotation.models.sample import LlmLabel
from annotation.models.sql import insert_rows, parts_by_key
from annotation.pipeline.ingest.label_columns import check_label_columns, forget_reference
from annotation.pipeline.ingest.reference_labels import label_finder, plain_label
from annotation.pipeline.project.readiness import check_rows_and_labels
from mlcore.config import LlmConfig
from mlcore.errors import StoppedError

_ROWS = 1_000
_COLUMNS = ("label_id", "probs", "calibrated", "raw")


def start_taking(
    project: Project, columns: Sequence[str], *, confidence: str = "", user: User | None
) -> Stage:
    """Queue the taking of labels; the SLM stage follows.

    Args:
        columns: each holds the labels that one model, rule or annotator gave. What was the reference label is none any more,
            since the models see it now.
        confidence: the column with the confidence of the only column's labels, 0 to 1 or in percent; empty for none.

    Raises:
        AnnotationError: a column is none, or content; or a confidence goes with several columns.
        NotReadyError: rows or labels are missing.
        BusyError: a stage is at work.
    """
    check_rows_and_labels(project)
    check_label_columns(project, [*columns, *filter(None, [confidence])])
    if confidence and (len(columns) > 1 or confidence in columns):
        raise AnnotationError("A column of confidences belongs to one column of labels. Choose one of each.")
    busy = gettext_noop("Another round of this project was started at the same time and is running now.")
    with state.one_at_a_time(busy):
        forget_reference(project, columns)
        return state.create_stage(
            project,
            kinds.GIVEN,
            total=project.samples.count(),
            user=user,
            detail=GivenDetail(columns=list(columns), confidence=confidence),
            busy=busy,
        )


def run_taking(job: Job[GivenDetail]) -> None:
    """Store the labels of each column as the answers of its round, in pieces; repeating it is safe.

    Raises:
        StoppedError: a person asked to pause or cancel.
    """
    project, detail = job.stage.project, job.progress.detail
    rounds = list(Iteration.objects.filter(pk__in=detail.rounds).order_by("number"))
    if not rounds:
        with transaction.atomic():
            job.lease.fence()
            rounds = [_make_round(project, column, job.stage.requested_by) for column in detail.columns]
            detail = replace(detail, rounds=[each.pk for each in rounds])
            job.progress.report(detail=detail, force=True)
    taking = _Taking(project, detail, rounds)
    rows = project.samples.order_by().values_list("position", "pk", "fields")
    done = 0
    for part in parts_by_key(rows, "position", _ROWS, itemgetter(0)):
        if job.lease.should_stop():
            raise StoppedError
        with job.lease.piece():
            taking.store([(pk, cells) for _position, pk, cells in part])
        done += len(part)
        job.progress.report(done=done)
    if not any(taking.labelled):
        Iteration.objects.filter(pk__in=detail.rounds).delete()
        raise AnnotationError(
            "No cell of the chosen columns names a label of the project. Choose other columns, or correct the labels."
        )
    now = timezone.now()
    with transaction.atomic():
        job.lease.fence()
        for iteration, labelled in zip(rounds, taking.labelled, strict=True):
            Stage.objects.get_or_create(
                project=project,
                iteration=iteration,
                kind=kinds.LLM.key,
                defaults={
                    "status": Stage.Status.DONE,
                    "total": done,
                    "done": done,
                    "requested_by": job.stage.requested_by,
                    "started_at": job.stage.started_at,
                    "finished_at": now,
                    "detail": LabelingDetail(unreadable=done - labelled).to_json(),
                },
            )
    job.progress.report(done=done, total=done, force=True)


def _make_round(project: Project, column: str, user: User | None) -> Iteration:
    latest = project.latest_iteration()
    # No server is asked, so the round names the column where others name the model.
    config = LlmConfig(kind="endpoint", base_url="", model=column)
    return Iteration.objects.create(
        project=project,
        number=latest.number + 1 if latest else 1,
        started_from=Iteration.Start.LLM,
        created_by=user,
        **project.round_settings() | {"llm_settings": config.as_dict()},
    )


def is_taken(iteration: Iteration) -> bool:
    """Whether a round's coarse labels existed already: no server was asked for them."""
    config = LlmConfig.from_dict(iteration.llm_settings)
    return config.kind == "endpoint" and not config.base_url


class _Taking:
    def __init__(self, project: Project, detail: GivenDetail, rounds: Sequence[Iteration]) -> None:
        self._rounds, self._find = rounds, label_finder(project)
        self._ids = [item["id"] for item in rounds[0].labels]
        self._places = [project.columns.index(name) for name in detail.columns]
        self._confidence = project.columns.index(detail.confidence) if detail.confidence else -1
        self.labelled = [0] * len(rounds)

    def store(self, rows: Sequence[tuple[int, list[str]]]) -> None:
        stored: list[tuple[Any, ...]] = []
        written = []
        for pk, cells in rows:
            given = [self._find(cells[place]) for place in self._places]
            for at, (iteration, label, place) in enumerate(
                zip(self._rounds, given, self._places, strict=True)
            ):
                self.labelled[at] += label is not None
                probs = self._probs(label, cells)
                stored.append((iteration.pk, "llm", pk, label, probs, probs, plain_label(cells[place])))
            votes = Counter(label for label in given if label)
            # Of equal votes the first column's counts.
            chosen = votes.most_common(1)[0][0] if votes else None
            confidence = self._share(cells) if chosen else None
            written.append(LlmLabel(pk, chosen, confidence))
        insert_rows(
            Prediction,
            ("iteration_id", "source", "sample_id", *_COLUMNS),
            stored,
            unique=("iteration_id", "source", "sample_id"),
            update=_COLUMNS,
        )
        Sample.objects.write_llm_labels(written, round_number=self._rounds[-1].number)

    def _probs(self, label: int | None, cells: Sequence[str]) -> str | None:
        """The distribution that a confidence stands for, as JSON: the rest is spread evenly."""
        share = self._share(cells)
        if label not in self._ids or share is None:
            return None
        rest = (1.0 - share) / max(1, len(self._ids) - 1)
        return str([share if each == label else rest for each in self._ids])

    def _share(self, cells: Sequence[str]) -> float | None:
        text = cells[self._confidence].strip() if self._confidence >= 0 else ""
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            return None
        return share if 0 <= share <= 1 else share / 100 if 1 < share <= 100 else None
