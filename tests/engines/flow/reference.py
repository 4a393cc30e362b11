"""diffusers' networks with random weights, and their weights under Black Forest Labs' key names."""

from __future__ import annotations

import re
from typing import TypeVar

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

RENAMED = [
    (r"^x_embedder\.", "img_in."),
    (r"^context_embedder\.", "txt_in."),
    (r"^time_guidance_embed\.timestep_embedder\.linear_1", "time_in.in_layer"),
    (r"^time_guidance_embed\.timestep_embedder\.linear_2", "time_in.out_layer"),
    (r"^time_guidance_embed\.guidance_embedder\.linear_1", "guidance_in.in_layer"),
    (r"^time_guidance_embed\.guidance_embedder\.linear_2", "guidance_in.out_layer"),
    (r"^(\w+_stream_modulation\w*)\.linear", r"\1.lin"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_qkv_mlp_proj", r"single_blocks.\1.linear1"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_out", r"single_blocks.\1.linear2"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
    (r"^transformer_blocks\.", "double_blocks."),
    (r"\.attn\.norm_added_q\.weight", ".txt_attn.norm.query_norm.scale"),
    (r"\.attn\.norm_added_k\.weight", ".txt_attn.norm.key_norm.scale"),
    (r"\.attn\.norm_q\.weight", ".img_attn.norm.query_norm.scale"),
    (r"\.attn\.norm_k\.weight", ".img_attn.norm.key_norm.scale"),
    (r"\.attn\.to_out\.0", ".img_attn.proj"),
    (r"\.attn\.to_add_out", ".txt_attn.proj"),
    (r"\.ff\.linear_in", ".img_mlp.0"),
    (r"\.ff\.linear_out", ".img_mlp.2"),
    (r"\.ff_context\.linear_in", ".txt_mlp.0"),
    (r"\.ff_context\.linear_out", ".txt_mlp.2"),
    (r"^proj_out\.", "final_layer.linear."),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
]
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


def transformer(guidance: bool = False) -> Flux2Transformer2DModel:
    torch.manual_seed(0)
    network = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )
    return randomised(network)


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


def flux_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers transformer's weights as a BFL file holds them."""
    merged = dict(state)
    for prefix in {m[1] for k in state if (m := re.match(r"(transformer_blocks\.\d+\.attn)\.", k))}:
        for ours, parts in (
            ("img_attn", ("to_q", "to_k", "to_v")),
            ("txt_attn", ("add_q_proj", "add_k_proj", "add_v_proj")),
        ):
            joined = torch.cat([merged.pop(f"{prefix}.{part}.weight") for part in parts])
            merged[f"{prefix.removesuffix('attn')}{ours}.qkv.weight"] = joined
    renamed = {_rename(key, RENAMED): value for key, value in merged.items()}
    last = "final_layer.adaLN_modulation.1.weight"
    scale, shift = renamed[last].chunk(2)  # diffusers: (scale, shift); BFL: (shift, scale)
    renamed[last] = torch.cat([shift, scale])
    return renamed


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
