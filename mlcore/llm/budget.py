"""What a run may spend. A call's highest price is set aside before the call goes out, so that a budget is never exceeded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from mlcore.errors import BudgetSpentError
from mlcore.llm.cost import Prices
from mlcore.messages import Message

TEMPLATE_TOKENS = 64  # what a server's chat template may add to a prompt


@dataclass(slots=True)
class Usage:
    """Tokens that count as spent.

    ``thoughts`` are those of ``tokens_out`` with which a model thought, ``cached`` those of ``tokens_in`` that the provider
    had in its cache. ``batch_in``, ``batch_cached`` and ``batch_out`` are those of all that were asked by batches.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    thoughts: int = 0
    cached: int = 0
    batch_in: int = 0
    batch_cached: int = 0
    batch_out: int = 0

    def add(self, other: Usage, *, times: int = 1) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + times * getattr(other, name))

    def by_batch(self) -> Usage:
        """The same, asked by a batch."""
        return replace(self, batch_in=self.tokens_in, batch_cached=self.cached, batch_out=self.tokens_out)


@dataclass(slots=True)
class Budget:
    """A limit in tokens, in money, or in both; 0 is no limit.

    Attributes:
        tokens: the most tokens, read and written together.
        money: the most money, in whatever currency the prices are in.
        prices: what tokens cost.
        spent: what counts as spent, earlier attempts of the run included.
        assumed: calls of which nobody told what they took, so that they count as the most that they may have taken.
        ask_for: where the limit is a share of one that several runs have: raises this one's so that what it is given fits, if
            the others leave so much. Called in a thread of its own.
    """

    tokens: int = 0
    money: float = 0.0
    prices: Prices = field(default_factory=Prices)
    spent: Usage = field(default_factory=Usage)
    assumed: int = 0
    ask_for: Callable[[Usage], None] | None = None
    _held: Usage = field(default_factory=Usage)
    _calls: int = 0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_limited(self) -> bool:
        return bool(self.tokens or self.money)

    def cost(self, usage: Usage) -> float:
        return self.prices.cost(usage)

    def reserve(self, most: Usage) -> bool:
        """Set ``most`` aside for what stays out for long, such as a batch; False if it doesn't fit."""
        if not self._fits(most):
            return False
        self.hold_on(most)
        return True

    def hold_on(self, most: Usage) -> None:
        """Set aside what is out already."""
        self._held.add(most)

    def release(self, most: Usage) -> None:
        """Give back what was set aside and did not go out."""
        self._held.add(most, times=-1)

    def spent_error(self, most: Usage) -> BudgetSpentError:
        """What to raise where ``most`` doesn't fit."""
        return BudgetSpentError(self._message(most))

    @asynccontextmanager
    async def hold(self, most: Usage) -> AsyncIterator[Usage]:
        """Set ``most`` aside while a call is out; what the caller enters in the yielded usage counts as spent then.

        Waits while calls under way may give back some of what they hold.

        Raises:
            BudgetSpentError: with no call under way, what is left is less than ``most``.
        """
        while not self._fits(most):
            if self.ask_for and await self._is_granted(most):
                break
            if not self._calls:
                raise self.spent_error(most)
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self._held.add(most)
        self._calls += 1
        paid = Usage()
        try:
            yield paid
        finally:
            self.release(most)
            self._calls -= 1
            self.spent.add(paid)
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiting.clear()

    async def _is_granted(self, most: Usage) -> bool:
        async with self._asking:  # what one call is granted may be enough for the next
            if not self._fits(most) and self.ask_for:
                await asyncio.to_thread(self.ask_for, self.total(most))
        return self._fits(most)

    def total(self, most: Usage) -> Usage:
        """What is spent, set aside, and ``most``."""
        total = Usage()
        for each in (self.spent, self._held, most):
            total.add(each)
        return total

    def _fits(self, most: Usage) -> bool:
        total = self.total(most)
        within_tokens = not self.tokens or total.tokens_in + total.tokens_out <= self.tokens
        return within_tokens and (not self.money or self.cost(total) <= self.money)

    def _message(self, most: Usage) -> Message:
        spent, one = self.spent.tokens_in + self.spent.tokens_out, most.tokens_in + most.tokens_out
        if self.tokens and spent + one > self.tokens:
            return self.spent_message(one, tokens=True)
        return self.spent_message(f"{self.cost(most):.4f}", tokens=False)

    def spent_message(self, next_call: int | str, *, tokens: bool) -> Message:
        """That what is left doesn't cover the next call, which may take so many tokens, or so much money."""
        if tokens:
            spent = self.spent.tokens_in + self.spent.tokens_out
            return Message("tokens_spent", {"spent": spent, "most": self.tokens, "next": next_call})
        costs = {"spent": self.cost(self.spent), "most": self.money}
        return Message(
            "money_spent", {name: f"{cost:.4f}" for name, cost in costs.items()} | {"next": next_call}
        )


def most_of(text: str, *, beyond: str, tokens_out: int) -> Usage:
    """The most that a call can be charged for: no tokenizer makes more tokens of a text than it has bytes.

    Args:
        text: the prompt.
        beyond: what a server may put into the prompt besides (the schema of the answer).
        tokens_out: the limit on the answer's tokens.
    """
    return Usage(len(text.encode()) + len(beyond.encode()) + TEMPLATE_TOKENS, tokens_out)
