"""What the transformers of the FLUX family have in common: their face, and the parts they are all built from.

A network is asked in three steps, each as seldom as it can be:

    rows = network.modulation(times, ...)                   once for a whole schedule
    condition = network.condition(text, height, width)      once for a picture
    velocity = network(latents, condition, rows[step])      once for a step

Tokens are (B, tokens, channels); `height` and `width` count tokens: pixels divided by 16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rotary = tuple[Tensor, Tensor]
"""Cosines, and sines with the sign of their channel: each (1 or B, tokens, 1, head width), float32."""


@dataclass(frozen=True)
class Condition:
    """What a picture is made from, as the blocks take it: the same for all its steps."""

    text: Tensor
    """(B, L, hidden), projected. The padding of the prompt is attended to like any word: there is no mask."""
    rotary: Rotary
    """For the tokens [text, image, references]."""
    references: Tensor | None = None
    """(B, R, hidden), projected: all reference pictures in one row."""
    control: Tensor | None = None
    """(B, N, channels): what is joined to the channels of every image token (FLUX.1 Fill, Canny, Depth)."""

    @staticmethod
    def stack(members: Sequence[Condition]) -> Condition:
        """Several pictures' conditions as those of one batch.

        Raises ValueError unless all have the same numbers of text, image, reference and control values.
        """
        first = members[0]
        if any(_shapes(member) != _shapes(first) for member in members):
            raise ValueError("pictures of one batch must have the same number of text, image and reference tokens")
        cos, sin = zip(*(member.rotary for member in members), strict=True)
        shared = all(table is cos[0] or torch.equal(table, cos[0]) for table in cos)
        return Condition(
            text=torch.cat([member.text for member in members]),
            rotary=first.rotary if shared else (torch.cat(cos), torch.cat(sin)),
            references=_cat([member.references for member in members]),
            control=_cat([member.control for member in members]),
        )


def _shapes(condition: Condition) -> list[torch.Size | None]:
    tensors = (condition.text, condition.references, condition.control, condition.rotary[0])
    return [None if tensor is None else tensor.shape[1:] for tensor in tensors]


def _cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
    given = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(given) if given else None


class Network(Protocol):
    """The face of every transformer here. All of it computes in the dtype of the weights."""

    def modulation(
        self,
        t: Tensor,
        t_next: Tensor | None = None,
        guidance: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """Everything the blocks need of times, guidance and pooled prompt: (N, rows, hidden).

        t: (N,) times in 0..1; t_next: (N,) times that the steps lead to; guidance: (N,); pooled: (1 or N, width).
        Each must be given exactly where the network has an embedding for it, else ValueError.
        """
        ...

    def release_modulation(self) -> None:
        """Drop the weights that only `modulation` reads. Afterwards it raises RuntimeError."""
        ...

    def condition(
        self,
        text: Tensor,
        height: int,
        width: int,
        references: Sequence[Tensor] = (),
        control: Tensor | None = None,
    ) -> Condition:
        """Project text and references, and compute the rotations of [text, image, references].

        text: (B, L, text width). references: each (B, channels, h, w), normalised packed latents.
        control: (B, N, in channels - out channels). Raises ValueError for what the network does not take.
        """
        ...

    def __call__(self, latents: Tensor, condition: Condition, rows: Tensor) -> Tensor:
        """The velocity, noise minus picture, at `latents`: one step's work, a pure function.

        latents: (B, N, out channels). rows: (B, rows, hidden), of `modulation`: members of the batch may be at
        different times, and of different prompts. Returns (B, N, out channels).
        """
        ...


def need(name: str, value: Tensor | None, wanted: bool) -> None:
    """Raise ValueError unless `value` is given exactly where the network wants it."""
    if (value is not None) != wanted:
        raise ValueError(f"this network {'needs' if wanted else 'takes no'} {name}")


def need_modulation(network: nn.Module) -> None:
    if not hasattr(network, "time_in"):
        raise RuntimeError("the modulation weights of this network were released: load it again")


class TimeEmbedder(nn.Module):
    """Cosines, then sines, of 1000 t at geometric frequencies, through a two-layer MLP."""

    def __init__(self, channels: int, hidden: int, *, bias: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.in_layer = nn.Linear(channels, hidden, bias=bias)
        self.out_layer = nn.Linear(hidden, hidden, bias=bias)

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
    """(N, hidden) to (N, rows, hidden)."""

    def __init__(self, hidden: int, rows: int, *, bias: bool = False) -> None:
        super().__init__()
        self.lin = nn.Linear(hidden, rows * hidden, bias=bias)

    def forward(self, vector: Tensor) -> Tensor:
        rows: Tensor = self.lin(F.silu(vector)).unflatten(-1, (-1, vector.shape[-1]))
        return rows


class LastLayer(nn.Module):
    """Shift and scale by two rows of their own, then back to latent channels."""

    def __init__(self, hidden: int, channels: int, *, bias: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, channels, bias=bias)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden, bias=bias))

    def rows(self, vector: Tensor) -> Tensor:
        """(N, hidden) to (N, 2, hidden)."""
        rows: Tensor = self.adaLN_modulation(vector).unflatten(-1, (2, -1))
        return rows

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        velocity: Tensor = self.linear(modulate(x, rows))
        return velocity


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.scale.shape, self.scale.to(x.dtype), eps=1e-6)


class QKNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_norm = RMSNorm(width)
        self.key_norm = RMSNorm(width)


class SwiGLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


def modulate(x: Tensor, rows: Tensor) -> Tensor:
    """LayerNorm without parameters, then shift and scale: the first two of rows (B, >= 2, hidden)."""
    return torch.addcmul(rows[:, :1], 1 + rows[:, 1:2], F.layer_norm(x, x.shape[-1:], eps=1e-6))


def split_heads(qkv: Tensor, heads: int, norm: QKNorm) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L, 3 heads width) to normed queries, normed keys and values, each (B, L, heads, width)."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).unbind(-3)
    return norm.query_norm(q), norm.key_norm(k), v


def attention(q: Tensor, k: Tensor, v: Tensor, rotary: Rotary) -> Tensor:
    """Rotate, attend without a mask, merge the heads: (B, L, heads, width) to (B, L, heads width)."""
    q, k = (rotate(x, rotary).to(v.dtype) for x in (q, k))
    attended = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return attended.transpose(1, 2).flatten(2)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate interleaved pairs of channels, (x0, x1), (x2, x3), ..., by each position's angles; float32.

    (x0, x1) becomes (x0 cos - x1 sin, x1 cos + x0 sin): the table of sines holds the signs.
    """
    cos, sin = rotary
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin)


