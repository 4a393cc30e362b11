"""What is known of each model: facts with source and date, one TOML file per maker, and what a request may set.

    catalogue = load()
    model = catalogue.find("flux-2-klein-4b")
    model.resolve(Request(prompt="a fox in snow"))

The records live in `records`, the settings of a model in `model_settings`. Both need pydantic, so they are imported
when first asked for: `import diptych.catalogue` alone costs nothing.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diptych.catalogue.conflicts import Claim, Conflict
    from diptych.catalogue.model_settings import Guidance, Prompt, Settings, Size, Steps
    from diptych.catalogue.reading import Catalogue
    from diptych.catalogue.records import Caps, Dates, Fact, Latency, Maker, Model, Price, Rating, Route

__all__ = [
    "PROVIDERS",
    "Caps",
    "Catalogue",
    "Claim",
    "Conflict",
    "Dates",
    "Fact",
    "Guidance",
    "Latency",
    "Maker",
    "Model",
    "Price",
    "Prompt",
    "Rating",
    "Route",
    "Settings",
    "Size",
    "Steps",
    "add",
    "load",
    "remove",
]

PROVIDERS = ("local", "google", "black_forest_labs", "openai", "huggingface", "replicate", "fal")
"""The ways to reach a model; `local` runs here, the others are asked over the network."""

_ROOMS = {
    "conflicts": ("Claim", "Conflict"),
    "model_settings": ("Guidance", "Prompt", "Settings", "Size", "Steps"),
    "reading": ("Catalogue",),
    "records": ("Caps", "Dates", "Fact", "Latency", "Maker", "Model", "Price", "Rating", "Route"),
}


def load() -> Catalogue:
    """The packaged catalogue and the models that this user added.

    Raises CatalogueError for a malformed file: it names the file, the key and what is wrong with it.
    """
    from diptych.catalogue import reading

    return reading.load()


def add(target: str, *, name: str | None = None, provider: str = "local") -> Model:
    """Add a model to the user's catalogue and return its entry; nothing is written when anything is wrong.

    `target` is a folder (or a file in it) that holds `model.json` when `provider` is local, else the id under which
    the provider knows the model. `name` may be left out for a hosted model: the last part of its id is taken.

    Raises CatalogueError for a name that is malformed or taken, a folder without a model, or an unknown provider.
    """
    from diptych.catalogue import editing

    return editing.add(target, name=name, provider=provider)


def remove(name: str) -> Path:
    """Take `name` out of the user's catalogue and return the file it was in; weights and pictures stay.

    Raises UnknownModel for a name that is nowhere, CatalogueError for one that comes with diptych.
    """
    from diptych.catalogue import editing

    return editing.remove(name)


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
