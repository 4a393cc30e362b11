"""From TOML files to a catalogue: the packaged ones, one per maker, and the user's own.

A packaged file has a `[maker]` and any number of `[[models]]`; the user's file has `[[models]]` alone.
"""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from diptych import settings
from diptych.catalogue import model_settings, prices, records
from diptych.catalogue.finding import find
from diptych.catalogue.model import Entry, Model
from diptych.catalogue.records import Maker, Many, Record
from diptych.errors import CatalogueError, near

MOST_PROBLEMS_SHOWN = 5


class File(Record):
    """What one TOML file holds."""

    maker: Maker | None = None
    models: Many[Entry] = ()


@dataclass(frozen=True)
class Catalogue:
    """Every model and maker that is known, in the order of the files; `own` are the names that this user added."""

    models: tuple[Model, ...]
    makers: tuple[Maker, ...]
    own: frozenset[str] = frozenset()

    def find(self, name: str) -> Model:
        """The model of exactly this name; raises UnknownModel, with the names that are near.

        NAME@PROVIDER is a model by another of its routes, with the prices of who serves it there. PROVIDER/ID is any
        hosted model, in the catalogue or not; of one that is not, nothing is known but the id.
        """
        return find(self.models, name)

    def maker_of(self, model: Model) -> Maker | None:
        return next((maker for maker in self.makers if maker.name == model.maker), None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)


def load() -> Catalogue:
    """See `diptych.catalogue.load`."""
    packaged = load_packaged()
    path = settings.user_catalogue()
    own = parse(read_text(path), str(path)) if path.exists() else File()
    check_own(own, packaged, str(path))
    return Catalogue(
        models=packaged.models + own.models,
        makers=packaged.makers,
        own=frozenset(model.name for model in own.models),
    )


@functools.cache
def load_packaged() -> Catalogue:
    """What comes with diptych; read once, as it cannot change."""
    folder = importlib.resources.files("diptych.catalogue")
    files = [f for f in folder.iterdir() if f.name.endswith(".toml")]
    # First what runs without a key or a download, last what makes no real pictures.
    files.sort(key=lambda f: (f.name != "diptych.toml", f.name == "fake.toml", f.name))
    models: list[Model] = []
    makers: list[Maker] = []
    for resource in files:
        file = parse(resource.read_text(encoding="utf-8"), resource.name)
        if file.maker is None:
            raise CatalogueError(f"{resource.name}: maker is missing.")
        makers.append(file.maker)
        models += (one.model_copy(update={"maker": file.maker.name}) for one in file.models)
    _refuse_repeated((one.name for one in models), "the packaged catalogue")
    return Catalogue(models=tuple(models), makers=tuple(makers))


def check_own(own: File, packaged: Catalogue, origin: str) -> None:
    """Raises CatalogueError when the user's file holds what only a packaged one may, or shadows a packaged name."""
    if own.maker is not None:
        raise CatalogueError(f"{origin}: maker: your own catalogue holds models alone.")
    _refuse_repeated((model.name for model in own.models), origin)
    known_makers = {maker.name for maker in packaged.makers}
    for position, model in enumerate(own.models):
        where = f'{origin}: models[{position}] "{model.name}"'
        if model.name in packaged.names:
            raise CatalogueError(f"{where}: a model that comes with diptych has this name; give yours another.")
        if model.maker is not None and model.maker not in known_makers:
            raise CatalogueError(
                f"{where}: maker {model.maker!r} is not known. Leave it out, or use: {', '.join(sorted(known_makers))}."
            )


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CatalogueError(f"{path} is not a text file in UTF-8.") from None
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror or error}.") from None


def parse(text: str, origin: str) -> File:
    """TOML to records; `origin` names the file in a CatalogueError, with the key and what is wrong with it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"{origin} is not valid TOML: {error}.") from None
    try:
        return File.model_validate(data)
    except ValidationError as error:
        raise CatalogueError(describe(error, data, origin)) from None


def describe(error: ValidationError, data: Any, origin: str) -> str:
    """Pydantic's findings as lines that a person can act on: where, what was given, what is possible."""
    lines = []
    for finding in error.errors(include_url=False):
        where, what = _key_path(finding["loc"], data), _problem(dict(finding))
        lines.append(f"{origin}: {where}: {what}" if where else f"{origin}: {what}")
    more = len(lines) - MOST_PROBLEMS_SHOWN
    if more > 0:
        lines[MOST_PROBLEMS_SHOWN:] = [f"{origin}: and {more} more."]
    return "\n".join(lines)


def _key_path(loc: tuple[int | str, ...], data: Any) -> str:
    """`models[2] "flux-2-pro" prices[0].per_image`."""
    path = ""
    for part in loc:
        if part == "[key]":  # pydantic's word for a wrong key of a table, which the part before already names
            continue
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path and not path.endswith(' ') else ''}{part}"
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
        if loc[:2] == ("models", part) and isinstance(data, dict) and isinstance(data.get("name"), str):
            path += f' "{data["name"]}" '
    return path.rstrip()


def _problem(finding: dict[str, Any]) -> str:
    kind, given = finding["type"], finding["input"]
    if kind == "extra_forbidden":
        guess = near(str(finding["loc"][-1]), _known_keys())
        return "there is no such key." + (f" Did you mean {' or '.join(guess)}?" if guess else "")
    if kind == "missing":
        return "is missing."
    if kind == "value_error":
        return f"{finding['ctx']['error']}."
    if kind == "literal_error":
        return f"is {given!r}; possible: {finding['ctx']['expected']}."
    if kind == "string_pattern_mismatch" and finding["ctx"]["pattern"] == f"^{records.NAME_PATTERN}$":
        return f"is {given!r}; a name is {records.NAME_RULE}."
    said = finding["msg"].removeprefix("Input ").removeprefix("should ")
    shown = repr(given) if isinstance(given, str | int | float | bool) else f"a {_toml_kind(given)}"
    return f"is {shown}; it should {said}."


def _toml_kind(value: Any) -> str:
    return "table" if isinstance(value, dict) else "list" if isinstance(value, list) else type(value).__name__


@functools.cache
def _known_keys() -> tuple[str, ...]:
    found: set[str] = {*File.model_fields, *Model.model_fields}
    for room in (records, prices, model_settings):
        for thing in vars(room).values():
            if isinstance(thing, type) and issubclass(thing, BaseModel):
                found |= set(thing.model_fields)
    return tuple(sorted(found))


def _refuse_repeated(names: Iterable[str], origin: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CatalogueError(f"{origin}: there are two models named {name!r}.")
        seen.add(name)
