"""What a part of a stage may spend: a share of the stage's budget, given out by the database a few calls at a time.

The row of the stage is locked while a share is given, and all shares together never exceed the budget. So any number of
workers keep to it. What a worker that died had under way is not known, as without parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection, transaction

from annotation.jobs.details import LabelingDetail, PartDetail
from annotation.models import Stage
from mlcore.llm.budget import Budget, Usage

CALLS_AHEAD = (
    20  # so many of the dearest calls are granted at once; what one part leaves of them, no other can spend
)


@dataclass(frozen=True, slots=True)
class SharedBudget:
    """The share of one part.

    Attributes:
        tokens, money: the limits of the whole stage; 0 is no limit.
        budget: the part's own.
    """

    part: Stage
    tokens: int
    money: float
    budget: Budget

    def ask_for(self, total: Usage) -> None:
        """Raise the part's limits to what ``total`` takes and some calls more, as far as the other parts leave it."""
        try:
            with transaction.atomic():
                self._grant(total)
        finally:
            connection.close()  # this thread's own

    def _grant(self, total: Usage) -> None:
        # In the order in which answers are stored, or two would wait for each other.
        part = Stage.objects.select_for_update().get(pk=self.part.pk)
        assert part.parent_id
        whole = Stage.objects.select_for_update().get(pk=part.parent_id)
        tokens, money = self._taken(whole, without=part)
        spent, cost = self.budget.spent, self.budget.cost
        ahead = Usage(total.tokens_in - spent.tokens_in, total.tokens_out - spent.tokens_out)
        if self.tokens:
            needed = total.tokens_in + total.tokens_out + CALLS_AHEAD * (ahead.tokens_in + ahead.tokens_out)
            part.granted_tokens = max(0, min(needed, self.tokens - tokens))
            self.budget.tokens = max(1, part.granted_tokens)  # 0 would be no limit
        if self.money:
            needed_money = cost(total) + CALLS_AHEAD * cost(ahead)
            part.granted_money = max(0.0, min(needed_money, self.money - money))
            self.budget.money = max(1e-9, part.granted_money)
        part.save(update_fields=["granted_tokens", "granted_money"])

    def _taken(self, whole: Stage, *, without: Stage) -> tuple[int, float]:
        """Tokens and money that the stage itself and its other parts have spent, or may spend by what they were granted."""
        detail = LabelingDetail.of(whole)
        own = detail.own
        before = Usage(own["tokens_in"], own["tokens_out"], own["thoughts"], own["cached_tokens"])
        tokens, money = before.tokens_in + before.tokens_out, self.budget.cost(before)
        for other in Stage.objects.filter(parent=whole).exclude(pk=without.pk):
            at_work = other.status == Stage.Status.RUNNING
            spent = PartDetail.of(other).usage(other.tokens_in, other.tokens_out)
            tokens += max(spent.tokens_in + spent.tokens_out, other.granted_tokens if at_work else 0)
            money += max(self.budget.cost(spent), other.granted_money if at_work else 0.0)
        return tokens, money
