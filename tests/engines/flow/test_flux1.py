"""The network is held against diffusers' own, weight for weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diptych.engines.flow import flux1, layouts
from diptych.engines.flow.flux1 import Flux1, Flux1Config, positions
from diptych.engines.flow.network import Condition
from tests.engines.flow import reference

TOLERANCE = 1e-5


def pair(config: Flux1Config = reference.FLUX1) -> tuple[nn.Module, Flux1]:
    """diffusers' network and ours, with the same weights."""
    theirs = reference.flux1(config.guidance_embedding, config.in_channels)
    ours = Flux1(config)
    ours.load_state_dict(layouts.state_from_diffusers(layouts.FLUX1, theirs.state_dict()))
    return theirs, ours.eval()


@pytest.mark.parametrize("guidance", [None, 3.5])
@pytest.mark.parametrize(("height", "width", "words"), [(4, 4, 7), (3, 5, 1)])
@torch.inference_mode()
def test_equals_diffusers(guidance: float | None, height: int, width: int, words: int) -> None:
    theirs, ours = pair(replace(reference.FLUX1, guidance_embedding=guidance is not None))
    latents, text, pooled = torch.randn(2, height * width, 16), torch.randn(2, words, 24), torch.randn(2, 20)
    t = torch.tensor([0.25, 0.8125])  # members of a batch may be at different times
    strength = None if guidance is None else torch.tensor([guidance, guidance + 1])
    at = positions(words, height, width)
    expected = theirs(
        hidden_states=latents,
        encoder_hidden_states=text,
        pooled_projections=pooled,
        timestep=t,
        guidance=strength,
        txt_ids=at[:words],
        img_ids=at[words:],
    ).sample
    rows = ours.modulation(t, guidance=strength, pooled=pooled)
    found = ours(latents, ours.condition(text, height, width), rows)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_kontext_reference_equals_diffusers() -> None:
    theirs, ours = pair()
    latents, text, pooled, picture = (
        torch.randn(2, 12, 16), torch.randn(2, 5, 24), torch.randn(2, 20), torch.randn(2, 16, 2, 5),
    )  # fmt: skip
    t, guidance = torch.tensor([0.25, 0.8125]), torch.tensor([2.5, 2.5])
    at = torch.zeros(22, 3)  # as the Kontext pipeline makes them
    at[:12, 1:] = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    at[12:, 1:] = torch.cartesian_prod(torch.arange(2), torch.arange(5))
    at[12:, 0] = 1
    expected = theirs(
        hidden_states=torch.cat([latents, picture.flatten(2).mT], dim=1),
        encoder_hidden_states=text,
        pooled_projections=pooled,
        timestep=t,
        guidance=guidance,
        txt_ids=torch.zeros(5, 3),
        img_ids=at,
    ).sample[:, :12]
    found = ours(latents, ours.condition(text, 3, 4, [picture]), ours.modulation(t, guidance=guidance, pooled=pooled))
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    with pytest.raises(ValueError, match="one reference, not 2"):
        ours.condition(text, 3, 4, [picture, picture])


@pytest.mark.parametrize("control", [16, 80])
@torch.inference_mode()
def test_control_channels_equal_diffusers(control: int) -> None:
    """Canny and Depth join 64 channels to the latents' 64, Fill 320."""
    theirs, ours = pair(replace(reference.FLUX1, in_channels=16 + control))
    latents, text, pooled, beside = (
        torch.randn(1, 12, 16), torch.randn(1, 5, 24), torch.randn(1, 20), torch.randn(1, 12, control),
    )  # fmt: skip
    t, guidance = torch.tensor([0.5]), torch.tensor([30.0])
    at = positions(5, 3, 4)
    expected = theirs(
        hidden_states=torch.cat([latents, beside], dim=-1),
        encoder_hidden_states=text,
        pooled_projections=pooled,
        timestep=t,
        guidance=guidance,
        txt_ids=at[:5],
        img_ids=at[5:],
    ).sample
    rows = ours.modulation(t, guidance=guidance, pooled=pooled)
    found = ours(latents, ours.condition(text, 3, 4, control=beside), rows)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    with pytest.raises(ValueError, match="needs control"):
        ours.condition(text, 3, 4)
    with pytest.raises(ValueError, match="takes no references"):
        ours.condition(text, 3, 4, [torch.randn(1, 16, 2, 2)], beside)


