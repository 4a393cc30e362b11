"""Which models no other one beats in everything: better quality, lower cost, less time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A model in three numbers; None is unknown."""

    label: str
    quality: float | None
    """More is better."""
    cost: float | None
    """Dollars a picture."""
    seconds: float | None

    @property
    def known(self) -> bool:
        return None not in (self.quality, self.cost, self.seconds)


def pareto(points: Sequence[Point]) -> tuple[Point, ...]:
    """Those that no other point dominates, in their order: none is at least as good in all three, and better in one.

    A point with an unknown number is in none of both: nobody can say whether it is dominated. Equal points stay, all.
    """
    known = [_as_costs(point) for point in points if point.known]
    return tuple(point for point in points if point.known and not any(_beats(one, _as_costs(point)) for one in known))


def _as_costs(point: Point) -> tuple[float, float, float]:
    """Three numbers that are the better the lower they are."""
    return -(point.quality or 0.0), point.cost or 0.0, point.seconds or 0.0


def _beats(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
