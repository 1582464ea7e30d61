"""The certificate of a file as it is: a statement that holds whatever made people look or stop, and all that it rests on."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from annotation import __version__
from annotation.errors import NotReadyError
from annotation.jobs import kinds, state
from annotation.jobs.details import CertificateDetail, Json
from annotation.jobs.work import Job
from annotation.models import Goal, Project, Stage
from annotation.pipeline.measure.certificate import CertifiedFile, as_goal, file_hash
from annotation.pipeline.measure.draw_for_certificate import evidence_began
from annotation.pipeline.project.goal import goal_of
from mlcore.plan.certificate import certify
from mlcore.plan.records import Bound
from mlcore.records import NO_LABEL

LISTED_ROWS = 20_000  # outside the certified part; what a page can filter by
METHOD = (
    "mlcore.plan.certificate.certify: confidence sequences by betting, rows drawn without replacement "
    "(Waudby-Smith and Ramdas 2020, 2024)"
)


def start_certificate(project: Project, *, user: User | None) -> Stage:
    """Queue a certificate of the file as it is.

    Raises:
        NotReadyError: the project has no goal, so there is nothing to hold the file against.
        BusyError: a certificate is being made already.
    """
    if goal_of(project) is None:
        raise NotReadyError("Set a goal first: a certificate says whether the file reaches it.")
    return state.create_stage(project, kinds.CERTIFICATE, total=project.samples.count(), user=user)


def run_certificate(job: Job[CertificateDetail]) -> None:
    """Make the statement and store it with the stage."""
    project, goal = job.stage.project, goal_of(job.stage.project)
    assert goal
    statement, others = make_statement(project, goal)
    detail = replace(job.progress.detail, statement=statement, others=others[:LISTED_ROWS])
    job.progress.report(done=statement["rows"], total=statement["rows"], detail=detail, force=True)


def newest_certificate(project: Project) -> Stage | None:
    """The stage of the newest certificate that was made."""
    return project.stages.filter(kind=kinds.CERTIFICATE.key, status=Stage.Status.DONE).first()


def make_statement(project: Project, goal: Goal) -> tuple[Json, list[int]]:
    """The certificate as JSON, with everything needed to repeat it beside the file; and the places of the rows outside the
    certified part, which is all rows where the whole file reaches the target. Rows are numbered from 1."""
    file = CertifiedFile.read(project)
    names = [label.name for label in project.label_list()]
    made = certify(file.evidence, len(names), as_goal(goal))
    others = [] if made.holds else made.part.others.tolist()
    in_force = project.iterations.in_force()
    began = evidence_began(project)

    def name(label: int) -> str:
        return "" if label == NO_LABEL else names[label]

    answers: list[dict[str, Any]] = [
        {
            "row": answer.row + 1,
            "asked": name(answer.asked),
            "label": name(answer.label),
            **{name: getattr(answer, name) for name in ("chance", "least", "expected", "spread")},
            "at": answer.at and answer.at.isoformat(timespec="seconds"),
        }
        for answer in file.evidence.answers
    ]
    statement = {
        "project": project.name,
        "made_at": timezone.now().isoformat(timespec="seconds"),
        "coral": __version__,
        "method": METHOD,
        "target": made.target,
        "confidence": made.confidence,
        "holds": made.holds,
        "rows": made.rows,
        "drawn": made.drawn,
        "decided": made.decided,
        "people_error": made.people_error,
        "accuracy": _bound(made.accuracy),
        "classes": [
            {
                "label": name(quality.label),
                "rows": quality.rows,
                "decided": quality.decided,
                "drawn": quality.drawn,
                **_bound(quality.precision),
            }
            for quality in made.classes
        ],
        "part": {"rows": made.rows - len(others), "low": made.part.low, "others": len(others)},
        "disagreed": [row + 1 for row in made.disagreed],
        "changed": int(file.evidence.changed.sum()),
        "uncovered": made.uncovered,
        "unanswered": made.unanswered,
        "never_drawn": made.rows - made.decided,
        "round": in_force.number if in_force else None,
        "evidence_began": began and began.isoformat(timespec="seconds"),
        "attempt": file.evidence.attempt,
        "data_sha256": file_hash(project),
        "answers": answers,
    }
    return statement, others


def _bound(bound: Bound) -> dict[str, float]:
    return {name: round(value, 6) for name, value in asdict(bound).items()}


def changed_since(project: Project, made: Stage) -> bool:
    """Whether somebody or some stage has changed the file since a certificate was begun."""
    since = made.started_at or made.queued_at
    writing = Q(exclusive_group=kinds.CORPUS) | Q(kind=kinds.UPDATE.key, detail__writes_labels=True)
    writers = project.stages.filter(writing, updated_at__gt=since)
    return writers.exists() or project.samples.filter(corrected_at__gt=since).exists()
