"""Where things are kept, keys, and what a person set once for all.

Everything of one user lies in one home folder: `--home` on the command line, else the environment variable
`DIPTYCH_HOME`, else the platform's user data folder.

    diptych.toml    dollars_per_hour, store, text_model, concurrency: see `Config`
    keys.json       keys of vendors, readable by the user alone; the environment comes first
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from diptych.errors import InvalidRequest, MissingKey, SettingsError, near

HOME_VARIABLE = "DIPTYCH_HOME"


def home() -> Path:
    """The home folder, created when something is first written to it."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_path

    return user_data_path("diptych", appauthor=False)


def user_catalogue() -> Path:
    """The models that this user added."""
    return home() / "models.toml"


def probe_cache() -> Path:
    """What was measured of this machine's arithmetic."""
    return home() / "probe.json"


def config_file() -> Path:
    return home() / "diptych.toml"


def keys_file() -> Path:
    return home() / "keys.json"


# What a person set


@dataclass(frozen=True, kw_only=True)
class Config:
    """What `diptych.toml` says. Every key may be left out."""

    dollars_per_hour: float | None = None
    """What this machine costs. None: unknown, and so is the cost of a picture that is made here."""
    store: str | None = None
    """URL of the database; None: SQLite in the home folder."""
    pictures: str | None = None
    """Folder or fsspec URL of the pictures; None: a folder in the home folder."""
    text_model: str | None = None
    """Which model writes, describes and improves where none is named."""
    concurrency: Mapping[str, int] = field(default_factory=dict)
    """Requests at once, by provider."""


def config() -> Config:
    """Read `diptych.toml`; without the file, everything is unset. Raises SettingsError."""
    path = config_file()
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from None
    known = [f.name for f in fields(Config)]
    for name in values:
        if name not in known:
            hint = f" Did you mean {near(name, known)[0]}?" if near(name, known) else ""
            raise SettingsError(f"{path} sets {name}, which is not a setting.{hint} There are {', '.join(known)}.")
    rate = values.get("dollars_per_hour")
    if rate is not None and not (_is_number(rate) and math.isfinite(rate) and rate >= 0):
        raise SettingsError(f"{path}: dollars_per_hour is {rate!r}; it is a number of at least 0.")
    for name in ("store", "pictures", "text_model"):
        if name in values and not (isinstance(values[name], str) and values[name].strip()):
            raise SettingsError(f"{path}: {name} is {values[name]!r}; it is text.")
    limits = values.get("concurrency", {})
    if not isinstance(limits, dict):
        raise SettingsError(f"{path}: concurrency is a table, as in: concurrency = {{ openai = 4 }}")
    for provider, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise SettingsError(f"{path}: concurrency.{provider} is {limit!r}; it is a whole number of at least 1.")
    return Config(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Keys


@dataclass(frozen=True)
class KeySource:
    """Where a vendor's key is looked for, and where a person gets one."""

    variables: tuple[str, ...]
    page: str


KEYS = {
    "google": KeySource(("GEMINI_API_KEY", "GOOGLE_API_KEY"), "https://aistudio.google.com/apikey"),
    "black_forest_labs": KeySource(("BFL_API_KEY",), "https://dashboard.bfl.ai"),
    "openai": KeySource(("OPENAI_API_KEY",), "https://platform.openai.com/api-keys"),
    "huggingface": KeySource(("HF_TOKEN",), "https://huggingface.co/settings/tokens"),
    "replicate": KeySource(("REPLICATE_API_TOKEN",), "https://replicate.com/account/api-tokens"),
    "fal": KeySource(("FAL_KEY",), "https://fal.ai/dashboard/keys"),
}


def find_key(provider: str) -> str | None:
    """The key of `provider`: from the environment, else from the file of keys; None when there is none.

    Raises SettingsError for a value that can be none, and a file of keys that cannot be read or that others may read.
    """
    variables = KEYS[provider].variables if provider in KEYS else (f"{provider.upper()}_API_KEY",)
    for variable in variables:
        value = os.environ.get(variable, "").strip()
        if value and not _is_key(value):
            raise SettingsError(f"{variable} holds no key: a key is one word of plain characters.")
        if value:
            return value
    return stored_keys().get(provider)


def key(provider: str) -> str:
    """As `find_key`; raises MissingKey when there is none."""
    found = find_key(provider)
    if found is None:
        source = KEYS.get(provider)
        variables = source.variables if source else (f"{provider.upper()}_API_KEY",)
        raise MissingKey(provider, variables, source.page if source else None)
    return found


def store_key(provider: str, value: str) -> Path:
    """Keep a key in the file of keys, which only this user can read. Raises SettingsError, InvalidRequest."""
    value = value.strip()
    if not _is_key(value):
        raise InvalidRequest(f"That is no key for {provider}: a key is one word of plain characters.")
    return _write_keys({**stored_keys(), provider: value})


def _is_key(value: str) -> bool:
    return value.isascii() and value.isprintable() and bool(value) and " " not in value


def forget_key(provider: str) -> bool:
    """Take a key out of the file of keys; False when it was not there."""
    keys = stored_keys()
    if provider not in keys:
        return False
    del keys[provider]
    _write_keys(keys)
    return True


def redact(text: str) -> str:
    """`text` without any key of this user: what a vendor answers may repeat what it was sent."""
    for value in _all_keys():
        text = text.replace(value, "[key]")
    return text


def _all_keys() -> Iterator[str]:
    for source in KEYS.values():
        for variable in source.variables:
            value = os.environ.get(variable, "").strip()
            if len(value) >= 8:  # what is shorter is no key, and would blot out ordinary words
                yield value
    with contextlib.suppress(SettingsError):
        yield from (value for value in stored_keys().values() if len(value) >= 8)


def stored_keys() -> dict[str, str]:
    """What the file of keys holds, by provider. Raises SettingsError as `find_key` does."""
    path = keys_file()
    try:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SettingsError(f"{path} can be read by others, so it is not used. Mend it with: chmod 600 {path}")
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError:  # says nothing of the content, which may be keys
        raise SettingsError(f"{path} is not the file of keys that diptych writes: it is not JSON.") from None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise SettingsError(f"{path} is not the file of keys that diptych writes: it holds no table of texts.")
    return values


def _write_keys(keys: Mapping[str, str]) -> Path:
    path = keys_file()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # never readable by others
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(dict(sorted(keys.items())), stream, indent=2)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path
