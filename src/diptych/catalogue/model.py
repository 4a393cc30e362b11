"""A model: what is known of it, what a request to it may set, and what a picture of it costs."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, TypeGuard

from pydantic import model_validator

from diptych import settings as own_settings
from diptych.catalogue import cost, lives, resolving
from diptych.catalogue.conflicts import Conflict, conflicts_of, current
from diptych.catalogue.cost import TokenUsage
from diptych.catalogue.engine_settings import ENGINES, with_engine
from diptych.catalogue.model_settings import Settings
from diptych.catalogue.prices import Price
from diptych.catalogue.records import Caps, Dates, Fact, Latency, Many, Name, Provider, Rating, Record, Route, Text
from diptych.errors import NotAvailable
from diptych.images import Cost, Request


class Model(Record):
    """What is known of one model.

    `provider` and `remote_id` are its main route, which `settings` speaks of; `routes` are the other ones.
    """

    name: Text
    """Of an entry, as its file says; NAME@PROVIDER by another route; PROVIDER/ID for a model that is in no file."""
    title: Text
    maker: Name | None = None
    provider: Provider
    engine: Literal["flow", "tokens"] | None = None
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

    @model_validator(mode="before")
    @classmethod
    def _of_the_engine(cls, values: Any) -> Any:
        """A model that runs here takes what its engine takes."""
        if isinstance(values, dict) and values.get("engine") in ENGINES and isinstance(values.get("settings"), dict):
            return {**values, "settings": with_engine(values["engine"], values["settings"])}
        return values

    @model_validator(mode="after")
    def _reachable(self) -> Model:
        if self.provider == "local":
            if self.engine is None:
                raise ValueError("a local model names its engine (flow or tokens)")
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
        return any(route.provider not in ("local", "fake") for route in self.ways())

    def ways(self) -> tuple[Route, ...]:
        """Every route, the main one first."""
        return (Route(provider=self.provider, id=self.remote_id, settings=self.settings), *self.routes)

    def resolve(self, request: Request) -> Request:
        """The request with every default of this model filled in; the seed stays as it is.

        Raises InvalidRequest, with what was given and what is possible, for anything this model cannot do.
        """
        return request if self.settings is None else resolving.resolve(self.name, self.settings, request)

    def takes_seed(self, request: Request) -> bool:
        """Whether a seed may be drawn for `request`, so that its picture can be made again."""
        return resolving.takes_seed(self.settings, request)

    @property
    def seller(self) -> str | None:
        """Who bills the pictures of the main route; for a model that runs here, who sells it elsewhere: its maker."""
        return self.maker if self.provider == "local" else self.provider

    def cost(
        self, request: Request, *, made: tuple[int, int] | None = None, seconds: float | None = None
    ) -> Cost | None:
        """What one picture of a resolved request costs, or None: unknown.

        Hosted models: by the prices of the main route's seller; the first source in the file, which lists the best one
        first, is reckoned with, and the others are claims. made: width and height of the picture that came, in pixels.
        Local models: seconds x what this machine costs an hour, and so None before the fact; never what a vendor asks
        for the same model. Fake models: the request's own option `price`. Raises SettingsError.
        """
        if self.provider == "local":
            return None if seconds is None else cost.of_machine(seconds, own_settings.config().dollars_per_hour)
        if self.provider == "fake":
            dollars = request.options.get("price", 0.0)
            return Cost(float(dollars), "price", source="the request's option price") if _is_number(dollars) else None
        return cost.of_picture(cost.applicable(self.prices, self.seller, request.options), request, made)

    def cost_of_usage(self, usage: TokenUsage, request: Request | None = None) -> Cost | None:
        """What tokens that the vendor counted cost; None where no price per token is known for each kind of them.

        request: chooses the price by its options `region` and `tier`, where it has them.
        """
        options = {} if request is None else request.options
        return cost.of_usage(cost.applicable(self.prices, self.seller, options), usage)

    def conflicts(self) -> tuple[Conflict, ...]:
        """Where sources disagree about the same thing."""
        return conflicts_of(self)

    def retired(self, today: dt.date) -> str | None:
        """A sentence when a shutdown date has passed, with what other sources say; else None."""
        return lives.retired(self.name, current(self.dates.shutdown), today)

    def ending(self, today: dt.date) -> str | None:
        """A sentence when a shutdown is announced for the next 90 days; None when it has passed, or is far."""
        return lives.ending(self.name, current(self.dates.shutdown), today)

    def check_alive(self, today: dt.date) -> None:
        """Raise NotAvailable for a model that all sources say is gone. While one says otherwise, the vendor decides."""
        facts = current(self.dates.shutdown)
        if lives.surely_retired(facts, today):
            raise NotAvailable(f"{lives.retired(self.name, facts, today)} `diptych models` lists those that there are.")


class Entry(Model):
    """A model as a file holds it."""

    name: Name


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
