"""What is known of each model: facts with source and date, one TOML file per maker, and what a request may set.

    catalogue = load()
    model = catalogue.find("flux-2-pro")
    request = model.resolve(Request(prompt="a fox in snow", width=2048, height=2048))
    model.cost(request)

The records live in `records`, `prices` and `model`, the settings of a model in `model_settings`. All need pydantic, so
they are imported when first asked for: `import diptych.catalogue` alone costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diptych.catalogue.conflicts import Claim, Conflict
    from diptych.catalogue.cost import TokenUsage
    from diptych.catalogue.model import Model
    from diptych.catalogue.model_settings import (
        AspectRatio,
        Choice,
        Guidance,
        Option,
        Prompt,
        References,
        Settings,
        Size,
        Steps,
    )
    from diptych.catalogue.prices import Price, TokenRates
    from diptych.catalogue.reading import Catalogue
    from diptych.catalogue.records import Caps, Dates, Fact, Latency, Maker, Rating, Route, Sourced
    from diptych.images import Request

__all__ = [
    "PROVIDERS",
    "AspectRatio",
    "Caps",
    "Catalogue",
    "Choice",
    "Claim",
    "Conflict",
    "Dates",
    "Fact",
    "Guidance",
    "Latency",
    "Maker",
    "Model",
    "Option",
    "Price",
    "Prompt",
    "Rating",
    "References",
    "Route",
    "Settings",
    "Size",
    "Sourced",
    "Steps",
    "TokenRates",
    "TokenUsage",
    "add",
    "load",
    "provider_names",
    "remove",
    "with_settings",
]

PROVIDERS = ("local", "google", "black_forest_labs", "openai", "huggingface", "replicate", "fal", "fake")
"""The ways to reach a model that come with diptych; `local` runs here, `fake` makes no real pictures."""
ENTRY_POINTS = "diptych.providers"
"""The group in which installed packages name providers of theirs."""

_ROOMS = {
    "conflicts": ("Claim", "Conflict"),
    "cost": ("TokenUsage",),
    "model": ("Model",),
    "model_settings": (
        "AspectRatio",
        "Choice",
        "Guidance",
        "Option",
        "Prompt",
        "References",
        "Settings",
        "Size",
        "Steps",
    ),
    "prices": ("Price", "TokenRates"),
    "reading": ("Catalogue",),
    "records": ("Caps", "Dates", "Fact", "Latency", "Maker", "Rating", "Route", "Sourced"),
}


def provider_names() -> tuple[str, ...]:
    """Every way to reach a model: those that come with diptych, and those that installed plugins name.

    No plugin is imported for its name.
    """
    from importlib import metadata

    theirs = {point.name for point in metadata.entry_points(group=ENTRY_POINTS)} - set(PROVIDERS)
    return (*PROVIDERS, *sorted(theirs))


def load() -> Catalogue:
    """The packaged catalogue and the models that this user added.

    Raises CatalogueError for a malformed file: it names the file, the key and what is wrong with it.
    """
    from diptych.catalogue import reading

    return reading.load()


def add(target: str, *, name: str | None = None, provider: str = "local", like: str | None = None) -> Model:
    """Add a model to the user's catalogue and return its entry; nothing is written when anything is wrong.

    `target` is a folder (or a file in it) that holds `model.json` when `provider` is local, else the id under which
    the provider knows the model. `name` may be left out for a hosted model: the last part of its id is taken. A folder
    of FLUX weights, in diffusers' or Black Forest Labs' layout, has no `model.json`: `like` names the packaged model
    whose settings it takes.

    Raises CatalogueError for a name that is malformed or taken, a folder without a model, or an unknown provider.
    """
    from diptych.catalogue import editing

    return editing.add(target, name=name, provider=provider, like=like)


def remove(name: str) -> Path:
    """Take `name` out of the user's catalogue and return the file it was in; weights and pictures stay.

    Raises UnknownModel for a name that is nowhere, CatalogueError for one that comes with diptych.
    """
    from diptych.catalogue import editing

    return editing.remove(name)


def with_settings(request: Request, values: Mapping[str, str], model: Model) -> Request:
    """`request` with settings that are given as text, as in {"steps": "4", "size": "1024x1024"}.

    Takes size, aspect_ratio, image_size, steps, guidance, seed, quality, negative, and any option of the model. For a
    model whose settings are unknown an option is true or false, a number or text, by what it looks like. The result is
    not resolved yet.

    Raises InvalidRequest, which names the key, the value and what is possible.
    """
    from diptych.catalogue import parsing

    return parsing.with_settings(request, values, model)


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
