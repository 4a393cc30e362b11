"""The encoder-decoder transformer of `builtin-tokens`.

The encoder reads words, and beside them the codes of a picture where there is one. The decoder reads what the encoder
made by cross-attention and is asked in two ways: for the masked codes of a picture, all at once (masked modelling:
Chang et al., "MaskGIT", 2022, arXiv 2202.04200; Chang et al., "Muse", 2023, arXiv 2301.00704), or for the next word of
a caption. Words in and codes out is drawing; codes in and words out is describing; both in and codes out is editing.

A position of the picture has several codes. Each can be masked apart; their embeddings are added, and each has its
share of one head. Words come from a table distilled from a sentence encoder, as in `engines.flow.text`, and every
position starts from a summary of the whole prompt, without which things are not learned (docs/log.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of every position's angles, (..., positions, head width / 2), float32."""
SPAN = 16
"""A picture is so many rotary positions wide and high, whatever its size: a layout learned at one holds at another."""
WAVES = 6
"""Octaves of the sines that tell a position where it is; the slowest makes half a turn over the picture."""


@dataclass(frozen=True)
class TokensConfig:
    """Shape of the network; the defaults are those of `builtin-tokens`."""

    vocabulary: int = 30522
    table_width: int = 88
    summaries: int = 3
    """Weighted means of the prompt's word vectors; each learns which words weigh."""
    pad_multiple: int = 16
    """Prompts are padded to a multiple of this many tokens; the padding is not attended to."""
    longest: int = 48
    codes: int = 64
    """Values of a code; the tokenizer's `CodecConfig.codes`."""
    groups: int = 4
    """Codes of a position; the tokenizer's `CodecConfig.groups`."""
    hidden: int = 256
    heads: int = 4
    encoder_layers: int = 2
    decoder_layers: int = 6
    mlp_ratio: int = 3
    axes: tuple[int, ...] = (16, 24, 24)
    """How much of a head's width encodes each coordinate of a position: (word, y, x)."""
    theta: float = 100.0

    def __post_init__(self) -> None:
        if self.hidden % self.heads or sum(self.axes) != self.hidden // self.heads or any(a % 2 for a in self.axes):
            raise ValueError(
                f"axes {self.axes} must be even and add up to the width of a head, {self.hidden} / {self.heads} = "
                f"{self.hidden / self.heads:g}"
            )
        if self.longest % self.pad_multiple:
            raise ValueError(f"longest, {self.longest}, must be a multiple of pad_multiple, {self.pad_multiple}")

    @property
    def mask(self) -> int:
        """The number that stands for a code that is not known."""
        return self.codes


@dataclass(frozen=True)
class Memory:
    """What the encoder made of a batch: the decoder attends to it in every pass."""

    states: Tensor
    """(B, L, hidden)."""
    mask: Tensor
    """(B, L), true for words and codes, false for padding."""
    rotary: Rotary
    """(B, 1, L, head width / 2) each."""

    def __getitem__(self, members: slice) -> Memory:
        cos, sin = self.rotary
        return Memory(self.states[members], self.mask[members], (cos[members], sin[members]))


def join(memories: list[Memory]) -> Memory:
    """Several batches as one; the shorter are padded."""
    longest = max(m.mask.shape[1] for m in memories)

    def padded(x: Tensor, axis: int) -> Tensor:
        missing = longest - x.shape[axis]
        return F.pad(x, (0,) * 2 * (x.ndim - axis - 1) + (0, missing))

    cos, sin = (torch.cat([padded(m.rotary[i], 2) for m in memories]) for i in range(2))
    return Memory(
        torch.cat([padded(m.states, 1) for m in memories]), torch.cat([padded(m.mask, 1) for m in memories]), (cos, sin)
    )


