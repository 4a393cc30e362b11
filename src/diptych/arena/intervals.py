"""Intervals for differences of strengths, each with the words for whom it holds, or the reason why there is none.

An interval speaks of what endlessly many further votes would give, cast in the proportions of those at hand. Where they
would come from is its scope:

these                   on these prompts, for these judges. Given both, votes are independent, however much prompts and
                        judges differ; the sandwich over single votes is right, and a little wide where prompts and
                        judges were not drawn at random for each vote.
prompts                 on prompts like these, for these judges: these prompts are a random draw, their number counts.
judges                  on these prompts, for judges like these.
prompts and judges      on prompts and for judges like these.

An interval is estimate +- t * error. Several errors are right at once for a scope, and the widest interval is taken: so
a wider claim never has the narrower interval.

error                   t with the degrees of freedom   for
inverse information     votes - parameters              every scope: it is right where a model hardly ever loses and
                                                        the sandwich has nothing left to estimate
sandwich over votes     votes - parameters              every scope
jackknife over prompts  effective prompts - 1           prompts; prompts and judges
jackknife over judges   effective judges - 1            judges; prompts and judges
two-way                 Satterthwaite's                 prompts and judges

There is no interval where clusters are too few, or the prior has too much to say. Both rules look at how many votes
there are on what, and never at how they went: leaving out intervals for what was voted would spoil those that are left.
bench/coverage.py measures what all this comes to; docs/statistics.md has the table.
"""

from __future__ import annotations

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
"""Share of the information that the prior may have, were the models equal: about 14 votes between two models."""
FEWEST_ONE_WAY = 2.5
"""Effective clusters for a claim beyond these prompts, or beyond these judges: three that are about even."""
FEWEST_TWO_WAYS = 5.0
"""Effective clusters of either kind for a claim beyond both."""


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


