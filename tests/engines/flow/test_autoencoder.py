"""Both autoencoders are held against diffusers' own, weight for weight."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2
from torch import Tensor

from diptych.engines.flow.autoencoder import FLUX1, FLUX2, Autoencoder, AutoencoderConfig
from tests.engines.flow import reference

SHAPE = {"channels": 8, "multipliers": (1, 2, 4, 4), "blocks_per_level": 2, "latent_channels": 4, "norm_groups": 4}
CONFIG = AutoencoderConfig(**SHAPE)
CONFIG_1 = AutoencoderConfig(**SHAPE, quant_convolutions=False, batch_norm=False)
SIZES = [(32, 32), (48, 80), (16, 112)]
DTYPES = [(torch.float32, 1e-5), (torch.float64, 1e-12)]


def flux1() -> AutoencoderKL:
    """diffusers' class with the settings of FLUX.1's ``vae/config.json``, but for the widths."""
    torch.manual_seed(0)
    network = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return reference.randomised(network)


def ours_of(theirs: AutoencoderKL | AutoencoderKLFlux2, config: AutoencoderConfig, dtype: torch.dtype) -> Autoencoder:
    ours = Autoencoder(config).to(dtype)
    ours.load_state_dict(reference.autoencoder_keys(theirs.state_dict()))
    return ours.eval()


def packed(latents: Tensor) -> Tensor:
    """`c (h 2) (w 2) -> (c ph pw) h w`, spelled out."""
    batch, channels, height, width = latents.shape
    parts = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return parts.permute(0, 1, 3, 5, 2, 4).reshape(batch, 4 * channels, height // 2, width // 2)


def mean_of(network: AutoencoderKLFlux2) -> Tensor:
    return network.bn.running_mean[:, None, None]


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_flux2_equals_diffusers(size: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    theirs = reference.autoencoder().to(dtype)
    theirs.decoder.conv_out.weight *= 0.3  # to about -1..1, the range that pixels have
    ours = ours_of(theirs, CONFIG, dtype)
    pixels = torch.rand(2, 3, *size, dtype=dtype) * 2 - 1

    mean = theirs.encode(pixels).latent_dist.mode()
    deviation = torch.sqrt(theirs.bn.running_var + theirs.config.batch_norm_eps)
    expected = (packed(mean) - mean_of(theirs)) / deviation[:, None, None]
    latents = ours.encode(pixels)
    assert latents.shape == (2, CONFIG.packed_channels, size[0] // CONFIG.scale, size[1] // CONFIG.scale)
    torch.testing.assert_close(latents, expected, atol=tolerance, rtol=0)

    drawn = torch.randn_like(latents)
    unpatched = torch.nn.functional.pixel_shuffle(drawn * deviation[:, None, None] + mean_of(theirs), 2)
    decoded = theirs.decode(unpatched).sample
    assert decoded.shape == pixels.shape
    torch.testing.assert_close(ours.decode(drawn), decoded, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_flux1_equals_diffusers(size: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    theirs = flux1().to(dtype)
    theirs.decoder.conv_out.weight *= 0.3
    ours = ours_of(theirs, CONFIG_1, dtype)
    pixels = torch.rand(2, 3, *size, dtype=dtype) * 2 - 1

    distribution = theirs.encode(pixels).latent_dist
    noise = torch.randn_like(distribution.mean)
    for given, z in ((None, distribution.mode()), (noise, distribution.mean + distribution.std * noise)):
        expected = packed((z - theirs.config.shift_factor) * theirs.config.scaling_factor)
        torch.testing.assert_close(ours.encode(pixels, given), expected, atol=tolerance, rtol=0)

    drawn = torch.randn(2, CONFIG_1.packed_channels, size[0] // 16, size[1] // 16, dtype=dtype)
    unpatched = torch.nn.functional.pixel_shuffle(drawn, 2)
    decoded = theirs.decode(unpatched / theirs.config.scaling_factor + theirs.config.shift_factor).sample
    torch.testing.assert_close(ours.decode(drawn), decoded, atol=tolerance, rtol=0)


@pytest.mark.parametrize("config", [CONFIG, CONFIG_1])
@torch.inference_mode()
def test_pack_and_unpack_undo_each_other(config: AutoencoderConfig) -> None:
    module = Autoencoder(config).double()
    if config.batch_norm:
        module.bn.running_mean.normal_()
        module.bn.running_var.uniform_(0.5, 2)
    z = torch.randn(2, 4, 6, 10, dtype=torch.float64)
    torch.testing.assert_close(module.unpack(module.pack(z)), z, atol=1e-12, rtol=0)


def test_released_sizes() -> None:
    """Parameter counts of the released networks, built without memory: ours, diffusers' own, and in writing."""
    released = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    with torch.device("meta"):
        ours_1, ours_2 = Autoencoder(FLUX1), Autoencoder(FLUX2)
        theirs_1 = AutoencoderKL(
            **blocks, **released, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False
        )
        theirs_2 = AutoencoderKLFlux2(**blocks, **released, latent_channels=32)
    for ours, theirs, written in ((ours_1, theirs_1, 83_819_683), (ours_2, theirs_2, 84_046_115)):
        assert reference.parameters(ours) == reference.parameters(theirs) == written
        theirs_keys = {k: v.shape for k, v in reference.autoencoder_keys(theirs.state_dict()).items()}
        assert {k: v.shape for k, v in ours.state_dict().items()} == theirs_keys
    assert (FLUX1.scale, FLUX2.scale) == (16, 16)
    assert (FLUX1.packed_channels, FLUX2.packed_channels) == (64, 128)
