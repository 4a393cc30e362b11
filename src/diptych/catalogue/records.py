"""The records of the catalogue: frozen, strict, and with nothing that cannot be traced to a source.

    Sourced             source, date, note: the base of everything that somebody claims
    ├── Fact            any one value with its unit: a cap, a date, a link, a licence
    ├── Price           dollars, in the one form the source states it in
    ├── Rating          a place on one public scale; the two scales are never mixed
    └── Latency         seconds to a picture, as claimed
    Maker               who makes models, and where to read and ask about them
    Model               what is known of one model, and what a request to it may set

Several sources may disagree. All of them stay, and `Model.conflicts()` tells where. Unknown is None, never zero.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    model_validator,
)

from diptych.catalogue.conflicts import Conflict, conflicts_of
from diptych.catalogue.model_settings import Settings, resolve
from diptych.images import Request

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
NAME_RULE = "1 to 64 of a-z, 0-9, dot, dash and underscore, the first a letter or digit"
Provider = Literal["local", "google", "black_forest_labs", "openai", "huggingface", "replicate", "fal"]
PictureSize = Literal["512", "1K", "2K", "4K"]
"""Classes of size in which vendors price: 1K is about 1024x1024, one megapixel."""
Quality = Literal["low", "medium", "high"]
Value = str | int | float | bool | tuple[str | int | float | bool, ...]

T = TypeVar("T")
Many = Annotated[tuple[T, ...], Strict(False)]
"""TOML has lists; a frozen record holds tuples."""


def _iso(value: Any) -> Any:
    """TOML has dates without quotes; here they are text, as not every date is exact."""
    return value.isoformat() if isinstance(value, dt.date) and not isinstance(value, dt.datetime) else value


def _partial_date(value: Any) -> Any:
    """`2026`, `2026-03` or `2026-03-18`: sources are not always exact to the day."""
    value = _iso(value)
    if isinstance(value, str):
        if not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", value):
            raise ValueError(f"{value!r} is not a date; it is written 2026, 2026-03 or 2026-03-18")
        year, month, day = ([int(part) for part in value.split("-")] + [1, 1])[:3]
        try:
            dt.date(year, month, day)
        except ValueError:
            raise ValueError(f"{value!r} is not a day of the calendar") from None
    return value


def _plain_value(value: Any) -> Value:
    if isinstance(value, list | tuple):
        if not value or any(isinstance(item, list | tuple) for item in value):
            raise ValueError("a list of values must hold at least one, and no lists")
        return tuple(_plain_value(item) for item in value)  # type: ignore[misc]  # its items are no tuples
    value = _iso(value)
    if not isinstance(value, str | int | float):  # bool is an int
        raise ValueError(f"{value!r} is not a text, a number, true, false, or a list of these")
    if isinstance(value, str) and not value.strip():
        raise ValueError("the text is empty; what is unknown is left out")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number that can be compared; what is unknown is left out")
    return value


def _listed(value: Value) -> Any:
    return list(value) if isinstance(value, tuple) else value


Text = Annotated[str, Field(min_length=1)]
Date = Annotated[str, BeforeValidator(_partial_date)]
Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sourced(Record):
    """Something that somebody says, where, and when. `date` is None where the source is undated."""

    source: Text
    date: Date | None = None
    note: Text | None = None


class Fact(Sourced):
    """One value. `variant` tells facts apart that are about different things, as the licences of code and weights."""

    value: Annotated[Value, PlainValidator(_plain_value), PlainSerializer(_listed, return_type=Any, when_used="json")]
    unit: Text | None = None
    variant: Text | None = None


class Price(Sourced):
    """What a picture costs in dollars, in the one form that the source states it in.

    per_image                                     every picture the same
    per_size                                      by class of size: {1K = 0.067, 2K = 0.101}
    per_quality                                   by quality, at the size `at`: {low = 0.011, high = 0.167}
    first_megapixel + further_megapixel           first + (megapixels out - 1) * further + megapixels in *
        + input_megapixel                         input; megapixels in are those of reference pictures
    per_megapixel, at_steps                       megapixels * steps / at_steps; without at_steps, megapixels alone
    """

    unit: Literal["USD"] = "USD"
    seller: Text | None = None
    """Who bills it. None: the source does not say; taken as the model's own maker."""
    per_image: Dollars | None = None
    per_size: dict[PictureSize, Dollars] | None = Field(None, min_length=1)
    per_quality: dict[Quality, Dollars] | None = Field(None, min_length=1)
    at: Text | None = None
    first_megapixel: Dollars | None = None
    further_megapixel: Dollars | None = None
    input_megapixel: Dollars | None = None
    per_megapixel: Dollars | None = None
    at_steps: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Price:
        forms = ("per_image", "per_size", "per_quality", "first_megapixel", "per_megapixel")
        given = [form for form in forms if getattr(self, form) is not None]
        if len(given) != 1:
            raise ValueError(f"a price has one of {', '.join(forms)}; this has {' and '.join(given) or 'none'}")
        needs = {
            "at": "per_quality",
            "further_megapixel": "first_megapixel",
            "input_megapixel": "first_megapixel",
            "at_steps": "per_megapixel",
        }
        for key, form in needs.items():
            if getattr(self, key) is not None and given != [form]:
                raise ValueError(f"{key} goes with {form}, which this price does not have")
        return self

    def points(self) -> dict[str, float]:
        """Dollars by what they buy: `1K` is one picture of about a megapixel. Points of two sources compare."""
        if self.per_image is not None:
            return {"1K": self.per_image}
        if self.per_size is not None:
            return {str(size): dollars for size, dollars in self.per_size.items()}
        if self.per_quality is not None:
            return {f"1K {quality}": dollars for quality, dollars in self.per_quality.items()}
        if self.per_megapixel is not None:
            return {f"1K at {self.at_steps} steps" if self.at_steps else "1K": self.per_megapixel}
        named = {
            "1K": self.first_megapixel,
            "further megapixel": self.further_megapixel,
            "input megapixel": self.input_megapixel,
        }
        return {what: dollars for what, dollars in named.items() if dollars is not None}


