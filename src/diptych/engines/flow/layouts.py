"""Names and arrangements of weights in the two layouts that FLUX is published in: Black Forest Labs' and diffusers'.

The networks here use the names of Black Forest Labs' files. A table says for every module of one layout which modules
of the other hold the same numbers, `*` standing for a block's number. Besides their names they differ in three ways:

- one linear layer of BFL is several of diffusers, its rows divided among them (`shares`)
- BFL's last modulation is (shift, scale), diffusers' is (scale, shift): `halves` are swapped
- the autoencoder's attention is made of 1x1 convolutions in BFL's files and of linear layers in diffusers': `matrix`

Source: diffusers 0.42.1, ``loaders/single_file_utils.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

HALVES, MATRIX = "halves", "matrix"


@dataclass(frozen=True)
class Rule:
    ours: str
    theirs: tuple[str, ...]
    shares: tuple[int, ...] = (1,)
    """How the rows of ours are divided among theirs: in these proportions."""
    change: str | None = None
    """HALVES or MATRIX: what else differs."""


@dataclass(frozen=True)
class Place:
    """Where the numbers of one of our keys are in the other layout."""

    keys: tuple[str, ...]
    shares: tuple[int, ...] = (1,)
    change: str | None = None

    def rows(self, total: int) -> Iterator[tuple[str, slice]]:
        """Which of our `total` rows each key holds."""
        unit, start = total // sum(self.shares), 0
        for key, share in zip(self.keys, self.shares, strict=True):
            yield key, slice(start, start + share * unit)
            start += share * unit


@dataclass(frozen=True)
class Layout:
    """How diffusers keeps one kind of network."""

    rules: tuple[Rule, ...]

    def to_diffusers(self, key: str) -> Place:
        """Where diffusers keeps what BFL's files hold under `key`: a parameter, or a module. KeyError for neither."""
        rule, block, rest = _find(self._ours, key)
        return Place(tuple(name.replace("*", block) + rest for name in rule.theirs), rule.shares, rule.change)

    def from_diffusers(self, key: str) -> str:
        """The BFL key that holds what diffusers keeps under `key`, or holds it as a part. KeyError for neither."""
        rule, block, rest = _find(self._theirs, key)
        return rule.ours.replace("*", block) + rest

    @cached_property
    def _ours(self) -> list[tuple[re.Pattern[str], Rule]]:
        return [(_compiled(rule.ours), rule) for rule in self.rules]

    @cached_property
    def _theirs(self) -> list[tuple[re.Pattern[str], Rule]]:
        return [(_compiled(name), rule) for rule in self.rules for name in rule.theirs]


def _compiled(name: str) -> re.Pattern[str]:
    """A rule names a parameter, or a module, whose weight and bias it moves alike."""
    return re.compile(re.escape(name).replace(r"\*", r"(?P<block>\d+)") + r"(?P<rest>\.weight|\.bias|)")


def _find(patterns: list[tuple[re.Pattern[str], Rule]], key: str) -> tuple[Rule, str, str]:
    for pattern, rule in patterns:
        if found := pattern.fullmatch(key):
            groups = found.groupdict()
            return rule, groups.get("block", ""), groups["rest"]
    raise KeyError(key)


def swap_halves(tensor: Tensor) -> Tensor:
    """(a, b) along the rows to (b, a)."""
    return torch.cat(tensor.chunk(2)[::-1])


