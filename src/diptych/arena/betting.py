"""Evidence about a mean score that stays valid however often it is looked at.

Bet against the claim "the mean is m". A bettor who starts with 1 and stakes b, between -2 and 2, on each score s in
[0, 1] has, after n scores,

    W_n(b) = prod (1 + b (s_t - 1/2))

Fairly priced for a mean of m, each factor is divided by 1 + b (m - 1/2). Spread over all stakes by a distribution F,
that is the evidence against m:

    L_n(m) = integral of W_n(b) / (1 + b (m - 1/2))^n dF(b)

F is Beta(a, a) for theta = (1 + b / 2) / 2. With w wins (score 1), l losses (0) and any number of ties (1/2) this is,
at one half,

    E_n = L_n(1/2) = 2^(w+l) B(a + w, a + l) / B(a, a)

in which ties do not occur: there, leaving them out and counting them half is the same. Away from one half they count.

Why it holds. Let m_t be the mean of score t given all that came before, whatever it depends on: the prompt and judge
whose turn it is, the votes so far. prod (1 + b (s_t - 1/2)) / (1 + b (m_t - 1/2)), spread over F, is a martingale that
begins at 1. With M = (m_1 + ... + m_n) / n, L_n(M) is never more than that, because the product of 1 + b (m_t - 1/2)
is at most (1 + b (M - 1/2))^n. So, by Ville's inequality, the chance that L_n(M) ever reaches 1 / alpha is at most
alpha: the set of all m with L_n(m) < 1 / alpha holds M at all times at once, with probability 1 - alpha. Scores need
neither be independent nor have one mean.

log L_n is convex in m, and at most 0 at the mean of the scores; so that set is an interval around this mean.

Sources: Ville, 1939. Mixtures: Robbins, "Statistical methods related to the law of the iterated logarithm", 1970. Bets
on bounded scores: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686.
The one price (1 + b (m - 1/2))^n is what makes moving means harmless. Without ties the interval differs little from
{m : B(a+w, a+l) / [B(a,a) m^w (1-m)^l] < 1 / alpha}, and both exclude 1/2 at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diptych.errors import InvalidRequest

FARTHEST = 20.0
"""Log odds up to which bets are summed, over a where that is below 1: a share of 4e-9 of all bets lies beyond."""
WIDEST_STEP = 0.25
CLOSE = 1e-9
"""How much more evidence than needed a bound may have, in natural logarithms."""


def log_e_value(wins: float, losses: float, prior: float = 1.0) -> float:
    """log E_n against "wins are as likely as losses"; ties are left out, see above. prior: the a of Beta(a, a)."""
    return (wins + losses) * math.log(2) + _log_beta(prior + wins, prior + losses) - _log_beta(prior, prior)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What scores say about their mean. The order of the scores does not matter, only how often each came.

    Raises InvalidRequest for a score outside [0, 1] or a negative count.
    """

    scores: Sequence[float]
    """The different scores that came, each in [0, 1]."""
    counts: Sequence[float]
    """How often each came. Fractions are allowed, for forecasts."""
    prior: float = 1.0
    """The a of Beta(a, a). 1 is a uniform distribution."""

    def __post_init__(self) -> None:
        if any(not 0 <= score <= 1 for score in self.scores) or any(not count >= 0 for count in self.counts):
            raise InvalidRequest("Scores lie between 0 and 1, and their counts are not negative.")

    @property
    def n(self) -> float:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Of the scores. One half without any."""
        n = self.n
        return sum(s * c for s, c in zip(self.scores, self.counts, strict=True)) / n if n else 0.5

    def log_against(self, mean: float) -> float:
        """log L_n(mean): the evidence against that mean."""
        if mean == 0.5 and set(self.scores) <= {0.0, 0.5, 1.0}:
            wins, losses = (sum(c for s, c in zip(self.scores, self.counts, strict=True) if s == x) for x in (1, 0))
            return log_e_value(wins, losses, self.prior)
        return self._log_against(mean)[0]

    def interval(self, alpha: float) -> tuple[float, float]:
        """The means that are not excluded at `alpha`: {m : L_n(m) < 1 / alpha}. (0, 1) without a score."""
        if not self.n:
            return 0.0, 1.0
        log_needed = -math.log(alpha)
        return self._bound(0.0, log_needed), self._bound(1.0, log_needed)

    def _bound(self, end: float, log_needed: float) -> float:
        """Between the mean of the scores and an end of [0, 1]: the first excluded mean, or that end if none is."""
        distance = 1 / math.sqrt(self.n)
        while True:
            outside = max(self.mean - distance, 0.0) if end == 0 else min(self.mean + distance, 1.0)
            more, slope = self._log_against(outside)
            if more >= log_needed:
                break
            if outside == end:
                return end
            distance *= 2
        # log L_n is convex, so Newton's steps come nearer from outside and never cross.
        while more - log_needed > CLOSE:
            nearer = outside - (more - log_needed) / slope
            if nearer == outside:
                break
            outside = nearer
            more, slope = self._log_against(outside)
        return outside

    def _log_against(self, mean: float) -> tuple[float, float]:
        """log L_n(mean) and its slope."""
        theta, other, log_wealth = self._wealth
        price = theta * mean + other * (1 - mean)
        log_terms = log_wealth - self.n * np.log(2 * price)
        largest = float(log_terms.max())
        terms = np.exp(log_terms - largest)
        total = float(terms.sum())
        return largest + math.log(total), -self.n * float((terms * ((theta - other) / price)).sum()) / total

    @cached_property
    def _wealth(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """theta, 1 - theta, and log W_n with its weight in the integral: the trapezoidal rule over log odds of theta.

        The integrand is smooth and vanishes at both ends, where that rule converges faster than any power of its step;
        the standard deviation of its peak is about 2 / sqrt(n) at least, which is two steps.
        """
        step, farthest = min(WIDEST_STEP, 1 / math.sqrt(max(self.n, 1))), FARTHEST / min(self.prior, 1)
        log_odds = np.arange(-farthest, farthest + step, step)
        theta, other = 1 / (1 + np.exp(-log_odds)), 1 / (1 + np.exp(log_odds))
        log_wealth = self.prior * np.log(theta * other) - _log_beta(self.prior, self.prior) + math.log(step)
        for score, count in zip(self.scores, self.counts, strict=True):
            log_wealth = log_wealth + count * np.log(2 * (theta * score + other * (1 - score)))
        return theta, other, log_wealth


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
