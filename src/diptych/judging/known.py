"""What the votes say so far: in words that name no model, and in full for the end.

All that this room knows of ratings and stopping rules is in this file and `deck.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.arena import davidson, pairs
from diptych.arena.stopping import UNANIMOUS, Rule, Standing, Verdict, decide_all
from diptych.arena.votes import BOTH_BAD, LEFT, RIGHT, SKIP, TIE, Votes
from diptych.studies.results import Results

BEGINS = 1 / 3
"""Of the evidence that a claim takes, on the scale of its logarithm: from here on it begins to separate."""


@dataclass(frozen=True, eq=False)
class Known:
    """What may be said before the end, and what the next pair is chosen by."""

    votes: int
    """Without skips, of all judges."""
    judges: int
    said: str
    """Without the name of a model."""
    more: str | None
    """How many votes it may take still, in words; None where no more are needed, or are left."""
    enough: bool
    """Nothing that is open is worth more votes: it is settled, or the budget is spent."""
    standing: Standing
    """With the names: for the end alone."""
    information: NDArray[np.float64]
    """(models, models): how much a vote on each pair would tell."""


def know(votes: Votes, labels: Sequence[str], criterion: str, rule: Rule) -> Known:
    """votes: of one study, on any criteria; labels: of all its contestants, in their order."""
    mine = of_models(votes.of_criterion(criterion) if criterion in votes.criteria else votes, labels)
    standing = decide_all(mine, rule)
    counted = mine.where(mine.choice != SKIP)
    return Known(
        votes=len(counted),
        judges=len(np.unique(counted.judge)),
        said=_said(standing),
        more=_more(standing),
        enough=not standing.contested,
        standing=standing,
        information=_information(mine),
    )


def of_models(votes: Votes, labels: Sequence[str]) -> Votes:
    """The same votes, with models numbered by their place in `labels`."""
    place = np.array([labels.index(name) for name in votes.models], np.int64)
    return replace(votes, models=tuple(labels), left=place[votes.left], right=place[votes.right])


def _information(votes: Votes) -> NDArray[np.float64]:
    models = len(votes.models)
    compared = votes.where(np.isin(votes.choice, (LEFT, RIGHT, TIE)))
    fit = davidson.fit(davidson.pair_counts(models, compared.left, compared.right, compared.choice))
    covariance = np.linalg.inv(fit.information)[:models, :models]
    return pairs.information(fit.strengths, np.asarray(covariance, np.float64))


# Blind words


def _said(standing: Standing) -> str:
    if len(standing.verdicts) == 1:
        return _of_two(standing.verdicts[0])
    settled = sum(one.outcome in ("better", "no difference") for one in standing.verdicts)
    if standing.best is not None:
        return "The evidence shows which one is best."
    if not standing.contested:
        if not standing.unbeaten:
            return "The evidence shows that none is best: each is worse than another one."
        spent = any(one.outcome == "budget spent" for one in standing.verdicts)
        return "The vote budget is spent." if spent else "The evidence shows which ones no other is better than."
    if not settled:
        return "The evidence does not separate any two models yet."
    return f"The evidence has settled {settled} of {len(standing.verdicts)} pairs of models."


def _of_two(verdict: Verdict) -> str:
    if verdict.outcome == "better":
        return "The evidence separates the two models."
    if verdict.outcome == "no difference":
        return "The evidence shows no difference that matters."
    if verdict.outcome == "budget spent":
        return "The vote budget is spent, and the evidence does not separate the two models."
    if verdict.log_evidence < BEGINS * math.log(verdict.rule.needed):
        return "The evidence does not separate the two models yet."
    return "The evidence begins to separate the two models."


def _more(standing: Standing) -> str | None:
    if not standing.contested:
        return None
    number = standing.more
    if number is None:
        said = "It may take more votes than can be foreseen"
    elif all(one.basis == UNANIMOUS for one in standing.contested):
        said = f"At least {number:,} more {'vote is' if number == 1 else 'votes are'} needed"
    else:
        number = round(number, 2 - len(str(number)))  # two digits that count
        said = f"About {number:,} more {'vote' if number == 1 else 'votes'} may do"
    left = None if standing.rule.budget is None else standing.rule.budget - _spent(standing)
    return said if left is None else f"{said}; the budget has {left:,}"


def _spent(standing: Standing) -> int:
    return sum(one.compared + one.both_bad for one in standing.verdicts)


# The end


def reveal(known: Known, votes: Votes, results: Results, criterion: str) -> dict[str, Any]:
    """Who won, by how much, where they differ, and what each took: as JSON for the page, with the names.

    votes: of the study; those on this criterion count.
    """
    labels = [row.label for row in results.contestants]
    mine = of_models(votes.of_criterion(criterion) if criterion in votes.criteria else votes, labels)
    return {
        "headline": headline(known.standing),
        "scope": scope(known.standing),
        "votes": known.votes,
        "judges": known.judges,
        "models": [
            {**_tally(mine, i), "label": row.label, **_took(results, row.id)}
            for i, row in enumerate(results.contestants)
        ],
        "pairs": [_pair(one) for one in known.standing.verdicts],
        "categories": [
            {
                "name": name,
                "models": [_tally(mine.of_category(name), i) for i in range(len(labels))],
            }
            for name in mine.categories
            if len(mine.of_category(name))
        ],
    }


def headline(standing: Standing) -> str:
    """The answer in a sentence, or that there is none yet."""
    two = len(standing.verdicts) == 1
    leading = standing.unbeaten
    if standing.best is not None:
        return f"{standing.best} is better." if two else f"{standing.best} is the best of {_models(standing)}."
    if not any(one.compared for one in standing.verdicts):
        return "No vote compares them yet."
    if not leading:
        return "None of them is best: each is worse than another one."
    if len(leading) == 1:
        return f"{leading[0]} is the only one that no other is better than."
    outcomes = {one.outcome for one in standing.verdicts if {one.first, one.second} <= set(leading)}
    if outcomes == {"no difference"}:
        return (
            "There is no difference that matters." if two else "The best of them do not differ in a way that matters."
        )
    return "The votes do not separate them yet." if "open" in outcomes else "The evidence does not separate them."


def scope(standing: Standing) -> str:
    """How far the headline holds, as the stopping rule says it, or what is missing still."""
    more = _more(standing)
    if more is not None:
        return f"{more}."
    said = standing.scope
    return "The vote budget is spent." if said is None else f"{said[0].upper()}{said[1:]}."


def _models(standing: Standing) -> str:
    numbers = ("three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    count = len(standing.models)
    return numbers[count - 3] if count <= 12 else str(count)


def _tally(votes: Votes, model: int) -> dict[str, Any]:
    left, right = votes.left == model, votes.right == model
    won = int(((left & (votes.choice == LEFT)) | (right & (votes.choice == RIGHT))).sum())
    lost = int(((left & (votes.choice == RIGHT)) | (right & (votes.choice == LEFT))).sum())
    tied = int(((left | right) & (votes.choice == TIE)).sum())
    compared = won + lost + tied
    return {
        "won": won,
        "tied": tied,
        "lost": lost,
        "both_bad": int(((left | right) & (votes.choice == BOTH_BAD)).sum()),
        "score": (won + tied / 2) / compared if compared else None,
    }


def _took(results: Results, contestant: int) -> dict[str, Any]:
    """Median seconds and mean dollars of a picture; None is unknown."""
    done = [one for one in results.samples if one.contestant_id == contestant and one.state == "done"]
    seconds = [one.seconds for one in done if one.seconds is not None]
    costs = [one.cost for one in done if one.cost is not None]
    return {
        "seconds": statistics.median(seconds) if seconds else None,
        "cost": statistics.fmean(costs) if costs else None,
    }


def _pair(verdict: Verdict) -> dict[str, Any]:
    low, high = verdict.interval
    return {
        "first": verdict.first,
        "second": verdict.second,
        "outcome": verdict.outcome,
        "better": verdict.better,
        "compared": verdict.compared,
        "score": verdict.score,
        "low": low,
        "high": high,
        "reason": verdict.reason,
    }
