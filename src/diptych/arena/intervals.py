"""Intervals for differences of strengths, or the reason why there is none.

An interval speaks of what endlessly many further votes would give, cast in the proportions of those at hand. Where they
would come from is its scope, which `claims` puts in words:

these                   on these prompts and pictures, for these judges. Given all of them, votes are independent,
                        however much prompts and judges differ; the sandwich over single votes is right, and a little
                        wide where they were not drawn at random for each vote.
prompts                 on prompts like these, for these judges: these prompts are a random draw, their number counts.
judges                  on these prompts and pictures, for judges like these.
prompts and judges      on prompts and for judges like these.

The number of votes is taken for fixed beforehand. Whoever looks after every vote and stops when it suits asks
`stopping`, whose interval knows of that.

An interval is estimate +- t * error. Several errors are right at once for a scope. The largest is taken, with the
degrees of freedom that are its own: so a wider claim never has the narrower interval.

error                   t with the degrees of freedom   for
inverse information     votes - parameters              every scope: it is right where a model hardly ever loses and
                                                        the sandwich has nothing left to estimate
sandwich over votes     votes - parameters              every scope
jackknife over prompts  effective prompts - 1           prompts
jackknife over judges   effective judges - 1            judges
both, and two-way       the fewer of both               prompts and judges
                        (never more than those of votes)

To take the widest interval instead, over all pairs of t and error, would make a few prompts pay for a difference
between them that is not there: ten prompts and ten judges then cover 98.2 % with 150 votes.

There is no interval where clusters are too few, or the prior has too much to say. Both rules look at how many votes
there are on what, and never at how they went: leaving out intervals for what was voted would spoil those that are left.
bench/coverage.py measures what all this comes to; docs/statistics.md has the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from diptych.arena import davidson, sandwich
from diptych.arena.davidson import Array, Fit, Index
from diptych.arena.sandwich import Clustered
from diptych.errors import InvalidRequest

Scope = Literal["these", "prompts", "judges", "prompts and judges"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

CONFIDENCE = 0.95
MOST_PRIOR = 0.05
"""Share of the information that the prior may have, were the models equal. Two models need 11 decided votes."""
FEWEST = 5
"""Prompts for a claim beyond these prompts, judges for one beyond these judges. From three an interval can be computed,
and holds where preferences are normal; but it is some 500 points wide, and covers more than it says."""
FEWEST_EFFECTIVE = 4.0
"""The same, where votes are spread unevenly: as many even ones as they are worth."""


@dataclass(frozen=True)
class Estimate:
    """A number, and between which limits it is at the stated confidence; None is unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    """Why a limit is missing, or both."""

    def negated(self) -> Estimate:
        """Of the same thing seen from the other side."""
        value, high, low = (None if x is None else -x for x in (self.value, self.low, self.high))
        return Estimate(value, low, high, self.reason)

    def share(self) -> Estimate:
        """The same as a share, 0 to 1, of what is given in natural logits."""
        value, low, high = (None if x is None else 1 / (1 + math.exp(-x)) for x in (self.value, self.low, self.high))
        return Estimate(value, low, high, self.reason)


