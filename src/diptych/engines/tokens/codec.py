"""The image tokenizer: pixels to codes and back.

A convolutional encoder brings a picture to one position per 16x16 pixels, finite scalar quantisation rounds every
channel of a position to one of a few levels, and a convolutional decoder makes pixels of the levels. There is no
codebook that could collapse: a code is the number that a group of rounded channels spells. Nothing in it knows the
size of the picture: any multiple of 16 pixels works.
Source: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023, arXiv 2309.15505.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class CodecConfig:
    """Shape of the network; the defaults are those of `builtin-tokens`."""

    patch: int = 2
    """Pixels along a side that the first convolution takes as one position."""
    widths: tuple[int, ...] = (48, 96, 192, 192)
    """Channels of each resolution, the finest first; each has half the side of the one before."""
    encoder_blocks: int = 1
    decoder_blocks: int = 2
    """Of each resolution but the finest, which has none in the encoder and one in the decoder."""
    levels: int = 8
    """Values that a channel is rounded to."""
    channels: int = 8
    """Rounded channels of a position."""
    groups: int = 4
    """Codes of a position: each spells `channels / groups` of its channels."""

    def __post_init__(self) -> None:
        if self.channels % self.groups:
            raise ValueError(f"groups, {self.groups}, must divide channels, {self.channels}")
        if self.levels < 2:
            raise ValueError(f"levels is {self.levels}; rounding needs at least 2")

    @property
    def scale(self) -> int:
        """Pixels along a side of one position."""
        return int(self.patch * 2 ** (len(self.widths) - 1))

    @property
    def codes(self) -> int:
        """How many values a code can have."""
        return int(self.levels ** (self.channels // self.groups))


class ChannelNorm(nn.Module):
    """Normalises the channels of each position apart: what is far away, and how large the picture is, does not matter.

    GroupNorm over a picture took the colour of a plain background away (docs/log.md).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class Block(nn.Module):
    """What is near (3x3), then what is here (1x1, twice as wide inside)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.near = nn.Conv2d(channels, channels, 3, padding=1)
        self.up = nn.Conv2d(channels, 2 * channels, 1)
        self.down = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.up(self.near(self.norm(x)))))


class Encoder(nn.Module):
    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.conv_in = nn.Conv2d(3 * config.patch**2, config.widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 2, stride=2), *(Block(b) for _ in range(config.encoder_blocks)))
            for a, b in pairwise(config.widths)
        )
        # Without it values grow until most codes are the outermost (docs/log.md).
        self.norm_out = ChannelNorm(config.widths[-1])
        self.conv_out = nn.Conv2d(config.widths[-1], config.channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        h = self.conv_in(F.pixel_unshuffle(pixels, self.patch))
        for level in self.levels:
            h = level(h)
        return self.conv_out(self.norm_out(h))


class Decoder(nn.Module):
    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.patch = config.patch
        widths = config.widths[::-1]
        self.conv_in = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(*(Block(a) for _ in range(config.decoder_blocks)), nn.Conv2d(a, 4 * b, 1), nn.PixelShuffle(2))
            for a, b in pairwise(widths)
        )
        self.finest = Block(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 3 * config.patch**2, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        h = self.conv_in(values)
        for level in self.levels:
            h = level(h)
        return F.pixel_shuffle(self.conv_out(F.silu(self.finest(h))), self.patch)


class Codec(nn.Module):
    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def bound(self, raw: Tensor) -> Tensor:
        """What the encoder says, of any size, to -1..1; not yet rounded."""
        # tanh(0.8 z) makes a normally distributed z nearly uniform: every level is used about as often.
        return torch.tanh(0.8 * raw)

    def quantise(self, bounded: Tensor) -> Tensor:
        """The nearest of `levels` evenly spaced values in -1..1; the gradient passes as if nothing had been rounded."""
        step = 2 / (self.config.levels - 1)
        rounded = torch.round((bounded + 1) / step) * step - 1
        return bounded + (rounded - bounded).detach()

    def forward(self, pixels: Tensor) -> Tensor:
        """To codes and back, with gradients: (B, 3, H, W) to the same. Used in training only."""
        decoded: Tensor = self.decoder(self.quantise(self.bound(self.encoder(pixels))))
        return decoded

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in -1..1, H and W multiples of `scale`, to codes (B, positions, groups), int64, row by row."""
        levels = torch.round((self.bound(self.encoder(pixels)) + 1) * ((self.config.levels - 1) / 2)).long()
        digits = levels.flatten(2).mT.unflatten(-1, (self.config.groups, -1))  # (B, positions, groups, digits)
        return (digits * self._weights(digits)).sum(-1)

    def values(self, codes: Tensor, height: int) -> Tensor:
        """Codes (B, positions, groups) to what the decoder reads: (B, channels, height, width), positions."""
        digits = codes[..., None] // self._weights(codes) % self.config.levels
        dtype = self.decoder.conv_in.weight.dtype
        values = digits.flatten(2).to(dtype) * (2 / (self.config.levels - 1)) - 1
        return values.mT.unflatten(-1, (height, -1))

    def decode(self, codes: Tensor, height: int) -> Tensor:
        """Codes (B, positions, groups) to pixels (B, 3, H, W), about -1..1, not clamped. height: in positions."""
        pixels: Tensor = self.decoder(self.values(codes, height))
        return pixels

    def _weights(self, like: Tensor) -> Tensor:
        """The place value of each digit of a code, the first channel the lowest."""
        digits = self.config.channels // self.config.groups
        return torch.tensor([self.config.levels**i for i in range(digits)], device=like.device)


@dataclass(frozen=True)
class CodebookUse:
    """How a sample of pictures uses the codes; `share` and `bits` per group."""

    share: tuple[float, ...]
    """Of all codes, those that occurred at all."""
    bits: tuple[float, ...]
    """Entropy of the codes; the most there can be is log2 of how many there are."""


def codebook_use(codes: Tensor, config: CodecConfig) -> CodebookUse:
    """Count what occurs in `codes` (B, positions, groups)."""
    share, bits = [], []
    for group in range(config.groups):
        counts = torch.bincount(codes[..., group].flatten(), minlength=config.codes).double()
        p = counts[counts > 0] / counts.sum()
        share.append(len(p) / config.codes)
        bits.append(abs(float((p * p.log2()).sum())))
    return CodebookUse(tuple(share), tuple(bits))
