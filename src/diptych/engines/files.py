"""Models' folders on disk: what every engine's `model.json` and safetensors files have in common.

`model.json` lists the SHA-256 of every other file, so its own SHA-256 names the weights exactly. Everything is read
strictly: what is missing, truncated, altered or of another shape is a WeightsError that names it. Matrices can be
stored in 8 bits with one scale for each row (`KEY` as int8, `KEY.scale` as float32): half of half precision.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from diptych.errors import WeightsError

FORMAT = 1
DESCRIPTION = "model.json"
SCALE = ".scale"
SAMPLES, SAMPLE = 64, 4096
"""Blocks that a fingerprint reads of each file, and bytes of a block."""
Model = TypeVar("Model")


def read_description(folder: Path, needed: Iterable[str], build: Callable[[Mapping[str, Any], str], Model]) -> Model:
    """Read `model.json`, let `build` make a record of it, and check every needed file against its SHA-256.

    build: takes what the file says and the file's own SHA-256; it may raise what bad values raise. Raises WeightsError.
    """
    path = folder / DESCRIPTION
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
        if content["format"] != FORMAT:
            raise WeightsError(f"{path} has format {content['format']}; this version of diptych reads {FORMAT}.")
        files = {str(name): _digest(name, digest) for name, digest in content["files"].items()}
        model = build(content, hashlib.sha256(raw).hexdigest())
    except OSError as error:
        raise WeightsError(f"The model's description {path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} does not describe a model: {type(error).__name__}: {error}.") from None
    for name in needed:
        if name not in files:
            raise WeightsError(f"{path} lists no {name}; it lists {', '.join(sorted(files)) or 'nothing'}.")
        _check(folder / name, files[name])
    return model


def _digest(name: str, digest: Any) -> str:
    if not isinstance(digest, str):
        raise TypeError(f"the SHA-256 of {name} is {digest!r}")
    return digest


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


def config_from(kind: type[Model], values: Mapping[str, Any]) -> Model:
    """A network's shape from JSON. Every number must be one, and above zero; the shape itself checks the rest."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
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


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256 of every file's header, size and 64 blocks of 4 KiB spread over it: of safetensors files.

    Tells weights apart that were trained differently, in milliseconds. It does not prove that a file is whole:
    `diptych weights check` does. Raises WeightsError for a file that cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                digest.update(stream.read(length))
                size = stream.seek(0, 2)
                digest.update(size.to_bytes(8, "little"))
                start = 8 + length
                for i in range(SAMPLES):
                    stream.seek(start + (size - start) * i // SAMPLES)
                    digest.update(stream.read(SAMPLE))
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from None
    return digest.hexdigest()


def load_into(module: nn.Module, path: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Fill `module`, built on the meta device, from a safetensors file, in `dtype` on `device`.

    Strict: every missing, extra and misshapen key is named in a WeightsError before a tensor is read.
    """
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            found = {key: tuple(part.get_shape()) for key, part in slices.items()}
            rounded = [key for key in wanted if key in slices and slices[key].get_dtype() == "I8"]
            compare_keys({**wanted, **{key + SCALE: wanted[key][:1] for key in rounded}}, found, path)
            tensors = {}
            for key in wanted:
                tensor = file.get_tensor(key)
                if key in rounded:
                    tensor = from_rows(tensor, file.get_tensor(key + SCALE))
                tensors[key] = tensor.to(dtype) if tensor.is_floating_point() else tensor
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


def to_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (or a kernel) in 8 bits and the scale of each row: the largest value of a row becomes 127."""
    scale = matrix.detach().float().flatten(1).abs().amax(1).clamp_min(1e-12) / 127
    rounded = (matrix.detach().float() / scale.view(-1, *[1] * (matrix.ndim - 1))).round().to(torch.int8)
    return rounded, scale


def from_rows(rounded: Tensor, scale: Tensor) -> Tensor:
    """What `to_rows` made, in float32."""
    return rounded.float() * scale.float().view(-1, *[1] * (rounded.ndim - 1))


def write_folder(
    folder: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    texts: Mapping[str, str],
    content: Mapping[str, Any],
    *,
    eight_bits: bool,
) -> None:
    """Write a model's folder, `model.json` last, so that an interrupted write is never loaded.

    parts: tensors of each safetensors file; in half precision, or, with `eight_bits`, matrices in 8 bits. texts: other
    files. content: what `model.json` says beside the format and the files' SHA-256.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    for name, state in parts.items():
        stored: dict[str, Tensor] = {}
        for key, value in state.items():
            if eight_bits and value.is_floating_point() and value.ndim >= 2:
                rounded, stored[key + SCALE] = to_rows(value)
                stored[key] = rounded.contiguous()
            else:
                half = value.detach().to(torch.float16) if value.is_floating_point() else value.detach()
                stored[key] = half.contiguous()
        save_file(stored, folder / name)
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (*parts, *texts)}
    whole = {"format": FORMAT, **content, "files": hashes}
    (folder / DESCRIPTION).write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
