"""The network is held against diffusers' own, weight for weight."""

from __future__ import annotations

import itertools

import pytest
import torch

from diptych.engines.flow.flux2 import Flux2, Flux2Config, positions, rotary_tables
from diptych.engines.flow.sampling import Conditioning, Step, denoise, velocity
from diptych.engines.flow.schedule import schedule
from tests.engines.flow import reference

TOLERANCE = 1e-5


def config(guidance: bool) -> Flux2Config:
    return Flux2Config(
        in_channels=16,
        text_width=24,
        hidden=32,
        heads=2,
        double_blocks=2,
        single_blocks=2,
        axes=(4, 4, 4, 4),
        guidance_embedding=guidance,
        time_channels=32,
    )


@pytest.fixture
def network() -> Flux2:
    ours = Flux2(config(guidance=False))
    ours.load_state_dict(reference.flux_keys(reference.transformer().state_dict()))
    return ours.eval()


@pytest.mark.parametrize("guidance", [None, 3.5])
@pytest.mark.parametrize(("height", "width", "words"), [(4, 4, 7), (3, 5, 1)])
@torch.inference_mode()
def test_equals_diffusers(guidance: float | None, height: int, width: int, words: int) -> None:
    theirs = reference.transformer(guidance is not None)
    ours = Flux2(config(guidance is not None))
    ours.load_state_dict(reference.flux_keys(theirs.state_dict()))
    latents, text = torch.randn(2, height * width, 16), torch.randn(2, words, 24)
    t = torch.tensor([0.25, 0.8125])  # members of a batch may be at different times
    strength = None if guidance is None else torch.full((2,), guidance)

    at = positions(words, height, width)
    rows = ours.modulation(t, strength)
    rotary = rotary_tables(at, ours.config.axes, ours.config.theta)
    found = ours(latents, ours.project_text(text), rotary, rows)
    expected = theirs(
        hidden_states=latents,
        encoder_hidden_states=text,
        timestep=t,
        guidance=strength,
        txt_ids=at[:words],
        img_ids=at[words:],
    ).sample
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_modulation_of_a_schedule_is_that_of_its_times(network: Flux2) -> None:
    times = torch.tensor(schedule(4, 1.0)[:-1])
    alone = torch.cat([network.modulation(t[None]) for t in times])
    torch.testing.assert_close(network.modulation(times), alone, atol=1e-6, rtol=0)


def test_guidance_goes_only_where_it_is_embedded(network: Flux2) -> None:
    with pytest.raises(ValueError, match="guidance"):
        network.modulation(torch.tensor([0.5]), torch.tensor([3.5]))


def test_axes_must_fill_a_head() -> None:
    with pytest.raises(ValueError, match="axes"):
        Flux2Config(hidden=64, heads=2, axes=(4, 4, 4, 4))


def test_released_sizes() -> None:
    """Parameter counts of the released models, built without memory."""
    klein = {"text_width": 7680, "hidden": 3072, "heads": 24, "double_blocks": 5, "single_blocks": 20}
    with torch.device("meta"):
        dev = Flux2(Flux2Config())
        small = Flux2(Flux2Config(**klein, guidance_embedding=False))
    assert round(sum(p.numel() for p in dev.parameters()) / 1e9, 3) == 32.223
    assert round(sum(p.numel() for p in small.parameters()) / 1e9, 4) == 3.8755


@torch.inference_mode()
def test_guidance_leads_from_the_negative_to_the_prompt(network: Flux2) -> None:
    latents, text, negative = torch.randn(1, 16, 16), torch.randn(1, 3, 32), torch.randn(1, 3, 32)
    rotary = rotary_tables(positions(3, 4, 4), network.config.axes, network.config.theta)
    rows = network.modulation(torch.tensor([0.5]))
    alone = [velocity(network, latents, rows, Conditioning(x, None, rotary)) for x in (text, negative)]
    guided = velocity(network, latents, rows, Conditioning(text, negative, rotary, guidance=3.0))
    torch.testing.assert_close(guided, alone[1] + 3 * (alone[0] - alone[1]), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_denoise_is_eulers_method_and_callbacks_may_change_latents(network: Flux2) -> None:
    latents, text = torch.randn(1, 16, 16), torch.randn(1, 3, 32)
    rotary = rotary_tables(positions(3, 4, 4), network.config.axes, network.config.theta)
    conditioning = Conditioning(text, None, rotary)
    times = schedule(3, 0.5)
    expected = latents
    for now, then in itertools.pairwise(times):
        v = velocity(network, expected, network.modulation(torch.tensor([now])), conditioning)
        expected = expected + (then - now) * v
    seen: list[Step] = []
    found = denoise(network, latents, times, conditioning, seen.append)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert [(s.index, s.total) for s in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1].t == 0
    torch.testing.assert_close(seen[-1].estimate, found, atol=1e-5, rtol=0)

    zeroed = denoise(network, latents, times, conditioning, lambda s: torch.zeros_like(s.latents))
    assert zeroed.abs().max() == 0
