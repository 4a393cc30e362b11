"""Which network a checkpoint holds: read off the shapes in a BFL file, or said by diffusers' ``config.json``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diptych.engines.files import config_from
from diptych.engines.flow import layouts
from diptych.engines.flow.autoencoder import AutoencoderConfig
from diptych.engines.flow.flux1 import Flux1Config
from diptych.engines.flow.flux2 import Flux2Config
from diptych.engines.flow.flux3 import Flux3Config
from diptych.engines.flow.layouts import Layout
from diptych.errors import WeightsError

TransformerConfig = Flux1Config | Flux2Config | Flux3Config
Shapes = Mapping[str, tuple[int, ...]]

LAYOUTS: dict[type, Layout] = {
    Flux1Config: layouts.FLUX1,
    Flux2Config: layouts.FLUX2,
    Flux3Config: layouts.FLUX3,
    AutoencoderConfig: layouts.AUTOENCODER,
}
FLUX1_AXES = {128: Flux1Config().axes}
"""By the width of a head: a file does not say how FLUX.1 divides it among a position's coordinates."""


def transformer_of(shapes: Shapes, where: str) -> TransformerConfig:
    """The transformer whose weights, under BFL's names, have these shapes. Raises WeightsError, which names `where`."""
    kinds: tuple[tuple[str, Callable[[Shapes], TransformerConfig]], ...] = (
        ("emb_in.image.weight", _flux3),
        ("single_stream_modulation.lin.weight", _flux2),
        ("double_blocks.0.img_mod.lin.weight", _flux1),
    )
    for key, read in kinds:
        if key in shapes:
            return _read(read, shapes, where)
    raise WeightsError(
        f"{where} holds no FLUX transformer in Black Forest Labs' layout: there is none of the keys "
        f"{', '.join(key for key, _ in kinds)}. {_guess(shapes)}"
    )


def autoencoder_of(shapes: Shapes, where: str) -> AutoencoderConfig:
    """The autoencoder whose weights, under BFL's names, have these shapes. Raises WeightsError."""
    if "encoder.down.0.block.0.conv1.weight" not in shapes:
        raise WeightsError(f"{where} holds no autoencoder in Black Forest Labs' layout. {_guess(shapes)}")
    return _read(_autoencoder, shapes, where)


def _guess(shapes: Shapes) -> str:
    if any(
        key.startswith(("transformer_blocks.", "single_transformer_blocks.", "encoder.down_blocks.")) for key in shapes
    ):
        return "It holds diffusers' key names: give the folder, which says in config.json what it holds."
    if any(".lora_" in key for key in shapes):
        return "It is a LoRA, which is given beside a model."
    return f"Its first keys: {', '.join(list(shapes)[:3]) or 'none'}."


def _read(read: Callable[[Shapes], Any], shapes: Shapes, where: str) -> Any:
    try:
        return read(shapes)
    except KeyError as error:
        raise WeightsError(f"{where} holds a part of a network only: {error} is missing.") from None
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(f"{where} holds no network that is known here: {error}.") from None


def _count(shapes: Shapes, prefix: str) -> int:
    """How many blocks there are. Raises KeyError for the first that is missing among them."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    numbers = {int(found[1]) for key in shapes if (found := pattern.match(key))}
    for i in range(len(numbers)):
        if i not in numbers:
            raise KeyError(f"{prefix}.{i}")
    return len(numbers)


def _flux1(shapes: Shapes) -> Flux1Config:
    hidden, in_channels = shapes["img_in.weight"]
    (head,) = shapes["double_blocks.0.img_attn.norm.query_norm.scale"]
    if head not in FLUX1_AXES:
        raise ValueError(f"FLUX.1 with heads {head} wide, not {', '.join(map(str, FLUX1_AXES))}")
    return Flux1Config(
        in_channels=in_channels,
        out_channels=shapes["final_layer.linear.weight"][0],
        text_width=shapes["txt_in.weight"][1],
        pooled_width=shapes["vector_in.in_layer.weight"][1],
        hidden=hidden,
        heads=hidden // head,
        double_blocks=_count(shapes, "double_blocks"),
        single_blocks=_count(shapes, "single_blocks"),
        axes=FLUX1_AXES[head],
        mlp_ratio=shapes["double_blocks.0.img_mlp.0.weight"][0] / hidden,
        guidance_embedding="guidance_in.in_layer.weight" in shapes,
        time_channels=shapes["time_in.in_layer.weight"][1],
    )


def _flux2(shapes: Shapes) -> Flux2Config:
    hidden, in_channels = shapes["img_in.weight"]
    (head,) = shapes["double_blocks.0.img_attn.norm.query_norm.scale"]
    return Flux2Config(
        in_channels=in_channels,
        text_width=shapes["txt_in.weight"][1],
        hidden=hidden,
        heads=hidden // head,
        double_blocks=_count(shapes, "double_blocks"),
        single_blocks=_count(shapes, "single_blocks"),
        axes=(head // 4,) * 4,
        mlp_ratio=shapes["double_blocks.0.img_mlp.2.weight"][1] / hidden,
        guidance_embedding="guidance_in.in_layer.weight" in shapes,
        time_channels=shapes["time_in.in_layer.weight"][1],
    )


def _flux3(shapes: Shapes) -> Flux3Config:
    hidden, in_channels = shapes["emb_in.image.weight"]
    (head,) = shapes["single_blocks.0.norm.query_norm.scale"]
    return Flux3Config(
        in_channels=in_channels,
        text_width=shapes["txt_in.weight"][1],
        hidden=hidden,
        heads=hidden // head,
        mode_blocks=_count(shapes, "txt_mode_blocks"),
        single_blocks=_count(shapes, "single_blocks"),
        axes=(head // 4,) * 4,
        mlp_ratio=shapes["single_blocks.0.mlp_out.weight"][1] / hidden,
        flow_map="ref_time_in.in_layer.weight" in shapes,
        reference_branch="emb_in.image_cond.weight" in shapes,
        time_channels=shapes["time_in.in_layer.weight"][1],
    )


def _autoencoder(shapes: Shapes) -> AutoencoderConfig:
    channels = shapes["encoder.conv_in.weight"][0]
    widths = [shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(_count(shapes, "encoder.down"))]
    return AutoencoderConfig(
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        blocks_per_level=_count(shapes, "encoder.down.0.block"),
        latent_channels=shapes["decoder.conv_in.weight"][1],
        quant_convolutions="encoder.quant_conv.weight" in shapes,
        batch_norm="bn.running_mean" in shapes,
    )


@dataclass(frozen=True)
class _Described:
    """How a class of diffusers says its shape in ``config.json``."""

    kind: type
    options: Mapping[str, str]
    """Name here -> name there."""
    fixed: Mapping[str, Any]
    """What is not a choice here: options that must have this value, or be left out."""
    absent: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """diffusers' defaults where they are not those of the shape here."""


