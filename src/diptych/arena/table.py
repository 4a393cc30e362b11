"""From a fit to records: every model with its rating, win rate and ranks, every pair with its difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diptych.arena import davidson, graph
from diptych.arena.davidson import Array, Fit, Index
from diptych.arena.intervals import Estimate, Uncertainty
from diptych.arena.records import Contrast, Rating
from diptych.arena.votes import BOTH_BAD, LEFT, RIGHT, TIE, Votes

ELO = 400 / float(np.log(10))
"""Points of rating to a natural logit."""
MEAN = 1000.0
"""Rating of the average of the models that can be compared."""

UNSEEN = "no vote compares it with another model"
TORN = "the votes do not say which is better, not even by way of other models: only the prior does"
NO_HIGH = "there is no upper limit: it neither lost nor tied where that would set one"
NO_LOW = "there is no lower limit: it neither won nor tied where that would set one"


class Table:
    """All models and all pairs of one fit, at one confidence."""

    def __init__(self, votes: Votes, fit: Fit, uncertainty: Uncertainty, confidence: float) -> None:
        self.votes, self.fit, self.uncertainty, self.confidence = votes, fit, uncertainty, confidence
        self.group = graph.components(fit.counts)
        self.reach = graph.not_below(fit.counts)
        by_strength = np.argsort(-fit.strengths, kind="stable")
        self.groups = [by_strength[self.group[by_strength] == i] for i in range(self.group.max(initial=-1) + 1)]
        """Numbers of the models of each group, best first."""
        self.cores = [graph.core(self.reach, members) for members in self.groups]
        """Those whose mean is 1000: their differences have limits, which no prior sets."""
        self.wins = fit.counts[..., LEFT] + fit.counts[..., RIGHT].T
        self.ties = fit.counts[..., TIE] + fit.counts[..., TIE].T
        pairs = [np.triu_indices(len(members), 1) for members in self.groups]
        none = np.zeros(0, dtype=np.int64)
        self.first = np.concatenate([none, *(m[i] for m, (i, _) in zip(self.groups, pairs, strict=True))])
        """With `second`, all pairs of models of one group, the stronger one first."""
        self.second = np.concatenate([none, *(m[j] for m, (_, j) in zip(self.groups, pairs, strict=True))])
        rows = np.arange(len(self.first))
        weights = np.zeros((len(rows), fit.models + 2))
        weights[rows, self.first], weights[rows, self.second] = 1.0, -1.0
        self.spread = uncertainty.spread(weights)
        self.apart = self._apart()

    @property
    def unbeaten(self) -> Index:
        """Models that neither lost nor tied."""
        return np.flatnonzero((self.group >= 0) & ((self.wins.T + self.ties).sum(axis=1) == 0))

    @property
    def winless(self) -> Index:
        """Models that neither won nor tied."""
        return np.flatnonzero((self.group >= 0) & ((self.wins + self.ties).sum(axis=1) == 0))

    def ratings(self) -> tuple[Rating, ...]:
        weights = np.zeros((self.fit.models, self.fit.models + 2))
        for members, middle in zip(self.groups, self.cores, strict=True):
            weights[np.ix_(members, middle)] = -1 / len(middle)
            weights[members, members] += 1
        strengths = weights @ self.fit.parameters
        spread = self.uncertainty.spread(weights)
        half, rates, both_bad = spread.half_widths(self.confidence), self._win_rates(spread.reasons), self._both_bad()
        rows = []
        for number, (members, middle) in enumerate(zip(self.groups, self.cores, strict=True)):
            better = self.apart[np.ix_(members, members)]
            for place, i in enumerate(members):
                limits = self._limits(i, middle)
                rows.append(
                    Rating(
                        model=self.votes.models[i],
                        rating=_estimate(strengths[i], half[i], spread.reasons[i], limits, MEAN, ELO),
                        win_rate=rates[i],
                        strength=float(strengths[i]),
                        rank=place + 1,
                        best_rank=1 + int(better[:, place].sum()),
                        worst_rank=len(members) - int(better[place].sum()),
                        wins=int(self.wins[i].sum()),
                        losses=int(self.wins[:, i].sum()),
                        ties=int(self.ties[i].sum()),
                        both_bad=int(both_bad[i]),
                        group=number,
                    )
                )
        none = Estimate(None, reason=UNSEEN)
        rows.extend(
            Rating(self.votes.models[i], none, none, None, None, None, None, 0, 0, 0, int(both_bad[i]), None)
            for i in np.flatnonzero(self.group < 0)
        )
        return tuple(rows)

    def contrasts(self) -> tuple[Contrast, ...]:
        names = self.votes.models
        half, reasons = self.spread.half_widths(self.confidence).tolist(), self.spread.reasons
        rows = []
        for k, (i, j) in enumerate(zip(self.first.tolist(), self.second.tolist(), strict=True)):
            limits = bool(self.reach[i, j]), bool(self.reach[j, i])
            difference = float(self.fit.strengths[i] - self.fit.strengths[j])
            rows.append(
                Contrast(
                    model=names[i],
                    other=names[j],
                    difference=_estimate(difference, half[k], reasons[k], limits, 0.0, ELO),
                    apart=bool(self.apart[i, j]),
                    wins=int(self.wins[i, j]),
                    losses=int(self.wins[j, i]),
                    ties=int(self.ties[i, j]),
                )
            )
        return tuple(rows)

    def side(self) -> Estimate:
        if not self.fit.side:
            return Estimate(None, reason="the side was left out of the fit")
        if not self.fit.votes:
            return Estimate(None, reason=self.uncertainty.reason)
        weights = np.zeros((1, self.fit.models + 2))
        weights[0, -2] = 1.0
        spread = self.uncertainty.spread(weights)
        left, right, tie = (self.fit.counts[..., choice].sum() for choice in (LEFT, RIGHT, TIE))
        limits = bool(left + tie > 0), bool(right + tie > 0)
        half = float(spread.half_widths(self.confidence)[0])
        return _estimate(float(self.fit.parameters[-2]), half, spread.reasons[0], limits, 0.0, 1.0)

    def notes(self) -> tuple[str, ...]:
        names = self.votes.models
        notes = []
        if len(self.groups) > 1:
            listed = "; ".join(", ".join(names[i] for i in members) for members in self.groups)
            notes.append(f"no vote connects these groups of models, so their ratings cannot be compared: {listed}")
        for members, middle in zip(self.groups, self.cores, strict=True):
            outside = [i for i in members if not self.reach[np.ix_(middle, middle)].all() or i not in middle]
            for i in outside:
                if i in self.unbeaten:
                    why = "has neither lost nor tied, so the votes set no limit to how good it is"
                elif i in self.winless:
                    why = "has neither won nor tied, so the votes set no limit to how bad it is"
                else:
                    why = (
                        "only ever won or only ever lost against some of the others, so the votes set it no limit there"
                    )
                notes.append(f"{names[i]} {why}: its rating is where the prior holds it")
        if not self.fit.converged:
            steps = self.fit.iterations
            notes.append(f"the fit did not converge within {steps} steps: these ratings are not to be used")
        return tuple(notes)

    def _apart(self) -> NDArray[np.bool_]:
        """(K, K): whether model i is known to be better than model j, all pairs together. Holm (1979), directional."""
        chances = self.spread.chances(self.fit.strengths[self.first] - self.fit.strengths[self.second])
        # Without a lower limit, which of them is the stronger one is the prior's doing.
        chances[~self.reach[self.first, self.second]] = 1.0
        order = np.argsort(chances, kind="stable")
        # Each pair is two hypotheses, one for each direction, of which the less likely one is met first.
        allowed = (1 - self.confidence) / (2 * len(order) - np.arange(len(order)))
        known = order[np.logical_and.accumulate(chances[order] <= allowed)]
        apart = np.zeros((self.fit.models, self.fit.models), dtype=bool)
        apart[self.first[known], self.second[known]] = True
        return apart

    def _limits(self, model: int, others: Index) -> tuple[bool, bool]:
        """Whether a model has a lower, and an upper limit against all of the others."""
        return bool(self.reach[model, others].all()), bool(self.reach[others, model].all())

    def _win_rates(self, reasons: tuple[str | None, ...]) -> dict[int, Estimate]:
        """Intervals by the delta method on the logit of the mean probability to win, where ratings have them."""
        win, by_s, by_tie = _chances_to_win(self.fit.parameters)
        logits, weights = np.zeros(self.fit.models), np.zeros((self.fit.models, self.fit.models + 2))
        for members in self.groups:
            for i in members:
                others = members[members != i]
                share = float(np.clip(win[i, others].mean(), 1e-12, 1 - 1e-12))
                logits[i], slope = np.log(share / (1 - share)), 1 / (share * (1 - share))
                weights[i, others] = -by_s[i, others] / len(others) * slope
                weights[i, i] = by_s[i, others].mean() * slope
                weights[i, -1] = by_tie[i, others].mean() * slope
        half = self.uncertainty.spread(weights).half_widths(self.confidence)
        return {
            i: _estimate(logits[i], half[i], reasons[i], self._limits(i, members), 0.0, 1.0).share()
            for members in self.groups
            for i in members
        }

    def _both_bad(self) -> Index:
        chosen = self.votes.choice == BOTH_BAD
        sides = (self.votes.left[chosen], self.votes.right[chosen])
        return np.bincount(np.concatenate(sides), minlength=self.fit.models)


def _chances_to_win(parameters: Array) -> tuple[Array, Array, Array]:
    """(K, K) each: chance that i beats j, ties half and sides even; its slope along the difference, and along tie."""
    even = parameters.copy()
    even[-2] = 0.0
    p = davidson.probabilities(even)
    lead, win = p[..., LEFT] - p[..., RIGHT], p[..., LEFT] + p[..., TIE] / 2
    return win, (p[..., LEFT] - lead * win) / 2, -p[..., TIE] * lead / 2


def _estimate(
    value: float, half: float, reason: str | None, limits: tuple[bool, bool], mean: float, scale: float
) -> Estimate:
    """value +- half on the scale mean + scale * value. limits: whether the votes set a lower, and an upper one."""
    has_low, has_high = limits
    shown = float(mean + scale * value)
    if reason is not None:
        return Estimate(shown, reason=reason)
    if not (has_low and has_high):
        reason = NO_HIGH if has_low else NO_LOW if has_high else TORN
    low = float(mean + scale * (value - half)) if has_low else None
    high = float(mean + scale * (value + half)) if has_high else None
    return Estimate(shown, low, high, reason)
