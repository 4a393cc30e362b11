"""The FLUX.2 transformer: one network for FLUX.2 dev, klein and the built-in model.

Text and image tokens pass through `double_blocks` (two streams, one attention) and then, as one sequence
[text, image], through `single_blocks` (attention and MLP in parallel). All blocks of a kind share one modulation, which
depends on the time and the embedded guidance alone: it is computed once for a whole schedule (`modulation`) and a step
takes the rows it needs. Key names follow Black Forest Labs' files.
Source: black-forest-labs/flux2 at ab7cca6, ``src/flux2/model.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines, each (tokens, head width / 2), float32."""

MODULATION_ROWS = 17
"""Per time: 6 for the image stream, 6 for the text stream, 3 for the single blocks, 2 for the last layer."""


@dataclass(frozen=True)
class Flux2Config:
    """Shape of the network; the defaults are FLUX.2 dev."""

    in_channels: int = 128
    text_width: int = 15360
    hidden: int = 6144
    heads: int = 48
    double_blocks: int = 8
    single_blocks: int = 48
    axes: tuple[int, ...] = (32, 32, 32, 32)
    """How much of a head's width encodes each coordinate of a position: (picture, y, x, word)."""
    theta: float = 2000.0
    mlp_ratio: float = 3.0
    guidance_embedding: bool = True
    time_channels: int = 256

    def __post_init__(self) -> None:
        if self.hidden % self.heads or sum(self.axes) != self.hidden // self.heads:
            raise ValueError(
                f"axes {self.axes} must add up to the width of a head, {self.hidden} / {self.heads} = "
                f"{self.hidden / self.heads:g}"
            )


class TimeEmbedder(nn.Module):
    """Cosines, then sines, of 1000 t at geometric frequencies, through a two-layer MLP."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        self.in_layer = nn.Linear(channels, hidden, bias=False)
        self.out_layer = nn.Linear(hidden, hidden, bias=False)

    def forward(self, t: Tensor) -> Tensor:
        dtype = self.in_layer.weight.dtype
        half = self.channels // 2
        frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
        # The reference rounds t to the network's dtype before multiplying: in bfloat16 the order matters.
        angles = (t.to(dtype) * 1000).float()[:, None] * frequencies
        x = torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype)
        hidden: Tensor = self.out_layer(F.silu(self.in_layer(x)))
        return hidden


class Modulation(nn.Module):
    def __init__(self, hidden: int, rows: int) -> None:
        super().__init__()
        self.lin = nn.Linear(hidden, rows * hidden, bias=False)

    def forward(self, vector: Tensor) -> Tensor:
        rows: Tensor = self.lin(F.silu(vector)).unflatten(-1, (-1, vector.shape[-1]))
        return rows


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + 1e-6)
        return normed.to(x.dtype) * self.scale


class QKNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_norm = RMSNorm(width)
        self.key_norm = RMSNorm(width)


class SwiGLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


class StreamAttention(nn.Module):
    """One stream's projections around the attention that both streams share."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.norm = QKNorm(hidden // heads)
        self.proj = nn.Linear(hidden, hidden, bias=False)


class DoubleBlock(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        mlp = int(config.hidden * config.mlp_ratio)
        self.img_attn = StreamAttention(config.hidden, config.heads)
        self.txt_attn = StreamAttention(config.hidden, config.heads)
        self.img_mlp = _mlp(config.hidden, mlp)
        self.txt_mlp = _mlp(config.hidden, mlp)

    def forward(self, image: Tensor, text: Tensor, rotary: Rotary, rows: Tensor) -> tuple[Tensor, Tensor]:
        image_rows, text_rows = rows[:, :6], rows[:, 6:12]
        streams = ((text, text_rows, self.txt_attn), (image, image_rows, self.img_attn))
        parts = [split_heads(a.qkv(modulate(x, r, 0)), a.heads, a.norm) for x, r, a in streams]
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(*parts, strict=True))
        attended = attention(q, k, v, rotary)
        length = text.shape[1]
        image = image + image_rows[:, 2:3] * self.img_attn.proj(attended[:, length:])
        text = text + text_rows[:, 2:3] * self.txt_attn.proj(attended[:, :length])
        image = image + image_rows[:, 5:6] * self.img_mlp(modulate(image, image_rows, 3))
        text = text + text_rows[:, 5:6] * self.txt_mlp(modulate(text, text_rows, 3))
        return image, text


