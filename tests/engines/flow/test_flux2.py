"""The network is held against diffusers' own, weight for weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diptych.engines.flow import flux2, layouts
from diptych.engines.flow.flux2 import Flux2, Flux2Config, positions
from diptych.engines.flow.network import Condition
from diptych.engines.flow.schedule import schedule
from tests.engines.flow import reference

TOLERANCE = 1e-5
T = torch.tensor([0.25, 0.8125])  # members of a batch may be at different times


def pair(guidance: bool) -> tuple[nn.Module, Flux2]:
    """diffusers' network and ours, with the same weights."""
    theirs = reference.flux2(guidance)
    ours = Flux2(replace(reference.FLUX2, guidance_embedding=guidance))
    ours.load_state_dict(layouts.state_from_diffusers(layouts.FLUX2, theirs.state_dict()))
    return theirs, ours.eval()


@pytest.fixture
def network() -> Flux2:
    return pair(guidance=False)[1]


@pytest.mark.parametrize("guidance", [None, 3.5])
@pytest.mark.parametrize("sizes", [[], [(2, 3)], [(3, 3), (1, 4)]])
@pytest.mark.parametrize(("height", "width", "words"), [(4, 4, 7), (3, 5, 1)])
@torch.inference_mode()
def test_equals_diffusers(
    guidance: float | None, sizes: list[tuple[int, int]], height: int, width: int, words: int
) -> None:
    theirs, ours = pair(guidance is not None)
    latents, text = torch.randn(2, height * width, 16), torch.randn(2, words, 24)
    pictures = [torch.randn(2, 16, *size) for size in sizes]
    strength = None if guidance is None else torch.tensor([guidance, guidance + 1])
    pages = [torch.tensor([0]), *(torch.tensor([10 + 10 * i]) for i in range(len(sizes)))]  # as Flux2Pipeline does
    at = torch.cat(
        [
            torch.cartesian_prod(page, torch.arange(h), torch.arange(w), torch.arange(1))
            for page, (h, w) in zip(pages, [(height, width), *sizes], strict=True)
        ]
    )
    expected = theirs(
        hidden_states=torch.cat([latents, *(picture.flatten(2).mT for picture in pictures)], dim=1),
        encoder_hidden_states=text,
        timestep=T,
        guidance=strength,
        txt_ids=torch.cartesian_prod(torch.arange(1), torch.arange(1), torch.arange(1), torch.arange(words)),
        img_ids=at,
    ).sample[:, : latents.shape[1]]
    found = ours(latents, ours.condition(text, height, width, pictures), ours.modulation(T, guidance=strength))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("guidance", [False, True])
@torch.inference_mode()
def test_bfloat16_is_within_the_spread_of_diffusers(guidance: bool) -> None:
    theirs, ours = pair(guidance)
    latents, text = torch.randn(4, 64, 16), torch.randn(4, 7, 24)
    t = torch.tensor([0.1, 0.333, 0.75, 0.99])
    strength = torch.tensor([1.5, 2.5, 3.5, 3.3]) if guidance else None
    at = positions(7, 8, 8)

    def ask(network: nn.Module, dtype: torch.dtype) -> Tensor:
        return network(
            hidden_states=latents.to(dtype),
            encoder_hidden_states=text.to(dtype),
            timestep=t,
            guidance=strength,
            txt_ids=at[:7],
            img_ids=at[7:],
        ).sample

    half = torch.bfloat16
    exact, allowed = reference.spread(theirs, ask)
    ours.to(half)
    found = ours(latents.to(half), ours.condition(text.to(half), 8, 8), ours.modulation(t, guidance=strength))
    assert found.dtype == half
    reference.check_spread(found, exact, allowed)


@torch.inference_mode()
def test_a_batch_gives_what_its_members_give_alone(network: Flux2) -> None:
    members = []
    for t, (height, width) in ((0.9, (2, 6)), (0.3, (6, 2))):
        condition = network.condition(torch.randn(1, 5, 24), height, width, [torch.randn(1, 16, 3, 1)])
        members.append((torch.randn(1, 12, 16), condition, network.modulation(torch.tensor([t]))))
    alone = torch.cat([network(*member) for member in members])
    latents, conditions, rows = zip(*members, strict=True)
    together = network(torch.cat(latents), Condition.stack(conditions), torch.cat(rows))
    torch.testing.assert_close(together, alone, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_modulation_of_a_schedule_is_that_of_its_times(network: Flux2) -> None:
    times = torch.tensor(schedule(4, 1.0)[:-1])
    alone = torch.cat([network.modulation(t[None]) for t in times])
    torch.testing.assert_close(network.modulation(times), alone, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_runs_without_its_modulation() -> None:
    _, ours = pair(guidance=True)
    latents, text = torch.randn(2, 12, 16), torch.randn(2, 5, 24)
    rows = ours.modulation(T, guidance=T)
    before = ours(latents, ours.condition(text, 3, 4), rows)
    ours.release_modulation()
    torch.testing.assert_close(ours(latents, ours.condition(text, 3, 4), rows), before, atol=0, rtol=0)
    with pytest.raises(RuntimeError, match="released"):
        ours.modulation(T, guidance=T)


def test_inputs_go_only_where_they_are_taken(network: Flux2) -> None:
    with pytest.raises(ValueError, match="takes no guidance"):
        network.modulation(T, guidance=T)
    with pytest.raises(ValueError, match="takes no t_next"):
        network.modulation(T, T)
    with pytest.raises(ValueError, match="takes no pooled"):
        network.modulation(T, pooled=torch.randn(1, 768))
    with pytest.raises(ValueError, match="takes no control"):
        network.condition(torch.randn(1, 5, 24), 3, 4, control=torch.randn(1, 12, 16))
    with pytest.raises(ValueError, match="needs guidance"):
        pair(guidance=True)[1].modulation(T)


def test_axes_must_fill_a_head() -> None:
    with pytest.raises(ValueError, match="axes"):
        Flux2Config(hidden=64, heads=2, axes=(4, 4, 4, 4))


def test_released_sizes() -> None:
    """Parameter counts of the released models, and what the modulation holds of them; built without memory."""
    released = {}
    for name, config in (("dev", flux2.DEV), ("4B", flux2.KLEIN_4B), ("9B", flux2.KLEIN_9B)):
        with torch.device("meta"):
            network = Flux2(config)
        whole = reference.parameters(network)
        network.release_modulation()
        released[name] = (round(whole / 1e9, 4), round((whole - reference.parameters(network)) / 1e9, 1))
    assert released == {"dev": (32.2233, 0.7), "4B": (3.8755, 0.2), "9B": (9.0786, 0.3)}
