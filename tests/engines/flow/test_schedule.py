from __future__ import annotations

import itertools

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from hypothesis import given
from hypothesis import strategies as st

from diptych.engines.flow.schedule import flux2_mu, schedule


@pytest.mark.parametrize(("tokens", "steps", "mu"), [(4096, 50, 2.0234), (4096, 4, 2.2912), (1024, 4, 2.0307)])
def test_published_values(tokens: int, steps: int, mu: float) -> None:
    assert flux2_mu(tokens, steps) == pytest.approx(mu, abs=5e-5)


@given(st.integers(16, 20_000), st.integers(1, 200))
def test_mu_equals_diffusers(tokens: int, steps: int) -> None:
    assert flux2_mu(tokens, steps) == pytest.approx(compute_empirical_mu(tokens, steps), rel=1e-9)


@pytest.mark.parametrize(("steps", "mu"), [(1, 0.0), (4, 2.0307), (28, 1.15), (50, 0.5)])
def test_times_equal_diffusers(steps: int, mu: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist(), mu=mu)
    torch.testing.assert_close(torch.tensor(schedule(steps, mu)), theirs.sigmas, atol=1e-6, rtol=0)


@given(st.integers(1, 200), st.floats(-3, 3))
def test_times_fall_from_one_to_zero(steps: int, mu: float) -> None:
    times = schedule(steps, mu)
    assert (len(times), times[0], times[-1]) == (steps + 1, 1.0, 0.0)
    assert all(a > b for a, b in itertools.pairwise(times))
