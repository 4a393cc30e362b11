"""The FLUX.1 transformer: schnell, dev, Krea, and the editing models Kontext, Fill, Canny and Depth.

Text and image tokens pass through `double_blocks` (two streams, one attention) and then, as one sequence
[text, image, reference], through `single_blocks` (attention and MLP in parallel). Every block has a modulation of its
own, of the time, the embedded guidance and CLIP's pooled prompt: 27 % of all weights, read once for a whole schedule.
Fill, Canny and Depth take further channels beside every image token; Kontext a reference picture as further tokens,
whose prediction is cut off. Key names follow Black Forest Labs' files.
Source: black-forest-labs/flux at 802fb47, ``src/flux/model.py`` and ``src/flux/modules/layers.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.engines.flow.network import (
    Condition,
    LastLayer,
    Modulation,
    QKNorm,
    Rotary,
    TimeEmbedder,
    attention,
    grid,
    modulate,
    need,
    need_modulation,
    rotary_tables,
    split_heads,
    tokens,
)


@dataclass(frozen=True)
class Flux1Config:
    """Shape of the network; the defaults are FLUX.1 dev, which Krea and Kontext share."""

    in_channels: int = 64
    """What is beyond `out_channels` is control: of Canny and Depth a picture, of Fill a masked one and its mask."""
    out_channels: int = 64
    text_width: int = 4096
    pooled_width: int = 768
    hidden: int = 3072
    heads: int = 24
    double_blocks: int = 19
    single_blocks: int = 38
    axes: tuple[int, ...] = (16, 56, 56)
    """How much of a head's width encodes each coordinate of a position: (picture, y, x)."""
    theta: float = 10_000.0
    mlp_ratio: float = 4.0
    guidance_embedding: bool = True
    time_channels: int = 256

    def __post_init__(self) -> None:
        if self.hidden % self.heads or sum(self.axes) != self.hidden // self.heads:
            raise ValueError(
                f"axes {self.axes} must add up to the width of a head, {self.hidden} / {self.heads} = "
                f"{self.hidden / self.heads:g}"
            )
        if self.in_channels < self.out_channels:
            raise ValueError(f"in_channels, {self.in_channels}, must be at least out_channels, {self.out_channels}")


DEV = Flux1Config()
SCHNELL = replace(DEV, guidance_embedding=False)
CANNY = DEPTH = replace(DEV, in_channels=128)
FILL = replace(DEV, in_channels=384)


class StreamAttention(nn.Module):
    """One stream's projections around the attention that both streams share."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.norm = QKNorm(hidden // heads)
        self.proj = nn.Linear(hidden, hidden)


class DoubleBlock(nn.Module):
    ROWS = 12
    """Of modulation: 6 for the image stream, then 6 for the text stream."""

    def __init__(self, config: Flux1Config) -> None:
        super().__init__()
        mlp = int(config.hidden * config.mlp_ratio)
        self.img_mod = Modulation(config.hidden, 6, bias=True)
        self.img_attn = StreamAttention(config.hidden, config.heads)
        self.img_mlp = _mlp(config.hidden, mlp)
        self.txt_mod = Modulation(config.hidden, 6, bias=True)
        self.txt_attn = StreamAttention(config.hidden, config.heads)
        self.txt_mlp = _mlp(config.hidden, mlp)

    def forward(self, image: Tensor, text: Tensor, rotary: Rotary, rows: Tensor) -> tuple[Tensor, Tensor]:
        image_rows, text_rows = rows[:, :6], rows[:, 6:]
        streams = ((text, text_rows, self.txt_attn), (image, image_rows, self.img_attn))
        parts = [split_heads(a.qkv(modulate(x, r)), a.heads, a.norm) for x, r, a in streams]
        q, k, v = (torch.cat(pair, dim=1) for pair in zip(*parts, strict=True))
        attended = attention(q, k, v, rotary)
        length = text.shape[1]
        image = torch.addcmul(image, image_rows[:, 2:3], self.img_attn.proj(attended[:, length:]))
        text = torch.addcmul(text, text_rows[:, 2:3], self.txt_attn.proj(attended[:, :length]))
        image = torch.addcmul(image, image_rows[:, 5:6], self.img_mlp(modulate(image, image_rows[:, 3:])))
        text = torch.addcmul(text, text_rows[:, 5:6], self.txt_mlp(modulate(text, text_rows[:, 3:])))
        return image, text


class SingleBlock(nn.Module):
    ROWS = 3

    def __init__(self, config: Flux1Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.hidden = config.hidden
        self.mlp = int(config.hidden * config.mlp_ratio)
        self.linear1 = nn.Linear(config.hidden, 3 * config.hidden + self.mlp)
        self.linear2 = nn.Linear(config.hidden + self.mlp, config.hidden)
        self.norm = QKNorm(config.hidden // config.heads)
        self.modulation = Modulation(config.hidden, 3, bias=True)

    def forward(self, x: Tensor, rotary: Rotary, rows: Tensor) -> Tensor:
        qkv, mlp = self.linear1(modulate(x, rows)).split([3 * self.hidden, self.mlp], dim=-1)
        attended = attention(*split_heads(qkv, self.heads, self.norm), rotary)
        both = torch.cat([attended, F.gelu(mlp, approximate="tanh")], dim=-1)
        return torch.addcmul(x, rows[:, 2:3], self.linear2(both))


class PooledEmbedder(nn.Module):
    """CLIP's pooled prompt through a two-layer MLP."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(width, hidden)
        self.out_layer = nn.Linear(hidden, hidden)

    def forward(self, pooled: Tensor) -> Tensor:
        hidden: Tensor = self.out_layer(F.silu(self.in_layer(pooled)))
        return hidden


