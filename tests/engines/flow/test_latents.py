from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline

from diptych.engines.flow import latents
from diptych.engines.flow.autoencoder import FLUX1, FLUX2
from diptych.errors import InvalidRequest


def drawn(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", [0, 7])
def test_flux1_noise_is_drawn_as_diffusers_draws_it(seed: int, dtype: torch.dtype) -> None:
    width, height = 80, 48
    grid = drawn(seed, 1, 16, height // 8, width // 8, dtype=dtype)
    expected = FluxPipeline._pack_latents(grid, 1, 16, height // 8, width // 8)
    found = latents.noise(seed, width, height, FLUX1, "unpacked", dtype)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flux2_noise_is_drawn_as_diffusers_draws_it(dtype: torch.dtype) -> None:
    expected = Flux2KleinPipeline._pack_latents(drawn(3, 1, 128, 3, 5, dtype=dtype)).float()
    torch.testing.assert_close(latents.noise(3, 80, 48, FLUX2, "packed", dtype), expected, atol=0, rtol=0)


def test_flux3_noise_of_its_makers_is_drawn_token_by_token() -> None:
    expected = drawn(3, 15, 128)[None]
    torch.testing.assert_close(latents.noise(3, 80, 48, FLUX2, "tokens"), expected, atol=0, rtol=0)
    assert not torch.equal(expected, latents.noise(3, 80, 48, FLUX2, "packed"))


def test_pack_and_unpack_undo_each_other() -> None:
    grid = torch.randn(2, 8, 3, 5)
    tokens = latents.pack(grid)
    assert tokens.shape == (2, 15, 8)
    torch.testing.assert_close(tokens[:, 7], grid[:, :, 1, 2])  # row by row
    torch.testing.assert_close(latents.unpack(tokens, 3, 5), grid)


def test_slerp_keeps_length_and_turns_evenly() -> None:
    a, b = (torch.nn.functional.normalize(torch.randn(2, 12, dtype=torch.float64), dim=1) for _ in range(2))
    whole = torch.arccos((a * b).sum(1))
    for weight in (0.0, 0.25, 0.5, 1.0):
        between = latents.slerp(a, b, weight)
        torch.testing.assert_close(between.norm(dim=1), torch.ones(2, dtype=torch.float64))
        torch.testing.assert_close(torch.arccos((a * between).sum(1).clamp(-1, 1)), weight * whole, atol=1e-6, rtol=0)


def test_slerp_between_noises_keeps_what_the_network_expects() -> None:
    a, b = (latents.noise(seed, 512, 512, FLUX2) for seed in (1, 2))
    middle = latents.slerp(a, b, 0.5)
    assert middle.std() == pytest.approx(1, abs=0.01)
    assert ((a + b) / 2).std() == pytest.approx(0.707, abs=0.01)  # the straight line does not


@pytest.mark.parametrize("b", [1.0, -1.0, 1.00001])
def test_slerp_of_parallel_noises_is_finite(b: float) -> None:
    a = torch.randn(1, 4, 3)
    for weight in (0.0, 0.5, 1.0):
        assert latents.slerp(a, b * a, weight).isfinite().all()
    torch.testing.assert_close(latents.slerp(a, a, 0.5), a)


def test_each_member_turns_for_itself() -> None:
    a, b = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    for i in range(3):
        alone = latents.slerp(a[i : i + 1], b[i : i + 1], 0.3)
        torch.testing.assert_close(latents.slerp(a, b, 0.3)[i : i + 1], alone)


def test_a_walk_begins_and_ends_at_its_seeds() -> None:
    a, b = torch.randn(1, 6, 4), torch.randn(1, 6, 4)
    frames = latents.walk(a, b, 5)
    assert frames.shape == (5, 6, 4)
    torch.testing.assert_close(frames[:1], a)
    torch.testing.assert_close(frames[-1:], b)
    torch.testing.assert_close(frames[2:3], latents.slerp(a, b, 0.5))
    with pytest.raises(InvalidRequest, match="1 frames"):
        latents.walk(a, b, 1)


def test_a_variation_is_near_its_seed() -> None:
    a, b = (latents.noise(seed, 256, 256, FLUX2) for seed in (1, 2))
    torch.testing.assert_close(latents.vary(a, b, 0), a)
    near, far = ((latents.vary(a, b, s) - a).norm() for s in (0.1, 0.5))
    assert 0 < near < far
    with pytest.raises(InvalidRequest, match=r"variation is 1.5"):
        latents.vary(a, b, 1.5)
    with pytest.raises(InvalidRequest, match="weight"):
        latents.slerp(a, b, -0.1)


def test_pictures_are_made_noisy_as_diffusers_does() -> None:
    theirs = FlowMatchEulerDiscreteScheduler()
    theirs.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    picture, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for t in theirs.timesteps:
        expected = theirs.scale_noise(picture, t[None], noise)
        torch.testing.assert_close(latents.at_time(picture, noise, float(t) / 1000), expected)
        torch.testing.assert_close(latents.at_time(picture, noise, (t / 1000).expand(2)), expected)


def test_what_lies_outside_the_mask_is_the_picture() -> None:
    now, picture, noise = (torch.randn(2, 6, 4) for _ in range(3))
    mask = torch.zeros(1, 6, 1)
    mask[:, 2:4] = 1
    found = latents.keep_outside(now, picture, noise, mask, 0.0)
    torch.testing.assert_close(found[:, 2:4], now[:, 2:4])
    torch.testing.assert_close(found[:, :2], picture[:, :2])
    half = latents.keep_outside(now, picture, noise, mask, 0.5)
    torch.testing.assert_close(half[:, 4:], (picture + noise)[:, 4:] / 2)