def state_to_diffusers(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights as diffusers keeps them. Raises KeyError for a key without a rule."""
    theirs: dict[str, Tensor] = {}
    for key, tensor in state.items():
        place = layout.to_diffusers(key)
        changed = swap_halves(tensor) if place.change == HALVES else tensor
        if place.change == MATRIX:
            changed = tensor.flatten(1) if tensor.dim() > 1 else tensor
        if len(place.keys) == 1:  # scalars have no rows
            theirs[place.keys[0]] = changed
        else:
            theirs |= {name: changed[rows] for name, rows in place.rows(len(changed))}
    return theirs


def state_from_diffusers(layout: Layout, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way. Raises KeyError for a key without a rule, and for parts of a tensor without the others."""
    state: dict[str, Tensor] = {}
    for ours in dict.fromkeys(layout.from_diffusers(key) for key in theirs):
        place = layout.to_diffusers(ours)
        parts = [theirs[key] for key in place.keys]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        if place.change == HALVES:
            tensor = swap_halves(tensor)
        if place.change == MATRIX and tensor.dim() > 1:
            tensor = tensor[:, :, None, None]
        state[ours] = tensor
    return state


Rules = tuple[Rule, ...]


def _norms(ours: str, theirs: str, query: str = "norm_q", key: str = "norm_k") -> Rules:
    return (
        Rule(f"{ours}.query_norm.scale", (f"{theirs}.{query}.weight",)),
        Rule(f"{ours}.key_norm.scale", (f"{theirs}.{key}.weight",)),
    )


def _embedder(ours: str, theirs: str) -> Rules:
    return (Rule(f"{ours}.in_layer", (f"{theirs}.linear_1",)), Rule(f"{ours}.out_layer", (f"{theirs}.linear_2",)))


_ENDS: Rules = (
    Rule("img_in", ("x_embedder",)),
    Rule("txt_in", ("context_embedder",)),
    Rule("final_layer.linear", ("proj_out",)),
    Rule("final_layer.adaLN_modulation.1", ("norm_out.linear",), change=HALVES),
)
_DOUBLE, _DOUBLE_THEIRS = "double_blocks.*", "transformer_blocks.*"
_DOUBLE_ATTENTION: Rules = (
    Rule(
        f"{_DOUBLE}.img_attn.qkv",
        tuple(f"{_DOUBLE_THEIRS}.attn.to_{part}" for part in "qkv"),
        shares=(1, 1, 1),
    ),
    Rule(
        f"{_DOUBLE}.txt_attn.qkv",
        tuple(f"{_DOUBLE_THEIRS}.attn.add_{part}_proj" for part in "qkv"),
        shares=(1, 1, 1),
    ),
    *_norms(f"{_DOUBLE}.img_attn.norm", f"{_DOUBLE_THEIRS}.attn"),
    *_norms(f"{_DOUBLE}.txt_attn.norm", f"{_DOUBLE_THEIRS}.attn", "norm_added_q", "norm_added_k"),
    Rule(f"{_DOUBLE}.img_attn.proj", (f"{_DOUBLE_THEIRS}.attn.to_out.0",)),
    Rule(f"{_DOUBLE}.txt_attn.proj", (f"{_DOUBLE_THEIRS}.attn.to_add_out",)),
)
_SINGLE, _SINGLE_THEIRS = "single_blocks.*", "single_transformer_blocks.*"

FLUX1 = Layout(
    (
        *_ENDS,
        *_embedder("time_in", "time_text_embed.timestep_embedder"),
        *_embedder("vector_in", "time_text_embed.text_embedder"),
        *_embedder("guidance_in", "time_text_embed.guidance_embedder"),
        *_DOUBLE_ATTENTION,
        Rule(f"{_DOUBLE}.img_mod.lin", (f"{_DOUBLE_THEIRS}.norm1.linear",)),
        Rule(f"{_DOUBLE}.txt_mod.lin", (f"{_DOUBLE_THEIRS}.norm1_context.linear",)),
        Rule(f"{_DOUBLE}.img_mlp.0", (f"{_DOUBLE_THEIRS}.ff.net.0.proj",)),
        Rule(f"{_DOUBLE}.img_mlp.2", (f"{_DOUBLE_THEIRS}.ff.net.2",)),
        Rule(f"{_DOUBLE}.txt_mlp.0", (f"{_DOUBLE_THEIRS}.ff_context.net.0.proj",)),
        Rule(f"{_DOUBLE}.txt_mlp.2", (f"{_DOUBLE_THEIRS}.ff_context.net.2",)),
        Rule(
            f"{_SINGLE}.linear1",
            (*(f"{_SINGLE_THEIRS}.attn.to_{part}" for part in "qkv"), f"{_SINGLE_THEIRS}.proj_mlp"),
            shares=(1, 1, 1, 4),
        ),
        Rule(f"{_SINGLE}.linear2", (f"{_SINGLE_THEIRS}.proj_out",)),
        Rule(f"{_SINGLE}.modulation.lin", (f"{_SINGLE_THEIRS}.norm.linear",)),
        *_norms(f"{_SINGLE}.norm", f"{_SINGLE_THEIRS}.attn"),
    )
)

FLUX2 = Layout(
    (
        *_ENDS,
        *_embedder("time_in", "time_guidance_embed.timestep_embedder"),
        *_embedder("guidance_in", "time_guidance_embed.guidance_embedder"),
        Rule("double_stream_modulation_img.lin", ("double_stream_modulation_img.linear",)),
        Rule("double_stream_modulation_txt.lin", ("double_stream_modulation_txt.linear",)),
        Rule("single_stream_modulation.lin", ("single_stream_modulation.linear",)),
        *_DOUBLE_ATTENTION,
        Rule(f"{_DOUBLE}.img_mlp.0", (f"{_DOUBLE_THEIRS}.ff.linear_in",)),
        Rule(f"{_DOUBLE}.img_mlp.2", (f"{_DOUBLE_THEIRS}.ff.linear_out",)),
        Rule(f"{_DOUBLE}.txt_mlp.0", (f"{_DOUBLE_THEIRS}.ff_context.linear_in",)),
        Rule(f"{_DOUBLE}.txt_mlp.2", (f"{_DOUBLE_THEIRS}.ff_context.linear_out",)),
        Rule(f"{_SINGLE}.linear1", (f"{_SINGLE_THEIRS}.attn.to_qkv_mlp_proj",)),
        Rule(f"{_SINGLE}.linear2", (f"{_SINGLE_THEIRS}.attn.to_out",)),
        *_norms(f"{_SINGLE}.norm", f"{_SINGLE_THEIRS}.attn"),
    )
)


def _flux3_block(ours: str, theirs: str) -> Rules:
    return (
        *(Rule(f"{ours}.{part}_proj", (f"{theirs}.attn.to_{part}",)) for part in "qkv"),
        Rule(f"{ours}.attn_out", (f"{theirs}.attn.to_out.0",)),
        *_norms(f"{ours}.norm", f"{theirs}.attn"),
        Rule(f"{ours}.mlp_in", (f"{theirs}.ff.linear_in",)),
        Rule(f"{ours}.mlp_out", (f"{theirs}.ff.linear_out",)),
    )


FLUX3 = Layout(
    (
        *(Rule(f"emb_in.{mode}", (f"x_embedders.{mode}",)) for mode in ("image", "image_cond")),
        Rule("txt_in", ("context_embedder",)),
        *_embedder("time_in", "timestep_embedder"),
        *_embedder("ref_time_in", "target_timestep_embedder"),
        *(
            Rule(f"{stream}_stream_modulations.{mode}.lin", (f"{stream}_stream_modulations.{mode}.linear",))
            for stream in ("early", "single")
            for mode in ("image", "image_cond", "txt")
        ),
        *_flux3_block("content_mode_blocks.image.*", "mode_blocks.image.*"),
        *_flux3_block("content_mode_blocks.image_cond.*", "mode_blocks.image_cond.*"),
        *_flux3_block("txt_mode_blocks.*", "txt_mode_blocks.*"),
        *_flux3_block(_SINGLE, _SINGLE_THEIRS),
        Rule("final_layer.image.linear", ("proj_out",)),
        Rule("final_layer.image.adaLN_modulation.1", ("norm_out.linear",), change=HALVES),
    )
)

DROPPED = "repa_projectors."
"""Begins the keys of FLUX 3 files that only training read."""


def _resnet(ours: str, theirs: str) -> Rules:
    same = ("norm1", "conv1", "norm2", "conv2")
    return (
        *(Rule(f"{ours}.{name}", (f"{theirs}.{name}",)) for name in same),
        Rule(f"{ours}.nin_shortcut", (f"{theirs}.conv_shortcut",)),
    )


def _middle(side: str) -> Rules:
    ours, theirs = f"{side}.mid", f"{side}.mid_block"
    attention, attention_theirs = f"{ours}.attn_1", f"{theirs}.attentions.0"
    return (
        *_resnet(f"{ours}.block_1", f"{theirs}.resnets.0"),
        *_resnet(f"{ours}.block_2", f"{theirs}.resnets.1"),
        Rule(f"{attention}.norm", (f"{attention_theirs}.group_norm",)),
        *(Rule(f"{attention}.{part}", (f"{attention_theirs}.to_{part}",), change=MATRIX) for part in "qkv"),
        Rule(f"{attention}.proj_out", (f"{attention_theirs}.to_out.0",), change=MATRIX),
    )


def autoencoder(levels: int = 4) -> Layout:
    """Of both autoencoders. BFL counts the decoder's levels from the finest, diffusers from the coarsest."""
    rules: list[Rule] = [Rule(f"bn.{name}", (f"bn.{name}",)) for name in ("running_mean", "running_var")]
    rules.append(Rule("bn.num_batches_tracked", ("bn.num_batches_tracked",)))
    for side in ("encoder", "decoder"):
        rules += [Rule(f"{side}.{name}", (f"{side}.{name}",)) for name in ("conv_in", "conv_out")]
        rules += [Rule(f"{side}.norm_out", (f"{side}.conv_norm_out",)), *_middle(side)]
    rules += [Rule("encoder.quant_conv", ("quant_conv",)), Rule("decoder.post_quant_conv", ("post_quant_conv",))]
    for i in range(levels):
        down, up, up_theirs = f"encoder.down.{i}", f"decoder.up.{i}", f"decoder.up_blocks.{levels - 1 - i}"
        rules += _resnet(f"{down}.block.*", f"encoder.down_blocks.{i}.resnets.*")
        rules += _resnet(f"{up}.block.*", f"{up_theirs}.resnets.*")
        rules.append(Rule(f"{down}.downsample.conv", (f"encoder.down_blocks.{i}.downsamplers.0.conv",)))
        rules.append(Rule(f"{up}.upsample.conv", (f"{up_theirs}.upsamplers.0.conv",)))
    return Layout(tuple(rules))


AUTOENCODER = autoencoder()
