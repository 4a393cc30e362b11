"""What is known of each model: what studies here have measured, and what the catalogue says. Unknown is None."""

from __future__ import annotations

import datetime as dt
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from diptych import catalogue
from diptych.catalogue import shapes
from diptych.choose.records import Evidence
from diptych.errors import CatalogueError, InvalidRequest, NotAvailable
from diptych.images import Request, parse_size
from diptych.measure import QUANTITIES, VERSION
from diptych.store import schema
from diptych.store.database import Store

if TYPE_CHECKING:
    from diptych.catalogue import Catalogue, Maker, Model

Size = tuple[int, int]
USUAL = (1024, 1024)
"""Pixels for which a price is asked where neither a person nor the model says which."""
BASES = {
    "stated": "billed",
    "usage": "by tokens that were counted",
    "price": "by a price list",
    "machine": "this machine",
}
MOST_MEASURED = 500
"""Pictures of one model whose detail is summed up: the latest."""
DETAIL = ("tenengrad", "blur", "noise")
"""Sharpness by two measures, with the noise that raises the first and lowers the second."""
STUDIES = "studies here"


@dataclass
class Measured:
    """Samples of one contestant, over all studies that are looked at."""

    label: str
    model: str
    provider: str
    values: dict[str, str]
    facts: dict[str, Any]
    """The catalogue's entry when the last of the studies was planned."""
    asked: int = 0
    refused: int = 0
    pictures: int = 0
    seconds: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    bases: Counter[str] = field(default_factory=Counter)
    hashes: list[str] = field(default_factory=list)
    last: str | None = None
    smaller: int = 0
    """Pictures that are smaller than what is needed: their time and cost say nothing of larger ones."""


@dataclass(frozen=True)
class Known:
    """One candidate with all that is known of it."""

    label: str
    model: str
    provider: str
    entry: Model | None
    """Of the catalogue; None for pictures made elsewhere by a model that nobody has described."""
    maker: Maker | None
    measured: Measured | None


def measured(store: Store, study_ids: Sequence[int] | None, size: Size | None) -> dict[str, Measured]:
    """By label. study_ids: None is all. size: pictures that are smaller count for refusals alone. Never fake models."""
    c, s = schema.contestants, schema.samples
    found: dict[str, Measured] = {}
    by_id: dict[int, Measured] = {}
    contestants = select(c).where(c.c.provider != "fake").order_by(c.c.id)
    samples = select(
        s.c.contestant_id, s.c.state, s.c.seconds, s.c.cost, s.c.cost_basis, s.c.width, s.c.height, s.c.picture,
        s.c.finished,
    ).where(s.c.state != "planned").order_by(s.c.id)  # fmt: skip
    if study_ids is not None:
        contestants = contestants.where(c.c.study_id.in_(study_ids))
        samples = samples.where(s.c.study_id.in_(study_ids))
    with store.reading() as connection:
        for row in connection.execute(contestants):
            one = found.setdefault(row.label, Measured(row.label, row.model, row.provider, {}, {}))
            one.values, one.facts = dict(row.values), dict(row.facts)
            by_id[row.id] = one
        for sample in connection.execute(samples):
            if sample.contestant_id in by_id:
                _count(by_id[sample.contestant_id], sample, size)
    return found


def _count(one: Measured, sample: Any, size: Size | None) -> None:
    if sample.state in ("done", "refused", "failed", "unknown"):
        one.asked += one.provider != "import"
        one.refused += sample.state == "refused"
    if sample.state != "done":
        return
    one.pictures += 1
    one.last = max(filter(None, (one.last, sample.finished)), default=None)
    if size is not None and not (sample.width and sample.height and _covers((sample.width, sample.height), size)):
        one.smaller += 1
        return
    if one.provider == "import":  # nobody here waited for it, or was billed
        return
    if sample.seconds is not None:
        one.seconds.append(sample.seconds)
    if sample.cost is not None:
        one.costs.append(sample.cost)
        one.bases[str(sample.cost_basis)] += 1
    if sample.picture is not None:
        one.hashes.append(sample.picture)


