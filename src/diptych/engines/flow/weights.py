"""Weights on disk: released files in either layout, and a model's folder of our own. Read strictly, in bounded memory.

Three things are read: a safetensors file as Black Forest Labs publishes it; a folder as diffusers saves it, whole or in
shards, with ``config.json``; and our own folder, whose `model.json` says the shape of every network, the schedule, the
settings a request may use, and the SHA-256 of every other file. The SHA-256 of `model.json` itself therefore names the
weights exactly: it is what a recipe keeps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from diptych.engines.files import DESCRIPTION, compare_keys, config_from, read_description, write_folder
from diptych.engines.flow import layouts
from diptych.engines.flow.autoencoder import Autoencoder, AutoencoderConfig
from diptych.engines.flow.detection import LAYOUTS, TransformerConfig, autoencoder_of, described_by, transformer_of
from diptych.engines.flow.flux1 import Flux1, Flux1Config
from diptych.engines.flow.flux2 import Flux2, Flux2Config
from diptych.engines.flow.flux3 import Flux3
from diptych.engines.flow.layouts import DROPPED, HALVES, MATRIX, Layout, Place, swap_halves
from diptych.engines.flow.text import TableEncoderConfig
from diptych.errors import WeightsError

TRANSFORMER, AUTOENCODER, TEXT = "transformer.safetensors", "autoencoder.safetensors", "text.safetensors"
TOKENIZER = "tokenizer.json"

TRANSFORMER_PART, AUTOENCODER_PART = "transformer", "vae"
"""Folders of a whole pipeline that diffusers saved."""
PIPELINE, CONFIG = "model_index.json", "config.json"
DIFFUSERS_FILES = ("diffusion_pytorch_model.safetensors", "model.safetensors")
BFL_AUTOENCODER = "ae.safetensors"

FLOATS, INTEGERS = ("BF16", "F16", "F32"), ("I64",)
"""How safetensors names the types that weights, and that counters, may be stored in."""
SHOWN = 8
"""Differences that a message names; it counts the others."""

Transformer = Flux1 | Flux2 | Flux3


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, as its header says."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """As safetensors names it: F32, BF16, I64, ..."""

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * (int(found[0]) if (found := re.search(r"\d+", self.dtype)) else 8) // 8


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network on disk: what the headers say. No tensor is read yet."""

    path: Path
    """The file, or the folder: what messages name."""
    tensors: Mapping[str, Stored]
    config: Mapping[str, Any] | None = None
    """diffusers' ``config.json``; None for a single file."""

    def without(self, prefix: str) -> Checkpoint:
        """The same, less the keys that begin with `prefix`."""
        return replace(self, tensors={k: v for k, v in self.tensors.items() if not k.startswith(prefix)})

    def read(self, wanted: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Each key with its tensor, on the CPU, as stored: valid only until the next one is asked for.

        Tensors are memory-mapped. Pages that were read count as this process's memory until their file is closed, so
        files are opened anew whenever a twentieth of the whole was read. Raises WeightsError.
        """
        allowed, mapped = sum(stored.bytes for stored in self.tensors.values()) / 20, 0
        with contextlib.ExitStack() as stack:
            handles: dict[Path, Any] = {}
            for key in wanted:
                path = self.tensors[key].file
                size = self.tensors[key].bytes
                mapped += size
                if mapped > allowed:
                    handles.clear()
                    stack.close()
                    mapped = size
                try:
                    if path not in handles:
                        handles[path] = stack.enter_context(safe_open(path, framework="pt"))
                    tensor = handles[path].get_tensor(key)
                except (SafetensorError, OSError) as error:
                    raise WeightsError(f"{path} is not a complete safetensors file: {error}.") from None
                yield key, tensor


def open_checkpoint(path: Path, part: str = TRANSFORMER_PART) -> Checkpoint:
    """Find the weights of one network and read their headers.

    path: a safetensors file; a folder as diffusers saves one network, whole or in shards; a folder with a whole
    pipeline of diffusers, of which `part` names the network's folder; or a folder with BFL's files, where the
    autoencoder (part `vae`) is ``ae.safetensors`` and the transformer the only other one.
    Raises WeightsError: missing, truncated, not safetensors, ambiguous, or not readable.
    """
    if not path.is_dir():
        return Checkpoint(path, _header(path))
    if (path / PIPELINE).is_file():
        path = path / part
    if (path / CONFIG).is_file():
        config = _json(path / CONFIG)
        tensors: dict[str, Stored] = {}
        for file in _shards(path):
            more = _header(file)
            if twice := tensors.keys() & more.keys():
                raise WeightsError(f"{file} holds {min(twice)}, which another file of {path} holds too.")
            tensors |= more
        return Checkpoint(path, tensors, config)
    found = {file.name: file for file in sorted(path.glob("*.safetensors"))}
    autoencoder = found.pop(BFL_AUTOENCODER, None)
    if part == AUTOENCODER_PART and autoencoder is not None:
        return Checkpoint(autoencoder, _header(autoencoder))
    if part != AUTOENCODER_PART and len(found) == 1:
        (file,) = found.values()
        return Checkpoint(file, _header(file))
    raise WeightsError(
        f"{path} holds no {part}: there is neither {PIPELINE} nor {CONFIG}, as diffusers writes them, nor just one "
        f"safetensors file of Black Forest Labs. Found: {', '.join(found) or 'none'}. Give the file itself."
    )


def _header(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return {key: Stored(path, tuple(s.get_shape()), str(s.get_dtype())) for key, s in slices.items()}
    except FileNotFoundError:
        raise WeightsError(f"There is no weights file {path}.") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a complete safetensors file: {error}.") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} is not a JSON object.")
    return content


def _shards(folder: Path) -> list[Path]:
    """The safetensors files of a network that diffusers saved."""
    for name in DIFFUSERS_FILES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            places = _json(index).get("weight_map")
            if not isinstance(places, dict) or not all(
                isinstance(p, str) and Path(p).name == p for p in places.values()
            ):
                raise WeightsError(f"{index} does not say in which file of the folder each weight is.")
            return [folder / file for file in sorted(set(places.values()))]
    raise WeightsError(f"{folder} has no weights: neither {' nor '.join(DIFFUSERS_FILES)}, whole or with an index.")


def transformer_config(checkpoint: Checkpoint) -> TransformerConfig:
    """Which FLUX it is. Raises WeightsError where it is none."""
    if checkpoint.config is None:
        return transformer_of(_shapes(checkpoint), str(checkpoint.path))
    config = described_by(checkpoint.config, str(checkpoint.path / CONFIG))
    if isinstance(config, AutoencoderConfig):
        raise WeightsError(f"{checkpoint.path} holds an autoencoder, not a transformer.")
    return config


def autoencoder_config(checkpoint: Checkpoint) -> AutoencoderConfig:
    """Which autoencoder it is. Raises WeightsError where it is none."""
    if checkpoint.config is None:
        return autoencoder_of(_shapes(checkpoint), str(checkpoint.path))
    config = described_by(checkpoint.config, str(checkpoint.path / CONFIG))
    if not isinstance(config, AutoencoderConfig):
        raise WeightsError(f"{checkpoint.path} holds a transformer, not an autoencoder.")
    return config


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {key: stored.shape for key, stored in checkpoint.tensors.items()}


def build(config: TransformerConfig) -> Transformer:
    """A transformer on the meta device: it has shapes, and takes no memory."""
    with torch.device("meta"):
        if isinstance(config, Flux1Config):
            return Flux1(config)
        return Flux2(config) if isinstance(config, Flux2Config) else Flux3(config)


def load_transformer(
    path: Path, device: torch.device, dtype: torch.dtype, config: TransformerConfig | None = None
) -> Transformer:
    """A transformer from any place that `open_checkpoint` reads, or from a model's folder of our own.

    config: its shape, where the files do not say it. Raises WeightsError as `open_checkpoint` and `load_into` do.
    """
    if (path / DESCRIPTION).is_file():
        model = read_model(path)
        network = build(model.transformer)
        load_into(network, path / TRANSFORMER, device, dtype)
        return network
    checkpoint = open_checkpoint(path).without(DROPPED)
    config = config or transformer_config(checkpoint)
    blocks = sum(number for name, number in dataclasses.asdict(config).items() if name.endswith("_blocks"))
    if blocks > len(checkpoint.tensors):  # building them would take forever
        raise WeightsError(f"{checkpoint.path} has {len(checkpoint.tensors)} tensors, too few for {blocks} blocks.")
    try:
        network = build(config)
    except RuntimeError as error:
        raise WeightsError(f"{checkpoint.path} describes a network of an impossible size: {error}.") from None
    load_into(network, checkpoint, device, dtype, None if checkpoint.config is None else LAYOUTS[type(config)])
    return network


def load_autoencoder(
    path: Path, device: torch.device, dtype: torch.dtype, config: AutoencoderConfig | None = None
) -> Autoencoder:
    """An autoencoder, in the same way."""
    if (path / DESCRIPTION).is_file():
        config = read_model(path).autoencoder
        checkpoint = open_checkpoint(path / AUTOENCODER)
    else:
        checkpoint = open_checkpoint(path, AUTOENCODER_PART)
        config = config or autoencoder_config(checkpoint)
    with torch.device("meta"):
        network = Autoencoder(config)
    layout = None if checkpoint.config is None else layouts.autoencoder(len(config.multipliers))
    load_into(network, checkpoint, device, dtype, layout)
    return network


def load_into(
    module: nn.Module,
    source: Path | Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    layout: Layout | None = None,
) -> None:
    """Fill `module`, built on the meta device, in `dtype` on `device`; it is in evaluation mode afterwards.

    layout: how the source keeps the network, where it does so in diffusers' way. Strict: every missing, extra,
    misshapen and wrongly typed key is named in a WeightsError before a tensor is read. Memory at most: the weights,
    and a twentieth of what is read, for tensors are put in their place one by one.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    empty = module.state_dict()
    parts = {part.key: part for key, tensor in empty.items() for part in _parts(key, tensor, layout)}
    _compare(parts, checkpoint)
    filled: dict[str, Tensor] = {}
    for key, tensor in checkpoint.read(parts):
        part = parts[key]
        if part.ours not in filled:
            whole = empty[part.ours]
            kind = dtype if whole.is_floating_point() else whole.dtype
            filled[part.ours] = torch.empty(whole.shape, dtype=kind, device=device)
        changed = swap_halves(tensor) if part.change == HALVES else tensor
        target = filled[part.ours]
        target = target if part.rows is None else target[part.rows]
        target.copy_(changed.view(target.shape))
    module.load_state_dict(filled, assign=True)
    module.eval().requires_grad_(False)


@dataclass(frozen=True)
class _Part:
    """A tensor in a checkpoint, and where it belongs in the network."""

    key: str
    shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    """As it may be stored."""
    ours: str
    rows: slice | None
    change: str | None


def _parts(key: str, tensor: Tensor, layout: Layout | None) -> Iterator[_Part]:
    """Where a checkpoint in `layout` keeps one of the network's tensors."""
    shape = tuple(tensor.shape)
    dtypes = FLOATS if tensor.is_floating_point() else INTEGERS
    place = Place((key,)) if layout is None else layout.to_diffusers(key)
    if place.change == MATRIX:
        shape = shape[:2]
    if len(place.keys) == 1:
        yield _Part(place.keys[0], shape, dtypes, key, None, place.change)
    else:
        for part, rows in place.rows(shape[0]):
            yield _Part(part, (rows.stop - rows.start, *shape[1:]), dtypes, key, rows, place.change)


def _compare(parts: Mapping[str, _Part], checkpoint: Checkpoint) -> None:
    """Raise a WeightsError that names every difference between what is wanted and what the headers say."""
    compare_keys({key: part.shape for key, part in parts.items()}, _shapes(checkpoint), checkpoint.path)
    wrong = [key for key, part in parts.items() if checkpoint.tensors[key].dtype not in part.dtypes]
    if wrong:
        shown = "; ".join(
            f"{key} is {checkpoint.tensors[key].dtype}, must be {' or '.join(parts[key].dtypes)}"
            for key in wrong[:SHOWN]
        )
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise WeightsError(f"{checkpoint.path} has weights of a wrong type: {shown}{more}.")


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

    def build(content: Mapping[str, Any], identity: str) -> ModelFile:
        return ModelFile(
            transformer=config_from(Flux2Config, content["transformer"]),
            autoencoder=config_from(AutoencoderConfig, content["autoencoder"]),
            text=config_from(TableEncoderConfig, content["text"]),
            mu=_finite(content["schedule"]["mu"]),
            identity=identity,
        )

    return read_description(folder, (TRANSFORMER, AUTOENCODER, TEXT, TOKENIZER), build)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"mu is {value!r}")
    return number


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
    content = {
        "engine": "flow",
        "network": "flux2",
        "transformer": dataclasses.asdict(transformer[0]),
        "autoencoder": dataclasses.asdict(autoencoder[0]),
        "text": dataclasses.asdict(text[0]),
        "schedule": {"mu": mu},
        "settings": settings,
    }
    parts = {TRANSFORMER: transformer[1], AUTOENCODER: autoencoder[1], TEXT: text[1]}
    write_folder(folder, parts, {TOKENIZER: tokenizer}, content, eight_bits=False)