@torch.inference_mode()
def test_bfloat16_is_within_the_spread_of_diffusers() -> None:
    theirs, ours = pair()
    latents, text, pooled = torch.randn(4, 64, 16), torch.randn(4, 7, 24), torch.randn(4, 20)
    t, guidance = torch.tensor([0.1, 0.333, 0.75, 0.99]), torch.tensor([1.5, 2.5, 3.5, 3.3])
    at = positions(7, 8, 8)

    def ask(network: nn.Module, dtype: torch.dtype) -> Tensor:
        return network(
            hidden_states=latents.to(dtype),
            encoder_hidden_states=text.to(dtype),
            pooled_projections=pooled.to(dtype),
            timestep=t,
            guidance=guidance,
            txt_ids=at[:7],
            img_ids=at[7:],
        ).sample

    half = torch.bfloat16
    exact, allowed = reference.spread(theirs, ask)
    ours.to(half)
    rows = ours.modulation(t, guidance=guidance, pooled=pooled.to(half))
    found = ours(latents.to(half), ours.condition(text.to(half), 8, 8), rows)
    assert found.dtype == half
    reference.check_spread(found, exact, allowed)


@torch.inference_mode()
def test_a_batch_gives_what_its_members_give_alone() -> None:
    """Different prompts, times, guidance and shapes of picture in one batch."""
    _, ours = pair()
    members = []
    for t, guidance, (height, width) in ((0.9, 2.0, (2, 6)), (0.3, 4.0, (6, 2)), (0.5, 3.0, (2, 6))):
        rows = ours.modulation(torch.tensor([t]), guidance=torch.tensor([guidance]), pooled=torch.randn(1, 20))
        condition = ours.condition(torch.randn(1, 5, 24), height, width, [torch.randn(1, 16, 3, 1)])
        members.append((torch.randn(1, 12, 16), condition, rows))
    alone = torch.cat([ours(*member) for member in members])
    latents, conditions, rows = zip(*members, strict=True)
    together = ours(torch.cat(latents), Condition.stack(conditions), torch.cat(rows))
    torch.testing.assert_close(together, alone, atol=TOLERANCE, rtol=0)
    assert Condition.stack(conditions[::2]).rotary[0].shape[0] == 1  # same shape: one table for both
    with pytest.raises(ValueError, match="same number"):
        Condition.stack([conditions[0], ours.condition(torch.randn(1, 4, 24), 2, 6, [torch.randn(1, 16, 3, 1)])])


def test_inputs_go_only_where_they_are_embedded() -> None:
    with torch.device("meta"):
        network = Flux1(replace(reference.FLUX1, guidance_embedding=False))
    t, pooled = torch.tensor([0.5]), torch.randn(1, 20)
    with pytest.raises(ValueError, match="takes no guidance"):
        network.modulation(t, guidance=torch.tensor([3.5]), pooled=pooled)
    with pytest.raises(ValueError, match="needs pooled"):
        network.modulation(t)
    with pytest.raises(ValueError, match="takes no t_next"):
        network.modulation(t, torch.tensor([0.4]), pooled=pooled)
    with pytest.raises(ValueError, match="axes"):
        Flux1Config(hidden=64, heads=2)
    with pytest.raises(ValueError, match="in_channels"):
        Flux1Config(in_channels=32)


def test_released_sizes() -> None:
    """Parameter counts of the released models, and what the modulation holds of them; built without memory."""
    with torch.device("meta"):
        dev, schnell, fill = Flux1(flux1.DEV), Flux1(flux1.SCHNELL), Flux1(flux1.FILL)
    assert reference.parameters(dev) == 11_901_408_320
    assert reference.parameters(schnell) == 11_891_178_560
    assert reference.parameters(fill) - reference.parameters(dev) == (384 - 64) * 3072
    assert flux1.CANNY.in_channels == flux1.DEPTH.in_channels == 128
    dev.release_modulation()
    assert round((11_901_408_320 - reference.parameters(dev)) / 1e9, 2) == 3.28
    with pytest.raises(RuntimeError, match="released"):
        dev.modulation(torch.tensor([0.5]))
    with pytest.raises(RuntimeError, match="released"):
        dev.release_modulation()


@torch.inference_mode()
def test_runs_without_its_modulation() -> None:
    _, ours = pair()
    rows = ours.modulation(torch.tensor([0.5]), guidance=torch.tensor([2.0]), pooled=torch.randn(1, 20))
    latents, text = torch.randn(1, 12, 16), torch.randn(1, 5, 24)
    before = ours(latents, ours.condition(text, 3, 4), rows)
    ours.release_modulation()
    torch.testing.assert_close(ours(latents, ours.condition(text, 3, 4), rows), before, atol=0, rtol=0)
