"""The FLUX 3 Image transformer: klein, distilled to a flow map, and klein base.

Three modes of tokens, image, image_cond (reference pictures) and text, first pass through blocks of their own, each
attending within its mode, and then, as one sequence [text, image, references], through `single_blocks`, which all modes
share but for their modulation. The image is modulated by its time t, text and references by time 0; the flow map adds
an embedding of the time that the step leads to, t_next, to all three. On the base model what becomes of text and
references before the single blocks therefore does not depend on the step: `condition` computes it once.
Key names follow Black Forest Labs' files. Source: diffusers 0.42.1, ``transformer_flux3.py``; flux3-mlx 0.1.0, a port
of the reference at 45e57c9.
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
    SwiGLU,
    TimeEmbedder,
    attention,
    grid,
    need,
    need_modulation,
    rotary_tables,
    tokens,
)

IMAGE, REFERENCE, TEXT = "image", "image_cond", "txt"


@dataclass(frozen=True)
class Flux3Config:
    """Shape of the network; the defaults are FLUX 3 klein, distilled."""

    in_channels: int = 128
    text_width: int = 20480
    hidden: int = 3072
    heads: int = 24
    mode_blocks: int = 5
    """Of each mode."""
    single_blocks: int = 28
    axes: tuple[int, ...] = (32, 32, 32, 32)
    """How much of a head's width encodes each coordinate of a position: (time, y, x, word or reference)."""
    theta: float = 10_000.0
    mlp_ratio: float = 3.0
    flow_map: bool = True
    """Distilled: the network is told where a step leads."""
    reference_branch: bool = True
    """Without it the network makes pictures from text alone."""
    time_channels: int = 256

    def __post_init__(self) -> None:
        if self.hidden % self.heads or sum(self.axes) != self.hidden // self.heads:
            raise ValueError(
                f"axes {self.axes} must add up to the width of a head, {self.hidden} / {self.heads} = "
                f"{self.hidden / self.heads:g}"
            )

    @property
    def modes(self) -> tuple[str, ...]:
        return (IMAGE, REFERENCE, TEXT) if self.reference_branch else (IMAGE, TEXT)


KLEIN = Flux3Config()
KLEIN_BASE = replace(KLEIN, flow_map=False)

Part = tuple[slice, Tensor]
"""Tokens of one mode within a sequence, and that mode's rows (B, 3, hidden): shift, scale, gate."""


