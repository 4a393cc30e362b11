"""LoRA: small changes to a network's weights, W + strength alpha / rank (up down), from the files that people share.

Three ways of naming what is changed are read, with or without the prefixes that trainers add: Black Forest Labs'
(``double_blocks.0.img_attn.qkv``), diffusers' (``transformer_blocks.0.attn.to_q``, a part of the former), and kohya's,
which joins either by underscores (``lora_unet_double_blocks_0_img_attn_qkv``). Nothing is skipped: a key that matches
nothing is an error that names it, before anything changes. The changes are merged into the weights, so a step takes no
longer than without; the originals of what was touched are kept in the machine's memory, and put back exactly.
Source of the names: diffusers 0.42.1, ``loaders/lora_conversion_utils.py`` and ``loaders/peft.py``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from diptych.engines.flow.detection import LAYOUTS, TransformerConfig
from diptych.engines.flow.layouts import HALVES, swap_halves
from diptych.engines.flow.weights import FLOATS, SHOWN, Checkpoint, Transformer, build, open_checkpoint
from diptych.errors import WeightsError

PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "")
JOINED_PREFIXES = ("lora_unet_", "lora_transformer_")
TEXT_PREFIXES = ("text_encoder", "text_model", "lora_te", "te1", "te2", "base_model.model.text_model")
ROLES = {"lora_A": "down", "lora_down": "down", "lora_B": "up", "lora_up": "up", "alpha": "alpha"}
_KEY = re.compile(r"(?P<module>.+?)\.(?:(?P<role>lora_[AB]|lora_down|lora_up)(?:\.default)?\.weight|(?P<alpha>alpha))")
OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    ".diff": "whole differences",
    "lora_B.bias": "a LoRA with biases",
}
METADATA = "lora_adapter_metadata"
"""Where diffusers keeps the alphas of a file that it saved: JSON among a safetensors file's own words."""


@dataclass(frozen=True)
class Target:
    """A weight that a LoRA may name, or a part of one."""

    key: str
    shape: tuple[int, int]
    rows: slice | None = None
    swapped: bool = False
    """The LoRA was made for the other order of the two halves; see `layouts`."""


@dataclass(frozen=True)
class Change:
    """scale (up down), added to a target."""

    target: Target
    down: Tensor
    """(rank, in)"""
    up: Tensor
    """(out, rank)"""
    scale: float

    def product(self, device: torch.device) -> Tensor:
        """What is added at strength 1: (out, in), float32."""
        product = self.scale * (self.up.to(device, torch.float32) @ self.down.to(device, torch.float32))
        return swap_halves(product) if self.target.swapped else product


@dataclass(frozen=True)
class Lora:
    """A LoRA that fits a network."""

    path: Path
    changes: tuple[Change, ...]


def read_lora(path: Path, config: TransformerConfig) -> Lora:
    """Read a LoRA for networks of this shape.

    Raises WeightsError: missing or not safetensors, a key that matches nothing, one of a text encoder, half of a pair,
    shapes of another model, or another kind of adapter.
    """
    checkpoint = open_checkpoint(path)
    targets = _targets(config)
    found: dict[str, dict[str, str]] = {}
    """Module as the file names it -> role -> key."""
    text, unknown = [], []
    for key in checkpoint.tensors:
        match = _KEY.fullmatch(key)
        if key.startswith(TEXT_PREFIXES):
            text.append(key)
        elif match is None or _target(match["module"], targets) is None:
            unknown.append(key)
        else:
            found.setdefault(match["module"], {})[ROLES[match["role"] or match["alpha"]]] = key
    if unknown:
        kinds = {kind for key in unknown for mark, kind in OTHER_KINDS.items() if mark in key}
        why = f" It holds {' and '.join(sorted(kinds))}, which cannot be used here." if kinds else ""
        raise WeightsError(
            f"The LoRA {path} has {len(unknown)} of {len(checkpoint.tensors)} keys that match nothing in "
            f"{_name(config)}: {_first(unknown)}.{why}"
        )
    if text:
        raise WeightsError(
            f"The LoRA {path} changes a text encoder too: {_first(text)}. Text encoders run as they were published "
            "here; ask for a file that changes the transformer alone, or remove these keys."
        )
    _check(checkpoint, found, targets, config)
    scales = _scales(path)
    tensors = {key: tensor.clone() for key, tensor in checkpoint.read([k for r in found.values() for k in r.values()])}
    changes = []
    for module, roles in found.items():
        target = _target(module, targets)
        assert target is not None
        down, up = tensors[roles["down"]], tensors[roles["up"]]
        alpha = tensors[roles["alpha"]].item() if "alpha" in roles else None
        changes.append(Change(target, down, up, scales(module, len(down)) if alpha is None else alpha / len(down)))
    return Lora(path, tuple(changes))


