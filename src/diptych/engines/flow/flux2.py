"""The FLUX.2 transformer: one network for FLUX.2 dev, klein and the built-in model.

Text and image tokens pass through `double_blocks` (two streams, one attention) and then, as one sequence
[text, image, references], through `single_blocks` (attention and MLP in parallel). Reference pictures are further
tokens of the image stream; what is predicted for them is cut off. All blocks of a kind share one modulation, which
depends on the time and the embedded guidance alone. Key names follow Black Forest Labs' files.
Source: black-forest-labs/flux2 at ab7cca6, ``src/flux2/model.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diptych.engines.flow.network import (
    Condition,
    LastLayer,
    Modulation,
    QKNorm,
    Rotary,
    SwiGLU,
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

# A time's rows of modulation: those of the image stream, the text stream, the single blocks and the last layer.
IMAGE, TEXT, SINGLE, LAST = slice(0, 6), slice(6, 12), slice(12, 15), slice(15, 17)


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


DEV = Flux2Config()
KLEIN_4B = Flux2Config(
    text_width=7680, hidden=3072, heads=24, double_blocks=5, single_blocks=20, guidance_embedding=False
)
KLEIN_9B = Flux2Config(
    text_width=12288, hidden=4096, heads=32, double_blocks=8, single_blocks=24, guidance_embedding=False
)


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
        image_rows, text_rows = rows[:, IMAGE], rows[:, TEXT]
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
        qkv, mlp = self.linear1(modulate(x, rows)).split([3 * self.hidden, 2 * self.mlp], dim=-1)
        attended = attention(*split_heads(qkv, self.heads, self.norm), rotary)
        return torch.addcmul(x, rows[:, 2:3], self.linear2(torch.cat([attended, self.mlp_act(mlp)], dim=-1)))


class Flux2(nn.Module):
    """See `network.Network` for what the methods take and give."""

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
        self.final_layer = LastLayer(config.hidden, config.in_channels)

    def modulation(
        self,
        t: Tensor,
        t_next: Tensor | None = None,
        guidance: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """(N,) times to (N, 17, hidden); the same for every prompt."""
        need_modulation(self)
        need("t_next", t_next, False)
        need("guidance", guidance, self.config.guidance_embedding)
        need("pooled", pooled, False)
        vector = self.time_in(t)
        if guidance is not None:
            vector = vector + self.guidance_in(guidance)
        parts = (self.double_stream_modulation_img, self.double_stream_modulation_txt, self.single_stream_modulation)
        return torch.cat([*(part(vector) for part in parts), self.final_layer.rows(vector)], dim=1)

    def release_modulation(self) -> None:
        need_modulation(self)
        del self.time_in, self.final_layer.adaLN_modulation
        del self.double_stream_modulation_img, self.double_stream_modulation_txt, self.single_stream_modulation
        if self.config.guidance_embedding:
            del self.guidance_in

    def project_text(self, text: Tensor) -> Tensor:
        """(B, L, text width) to (B, L, hidden); the same for every step of a picture."""
        projected: Tensor = self.txt_in(text)
        return projected

    def condition(
        self,
        text: Tensor,
        height: int,
        width: int,
        references: Sequence[Tensor] = (),
        control: Tensor | None = None,
    ) -> Condition:
        need("control", control, False)
        sizes = [(picture.shape[-2], picture.shape[-1]) for picture in references]
        at = positions(text.shape[1], height, width, sizes)
        return Condition(
            text=self.project_text(text),
            rotary=rotary_tables(at, self.config.axes, self.config.theta, text.device),
            references=self.img_in(tokens(references)) if references else None,
        )

    def forward(self, latents: Tensor, condition: Condition, rows: Tensor) -> Tensor:
        text, rotary = condition.text, condition.rotary
        image = self.img_in(latents)
        if condition.references is not None:
            image = torch.cat([image, condition.references], dim=1)
        for block in self.double_blocks:
            image, text = block(image, text, rotary, rows)
        x = torch.cat([text, image], dim=1)
        for block in self.single_blocks:
            x = block(x, rotary, rows[:, SINGLE])
        start = text.shape[1]
        return self.final_layer(x[:, start : start + latents.shape[1]], rows[:, LAST])


def positions(text_length: int, height: int, width: int, references: Sequence[tuple[int, int]] = ()) -> Tensor:
    """Positions (picture, y, x, word) of [text, image, references]: (tokens, 4).

    Words count along the last axis, image tokens along y and x; reference i, given as (height, width), is picture
    10 + 10 i. Sizes are those of the packed latents.
    """
    text = torch.zeros(text_length, 4, dtype=torch.float64)
    text[:, 3] = torch.arange(text_length)
    pictures = [grid(height, width, 4)]
    for i, size in enumerate(references):
        reference = grid(*size, 4)
        reference[:, 0] = 10 + 10 * i
        pictures.append(reference)
    return torch.cat([text, *pictures])


def _mlp(hidden: int, mlp: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden, 2 * mlp, bias=False), SwiGLU(), nn.Linear(mlp, hidden, bias=False))
