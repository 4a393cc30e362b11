"""Whether judges agree with each other, whether a side is favoured, and which judges to look at.

Nothing is dropped here. A judge who is flagged is one to talk to; whether the votes count is for people to decide, and
to say so beside the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr  # type: ignore[import-untyped]

from diptych.arena.intervals import CONFIDENCE, Estimate, Scope
from diptych.arena.ratings import rate
from diptych.arena.votes import BOTH_BAD, LEFT, RIGHT, SKIP, TIE, Column, Votes, check, one_criterion, present

FASTEST = 0.8
"""Seconds from two pictures to a vote that a person needs at least: one glance at each, 0.3 s (K. Rayner, Eye movements
and attention in reading, scene perception, and visual search, 2009), and 0.2 s to press a key."""
MOSTLY = 0.9
"""Share of one side among a judge's decided votes from which on it is looked at."""
CHANCE = 0.01
"""That any of the judges is flagged who presses keys at random: divided by their number for each of them."""
FEWEST_TIMED = 5
"""Votes with a known time before anything is said of a judge's speed."""


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha: 1 where judges always say the same, 0 where they agree as often as by chance."""

    value: float | None
    reason: str | None
    """Why there is none."""
    criterion: str | None
    units: int
    """What at least two judges voted on: the same two pictures, or where these are unknown, two models and a prompt."""
    judges: int
    """Who voted on these."""
    votes: int
    """On these; several of one judge on one unit count as their mean."""
    distance: str = "interval"
    """Better, tie and worse are 1, 0 and -1: a tie is half a disagreement with either."""


@dataclass(frozen=True)
class Position:
    """Whether the side on which a picture stood helped it."""

    criterion: str | None
    left: int
    right: int
    """Votes for the picture on that side; ties are neither."""
    share_left: float | None
    """Of decided votes; None without any."""
    even_share: Estimate
    """The same for two equal models, from the side term of the model of `ratings`: which model stood where does not
    enter. One half is no bias."""
    claim: str
    """For whom the interval holds."""
    confidence: float


@dataclass(frozen=True)
class Judge:
    """What one judge did."""

    judge: str
    left: int
    right: int
    ties: int
    both_bad: int
    skipped: int
    median_seconds: float | None
    """Of the votes with a known time, skips among them."""
    timed: int
    too_fast: int
    compared: int
    """Decided votes on something that at least two others judged, and these not half to half."""
    agreed: int
    """Of these, as most of the others."""
    reasons: tuple[str, ...]
    """Why this judge should be looked at; empty where there is no reason."""

    @property
    def flagged(self) -> bool:
        return bool(self.reasons)


def alpha(votes: Votes) -> Alpha:
    """Krippendorff's alpha over votes about one criterion, by evalica.

    Every unit is entered seen from either model, so that it makes no difference which of them is called the first, and
    chance knows nothing of which model is better. Both bad and skip do not enter.
    Raises InvalidRequest for votes that are malformed or about several criteria.
    """
    check(votes)
    criterion = one_criterion(votes)
    unit, judge, verdict, weight = _verdicts(votes)
    sizes = np.bincount(unit)
    shared = sizes[unit] >= 2 if len(unit) else np.zeros(0, dtype=bool)
    unit, judge, verdict, weight = unit[shared], judge[shared], verdict[shared], weight[shared]
    units = len(present(unit))
    value, reason = None, None
    if not units:
        reason = "no two judges voted on the same pictures"
    elif not verdict.any():
        reason = "every vote is a tie: there is nothing to agree on"
    else:
        value = _alpha(unit, verdict)
    return Alpha(value, reason, criterion, units, len(present(judge)), int(weight.sum()))


def alphas(votes: Votes) -> dict[str, Alpha]:
    """Krippendorff's alpha for each criterion that was voted on, by name."""
    check(votes)
    return {votes.criteria[i]: alpha(votes.of_criterion(votes.criteria[i])) for i in present(votes.criterion)}


def position(votes: Votes, scope: Scope = "these", *, confidence: float = CONFIDENCE) -> Position:
    """Whether judges favour a side, from votes about one criterion. scope, errors: as for `ratings.rate`."""
    rated = rate(votes, scope, confidence=confidence)
    left, right = (int((votes.choice == choice).sum()) for choice in (LEFT, RIGHT))
    return Position(
        criterion=rated.criterion,
        left=left,
        right=right,
        share_left=left / (left + right) if left + right else None,
        even_share=rated.side.share(),
        claim=rated.claim,
        confidence=confidence,
    )


