"""Votes for tests: drawn from known strengths, and two public tables of comparisons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diptych.arena import davidson
from diptych.arena.votes import Votes

PUDDING = """
1 2 19 22 16
1 3 16 19 12
2 3 19 19 10
1 4 18 23 13
2 4 23 19 9
3 4 19 20 15
1 5 13 19 18
2 5 16 20 12
3 5 16 15 17
4 5 17 14 16
1 6 18 21 12
2 6 22 20 12
3 6 13 18 10
4 6 14 19 18
5 6 11 21 12
"""
"""Six chocolate puddings: i, j, i preferred, j preferred, no preference. R. R. Davidson, JASA 65 (1970), 317-328."""

TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
BASEBALL = """
0: 1 4-3, 2 4-2, 3 4-3, 4 6-1, 5 4-2, 6 6-0
1: 0 3-3, 2 4-2, 3 4-3, 4 6-0, 5 6-1, 6 4-3
2: 0 2-5, 1 4-3, 3 2-4, 4 4-3, 5 4-2, 6 6-0
3: 0 3-3, 1 5-1, 2 2-5, 4 4-3, 5 4-2, 6 6-1
4: 0 5-1, 1 2-5, 2 3-3, 3 4-2, 5 5-2, 6 6-0
5: 0 2-5, 1 3-3, 2 3-4, 3 4-3, 4 4-2, 6 2-4
6: 0 2-5, 1 1-5, 2 1-6, 3 2-4, 4 1-6, 5 3-4
"""
"""American League, Eastern Division, 1987: home team, then each visitor with games won and lost at home.
A. Agresti, Categorical Data Analysis, 2nd edition (2002), table 10.10."""


def pudding() -> NDArray[np.float64]:
    """(6, 6, 3), as the counts of a fit."""
    counts = np.zeros((6, 6, 3))
    for line in PUDDING.split("\n")[1:-1]:
        i, j, *outcomes = map(int, line.split())
        counts[i - 1, j - 1] = outcomes
    return counts


def baseball() -> NDArray[np.float64]:
    """(7, 7, 3): the home team on the left."""
    counts = np.zeros((7, 7, 3))
    for line in BASEBALL.split("\n")[1:-1]:
        home, games = line.split(":")
        for game in games.split(","):
            visitor, score = game.split()
            won, lost = score.split("-")
            counts[int(home), int(visitor)] = int(won), int(lost), 0
    return counts


def simulate(
    n: int,
    models: int,
    *,
    prompts: int = 5,
    judges: int = 4,
    tie: float = -0.5,
    side: float = 0.2,
    effect: float = 0.5,
    seed: int = 0,
) -> Votes:
    """Strengths fall by 0.3 from model to model; prompts and judges move them. tie = -inf: no vote is a tie."""
    rng = np.random.default_rng(seed)
    left = rng.integers(models, size=n)
    right = (left + 1 + rng.integers(models - 1, size=n)) % models
    prompt, judge = rng.integers(prompts, size=n), rng.integers(judges, size=n)
    strengths = -0.3 * np.arange(models)
    on_prompt, on_judge = rng.normal(size=(prompts, models)) * effect, rng.normal(size=(judges, models)) * effect
    worth = strengths + on_prompt[prompt] + on_judge[judge]
    s = worth[np.arange(n), left] - worth[np.arange(n), right] + side
    weights = np.exp(np.stack([s / 2, -s / 2, np.full(n, max(tie, -1e3))], axis=1))
    p = weights / weights.sum(axis=1, keepdims=True)
    choice = (rng.random(n)[:, None] > np.cumsum(p, axis=1)[:, :2]).sum(axis=1)
    return Votes(
        models=tuple(f"m{i}" for i in range(models)),
        prompts=tuple(f"p{i}" for i in range(prompts)),
        judges=tuple(f"j{i}" for i in range(judges)),
        left=left,
        right=right,
        choice=choice,
        prompt=prompt,
        judge=judge,
        criterion=np.zeros(n, dtype=np.int64),
        category=np.full(n, -1),
        seconds=np.full(n, np.nan),
    )


def counted(votes: Votes) -> NDArray[np.float64]:
    return davidson.pair_counts(len(votes.models), votes.left, votes.right, votes.choice)
