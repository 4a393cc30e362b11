"""Online Elo: ratings that move a little with every vote, as in chess.

It is here for those who expect it. It depends on the order of the votes and on K, forgets what is long past, and has no
intervals; `ratings` has none of these faults and the same scale. A. E. Elo, The Rating of Chessplayers (1978).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diptych.arena.votes import LEFT, TIE, Votes, check, one_criterion
from diptych.errors import InvalidRequest

INITIAL = 1000.0
SCALE = 400.0


@dataclass(frozen=True)
class OnlineElo:
    """Ratings after the last vote, with what made them."""

    ratings: tuple[tuple[str, float | None], ...]
    """Model and rating, best first; None for a model that no vote compares."""
    k: float
    initial: float
    scale: float
    criterion: str | None
    votes: int
    """Left, right or tie, taken in the order in which they are in the table."""


def online_elo(votes: Votes, *, k: float, initial: float = INITIAL, scale: float = SCALE) -> OnlineElo:
    """One pass over votes about one criterion, in their order: the winner takes k * (1 - expected) from the loser.

    k: points that are at stake in a vote; 4 to 32 are usual, and the choice changes the outcome. scale: points that
    are odds of 10 to 1. A tie is half a win; both bad and skip change nothing.
    Raises InvalidRequest for votes that are malformed or about several criteria, a k or scale not above zero, or any of
    the three numbers not finite.
    """
    check(votes)
    if not (0 < k < math.inf and 0 < scale < math.inf):
        raise InvalidRequest(f"K is {k!r} and the scale {scale!r}; both must be above zero, and finite.")
    if not math.isfinite(initial):
        raise InvalidRequest(f"The initial rating is {initial!r}; it must be finite.")
    rated = votes.choice <= TIE
    left, right = votes.left[rated], votes.right[rated]
    scores = np.where(votes.choice[rated] == LEFT, 1.0, np.where(votes.choice[rated] == TIE, 0.5, 0.0))
    points = [float(initial)] * len(votes.models)
    for i, j, score in zip(left.tolist(), right.tolist(), scores.tolist(), strict=True):
        behind = min((points[j] - points[i]) / scale, 300.0)  # beyond, 10 to its power overflows
        taken = k * (score - 1 / (1 + 10**behind))
        points[i] += taken
        points[j] -= taken
    met = set(left.tolist()) | set(right.tolist())
    best_first = sorted(range(len(points)), key=lambda i: (i not in met, -points[i]))
    return OnlineElo(
        ratings=tuple((votes.models[i], points[i] if i in met else None) for i in best_first),
        k=k,
        initial=initial,
        scale=scale,
        criterion=one_criterion(votes),
        votes=len(left),
    )
