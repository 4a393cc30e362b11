"""From noise to latents: a step is a pure function, and sampling is the loop around it.

`step` moves pictures that share a network by one step each: they may be at different steps, of different prompts, with
and without guidance. What can be computed together is, in one batch for all that have the same shapes.
Latents are packed: (1, tokens, channels) for each picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from diptych.engines.flow.latents import keep_outside
from diptych.engines.flow.network import Condition, Network

Solver = Literal["euler", "heun"]
SOLVERS: tuple[Solver, ...] = ("euler", "heun")


@dataclass(frozen=True)
class Kept:
    """What of a picture must not change, in latents: inpainting on any model.

    After every step, the latents outside of the mask are those of the picture, as far into noise as the step is.
    Source: Avrahami et al., Blended Latent Diffusion (2022).
    """

    picture: Tensor
    """(1, tokens, channels)."""
    noise: Tensor
    """What the sampling began with."""
    mask: Tensor
    """(1, tokens, 1) or (1, tokens, channels): 1 where the picture may change, 0 where it is kept."""

    def blend(self, latents: Tensor, t: float) -> Tensor:
        return keep_outside(latents, self.picture, self.noise, self.mask, t)


@dataclass(frozen=True)
class Course:
    """What stays the same over all steps of one picture."""

    times: tuple[float, ...]
    """From where it begins (1 is noise) to 0, one more than there are steps."""
    rows: Tensor
    """(steps, rows, hidden): the network's `modulation` at `times`, but for the last."""
    condition: Condition
    negative: Condition | None = None
    """What true guidance leads away from: v = v_negative + guidance (v - v_negative). None: not guided so."""
    negative_rows: Tensor | None = None
    """Where the pooled prompt is part of the modulation; else `rows` serves both."""
    guidance: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    """Times between which guidance acts. Source: Kynkaanniemi et al. (2024), arXiv 2404.07724."""
    solver: Solver = "euler"
    kept: Kept | None = None
    size: tuple[int, int] = (0, 0)
    """Width and height in pixels, for whoever decodes the latents."""

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    def guided(self, index: int) -> bool:
        low, high = self.interval
        return self.negative is not None and low <= self.times[index] <= high


@dataclass(frozen=True)
class State:
    """One picture on its way."""

    course: Course
    latents: Tensor
    """(1, tokens, channels), float32: in bfloat16 the small steps of a long schedule would be rounded away."""
    index: int = 0
    """Steps that are done."""
    estimate: Tensor | None = None
    """The picture's latents as the network expected them at the last step."""

    @property
    def done(self) -> bool:
        return self.index >= self.course.steps

    @property
    def t(self) -> float:
        """Where `latents` are: 1 is noise, 0 is the picture."""
        return self.course.times[self.index]


StepCallback = Callable[[State], Tensor | None]
"""Called after every step; latents that it returns take the place of the step's own."""


@dataclass(frozen=True)
class _Ask:
    """One pass through the network for one picture."""

    latents: Tensor
    condition: Condition
    rows: Tensor

    def shape(self) -> tuple[object, ...]:
        c = self.condition
        optional = (None if x is None else x.shape[1:] for x in (c.references, c.control))
        return (self.latents.shape[1:], c.text.shape[1:], c.rotary[0].shape[1:], self.rows.shape[1:], *optional)


@torch.inference_mode()
def step(network: Network, states: Sequence[State], *, together: int | None = None) -> list[State]:
    """Each picture one step on. A pure function; nobody's result depends on who else is there, but for rounding.

    together: most passes in one batch, guided pictures taking two; None: all that have the same shapes.
    """
    velocities = _velocities(network, states, [(s.latents, s.index) for s in states], together)
    spans = [s.course.times[s.index + 1] - s.t for s in states]
    moved = [s.latents + span * v for s, span, v in zip(states, spans, velocities, strict=True)]
    # Heun's method looks again from where Euler's step leads, and takes the mean; at 0 there is nothing to look at.
    again = [i for i, s in enumerate(states) if s.course.solver == "heun" and s.course.times[s.index + 1] > 0]
    seconds = _velocities(
        network, [states[i] for i in again], [(moved[i], states[i].index + 1) for i in again], together
    )
    for i, second in zip(again, seconds, strict=True):
        moved[i] = states[i].latents + spans[i] * 0.5 * (velocities[i] + second)
    return [
        replace(
            s,
            latents=x if s.course.kept is None else s.course.kept.blend(x, s.course.times[s.index + 1]),
            index=s.index + 1,
            estimate=s.latents - s.t * v,
        )
        for s, x, v in zip(states, moved, velocities, strict=True)
    ]


def denoise(network: Network, state: State, on_step: StepCallback | None = None) -> Tensor:
    """Take one picture to its end: the latents at time 0."""
    while not state.done:
        (state,) = step(network, [state])
        changed = None if on_step is None else on_step(state)
        state = state if changed is None else replace(state, latents=changed)
    return state.latents


def _velocities(
    network: Network, states: Sequence[State], at: Sequence[tuple[Tensor, int]], together: int | None
) -> list[Tensor]:
    """What moves each picture from where it is `at` (latents, step); guided. In the dtype of the latents."""
    asks: list[_Ask] = []
    for state, (latents, index) in zip(states, at, strict=True):
        c = state.course
        asks.append(_Ask(latents, c.condition, c.rows[index : index + 1]))
        if c.guided(index) and c.negative is not None:
            rows = c.rows if c.negative_rows is None else c.negative_rows
            asks.append(_Ask(latents, c.negative, rows[index : index + 1]))
    answers = iter(_predict(network, asks, together))
    velocities = []
    for state, (latents, index) in zip(states, at, strict=True):
        v = next(answers).to(latents.dtype)
        if state.course.guided(index):
            v = torch.lerp(next(answers).to(latents.dtype), v, state.course.guidance)
        velocities.append(v)
    return velocities


def _predict(network: Network, asks: Sequence[_Ask], together: int | None) -> list[Tensor]:
    """One answer for each, those of one shape in one batch."""
    shapes: dict[tuple[object, ...], list[int]] = {}
    for i, ask in enumerate(asks):
        shapes.setdefault(ask.shape(), []).append(i)
    answers: dict[int, Tensor] = {}
    for alike in shapes.values():
        width = together or len(alike)
        for start in range(0, len(alike), width):
            part = alike[start : start + width]
            chosen = [asks[i] for i in part]
            rows = torch.cat([ask.rows for ask in chosen])
            x = torch.cat([ask.latents for ask in chosen]).to(rows.dtype)
            condition = chosen[0].condition if len(part) == 1 else Condition.stack([ask.condition for ask in chosen])
            answers.update(zip(part, network(x, condition, rows).split(1), strict=True))
    return [answers[i] for i in range(len(asks))]
