"""Adding to and taking from the user's own catalogue, one TOML file that may also be edited by hand.

Text is added and cut out, never rewritten: comments and order of the rest stay. The result is read back before it
replaces the file, so that nothing half-right is ever on disk.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diptych import settings
from diptych.catalogue import provider_names, reading
from diptych.catalogue.engine_settings import ENGINES, without_engine
from diptych.catalogue.model import Model
from diptych.catalogue.model_settings import Settings
from diptych.catalogue.records import NAME_PATTERN, NAME_RULE
from diptych.errors import CatalogueError, UnknownModel, near
from diptych.images import write_file

MODEL_FILE = "model.json"
_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*models[ \t]*\]\]", re.MULTILINE)


def add(target: str, *, name: str | None, provider: str, like: str | None) -> Model:
    """See `diptych.catalogue.add`."""
    names = provider_names()
    if provider not in names:
        guess = near(provider, names, count=1)
        hint = f" Did you mean {guess[0]}?" if guess else ""
        raise CatalogueError(f"There is no provider {provider!r}; possible: {', '.join(names)}.{hint}")
    if like is not None and provider != "local":
        raise CatalogueError(f"--like says what a folder of weights is like; {target} is a model of {provider}.")
    entry = _local(target, name, like) if provider == "local" else _hosted(target, name, provider)

    path = settings.user_catalogue()
    known = reading.load()
    if entry["name"] in known.own:
        raise CatalogueError(
            f"You have a model named {entry['name']!r} already. Choose another name with --name, "
            f"or take that one out: diptych models remove {entry['name']}"
        )
    if entry["name"] in known.names:
        raise CatalogueError(f"A model named {entry['name']!r} comes with diptych. Choose another name with --name.")

    before = reading.read_text(path) if path.exists() else "# The models that you added. `diptych models` lists them.\n"
    after = before.rstrip("\n") + "\n\n" + _to_toml(entry)
    _replace(path, after, expected=(*known.own, entry["name"]))
    return reading.load().find(entry["name"])


def remove(name: str) -> Path:
    """See `diptych.catalogue.remove`."""
    path = settings.user_catalogue()
    known = reading.load()
    if name not in known.own:
        if name in known.names:
            raise CatalogueError(f"{name} comes with diptych; only models that you added can be removed.")
        raise UnknownModel(name, known.own)
    text = reading.read_text(path)
    starts = [match.start() for match in _HEADER.finditer(text)]
    own = [model.name for model in reading.parse(text, str(path)).models]
    if len(starts) != len(own):
        raise CatalogueError(f"{path} is not written as [[models]] tables; take {name} out of it by hand.")
    position = own.index(name)
    end = starts[position + 1] if position + 1 < len(starts) else len(text)
    kept = text[: starts[position]] + _comments_at_the_end(text[starts[position] : end]) + text[end:]
    _replace(path, kept.rstrip("\n") + "\n", expected=tuple(n for n in own if n != name))
    return path


def _local(target: str, name: str | None, like: str | None) -> dict[str, Any]:
    given = Path(target).expanduser()
    if not given.exists():
        raise CatalogueError(
            f"There is no file or folder {target!r}. For a hosted model say who serves it, as in --provider replicate."
        )
    if name is None:
        raise CatalogueError("A local model needs a name: add --name NAME.")
    folder = (given if given.is_dir() else given.parent).resolve()
    file = folder / MODEL_FILE
    entry: dict[str, Any] = {
        "name": _checked_name(name),
        "title": name,
        "provider": "local",
        "engine": "flow",
        "weights": str(folder),
    }
    if not file.is_file():
        return {**entry, "settings": _like(folder, like)}
    if like is not None:
        raise CatalogueError(f"{folder} says itself what it takes, in {MODEL_FILE}; leave --like out.")
    try:
        described = json.loads(reading.read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise CatalogueError(f"{file} is not valid JSON: {error}.") from None
    if not isinstance(described, dict):
        raise CatalogueError(f"{file} holds no JSON object.")
    if described.get("engine", "flow") not in ENGINES:
        raise CatalogueError(f"{file}: engine is {described['engine']!r}; here run {' and '.join(ENGINES)}.")
    entry["engine"] = described.get("engine", "flow")
    if described.get("settings") is not None:
        try:
            allowed = Settings.model_validate(described["settings"])
        except ValidationError as error:
            raise CatalogueError(reading.describe(error, described["settings"], f"{file}: settings")) from None
        entry["settings"] = allowed.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    return entry


def _like(folder: Path, like: str | None) -> dict[str, Any]:
    """The settings of the packaged model that a folder of FLUX weights is like: files do not say their own."""
    if not any(folder.glob("*.safetensors")) and not (folder / "model_index.json").is_file():
        raise CatalogueError(
            f"{folder} holds no {MODEL_FILE}, no safetensors file and no model_index.json, so it is not the folder of "
            "a model that runs here."
        )
    models = [one for one in reading.load_packaged().models if one.engine == "flow" and one.weights is None]
    names = [one.name for one in models]
    if like is None:
        raise CatalogueError(
            f"{folder} holds weights, but not how they are used: how many steps, which guidance. Say which model they "
            f"are like: --like {' or '.join(names)}."
        )
    found = next((one for one in models if one.name == like), None)
    if found is None or found.settings is None:
        guess = near(like, names, count=1)
        hint = f" Did you mean {guess[0]}?" if guess else ""
        raise CatalogueError(f"--like is {like!r}; it is {', '.join(names)}.{hint}")
    return without_engine("flow", found.settings.model_dump(mode="json", exclude_none=True, exclude_unset=True))


def _hosted(target: str, name: str | None, provider: str) -> dict[str, Any]:
    remote_id = target.strip()
    if not remote_id or any(c.isspace() or not c.isprintable() for c in remote_id):
        raise CatalogueError(f"{target!r} is not the id of a model; it has no spaces and is not empty.")
    # "owner/name:version" is how Replicate and others write ids; the name alone is what a person wants to type.
    derived = remote_id.rstrip("/").rpartition("/")[2].partition(":")[0].lower()
    chosen = name if name is not None else derived
    return {"name": _checked_name(chosen), "title": chosen, "provider": provider, "remote_id": remote_id}


def _checked_name(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise CatalogueError(f"{name!r} cannot be the name of a model; a name is {NAME_RULE}. Set it with --name.")
    return name


def _replace(path: Path, text: str, expected: tuple[str, ...]) -> None:
    """Write `text` in place of the user's file if it reads back as the models expected."""
    file = reading.parse(text, str(path))
    reading.check_own(file, reading.load_packaged(), str(path))
    if {model.name for model in file.models} != set(expected):
        raise CatalogueError(f"{path} is laid out in a way that cannot be changed safely; edit it by hand.")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise CatalogueError("A name or path with characters that are not Unicode cannot be kept.") from None
    write_file(path, data, force=True)


def _comments_at_the_end(block: str) -> str:
    """The comment lines that close a block: they speak of the entry that follows it."""
    lines = block.splitlines(keepends=True)
    start = len(lines)
    while start > 1 and (not lines[start - 1].strip() or lines[start - 1].lstrip().startswith("#")):
        start -= 1
    return "".join(lines[start:])


def _to_toml(entry: dict[str, Any]) -> str:
    lines = ["[[models]]", *(f"{key} = {_toml(value)}" for key, value in entry.items() if not isinstance(value, dict))]
    for key, table in entry.items():
        if isinstance(table, dict):
            lines += [f"[models.{key}]", *(f"{inner} = {_toml(value)}" for inner, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A JSON text is a TOML text, but for DEL, which TOML wants escaped; numbers and booleans are the same in both."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
