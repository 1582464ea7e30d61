"""What the tests of pages share: a cast with every role, and a project whose rows both models have judged."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.test import Client

from annotation.jobs import kinds
from annotation.models import (
    Flag,
    Iteration,
    Label,
    Membership,
    Prediction,
    Project,
    Role,
    Sample,
    Source,
    Stage,
)
from tests.support.factories import make_project, make_user, start_llm_round

ROLES = ("anonymous", "stranger", "viewer", "reviewer", "owner")


@dataclass
class Cast:
    """A project with one member of each role, and somebody who is none."""

    project: Project
    users: dict[str, User]

    def client(self, role: str) -> Client:
        client = Client()
        if role != "anonymous":
            client.force_login(self.users[role])
        return client

    def url(self, path: str) -> str:
        return f"/projects/{self.project.pk}/{path}"


def make_cast(*, rows: int = 12) -> Cast:
    users = {role: make_user(role) for role in ROLES if role != "anonymous"}
    project = make_project(rows=rows, owner=users["owner"])
    for role in (Role.VIEWER, Role.REVIEWER):
        Membership.objects.create(project=project, user=users[role.value], role=role)
    return Cast(project, users)


def judge_rows(project: Project) -> Iteration:
    """A finished round: the LLM is wrong on every third row, and the small model finds those."""
    iteration = start_llm_round(project)
    labels = project.label_list()
    for sample in project.samples.order_by("position"):
        truth = labels[sample.position % 2]
        is_wrong = sample.position % 3 == 0
        _judge(iteration, sample, llm=labels[1 - sample.position % 2] if is_wrong else truth, slm=truth)
    iteration.stages.update(status=Stage.Status.DONE, done=project.samples.count())
    Stage.objects.create(
        project=project,
        iteration=iteration,
        kind=kinds.SLM.key,
        status=Stage.Status.DONE,
        epoch=2,
        epochs=2,
        total=project.samples.count(),
        done=project.samples.count(),
        detail={
            "history": [
                {"epoch": 1, "phase": "warm-up", "loss": 0.7, "loss_unlabelled": 0.0, "clean_share": 0.6}
            ]
        },
    )
    return iteration


def _judge(iteration: Iteration, sample: Sample, *, llm: Label, slm: Label) -> None:
    differ = llm != slm
    flag = Flag.INCONSISTENT if differ else Flag.RIGHT
    confidence, clean_prob = 0.5 + sample.position / 100, 0.1 if differ else 0.9
    Prediction.objects.create(
        sample=sample, iteration=iteration, source="llm", label=llm, calibrated=[0.6, 0.4]
    )
    Prediction.objects.create(
        sample=sample,
        iteration=iteration,
        source="slm",
        label=slm,
        verdict=slm,
        probs=[confidence],
        clean_prob=clean_prob,
        clean_rank=sample.position + 1,
        flag=flag,
        x=1.0,
        y=float(sample.position),
        risk=1 - clean_prob,
        queue_rank=sample.position + 1,
    )
    Sample.objects.filter(pk=sample.pk).update(
        label=slm,
        llm_label=llm,
        slm_label=slm,
        source=Source.SLM if differ else Source.LLM,
        confidence=confidence,
        clean_prob=clean_prob,
        clean_rank=sample.position + 1,
        flag=flag,
        risk=1 - clean_prob,
        queue_rank=sample.position + 1,
        round=iteration.number,
    )


def one_line(html: str) -> str:
    """HTML as one line without white space beside its tags: how a template is laid out is no matter of a test."""
    return re.sub(r"(?<=>) | (?=[<>])", "", re.sub(r"[ \n]+", " ", html)).strip()