_COMMON = {
    "in_channels": "in_channels",
    "text_width": "joint_attention_dim",
    "heads": "num_attention_heads",
    "single_blocks": "num_single_layers",
    "axes": "axes_dims_rope",
}
_NEWER = {"theta": "rope_theta", "mlp_ratio": "mlp_ratio"}
_VAE = {
    "blocks_per_level": "layers_per_block",
    "latent_channels": "latent_channels",
    "norm_groups": "norm_num_groups",
    "quant_convolutions": "use_quant_conv",
}
_VAE_FIXED = {"in_channels": 3, "out_channels": 3, "act_fn": "silu", "mid_block_add_attention": True}
DESCRIBED = {
    "FluxTransformer2DModel": _Described(
        Flux1Config,
        {
            **_COMMON,
            "out_channels": "out_channels",
            "pooled_width": "pooled_projection_dim",
            "double_blocks": "num_layers",
            "guidance_embedding": "guidance_embeds",
        },
        {"patch_size": 1},
        {"guidance_embeds": False},
    ),
    "Flux2Transformer2DModel": _Described(
        Flux2Config,
        {
            **_COMMON,
            **_NEWER,
            "double_blocks": "num_layers",
            "guidance_embedding": "guidance_embeds",
            "time_channels": "timestep_guidance_channels",
        },
        {"patch_size": 1, "eps": 1e-6, "out_channels": None},
    ),
    "Flux3Transformer2DModel": _Described(
        Flux3Config,
        {
            **_COMMON,
            **_NEWER,
            "mode_blocks": "num_layers",
            "flow_map": "flow_map",
            "time_channels": "timestep_channels",
        },
        {"eps": 1e-6},
        {"flow_map": False},
    ),
    "AutoencoderKL": _Described(
        AutoencoderConfig,
        {**_VAE, "scale_factor": "scaling_factor"},
        _VAE_FIXED,
        {"use_quant_conv": True},
    ),
    "AutoencoderKLFlux2": _Described(
        AutoencoderConfig,
        _VAE,
        {**_VAE_FIXED, "batch_norm_eps": 1e-4, "patch_size": [2, 2]},
    ),
}


def described_by(config: Mapping[str, Any], where: str) -> TransformerConfig | AutoencoderConfig:
    """The network that diffusers' ``config.json`` describes. Raises WeightsError, which names `where`."""
    name = config.get("_class_name")
    described = DESCRIBED.get(name) if isinstance(name, str) else None
    if described is None:
        raise WeightsError(f"{where} describes a {name!r}; what runs here: {', '.join(DESCRIBED)}.")
    for option, value in described.fixed.items():
        if config.get(option, value) != value:
            raise WeightsError(f"{where}: {option} is {config[option]!r}; what runs here has {value!r}.")
    said = {**described.absent, **{key: value for key, value in config.items() if value is not None}}
    values = {ours: said[theirs] for ours, theirs in described.options.items() if theirs in said}
    try:
        if described.kind is AutoencoderConfig:
            first = said["block_out_channels"][0]
            values["channels"] = first
            values["multipliers"] = [width // first for width in said["block_out_channels"]]
            values["batch_norm"] = name == "AutoencoderKLFlux2"
            if not values["batch_norm"]:
                values["shift_factor"] = said["shift_factor"]  # other models' autoencoders have none
        else:
            values["hidden"] = said["num_attention_heads"] * said["attention_head_dim"]
            if described.kind is Flux1Config:
                values.setdefault("out_channels", said["in_channels"])
            if (
                described.kind is Flux3Config
                and said.get("cond_in_channels", said["in_channels"]) != said["in_channels"]
            ):
                raise ValueError(
                    f"cond_in_channels is {said['cond_in_channels']!r}, in_channels {said['in_channels']!r}"
                )
        return config_from(described.kind, values)
    except (KeyError, ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(f"{where} does not describe a {name}: {type(error).__name__}: {error}.") from None
