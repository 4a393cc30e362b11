"""What a model must keep to. A limit on something unknown is not kept, unless a person says that unknown will do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diptych.catalogue import Catalogue
from diptych.catalogue.model_settings import OWN_NAMES
from diptych.choose import facts
from diptych.choose.facts import Known, Size
from diptych.choose.records import Evidence
from diptych.errors import InvalidRequest, near
from diptych.images import parse_size

LICENCES = ("commercial", "open")
"""commercial: the licence of the weights allows it. open: weights under a free licence."""
FREE = re.compile(r"apache|\bmit\b|bsd|cc0|cc-by-4|unlicense", re.IGNORECASE)
NOT_COMMERCIAL = re.compile(r"non-?\s?commercial|\bnc\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """As a person gave them; None is no limit."""

    category: str | None = None
    """Not a limit: whose votes rank."""
    max_cost: float | None = None
    """Dollars a picture."""
    max_seconds: float | None = None
    max_refusals: float | None = None
    """Share of requests, 0 to 1."""
    min_size: Size | None = None
    """Width and height in pixels."""
    needs: tuple[str, ...] = ()
    """Settings that it must have."""
    licence: str | None = None
    """One of LICENCES."""
    allow_unknown: bool = False

    def to_dict(self) -> dict[str, Any]:
        """What was given, fit for JSON."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in given.items() if value not in (None, (), False)}


@dataclass
class Held:
    """A model held against the limits."""

    cost: float | None = None
    seconds: float | None = None
    against: list[str] = dataclasses.field(default_factory=list)
    """Limits that it does not keep to, as sentences without a full stop."""
    unknown: list[str] = dataclasses.field(default_factory=list)
    """Limits of which nobody knows."""
    evidence: list[Evidence] = dataclasses.field(default_factory=list)


def limits(
    known: Catalogue,
    *,
    for_: str | None,
    max_cost: float | None,
    max_seconds: float | None,
    max_refusals: float | None,
    min_size: str | Size | None,
    needs: Sequence[str],
    licence: str | None,
    allow_unknown: bool,
) -> Limits:
    """Checked. Raises InvalidRequest for what cannot be a limit."""
    for name, value in (("max_cost", max_cost), ("max_seconds", max_seconds)):
        if value is not None and not 0 <= value < float("inf"):
            raise InvalidRequest(f"{name} is {value!r}; it is a number of at least 0.")
    if max_refusals is not None and not 0 <= max_refusals <= 1:
        raise InvalidRequest(f"max_refusals is {max_refusals!r}; it is a share from 0 to 1.")
    if licence is not None and licence not in LICENCES:
        raise InvalidRequest(f"licence is {licence!r}; it is {' or '.join(LICENCES)}.")
    size = parse_size(min_size) if isinstance(min_size, str) else min_size
    if size is not None and not (len(size) == 2 and all(isinstance(side, int) and side >= 1 for side in size)):
        raise InvalidRequest(f"min_size is {min_size!r}; it is (width, height) in pixels, or text as in 1024x768.")
    wanted = tuple(dict.fromkeys(name.strip() for name in needs if name.strip()))
    names = {*OWN_NAMES, *(name for model in known.models if model.settings for name in model.settings.names())}
    for name in wanted:
        if name not in names:
            hint = f" Did you mean {' or '.join(near(name, names))}?" if near(name, names) else ""
            raise InvalidRequest(f"No model has a setting {name!r}.{hint}")
    return Limits(
        category=for_,
        max_cost=max_cost,
        max_seconds=max_seconds,
        max_refusals=max_refusals,
        min_size=None if size is None else (int(size[0]), int(size[1])),
        needs=wanted,
        licence=licence,
        allow_unknown=allow_unknown,
    )


def hold(one: Known, given: Limits) -> Held:
    """Against every limit; what is known is evidence, whether it is limited or not."""
    held = Held()
    _price(one, given, held)
    _seconds(one, given, held)
    _refusals(one, given, held)
    if given.min_size is not None:
        _size(one, given.min_size, held)
    if given.needs:
        _needs(one, given.needs, held)
    if given.licence is not None:
        _licence(one, given.licence, held)
    return held


