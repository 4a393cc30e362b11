"""From noise to latents: one plain loop.

A step is a pure function of (latents, time, conditioning). Latents are packed: (B, tokens, channels).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diptych.engines.flow.flux2 import Flux2, Rotary


@dataclass(frozen=True)
class Conditioning:
    """What stays the same over all steps of a batch of pictures.

    text, negative: (B, L, hidden), projected. With `negative`, the prediction is true classifier-free guidance:
    v = v_negative + guidance (v_text - v_negative). Without it, one pass a step.
    embedded: the guidance that a network with a guidance embedding is told.
    """

    text: Tensor
    negative: Tensor | None
    rotary: Rotary
    guidance: float = 1.0
    embedded: float | None = None


@dataclass(frozen=True)
class Step:
    """What a callback sees after a step."""

    index: int
    """Counts from 1 to `total`."""
    total: int
    t: float
    """The time that `latents` are at: 1 is noise, 0 is the picture."""
    latents: Tensor
    estimate: Tensor
    """The picture's latents as the network expected them at this step."""


StepCallback = Callable[[Step], Tensor | None]
"""Called after every step; latents that it returns take the place of the step's own."""


def velocity(network: Flux2, latents: Tensor, rows: Tensor, conditioning: Conditioning) -> Tensor:
    """What moves `latents` towards noise; guided. rows: (1 or B, 17, hidden), from `Flux2.modulation`.

    The network computes in its own dtype; the result has that of `latents`.
    """
    c = conditioning
    x, rows = latents.to(rows.dtype), rows.expand(len(latents), -1, -1)
    if c.negative is None:
        return network(x, c.text, c.rotary, rows).to(latents.dtype)
    both = network(x.repeat(2, 1, 1), torch.cat([c.text, c.negative]), c.rotary, rows.repeat(2, 1, 1))
    wanted, unwanted = both.to(latents.dtype).chunk(2)
    return torch.lerp(unwanted, wanted, c.guidance)


def denoise(
    network: Flux2,
    latents: Tensor,
    times: Sequence[float],
    conditioning: Conditioning,
    on_step: StepCallback | None = None,
) -> Tensor:
    """Euler's method along `times`, from noise (1) to picture (0).

    Latents in float32 stay so: in bfloat16 the small steps of a long schedule would be rounded away.
    """
    t = torch.tensor(times[:-1], dtype=torch.float32, device=latents.device)
    embedded = None if conditioning.embedded is None else torch.full_like(t, conditioning.embedded)
    table = network.modulation(t, embedded)  # once for the whole schedule
    for i, (now, then) in enumerate(pairwise(times)):
        v = velocity(network, latents, table[i : i + 1], conditioning)
        estimate = latents - now * v
        latents = latents + (then - now) * v
        if on_step is not None:
            changed = on_step(Step(i + 1, len(times) - 1, then, latents, estimate))
            latents = latents if changed is None else changed
    return latents