class SingleBlock(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.hidden = config.hidden
        self.mlp = int(config.hidden * config.mlp_ratio)
        self.linear1 = nn.Linear(config.hidden, 3 * config.hidden + 2 * self.mlp, bias=False)
        self.linear2 = nn.Linear(config.hidden + self.mlp, config.hidden, bias=False)
        self.norm = QKNorm(config.hidden // config.heads)
        self.mlp_act = SwiGLU()

    def forward(self, x: Tensor, rotary: Rotary, rows: Tensor) -> Tensor:
        qkv, mlp = self.linear1(modulate(x, rows, 12)).split([3 * self.hidden, 2 * self.mlp], dim=-1)
        attended = attention(*split_heads(qkv, self.heads, self.norm), rotary)
        return x + rows[:, 14:15] * self.linear2(torch.cat([attended, self.mlp_act(mlp)], dim=-1))


class LastLayer(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.linear = nn.Linear(config.hidden, config.in_channels, bias=False)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(config.hidden, 2 * config.hidden, bias=False))


class Flux2(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.config = config
        self.img_in = nn.Linear(config.in_channels, config.hidden, bias=False)
        self.txt_in = nn.Linear(config.text_width, config.hidden, bias=False)
        self.time_in = TimeEmbedder(config.time_channels, config.hidden)
        if config.guidance_embedding:
            self.guidance_in = TimeEmbedder(config.time_channels, config.hidden)
        self.double_stream_modulation_img = Modulation(config.hidden, 6)
        self.double_stream_modulation_txt = Modulation(config.hidden, 6)
        self.single_stream_modulation = Modulation(config.hidden, 3)
        self.double_blocks = nn.ModuleList(DoubleBlock(config) for _ in range(config.double_blocks))
        self.single_blocks = nn.ModuleList(SingleBlock(config) for _ in range(config.single_blocks))
        self.final_layer = LastLayer(config)

    def modulation(self, t: Tensor, guidance: Tensor | None = None) -> Tensor:
        """Everything the blocks need to know of the time: (N,) times in 0..1 to (N, 17, hidden).

        `guidance` (N,) is embedded where the network has a guidance embedding, and must be None where it has not.
        """
        if (guidance is not None) != self.config.guidance_embedding:
            raise ValueError(f"guidance_embedding is {self.config.guidance_embedding}, guidance is {guidance}")
        vector = self.time_in(t)
        if guidance is not None:
            vector = vector + self.guidance_in(guidance)
        last = self.final_layer.adaLN_modulation(vector).unflatten(-1, (2, -1))
        parts = (self.double_stream_modulation_img, self.double_stream_modulation_txt, self.single_stream_modulation)
        return torch.cat([*(part(vector) for part in parts), last], dim=1)

    def project_text(self, text: Tensor) -> Tensor:
        """(B, L, text width) to (B, L, hidden); the same for every step of a picture."""
        projected: Tensor = self.txt_in(text)
        return projected

    def forward(self, latents: Tensor, text: Tensor, rotary: Rotary, rows: Tensor) -> Tensor:
        """The velocity, noise minus picture, at `latents`: one step's work, a pure function.

        latents: (B, N, in channels). text: (B, L, hidden), from `project_text`. rotary: for the L + N positions
        [text, image]. rows: (B, 17, hidden), from `modulation`; members of the batch may be at different times.
        Returns (B, N, in channels).
        """
        image = self.img_in(latents)
        for block in self.double_blocks:
            image, text = block(image, text, rotary, rows)
        x = torch.cat([text, image], dim=1)
        for block in self.single_blocks:
            x = block(x, rotary, rows)
        velocity: Tensor = self.final_layer.linear(modulate(x[:, text.shape[1] :], rows, 15))
        return velocity


def modulate(x: Tensor, rows: Tensor, first: int) -> Tensor:
    """LayerNorm without parameters, then shift (row `first`) and scale (the row after it)."""
    normed = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return (1 + rows[:, first + 1 : first + 2]) * normed + rows[:, first : first + 1]


def split_heads(qkv: Tensor, heads: int, norm: QKNorm) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L, 3 heads width) to normed queries, normed keys and values, each (B, heads, L, width)."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return norm.query_norm(q), norm.key_norm(k), v


def attention(q: Tensor, k: Tensor, v: Tensor, rotary: Rotary) -> Tensor:
    """Rotate, attend without a mask, merge the heads: (B, heads, L, width) to (B, L, heads width)."""
    attended = F.scaled_dot_product_attention(rotate(q, rotary), rotate(k, rotary), v)
    return attended.transpose(1, 2).flatten(2)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate interleaved pairs of channels, (x0, x1), (x2, x3), ..., by each position's angles."""
    cos, sin = rotary
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


def rotary_tables(positions: Tensor, axes: tuple[int, ...], theta: float) -> Rotary:
    """Angles for (tokens, len(axes)) integer positions; computed in float64, as diffusers does."""
    angles = []
    for column, width in zip(positions.double().unbind(-1), axes, strict=True):
        frequencies = theta ** -(torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width)
        angles.append(column[:, None] * frequencies)
    joined = torch.cat(angles, dim=-1)
    return joined.cos().float(), joined.sin().float()


def positions(text_length: int, height: int, width: int) -> Tensor:
    """Positions (picture, y, x, word) of [text, image]: words count along the last axis, image tokens along y and x.

    height, width: of the packed latents. Returns (text_length + height width, 4).
    """
    text = torch.zeros(text_length, 4, dtype=torch.long)
    text[:, 3] = torch.arange(text_length)
    image = torch.zeros(height, width, 4, dtype=torch.long)
    image[..., 1] = torch.arange(height)[:, None]
    image[..., 2] = torch.arange(width)
    return torch.cat([text, image.view(-1, 4)])


def _mlp(hidden: int, mlp: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden, 2 * mlp, bias=False), SwiGLU(), nn.Linear(mlp, hidden, bias=False))
