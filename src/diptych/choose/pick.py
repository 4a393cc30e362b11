"""Which model: hard limits filter, evidence ranks, and the answer says how strong its evidence is."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from diptych import catalogue
from diptych import store as stores
from diptych.choose import facts
from diptych.choose.facts import Known
from diptych.choose.limits import Held, Limits, hold, limits
from diptych.choose.ranking import Ranking, rank
from diptych.choose.records import Candidate, Excluded, Pick, Separation
from diptych.store.database import Store
from diptych.studies import results

SHOWN = 3
"""Runners-up that the answer speaks of."""
MOST_NAMED = 4
"""Models in a list of those that nothing ranks."""


def pick(
    *,
    for_: str | None = None,
    max_cost: float | None = None,
    max_seconds: float | None = None,
    max_refusals: float | None = None,
    min_size: str | tuple[int, int] | None = None,
    needs: str | Sequence[str] = (),
    licence: str | None = None,
    allow_unknown: bool = False,
    store: Store | str | None = None,
    studies: str | Sequence[str] | None = None,
    today: date | None = None,
) -> Pick:
    """Which model of the catalogue, or of the studies in the store, suits the work, and why.

    The same as the command `diptych pick`, and also at hand as `diptych.pick`.

    for_            a category of prompts, whose votes rank where there are enough of them
    max_cost        dollars a picture at most, as paid here, else by price list
    max_seconds     to a picture at most, the median here, else as claimed
    max_refusals    share of the requests here that may be refused, 0 to 1
    min_size        pixels that it must make: (width, height), or "WIDTHxHEIGHT"
    needs           settings that it must have: ["steps", "guidance"], or "steps,guidance"
    licence         "commercial" or "open", of the weights
    allow_unknown   keep models of which nobody knows whether they keep to a limit; else that excludes them
    store           a store, or the URL of one; None is your own
    studies         names of those that count, or one name; None is all
    today           of which day the answer is: models are shut down; None is this day, in UTC

    Own votes of people rank. Where they compare no two of the models that keep to every limit, one published scale
    does, the one that has most of them. Measured detail is shown and never ranks; fake models take no part. The same
    store, catalogue and day give the same answer.

    Raises InvalidRequest for what cannot be a limit, StudyError for a study that is not there, StoreError.
    """
    known = catalogue.load()
    given = limits(
        known,
        for_=for_,
        max_cost=max_cost,
        max_seconds=max_seconds,
        max_refusals=max_refusals,
        min_size=min_size,
        needs=needs.split(",") if isinstance(needs, str) else needs,
        licence=licence,
        allow_unknown=allow_unknown,
    )
    with contextlib.ExitStack() as opened:
        if store is None or isinstance(store, str):
            store = stores.open(store)
            opened.callback(store.close)
        named = [studies] if isinstance(studies, str) else studies
        ids = None if named is None else [results.find(store, name) for name in named]
        found = facts.candidates(known, facts.measured(store, ids, given.min_size))
        return _pick(store, ids, found, given, today or datetime.now(UTC).date())


def _pick(store: Store, ids: Sequence[int] | None, found: Sequence[Known], given: Limits, today: date) -> Pick:
    kept: dict[str, tuple[Known, Held]] = {}
    excluded: list[Excluded] = []
    for one in found:
        held = hold(one, given)
        gone, life = facts.gone(one, today), facts.life(one, today)
        if gone is not None:
            held.against.insert(0, gone.removesuffix("."))
        elif life is not None:
            held.evidence.append(life)
        if held.against or (held.unknown and not given.allow_unknown):
            excluded.append(Excluded(one.label, tuple(held.against or held.unknown), unknown=not held.against))
        else:
            kept[one.label] = one, held
    ranking = rank(store, ids, given.category, [one for one, _ in kept.values()])
    candidates = {label: _candidate(one, held, ranking) for label, (one, held) in kept.items()}
    ranked = [candidates[label] for label in ranking.places]
    unranked = sorted((one for label, one in candidates.items() if label not in ranking.places), key=lambda c: c.label)
    ranked[: SHOWN + 1] = [_with_detail(store, kept[one.label][0], one) for one in ranked[: SHOWN + 1]]
    chosen, rest = (ranked[0], tuple(ranked[1:])) if ranked else (None, ())
    if chosen is None and len(unranked) == 1:  # nothing has to rank it
        chosen, unranked = _with_detail(store, kept[unranked[0].label][0], unranked[0]), []
    separations = () if chosen is None else tuple(ranking.separation(chosen.label, one.label) for one in rest)
    notes = _notes(ranking, chosen, unranked, given)
    return Pick(
        choice=chosen,
        runners_up=rest,
        unranked=tuple(unranked),
        excluded=tuple(excluded),
        basis=ranking.basis,
        ranked_by=ranking.ranked_by,
        separations=separations,
        notes=notes,
        sentences=(*_answer(chosen, rest, unranked, excluded, ranking, separations), *notes),
        limits=given.to_dict(),
    )


def _candidate(one: Known, held: Held, ranking: Ranking) -> Candidate:
    quality = [ranking.evidence[one.label]] if one.label in ranking.evidence else []
    return Candidate(
        label=one.label,
        model=one.model,
        provider=one.provider,
        quality=ranking.places.get(one.label),
        cost=held.cost,
        seconds=held.seconds,
        evidence=(*quality, *held.evidence),
        unknown=tuple(held.unknown),
    )


def _with_detail(store: Store, one: Known, candidate: Candidate) -> Candidate:
    found = facts.detail(store, one)
    return candidate if found is None else replace(candidate, evidence=(*candidate.evidence, found))


# The answer in words


def _notes(ranking: Ranking, choice: Candidate | None, unranked: Sequence[Candidate], given: Limits) -> tuple[str, ...]:
    notes = [f"{one[0].upper()}{one[1:]}{'' if one.endswith('.') else '.'}" for one in ranking.notes]
    if choice is not None:
        notes += [f"Allowed though unknown: {choice.label}, {one}." for one in choice.unknown]
    if given.category is not None and ranking.basis not in ("own votes", "nothing"):
        notes.append(f"No published scale here is of {given.category} alone: it ranks all prompts together.")
    if choice is not None and unranked:
        what = "were not compared by votes here" if ranking.basis == "own votes" else "are not on that scale"
        number = f"{len(unranked)} more keep{'s' if len(unranked) == 1 else ''} to every limit"
        notes.append(f"{number} and {what}: {_named([one.label for one in unranked])}.")
    return tuple(notes)


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    if more > 0:
        return f"{', '.join(names[:MOST_NAMED])} and {more} more"
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])


def _answer(
    choice: Candidate | None,
    runners_up: Sequence[Candidate],
    unranked: Sequence[Candidate],
    excluded: Sequence[Excluded],
    ranking: Ranking,
    separations: Sequence[Separation],
) -> list[str]:
    if choice is None and not unranked:
        unknown = sum(one.unknown for one in excluded)
        hint = [f"Of {unknown} it is unknown whether they do; --allow-unknown keeps them."] if unknown else []
        return ["No model keeps to every limit.", *hint]
    if choice is None:
        names = _named([one.label for one in unranked])
        return [f"Nothing ranks the models that keep to every limit: {names}.", "`diptych judge` lets votes rank them."]
    if choice.quality is None:
        return [f"{choice.label}: it alone keeps to every limit.", "Nothing here says how good its pictures are."]
    said = [f"{choice.label}, ranked by {ranking.ranked_by}."]
    if not runners_up:
        said.append("It is the only one that this ranks.")
    level = [one for one in separations if not one.separated]
    reasons = {one.reason for one in level}
    if len(level) > 1 and len(reasons) == 1:
        names = _named([one.other for one in level])
        said.append(f"The evidence does not separate {choice.label} and {names}: {level[0].reason}.")
        said += [one.said for one in separations if one.separated][:SHOWN]
    else:
        said += [one.said for one in separations[:SHOWN]]
        more = len([one for one in separations[SHOWN:] if not one.separated])
        said += [f"Nor does it separate {choice.label} and {more} more."] if more else []
    return [*said, *_instead(choice, [one for one in runners_up if one.label in {s.other for s in level}])]


def _instead(choice: Candidate, level: Sequence[Candidate]) -> list[str]:
    """What is not told apart from the choice, and is known to cost or take least."""
    said = []
    cheaper = [one for one in level if one.cost is not None and choice.cost is not None and one.cost < choice.cost]
    faster = [
        one for one in level if one.seconds is not None and choice.seconds is not None and one.seconds < choice.seconds
    ]
    if cheaper:
        one = min(cheaper, key=lambda c: (c.cost or 0.0, c.label))
        said.append(
            f"Of those it is not told apart from, {one.label} costs least: ${one.cost:.4g} against ${choice.cost:.4g}."
        )
    if faster:
        one = min(faster, key=lambda c: (c.seconds or 0.0, c.label))
        said.append(f"{one.label} takes least time: {one.seconds:.3g} s against {choice.seconds:.3g} s.")
    return said