class Attention(nn.Module):
    def __init__(self, config: TokensConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q = nn.Linear(config.hidden, config.hidden, bias=False)
        self.kv = nn.Linear(config.hidden, 2 * config.hidden, bias=False)
        self.proj = nn.Linear(config.hidden, config.hidden, bias=False)
        width = config.hidden // config.heads
        self.query_norm = nn.Parameter(torch.ones(width))
        self.key_norm = nn.Parameter(torch.ones(width))

    def forward(
        self, x: Tensor, memory: Tensor, at: Rotary, memory_at: Rotary, mask: Tensor | None, *, causal: bool = False
    ) -> Tensor:
        """x: (B, N, hidden), normed, asks; memory: (B, L, hidden) answers. mask: (B, 1, 1, L), true where it may."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, width)
        k, v = self.kv(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q = rotate(F.rms_norm(q, q.shape[-1:], self.query_norm, 1e-6), at)
        k = rotate(F.rms_norm(k, k.shape[-1:], self.key_norm, 1e-6), memory_at)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.proj(attended.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, config: TokensConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden, config.mlp_ratio * config.hidden, bias=False)
        self.down = nn.Linear(config.mlp_ratio * config.hidden, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class EncoderLayer(nn.Module):
    def __init__(self, config: TokensConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, at: Rotary, mask: Tensor) -> Tensor:
        normed = norm(x)
        x = x + self.attention(normed, normed, at, at, mask)
        return x + self.mlp(norm(x))


class DecoderLayer(nn.Module):
    def __init__(self, config: TokensConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.cross = Attention(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, at: Rotary, memory: Memory, *, causal: bool) -> Tensor:
        normed = norm(x)
        x = x + self.attention(normed, normed, at, at, None, causal=causal)
        x = x + self.cross(norm(x), memory.states, at, memory.rotary, memory.mask[:, None, None])
        return x + self.mlp(norm(x))


class Tokens(nn.Module):
    def __init__(self, config: TokensConfig) -> None:
        super().__init__()
        self.config = config
        hidden, width = config.hidden, config.table_width
        # Words.
        self.table = nn.Embedding(config.vocabulary, width)
        self.project = nn.Linear(width, hidden, bias=False)
        self.weigh = nn.Linear(width, config.summaries, bias=False)
        self.summarise = nn.Linear(config.summaries * width, hidden, bias=False)
        # Codes: one table for all groups, each with a row for a code that is not known.
        self.codes = nn.Embedding(config.groups * (config.codes + 1), hidden)
        self.place = nn.Linear(4 * WAVES + 2, hidden)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.pool = nn.Linear(hidden, hidden, bias=False)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.head = nn.Linear(hidden, config.groups * config.codes)
        # Captions: words in by a projection of their own, words out by likeness to the table.
        self.spoken = nn.Linear(width, hidden, bias=False)
        self.word = nn.Linear(hidden, width, bias=False)
        self.frequency = nn.Parameter(torch.zeros(config.vocabulary))
        for part in (self.codes, self.place):
            nn.init.normal_(part.weight, std=0.5 / math.sqrt(config.groups))

    def encode(self, ids: Tensor, mask: Tensor, codes: Tensor | None = None, height: int = 0) -> Memory:
        """Read prompts, and pictures beside them: all that is done once for a picture.

        ids, mask: (B, L), mask true for words and false for padding. codes: (B, height width, groups) or None.
        """
        words = self.table(ids)
        weights = self.weigh(words).masked_fill(~mask[..., None], float("-inf")).softmax(dim=1)  # (B, L, summaries)
        summary = self.summarise((weights.mT @ words).flatten(1))[:, None]
        x = self.project(words) + summary
        grid = (height, 0 if codes is None else codes.shape[1] // height)
        if codes is not None:
            x = torch.cat([x, self.embed(codes, height) + summary], dim=1)
            mask = torch.cat([mask, mask.new_ones(codes.shape[:2])], dim=1)
        at = self.rotary(ids.shape[1], grid, ids.device)
        for layer in self.encoder:
            x = layer(x, at, mask[:, None, None])
        cos, sin = (table.expand(len(x), 1, -1, -1) for table in at)
        return Memory(norm(x), mask, (cos, sin))

    def forward(self, codes: Tensor, memory: Memory, height: int) -> Tensor:
        """What the codes may be: one pass's work, a pure function.

        codes: (B, height width, groups), `config.mask` where a code is not known. Returns logits
        (B, height width, groups, codes), of the known ones too.
        """
        x = self.embed(codes, height) + self.pooled(memory)
        at = self.rotary(0, (height, codes.shape[1] // height), codes.device)
        for layer in self.decoder:
            x = layer(x, at, memory, causal=False)
        return self.head(norm(x)).unflatten(-1, (self.config.groups, -1))

    def next_words(self, ids: Tensor, memory: Memory) -> Tensor:
        """A caption so far, (B, T) ids, to logits of the word after each of them, (B, T, vocabulary)."""
        x = self.spoken(self.table(ids)) + self.pooled(memory)
        at = self.rotary(ids.shape[1], (0, 0), ids.device)
        for layer in self.decoder:
            x = layer(x, at, memory, causal=True)
        return self.word(norm(x)) @ self.table.weight.T + self.frequency

    def embed(self, codes: Tensor, height: int) -> Tensor:
        """The sum of a position's embeddings and where it is: (B, N, groups) to (B, N, hidden)."""
        c = self.config
        rows = codes + torch.arange(c.groups, device=codes.device) * (c.codes + 1)
        waves = where(height, codes.shape[1] // height, codes.device).to(self.place.weight.dtype)
        return self.codes(rows).sum(dim=2) + self.place(waves)

    def pooled(self, memory: Memory) -> Tensor:
        """The mean of what the encoder made, for every position of the decoder: (B, 1, hidden)."""
        weights = memory.mask[..., None].to(memory.states.dtype)
        return self.pool((memory.states * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True))

    def rotary(self, words: int, grid: tuple[int, int], device: torch.device) -> Rotary:
        """Rotations of [words, codes of a picture of `grid` positions], (words + positions, head width / 2) each."""
        return rotary_tables(positions(words, *grid).to(device), self.config.axes, self.config.theta)


def norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def rotate(x: Tensor, at: Rotary) -> Tensor:
    """Rotate the first half of the channels against the second by each position's angles: (B, heads, N, width)."""
    cos, sin = at
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


def rotary_tables(at: Tensor, axes: tuple[int, ...], theta: float) -> Rotary:
    """Angles of positions (N, len(axes)); each axis has its share of the channels. Source: Su et al. 2021, RoFormer."""
    angles = []
    for column, width in zip(at.unbind(-1), axes, strict=True):
        frequencies = theta ** -(torch.arange(0, width, 2, dtype=at.dtype, device=at.device) / width)
        angles.append(column[:, None] * frequencies)
    joined = torch.cat(angles, dim=-1)
    return joined.cos().float(), joined.sin().float()


def positions(words: int, height: int, width: int) -> Tensor:
    """Positions (word, y, x) of [words, codes row by row]: (words + height width, 3), float64."""
    text = torch.zeros(words, 3, dtype=torch.float64)
    text[:, 0] = torch.arange(words)
    grid = torch.zeros(height, width, 3, dtype=torch.float64)
    if height and width:
        grid[..., 1] = ((torch.arange(height) + 0.5) * SPAN / height)[:, None]
        grid[..., 2] = (torch.arange(width) + 0.5) * SPAN / width
    return torch.cat([text, grid.view(-1, 3)])


def where(height: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of y and x, and how fine the grid is: (height width, 4 WAVES + 2), float32."""
    y, x = torch.meshgrid(*((torch.arange(n, device=device) + 0.5) / n for n in (height, width)), indexing="ij")
    octaves = math.pi * 2.0 ** torch.arange(WAVES, device=device)
    angles = torch.stack([y, x], dim=-1)[..., None] * octaves  # (height, width, 2, WAVES)
    fineness = angles.new_tensor([math.log2(height / 8), math.log2(width / 8)]).expand(height, width, 2)
    return torch.cat([angles.sin().flatten(2), angles.cos().flatten(2), fineness], dim=-1).flatten(0, 1)
