"""What tokens cost, and what labelling a whole corpus will take, from a few rows that were asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlcore.llm.budget import Usage

MILLION = 1_000_000
_DEVIATIONS = 2.0  # of the mean: about 95 in 100 of such ranges hold the true mean


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens read, read from the provider's cache (0: as any other), and written; ``batch_share``: the part of
    these prices that a batch costs."""

    price_in: float = 0.0
    price_out: float = 0.0
    price_cached: float = 0.0
    batch_share: float = 0.5

    def cost(self, usage: Usage) -> float:
        whole = self._cost(usage.tokens_in, usage.cached, usage.tokens_out)
        by_batch = self._cost(usage.batch_in, usage.batch_cached, usage.batch_out)
        return whole - (1 - self.batch_share) * by_batch

    def _cost(self, read: int, cached: int, written: int) -> float:
        of_cached = self.price_cached or self.price_in
        return ((read - cached) * self.price_in + cached * of_cached + written * self.price_out) / MILLION


@dataclass(frozen=True, slots=True)
class Span:
    """A guess, and the range in which it lies as far as the few rows can tell."""

    low: float
    middle: float
    high: float

    def times(self, factor: float) -> Span:
        return Span(self.low * factor, self.middle * factor, self.high * factor)

    def plus(self, other: Span) -> Span:
        return Span(self.low + other.low, self.middle + other.middle, self.high + other.high)


@dataclass(frozen=True, slots=True)
class Forecast:
    """``money`` is in the currency of the prices; ``seconds`` is None where no row was really asked."""

    tokens_in: Span
    tokens_out: Span
    money: Span
    seconds: Span | None


def mean_span(values: Sequence[float]) -> Span:
    """The mean with two standard errors to both sides; not below nothing.

    Args:
        values: at least one.
    """
    found = np.asarray(values, dtype=np.float64)
    spread = _DEVIATIONS * found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else 0.0
    middle = float(found.mean())
    return Span(max(0.0, middle - float(spread)), middle, middle + float(spread))


def forecast(
    tokens_in: Sequence[int],
    tokens_out: Sequence[int],
    seconds: Sequence[float],
    *,
    longer: Sequence[float],
    rows: int,
    handful: int,
    at_once: int,
    price_in: float,
    price_out: float,
) -> Forecast:
    """Scale a few answers to a corpus.

    Args:
        tokens_in, tokens_out: of each row that was asked, N of them.
        seconds: of the rows that were really asked now; may be fewer, or none.
        longer: N, how many times longer each row's prompt will be with demonstrations.
        rows: rows that will be asked with demonstrations.
        handful: rows that are asked before, without them.
        at_once: calls at a time.
        price_in, price_out: of a million tokens.
    """
    short = mean_span(tokens_in)
    long = mean_span([tokens * factor for tokens, factor in zip(tokens_in, longer, strict=True)])
    read = long.times(rows).plus(short.times(handful))
    written = mean_span(tokens_out).times(rows + handful)
    return Forecast(
        tokens_in=read,
        tokens_out=written,
        money=read.times(price_in / MILLION).plus(written.times(price_out / MILLION)),
        seconds=mean_span(seconds).times((rows + handful) / at_once) if seconds else None,
    )