def _name(config: TransformerConfig) -> str:
    return f"this {type(config).__name__.removesuffix('Config').upper()} network"


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def _targets(config: TransformerConfig) -> dict[str, Target]:
    """What may be changed, by every name it goes by: in both layouts, with dots and with underscores."""
    layout = LAYOUTS[type(config)]
    targets: dict[str, Target] = {}
    for key, weight in build(config).state_dict().items():
        if weight.dim() != 2:
            continue
        module = key.removesuffix(".weight")
        rows, columns = weight.shape
        targets[module] = Target(key, (rows, columns))
        place = layout.to_diffusers(module)
        for name, part in place.rows(rows):
            whole = len(place.keys) == 1
            shape = (part.stop - part.start, columns)
            targets[name] = Target(key, shape, None if whole else part, place.change == HALVES)
    return targets | {name.replace(".", "_"): target for name, target in targets.items()}


def _target(module: str, targets: Mapping[str, Target]) -> Target | None:
    for prefix in (*PREFIXES, *JOINED_PREFIXES):
        if module.startswith(prefix) and (target := targets.get(module.removeprefix(prefix))):
            return target
    return None


def _check(
    checkpoint: Checkpoint,
    found: Mapping[str, Mapping[str, str]],
    targets: Mapping[str, Target],
    config: TransformerConfig,
) -> None:
    """Raise a WeightsError for a file that does not fit, from what its header says."""
    seen: dict[tuple[str, int | None], str] = {}
    complaints = []
    for module, roles in found.items():
        target = _target(module, targets)
        assert target is not None
        missing = [role for role in ("down", "up") if role not in roles]
        if missing:
            complaints.append(f"{module} has no {missing[0]} matrix")
            continue
        stored = {role: checkpoint.tensors[key] for role, key in roles.items()}
        wrong = [f"{roles[role]} is {s.dtype}" for role, s in stored.items() if s.dtype not in (*FLOATS, "I64", "I32")]
        down, up = stored["down"].shape, stored["up"].shape
        if wrong:
            complaints += wrong
        elif len(down) != 2 or len(up) != 2 or (up[0], down[1]) != target.shape or up[1] != down[0] or not down[0]:
            complaints.append(f"{module} is {up} times {down}, the network's is {target.shape}")
        elif "alpha" in stored and math.prod(stored["alpha"].shape) != 1:
            complaints.append(f"{roles['alpha']} is {stored['alpha'].shape}, must be one number")
        place = (target.key, None if target.rows is None else target.rows.start)
        if place in seen:
            complaints.append(f"{module} and {seen[place]} are the same")
        seen[place] = module
    if not found:
        complaints.append("it is empty")
    if complaints:
        raise WeightsError(f"The LoRA {checkpoint.path} does not fit {_name(config)}: {_first(complaints)}.")


class _Scales:
    """The scale of each module of a file without alphas: 1, or what diffusers wrote beside the weights."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        alpha = said.get("lora_alpha")
        self.alpha = None if alpha is None else float(alpha)
        # A pattern is the end of a module's name, as PEFT reads it.
        patterns = dict(said.get("alpha_pattern") or {})
        self.patterns = [(re.compile(rf"(?:.*\.)?(?:{end})"), float(own)) for end, own in patterns.items()]
        self.stabilised = bool(said.get("use_rslora"))

    def __call__(self, module: str, rank: int) -> float:
        alpha = next((own for pattern, own in self.patterns if pattern.fullmatch(module)), self.alpha)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


def _scales(path: Path) -> _Scales:
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(METADATA)
    if text is None:
        return _Scales({})
    try:
        said = {str(key).removeprefix("transformer."): value for key, value in json.loads(text).items()}
        if said.get("use_dora"):
            raise WeightsError(f"The LoRA {path} is a DoRA, which cannot be used here.")
        return _Scales(said)
    except (ValueError, TypeError, AttributeError, re.error) as error:
        raise WeightsError(f"What diffusers wrote into the LoRA {path} cannot be read: {error}.") from None


class Adapted:
    """A network and the LoRAs that are merged into it: the only one that changes its weights."""

    def __init__(self, network: Transformer) -> None:
        self.network = network
        self._originals: dict[str, Tensor] = {}

    @torch.inference_mode()
    def apply(self, loras: Sequence[tuple[Lora, float]]) -> None:
        """Change the weights by these LoRAs, each at its strength, and by no others that were applied before.

        All of them are added up in float32 and rounded once to the network's dtype. An empty sequence puts every
        original back, bit for bit. Raises ValueError for a strength that is no number, and RuntimeError where a LoRA
        changes weights that `release_modulation` dropped; nothing is changed then.
        """
        weights = self.network.state_dict()
        changes: dict[str, list[tuple[Change, float]]] = {}
        for lora, strength in loras:
            if not math.isfinite(strength):
                raise ValueError(f"the strength of {lora.path} is {strength}")
            for change in lora.changes:
                if change.target.key not in weights:
                    raise RuntimeError(f"{lora.path} changes {change.target.key}, which was released: load it again")
                changes.setdefault(change.target.key, []).append((change, strength))
        for key in [key for key in self._originals if key not in changes]:
            original = self._originals.pop(key)
            if key in weights:  # it may have been released since
                weights[key].copy_(original)
        for key, wanted in changes.items():
            weight = weights[key]
            original = self._originals.setdefault(key, weight.to("cpu", copy=True))
            merged = original.to(weight.device, torch.float32, copy=True)
            for change, strength in wanted:
                rows = merged if change.target.rows is None else merged[change.target.rows]
                rows.add_(change.product(weight.device), alpha=strength)
            weight.copy_(merged)
