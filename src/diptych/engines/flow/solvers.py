"""How a velocity moves latents from one time to the next: Euler's step and Heun's, by name.

A solver is a pure function. Times are a number for every member of the batch, so pictures that are at different steps
share one call of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diptych.errors import InvalidRequest

Velocity = Callable[[Tensor, Tensor], Tensor]
"""The network with its conditioning: latents (B, ...) and times (B,) to the velocity, noise minus picture, (B, ...)."""


class Solved(NamedTuple):
    latents: Tensor
    """At `t_next`."""
    estimate: Tensor
    """The finished picture's latents, as the network expected them at `t`."""


Solver = Callable[[Velocity, Tensor, Tensor, Tensor], Solved]
"""(velocity, latents, t, t_next) to what comes of it. t, t_next: (B,), 1 is noise and 0 the picture."""


def euler(velocity: Velocity, latents: Tensor, t: Tensor, t_next: Tensor) -> Solved:
    """First order, one call of the network: x + (t_next - t) v."""
    v = velocity(latents, t)
    return Solved(latents + _per_member(t_next - t, latents) * v, latents - _per_member(t, latents) * v)


def heun(velocity: Velocity, latents: Tensor, t: Tensor, t_next: Tensor) -> Solved:
    """Second order, two calls: Euler's step, then again with the mean of both ends' velocities (Karras et al. 2022).

    A member's last step, to time 0, is Euler's: the network was never asked at 0. When all members are at their last
    step, there is no second call.
    """
    v = velocity(latents, t)
    dt = _per_member(t_next - t, latents)
    first = Solved(latents + dt * v, latents - _per_member(t, latents) * v)
    last = t_next <= 0
    if bool(last.all()):
        return first
    # Members at their last step are asked where they are, as their answer does not count.
    v_next = velocity(first.latents, torch.where(last, t, t_next))
    second = latents + dt * (0.5 * (v + v_next))
    chosen = torch.where(_per_member(last, latents, last.dtype), first.latents, second)
    return Solved(chosen, first.estimate)


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun}


def solver_named(name: str) -> Solver:
    """Raises InvalidRequest, which says what there is."""
    try:
        return SOLVERS[name]
    except KeyError:
        raise InvalidRequest(f"solver is {name!r}; it must be one of {', '.join(SOLVERS)}.") from None


def evaluations(name: str, steps: int) -> int:
    """Calls of the network that one picture takes."""
    return 2 * steps - 1 if name == "heun" else steps


def _per_member(values: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(B,) on any device to (B, 1, ...), to be multiplied with `like`."""
    return values.to(like.device, dtype or like.dtype).view(-1, *[1] * (like.ndim - 1))
