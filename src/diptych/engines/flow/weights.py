"""A model's folder on disk: `model.json`, safetensors files and a tokenizer. Read strictly, written whole.

`model.json` says the shape of every network, the schedule, the settings a request may use, and the SHA-256 of every
other file. The SHA-256 of `model.json` itself therefore names the weights exactly: it is what a recipe keeps.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from diptych.engines.flow.autoencoder import AutoencoderConfig
from diptych.engines.flow.flux2 import Flux2Config
from diptych.engines.flow.text import TableEncoderConfig
from diptych.errors import WeightsError

FORMAT = 1
TRANSFORMER, AUTOENCODER, TEXT = "transformer.safetensors", "autoencoder.safetensors", "text.safetensors"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class ModelFile:
    """What `model.json` says."""

    transformer: Flux2Config
    autoencoder: AutoencoderConfig
    text: TableEncoderConfig
    mu: float
    """Shift of the schedule towards noise; see `schedule.schedule`."""
    identity: str
    """SHA-256 of `model.json`."""


def read_model(folder: Path) -> ModelFile:
    """Read `model.json` and check every file it lists. Raises WeightsError: missing, truncated or altered."""
    path = folder / "model.json"
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
        if content["format"] != FORMAT:
            raise WeightsError(f"{path} has format {content['format']}; this version of diptych reads {FORMAT}.")
        files = {str(name): _digest(name, digest) for name, digest in content["files"].items()}
        model = ModelFile(
            transformer=_config(Flux2Config, content["transformer"]),
            autoencoder=_config(AutoencoderConfig, content["autoencoder"]),
            text=_config(TableEncoderConfig, content["text"]),
            mu=_finite(content["schedule"]["mu"]),
            identity=hashlib.sha256(raw).hexdigest(),
        )
    except OSError as error:
        raise WeightsError(f"The model's description {path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} does not describe a model: {type(error).__name__}: {error}.") from None
    for name in (TRANSFORMER, AUTOENCODER, TEXT, TOKENIZER):
        if name not in files:
            raise WeightsError(f"{path} lists no {name}; it lists {', '.join(sorted(files)) or 'nothing'}.")
        _check(folder / name, files[name])
    return model


def _digest(name: str, digest: Any) -> str:
    if not isinstance(digest, str):
        raise TypeError(f"the SHA-256 of {name} is {digest!r}")
    return digest


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"mu is {value!r}")
    return number


def _check(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.") from None
    if found != expected:
        raise WeightsError(
            f"The weights file {path} was truncated or altered: its SHA-256 begins {found[:12]}, not {expected[:12]}. "
            "Install diptych again, or train the model again."
        )


def _config(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A network's shape from JSON. Every number must be one, and above zero; the shape itself checks the rest."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for name, value in values.items():
        default = defaults.get(name)
        items = value if isinstance(default, tuple) and isinstance(value, list) else [value]
        wanted = type(default[0] if isinstance(default, tuple) else default)
        if name in defaults and not (items and all(_fits(item, wanted) for item in items)):
            raise ValueError(f"{name} is {value!r}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _fits(value: Any, wanted: type) -> bool:
    if wanted is bool or isinstance(value, bool):
        return wanted is bool and isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and 0 < value < 2**31
    return isinstance(value, int | float) and 0 < value < math.inf


def load_into(module: nn.Module, path: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Fill `module`, built on the meta device, from a safetensors file, in `dtype` on `device`.

    Strict: every missing, extra and misshapen key is named in a WeightsError before a tensor is read.
    """
    wanted = module.state_dict()
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            compare_keys({k: tuple(v.shape) for k, v in wanted.items()}, found, path)
            tensors = {k: _cast(file.get_tensor(k), dtype) for k in wanted}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a complete safetensors file: {error}.") from None
    module.load_state_dict(tensors, assign=True)
    module.eval().requires_grad_(False)


def compare_keys(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raise a WeightsError that names every difference between the keys a network has and those a file holds."""
    complaints = [f"missing {key}" for key in wanted if key not in found]
    complaints += [f"unknown {key}" for key in found if key not in wanted]
    complaints += [
        f"{key} is {found[key]}, must be {shape}" for key, shape in wanted.items() if found.get(key, shape) != shape
    ]
    if complaints:
        shown = "; ".join(complaints[:8]) + (f"; and {len(complaints) - 8} more" if len(complaints) > 8 else "")
        raise WeightsError(f"{path} does not fit the network: {shown}.")


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def write_model(
    folder: Path,
    *,
    transformer: tuple[Flux2Config, Mapping[str, Tensor]],
    autoencoder: tuple[AutoencoderConfig, Mapping[str, Tensor]],
    text: tuple[TableEncoderConfig, Mapping[str, Tensor]],
    tokenizer: str,
    mu: float,
    settings: Mapping[str, Any],
) -> None:
    """Write a model's folder in half precision, `model.json` last, so that an interrupted write is never loaded.

    settings: what a request may set, in the catalogue's form.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").unlink(missing_ok=True)
    parts = {TRANSFORMER: transformer, AUTOENCODER: autoencoder, TEXT: text}
    for name, (_, state) in parts.items():
        half = {k: _cast(v.detach(), torch.float16).contiguous() for k, v in state.items()}
        save_file(half, folder / name)
    (folder / TOKENIZER).write_text(tokenizer, "utf-8")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (*parts, TOKENIZER)}
    content = {
        "format": FORMAT,
        "engine": "flow",
        "network": "flux2",
        "transformer": dataclasses.asdict(transformer[0]),
        "autoencoder": dataclasses.asdict(autoencoder[0]),
        "text": dataclasses.asdict(text[0]),
        "schedule": {"mu": mu},
        "settings": settings,
        "files": hashes,
    }
    (folder / "model.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
