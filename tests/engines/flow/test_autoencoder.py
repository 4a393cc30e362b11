"""The autoencoder is held against diffusers' own, weight for weight."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLFlux2
from torch import Tensor

from diptych.engines.flow.autoencoder import Autoencoder, AutoencoderConfig
from tests.engines.flow import reference


def mean_of(network: AutoencoderKLFlux2) -> Tensor:
    return network.bn.running_mean[:, None, None]


CONFIG = AutoencoderConfig(channels=8, multipliers=(1, 2, 4, 4), blocks_per_level=2, latent_channels=4, norm_groups=4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("size", [(32, 32), (48, 80)])
@torch.inference_mode()
def test_equals_diffusers(size: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    theirs = reference.autoencoder().to(dtype)
    theirs.decoder.conv_out.weight *= 0.3  # to about -1..1, the range that pixels have
    ours = Autoencoder(CONFIG).to(dtype)
    ours.load_state_dict(reference.autoencoder_keys(theirs.state_dict()))
    ours.eval()
    pixels = torch.rand(2, 3, *size, dtype=dtype) * 2 - 1

    mean = theirs.encode(pixels).latent_dist.mode()
    patched = torch.nn.functional.pixel_unshuffle(mean, 2)
    deviation = torch.sqrt(theirs.bn.running_var + theirs.config.batch_norm_eps)
    expected = (patched - mean_of(theirs)) / deviation[:, None, None]
    latents = ours.encode(pixels)
    assert latents.shape == (2, CONFIG.packed_channels, size[0] // CONFIG.scale, size[1] // CONFIG.scale)
    torch.testing.assert_close(latents, expected, atol=tolerance, rtol=0)

    drawn = torch.randn_like(latents)
    unpatched = torch.nn.functional.pixel_shuffle(drawn * deviation[:, None, None] + mean_of(theirs), 2)
    decoded = theirs.decode(unpatched).sample
    assert decoded.shape == pixels.shape
    torch.testing.assert_close(ours.decode(drawn), decoded, atol=tolerance, rtol=0)


def test_released_size() -> None:
    with torch.device("meta"):
        released = Autoencoder(AutoencoderConfig())
    assert sum(p.numel() for p in released.parameters()) == 84_046_115
    assert AutoencoderConfig().scale == 16
