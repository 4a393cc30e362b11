"""The solvers, on equations whose solution is known and beside diffusers' schedulers."""

from __future__ import annotations

import itertools

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
from torch import Tensor

from diptych.engines.flow.schedule import schedule
from diptych.engines.flow.solvers import Solver, euler, evaluations, heun, solver_named
from diptych.errors import InvalidRequest


def curved(x: Tensor, t: Tensor) -> Tensor:
    """dx/dt = -2 x + sin(5 t): nothing that one step could get right."""
    return -2 * x + torch.sin(5 * t.to(x.dtype).view(-1, *[1] * (x.ndim - 1)))


def exact(x: Tensor, t: float, until: float) -> Tensor:
    """The solution of `curved`: x(t) = C exp(-2 t) + (2 sin 5t - 5 cos 5t) / 29."""

    def forced(s: float) -> Tensor:
        angle = torch.tensor(5 * s, dtype=torch.float64)
        return (2 * angle.sin() - 5 * angle.cos()) / 29

    decay = torch.tensor(-2 * (until - t), dtype=torch.float64).exp()
    return (x - forced(t)) * decay + forced(until)


def solve(solver: Solver, x: Tensor, times: list[float]) -> Tensor:
    for t, then in itertools.pairwise(times):
        x = solver(curved, x, *(torch.full((len(x),), s, dtype=torch.float64) for s in (t, then))).latents
    return x


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2)])
def test_order_of_convergence(solver: Solver, order: int) -> None:
    """Twice the steps, 2^order times less error. Not down to 0, where Heun's last step is Euler's."""
    x = torch.tensor([[0.3, -1.0]], dtype=torch.float64)
    expected = exact(x, 1.0, 0.2)
    errors = []
    for steps in (64, 128, 256):
        times = torch.linspace(1, 0.2, steps + 1, dtype=torch.float64).tolist()
        errors.append((solve(solver, x, times) - expected).abs().max())
    for coarse, fine in itertools.pairwise(errors):
        assert torch.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def test_euler_equals_diffusers() -> None:
    theirs = FlowMatchEulerDiscreteScheduler()
    theirs.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    x = ours = torch.randn(2, 5, 3)
    for t in theirs.timesteps:
        x = theirs.step(curved(x, t[None] / 1000), t, x).prev_sample
    for t, then in itertools.pairwise(theirs.sigmas):
        ours = euler(curved, ours, t.expand(2), then.expand(2)).latents
    torch.testing.assert_close(ours, x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_heun_equals_diffusers(steps: int) -> None:
    theirs = FlowMatchHeunDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(steps)
    x = ours = torch.randn(2, 5, 3)
    asked = 0
    for t in theirs.timesteps:
        x = theirs.step(curved(x, t[None] / 1000), t, x).prev_sample
        asked += 1
    sigmas = [*theirs.sigmas.unique().flip(0)]
    for t, then in itertools.pairwise(sigmas):
        ours = heun(curved, ours, t.expand(2), then.expand(2)).latents
    # diffusers divides by the last, small time and multiplies by it again, in float32.
    torch.testing.assert_close(ours, x, atol=1e-5, rtol=1e-5)
    assert evaluations("heun", steps) == asked


@pytest.mark.parametrize("solver", [euler, heun])
def test_members_of_a_batch_may_be_at_different_steps(solver: Solver) -> None:
    times = schedule(4, 0.5)
    t, then = torch.tensor(times[:-1]), torch.tensor(times[1:])  # the last member is at its last step
    x = torch.randn(4, 6, 3)
    together = solver(curved, x, t, then)
    for i in range(4):
        alone = solver(curved, x[i : i + 1], t[i : i + 1], then[i : i + 1])
        torch.testing.assert_close(together.latents[i : i + 1], alone.latents)
        torch.testing.assert_close(together.estimate[i : i + 1], alone.estimate)


def test_heun_asks_once_when_all_are_at_their_last_step() -> None:
    calls = []

    def counted(x: Tensor, t: Tensor) -> Tensor:
        calls.append(t)
        return curved(x, t)

    heun(counted, torch.randn(2, 3), torch.tensor([0.5, 0.2]), torch.zeros(2))
    assert len(calls) == 1
    heun(counted, torch.randn(2, 3), torch.tensor([0.5, 0.2]), torch.tensor([0.2, 0.0]))
    assert len(calls) == 3
    assert all(bool((t > 0).all()) for t in calls)  # never asked at 0


def test_the_estimate_is_where_the_velocity_leads() -> None:
    x, t = torch.randn(2, 3), torch.tensor([0.5, 0.25])
    found = euler(curved, x, t, torch.zeros(2))
    torch.testing.assert_close(found.estimate, found.latents)


def test_by_name() -> None:
    assert solver_named("heun") is heun
    assert evaluations("euler", 4) == 4
    with pytest.raises(InvalidRequest, match=r"'rk9'.*euler, heun"):
        solver_named("rk9")
