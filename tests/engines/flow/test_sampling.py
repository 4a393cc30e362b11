"""Steps on equations whose solution is known, beside diffusers' schedulers, and of many pictures at once."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
from torch import Tensor

from diptych.engines.flow.network import Condition
from diptych.engines.flow.sampling import Course, Kept, Solver, State, denoise, step
from diptych.engines.flow.schedule import schedule


def curved(x: Tensor, t: Tensor) -> Tensor:
    """dx/dt = -2 x + sin(5 t): nothing that one step could get right. t: (B, 1, 1)."""
    return -2 * x + torch.sin(5 * t)


def exact(x: Tensor, t: float, until: float) -> Tensor:
    """The solution of `curved`: x(t) = C exp(-2 t) + (2 sin 5t - 5 cos 5t) / 29."""

    def forced(s: float) -> Tensor:
        angle = torch.tensor(5 * s, dtype=torch.float64)
        return (2 * angle.sin() - 5 * angle.cos()) / 29

    decay = torch.tensor(-2 * (until - t), dtype=torch.float64).exp()
    return (x - forced(t)) * decay + forced(until)


class Equation:
    """A network whose velocity is that of `curved`, plus what its text says; its rows hold the time."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[float]]] = []

    def __call__(self, latents: Tensor, condition: Condition, rows: Tensor) -> Tensor:
        self.asked.append((len(latents), rows[:, 0, 0].tolist()))
        return curved(latents, rows[:, :1]) + condition.text[:, :1]


def condition(says: float = 0.0, words: int = 1) -> Condition:
    at = torch.zeros(1, words + 2, 1, 1)
    return Condition(torch.full((1, words, 1), says, dtype=torch.float64), (at, at))


def course(times: list[float], solver: Solver = "euler", says: float = 0.0, **more: object) -> Course:
    rows = torch.tensor(times[:-1], dtype=torch.float64).view(-1, 1, 1)
    return replace(Course(tuple(times), rows, condition(says), solver=solver), **more)


def start(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_order_of_convergence(solver: Solver, order: int) -> None:
    """Twice the steps, 2^order times less error. Not down to 0, where Heun's last step is Euler's."""
    x = start(0.3, -1.0)
    expected = exact(x, 1.0, 0.2)
    errors = []
    for steps in (64, 128, 256):
        times = torch.linspace(1, 0.2, steps + 1, dtype=torch.float64).tolist()
        one = course(times, solver)
        # The last time of a course is never asked for, but Heun's method looks there: it is not the picture.
        one = replace(one, rows=torch.tensor(times, dtype=torch.float64).view(-1, 1, 1))
        errors.append((denoise(Equation(), State(one, x)) - expected).abs().max())
    for coarse, fine in itertools.pairwise(errors):
        assert torch.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def test_euler_equals_diffusers() -> None:
    theirs = FlowMatchEulerDiscreteScheduler()
    theirs.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    x = noise = torch.randn(1, 5, 3)
    for t in theirs.timesteps:
        x = theirs.step(curved(x, t / 1000), t, x).prev_sample
    ours = denoise(Equation(), State(course(theirs.sigmas.tolist()), noise.double()))
    torch.testing.assert_close(ours.float(), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_heun_equals_diffusers_and_asks_as_often(steps: int) -> None:
    theirs = FlowMatchHeunDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(steps)
    x = noise = torch.randn(1, 5, 3)
    for t in theirs.timesteps:
        x = theirs.step(curved(x, t / 1000), t, x).prev_sample
    network = Equation()
    times = theirs.sigmas.unique().flip(0).tolist()
    ours = denoise(network, State(course(times, "heun"), noise.double()))
    # diffusers divides by the last, small time and multiplies by it again, in float32.
    torch.testing.assert_close(ours.float(), x, atol=1e-5, rtol=1e-5)
    assert len(network.asked) == len(theirs.timesteps) == 2 * steps - 1
    assert all(min(asked) > 0 for _, asked in network.asked)  # never at 0


def test_pictures_at_different_steps_share_a_batch() -> None:
    states = [
        State(course(schedule(4, 0.5)), start(0.1, 0.2), index=2),
        State(course(schedule(9, 0.0), says=1.0), start(-1.0, 2.0)),
        State(course(schedule(4, 0.5), "heun"), start(3.0, 0.0), index=1),
    ]
    network = Equation()
    together = step(network, states)
    assert [count for count, _ in network.asked] == [3, 1]  # Heun's second look is its own
    for state, found in zip(states, together, strict=True):
        (alone,) = step(Equation(), [state])
        assert torch.equal(found.latents, alone.latents)
        assert torch.equal(found.estimate, alone.estimate)
        assert found.index == state.index + 1
    assert [count for count, _ in _asked(states, together=1)] == [1, 1, 1, 1]


def _asked(states: list[State], together: int) -> list[tuple[int, list[float]]]:
    network = Equation()
    step(network, states, together=together)
    return network.asked


def test_guidance_leads_away_from_what_is_unwanted() -> None:
    network = Equation()
    guided = course([1.0, 0.5, 0.0], says=1.0, negative=condition(-2.0), guidance=3.0)
    (moved,) = step(network, [State(guided, start(0.0))])
    expected = -0.5 * (curved(start(0.0), torch.tensor(1.0)) + (-2.0 + 3.0 * (1.0 + 2.0)))
    torch.testing.assert_close(moved.latents, expected)
    assert [count for count, _ in network.asked] == [2]  # one batch of both
    # Prompts of different length cannot share one.
    network = Equation()
    (apart,) = step(network, [State(replace(guided, negative=condition(-2.0, words=2)), start(0.0))])
    assert [count for count, _ in network.asked] == [1, 1]
    assert torch.equal(apart.latents, moved.latents)
    # Outside of its interval there is none, and no second pass.
    network = Equation()
    (late,) = step(network, [State(replace(guided, interval=(0.0, 0.6)), start(0.0))])
    assert [count for count, _ in network.asked] == [1]
    assert torch.equal(
        late.latents, step(Equation(), [State(course([1.0, 0.5, 0.0], says=1.0), start(0.0))])[0].latents
    )


def test_what_is_kept_is_as_noisy_as_the_step() -> None:
    mask = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1)
    kept = Kept(start(5.0, 6.0), start(0.5, 0.6), mask)
    one = course([1.0, 0.25, 0.0], kept=kept)
    (first,) = step(Equation(), [State(one, start(0.5, 0.6))])
    free = step(Equation(), [State(course([1.0, 0.25, 0.0]), start(0.5, 0.6))])[0]
    assert first.latents[0, 0] == free.latents[0, 0]
    torch.testing.assert_close(first.latents[0, 1], torch.tensor([0.75 * 6.0 + 0.25 * 0.6], dtype=torch.float64))
    (last,) = step(Equation(), [first])
    assert last.done
    assert last.latents[0, 1] == 6.0


def test_the_estimate_is_where_the_velocity_leads() -> None:
    (moved,) = step(Equation(), [State(course([0.5, 0.0]), start(0.3, 0.1))])
    torch.testing.assert_close(moved.estimate, moved.latents)
    assert (moved.t, moved.done) == (0.0, True)


def test_a_callback_may_put_other_latents_in_place() -> None:
    seen: list[float] = []

    def watch(state: State) -> Tensor:
        seen.append(state.t)
        return state.latents * 0

    assert denoise(Equation(), State(course([1.0, 0.5, 0.0]), start(1.0)), watch).abs().max() == 0
    assert seen == [0.5, 0.0]
