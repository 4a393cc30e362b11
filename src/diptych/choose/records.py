"""What a pick says: a choice, what comes after it, what was left out, and every piece of evidence with its strength."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diptych.arena.pareto import Point

Basis = Literal["own votes", "artificial-analysis", "lm-arena", "nothing"]


@dataclass(frozen=True)
class Evidence:
    """One thing that is known."""

    what: str
    """quality, price, seconds, refusals, size, settings, licence, detail."""
    value: str
    """In words, with its unit."""
    source: str
    date: str | None
    """Of the source, or of the last measurement; None where it is undated."""
    strength: str
    """How far it can be trusted, in words."""


@dataclass(frozen=True)
class Quality:
    """Where a model stands on the one scale that ranks. low, high: None where there is no such limit."""

    value: float
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    """Why a limit is missing."""


@dataclass(frozen=True)
class Candidate:
    """A model that keeps to every limit."""

    label: str
    """Its name, with the settings that it was asked with in studies."""
    model: str
    provider: str
    quality: Quality | None
    """None: it has no place on the scale that ranks."""
    cost: float | None
    """Dollars a picture; None is unknown."""
    seconds: float | None
    """To a picture; None is unknown."""
    evidence: tuple[Evidence, ...]
    unknown: tuple[str, ...] = ()
    """Limits of which nobody knows whether it keeps to them."""


@dataclass(frozen=True)
class Excluded:
    label: str
    reasons: tuple[str, ...]
    unknown: bool
    """Whether nothing but what is unknown speaks against it."""


@dataclass(frozen=True)
class Separation:
    """Whether the evidence tells the choice from another model."""

    model: str
    other: str
    separated: bool
    said: str
    reason: str | None = None
    """Why it does not, where it does not."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The answer to: which model? With everything that it rests on."""

    choice: Candidate | None
    """None where no model keeps to every limit, or nothing ranks those that do."""
    runners_up: tuple[Candidate, ...]
    """The other ones on the scale that ranks, best first."""
    unranked: tuple[Candidate, ...]
    """Models that keep to every limit and have no place on that scale."""
    excluded: tuple[Excluded, ...]
    basis: Basis
    """What ranks: one thing, never two mixed."""
    ranked_by: str
    """The same in words, with its size, source and date."""
    separations: tuple[Separation, ...]
    """Of the choice from each of the runners-up."""
    notes: tuple[str, ...]
    """What must be said beside it."""
    sentences: tuple[str, ...]
    """The answer, and why; the first is the answer."""
    limits: Mapping[str, Any]
    """As they were given."""

    @property
    def why(self) -> str:
        return " ".join(self.sentences)

    @property
    def ranked(self) -> tuple[Candidate, ...]:
        """Best first, the choice included."""
        return () if self.choice is None else (self.choice, *self.runners_up)

    @property
    def points(self) -> tuple[Point, ...]:
        """Quality, cost and seconds of all that are ranked: what `pareto` takes, and what a plot draws."""
        return tuple(
            Point(one.label, one.quality.value if one.quality else None, one.cost, one.seconds) for one in self.ranked
        )

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON. An unknown number is None."""
        return {
            **dataclasses.asdict(self),
            "why": self.why,
            "limits": dict(self.limits),
            "points": [dataclasses.asdict(point) for point in self.points],
        }

    def __str__(self) -> str:
        return self.why
