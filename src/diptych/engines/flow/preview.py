"""Step previews that cost nothing: colours as a linear function of latents.

The decoder is asked a few times, at load, what it makes of random latents; the colour of each 8x8 pixels is then
fitted, by least squares, as a weighted sum of the latent channels there. A preview of a step is that sum: one small
matrix product. Nothing about a model has to be known beforehand, and a decoder that is trained anew gets its own map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.engines.flow.autoencoder import Autoencoder, AutoencoderConfig

PICTURES = 4
"""Random latents of each smoothness that are decoded."""
SIDE = 4
"""Tokens along a side of these. Enough for the middle of the network to see a picture, small enough to be fast."""
RIDGE = 1e-3
"""Kept small: there are 15 times as many colours as weights."""


@dataclass(frozen=True)
class Preview:
    """A linear map from normalised packed latents to colours."""

    weights: Tensor
    """(C, 3) for the C channels of one position of the unpacked latents, float32."""
    bias: Tensor
    """(3,)"""
    config: AutoencoderConfig

    @classmethod
    @torch.inference_mode()
    def fit(cls, autoencoder: Autoencoder) -> Preview:
        """Fit to a loaded autoencoder, where it is and in its dtype. Deterministic.

        Decodes 8 pictures of 64x64 pixels (of 128x128 for the built-in model): half the work of one picture of 256x256.
        """
        config = autoencoder.config
        weight = autoencoder.decoder.conv_in.weight
        drawn = _random_latents(config).to(weight.device, weight.dtype)
        # One at a time: the memory of one, and on a CPU no slower.
        decoded = torch.cat([autoencoder.decode(one[None]) for one in drawn]).float().clamp(-1, 1)
        colours = F.avg_pool2d(decoded, config.scale // config.patch_size)
        # Small and ill-conditioned: solved on the CPU in float64.
        x, y = (_rows(part.cpu().double()) for part in (F.pixel_shuffle(drawn, config.patch_size), colours))
        x_mean, y_mean = x.mean(0), y.mean(0)
        x, y = x - x_mean, y - y_mean
        gram = x.mT @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
        weights = torch.linalg.solve(gram, x.mT @ y)
        bias = y_mean - x_mean @ weights
        return cls(weights.float().to(weight.device), bias.float().to(weight.device), config)

    def __call__(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Packed tokens (B, h w, channels) to colours (B, 2 h, 2 w, 3), uint8, on the latents' device.

        height, width: in tokens. Give it the step's estimate of the picture, not the noisy latents.
        """
        patch = self.config.patch_size
        grid = latents.float().mT.unflatten(-1, (height, width))
        colours = F.pixel_shuffle(grid, patch).movedim(1, -1) @ self.weights + self.bias
        return ((colours.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _random_latents(config: AutoencoderConfig) -> Tensor:
    """Standard normal, each token on its own in one half and two by two alike in the other: (2 PICTURES, 4 C, h, w).

    Always the same ones, drawn on the CPU.
    """
    generator = torch.Generator().manual_seed(0)
    rough = torch.randn(PICTURES, config.packed_channels, SIDE, SIDE, generator=generator)
    smooth = torch.randn(PICTURES, config.packed_channels, SIDE // 2, SIDE // 2, generator=generator)
    smooth = F.interpolate(smooth, scale_factor=2.0, mode="bilinear")
    return torch.cat([rough, smooth / smooth.std()])


def _rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) to (B h w, C)."""
    return maps.movedim(1, -1).flatten(0, -2)