@dataclass(frozen=True, eq=False)
class Spread:
    """How far some contrasts may be off: a row for each way to measure it, a column for each contrast."""

    errors: Array
    """Standard errors."""
    degrees: Array
    """Degrees of freedom."""
    reasons: tuple[str | None, ...]
    """Why a contrast has no interval; None where it has one."""

    @property
    def largest(self) -> tuple[Array, Array]:
        """The largest error of each contrast, and the degrees of freedom that go with it."""
        row, column = self.errors.argmax(axis=0), np.arange(self.errors.shape[1])
        return self.errors[row, column], np.maximum(self.degrees[row, column], 1)

    def half_widths(self, confidence: float) -> Array:
        error, degrees = self.largest
        return np.asarray(stdtrit(degrees, (1 + confidence) / 2) * error, dtype=np.float64)

    def chances(self, differences: Array) -> Array:
        """How likely differences of this size or more are if there is none, to one side; 1 without an interval."""
        error, degrees = self.largest
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(error > 0, np.abs(differences) / error, np.inf)
        return np.where([reason is None for reason in self.reasons], stdtr(degrees, -ratio), 1.0)


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Everything about a fit that intervals of one scope need."""

    fit: Fit
    scope: Scope
    prompts: int
    judges: int
    """With a vote that was rated."""
    by_vote: Array
    by_prompt: Clustered | None
    by_judge: Clustered | None
    by_cell: Array | None

    @classmethod
    def of(
        cls, fit: Fit, scope: Scope, left: Index, right: Index, choice: Index, prompt: Index, judge: Index
    ) -> Uncertainty:
        """Columns of the votes that were fitted; choice is left, right or tie. Raises InvalidRequest for no scope."""
        if scope not in SCOPES:
            raise InvalidRequest(f"There is no scope {scope!r}; there are {', '.join(SCOPES)}.")
        beyond_prompts, beyond_judges = scope in ("prompts", SCOPES[3]), scope in ("judges", SCOPES[3])
        by_prompt = by_judge = by_cell = None
        if beyond_prompts or beyond_judges:
            rows = sandwich.Rows.of(fit, left, right, choice)
            by_prompt = sandwich.by_cluster(fit, rows, prompt) if beyond_prompts else None
            by_judge = sandwich.by_cluster(fit, rows, judge) if beyond_judges else None
            by_cell = sandwich.by_cell(fit, rows, prompt, judge) if beyond_prompts and beyond_judges else None
        prompts, judges = _distinct(prompt), _distinct(judge)
        return cls(fit, scope, prompts, judges, sandwich.by_vote(fit), by_prompt, by_judge, by_cell)

    @property
    def reason(self) -> str | None:
        """Why there is no interval at all; None where there can be some."""
        if not self.fit.votes:
            return "there is no vote to rate"
        if not self.fit.converged:
            return f"the fit did not converge within {self.fit.iterations} steps"
        for clusters, what, those in ((self.by_prompt, "prompt", "on"), (self.by_judge, "judge", "of")):
            if clusters is not None and clusters.clusters < FEWEST:
                few = f"{clusters.clusters} {what}{'' if clusters.clusters == 1 else 's'}"
                return f"the votes {those} {few} say too little of other {what}s: at least {FEWEST} are needed"
        return None

    def spread(self, weights: Array) -> Spread:
        """weights: (contrasts, K + 2), of the parameters of the fit."""
        freedom = float(sandwich.degrees(self.fit))
        errors = [_errors(self.fit.covariance, weights), _errors(self.by_vote, weights)]
        degrees = [np.full(len(weights), freedom)] * 2
        reasons = np.full(len(weights), self.reason, dtype=object)
        for clusters, what in ((self.by_prompt, "prompts"), (self.by_judge, "judges")):
            if clusters is not None:
                effective = sandwich.effective(clusters.votes, weights)
                errors.append(_errors(clusters.covariance, weights))
                degrees.append(np.minimum(effective - 1, freedom))  # or a wider claim could be the narrower one
                for i in np.flatnonzero((effective < FEWEST_EFFECTIVE) & (reasons == None)):  # noqa: E711 (elementwise)
                    reasons[i] = (
                        f"the votes are spread over {clusters.clusters} {what} so unevenly that they count like "
                        f"{effective[i]:.1f}: at least {FEWEST_EFFECTIVE:g} are needed"
                    )
        if self.by_cell is not None:
            by_prompt, by_judge, by_cell = (error**2 for error in (*errors[2:], _errors(self.by_cell, weights)))
            errors.append(np.sqrt(np.maximum(by_prompt + by_judge - by_cell, 0.0)))
            degrees[2:] = [np.minimum(*degrees[2:])] * 3
        share = prior_share(self.fit, weights)
        for i in np.flatnonzero((share > MOST_PRIOR) | (freedom < 1)):
            reasons[i] = "too few decided votes: an interval would speak of the prior as much as of them"
        return Spread(np.stack(errors), np.stack(degrees), tuple(reasons.tolist()))


def prior_share(fit: Fit, weights: Array) -> Array:
    """Share of the prior in what is known of each contrast, were all models equal: a question of how many votes."""
    even = np.zeros_like(fit.parameters)
    even[-1] = fit.parameters[-1]
    information = davidson.information(fit.counts.sum(axis=-1), davidson.probabilities(even), fit.side)
    covariance = np.linalg.inv(davidson.with_prior(information, fit.prior_sd))
    moved = weights @ covariance
    variance = np.einsum("ck,ck->c", moved, weights)
    return np.asarray(np.einsum("ck,ck->c", moved, moved) / fit.prior_sd**2 / np.where(variance > 0, variance, 1.0))


def _errors(covariance: Array, weights: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(np.einsum("ck,ck->c", weights @ covariance, weights), 0.0)))


def _distinct(column: Index) -> int:
    return int((np.bincount(column) > 0).sum()) if len(column) else 0
