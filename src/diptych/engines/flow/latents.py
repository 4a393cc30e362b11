"""Latents before, between and beside the steps: noise, walks between seeds, what stays of a picture. Pure functions.

Packed latents are tokens, (B, h w, C), as the networks take them, or a grid, (B, C, h, w), as the autoencoder does.
One token is `AutoencoderConfig.scale` pixels square. Everything here is float32 unless its arguments are not.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.engines.flow.autoencoder import AutoencoderConfig
from diptych.errors import InvalidRequest

NoiseOrder = Literal["unpacked", "packed", "tokens"]
"""The shape in which noise is drawn, which decides what a seed looks like.

"unpacked": (1, C, H/8, W/8), as FLUX.1 does. "packed": (1, 4 C, H/16, W/16), as FLUX.2, the built-in model and
diffusers' FLUX 3 do. "tokens": (H/16 W/16, 4 C), as Black Forest Labs' own FLUX 3 does. diptych draws FLUX 3's as
"packed", so that it can be held against diffusers.
"""


def noise(
    seed: int,
    width: int,
    height: int,
    config: AutoencoderConfig,
    order: NoiseOrder = "packed",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """What a picture starts from: (1, tokens, channels), float32, drawn on the CPU: every device starts alike.

    width, height: pixels, multiples of `config.scale`. dtype: what is drawn in; the same seed in bfloat16 is another
    noise than in float32, because fewer random bits are used up. The reference engines of FLUX.1 draw in bfloat16.
    """
    rows, columns = height // config.scale, width // config.scale
    generator = torch.Generator().manual_seed(seed)
    if order == "tokens":
        return torch.randn(1, rows * columns, config.packed_channels, generator=generator, dtype=dtype).float()
    if order == "packed":
        return pack(torch.randn(1, config.packed_channels, rows, columns, generator=generator, dtype=dtype).float())
    patch = config.patch_size
    drawn = torch.randn(1, config.latent_channels, patch * rows, patch * columns, generator=generator, dtype=dtype)
    return pack(F.pixel_unshuffle(drawn.float(), patch))


def pack(grid: Tensor) -> Tensor:
    """(B, C, h, w) to tokens, row by row: (B, h w, C)."""
    return grid.flatten(2).mT


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, h w, C) to (B, C, h, w); height and width in tokens."""
    return tokens.mT.unflatten(-1, (height, width))


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """From `a` (weight 0) to `b` (weight 1) along the sphere they lie on; (B, ...), each member for itself.

    Noise has a length that the network expects, and a straight line would pass nearer to zero. Shoemake 1985; where
    the two point the same way, or exactly apart, it is the straight line.
    """
    if not 0 <= weight <= 1:
        raise InvalidRequest(f"The weight between two seeds is {weight!r}; it must be from 0 (first) to 1 (second).")
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    cosine = F.cosine_similarity(flat_a, flat_b, dim=1).clamp(-1, 1)
    angle = torch.arccos(cosine)
    sine = torch.sin(angle)
    straight = sine < 1e-4
    safe = torch.where(straight, 1, sine)
    from_a = torch.where(straight, 1 - weight, torch.sin((1 - weight) * angle) / safe)
    from_b = torch.where(straight, weight, torch.sin(weight * angle) / safe)
    shape = (-1, *[1] * (a.ndim - 1))
    return from_a.view(shape) * a + from_b.view(shape) * b


def walk(first: Tensor, second: Tensor, frames: int) -> Tensor:
    """`frames` noises from `first` to `second`, both included, in equal angles: (1, ...) each to (frames, ...)."""
    if frames < 2:
        raise InvalidRequest(f"A walk of {frames} frames has no two ends; it must have at least 2.")
    return torch.cat([slerp(first, second, i / (frames - 1)) for i in range(frames)])


def vary(noise: Tensor, other: Tensor, strength: float) -> Tensor:
    """`noise`, a little towards another seed's: 0 repeats the picture, 0.05 to 0.2 varies it, 1 is the other's."""
    if not 0 <= strength <= 1:
        raise InvalidRequest(f"variation is {strength!r}; it must be from 0 (the same picture) to 1 (another seed's).")
    return slerp(noise, other, strength)


def at_time(picture: Tensor, noise: Tensor, t: float | Tensor) -> Tensor:
    """A picture's latents, made as noisy as latents are at `t`: (1 - t) picture + t noise. t: a number or (B,)."""
    if isinstance(t, Tensor):
        t = t.to(picture.device, picture.dtype).view(-1, *[1] * (picture.ndim - 1))
    return (1 - t) * picture + t * noise


def keep_outside(latents: Tensor, picture: Tensor, noise: Tensor, mask: Tensor, t: float | Tensor) -> Tensor:
    """After a step: what lies outside the mask goes back to the picture, as noisy as `t`, the time that is now.

    This inpaints with any model (Lugmayr et al. 2022, without the resampling). mask: 1 where the picture may change,
    broadcast over `latents`; see `inputs.latent_mask`.
    """
    return (1 - mask) * at_time(picture, noise, t) + mask * latents
