"""Rows that tests start from."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from django.contrib.auth.models import User

from annotation.jobs import kinds
from annotation.jobs.work import work_on
from annotation.models import Iteration, Label, Project, Sample, Stage
from annotation.pipeline.iterate import start_round
from annotation.pipeline.label import run_labeling
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from mlcore.records import Answer, LabelSet, Request

GOOD = [
    "a warm and clever film",
    "funny, fresh and moving",
    "a joy from start to end",
    "bright and tender work",
]
BAD = [
    "a dull and lifeless mess",
    "tedious, loud and stupid",
    "a chore from start to end",
    "clumsy and hollow work",
]


def make_user(name: str = "olga") -> User:
    return User.objects.create_user(name, password="correct horse battery")


def make_project(
    *,
    rows: int = 40,
    owner: User | None = None,
    task_type: str = "sentiment",
    labels: Sequence[str] = ("positive", "negative"),
) -> Project:
    """A project with texts that alternate between good and bad, each with its reference label."""
    project = configure.create_project(name="Film notes", task_type=task_type, owner=owner or make_user())
    configure.set_slm(project, config=project.distill_config, chain_stages=False)
    project.columns, project.content_columns = ["id", "text", "truth"], ["text"]
    project.save()
    made = configure.set_labels(project, [LabelDraft(name) for name in labels])
    Sample.objects.bulk_create(make_sample(project, position, made) for position in range(rows))
    return project


def make_sample(project: Project, position: int, labels: Sequence[Label]) -> Sample:
    truth = labels[position % 2]
    text = f"{(GOOD if position % 2 == 0 else BAD)[position // 2 % 4]}, number {position}"
    return Sample(
        project=project,
        position=position,
        external_id=f"r{position}",
        text=text,
        fields=[f"r{position}", text, truth.name],
        content_hash=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        reference=truth,
    )


_numbers = itertools.count()


class ScriptedModel:
    """A language model that answers by a rule of the test's, and counts what it was asked.

    ``judge`` gets the query text and the label names and returns probabilities, an index, or an exception to raise.
    """

    capabilities = None
    rate_limiter = None

    def __init__(
        self,
        judge: Callable[[str, Sequence[str]], Sequence[float] | int | Exception],
        *,
        identity: str = "",
    ) -> None:
        self.judge = judge
        self.identity = identity or f"scripted {next(_numbers)}"  # another model has no answers in the cache
        self.asked: list[int] = []
        self.prompts: list[str] = []

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        for request in requests:
            if should_stop():
                return
            self.asked.append(request.key)
            self.prompts.append(request.prompt.text)
            yield self._answer(request, labels)

    def _answer(self, request: Request, labels: LabelSet) -> Answer:
        judged = self.judge(request.prompt.query, labels.names)
        if isinstance(judged, Exception):
            raise judged
        if isinstance(judged, int):
            return Answer(
                key=request.key, label=judged, probs=None, raw=f"#{judged}", tokens_in=7, tokens_out=1
            )
        probs = np.array(judged)
        return Answer(
            key=request.key,
            label=int(probs.argmax()),
            probs=probs,
            raw=labels.names[int(probs.argmax())],
            tokens_in=7,
            tokens_out=1,
        )

    def close(self) -> None:
        pass


def judge_sentiment(query: str, names: Sequence[str]) -> Sequence[float]:
    """Right on every row of make_project, but with a strong bias towards the first label."""
    return (0.95, 0.05) if any(text in query for text in GOOD) else (0.6, 0.4)


def run_llm_stage(iteration: Iteration) -> Stage:
    """Do the LLM stage's work in this process."""
    stage = iteration.stages.get(kind=kinds.LLM.key)
    with work_on(stage.pk) as job:
        assert job is not None
        run_labeling.run_labeling(job)
    stage.refresh_from_db()
    return stage


def start_llm_round(project: Project) -> Iteration:
    return start_round.start_round(project, started_from="llm", user=project.owner)
