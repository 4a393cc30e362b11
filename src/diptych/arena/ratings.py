"""Ratings computed from votes: strengths on the scale of Elo, intervals, ranks, and what cannot be known.

    rate            one set of votes, one scope
    by_scope        the same votes for each scope: how wide a claim do they bear
    by_criterion    overall, detail, follows the prompt
    by_category     portraits, text, ...

Left, right and tie are rated (see `davidson`). *Both bad* says nothing of which is better: it is counted for both
models and reported as a rate. *Skip* is no vote. What the intervals mean: see `intervals`. The other thing that is
called Elo, which depends on the order of votes, is in `elo`.

The scale: 400 points are odds of 10 to 1, so that a difference d among decided votes wins with probability
1 / (1 + 10^(-d / 400)). The mean of the models that can be compared is 1000. The win rate against the field is the mean
probability to win against each other model, ties counted half, sides even.

Ranks: every pair of models is tested, all at once, by Holm's method (1979) over both directions: the chance that any
pair is put in the wrong order is at most 1 - confidence. A model's range of ranks leaves room for all those of which it
is not known who is better.
"""

from __future__ import annotations

import math

from diptych.arena import claims, davidson
from diptych.arena.davidson import PRIOR_SD, Fit
from diptych.arena.intervals import CONFIDENCE, SCOPES, Estimate, Scope, Uncertainty
from diptych.arena.records import VERSION, Contrast, Rating, Ratings
from diptych.arena.table import ELO, MEAN, Table
from diptych.arena.votes import BOTH_BAD, SKIP, TIE, Votes, check, one_criterion, present
from diptych.errors import InvalidRequest

__all__ = [
    "CONFIDENCE",
    "ELO",
    "MEAN",
    "PRIOR_SD",
    "SCOPES",
    "VERSION",
    "Contrast",
    "Estimate",
    "Fit",
    "Rating",
    "Ratings",
    "Scope",
    "by_category",
    "by_criterion",
    "by_scope",
    "fit",
    "rate",
]


def fit(votes: Votes, *, prior_sd: float = PRIOR_SD, side: bool = True) -> Fit:
    """The Davidson model alone: strengths and their covariance, for whoever chooses the next pair.

    votes: about one criterion. side: False where it is not known which picture was on which side, or always the same.
    Raises InvalidRequest for votes that are malformed or about several criteria.
    """
    check(votes)
    one_criterion(votes)
    if not 0 < prior_sd < math.inf:
        raise InvalidRequest(f"The standard deviation of the prior is {prior_sd!r}; it must be above zero, and finite.")
    rated = votes.choice <= TIE
    counts = davidson.pair_counts(len(votes.models), votes.left[rated], votes.right[rated], votes.choice[rated])
    return davidson.fit(counts, prior_sd, side=side)


def rate(
    votes: Votes,
    scope: Scope = "these",
    *,
    confidence: float = CONFIDENCE,
    prior_sd: float = PRIOR_SD,
    side: bool = True,
) -> Ratings:
    """Ratings from votes about one criterion, in any order.

    scope: of whom the intervals speak; see `intervals`. side: as for `fit`.
    Raises InvalidRequest for votes that are malformed or about several criteria, an unknown scope, a confidence that is
    not between 0 and 1, or a prior without width. A million votes on fifty models take a few tenths of a second.
    """
    if not 0 < confidence < 1:
        raise InvalidRequest(f"The confidence is {confidence!r}; it must be between 0 and 1, as in 0.95.")
    fitted = fit(votes, prior_sd=prior_sd, side=side)
    rated = votes.choice <= TIE
    columns = (votes.left, votes.right, votes.choice, votes.prompt, votes.judge)
    uncertainty = Uncertainty.of(fitted, scope, *(column if rated.all() else column[rated] for column in columns))
    table = Table(votes, fitted, uncertainty, confidence)
    categories = present(votes.category)
    return Ratings(
        models=table.ratings(),
        contrasts=table.contrasts(),
        side=table.side(),
        tie=float(fitted.parameters[-1]),
        claim=claims.scope(
            uncertainty.prompts,
            uncertainty.judges,
            beyond_prompts=uncertainty.by_prompt is not None,
            beyond_judges=uncertainty.by_judge is not None,
            drawn=votes.drawn,
        ),
        reason=uncertainty.reason,
        notes=table.notes(),
        groups=tuple(tuple(votes.models[i] for i in members) for members in table.groups),
        unbeaten=tuple(votes.models[i] for i in table.unbeaten),
        winless=tuple(votes.models[i] for i in table.winless),
        scope=scope,
        confidence=confidence,
        prior_sd=prior_sd,
        fitted_side=side,
        drawn=votes.drawn,
        criterion=one_criterion(votes),
        category=votes.categories[categories[0]] if len(categories) == 1 and categories[0] >= 0 else None,
        votes=int(fitted.votes),
        both_bad=int((votes.choice == BOTH_BAD).sum()),
        skipped=int((votes.choice == SKIP).sum()),
        prompts=uncertainty.prompts,
        judges=uncertainty.judges,
        iterations=fitted.iterations,
        converged=fitted.converged,
        log_likelihood=fitted.log_likelihood,
    )


def by_scope(votes: Votes, *, confidence: float = CONFIDENCE, prior_sd: float = PRIOR_SD) -> dict[Scope, Ratings]:
    """The same votes once for each scope. As `rate`, which see."""
    return {scope: rate(votes, scope, confidence=confidence, prior_sd=prior_sd) for scope in SCOPES}


def by_criterion(votes: Votes, scope: Scope = "these", *, confidence: float = CONFIDENCE) -> dict[str, Ratings]:
    """Ratings for each criterion that was voted on, by name. Intervals hold one by one, not all at once."""
    check(votes)
    names = [votes.criteria[i] for i in present(votes.criterion)]
    return {name: rate(votes.of_criterion(name), scope, confidence=confidence) for name in names}


def by_category(votes: Votes, scope: Scope = "these", *, confidence: float = CONFIDENCE) -> dict[str, Ratings]:
    """Ratings for each category of prompts that was voted on, by name, from votes about one criterion."""
    check(votes)
    names = [votes.categories[i] for i in present(votes.category) if i >= 0]
    return {name: rate(votes.of_category(name), scope, confidence=confidence) for name in names}