class Rating(Sourced):
    """A model's rating on one public scale, with the half-width of its interval where that is published."""

    scale: Literal["artificial-analysis", "lm-arena"]
    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    interval: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    variant: Text | None = None
    """What was rated, where it is not the model as such: a quality, a preview."""


class Latency(Sourced):
    """Seconds from asking to having one picture, as somebody claims; at least one bound is known."""

    at_least: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    at_most: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Latency:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a latency has at_least, at_most, or both, in seconds")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least ({self.at_least:g}) is more than at_most ({self.at_most:g})")
        return self


class Dates(Record):
    """Turns in a model's life: each fact's value is a date, in full or in part."""

    released: Many[Fact] = ()
    generally_available: Many[Fact] = ()
    listed: Many[Fact] = ()
    shutdown: Many[Fact] = ()

    @model_validator(mode="after")
    def _are_dates(self) -> Dates:
        for name in type(self).model_fields:
            for fact in getattr(self, name):
                if not isinstance(fact.value, str):
                    raise ValueError(f'{name} is {fact.value!r}; a date is written as text: "2026-03-18"')
                _partial_date(fact.value)
        return self


class Caps(Record):
    """What the model can do at most, as published; what a request may set is in `Settings`."""

    references: Many[Fact] = ()
    max_megapixels: Many[Fact] = ()
    max_size: Many[Fact] = ()
    sizes: Many[Fact] = ()
    aspect_ratios: Many[Fact] = ()
    multiple: Many[Fact] = ()
    steps: Many[Fact] = ()
    adjustable: Many[Fact] = ()
    output_tokens: Many[Fact] = ()
    parameters: Many[Fact] = ()


class Route(Record):
    """One way to reach a model: who serves it, and under which id. `id` is None for local ones."""

    provider: Provider
    id: Text | None = None


class Maker(Record):
    """Who makes models, and where to read, ask and look: links, each sourced and dated. Unknown is an empty list."""

    name: Name
    title: Text
    documentation: Many[Fact] = ()
    forum: Many[Fact] = ()
    chat: Many[Fact] = ()
    repository: Many[Fact] = ()
    client_library: Many[Fact] = ()
    notebooks: Many[Fact] = ()
    licence: Many[Fact] = ()


class Model(Record):
    """What is known of one model.

    `provider` and `remote_id` are its main route, which `settings` speaks of; `routes` are the other ones.
    """

    name: Name
    title: Text
    maker: Name | None = None
    provider: Provider
    engine: Literal["flow"] | None = None
    weights: Text | None = None
    """`builtin`, or a folder that holds `model.json`. None: not on this machine."""
    hub_id: Text | None = None
    """Repository of the open weights on huggingface.co."""
    remote_id: Text | None = None
    routes: Many[Route] = ()
    prices: Many[Price] = ()
    ratings: Many[Rating] = ()
    dates: Dates = Dates()
    caps: Caps = Caps()
    latency: Many[Latency] = ()
    licence: Many[Fact] = ()
    about: Many[Fact] = ()
    """Whatever else is worth saying of the model: what it was trained on, what it is good for."""
    settings: Settings | None = None
    """What a request may set. None: unknown to us, so a request is sent as it is."""

    @model_validator(mode="after")
    def _reachable(self) -> Model:
        if self.provider == "local":
            if self.engine is None:
                raise ValueError("a local model names its engine (flow)")
            if self.remote_id is not None:
                raise ValueError("remote_id is of a hosted model; this one is local (its other routes go in routes)")
        else:
            if self.remote_id is None:
                raise ValueError(f"a model of provider {self.provider} needs remote_id")
            if self.engine is not None or self.weights is not None:
                raise ValueError(f"engine and weights are of a local model; this one's provider is {self.provider}")
        for route in self.routes:
            if (route.provider == "local") != (route.id is None):
                raise ValueError("a route has an id unless it is local")
        return self

    @property
    def runs_here(self) -> bool:
        """Whether one of its routes is this machine; the weights may still have to be fetched."""
        return any(route.provider == "local" for route in self.ways())

    @property
    def hosted(self) -> bool:
        return any(route.provider != "local" for route in self.ways())

    def ways(self) -> tuple[Route, ...]:
        """Every route, the main one first."""
        return (Route(provider=self.provider, id=self.remote_id), *self.routes)

    def resolve(self, request: Request) -> Request:
        """The request with every default of this model filled in; the seed stays as it is.

        Raises InvalidRequest, with what was given and what is possible, for anything this model cannot do.
        """
        return request if self.settings is None else resolve(self.name, self.settings, request)

    def conflicts(self) -> tuple[Conflict, ...]:
        """Where sources disagree about the same thing."""
        return conflicts_of(self)
