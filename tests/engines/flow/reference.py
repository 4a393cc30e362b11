"""diffusers' networks, tiny and with random weights; the same shapes as they are said here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel, Flux3Transformer2DModel, FluxTransformer2DModel
from torch import Tensor, nn

from diptych.engines.flow.flux1 import Flux1Config
from diptych.engines.flow.flux2 import Flux2Config
from diptych.engines.flow.flux3 import Flux3Config

Network = TypeVar("Network", bound=nn.Module)

AUTOENCODER_RENAMED = [
    (r"^quant_conv", "encoder.quant_conv"),
    (r"^post_quant_conv", "decoder.post_quant_conv"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
]


TINY = {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2}
AXES = (4, 4, 4, 4)


def flux1(guidance: bool = True, in_channels: int = 16) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    network = FluxTransformer2DModel(
        in_channels=in_channels,
        out_channels=16,
        num_single_layers=2,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance,
        **TINY,
    )
    return randomised(network)


def flux2(guidance: bool = False) -> Flux2Transformer2DModel:
    torch.manual_seed(0)
    network = Flux2Transformer2DModel(
        in_channels=16,
        num_single_layers=2,
        joint_attention_dim=24,
        timestep_guidance_channels=32,
        axes_dims_rope=AXES,
        guidance_embeds=guidance,
        **TINY,
    )
    return randomised(network)


def flux3(flow_map: bool = True) -> Flux3Transformer2DModel:
    torch.manual_seed(0)
    network = Flux3Transformer2DModel(
        in_channels=16,
        cond_in_channels=16,
        num_single_layers=2,
        joint_attention_dim=24,
        timestep_channels=32,
        axes_dims_rope=AXES,
        flow_map=flow_map,
        **TINY,
    )
    return randomised(network)


FLUX1 = Flux1Config(
    in_channels=16,
    out_channels=16,
    text_width=24,
    pooled_width=20,
    hidden=32,
    heads=2,
    double_blocks=2,
    single_blocks=2,
    axes=(4, 4, 8),
)
FLUX2 = Flux2Config(
    in_channels=16,
    text_width=24,
    hidden=32,
    heads=2,
    double_blocks=2,
    single_blocks=2,
    axes=AXES,
    guidance_embedding=False,
    time_channels=32,
)
FLUX3 = Flux3Config(
    in_channels=16, text_width=24, hidden=32, heads=2, mode_blocks=2, single_blocks=2, axes=AXES, time_channels=32
)
"""The same shapes, as they are said here."""


def autoencoder() -> AutoencoderKLFlux2:
    torch.manual_seed(0)
    network = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    return randomised(network)


def randomised(network: Network) -> Network:
    """Norms' scales and the BatchNorm statistics too: ones and zeros would hide a mix-up."""
    for name, parameter in network.named_parameters():
        if "norm" in name and name.endswith("weight") and parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.2)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network.eval()


def spread(theirs: nn.Module, ask: Callable[[nn.Module, torch.dtype], Tensor]) -> tuple[Tensor, Tensor]:
    """What diffusers answers in float32, and how far its own bfloat16 is from that.

    ask: gives the answer of a network of a dtype. `theirs` is in bfloat16 afterwards.
    """
    exact = ask(theirs, torch.float32)
    return exact, (ask(theirs.to(torch.bfloat16), torch.bfloat16).float() - exact).abs()


def check_spread(found: Tensor, exact: Tensor, allowed: Tensor) -> None:
    """Ours in bfloat16 must be about as near to the exact answer as diffusers' is: on average, and at worst."""
    off = (found.float() - exact).abs()
    assert off.mean() <= 1.1 * allowed.mean(), (off.mean(), allowed.mean())
    assert off.max() <= 1.5 * allowed.max(), (off.max(), allowed.max())


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def autoencoder_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    levels = 1 + max(int(m[1]) for k in state if (m := re.match(r"decoder\.up_blocks\.(\d+)", k)))
    renamed = {}
    for key, value in state.items():
        new = _rename(key, AUTOENCODER_RENAMED)
        new = re.sub(
            r"up_blocks\.(\d+)\.(resnets\.(\d+)|upsamplers\.0)",
            lambda m: f"up.{levels - 1 - int(m[1])}." + (f"block.{m[3]}" if m[3] else "upsample"),
            new,
        )
        is_projection = re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", new)
        renamed[new] = value[:, :, None, None] if is_projection else value
    return renamed


def _rename(key: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
