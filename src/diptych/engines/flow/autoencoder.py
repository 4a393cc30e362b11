"""The autoencoders of FLUX.1 and FLUX.2: pixels to normalised, packed latents and back. FLUX 3 uses FLUX.2's.

Layout and key names follow Black Forest Labs' files (``ae.safetensors``). Latents are patchified 2x2, channels
`c (h 2) (w 2) -> (c ph pw)`, and normalised, so that the flow network sees channels of about zero mean and unit
variance: FLUX.2 with stored BatchNorm statistics of every packed channel, FLUX.1 with one factor and one shift.
Sources: black-forest-labs/flux2 at ab7cca6, ``src/flux2/autoencoder.py``; black-forest-labs/flux at 802fb47,
``src/flux/modules/autoencoder.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the network; the defaults are the released FLUX.2 autoencoder. See also `FLUX1` and `FLUX2`."""

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks_per_level: int = 2
    latent_channels: int = 32
    norm_groups: int = 32
    patch_size: int = 2
    quant_convolutions: bool = True
    """1x1 convolutions between the networks and the latents."""
    batch_norm: bool = True
    """Whether BatchNorm statistics normalise the packed latents; else `scale_factor` and `shift_factor` do."""
    scale_factor: float = 0.3611
    """z = scale_factor (z - shift_factor); FLUX.1's values. Not used with `batch_norm`."""
    shift_factor: float = 0.1159

    def __post_init__(self) -> None:
        widths = [self.channels * m for m in self.multipliers]
        if any(width % self.norm_groups for width in widths):
            raise ValueError(f"norm_groups, {self.norm_groups}, must divide every width: {widths}")

    @property
    def scale(self) -> int:
        """Pixels along one side of one packed latent position."""
        return 2 ** (len(self.multipliers) - 1) * self.patch_size

    @property
    def packed_channels(self) -> int:
        return self.latent_channels * self.patch_size**2


FLUX1 = AutoencoderConfig(latent_channels=16, quant_convolutions=False, batch_norm=False)
"""The released FLUX.1 autoencoder."""
FLUX2 = AutoencoderConfig()
"""The released FLUX.2 autoencoder, which FLUX 3 uses too."""


class ResnetBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in, eps=1e-6)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels_out, eps=1e-6)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class AttentionBlock(nn.Module):
    """Single-head attention over all positions, with 1x1 convolutions as projections."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # (B, C, H, W) -> (B, 1, H W, C). Contiguous: only then are the scores, (H W)^2, never all in memory on a CPU.
        q, k, v = (conv(h).flatten(2).mT.contiguous().unsqueeze(1) for conv in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(h.squeeze(1).transpose(1, 2).reshape(x.shape))


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttentionBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and bottom only, as the reference does


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one resolution, then a change of resolution (none at the last level)."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int, groups: int, then: str | None) -> None:
        super().__init__()
        widths = [channels_in, *[channels_out] * blocks]
        self.block = nn.ModuleList(ResnetBlock(a, b, groups) for a, b in pairwise(widths))
        self.then = then
        if then == "down":
            self.downsample = Downsample(channels_out)
        elif then == "up":
            self.upsample = Upsample(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.then == "down":
            return self.downsample(x)
        return self.upsample(x) if self.then == "up" else x


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        inputs = [widths[0], *widths[:-1]]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            Level(a, b, config.blocks_per_level, config.norm_groups, "down" if i < last else None)
            for i, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.mid = Middle(widths[-1], config.norm_groups)
        self.norm_out = nn.GroupNorm(config.norm_groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)
        if config.quant_convolutions:
            self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        h = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return self.quant_conv(h) if hasattr(self, "quant_conv") else h


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        inputs = [*widths[1:], widths[-1]]
        if config.quant_convolutions:
            self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], config.norm_groups)
        # Index 0 is the finest level, as in the files; it is run last.
        self.up = nn.ModuleList(
            Level(a, b, config.blocks_per_level + 1, config.norm_groups, "up" if i > 0 else None)
            for i, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.norm_out = nn.GroupNorm(config.norm_groups, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(self.post_quant_conv(z) if hasattr(self, "post_quant_conv") else z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Autoencoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        if config.batch_norm:
            self.bn = nn.BatchNorm2d(config.packed_channels, eps=1e-4, affine=False)

    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the unpacked latents: two of (B, C, H/8, W/8), for pixels (B, 3, H, W) in -1..1."""
        mean, log_variance = self.encoder(pixels).chunk(2, dim=1)
        return mean, log_variance

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) in -1..1 to normalised packed latents (B, 4 C, H/16, W/16).

        Takes the mean. With `noise`, standard normal and (B, C, H/8, W/8), it takes a sample in its place, as the
        reference pipelines of FLUX.1 do for pictures that go in.
        """
        mean, log_variance = self.moments(pixels)
        return self.pack(mean if noise is None else sample(mean, log_variance, noise))

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised packed latents (B, 4 C, h, w) to pixels (B, 3, 16 h, 16 w), about -1..1, not clamped."""
        pixels: Tensor = self.decoder(self.unpack(latents))
        return pixels

    def pack(self, z: Tensor) -> Tensor:
        """The encoder's latents (B, C, H/8, W/8), as they come, to normalised packed ones (B, 4 C, H/16, W/16)."""
        z = F.pixel_unshuffle(z, self.config.patch_size)
        if not self.config.batch_norm:
            return self.config.scale_factor * (z - self.config.shift_factor)
        mean, deviation = self._statistics(z)
        return (z - mean) / deviation

    def unpack(self, latents: Tensor) -> Tensor:
        """What `pack` did, undone: what the decoder takes."""
        if self.config.batch_norm:
            mean, deviation = self._statistics(latents)
            z = latents * deviation + mean
        else:
            z = latents / self.config.scale_factor + self.config.shift_factor
        return F.pixel_shuffle(z, self.config.patch_size)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every packed channel, (1, 4 C, 1, 1) each."""
        mean, variance = self.bn.running_mean, self.bn.running_var
        assert mean is not None
        assert variance is not None
        deviation = torch.sqrt(variance + self.bn.eps)
        return mean.to(like.dtype).view(1, -1, 1, 1), deviation.to(like.dtype).view(1, -1, 1, 1)


def sample(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Latents drawn with `noise` from the encoder's normal distribution. The clamp is diffusers' own."""
    return mean + torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)) * noise