def _price(one: Known, given: Limits, held: Held) -> None:
    found = facts.price(one, given.min_size)
    if found is not None:
        held.cost, evidence = found
        held.evidence.append(evidence)
        if given.max_cost is not None and held.cost > given.max_cost:
            held.against.append(f"{evidence.value} ({evidence.strength}), more than ${given.max_cost:g}")
    elif given.max_cost is not None:
        why = "what a picture costs is unknown"
        if one.provider == "local":
            why += ": it runs here, and its seconds or this machine's dollars_per_hour are not known"
        held.unknown.append(why)


def _seconds(one: Known, given: Limits, held: Held) -> None:
    found = facts.seconds(one)
    if found is not None:
        held.seconds, evidence = found
        held.evidence.append(evidence)
        if given.max_seconds is not None and held.seconds > given.max_seconds:
            held.against.append(f"{evidence.value} ({evidence.strength}), more than {given.max_seconds:g} s")
    elif given.max_seconds is not None:
        m = one.measured
        smaller = m is not None and m.smaller > 0
        held.unknown.append(
            "how long a picture of that size takes is unknown: only smaller ones were made here"
            if smaller
            else "how long a picture takes is unknown: `diptych latency` or `diptych pilot` measures it"
        )


def _refusals(one: Known, given: Limits, held: Held) -> None:
    found = facts.refusals(one)
    if found is not None:
        share, evidence = found
        held.evidence.append(evidence)
        if given.max_refusals is not None and share > given.max_refusals:
            held.against.append(f"refused {evidence.value}, more than {given.max_refusals:.0%}")
    elif given.max_refusals is not None:
        held.unknown.append("how often it refuses is unknown: nothing was asked of it here")


def _size(one: Known, size: Size, held: Held) -> None:
    found = facts.makes(one, size)
    if found is None:
        held.unknown.append(f"whether it makes {size[0]}x{size[1]} is unknown")
        return
    able, evidence = found
    held.evidence.append(evidence)
    if not able:
        held.against.append(f"{evidence.value}, {evidence.strength}")


def _needs(one: Known, needs: Sequence[str], held: Held) -> None:
    settings = one.entry.settings if one.entry is not None else None
    if settings is None:
        held.unknown.append("which settings it has is unknown")
        return
    lacks = [name for name in needs if name not in settings.names()]
    if lacks:
        held.against.append(f"it has no setting {' and no setting '.join(lacks)}")
    else:
        source = settings.source or "the model's own file"
        held.evidence.append(Evidence("settings", ", ".join(needs), source, settings.date, "it has them"))


def _licence(one: Known, wanted: str, held: Held) -> None:
    """By the licence of the weights of what runs here; what others serve is bound by terms that nobody here reads."""
    here = one.entry is not None and one.entry.provider == "local"
    of_weights = [
        fact
        for fact in (one.entry.licence if one.entry is not None and here else ())
        if fact.variant is None or "weights" in fact.variant
    ]
    if not of_weights:
        terms = [str(fact.value) for fact in (one.maker.licence if one.maker is not None else ())]
        where = f": its terms decide, {terms[0]}" if terms and not here else ""
        held.unknown.append(f"whether its licence is {wanted} is unknown{where}")
        return
    for fact in of_weights:
        said = f"{fact.value}{f' ({fact.note})' if fact.note else ''}"
        if NOT_COMMERCIAL.search(said):
            held.against.append(f"its weights are under {said}")
            return
    free = next((fact for fact in of_weights if FREE.search(str(fact.value))), None)
    if free is None:
        held.unknown.append(f"whether its licence is {wanted} is unknown: {of_weights[0].value}")
        return
    held.evidence.append(Evidence("licence", str(free.value), free.source, free.date, "of the weights"))
