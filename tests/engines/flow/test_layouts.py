"""Key names are held against diffusers' own networks at full size, and values against its own conversions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    Flux2Transformer2DModel,
    Flux3Transformer2DModel,
    FluxTransformer2DModel,
)
from diffusers.loaders import single_file_utils
from torch import Tensor, nn

from diptych.engines.flow import autoencoder, flux1, flux2, flux3, layouts
from diptych.engines.flow.autoencoder import Autoencoder
from diptych.engines.flow.flux1 import Flux1
from diptych.engines.flow.flux2 import Flux2
from diptych.engines.flow.flux3 import Flux3
from diptych.engines.flow.layouts import Layout, Place, state_from_diffusers, state_to_diffusers
from tests.engines.flow import reference

KLEIN = {"attention_head_dim": 128, "guidance_embeds": False}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
RELEASED: dict[str, tuple[Layout, Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "FLUX.1 dev": (
        layouts.FLUX1, lambda: Flux1(flux1.DEV), lambda: FluxTransformer2DModel(guidance_embeds=True),
    ),
    "FLUX.1 schnell": (layouts.FLUX1, lambda: Flux1(flux1.SCHNELL), FluxTransformer2DModel),
    "FLUX.1 Fill": (
        layouts.FLUX1,
        lambda: Flux1(flux1.FILL),
        lambda: FluxTransformer2DModel(guidance_embeds=True, in_channels=384, out_channels=64),
    ),
    "FLUX.1 Depth": (
        layouts.FLUX1,
        lambda: Flux1(flux1.DEPTH),
        lambda: FluxTransformer2DModel(guidance_embeds=True, in_channels=128, out_channels=64),
    ),
    "FLUX.2 dev": (layouts.FLUX2, lambda: Flux2(flux2.DEV), Flux2Transformer2DModel),
    "klein 4B": (
        layouts.FLUX2,
        lambda: Flux2(flux2.KLEIN_4B),
        lambda: Flux2Transformer2DModel(
            num_layers=5, num_single_layers=20, num_attention_heads=24, joint_attention_dim=7680, **KLEIN
        ),
    ),
    "klein 9B": (
        layouts.FLUX2,
        lambda: Flux2(flux2.KLEIN_9B),
        lambda: Flux2Transformer2DModel(
            num_layers=8, num_single_layers=24, num_attention_heads=32, joint_attention_dim=12288, **KLEIN
        ),
    ),
    "FLUX 3 klein": (layouts.FLUX3, lambda: Flux3(flux3.KLEIN), lambda: Flux3Transformer2DModel(flow_map=True)),
    "FLUX 3 klein base": (layouts.FLUX3, lambda: Flux3(flux3.KLEIN_BASE), Flux3Transformer2DModel),
    "FLUX.1 autoencoder": (
        layouts.AUTOENCODER,
        lambda: Autoencoder(autoencoder.FLUX1),
        lambda: AutoencoderKL(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False, **VAE),
    ),
    "FLUX.2 autoencoder": (
        layouts.AUTOENCODER, lambda: Autoencoder(autoencoder.FLUX2), lambda: AutoencoderKLFlux2(latent_channels=32),
    ),
}  # fmt: skip


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


@pytest.mark.parametrize("name", RELEASED)
def test_full_size_keys_map_without_remainder(name: str) -> None:
    layout, build, build_theirs = RELEASED[name]
    with torch.device("meta"):
        ours, theirs = build().state_dict(), build_theirs().state_dict()
    assert shapes(state_to_diffusers(layout, ours)) == shapes(theirs)
    assert shapes(state_from_diffusers(layout, theirs)) == shapes(ours)


def rows_numbered(network: nn.Module) -> dict[str, Tensor]:
    """Weights whose rows can be told apart wherever they are put, one column wide: nearly no memory."""
    numbered = {}
    for i, (key, tensor) in enumerate(network.state_dict().items()):
        rows = torch.arange(tensor.shape[0], dtype=torch.float64) + 1e6 * i
        numbered[key] = rows if tensor.dim() == 1 else rows[:, None]
    return numbered


CONVERSIONS: dict[str, tuple[Layout, Callable[[], nn.Module], Callable[..., dict[str, Tensor]]]] = {
    "FLUX.1": (
        layouts.FLUX1,
        lambda: Flux1(replace(flux1.DEV, double_blocks=2, single_blocks=2)),  # it knows no other width
        single_file_utils.convert_flux_transformer_checkpoint_to_diffusers,
    ),
    "FLUX.2": (
        layouts.FLUX2,
        lambda: Flux2(replace(reference.FLUX2, guidance_embedding=True)),
        single_file_utils.convert_flux2_transformer_checkpoint_to_diffusers,
    ),
    "FLUX 3": (
        layouts.FLUX3,
        lambda: Flux3(reference.FLUX3),
        single_file_utils.convert_flux3_transformer_checkpoint_to_diffusers,
    ),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_values_go_where_diffusers_own_conversion_puts_them(name: str) -> None:
    layout, build, convert = CONVERSIONS[name]
    with torch.device("meta"):
        network = build()
    numbered = rows_numbered(network)
    theirs = convert(dict(numbered))
    found = state_to_diffusers(layout, numbered)
    assert found.keys() == theirs.keys()
    assert all(torch.equal(found[key], theirs[key]) for key in theirs)
    back = state_from_diffusers(layout, theirs)
    assert back.keys() == numbered.keys()
    assert all(torch.equal(back[key], numbered[key]) for key in numbered)


def test_the_autoencoders_values_return() -> None:
    theirs: dict[str, Any] = reference.autoencoder().state_dict()
    ours = state_from_diffusers(layouts.AUTOENCODER, theirs)
    expected = reference.autoencoder_keys(theirs)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in ours)
    back = state_to_diffusers(layouts.AUTOENCODER, ours)
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)


def test_places_say_which_rows_each_part_holds() -> None:
    place = layouts.FLUX1.to_diffusers("single_blocks.7.linear1.bias")
    names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    assert place == Place(tuple(f"single_transformer_blocks.7.{name}.bias" for name in names), (1, 1, 1, 4))
    assert [(rows.start, rows.stop) for _, rows in place.rows(70)] == [(0, 10), (10, 20), (20, 30), (30, 70)]
    assert layouts.FLUX1.from_diffusers("transformer_blocks.12.attn.add_v_proj") == "double_blocks.12.txt_attn.qkv"


@pytest.mark.parametrize("key", ["double_blocks.0.img_attn.qkv.weight.extra", "img_in.scale", "", "repa_projectors.0"])
def test_unknown_keys_have_no_place(key: str) -> None:
    with pytest.raises(KeyError):
        layouts.FLUX1.to_diffusers(key)
    with pytest.raises(KeyError):
        layouts.FLUX1.from_diffusers(key)