@dataclass(frozen=True, eq=False)
class Spread:
    """How far some contrasts may be off: a row for each way to measure it, a column for each contrast."""

    errors: Array
    """Standard errors."""
    degrees: Array
    """Degrees of freedom."""
    reasons: tuple[str | None, ...]
    """Why a contrast has no interval; None where it has one."""

    def half_widths(self, confidence: float) -> Array:
        quantile = stdtrit(np.maximum(self.degrees, 1), (1 + confidence) / 2)
        return np.asarray((quantile * self.errors).max(axis=0), dtype=np.float64)

    def chances(self, differences: Array) -> Array:
        """How likely differences of this size or more are if there is none, to one side; 1 without an interval."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self.errors > 0, np.abs(differences) / self.errors, np.inf)
        tails = stdtr(np.maximum(self.degrees, 1), -ratio).max(axis=0)
        return np.where([reason is None for reason in self.reasons], tails, 1.0)


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
        rows = sandwich.Rows.of(fit, left, right, choice)
        both = beyond_prompts and beyond_judges
        return cls(
            fit=fit,
            scope=scope,
            prompts=_distinct(prompt),
            judges=_distinct(judge),
            by_vote=sandwich.by_vote(fit),
            by_prompt=sandwich.by_cluster(fit, rows, prompt) if beyond_prompts else None,
            by_judge=sandwich.by_cluster(fit, rows, judge) if beyond_judges else None,
            by_cell=sandwich.by_cell(fit, rows, prompt, judge) if both else None,
        )

    @property
    def claim(self) -> str:
        """For whom the intervals hold, in words."""
        prompts = "on prompts like these" if self.by_prompt else _these("prompt", self.prompts)
        judges = "for judges like these" if self.by_judge else _these("judge", self.judges)
        return "on prompts and for judges like these" if self.by_prompt and self.by_judge else f"{prompts}, {judges}"

    @property
    def reason(self) -> str | None:
        """Why there is no interval at all; None where there can be some."""
        if not self.fit.converged:
            return f"the fit did not converge in {self.fit.iterations} steps"
        needed = 5 if self.by_cell is not None else 3
        for clusters, what, those in ((self.by_prompt, "prompt", "on"), (self.by_judge, "judge", "of")):
            if clusters is not None and clusters.clusters < needed:
                few = f"{clusters.clusters} {what}{'' if clusters.clusters == 1 else 's'}"
                return f"the votes {those} {few} say too little of other {what}s: at least {needed} are needed"
        return None

    def spread(self, weights: Array) -> Spread:
        """weights: (contrasts, K + 2), of the parameters of the fit."""
        freedom = float(sandwich.degrees(self.fit))
        errors = [_errors(self.fit.covariance, weights), _errors(self.by_vote, weights)]
        degrees = [np.full(len(weights), freedom)] * 2
        reasons = np.full(len(weights), self.reason, dtype=object)
        needed = FEWEST_ONE_WAY if self.by_cell is None else FEWEST_TWO_WAYS
        for clusters, what in ((self.by_prompt, "prompts"), (self.by_judge, "judges")):
            if clusters is not None:
                effective = sandwich.effective(clusters.votes, weights)
                errors.append(_errors(clusters.covariance, weights))
                degrees.append(effective - 1)
                for i in np.flatnonzero((effective < needed) & (reasons == None)):  # noqa: E711 (elementwise)
                    reasons[i] = (
                        f"the votes are spread over {clusters.clusters} {what} so unevenly that they count like "
                        f"{effective[i]:.1f}: at least {needed:g} are needed"
                    )
        if self.by_cell is not None:
            error, freedoms = _two_ways(errors[2:], degrees[2:], _errors(self.by_cell, weights))
            errors.append(error)
            degrees.append(freedoms)
        share = prior_share(self.fit, weights)
        for i in np.flatnonzero((share > MOST_PRIOR) | (freedom < 1)):
            reasons[i] = "too few votes: an interval would speak of the prior as much as of them"
        return Spread(np.stack(errors), np.stack(degrees), tuple(reasons.tolist()))


def prior_share(fit: Fit, weights: Array) -> Array:
    """Share of the prior in what is known of each contrast, were all models equal: a question of how many votes."""
    even = np.zeros_like(fit.parameters)
    even[-1] = fit.parameters[-1]
    information = davidson.information(fit.counts.sum(axis=-1), davidson.probabilities(even), fit.side)
    covariance = np.linalg.inv(information + np.eye(len(even)) / fit.prior_sd**2)
    moved = weights @ covariance
    variance = np.einsum("ck,ck->c", moved, weights)
    return np.asarray(np.einsum("ck,ck->c", moved, moved) / fit.prior_sd**2 / np.where(variance > 0, variance, 1.0))


def _two_ways(errors: list[Array], degrees: list[Array], cells: Array) -> tuple[Array, Array]:
    """Standard errors by prompts and by judges at once, from those of each, and degrees of freedom.

    The difference of variances need not be positive; the larger of the two one-way intervals, which is there as well,
    then is the one that counts. Degrees of freedom: Satterthwaite (1946), for a sum of variances; what is subtracted is
    taken for known, as cells are many.
    """
    by_prompt, by_judge = (error**2 for error in errors)
    variance = np.maximum(by_prompt + by_judge - cells**2, 0.0)
    freedom = np.maximum(np.stack(degrees), 1e-9)
    spread = by_prompt**2 / freedom[0] + by_judge**2 / freedom[1]
    satterthwaite = np.divide(variance**2, spread, out=np.ones_like(variance), where=spread > 0)
    return np.sqrt(variance), np.maximum(satterthwaite, np.minimum(*freedom))


def _errors(covariance: Array, weights: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(np.einsum("ck,ck->c", weights @ covariance, weights), 0.0)))


def _distinct(column: Index) -> int:
    return int((np.bincount(column) > 0).sum()) if len(column) else 0


def _these(what: str, count: int) -> str:
    preposition = "on" if what == "prompt" else "for"
    return f"{preposition} this {what}" if count == 1 else f"{preposition} these {what}s"