class Block(nn.Module):
    """Attention and MLP side by side, from one norm and into one gate; of one mode or of several."""

    def __init__(self, config: Flux3Config) -> None:
        super().__init__()
        hidden, mlp = config.hidden, int(config.hidden * config.mlp_ratio)
        self.heads = config.heads
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden, bias=False)
        self.attn_out = nn.Linear(hidden, hidden, bias=False)
        self.norm = QKNorm(hidden // config.heads)
        self.mlp_in = nn.Linear(hidden, 2 * mlp, bias=False)
        self.mlp_act = SwiGLU()
        self.mlp_out = nn.Linear(mlp, hidden, bias=False)

    def forward(self, x: Tensor, rotary: Rotary, parts: Sequence[Part]) -> Tensor:
        modulated = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        for part, rows in parts:  # in place: it is this block's own tensor, and saves joining the parts again
            modulated[:, part].mul_(1 + rows[:, 1:2]).add_(rows[:, :1])
        q, k, v = (
            projection(modulated).unflatten(-1, (self.heads, -1))
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        # Norm and rotation of queries and keys in float32, rounded once, as the reference does.
        q, k = self.norm.query_norm(q.float()), self.norm.key_norm(k.float())
        change: Tensor = self.attn_out(attention(q, k, v, rotary)) + self.mlp_out(self.mlp_act(self.mlp_in(modulated)))
        for part, rows in parts:
            change[:, part].mul_(rows[:, 2:3])
        return x + change


class LastLayers(nn.Module):
    """Of every mode that has an output: the image."""

    def __init__(self, config: Flux3Config) -> None:
        super().__init__()
        self.image = LastLayer(config.hidden, config.in_channels)


class Flux3(nn.Module):
    """See `network.Network` for what the methods take and give."""

    def __init__(self, config: Flux3Config) -> None:
        super().__init__()
        self.config = config
        pictures = [mode for mode in config.modes if mode != TEXT]
        self.emb_in = nn.ModuleDict(
            {mode: nn.Linear(config.in_channels, config.hidden, bias=False) for mode in pictures}
        )
        self.txt_in = nn.Linear(config.text_width, config.hidden, bias=False)
        self.time_in = TimeEmbedder(config.time_channels, config.hidden)
        if config.flow_map:
            self.ref_time_in = TimeEmbedder(config.time_channels, config.hidden)
        self.early_stream_modulations = nn.ModuleDict({mode: Modulation(config.hidden, 3) for mode in config.modes})
        self.single_stream_modulations = nn.ModuleDict({mode: Modulation(config.hidden, 3) for mode in config.modes})
        self.content_mode_blocks = nn.ModuleDict({mode: _blocks(config, config.mode_blocks) for mode in pictures})
        self.txt_mode_blocks = _blocks(config, config.mode_blocks)
        self.single_blocks = _blocks(config, config.single_blocks)
        self.final_layer = LastLayers(config)
        self._kept: dict[str, Tensor] = {}
        """What `_still_rows` gave when the modulation was released."""

    def modulation(
        self,
        t: Tensor,
        t_next: Tensor | None = None,
        guidance: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """(N,) times to (N, 6 modes + 2, hidden).

        Three rows for every mode's early blocks, in the order of `Flux3Config.modes`, then three for every mode in the
        single blocks, then two for the last layer. The same for every prompt.
        """
        need_modulation(self)
        need("t_next", t_next, self.config.flow_map)
        need("guidance", guidance, False)
        need("pooled", pooled, False)
        moving, still = self.time_in(t), self.time_in(torch.zeros_like(t))
        if t_next is not None:
            target = self.ref_time_in(t_next)
            moving, still = moving + target, still + target
        rows = [
            modulations[mode](moving if mode == IMAGE else still)
            for modulations in (self.early_stream_modulations, self.single_stream_modulations)
            for mode in self.config.modes
        ]
        return torch.cat([*rows, self.final_layer.image.rows(moving)], dim=1)

    def release_modulation(self) -> None:
        need_modulation(self)
        self._kept = {} if self.config.flow_map else self._still_rows()
        del self.time_in, self.early_stream_modulations, self.single_stream_modulations
        del self.final_layer.image.adaLN_modulation
        if self.config.flow_map:
            del self.ref_time_in

    def _still_rows(self) -> dict[str, Tensor]:
        """Rows of the base model's early text and reference blocks: those of time 0 at every step."""
        if not hasattr(self, "time_in"):
            return self._kept
        still = self.time_in(self.txt_in.weight.new_zeros(1))
        return {mode: self.early_stream_modulations[mode](still) for mode in self.config.modes if mode != IMAGE}

    def condition(
        self,
        text: Tensor,
        height: int,
        width: int,
        references: Sequence[Tensor] = (),
        control: Tensor | None = None,
    ) -> Condition:
        need("control", control, False)
        if references and not self.config.reference_branch:
            raise ValueError("this network takes no references")
        sizes = [(picture.shape[-2], picture.shape[-1]) for picture in references]
        at = positions(text.shape[1], height, width, sizes)
        rotary = rotary_tables(at, self.config.axes, self.config.theta, text.device)
        x = self.txt_in(text)
        seen = self.emb_in[REFERENCE](tokens(references)) if references else None
        if not self.config.flow_map:
            still = self._still_rows()
            x = _run(self.txt_mode_blocks, x, _cut(rotary, slice(0, x.shape[1])), still[TEXT])
            if seen is not None:
                where = _cut(rotary, slice(x.shape[1] + height * width, None))
                seen = _run(self.content_mode_blocks[REFERENCE], seen, where, still[REFERENCE])
        return Condition(text=x, rotary=rotary, references=seen)

    def forward(self, latents: Tensor, condition: Condition, rows: Tensor) -> Tensor:
        text, references, rotary = condition.text, condition.references, condition.rotary
        modes = self.config.modes
        early, single = 3 * len(modes), 6 * len(modes)
        early_rows = dict(zip(modes, rows[:, :early].split(3, dim=1), strict=True))
        single_rows = dict(zip(modes, rows[:, early:single].split(3, dim=1), strict=True))
        start, stop = text.shape[1], text.shape[1] + latents.shape[1]
        where = {TEXT: slice(0, start), IMAGE: slice(start, stop), REFERENCE: slice(stop, None)}

        image = self.emb_in[IMAGE](latents)
        image = _run(self.content_mode_blocks[IMAGE], image, _cut(rotary, where[IMAGE]), early_rows[IMAGE])
        if self.config.flow_map:
            text = _run(self.txt_mode_blocks, text, _cut(rotary, where[TEXT]), early_rows[TEXT])
            if references is not None:
                blocks, table = self.content_mode_blocks[REFERENCE], _cut(rotary, where[REFERENCE])
                references = _run(blocks, references, table, early_rows[REFERENCE])

        x = torch.cat([text, image] if references is None else [text, image, references], dim=1)
        present = [TEXT, IMAGE] if references is None else [TEXT, IMAGE, REFERENCE]
        parts = [(where[mode], single_rows[mode]) for mode in present]
        for block in self.single_blocks:
            x = block(x, rotary, parts)
        return self.final_layer.image(x[:, start:stop], rows[:, single:])


def _blocks(config: Flux3Config, count: int) -> nn.ModuleList:
    return nn.ModuleList(Block(config) for _ in range(count))


def _run(blocks: nn.Module, x: Tensor, rotary: Rotary, rows: Tensor) -> Tensor:
    """Tokens of one mode through its own blocks."""
    for block in blocks.children():
        x = block(x, rotary, [(slice(None), rows)])
    return x


def _cut(rotary: Rotary, part: slice) -> Rotary:
    return rotary[0][:, part], rotary[1][:, part]


def positions(text_length: int, height: int, width: int, references: Sequence[tuple[int, int]] = ()) -> Tensor:
    """Positions (time, y, x, word or reference) of [text, image, references]: (tokens, 4).

    Words count up along the last axis; reference i, given as (height, width), is at -1 - i of it. y and x of pictures
    advance by one half. Sizes are those of the packed latents.
    """
    text = torch.zeros(text_length, 4, dtype=torch.float64)
    text[:, 3] = torch.arange(text_length)
    pictures = [0.5 * grid(height, width, 4)]
    for i, size in enumerate(references):
        reference = 0.5 * grid(*size, 4)
        reference[:, 3] = -1 - i
        pictures.append(reference)
    return torch.cat([text, *pictures])
