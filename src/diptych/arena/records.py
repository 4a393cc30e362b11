"""What a rating says, with everything that made it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.arena.intervals import Estimate, Scope

VERSION = 2
"""Changes whenever the same votes would give other numbers."""


@dataclass(frozen=True)
class Rating:
    """What the votes say of one model."""

    model: str
    rating: Estimate
    """On the scale of Elo. Without a vote that compares the model there is none."""
    win_rate: Estimate
    """Against the field, 0 to 1: the mean over the other models of its group."""
    strength: float | None
    """In natural logits, around zero over the group: what the rating is made of."""
    rank: int | None
    """By rating within its group, best first."""
    best_rank: int | None
    """With `worst_rank`, simultaneously for all models at the stated confidence."""
    worst_rank: int | None
    wins: int
    losses: int
    ties: int
    both_bad: int
    """Votes that called this model's picture and the other one both bad; not among `votes`."""
    group: int | None
    """Models of one group were compared with each other, directly or through others; those of two never were."""

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties

    @property
    def both_bad_rate(self) -> float | None:
        """Share of all votes on the model that called both bad."""
        seen = self.votes + self.both_bad
        return self.both_bad / seen if seen else None


@dataclass(frozen=True)
class Contrast:
    """Two models side by side."""

    model: str
    other: str
    difference: Estimate
    """Rating of `model` less that of `other`, for this pair alone."""
    apart: bool
    """Whether their order is known when all pairs are looked at together: what ranks are made of."""
    wins: int
    """Of `model` over `other`, directly."""
    losses: int
    ties: int


@dataclass(frozen=True)
class Ratings:
    """Ratings with all that made them."""

    models: tuple[Rating, ...]
    """Group by group, best first."""
    contrasts: tuple[Contrast, ...]
    """Each pair of models of one group once, the higher rated one as `model`."""
    side: Estimate
    """How much the left place helps, in natural logits: among decided votes on equal models it wins with probability
    1 / (1 + exp(-side)). Near 0 where judges look at both."""
    tie: float
    """Two equal models tie with probability exp(tie) / (2 + exp(tie))."""
    claim: str
    """Of what and for whom the intervals hold: words to print beside them."""
    reason: str | None
    """Why there is no interval at all; None where there are some."""
    notes: tuple[str, ...]
    """What must be said beside the numbers: models that were never compared, or that never lost."""
    groups: tuple[tuple[str, ...], ...]
    """Models that can be compared; more than one group means that there are several leaderboards."""
    unbeaten: tuple[str, ...]
    """Models that neither lost nor tied: the votes set no limit to how good they are."""
    winless: tuple[str, ...]
    scope: Scope
    confidence: float
    prior_sd: float
    fitted_side: bool
    drawn: bool
    """Whether trials were drawn at random."""
    criterion: str | None
    """None without a vote."""
    category: str | None
    """That of all votes, None where there are several or none."""
    votes: int
    """Left, right or tie: those that were rated."""
    both_bad: int
    skipped: int
    prompts: int
    """With a vote that was rated, as are `judges`."""
    judges: int
    iterations: int
    converged: bool
    log_likelihood: float
    version: int = VERSION
    numpy: str = np.__version__

    def contrast(self, model: str, other: str) -> Contrast:
        """The contrast of two models, seen from the first. Raises KeyError where there is none."""
        for found in self.contrasts:
            if (found.model, found.other) == (model, other):
                return found
            if (found.model, found.other) == (other, model):
                return Contrast(
                    model, other, found.difference.negated(), found.apart, found.losses, found.wins, found.ties
                )
        raise KeyError((model, other))
