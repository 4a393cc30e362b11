"""Numbers of a spread, and what may be said of a difference: pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH_FOR_P95 = 20
"""With fewer the 95th percentile is little else than the largest value."""
LEVEL = 0.05
"""Chance of calling out any difference in a study that has none; shared out over its pairs of contestants."""


@dataclass(frozen=True)
class Spread:
    """Where values lie: the middle one, the middle half, and both ends."""

    n: int
    median: float
    low: float
    """A quarter of the values is below it, and a quarter above `high`."""
    high: float
    least: float
    most: float
    p95: float | None
    """None with fewer than ENOUGH_FOR_P95 values."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None for no values at all."""
        if not values:
            return None
        ordered = sorted(values)
        return cls(
            n=len(ordered),
            median=quantile(ordered, 0.5),
            low=quantile(ordered, 0.25),
            high=quantile(ordered, 0.75),
            least=ordered[0],
            most=ordered[-1],
            p95=quantile(ordered, 0.95) if len(ordered) >= ENOUGH_FOR_P95 else None,
        )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of values in ascending order, between neighbours by a straight line (Hyndman and Fan's type 7, as numpy's)."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    low, high = ordered[below], ordered[above]
    return min(low + (high - low) * (place - below), high)  # rounding must not leave the range


@dataclass(frozen=True)
class Paired:
    """Two contestants on the same prompts and numbers: how often the first had the lower value."""

    lower: int
    higher: int
    equal: int
    chance: float
    """Of an outcome at least as lopsided, were each as likely to be lower: the sign test, both sides, ties left out."""

    @property
    def n(self) -> int:
        return self.lower + self.higher + self.equal


def paired(pairs: Sequence[tuple[float, float]]) -> Paired:
    """pairs: values of the first and the second contestant on the same prompt and number."""
    lower = sum(a < b for a, b in pairs)
    higher = sum(a > b for a, b in pairs)
    return Paired(lower, higher, len(pairs) - lower - higher, sign_test(lower, higher))


def sign_test(fewer: int, more: int) -> float:
    """Two-sided p-value of `fewer` against `more` under a fair coin, exactly (Dixon and Mood 1946)."""
    n, k = fewer + more, min(fewer, more)
    term = tail = 1
    for i in range(k):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))
