"""Choose the next step of a project, with what is expected of it and why."""

from __future__ import annotations

import numpy as np

from mlcore.messages import Message
from mlcore.plan.certificate import error_share
from mlcore.plan.course import Profile, draw_course
from mlcore.plan.outlook import NOTHING, WORTHWHILE, Outlook, look_ahead
from mlcore.plan.records import Limits, Offer, OtherModel, Range, Situation, Step

FIRST_ANSWERS = 40  # before the models learn from them: docs/benchmarks, forty random rows first
FEWEST, MOST = 10, 100  # rows that people are asked at a time
TRIAL_ROWS = 20
AT_RISK = 0.2  # risk over which another LLM is asked about a row; as in the review queue
ENOUGH_AT_RISK = 10  # answered rows at risk, before another LLM is judged by them
BUDGET_SHARE = 0.1  # of a limit; what is expected to take more asks a person first


def choose_step(situation: Situation) -> tuple[Step | None, Outlook]:
    """The next step, and the outlook that it rests on; None once the certificate of the file as it is was made."""
    outlook = look_ahead(situation)
    step = _choose(situation, outlook)
    done = step.kind == "stop" and situation.is_certified
    return None if done else step, outlook


def offers(outlook: Outlook) -> list[Offer]:
    """What one more hour of people's time brings, and one more unit of money where another LLM is known to do better."""
    situation = outlook.situation
    hour = int(60.0 / max(situation.minutes_an_answer, 1e-6))
    brought = [outlook.offer(hour, "hour", 1.0)]
    best = _better_model(situation)
    if best and best.price:
        rows = min(1.0 / best.price, float((situation.risk > AT_RISK).sum()))
        fewer = rows * (best.right - best.file_right) / best.rows / max(situation.rows, 1)
        now = outlook.offer(0, "money", 1.0)
        moved = [
            Range(*(min(value + fewer, 1.0) for value in (line.value, line.low, line.high)))
            for line in (now.shown, now.accuracy)
        ]
        brought.append(Offer("money", 1.0, 0, *moved))
    return brought


def _choose(situation: Situation, outlook: Outlook) -> Step:
    if situation.stage in ("new", "tried"):
        return _label(situation, outlook)
    if situation.stage == "labelled":
        return _step(outlook, "train", "plan_train_first")
    if situation.bound is not None and situation.bound <= situation.allowed:
        return _step(outlook, "stop", "plan_shown")
    if not len(situation.risk):
        return _step(outlook, "stop", "plan_all_decided")
    if _affordable(situation) < FEWEST:
        reached = outlook.offer(0, "hour", 0.0)
        return _step(
            outlook,
            "stop",
            "plan_minutes_spent",
            answers=_count(outlook),
            shown=_percent(reached.shown.value),
        )
    if situation.answered < FIRST_ANSWERS:
        rows = min(FIRST_ANSWERS - situation.answered, _affordable(situation), len(situation.risk))
        return _ask(outlook, "measure", rows, "plan_random_first")
    return _by_models(situation, outlook) or _by_people(situation, outlook)


def _by_models(situation: Situation, outlook: Outlook) -> Step | None:
    """What models can do better now than people: learn from the answers, or take another LLM's word."""
    reached = 1.0 - (outlook.profile.wrong + situation.lost) / max(situation.rows, 1) >= situation.goal.target
    if not reached and not situation.learned:
        return _step(outlook, "train", "plan_learn")
    if _is_worth_renewing(situation, outlook):
        return _step(
            outlook, "refine", "plan_refine", mended=situation.renewal, rows=round(situation.renewal)
        )
    if reached or situation.answered < FIRST_ANSWERS:
        return None
    untried = next((other for other in situation.others if not other.rows), None)
    if untried:
        return _step(outlook, "compare", "plan_compare", connection=untried.connection, name=untried.name)
    better = _better_model(situation)
    if better is None:
        return None
    rows = int((situation.risk > AT_RISK).sum())
    mended = rows * (better.right - better.file_right) / better.rows
    cost = rows * (better.price or 0.0)
    return _step(
        outlook,
        "relabel",
        "plan_relabel",
        amount=rows,
        mended=mended,
        money=Range(cost, 0.7 * cost, 1.5 * cost),
        connection=better.connection,
        name=better.name,
        right=better.right,
        file_right=better.file_right,
        asked=better.rows,
    )


