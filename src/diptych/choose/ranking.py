"""What ranks models: own votes, and where there are none, one published scale. Never two mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select

from diptych.arena import ratings
from diptych.arena.ratings import Ratings
from diptych.arena.votes import CRITERIA, Votes
from diptych.catalogue import Rating
from diptych.choose.facts import STUDIES, Known
from diptych.choose.records import Basis, Evidence, Quality, Separation
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes as kept
from diptych.studies.leaderboard import PEOPLE, combined, contrast

SCALES: tuple[tuple[Basis, str], ...] = (
    ("artificial-analysis", "Artificial Analysis"),
    ("lm-arena", "LM Arena"),
)
"""Where two cover as many candidates, the first is taken."""


@dataclass(frozen=True)
class Ranking:
    """Which models have a place on the one scale, and what that place is worth."""

    basis: Basis
    ranked_by: str
    places: Mapping[str, Quality] = field(default_factory=dict)
    """By label, best first."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ratings: Ratings | None = None
    """Of own votes."""

    def separation(self, one: str, other: str) -> Separation:
        """Whether the evidence tells `one`, which stands higher, from `other`."""
        if self.ratings is not None:
            return _by_votes(self.ratings, one, other)
        return _by_scale(self.places[one], self.places[other], self.ranked_by.split(",")[0], one, other)


def rank(store: Store, study_ids: Sequence[int] | None, category: str | None, found: Sequence[Known]) -> Ranking:
    """found: those that keep to every limit. Votes of people rank them if they connect two or more of them."""
    votes = _votes(store, study_ids)
    by_votes = None if votes is None else _own(votes, _last_day(store), category, [one.label for one in found])
    return by_votes or _published(found)


# Own votes


def _votes(store: Store, study_ids: Sequence[int] | None) -> Votes | None:
    """Of people, on the first criterion; None without any."""
    ids: Sequence[int | None] = [None] if study_ids is None else study_ids
    loaded = [kept.load(store, study_id, kind=PEOPLE, pictures=False).votes for study_id in ids]
    votes = combined(loaded)
    votes = votes.where(votes.criterion == CRITERIA.index(CRITERIA[0]))
    return votes if len(votes) else None


def _last_day(store: Store) -> str | None:
    """Of the last vote in the store."""
    with store.reading() as connection:
        last = connection.scalar(select(func.max(schema.votes.c.cast)))
    return None if last is None else str(last)[:10]


def _own(votes: Votes, day: str | None, category: str | None, labels: Sequence[str]) -> Ranking | None:
    """None where the votes connect no two of the models."""
    notes = []
    rated = ratings.rate(votes)
    if category is not None:
        here = category in votes.categories
        narrow = ratings.rate(votes.of_category(category)) if here else None
        if narrow is not None and _enough(narrow, labels):
            rated = narrow
        else:
            notes.append(f"{_too_few(category, 0 if narrow is None else narrow.votes)}: votes on all prompts rank.")
    members = _comparable(rated, labels)
    if len(members) < 2:
        return None
    apart = [name for name in labels if name not in members and any(one.model == name for one in rated.models)]
    if apart:
        notes.append(f"No vote connects {', '.join(apart)} with the others.")
    of = f" on {rated.category}" if rated.category and category is not None else ""
    said = f"{rated.votes:,} votes{of} by {rated.judges} {'person' if rated.judges == 1 else 'people'}"
    ranked_by = f"own votes, {said} on {rated.prompts} prompt{'' if rated.prompts == 1 else 's'}, {rated.claim}"
    places, evidence = {}, {}
    for one in rated.models:
        if one.model not in members or one.rating.value is None:
            continue
        places[one.model] = Quality(one.rating.value, one.rating.low, one.rating.high, one.rating.reason)
        evidence[one.model] = Evidence(
            "quality",
            f"rating {one.rating.value:,.0f}{_limits(places[one.model])}, {one.votes:,} votes",
            STUDIES,
            day,
            f"own votes, {rated.claim}" if one.rating.reason is None else f"own votes; {one.rating.reason}",
        )
    notes += rated.notes
    return Ranking("own votes", ranked_by, places, evidence, tuple(notes), rated)


def _too_few(category: str, votes: int) -> str:
    if not votes:
        return f"No vote is on prompts of the category {category}"
    few = f"One vote on {category} is too little" if votes == 1 else f"{votes:,} votes on {category} are too few"
    return f"{few} to rank by alone"


def _comparable(rated: Ratings, labels: Sequence[str]) -> set[str]:
    """Of these models, the most that votes connect with each other."""
    groups = [{name for name in group if name in labels} for group in rated.groups]
    return max(groups, key=lambda group: len(group), default=set())


