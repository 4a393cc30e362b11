"""Claims checked: what is published of each model, beside what this study measured of it.

A claim agrees, differs, or cannot be told from this study; the last is the common case, and says why. Nothing is held
against a claim that it did not say: a price list is not checked by costs that were reckoned from it, a hosted model's
latency not on this machine, a cap not by a study that never went near it, a rating not without votes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from diptych.catalogue import Fact, Latency, Model, Price, Rating
from diptych.catalogue.cost import dollars_of
from diptych.catalogue.shapes import class_of, is_shape
from diptych.errors import InvalidRequest
from diptych.images import Request, parse_size
from diptych.report import words
from diptych.report.evidence import LEVEL, sign_test
from diptych.report.judged import Judged
from diptych.report.summary import Line, done
from diptych.studies.results import Results, SampleRow

Verdict = Literal["agrees", "differs", "open"]
PRICE_TOLERANCE = 0.01
"""By how much the sum of what was billed may be off a published price: sources round to a tenth of a cent."""
SCALES = {"artificial-analysis": "Artificial Analysis", "lm-arena": "LM Arena"}
CAPS = {
    "max_size": "largest size",
    "max_megapixels": "most megapixels",
    "sizes": "sizes",
    "aspect_ratios": "aspect ratios",
    "references": "reference pictures",
    "steps": "steps",
    "multiple": "sides are multiples of",
    "output_tokens": "tokens a picture",
}


@dataclass(frozen=True)
class Claim:
    what: str
    published: str
    source: str
    date: str | None
    note: str | None
    measured: str
    verdict: Verdict


@dataclass(frozen=True)
class Claims:
    """Of one contestant. `unreadable`: its catalogue entry was kept in a form that this version does not know."""

    label: str
    claims: tuple[Claim, ...]
    unreadable: bool = False


def check(results: Results, lines: Sequence[Line], votes: Judged | None = None) -> tuple[Claims, ...]:
    samples: dict[int, list[SampleRow]] = {line.row.id: [] for line in lines}
    for sample in results.samples:
        samples[sample.contestant_id].append(sample)
    models = {line.label: _model(line) for line in lines}
    return tuple(_of_contestant(line, done(samples[line.row.id]), models, votes) for line in lines)


def _model(line: Line) -> Model | None:
    try:
        return Model.model_validate_json(json.dumps(dict(line.row.facts)))
    except ValidationError:
        return None


def _of_contestant(
    line: Line, pictures: Sequence[SampleRow], models: Mapping[str, Model | None], votes: Judged | None
) -> Claims:
    if not line.row.facts:  # pictures made elsewhere, by a model that nobody has described
        return Claims(line.label, ())
    model = models[line.label]
    if model is None:
        return Claims(line.label, (), unreadable=True)
    claims = [
        *(_price(price, model, line, pictures) for price in model.prices),
        *(_latency(latency, model, line, pictures) for latency in model.latency),
        *_caps(model, pictures),
        *(_rating(rating, line.label, models, votes) for rating in model.ratings),
    ]
    return Claims(line.label, tuple(claims))


# Prices


def _price(price: Price, model: Model, line: Line, pictures: Sequence[SampleRow]) -> Claim:
    verdict, measured = _against_bill(price, model, line, pictures)
    seller = price.seller or model.seller
    return Claim(
        what=f"price, from {words.provider(seller)}" if seller else "price",
        published=price_text(price),
        source=price.source,
        date=price.date,
        note=price.note,
        measured=measured,
        verdict=verdict,
    )


def _against_bill(price: Price, model: Model, line: Line, pictures: Sequence[SampleRow]) -> tuple[Verdict, str]:
    provider = line.row.provider
    if provider in ("local", "fake", "import"):
        where = {"local": "it ran on this machine", "fake": "nobody bills a rehearsal", "import": "made elsewhere"}
        return "open", f"no bill: {where[provider]}"
    if price.seller not in (None, provider) or (price.seller is None and model.seller != provider):
        return "open", f"asked of {words.provider(provider)}, who is another seller"
    if not pictures:
        return "open", "no picture came back"
    billed = [(s, s.cost) for s in pictures if s.cost is not None and s.cost_basis in ("stated", "usage")]
    if not billed:
        reckoned = any(s.cost_basis == "price" for s in pictures)
        return "open", "costs were reckoned from a price list: no bill to hold it against" if reckoned else "no bill"
    expected = [(cost, _expected(price, sample)) for sample, cost in billed]
    comparable = [(cost, dollars) for cost, dollars in expected if dollars is not None]
    if not comparable:
        return "open", "it does not speak of such pictures as were made here"
    n = len(comparable)
    paid, claimed = sum(cost for cost, _ in comparable) / n, sum(dollars for _, dollars in comparable) / n
    said = f"{words.dollars(paid)} billed, {words.dollars(claimed)} by this price (mean of {n:,})"
    return ("agrees" if abs(paid - claimed) <= PRICE_TOLERANCE * max(claimed, paid) else "differs"), said


def _expected(price: Price, sample: SampleRow) -> float | None:
    """Dollars for this very picture by this price; None where the price does not say."""
    if sample.width is None or sample.height is None or "references" in sample.request:
        return None
    try:
        request = Request.from_dict({k: v for k, v in sample.request.items() if k != "follows"})
        return dollars_of(price, request, (sample.width, sample.height))
    except InvalidRequest:
        return None


def price_text(price: Price) -> str:
    if price.per_image is not None:
        said = f"{words.dollars(price.per_image)} a picture"
    elif price.per_size is not None:
        said = ", ".join(f"{words.dollars(dollars)} at {size}" for size, dollars in price.per_size.items())
    elif price.per_quality is not None:
        said = ", ".join(f"{words.dollars(dollars)} {quality}" for quality, dollars in price.per_quality.items())
        said += f" at {price.at}" if price.at else ""
    elif price.first_megapixel is not None:
        said = f"{words.dollars(price.first_megapixel)} for the first megapixel"
        if price.further_megapixel is not None:
            said += f", {words.dollars(price.further_megapixel)} for each further one"
        if price.input_megapixel is not None:
            said += f", {words.dollars(price.input_megapixel)} for each that goes in"
    elif price.per_megapixel is not None:
        steps = f" x steps / {price.at_steps}" if price.at_steps else ""
        said = f"{words.dollars(price.per_megapixel)} a megapixel{steps}"
    else:
        said = ", ".join(f"{words.dollars(dollars)} a {what}" for what, dollars in price.points().items())
    limits = [text for text in (price.region, price.tier) if text]
    return f"{said} ({', '.join(limits)})" if limits else said


# Latency


def _latency(latency: Latency, model: Model, line: Line, pictures: Sequence[SampleRow]) -> Claim:
    verdict, measured = _against_clock(latency, model, line, pictures)
    return Claim("latency", latency_text(latency), latency.source, latency.date, latency.note, measured, verdict)


def latency_text(latency: Latency) -> str:
    if latency.at_least is not None and latency.at_most is not None:
        return f"{latency.at_least:g} to {latency.at_most:g} s"
    return f"under {latency.at_most:g} s" if latency.at_most is not None else f"over {latency.at_least:g} s"


def _against_clock(latency: Latency, model: Model, line: Line, pictures: Sequence[SampleRow]) -> tuple[Verdict, str]:
    """It differs when the median lies outside, and so many pictures do that a fair coin would not (sign test, 5 %)."""
    if line.seconds is None:
        return "open", "no time was measured"
    said = f"{words.seconds(line.seconds.median)} (median of {line.seconds.n:,})"
    if line.row.provider != model.provider:
        return "open", f"{said}, but by another route"
    low, high = latency.at_least or 0.0, latency.at_most if latency.at_most is not None else float("inf")
    if low <= line.seconds.median <= high:
        return "agrees", said
    values = [s.seconds for s in pictures if s.seconds is not None]
    outside = sum(not low <= value <= high for value in values)
    if sign_test(outside, len(values) - outside) < LEVEL:
        return "differs", said
    return "open", f"{said}: too few to tell"


# Caps


def _caps(model: Model, pictures: Sequence[SampleRow]) -> Iterator[Claim]:
    for name, what in CAPS.items():
        for fact in getattr(model.caps, name):
            verdict, measured = _against_pictures(name, fact, pictures)
            yield Claim(what, fact_text(fact), fact.source, fact.date, fact.note, measured, verdict)


def fact_text(fact: Fact) -> str:
    value = ", ".join(str(one) for one in fact.value) if isinstance(fact.value, tuple) else str(fact.value)
    variant = f" ({fact.variant})" if fact.variant else ""
    return f"{value} {fact.unit}{variant}" if fact.unit else f"{value}{variant}"


def _against_pictures(name: str, fact: Fact, pictures: Sequence[SampleRow]) -> tuple[Verdict, str]:
    sized = [(s.width, s.height) for s in pictures if s.width is not None and s.height is not None]
    if not sized:
        return "open", "no picture came back"
    tests: dict[str, Callable[[], tuple[Verdict, str] | None]] = {
        "max_size": lambda: _max_size(fact, sized),
        "max_megapixels": lambda: _max_megapixels(fact, sized),
        "sizes": lambda: _each(fact, [class_of(*size) for size in sized]),
        "aspect_ratios": lambda: _each(fact, [_shape(fact, size) for size in sized]),
        "references": lambda: _most(fact, [len(s.request.get("references", ())) for s in pictures]),
        "steps": lambda: _most(fact, [s.request["steps"] for s in pictures if s.request.get("steps")]),
        "multiple": lambda: _multiple(fact, sized),
        "output_tokens": lambda: None,
    }
    return tests[name]() or ("open", "not put to the test here")


def _max_size(fact: Fact, sized: Sequence[tuple[int, int]]) -> tuple[Verdict, str] | None:
    try:
        width, height = parse_size(str(fact.value))
    except InvalidRequest:
        return None
    largest = max(sized, key=lambda size: size[0] * size[1])
    said = f"largest here: {words.size(*largest)}"
    if largest[0] * largest[1] > width * height:
        return "differs", said
    return ("agrees" if largest[0] * largest[1] == width * height else "open"), said


def _max_megapixels(fact: Fact, sized: Sequence[tuple[int, int]]) -> tuple[Verdict, str] | None:
    if isinstance(fact.value, str | bool | tuple):
        return None
    largest = max(sized, key=lambda size: size[0] * size[1])
    megapixels = largest[0] * largest[1] / 1024**2
    said = f"largest here: {words.size(*largest)}, {words.significant(megapixels, 2)} megapixels"
    if megapixels > fact.value * 1.05:  # some count a million pixels, some 1024 x 1024
        return "differs", said
    return ("agrees" if megapixels >= fact.value * 0.95 else "open"), said


def _each(fact: Fact, seen: Sequence[str | None]) -> tuple[Verdict, str] | None:
    """A list of what is possible: agrees when all of it was seen."""
    possible = [str(one) for one in fact.value] if isinstance(fact.value, tuple) else [str(fact.value)]
    had = [one for one in possible if one in seen]
    if not had:
        return None
    return ("agrees" if len(had) == len(possible) else "open"), f"seen here: {words.listed(had)}"


def _shape(fact: Fact, size: tuple[int, int]) -> str | None:
    ratios = fact.value if isinstance(fact.value, tuple) else (fact.value,)
    return next((str(ratio) for ratio in ratios if _is_ratio(ratio) and is_shape(*size, str(ratio))), None)


def _is_ratio(value: object) -> bool:
    width, _, height = str(value).partition(":")
    return width.isdecimal() and height.isdecimal() and int(width) > 0 and int(height) > 0


def _most(fact: Fact, values: Sequence[int]) -> tuple[Verdict, str] | None:
    most = max(values, default=0)
    if isinstance(fact.value, str | bool | tuple) or not most:
        return None
    said = f"most here: {most:,}"
    return ("differs" if most > fact.value else "agrees" if most == fact.value else "open"), said


def _multiple(fact: Fact, sized: Sequence[tuple[int, int]]) -> tuple[Verdict, str] | None:
    if not isinstance(fact.value, int) or isinstance(fact.value, bool):
        return None
    odd = next((size for size in sized if size[0] % fact.value or size[1] % fact.value), None)
    if odd is not None:
        return "differs", f"{words.size(*odd)} came back"
    return "agrees", f"so were all of {words.count(len(sized), 'picture')}"


# Ratings


def _rating(rating: Rating, label: str, models: Mapping[str, Model | None], votes: Judged | None) -> Claim:
    """Scales cannot be compared, but orders can: who is above whom there, and here."""
    interval = f" ± {rating.interval:g}" if rating.interval is not None else ""
    variant = f" ({rating.variant})" if rating.variant else ""
    verdict, measured = _orders(rating, label, models, votes)
    return Claim(
        what=f"rating, {SCALES[rating.scale]}",
        published=f"{rating.value:g}{interval}{variant}",
        source=rating.source,
        date=rating.date,
        note=rating.note,
        measured=measured,
        verdict=verdict,
    )


def _orders(
    rating: Rating, label: str, models: Mapping[str, Model | None], votes: Judged | None
) -> tuple[Verdict, str]:
    if votes is None:
        return "open", "nobody has judged these pictures yet"
    agreeing: list[str] = []
    differing: list[str] = []
    for other, model in models.items():
        published = None if model is None else next((r for r in model.ratings if r.scale == rating.scale), None)
        if other == label or published is None or published.value == rating.value:
            continue
        try:
            contrast = votes.first.contrast(label, other)
        except KeyError:  # the votes compare these two by nothing
            continue
        if contrast.apart and contrast.difference.value is not None:
            same = (contrast.difference.value > 0) == (rating.value > published.value)
            (agreeing if same else differing).append(other)
    if differing:
        return "differs", f"the votes here order it otherwise beside {words.listed(differing)}"
    if agreeing:
        return "agrees", f"the votes here order it alike beside {words.listed(agreeing)}"
    return "open", "the votes here separate it from no model that is rated there"
