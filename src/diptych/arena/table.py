"""From a fit to records: every model with its rating, win rate and ranks, every pair with its difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diptych.arena import davidson, graph
from diptych.arena.davidson import Array, Fit, Index
from diptych.arena.intervals import Estimate, Spread, Uncertainty
from diptych.arena.records import Contrast, Rating
from diptych.arena.votes import BOTH_BAD, LEFT, RIGHT, TIE, Votes

ELO = 400 / float(np.log(10))
"""Points of rating to a natural logit."""
MEAN = 1000.0

UNSEEN = "no vote compares it with another model"


class Table:
    """From a fit to the records: all models, then all pairs."""

    def __init__(self, votes: Votes, fit: Fit, uncertainty: Uncertainty, confidence: float) -> None:
        self.votes, self.fit, self.uncertainty, self.confidence = votes, fit, uncertainty, confidence
        self.group = graph.components(fit.counts)
        self.reach = graph.not_below(fit.counts)
        self.groups = [np.flatnonzero(self.group == number) for number in range(self.group.max(initial=-1) + 1)]
        self.wins = fit.counts[..., LEFT] + fit.counts[..., RIGHT].T
        self.ties = fit.counts[..., TIE] + fit.counts[..., TIE].T
        played = self.group >= 0
        self.unbeaten = played & (self.wins.sum(axis=0) + self.ties.sum(axis=0) == 0)
        self.winless = played & (self.wins.sum(axis=1) + self.ties.sum(axis=1) == 0)
        self.centred = fit.strengths.copy()
        self.weights = np.zeros((fit.models, fit.models + 2))
        for members in self.groups:
            middle = graph.core(self.reach, members)
            self.centred[members] -= fit.strengths[middle].mean()
            self.weights[np.ix_(members, middle)] = -1 / len(middle)
            self.weights[members, members] += 1
        self.first, self.second = self._pairs()
        self.apart = self._apart()

    def ratings(self) -> tuple[Rating, ...]:
        spread = self.uncertainty.spread(self.weights)
        half = spread.half_widths(self.confidence)
        rates = self._win_rates()
        both_bad = self._both_bad()
        rows = []
        for members in self.groups:
            order = members[np.argsort(-self.fit.strengths[members], kind="stable")]
            middle = graph.core(self.reach, members)
            beats = self.apart[np.ix_(order, order)]
            for rank, i in enumerate(order):
                above, below, torn = self._relations(int(i), middle)
                rows.append(
                    Rating(
                        model=self.votes.models[i],
                        rating=self._estimate(
                            self.centred[i], half[i], spread.reasons[i], above or torn, below or torn, MEAN, ELO
                        ),
                        win_rate=rates[int(i)],
                        strength=float(self.centred[i]),
                        rank=rank + 1,
                        best_rank=1 + int(beats[:, rank].sum()),
                        worst_rank=len(order) - int(beats[rank].sum()),
                        wins=int(self.wins[i].sum()),
                        losses=int(self.wins[:, i].sum()),
                        ties=int(self.ties[i].sum()),
                        both_bad=int(both_bad[i]),
                        group=int(self.group[i]),
                    )
                )
        for i in np.flatnonzero(self.group < 0):
            none = Estimate(None, reason=UNSEEN)
            rows.append(
                Rating(self.votes.models[i], none, none, None, None, None, None, 0, 0, 0, int(both_bad[i]), None)
            )
        return tuple(rows)

    def contrasts(self) -> tuple[Contrast, ...]:
        difference, half, spread = self.difference, self.spread.half_widths(self.confidence), self.spread
        above = (self.reach & ~self.reach.T)[self.first, self.second]
        below = (self.reach & ~self.reach.T)[self.second, self.first]
        torn = ~(self.reach | self.reach.T)[self.first, self.second]
        rows = zip(
            self.first.tolist(), self.second.tolist(), difference.tolist(), half.tolist(), spread.reasons,
            (above | torn).tolist(), (below | torn).tolist(), strict=True,
        )  # fmt: skip
        return tuple(
            Contrast(
                model=self.votes.models[i],
                other=self.votes.models[j],
                difference=self._estimate(value, width, reason, no_high, no_low, 0.0, ELO),
                apart=bool(self.apart[i, j] or self.apart[j, i]),
                wins=int(self.wins[i, j]),
                losses=int(self.wins[j, i]),
                ties=int(self.ties[i, j]),
            )
            for i, j, value, width, reason, no_high, no_low in rows
        )

    def side(self) -> Estimate:
        if not self.fit.side:
            return Estimate(None, reason="the side was left out of the fit")
        if not self.fit.votes:
            return Estimate(None, reason=UNSEEN)
        weights = np.zeros((1, self.fit.models + 2))
        weights[0, -2] = 1.0
        spread = self.uncertainty.spread(weights)
        left, right, tie = (self.fit.counts[..., choice].sum() for choice in (LEFT, RIGHT, TIE))
        value, half = float(self.fit.parameters[-2]), float(spread.half_widths(self.confidence)[0])
        always_left, always_right = right + tie == 0, left + tie == 0
        if spread.reasons[0] is None and (always_left or always_right):
            low, high = (value - half, None) if always_left else (None, value + half)
            return Estimate(value, low, high, "one side won every vote: there is no limit to what it may be worth")
        return self._estimate(value, half, spread.reasons[0], no_high=False, no_low=False, mean=0.0, scale=1.0)

    def notes(self) -> tuple[str, ...]:
        names = self.votes.models
        notes = []
        if len(self.groups) > 1:
            listed = "; ".join(", ".join(names[i] for i in members) for members in self.groups)
            notes.append(f"no vote connects these groups of models, so their ratings cannot be compared: {listed}")
        for found, what in (
            (self.unbeaten, "lost or tied: how much better"),
            (self.winless, "won or tied: how much worse"),
        ):
            notes.extend(
                f"{names[i]} has never {what} it is than the others has no limit, and its rating is where the prior "
                f"holds it"
                for i in np.flatnonzero(found)
            )
        either = self.unbeaten | self.winless
        split = [members for members in self.groups if not (either[members].any() or self._whole(members))]
        notes.extend(
            f"of {', '.join(names[i] for i in members)}, some never lost to any of the others or tied with them: how "
            f"far apart these are has no limit, and their ratings are where the prior holds them"
            for members in split
        )
        if not self.fit.converged:
            notes.append(f"the fit did not converge in {self.fit.iterations} steps: these ratings are not to be used")
        return tuple(notes)

    def _whole(self, members: Index) -> bool:
        return bool(self.reach[np.ix_(members, members)].all())

    def _pairs(self) -> tuple[Index, Index]:
        """Pairs of one group, the stronger first, ordered by strength."""
        pairs = []
        for members in self.groups:
            order = members[np.argsort(-self.fit.strengths[members], kind="stable")]
            first, second = np.triu_indices(len(order), 1)
            pairs.append((order[first], order[second]))
        pairs.append((np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)))
        return np.concatenate([first for first, _ in pairs]), np.concatenate([second for _, second in pairs])

    def _apart(self) -> NDArray[np.bool_]:
        """(K, K): whether model i is known to be better than model j, all pairs together. Holm (1979), directional."""
        rows = np.arange(len(self.first))
        weights = np.zeros((len(rows), self.fit.models + 2))
        weights[rows, self.first], weights[rows, self.second] = 1.0, -1.0
        self.spread: Spread = self.uncertainty.spread(weights)
        self.difference: Array = self.fit.strengths[self.first] - self.fit.strengths[self.second]
        chances = self.spread.chances(self.difference)
        order = np.argsort(chances, kind="stable")
        # Each pair is two hypotheses, one for each direction, of which the less likely one comes first.
        allowed = (1 - self.confidence) / (2 * len(rows) - np.arange(len(rows)))
        known = order[np.cumprod(chances[order] <= allowed).astype(bool)]
        # No limit below means that the order itself rests on the prior.
        torn = ~self.reach[self.first, self.second]
        apart = np.zeros((self.fit.models, self.fit.models), dtype=bool)
        apart[self.first[known], self.second[known]] = ~torn[known]
        return apart

    def _relations(self, model: int, others: Index) -> tuple[bool, bool, bool]:
        """Whether the model is above, below, or neither, without limit, for any of the others."""
        over, under = self.reach[model, others], self.reach[others, model]
        return bool((over & ~under).any()), bool((under & ~over).any()), bool((~over & ~under).any())

    def _win_rates(self) -> dict[int, Estimate]:
        """Delta method on the logit of the mean probability to win."""
        models = self.fit.models
        even = self.fit.parameters.copy()
        even[-2] = 0.0
        p = davidson.probabilities(even)
        win = p[..., LEFT] + p[..., TIE] / 2
        lead = p[..., LEFT] - p[..., RIGHT]
        by_s = (p[..., LEFT] - lead * win) / 2
        by_tie = -p[..., TIE] * lead / 2
        values, weights = np.full(models, 0.5), np.zeros((models, models + 2))
        for members in self.groups:
            for i in members:
                others = members[members != i]
                values[i] = win[i, others].mean()
                slope = 1 / (values[i] * (1 - values[i]))
                weights[i, others] = -by_s[i, others] / len(others) * slope
                weights[i, i] = by_s[i, others].mean() * slope
                weights[i, -1] = by_tie[i, others].mean() * slope
        spread = self.uncertainty.spread(weights)
        half = spread.half_widths(self.confidence)
        logits = np.log(values / (1 - values))
        rates = {}
        for members in self.groups:
            for i in members:
                above, below, torn = self._relations(int(i), members)
                on_logits = self._estimate(
                    logits[i], half[i], spread.reasons[i], above or torn, below or torn, mean=0.0, scale=1.0
                )
                low, high = (None if x is None else float(1 / (1 + np.exp(-x))) for x in _values(on_logits)[1:])
                rates[int(i)] = Estimate(float(values[i]), low, high, on_logits.reason)
        return rates

    def _estimate(
        self, value: float, half: float, reason: str | None, no_high: bool, no_low: bool, mean: float, scale: float
    ) -> Estimate:
        """An interval around value, on the scale mean + scale * value, as far as there is one."""
        shown = float(mean + scale * value)
        if reason is not None:
            return Estimate(shown, reason=reason)
        low = None if no_low else float(mean + scale * (value - half))
        high = None if no_high else float(mean + scale * (value + half))
        if no_low and no_high:
            return Estimate(shown, reason="the votes between do not say which is better: only the prior does")
        if no_low or no_high:
            return Estimate(
                shown, low, high, f"it never {'lost' if no_high else 'won'} or tied where it would set a limit"
            )
        return Estimate(shown, low, high)

    def _both_bad(self) -> Index:
        chosen = self.votes.choice == BOTH_BAD
        sides = (self.votes.left[chosen], self.votes.right[chosen])
        return np.bincount(np.concatenate(sides), minlength=self.fit.models)


def _values(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    return estimate.value, estimate.low, estimate.high