def _is_worth_renewing(situation: Situation, outlook: Outlook) -> bool:
    """Whether better labels save more answers than the evidence is worth that is lost with the old ones."""
    if situation.renewal <= 0:
        return False
    bar = float(np.log(1.0 / error_share(situation.goal.confidence, situation.next_attempt)))
    left = max(1.0 - situation.renewal / max(outlook.profile.wrong, 1e-9), 0.05)
    renewed: Profile = outlook.profile.scaled(left)
    course = draw_course(renewed, bar, review=min(outlook.review, renewed.rows))
    return course.needed(situation.allowed) < (1.0 - WORTHWHILE) * outlook.needed.value


def _better_model(situation: Situation) -> OtherModel | None:
    """The LLM that was right oftener than the file on answered rows at risk, by more than chance."""
    judged = [other for other in situation.others if other.rows >= ENOUGH_AT_RISK]
    best = max(judged, key=lambda other: (other.right - other.file_right) / other.rows, default=None)
    if best is None:
        return None
    # Both are counted on the same rows; one and a half deviations of the difference.
    return best if best.right - best.file_right > 1.5 * np.sqrt(best.rows) / 2 else None


def _by_people(situation: Situation, outlook: Outlook) -> Step:
    """People correct the riskiest rows while that takes the fewest answers in all, and answer drawn rows after it."""
    needed, affordable = outlook.needed.value, _affordable(situation)
    kind, rows = ("review", outlook.review) if outlook.review >= FEWEST else ("measure", int(needed))
    rows = int(min(max(rows, FEWEST), MOST, _at_once(situation), affordable, len(situation.risk)))
    if needed > affordable:
        then = outlook.offer(affordable, "hour", 0.0)
        return _ask(
            outlook,
            kind,
            rows,
            "plan_out_of_reach",
            within_limits=False,
            answers=_count(outlook),
            most=affordable,
            shown=_percent(then.shown.value),
        )
    if kind == "review":
        return _ask(outlook, kind, rows, "plan_review", wrong=round(outlook.profile.wrong))
    return _ask(outlook, kind, rows, "plan_measure", answers=_count(outlook))


def _label(situation: Situation, outlook: Outlook) -> Step:
    """The first labels; where they cost something, a few rows are tried before."""
    if situation.stage == "new":
        return _step(outlook, "try", "plan_try", amount=min(TRIAL_ROWS, situation.rows))
    cost = situation.label_cost or NOTHING
    if situation.money is None or cost.value <= situation.money:
        return _step(outlook, "label", "plan_label", amount=situation.rows, money=cost)
    percent = max(1, int(100 * max(situation.money, 0.0) / cost.high))
    return _step(
        outlook,
        "label",
        "plan_label_dear",
        amount=situation.rows,
        money=cost,
        within_limits=False,
        percent=percent,
    )


def _ask(
    outlook: Outlook, kind: str, rows: int, reason: str, *, within_limits: bool = True, **values: object
) -> Step:
    forecast = outlook.forecast(answers=rows)
    return Step(kind, rows, Message(reason, values), forecast, within_limits)  # type: ignore[arg-type]


def _step(
    outlook: Outlook,
    kind: str,
    reason: str,
    *,
    amount: int | None = None,
    money: Range = NOTHING,
    mended: float = 0.0,
    within_limits: bool = True,
    connection: int = 0,
    **values: object,
) -> Step:
    forecast = outlook.forecast(money=money, mended=mended)
    rows = outlook.situation.rows if amount is None else amount
    return Step(kind, rows, Message(reason, values), forecast, within_limits, connection)  # type: ignore[arg-type]


def _affordable(situation: Situation) -> int:
    """Answers that people's minutes are enough for."""
    if situation.minutes is None:
        return 10**9
    return int(max(situation.minutes, 0.0) / situation.minutes_an_answer)


def _at_once(situation: Situation) -> int:
    """Answers that take no more of people's minutes than may be spent without asking."""
    limit = situation.goal.limits.minutes
    return MOST if limit is None else max(int(BUDGET_SHARE * limit / situation.minutes_an_answer), FEWEST)


def asks_first(step: Step, limits: Limits) -> bool:
    """Whether a step is expected to take more than ``BUDGET_SHARE`` of the money or the minutes, or can't lead to the target."""
    spends = ((limits.money, step.forecast.money), (limits.minutes, step.forecast.minutes))
    dear = any(limit is not None and told.value > BUDGET_SHARE * limit for limit, told in spends)
    return dear or not step.within_limits


def _count(outlook: Outlook) -> int:
    return int(np.ceil(outlook.needed.value))


def _percent(share: float) -> str:
    return f"{int(share * 1000) / 10:.1f}\N{NO-BREAK SPACE}%"
