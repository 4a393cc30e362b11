"""From what a person typed to a model: a name, NAME@PROVIDER, or PROVIDER/ID."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.catalogue import PROVIDERS, provider_names
from diptych.catalogue.model import Model
from diptych.catalogue.records import Route
from diptych.catalogue.words import any_of
from diptych.errors import InvalidRequest, UnknownModel, near


def find(models: Sequence[Model], name: str) -> Model:
    """See `Catalogue.find`."""
    by_name = {model.name: model for model in models}
    if name in by_name:
        return by_name[name]
    provider, slash, remote_id = name.partition("/")
    if slash:
        return _hosted(models, name, provider, remote_id)
    base, at, provider = name.partition("@")
    if at and base in by_name:
        return _by_route(by_name[base], provider)
    raise UnknownModel(name, [*by_name, *(f"{model.name}@{way.provider}" for model in models for way in model.routes)])


def _by_route(model: Model, provider: str) -> Model:
    ways = {way.provider: way for way in reversed(model.ways())}  # of two routes by one provider the first counts
    if provider not in ways:
        raise InvalidRequest(
            f"The catalogue knows no way to {model.name} by {provider!r}; there is {any_of(list(reversed(ways)))}. "
            f"A hosted model can be named by its id too, as in {_an_example(provider)}."
        )
    return model if provider == model.provider else _at(model, ways[provider])


def _at(model: Model, way: Route) -> Model:
    """`model` by another of its routes: with the id, the settings and the prices that it has there."""
    # A price that names no seller is of the entry's own; by another route it holds only where that is the same one.
    prices = tuple(price for price in model.prices if (price.seller or model.seller) == way.provider)
    return model.model_copy(
        update={
            "name": f"{model.name}@{way.provider}",
            "provider": way.provider,
            "remote_id": way.id,
            "engine": None,
            "weights": None,
            "routes": (),
            "prices": prices,
            "settings": way.settings,
        }
    )


def _hosted(models: Sequence[Model], name: str, provider: str, remote_id: str) -> Model:
    known = PROVIDERS if provider in PROVIDERS else provider_names()
    if provider not in known or provider == "local":
        guesses = [f"{one}/{remote_id}" for one in near(provider, [n for n in known if n != "local"], count=1)]
        raise UnknownModel(name, [*(model.name for model in models), *guesses])
    if not remote_id or any(c.isspace() or not c.isprintable() for c in remote_id):
        raise InvalidRequest(f"{name!r} names no model of {provider}: its id has no spaces and is not empty.")
    for model in models:
        for way in model.ways():
            if (way.provider, way.id) == (provider, remote_id):
                return _by_route(model, provider)
    return Model(name=name, title=name, provider=provider, remote_id=remote_id)


def _an_example(provider: str) -> str:
    return f"{provider}/ID" if provider in provider_names() and provider != "local" else "replicate/OWNER/NAME"
