"""The records of the catalogue: frozen, strict, and with nothing that cannot be traced to a source.

    Sourced             source, date, note: the base of everything that somebody claims
    ├── Fact            any one value with its unit: a cap, a date, a link, a licence
    ├── Price           dollars, in the one form the source states it in (in `prices`)
    ├── Rating          a place on one public scale; the two scales are never mixed
    └── Latency         seconds to a picture, as claimed
    Route               one way to reach a model
    Maker               who makes models, and where to read and ask about them
    Model               what is known of one model, and what a request to it may set (in `model`)

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

from diptych.catalogue import PROVIDERS, lives, provider_names
from diptych.catalogue.model_settings import Settings

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
NAME_RULE = "1 to 64 of a-z, 0-9, dot, dash and underscore, the first a letter or digit"
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


def _provider(value: Any) -> Any:
    if isinstance(value, str) and value not in PROVIDERS and value not in provider_names():
        raise ValueError(f"is {value!r}; possible: {', '.join(repr(name) for name in provider_names())}")
    return value


def _listed(value: Value) -> Any:
    return list(value) if isinstance(value, tuple) else value


Text = Annotated[str, Field(min_length=1)]
Provider = Annotated[str, BeforeValidator(_provider)]
"""One of ours, or one that an installed plugin brings."""
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

    def stale(self, today: dt.date, days: int = lives.STALE_AFTER) -> bool:
        """Whether this was read more than `days` days before `today`, or nobody knows when."""
        return lives.stale(self.date, today, days)


class Fact(Sourced):
    """One value. `variant` tells facts apart that are about different things, as the licences of code and weights."""

    value: Annotated[Value, PlainValidator(_plain_value), PlainSerializer(_listed, return_type=Any, when_used="json")]
    unit: Text | None = None
    variant: Text | None = None


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
    """One way to reach a model: who serves it, and under which id. `id` is None for local ones.

    `settings` are those of this route, where they are known; on another route the same model may take other ones.
    """

    provider: Provider
    id: Text | None = None
    settings: Settings | None = None


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