def look_at_judges(votes: Votes, *, fastest: float = FASTEST) -> tuple[Judge, ...]:
    """Every judge with a vote, in the order of their names in `votes`, and reasons to look at some of them.

    Flagged: at least `MOSTLY` of the decided votes on one side, and more than a fair coin explains; more than half of
    the timed votes in less than `fastest` seconds; against most of the others more often than a fair coin.
    Votes may be about several criteria. Raises InvalidRequest for votes that are malformed.
    """
    check(votes)
    judges = len(votes.judges)
    chosen = np.bincount(votes.judge * 5 + votes.choice, minlength=judges * 5).reshape(judges, 5)
    compared, agreed = _with_the_others(votes)
    active = np.flatnonzero(chosen.sum(axis=1))
    allowed = CHANCE / max(len(active), 1)
    order = np.argsort(votes.judge, kind="stable")
    seconds = np.split(votes.seconds[order], np.cumsum(chosen.sum(axis=1))[:-1])
    rows = []
    for i in active:
        timed = seconds[i][~np.isnan(seconds[i])]
        left, right, too_fast = int(chosen[i, LEFT]), int(chosen[i, RIGHT]), int((timed < fastest).sum())
        reasons = []
        if max(left, right) >= MOSTLY * (left + right) and 2 * bdtr(min(left, right), left + right, 0.5) < allowed:
            side = "left" if left > right else "right"
            reasons.append(f"{max(left, right)} of {left + right} decided votes are for the picture on the {side}")
        if len(timed) >= FEWEST_TIMED and 2 * too_fast > len(timed):
            reasons.append(f"{too_fast} of {len(timed)} votes came in less than {fastest:g} seconds")
        if 2 * agreed[i] < compared[i] and bdtr(agreed[i], compared[i], 0.5) < allowed:
            reasons.append(f"{compared[i] - agreed[i]} of {compared[i]} votes are against most of the other judges")
        rows.append(
            Judge(
                judge=votes.judges[i],
                left=left,
                right=right,
                ties=int(chosen[i, TIE]),
                both_bad=int(chosen[i, BOTH_BAD]),
                skipped=int(chosen[i, SKIP]),
                median_seconds=float(np.median(timed)) if len(timed) else None,
                timed=len(timed),
                too_fast=too_fast,
                compared=int(compared[i]),
                agreed=int(agreed[i]),
                reasons=tuple(reasons),
            )
        )
    return tuple(rows)


def _verdicts(votes: Votes) -> tuple[Column, Column, NDArray[np.float64], Column]:
    """One row for each judge and unit: unit, judge, mean verdict (1: the model with the lower number), votes."""
    rated = votes.choice <= TIE
    left, right = votes.left[rated], votes.right[rated]
    won = np.where(votes.choice[rated] == TIE, 0, np.where((votes.choice[rated] == LEFT) == (left < right), 1, -1))
    pictures = np.full(len(left), -1) if votes.pictures is None else votes.pictures[rated]
    columns = (np.minimum(left, right), np.maximum(left, right), votes.prompt[rated], pictures, votes.criterion[rated])
    unit = np.zeros(len(left), dtype=np.int64)
    for column in columns:
        unit = np.unique(unit * (int(column.max(initial=0)) + 2) + column + 1, return_inverse=True)[1]
    names = max(len(votes.judges), 1)
    cell, row, weight = np.unique(unit * names + votes.judge[rated], return_inverse=True, return_counts=True)
    verdict = np.bincount(row, weights=won, minlength=len(cell)) / weight
    return cell // names, cell % names, verdict, weight


def _alpha(unit: Column, verdict: NDArray[np.float64]) -> float:
    """unit: in order. Each unit is a column of the table that evalica takes; who said what does not matter to it."""
    import evalica
    import pandas as pd  # type: ignore[import-untyped]

    columns = np.unique(unit, return_inverse=True)[1]
    sizes = np.bincount(columns)
    place = np.arange(len(columns)) - (np.cumsum(sizes) - sizes)[columns]
    table = np.full((int(sizes.max()), len(sizes)), np.nan)
    table[place, columns] = verdict
    return float(evalica.alpha(pd.DataFrame(np.hstack([table, -table])), distance="interval").alpha)


def _with_the_others(votes: Votes) -> tuple[Column, Column]:
    """(judges,) each: decided votes that can be compared with most of at least two others, and those like them."""
    unit, judge, verdict, _ = _verdicts(votes)
    mine, count = np.sign(verdict), np.bincount(unit)
    others = np.bincount(unit, weights=mine)[unit] - mine if len(unit) else np.zeros(0)
    usable = (mine != 0) & (others != 0) & (count[unit] >= 3) if len(unit) else np.zeros(0, dtype=bool)
    agreed = usable & (mine == np.sign(others))
    judges = len(votes.judges)
    return np.bincount(judge[usable], minlength=judges), np.bincount(judge[agreed], minlength=judges)