class Flux1(nn.Module):
    """See `network.Network` for what the methods take and give."""

    def __init__(self, config: Flux1Config) -> None:
        super().__init__()
        self.config = config
        self.img_in = nn.Linear(config.in_channels, config.hidden)
        self.txt_in = nn.Linear(config.text_width, config.hidden)
        self.time_in = TimeEmbedder(config.time_channels, config.hidden, bias=True)
        self.vector_in = PooledEmbedder(config.pooled_width, config.hidden)
        if config.guidance_embedding:
            self.guidance_in = TimeEmbedder(config.time_channels, config.hidden, bias=True)
        self.double_blocks = nn.ModuleList(DoubleBlock(config) for _ in range(config.double_blocks))
        self.single_blocks = nn.ModuleList(SingleBlock(config) for _ in range(config.single_blocks))
        self.final_layer = LastLayer(config.hidden, config.out_channels, bias=True)

    def modulation(
        self,
        t: Tensor,
        t_next: Tensor | None = None,
        guidance: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """(N,) times to (N, 12 double blocks + 3 single blocks + 2, hidden), of one prompt or of N."""
        need_modulation(self)
        need("t_next", t_next, False)
        need("guidance", guidance, self.config.guidance_embedding)
        need("pooled", pooled, True)
        vector = self.time_in(t)
        if guidance is not None:
            vector = vector + self.guidance_in(guidance)
        vector = vector + self.vector_in(pooled)
        parts = [block.get_submodule(name) for block in self.double_blocks for name in ("img_mod", "txt_mod")]
        parts += [block.get_submodule("modulation") for block in self.single_blocks]
        return torch.cat([*(part(vector) for part in parts), self.final_layer.rows(vector)], dim=1)

    def release_modulation(self) -> None:
        need_modulation(self)
        del self.time_in, self.vector_in, self.final_layer.adaLN_modulation
        if self.config.guidance_embedding:
            del self.guidance_in
        for block in self.double_blocks:
            del block.img_mod, block.txt_mod
        for block in self.single_blocks:
            del block.modulation

    def condition(
        self,
        text: Tensor,
        height: int,
        width: int,
        references: Sequence[Tensor] = (),
        control: Tensor | None = None,
    ) -> Condition:
        need("control", control, self.config.in_channels > self.config.out_channels)
        if references and control is not None:
            raise ValueError("this network takes no references")
        if len(references) > 1:
            raise ValueError(f"this network takes one reference, not {len(references)}")
        sizes = [(picture.shape[-2], picture.shape[-1]) for picture in references]
        at = positions(text.shape[1], height, width, sizes)
        return Condition(
            text=self.txt_in(text),
            rotary=rotary_tables(at, self.config.axes, self.config.theta, text.device),
            references=self.img_in(tokens(references)) if references else None,
            control=control,
        )

    def forward(self, latents: Tensor, condition: Condition, rows: Tensor) -> Tensor:
        text, rotary = condition.text, condition.rotary
        image = self.img_in(latents if condition.control is None else torch.cat([latents, condition.control], dim=-1))
        if condition.references is not None:
            image = torch.cat([image, condition.references], dim=1)
        single = DoubleBlock.ROWS * len(self.double_blocks)
        for block, own in zip(self.double_blocks, rows[:, :single].split(DoubleBlock.ROWS, dim=1), strict=True):
            image, text = block(image, text, rotary, own)
        x = torch.cat([text, image], dim=1)
        for block, own in zip(self.single_blocks, rows[:, single:-2].split(SingleBlock.ROWS, dim=1), strict=True):
            x = block(x, rotary, own)
        start = text.shape[1]
        return self.final_layer(x[:, start : start + latents.shape[1]], rows[:, -2:])


def positions(text_length: int, height: int, width: int, references: Sequence[tuple[int, int]] = ()) -> Tensor:
    """Positions (picture, y, x) of [text, image, references]: (tokens, 3).

    Text is at the origin; a reference, given as (height, width), is picture 1. Sizes are those of the packed latents.
    """
    pictures = [grid(height, width, 3)]
    for size in references:
        reference = grid(*size, 3)
        reference[:, 0] = 1
        pictures.append(reference)
    return torch.cat([torch.zeros(text_length, 3, dtype=torch.float64), *pictures])


def _mlp(hidden: int, mlp: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden, mlp), nn.GELU(approximate="tanh"), nn.Linear(mlp, hidden))