def rotary_tables(positions: Tensor, axes: Sequence[int], theta: float, device: torch.device | None = None) -> Rotary:
    """Rotations for (tokens, len(axes)) positions; angles are computed in float64, as diffusers does.

    The tables are computed where `positions` are, on the CPU as a rule (not every device has float64), and put on
    `device`.
    """
    angles = []
    for column, width in zip(positions.double().unbind(-1), axes, strict=True):
        frequencies = theta ** -(torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width)
        angles.append(column[:, None] * frequencies)
    joined = torch.cat(angles, dim=-1)
    cos, sin = joined.cos().float(), joined.sin().float()
    tables = (torch.stack([cos, cos], dim=-1), torch.stack([-sin, sin], dim=-1))
    cosines, sines = (table.flatten(-2)[None, :, None].to(device) for table in tables)
    return cosines, sines


def grid(height: int, width: int, axes: int, row_axis: int = 1) -> Tensor:
    """Positions of a picture's tokens, (height width, axes), float64: y along `row_axis`, x along the next axis."""
    at = torch.zeros(height, width, axes, dtype=torch.float64)
    at[..., row_axis] = torch.arange(height, dtype=torch.float64)[:, None]
    at[..., row_axis + 1] = torch.arange(width, dtype=torch.float64)
    return at.flatten(0, 1)


def tokens(pictures: Sequence[Tensor]) -> Tensor:
    """Packed latents, each (B, channels, h, w), as one row of tokens: (B, sum of h w, channels)."""
    return torch.cat([picture.flatten(2).mT for picture in pictures], dim=1)
