from __future__ import annotations

import itertools
import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxImg2ImgPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from hypothesis import given
from hypothesis import strategies as st

from diptych.engines.flow.schedule import (
    FLUX3_SHIFT,
    flux1_mu,
    flux2_mu,
    from_strength,
    mu_of,
    schedule,
    shift_to_mu,
)
from diptych.errors import InvalidRequest


@pytest.mark.parametrize(("tokens", "steps", "mu"), [(4096, 50, 2.0234), (4096, 4, 2.2912), (1024, 4, 2.0307)])
def test_published_values(tokens: int, steps: int, mu: float) -> None:
    assert flux2_mu(tokens, steps) == pytest.approx(mu, abs=5e-5)


@pytest.mark.parametrize(("tokens", "mu"), [(256, 0.5), (1024, 0.63), (4096, 1.15)])
def test_published_values_of_flux1(tokens: int, mu: float) -> None:
    assert flux1_mu(tokens) == pytest.approx(mu, abs=1e-9)


def test_published_times_of_flux3() -> None:
    times = schedule(16, mu_of("flux3", 4096, 16))
    assert times[:4] == pytest.approx([1, 0.99047, 0.97980, 0.96777], abs=5e-6)
    assert times[-3:] == pytest.approx([0.49749, 0.31601, 0], abs=5e-6)


@given(st.integers(16, 20_000), st.integers(1, 200))
def test_mu_equals_diffusers(tokens: int, steps: int) -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    assert flux2_mu(tokens, steps) == pytest.approx(compute_empirical_mu(tokens, steps), rel=1e-9)
    assert flux1_mu(tokens) == pytest.approx(calculate_shift(tokens), rel=1e-9)


@pytest.mark.parametrize(("steps", "mu"), [(1, 0.0), (4, 2.0307), (28, 1.15), (50, 0.5)])
def test_times_equal_diffusers(steps: int, mu: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist(), mu=mu)
    torch.testing.assert_close(torch.tensor(schedule(steps, mu)), theirs.sigmas, atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [1, 4, 16, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, FLUX3_SHIFT])
def test_times_of_a_factor_equal_diffusers(steps: int, shift: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist())
    torch.testing.assert_close(torch.tensor(schedule(steps, shift_to_mu(shift))), theirs.sigmas, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rule", ["even", "flux1", "flux2", "flux3"])
def test_a_rule_decides_how_far_times_are_shifted(rule: str) -> None:
    expected = {"even": 0.0, "flux1": 1.15, "flux2": flux2_mu(4096, 4), "flux3": math.log(6.93)}
    assert mu_of(rule, 4096, 4) == pytest.approx(expected[rule])


def test_an_unknown_rule_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"'flux9'.*flux1"):
        mu_of("flux9", 4096, 4)


@given(st.integers(1, 200), st.floats(-3, 3))
def test_times_fall_from_one_to_zero(steps: int, mu: float) -> None:
    times = schedule(steps, mu)
    assert (len(times), times[0], times[-1]) == (steps + 1, 1.0, 0.0)
    assert all(a > b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("shift", [0.0, -1.0, math.inf, math.nan])
def test_a_factor_is_a_number_above_zero(shift: float) -> None:
    with pytest.raises(InvalidRequest, match="shift is"):
        shift_to_mu(shift)


@given(st.integers(1, 100), st.floats(0, 1))
def test_strength_keeps_the_steps_that_diffusers_keeps(steps: int, strength: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist(), mu=1.15)

    class Pipeline:
        scheduler = theirs

    kept, count = FluxImg2ImgPipeline.get_timesteps(Pipeline, steps, strength, "cpu")
    times = schedule(steps, 1.15)
    if count < 1:
        with pytest.raises(InvalidRequest, match="nothing would change"):
            from_strength(times, strength)
        return
    found = from_strength(times, strength)
    assert len(found) == count + 1
    torch.testing.assert_close(1000 * torch.tensor(found[:-1]), kept, atol=1e-3, rtol=0)


def test_full_strength_is_the_whole_schedule() -> None:
    times = schedule(7, 0.5)
    assert from_strength(times, 1) == times


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_strength_lies_between_zero_and_one(strength: float) -> None:
    with pytest.raises(InvalidRequest, match="strength is"):
        from_strength([1.0, 0.0], strength)
