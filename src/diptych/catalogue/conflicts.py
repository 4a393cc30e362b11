"""Where sources disagree. Nobody is declared right: the claims stand beside each other with source and date.

Two claims conflict when they are about the same thing (kind, variant, unit) and differ. A later claim of one source
replaces its earlier one: that is news, not a conflict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diptych.catalogue.model import Model
    from diptych.catalogue.records import Fact, Sourced


@dataclass(frozen=True)
class Claim:
    """One side of a conflict: what is said, by the record that says it."""

    value: Any
    record: Sourced

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "source": self.record.source, "date": self.record.date}


@dataclass(frozen=True)
class Conflict:
    """Claims about one thing that cannot all be right. `what` reads as `price, 1K` or `dates, shutdown`."""

    what: str
    claims: tuple[Claim, ...]

    def concerns(self, record: Sourced) -> bool:
        return any(claim.record is record for claim in self.claims)

    def to_dict(self) -> dict[str, Any]:
        return {"what": self.what, "claims": [claim.to_dict() for claim in self.claims]}


def conflicts_of(model: Model) -> tuple[Conflict, ...]:
    """Every conflict of a model, in the order: prices, ratings, dates, caps, latency, licence."""
    by_topic: dict[str, list[Claim]] = {}

    def claim(topic: str, value: Any, record: Sourced, *qualifiers: str | None) -> None:
        key = ", ".join([topic, *(q for q in qualifiers if q)])
        by_topic.setdefault(key, []).append(Claim(value, record))

    for price in model.prices:
        for what, dollars in price.points().items():
            claim("price", dollars, price, what, price.region, price.tier)
    for rating in model.ratings:
        claim("rating", rating.value, rating, rating.scale, rating.variant)
    for group in ("dates", "caps"):
        facts_by_kind = getattr(model, group)
        for kind in type(facts_by_kind).model_fields:
            for fact in getattr(facts_by_kind, kind):
                claim(group, fact.value, fact, kind, fact.variant, fact.unit)
    for latency in model.latency:
        claim("latency", (latency.at_least, latency.at_most), latency)
    for fact in model.licence:
        claim("licence", fact.value, fact, fact.variant)

    found = []
    for topic, claims in by_topic.items():
        current = [c for c in claims if not _superseded(c, claims)]
        agree = _agree_on_latency if topic == "latency" else _agree
        if any(not agree(a.value, b.value) for a in current for b in current):
            found.append(Conflict(topic, tuple(current)))
    return tuple(found)


def current(facts: Sequence[Fact]) -> list[Fact]:
    """Facts about one thing without those that the same source has replaced by a later word."""
    claims = [Claim(fact.value, fact) for fact in facts]
    return [
        fact
        for fact, claim in zip(facts, claims, strict=True)
        if not _superseded(claim, [c for f, c in zip(facts, claims, strict=True) if f.variant == fact.variant])
    ]


def _superseded(claim: Claim, claims: Iterable[Claim]) -> bool:
    """Whether the same source (and seller) has said something later, by dates that can be ordered."""
    ours = claim.record
    for other in (c.record for c in claims):
        same = ours.source == other.source and getattr(ours, "seller", None) == getattr(other, "seller", None)
        if same and ours.date and other.date and other.date > ours.date and not other.date.startswith(ours.date):
            return True
    return False


def _agree(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        # 2026-03 does not contradict 2026-03-18: it is less exact.
        return a == b or (a[:4].isdecimal() and (a.startswith(f"{b}-") or b.startswith(f"{a}-")))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


def _agree_on_latency(a: tuple[float | None, float | None], b: tuple[float | None, float | None]) -> bool:
    """Whether the two ranges of seconds meet."""
    (a_low, a_high), (b_low, b_high) = a, b
    apart = (a_high is not None and b_low is not None and a_high < b_low) or (
        b_high is not None and a_low is not None and b_high < a_low
    )
    return not apart