def candidates(known: Catalogue, found: dict[str, Measured]) -> list[Known]:
    """Every model of the catalogue and every contestant of a study, but those that make no real pictures."""
    listed = [
        Known(model.name, model.name, model.provider, model, known.maker_of(model), found.get(model.name))
        for model in known.models
        if model.provider != "fake"
    ]
    names = {one.label for one in listed}
    for one in found.values():
        if one.label not in names:
            entry = _entry(known, one)
            maker = None if entry is None else known.maker_of(entry)
            listed.append(Known(one.label, one.model, one.provider, entry, maker, one))
    return listed


def _entry(known: Catalogue, one: Measured) -> Model | None:
    """As the catalogue has it now, else as it was when the study was planned."""
    try:
        return known.find(one.model)
    except InvalidRequest:
        if not one.facts:
            return None
    try:
        return catalogue.Model.model_validate_json(json.dumps(one.facts))
    except (ValueError, CatalogueError):
        return None


# Price and time


def price(one: Known, size: Size | None) -> tuple[float, Evidence] | None:
    """Dollars a picture: what was paid here, else what a price list says of such a picture."""
    m = one.measured
    if m is not None and m.costs:
        value = statistics.fmean(m.costs)
        bases = ", ".join(BASES.get(basis, basis) for basis in m.bases)
        said = f"mean of {_pictures(len(m.costs))}, {bases}"
        return value, Evidence("price", f"${value:.4g} a picture", STUDIES, _day(m.last), said)
    if one.entry is None or one.provider in ("local", "import"):  # what runs here costs what this machine costs
        return None
    found = [
        (cost.dollars, request, cost)
        for request in _requests(one, size)
        if (cost := one.entry.cost(request)) is not None
    ]
    if not found:
        return None
    value, request, cost = max(found, key=lambda each: each[0])
    at = f" at quality {request.quality}, the dearest" if len(found) > 1 else ""
    of = f" at {request.width}x{request.height}" if request.width else ""
    strength = "a price list, not paid here"
    return value, Evidence("price", f"${value:.4g} a picture{of}{at}", cost.source or "", cost.date, strength)


def _requests(one: Known, size: Size | None) -> list[Request]:
    """What a price is asked for: a picture of that size, else of the model's usual one; at each quality it knows."""
    entry = one.entry
    if entry is None:
        return []
    values = {} if one.measured is None else one.measured.values
    base = _resolved(one, Request(prompt="x"), values)
    if size is not None:
        base = _resolved(one, Request(prompt="x", width=size[0], height=size[1]), values) or _of_class(
            one, size, values
        )
    elif base is not None and base.width is None and base.aspect_ratio is None and base.image_size is None:
        base = _resolved(one, Request(prompt="x", width=USUAL[0], height=USUAL[1]), values) or base
    if base is None:
        return []
    grades = entry.settings.quality if entry.settings is not None else None
    if base.quality is not None or grades is None or not grades.choices:
        return [base]
    asked = [_resolved(one, Request(prompt="x", width=base.width, height=base.height, quality=grade), values)
             for grade in grades.choices]  # fmt: skip
    return [request for request in asked if request is not None]


def _of_class(one: Known, size: Size, values: dict[str, str]) -> Request | None:
    """The smallest class of size that covers it."""
    settings = one.entry.settings if one.entry is not None else None
    classes = [name for name in (settings.classes() if settings else ()) if shapes.SIDES[name] >= max(size)]
    for name in sorted(classes, key=lambda name: shapes.SIDES[name]):
        request = _resolved(one, Request(prompt="x", image_size=name), values) or _resolved(
            one, Request(prompt="x"), values
        )
        if request is not None:
            return request
    return None


def _resolved(one: Known, request: Request, values: dict[str, str]) -> Request | None:
    if one.entry is None:
        return None
    try:
        return one.entry.resolve(catalogue.with_settings(request, values, one.entry))
    except InvalidRequest:
        return None


def seconds(one: Known) -> tuple[float, Evidence] | None:
    """To a picture: the median here, else what somebody claims; of several claims the slowest."""
    m = one.measured
    if m is not None and m.seconds:
        value = statistics.median(m.seconds)
        said = f"median of {_pictures(len(m.seconds))}, measured from here"
        return value, Evidence("seconds", f"{value:.3g} s", STUDIES, _day(m.last), said)
    hosted = one.entry is not None and one.provider != "local"  # what is claimed of a vendor is not of this machine
    claims = [claim for claim in one.entry.latency if claim.at_most is not None] if one.entry and hosted else []
    if not claims:
        return None
    slowest = max(claims, key=lambda claim: claim.at_most or 0.0)
    value = slowest.at_most or 0.0
    strength = "a claim, not measured here"
    if len({claim.at_most for claim in claims}) > 1:
        strength += (
            f"; other claims say {', '.join(f'{claim.at_most:g} s' for claim in claims if claim is not slowest)}"
        )
    return value, Evidence("seconds", f"at most {value:g} s", slowest.source, slowest.date, strength)


