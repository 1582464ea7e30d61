"""What the goal bar shows: where the project stands, what is being done, and what is left of its limits."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext_lazy

from annotation.jobs import kinds
from annotation.jobs.details import PlanDetail
from annotation.models import Goal, Project, Role, Stage
from annotation.pipeline.measure.draw_sample import open_draws
from annotation.pipeline.plan.situation import AT_WORK
from annotation.pipeline.project.goal import goal_of


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of the limits; None where there is none."""

    money: float | None
    tokens: int | None
    minutes: float | None
    seconds: float | None

    @classmethod
    def of(cls, goal: Goal, spent: PlanDetail) -> Left:
        return cls(
            None if goal.money is None else max(0.0, goal.money - spent.money),
            None if goal.tokens is None else max(0, goal.tokens - spent.tokens),
            None if goal.minutes is None else max(0.0, goal.minutes - spent.minutes),
            None if goal.until is None else max(0.0, (goal.until - timezone.now()).total_seconds()),
        )


#: What the button of each kind of step says.
STEP_WORDS = {
    "try": gettext_lazy("Try %(rows)s rows"),
    "label": gettext_lazy("Let the LLM label %(rows)s rows"),
    "train": gettext_lazy("Train the small model"),
    "refine": gettext_lazy("Take over the new verdict"),
    "compare": gettext_lazy("Ask another LLM about the answered rows"),
    "measure": gettext_lazy("Answer %(rows)s random rows"),
    "review": gettext_lazy("Correct the %(rows)s riskiest rows"),
    "relabel": gettext_lazy("Ask another LLM about %(rows)s rows at risk"),
    "stop": gettext_lazy("Make the certificate"),
}


@dataclass(frozen=True, slots=True)
class GoalBar:
    """The bar on top of a project's pages.

    Attributes:
        failed: whether the newest plan could not be made.
        at_work: the stage that changes the rows or their labels now.
        waiting_rows: drawn rows that wait for an answer.
        has_certificate: whether one was made, of the file as it is or as it was.
    """

    project: Project
    role: Role
    goal: Goal
    plan: PlanDetail
    failed: bool
    at_work: Stage | None
    waiting_rows: int
    has_certificate: bool
    left: Left

    @property
    def can_review(self) -> bool:
        return self.role != Role.VIEWER

    @property
    def can_own(self) -> bool:
        return self.role == Role.OWNER

    @property
    def reached(self) -> bool:
        """Whether even the lower bound of the accuracy is above the target."""
        return self.plan.now is not None and self.plan.now[1] >= self.goal.target

    @property
    def step_words(self) -> str:
        """What the next step's button says; empty where there is no step to begin."""
        step = self.plan.step
        return (
            str(STEP_WORDS[step["kind"]]) % {"rows": f"{step['amount']:,}"}
            if step and not self.at_work
            else ""
        )

    @property
    def step_by_people(self) -> bool:
        return self.plan.step.get("kind") in ("measure", "review")

    @property
    def can_begin(self) -> bool:
        """Whether this member may begin the next step: people's own work is any reviewer's, runs are the owner's."""
        return self.can_own or (
            self.can_review and (self.step_by_people or self.plan.step.get("kind") == "stop")
        )

    @property
    def certified(self) -> bool:
        """Whether the certificate of the file as it is was made."""
        return self.has_certificate and self.reached and not self.plan.step

    @property
    def at_work_page(self) -> str:
        assert self.at_work
        return f"annotation:{kinds.kind_of(self.at_work).page}"


def goal_bar(project: Project, role: Role) -> GoalBar | None:
    """What ``annotation/plan/_goal_bar.html`` shows; the pages that include it and the consumer that pushes it agree. None
    where the project has no goal."""
    goal = goal_of(project)
    if goal is None:
        return None
    stages = (project.stages.filter(kind=kinds.PLAN.key) | project.stages.active()).defer("error")
    newest = list(stages.order_by("-id"))
    made = next((stage for stage in newest if stage.kind == kinds.PLAN.key), None)
    plan = PlanDetail.of(made) if made else PlanDetail()
    return GoalBar(
        project,
        role,
        goal,
        plan,
        failed=made is not None and made.status == Stage.Status.FAILED,
        at_work=next((stage for stage in newest if stage.exclusive_group in AT_WORK), None),
        waiting_rows=open_draws(project).count(),
        has_certificate=project.stages.filter(kind=kinds.CERTIFICATE.key, status=Stage.Status.DONE).exists(),
        left=Left.of(goal, plan),
    )
