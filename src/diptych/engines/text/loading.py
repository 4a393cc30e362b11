"""The wanted tensors out of a folder of safetensors files: strictly, and with hardly more memory than they take.

Strict means: everything wanted is there in the right shape, and whatever else is there is on a list of things known
to be left out (a language head, a vision tower, layers past the last tapped one).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diptych.engines.files import fingerprint
from diptych.errors import WeightsError

FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number. What is quantised has scales of its own, which are not read here."""
AT_ONCE = 256 * 2**20
"""Bytes that are read through one mapping: pages of a file that was read count as memory until it is closed."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        size = FLOATS.get(self.dtype, 1)
        for side in self.shape:
            size *= side
        return size


@dataclass(frozen=True)
class Checkpoint:
    """What the files of a folder hold, by key. Nothing is read but their headers."""

    folder: Path
    tensors: Mapping[str, Stored]

    @property
    def files(self) -> list[Path]:
        return sorted({stored.file for stored in self.tensors.values()})

    def fingerprint(self) -> str:
        """As `files.fingerprint`: tells weights apart that were trained differently."""
        return fingerprint(self.files)


def read_json(path: Path) -> dict[str, Any]:
    """A table in JSON. Raises WeightsError."""
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds no table.")
    return values


def open_checkpoint(folder: Path) -> Checkpoint:
    """The headers of `model.safetensors`, or of the parts that `model.safetensors.index.json` names.

    Raises WeightsError for a file that is missing, cut short or no safetensors, and a part without what the index says.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return Checkpoint(folder, _headers(single))
    if not index.is_file():
        other = sorted(path.name for path in folder.glob("*.bin")) if folder.is_dir() else []
        hint = f" {', '.join(other)} is a pickle, which is not read: it can run any program." if other else ""
        raise WeightsError(f"There is no {single.name} in {folder}, and no {index.name}.{hint}")
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise WeightsError(f"{index} has no weight_map of keys and file names.")
    tensors: dict[str, Stored] = {}
    for name in sorted(set(named.values())):
        if Path(name).name != name:
            raise WeightsError(f"{index} names {name!r}, which is not a file beside it.")
        part = _headers(folder / name)
        said = {key for key, file in named.items() if file == name}
        if said != set(part):
            wrong = [f"missing {key}" for key in sorted(said - set(part))]
            wrong += [f"unknown {key}" for key in sorted(set(part) - said)]
            raise WeightsError(f"{folder / name} does not hold what {index.name} says: {_listed(wrong)}.")
        tensors.update(part)
    return Checkpoint(folder, tensors)


def _headers(path: Path) -> dict[str, Stored]:
    found = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                view = file.get_slice(key)
                found[key] = Stored(path, tuple(view.get_shape()), str(view.get_dtype()))
    except FileNotFoundError:
        raise WeightsError(f"There is no file {path}.") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a complete safetensors file: {error}.") from None
    return found


def match(
    checkpoint: Checkpoint,
    wanted: Mapping[str, tuple[int, ...]],
    *,
    prefixes: Sequence[str],
    left_out: Iterable[str],
    renamed: Mapping[str, str],
) -> dict[str, str]:
    """The key in the files for every key of a module, by that one of `prefixes` under which the files have most.

    left_out: regular expressions, matched against whole keys; `{p}` in them stands for the prefix.
    renamed: whole names that keys of the module have in the files, where the files have them.
    Raises WeightsError that names every missing, unknown and misshapen key, and those of a type that is not read.
    """
    found = checkpoint.tensors
    prefix = max(prefixes, key=lambda p: sum(p + key in found for key in wanted))
    names = {key: renamed[key] if renamed.get(key) in found else prefix + key for key in wanted}
    known = [re.compile(pattern.replace("{p}", re.escape(prefix))) for pattern in left_out]
    taken = set(names.values())
    wrong = [f"missing {name}" for name in names.values() if name not in found]
    wrong += [f"unknown {key}" for key in found if key not in taken and not any(k.fullmatch(key) for k in known)]
    for key, shape in wanted.items():
        stored = found.get(names[key])
        if stored is not None and stored.shape != shape:
            wrong.append(f"{names[key]} is {stored.shape}, must be {shape}")
        elif stored is not None and stored.dtype not in FLOATS:
            wrong.append(f"{names[key]} is of type {stored.dtype}, must be one of {', '.join(FLOATS)}")
    if wrong:
        raise WeightsError(f"The weights in {checkpoint.folder} do not fit the text encoder: {_listed(wrong)}.")
    return names


def _listed(complaints: Sequence[str]) -> str:
    more = f"; and {len(complaints) - 8} more" if len(complaints) > 8 else ""
    return "; ".join(complaints[:8]) + more


def read_tensors(
    checkpoint: Checkpoint, names: Mapping[str, str], device: torch.device, dtype_of: Callable[[str], torch.dtype]
) -> dict[str, Tensor]:
    """The tensors of `names` (key of the module: key in the files) on `device`.

    On the CPU, what has the right dtype already stays a view of its file: it takes no memory that the system could not
    take back. Everything else is converted one tensor at a time. Raises WeightsError.
    """
    tensors: dict[str, Tensor] = {}
    for group in _groups(checkpoint, names):
        path = checkpoint.tensors[names[group[0]]].file
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                for key in group:
                    tensors[key] = file.get_tensor(names[key]).to(dtype_of(key))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is not a complete safetensors file: {error}.") from None
    return tensors


def _groups(checkpoint: Checkpoint, names: Mapping[str, str]) -> Iterable[list[str]]:
    """Keys of one file each, of about `AT_ONCE` bytes; what is larger comes first, while there is room beside it."""
    stored = {key: checkpoint.tensors[name] for key, name in names.items()}
    at_once = min(AT_ONCE, sum(one.nbytes for one in stored.values()) // 32)
    large = [key for key, one in stored.items() if one.nbytes > at_once]
    yield from ([key] for key in sorted(large, key=lambda key: -stored[key].nbytes))
    for path in checkpoint.files:
        group: list[str] = []
        for key, one in stored.items():
            if one.file == path and one.nbytes <= at_once:
                group.append(key)
                if sum(stored[key].nbytes for key in group) >= at_once:
                    yield group
                    group = []
        if group:
            yield group
