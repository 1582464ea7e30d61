"""Choose the next step of a project, with what is expected of it.

What is not known is simulated: the share of wrong rows has a beta posterior, from the rows that were drawn and answered and,
worth ``PRIOR_ROWS`` of them, from the models' risk. A bet against "as many wrong rows as the target allows" grows by the
Kullback-Leibler divergence with each answer (Wald 1945), so each drawn share tells how many more answers the target takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from annotation.jobs import kinds
from annotation.jobs.details import PlanDetail, TrialDetail
from annotation.messages import message
from annotation.models import Goal, Project, Stage
from annotation.pipeline.label.start_try_out import TRIAL_ROWS, decides_trial
from annotation.pipeline.measure.certificate import CertifiedFile
from annotation.pipeline.measure.certify import changed_since, newest_certificate
from annotation.pipeline.measure.draw_sample import open_draws
from mlcore.messages import Message
from mlcore.plan.answers import plan_answers
from mlcore.plan.records import Forecast, Range, Step
from mlcore.records import NO_LABEL, FloatArray

PRIOR_ROWS = 10.0  # as many answers the models' risk is worth; not tuned
DRAWS = 400
FIRST_ANSWERS = 40  # before the small model learns from them: docs/benchmarks, forty random rows first
FEWEST, MOST = 10, 200  # rows that people are asked at a time
SECONDS_AN_ANSWER = 8.0  # before people's own pace is known
NOTHING = Range(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Outlook:
    """What the posterior says: each array is over its draws.

    Attributes:
        accuracy: of the file as it is.
        answers: more answers until the target is shown; infinite where the file does not reach it.
    """

    accuracy: FloatArray
    answers: FloatArray
    open_rows: int
    rows: int
    minutes_an_answer: float
    seen: int

    @property
    def reachable(self) -> bool:
        """Whether the file as it is reaches the target more likely than not."""
        return bool(np.isfinite(np.median(self.answers)))

    def forecast(self, *, answers: int = 0, money: Range = NOTHING, mended: float = 0.0) -> Forecast:
        """After so many more answers, and with so many wrong rows mended by them."""
        after = np.minimum(self.accuracy + mended / max(self.rows, 1), 1.0)
        minutes = answers * self.minutes_an_answer
        left = np.maximum(np.minimum(self.answers, self.open_rows) - answers, 0.0)
        return Forecast(_range(after), money, Range(minutes, 0.6 * minutes, 1.6 * minutes), _range(left))


def choose(project: Project, goal: Goal, file: CertifiedFile, now: PlanDetail) -> Step | None:
    """The next step; None while a stage is at work, while people are asked, and once the certificate is made."""
    if project.stages.active().filter(exclusive_group__in=(kinds.CORPUS, "trial", "certificate")).exists():
        return None
    outlook = look_ahead(goal, file, now)
    if now.now and now.now[1] >= goal.target:
        return _stop(
            project,
            outlook,
            message("The target is shown. The certificate says what holds of the file as it is."),
        )
    if open_draws(project).exists():
        return None
    if not project.iterations.exists():
        return _label(project, outlook)
    if not project.iterations.judged().exists():
        reason = message("The LLM has labelled the rows; the small model finds its errors.")
        return Step("train", outlook.rows, reason, outlook.forecast())
    return _next(project, goal, file, now, outlook)


def look_ahead(goal: Goal, file: CertifiedFile, now: PlanDetail) -> Outlook:
    """Simulate how wrong the file may be, and how many more answers that takes."""
    evidence = file.evidence
    covered = ~evidence.settled & ~evidence.uncovered
    drawn = [each for each in evidence.answers if each.chance is not None and each.label != NO_LABEL]
    wrong = sum(each.label != each.asked for each in drawn)
    prior = float(evidence.risk[covered].mean()) if covered.any() else 0.0
    rng = np.random.default_rng(len(drawn))
    theta = rng.beta(
        PRIOR_ROWS * prior + wrong + 1e-6, PRIOR_ROWS * (1 - prior) + len(drawn) - wrong + 1e-6, DRAWS
    )
    rows, open_rows = len(evidence.labels), int(covered.sum())
    lost = int(evidence.uncovered.sum())
    accuracy = 1.0 - (theta * open_rows + lost) / max(rows, 1)
    allowed = max((1.0 - goal.target) * rows - lost, 0.0) / max(open_rows, 1)
    per_answer = _divergence(theta, min(allowed, 1.0 - 1e-6)) if allowed > 0 else np.zeros(DRAWS)
    needed = np.log(1.0 / (1.0 - goal.confidence)) / np.maximum(per_answer, 1e-12)
    needed = np.where(theta < allowed, needed / (1.0 + needed / max(open_rows, 1)), np.inf)
    pace = now.minutes / now.timed if now.timed else SECONDS_AN_ANSWER / 60
    return Outlook(accuracy, np.maximum(needed - len(drawn), 0.0), open_rows, rows, pace, len(drawn))


def _next(
    project: Project, goal: Goal, file: CertifiedFile, now: PlanDetail, outlook: Outlook
) -> Step | None:
    minutes_left = np.inf if goal.minutes is None else goal.minutes - now.minutes
    affordable = int(min(max(minutes_left, 0.0) / outlook.minutes_an_answer, 10**9))
    if not outlook.open_rows:
        return _stop(project, outlook, message("People have decided every row."))
    if affordable < FEWEST:
        reason = message(
            "People's minutes are spent. With more of them, about %(answers)s more answers show the target.",
            answers=_count(outlook),
        )
        return _stop(project, outlook, reason)
    if outlook.seen < FIRST_ANSWERS and not _learned(project):
        rows = min(FIRST_ANSWERS - outlook.seen, affordable, outlook.open_rows)
        reason = message("Random rows first: they measure the file, and the small model learns from them.")
        return Step("measure", rows, reason, outlook.forecast(answers=rows))
    if not outlook.reachable and not _learned(project):
        reason = message(
            "The file does not reach the target yet; the small model has not learned from the answers so far."
        )
        return Step("train", outlook.rows, reason, outlook.forecast())
    if not outlook.reachable:
        return _review(goal, file, outlook, affordable)
    needed = float(np.median(outlook.answers))
    rows = int(min(max(needed, FEWEST), MOST, affordable, outlook.open_rows))
    reason = message(
        "About %(answers)s more answers on random rows are expected to show the target.",
        answers=_count(outlook),
    )
    if needed > affordable:
        reason = message(
            "The target takes about %(answers)s more answers; the minutes left are enough for %(most)s.",
            answers=_count(outlook),
            most=affordable,
        )
    return Step("measure", rows, reason, outlook.forecast(answers=rows))


def _review(goal: Goal, file: CertifiedFile, outlook: Outlook, affordable: int) -> Step:
    """Have people correct the riskiest rows, as many as leave the fewest answers in all until the target is shown."""
    evidence = file.evidence
    risk = np.sort(evidence.risk[~evidence.settled])[::-1]
    wrong = (1.0 - float(np.median(outlook.accuracy))) * outlook.rows
    risk *= min(wrong / max(float(risk.sum()), 1e-9), 1.0 / max(float(risk.max()), 1e-9))
    allowed = (1.0 - goal.target) * outlook.rows
    plan = plan_answers(risk, allowed, float(np.log(1.0 / (1.0 - goal.confidence))))
    rows = int(min(max(plan.review, 1), affordable, MOST))
    reason = message(
        "The file does not reach the target: about %(wrong)s rows are wrong. The riskiest come first.",
        wrong=round(wrong),
    )
    return Step("review", rows, reason, outlook.forecast(answers=rows, mended=float(risk[:rows].sum())))


def _label(project: Project, outlook: Outlook) -> Step:
    """The first labels; where they cost something, a few rows are tried before."""
    trial = project.stages.filter(kind=kinds.TRIAL.key, status=Stage.Status.DONE).first()
    detail = TrialDetail.of(trial) if trial else TrialDetail()
    if project.llm_config.kind != "local" and detail.asked_with != decides_trial(project):
        reason = message("A few rows tell whether the prompt works, and what the whole corpus will cost.")
        return Step("try", TRIAL_ROWS, reason, outlook.forecast())
    span = (detail.estimate or {}).get("money")
    money = Range(span["middle"], span["low"], span["high"]) if span else NOTHING
    return Step(
        "label",
        outlook.rows,
        message("The LLM gives every row its first label."),
        outlook.forecast(money=money),
    )


def _stop(project: Project, outlook: Outlook, reason: Message) -> Step | None:
    made = newest_certificate(project)
    if made and not changed_since(project, made):
        return None
    return Step("stop", outlook.rows, reason, outlook.forecast())


def _learned(project: Project) -> bool:
    """Whether the small model has been trained since people began to answer."""
    first = project.audit_draws.order_by("id").values_list("drawn_at", flat=True).first()
    trained = project.stages.filter(kind=kinds.SLM.key, status=Stage.Status.DONE).first()
    return bool(first and trained and trained.started_at and trained.started_at > first)


def _count(outlook: Outlook) -> int:
    """More answers that the target takes, as far as the file reaches it at all; every open row shows it for certain."""
    finite = outlook.answers[np.isfinite(outlook.answers)]
    return (
        int(np.ceil(min(float(np.median(finite)), outlook.open_rows))) if len(finite) else outlook.open_rows
    )


def _range(values: FloatArray) -> Range:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return Range(float(middle), float(low), float(high))


def _divergence(share: FloatArray, allowed: float) -> FloatArray:
    """Kullback-Leibler divergence of two shares, in nats."""
    share = np.clip(share, 1e-9, 1.0 - 1e-9)
    return np.asarray(share * np.log(share / allowed) + (1 - share) * np.log((1 - share) / (1 - allowed)))