def _enough(rated: Ratings, labels: Sequence[str]) -> bool:
    """Whether the two best of these models have an interval between them."""
    members = _comparable(rated, labels)
    best = [one.model for one in rated.models if one.model in members][:2]
    found = contrast(rated, *best) if len(best) == 2 else None
    return found is not None and (found.difference.low is not None or found.difference.high is not None)


def _by_votes(rated: Ratings, one: str, other: str) -> Separation:
    found = contrast(rated, one, other)
    if found is None:
        return _not(one, other, "no vote connects them")
    d = found.difference
    met = f"{found.wins} to {found.losses}, {found.ties} tied, where they met"
    points = f"{d.value or 0:,.0f} points{_limits(Quality(d.value or 0.0, d.low, d.high))}"
    excludes_zero = d.low is not None and d.low > 0
    if excludes_zero and found.apart:
        return Separation(one, other, True, f"{one} is rated above {other} by {points}; {met}.")
    if d.low is None and d.high is None:
        return _not(one, other, d.reason or "there is no interval", met)
    if excludes_zero:
        return _not(one, other, "this pair alone would, all pairs looked at together do not", f"{points}; {met}")
    return _not(one, other, f"the difference is {points}", met)


def _not(one: str, other: str, reason: str, beside: str = "") -> Separation:
    said = f"The evidence does not separate {one} and {other}: {reason}{f' ({beside})' if beside else ''}."
    return Separation(one, other, False, said, reason)


# Published scales


def _published(found: Sequence[Known]) -> Ranking:
    """The scale that has the most of them."""
    by_scale = {scale: _of_scale(scale, found) for scale, _ in SCALES}
    scale, title = max(SCALES, key=lambda one: len(by_scale[one[0]]))
    on_it = by_scale[scale]
    if not on_it:
        return Ranking("nothing", "nothing: there are no own votes, and no published scale has any of them")
    order = sorted(on_it, key=lambda label: (-on_it[label].value, label))
    dates = sorted({rating.date for rating in on_it.values() if rating.date})
    read = f"as of {dates[0]}" if len(dates) == 1 else f"read {dates[0]} to {dates[-1]}" if dates else "undated"
    others = [f"{name} has {len(by_scale[other])}" for other, name in SCALES if other != scale]
    return Ranking(
        scale,
        f"{title}, {read}, as there are no own votes that compare them; it has {len(on_it)} of {len(found)} "
        f"({', '.join(others)}), and is asked of other prompts and judges than yours",
        {label: _place(on_it[label]) for label in order},
        {
            label: Evidence(
                "quality",
                f"{title} {on_it[label].value:,.0f}{f' +- {on_it[label].interval:g}' if on_it[label].interval else ''}"
                f"{f' ({on_it[label].variant})' if on_it[label].variant else ''}",
                on_it[label].source,
                on_it[label].date,
                "published, on other prompts and judges than yours"
                + ("" if on_it[label].interval else "; without an interval"),
            )
            for label in order
        },
    )


def _of_scale(scale: Basis, found: Sequence[Known]) -> dict[str, Rating]:
    """By label. A contestant with settings of its own is another model than the one that was rated."""
    rated = {}
    for one in found:
        if one.entry is None or (one.measured is not None and one.measured.values):
            continue
        mine = [rating for rating in one.entry.ratings if rating.scale == scale]
        if mine:  # the catalogue lists the best source first
            rated[one.label] = mine[0]
    return rated


def _place(rating: Rating) -> Quality:
    half = rating.interval
    if half is None:
        return Quality(rating.value, reason="the scale states no interval")
    return Quality(rating.value, rating.value - half, rating.value + half)


def _by_scale(one: Quality, other: Quality, title: str, name: str, other_name: str) -> Separation:
    """Two published intervals: their difference, as if they were independent."""
    points = f"{one.value - other.value:,.0f} points apart"
    if one.low is None or other.low is None:
        return _not(name, other_name, f"{title} states no interval for one of them, or both", points)
    half = math.hypot(one.value - one.low, other.value - other.low)
    if one.value - other.value > half:
        said = f"{title} has {name} above {other_name}: {points}, +- {half:,.0f}."
        return Separation(name, other_name, True, said)
    return _not(name, other_name, f"{points}, +- {half:,.0f}")


def _limits(quality: Quality) -> str:
    if quality.low is not None and quality.high is not None:
        return f" ({quality.low:,.0f} to {quality.high:,.0f})"
    if quality.low is not None:
        return f" (from {quality.low:,.0f})"
    return f" (to {quality.high:,.0f})" if quality.high is not None else " (no interval)"
