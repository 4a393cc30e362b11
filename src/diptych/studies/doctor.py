"""What this installation can do, what is broken, and what to do next. Asks no vendor and shows no key."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from diptych import catalogue, settings
from diptych.errors import CatalogueError, DiptychError, SettingsError
from diptych.settings import stored_keys

if TYPE_CHECKING:
    from diptych.catalogue import Model
    from diptych.providers.local import Machine

WITHOUT_KEYS = ("local", "fake")
"""Providers whose models run on this machine."""
BYTES_A_PARAMETER = 2
"""In bfloat16, in which open weights are published."""
TIGHT = 0.75
"""Share of the memory that weights may take and leave room for a text encoder and the picture."""
LITTLE_DISK = 2**30
"""Bytes free, below which a person is warned: some thousand pictures of a megapixel."""

Fit = Literal["ready", "fits", "tight", "too large", "unknown"]

EXTRAS = (
    ("torch", "local", "models that run here"),
    ("transformers", "train", "training the built-in models again"),
    ("google-genai", "google", "Gemini and Imagen"),
    ("openai", "openai", "GPT Image, and servers that speak its protocol"),
    ("huggingface-hub", "huggingface", "Hugging Face and its inference providers"),
    ("replicate", "replicate", "Replicate"),
    ("ray", "ray", "studies on a cluster"),
    ("psycopg", "postgres", "a store on PostgreSQL"),
)
"""Package, extra that brings it, what it is for."""
EXTRA_OF = {"google": "google", "openai": "openai", "huggingface": "huggingface", "replicate": "replicate"}
"""The extra that a provider needs; the others need none."""


@dataclass(frozen=True)
class Key:
    """Whether a provider has a key; never which."""

    provider: str
    source: str | None
    """The variable or the file that it comes from; None: there is none."""
    variables: tuple[str, ...]
    """Where it is looked for before the file."""
    page: str | None
    """Where keys are made, for vendors that we know."""


@dataclass(frozen=True)
class Extra:
    package: str
    extra: str
    purpose: str
    version: str | None
    """None: not installed."""


@dataclass(frozen=True)
class LocalModel:
    """A model that has a way to run here."""

    name: str
    state: Fit
    """ready: its weights are here. fits, tight, too large: of weights that are not here, by their size alone."""
    weights: int | None
    """Bytes in bfloat16, without text encoders and what is computed; None: unknown."""


@dataclass(frozen=True)
class StoreState:
    """What is kept. `problem` says why there is nothing else."""

    name: str
    """URL without its password."""
    pictures_at: str = ""
    studies: int = 0
    pictures: int = 0
    disk_free: int | None = None
    """Bytes where the pictures are; None: not a disk of this machine."""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """Everything found. `problems` are what is broken; what is merely missing is in `next_steps`."""

    version: str
    python: str
    system: str
    home: str
    machine: Machine
    models: tuple[LocalModel, ...]
    keys: tuple[Key, ...]
    extras: tuple[Extra, ...]
    store: StoreState
    dollars_per_hour: float | None
    problems: tuple[str, ...]
    next_steps: tuple[str, ...]


def check(store_url: str | None = None) -> Checkup:
    """Look at everything. What is broken is said in the result and does not end the look."""
    from diptych.providers.local import machine

    problems: list[str] = []
    try:
        config = settings.config()
    except SettingsError as error:
        problems.append(str(error))
        config = settings.Config()
    try:
        keys = find_keys()
    except SettingsError as error:
        problems.append(str(error))
        keys = ()
    try:
        models = catalogue.load().models
    except CatalogueError as error:
        problems.append(str(error))
        models = ()
    here = machine()
    store = _store(store_url)
    if store.problem is not None and store.problem not in problems:
        problems.append(store.problem)
    extras = tuple(Extra(package, extra, purpose, _version(package)) for package, extra, purpose in EXTRAS)
    return Checkup(
        version=metadata.version("diptych"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        home=str(settings.home()),
        machine=here,
        models=tuple(_local(model, here) for model in models if model.runs_here),
        keys=keys,
        extras=extras,
        store=store,
        dollars_per_hour=config.dollars_per_hour,
        problems=tuple(problems),
        next_steps=tuple(_next_steps(here, keys, extras, store, config.dollars_per_hour)),
    )


# Keys


def variables(provider: str) -> tuple[str, ...]:
    """Where a key of `provider` is looked for before the file."""
    known = settings.KEYS.get(provider)
    return known.variables if known is not None else (f"{provider.upper()}_API_KEY",)


def set_variable(provider: str) -> str | None:
    """The variable that the key of `provider` comes from, if it is one."""
    return next((name for name in variables(provider) if os.environ.get(name, "").strip()), None)


def providers_with_keys() -> list[str]:
    """Those that take keys: the vendors we know, and those of plugins."""
    return list(dict.fromkeys([*settings.KEYS, *(p for p in catalogue.provider_names() if p not in WITHOUT_KEYS)]))


def find_keys() -> tuple[Key, ...]:
    """Every provider that takes a key, and any other that a key is kept for. Raises SettingsError."""
    found = []
    for provider in dict.fromkeys([*providers_with_keys(), *stored_keys()]):
        source = set_variable(provider)
        if source is None and settings.find_key(provider) is not None:
            source = str(settings.keys_file())
        page = settings.KEYS[provider].page if provider in settings.KEYS else None
        found.append(Key(provider, source, variables(provider), page))
    return tuple(found)


# Everything else


def _local(model: Model, machine: Machine) -> LocalModel:
    facts = [fact for fact in model.caps.parameters if fact.unit == "billion" and fact.variant is None]
    weights = next((round(f.value * 1e9 * BYTES_A_PARAMETER) for f in facts if isinstance(f.value, int | float)), None)
    room = machine.device_memory or machine.memory
    state: Fit
    if model.provider == "local" and model.weights is not None:
        state = "ready"
    elif weights is None or room is None:
        state = "unknown"
    else:
        state = "fits" if weights < TIGHT * room else "tight" if weights < room else "too large"
    return LocalModel(model.name, state, weights)


def _store(url: str | None) -> StoreState:
    from sqlalchemy import distinct, func, select

    from diptych import store as stores
    from diptych.store import schema

    try:
        opened = stores.open(url)
        try:
            with opened.reading() as connection:
                studies = connection.scalar(select(func.count()).select_from(schema.studies)) or 0
                pictures = connection.scalar(select(func.count(distinct(schema.samples.c.picture)))) or 0
            place = opened.pictures.place
            return StoreState(opened.name, place, studies, pictures, _disk_free(place))
        finally:
            opened.close()
    except DiptychError as error:
        return StoreState("", problem=str(error))


def _disk_free(place: str) -> int | None:
    if "://" in place:
        return None
    folder = Path(place).absolute()
    try:
        return shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _next_steps(
    machine: Machine, keys: Sequence[Key], extras: Sequence[Extra], store: StoreState, rate: float | None
) -> Iterator[str]:
    """What would help most, first."""
    if store.problem is not None:
        yield "Mend the store, without which no study can be kept: see above."
    if store.disk_free is not None and store.disk_free < LITTLE_DISK:
        yield f"Make room on the disk of {store.pictures_at}: {store.disk_free / 2**20:,.0f} MiB are free."
    if machine.device is None:
        yield 'For models that run here: pip install "diptych[local]"'
    installed = {extra.extra for extra in extras if extra.version is not None}
    for key in keys:
        needed = EXTRA_OF.get(key.provider)
        if key.source is not None and needed is not None and needed not in installed:
            yield f'{key.provider} has a key but not its client: pip install "diptych[{needed}]"'
    if keys and not any(key.source for key in keys):
        yield "For hosted models, keep a vendor's key: diptych keys set google (or openai, ...)"
    if store.problem is None and store.studies == 0:
        model = "builtin-flow:steps=8 -m builtin-flow" if machine.device is not None else "fake-a -m fake-b"
        yield f"Run a first study, which costs nothing: diptych pilot -m {model}"
    elif store.problem is None:
        yield "See what your latest study says: diptych report"
    if rate is None and machine.device is not None:
        yield (
            "Say what this machine costs, so that pictures made here have a price: "
            f"dollars_per_hour = 0.50 in {settings.config_file()}"
        )