def refusals(one: Known) -> tuple[float, Evidence] | None:
    """Share of requests that were refused here."""
    m = one.measured
    if m is None or not m.asked:
        return None
    share = m.refused / m.asked
    return share, Evidence(
        "refusals",
        f"{m.refused:,} of {m.asked:,} ({share:.0%})",
        STUDIES,
        _day(m.last),
        "on the prompts of studies here",
    )


# Size


def makes(one: Known, size: Size) -> tuple[bool, Evidence] | None:
    """Whether it makes pictures of at least that width and height; None is unknown."""
    m = one.measured
    asked = f"{size[0]}x{size[1]}"
    if m is not None and m.pictures > m.smaller:
        return True, Evidence("size", f"at least {asked}", STUDIES, _day(m.last), "made here")
    if one.entry is None:
        return None
    settings = one.entry.settings
    values = {} if m is None else m.values
    if settings is not None:
        source, date = settings.source or "the model's own file", settings.date
        if _resolved(one, Request(prompt="x", width=size[0], height=size[1]), values) is not None:
            if settings.size is not None or settings.classes():
                return True, Evidence("size", asked, source, date, "its settings allow it")
        elif any(shapes.SIDES[name] >= max(size) for name in settings.classes()):
            return True, Evidence("size", f"covers {asked}", source, date, "its classes of size cover it")
        elif settings.size is not None:
            larger = any(_covers(other, size) for other in settings.size.nearest(*size, count=8))
            said = f"{'covers' if larger else 'less than'} {asked}: it makes {settings.size.rule()}"
            return larger, Evidence("size", said, source, date, "by its settings")
        elif settings.classes():
            said = f"less than {asked}: it makes {', '.join(settings.classes())}"
            return False, Evidence("size", said, source, date, "by its settings")
    for fact in one.entry.caps.max_size:
        if isinstance(fact.value, str) and "x" in fact.value:
            covers = _covers(parse_size(fact.value), size)
            return covers, Evidence("size", f"at most {fact.value}", fact.source, fact.date, "as published")
    return None


def _covers(one: Size, other: Size) -> bool:
    return one[0] >= other[0] and one[1] >= other[1]


# Life


def life(one: Known, today: dt.date) -> Evidence | None:
    """That a source says the model is gone, or soon will be, where others do not."""
    if one.entry is None:
        return None
    said = one.entry.retired(today) or one.entry.ending(today)
    if said is None:
        return None
    first = one.entry.dates.shutdown[0]
    return Evidence("shutdown", said.removesuffix("."), first.source, first.date, "as published")


def gone(one: Known, today: dt.date) -> str | None:
    """That every source says the model is gone."""
    try:
        if one.entry is not None:
            one.entry.check_alive(today)
    except NotAvailable:
        return one.entry.retired(today) if one.entry is not None else None
    return None


# Detail


def detail(store: Store, one: Known) -> Evidence | None:
    """Medians of a few measures at the common size; they say how pictures are, not how good."""
    m = one.measured
    if m is None or not m.hashes:
        return None
    t = schema.measurements
    with store.reading() as connection:
        rows = connection.execute(
            select(t.c["values"]).where(t.c.version == VERSION, t.c.picture.in_(m.hashes[-MOST_MEASURED:]))
        )
        values = [row[0]["common"] for row in rows]
    said = []
    for quantity in QUANTITIES:
        numbers = [one_[quantity.name] for one_ in values if one_[quantity.name] is not None]
        if quantity.name in DETAIL and numbers:
            said.append(f"{quantity.name} {statistics.median(numbers):.3g}")
    if not said:
        return None
    strength = f"medians of {_pictures(len(values))}; shown, and never ranks"
    return Evidence("detail", ", ".join(said), STUDIES, _day(m.last), strength)


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"


def _day(time: str | None) -> str | None:
    return None if time is None else time[:10]
