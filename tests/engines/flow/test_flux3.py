"""The network is held against diffusers' own, weight for weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diptych.engines.flow import flux3, layouts
from diptych.engines.flow.flux3 import Flux3, Flux3Config, positions
from diptych.engines.flow.network import Condition
from tests.engines.flow import reference

TOLERANCE = 1e-5
T, T_NEXT = torch.tensor([0.25, 0.8125]), torch.tensor([0.0, 0.5])


def pair(flow_map: bool) -> tuple[nn.Module, Flux3]:
    """diffusers' network and ours, with the same weights."""
    theirs = reference.flux3(flow_map)
    ours = Flux3(replace(reference.FLUX3, flow_map=flow_map))
    ours.load_state_dict(layouts.state_from_diffusers(layouts.FLUX3, theirs.state_dict()))
    return theirs, ours.eval()


def ids(height: int, width: int, reference_number: int | None = None) -> Tensor:
    """As diffusers' `_prepare_image_ids` makes them."""
    word = 0 if reference_number is None else -1 - reference_number
    at = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width), torch.tensor([word])).float()
    at[:, 1:3] *= 0.5
    return at


def words(length: int) -> Tensor:
    at = torch.zeros(length, 4)
    at[:, 3] = torch.arange(length)
    return at


@pytest.mark.parametrize("flow_map", [True, False])
@pytest.mark.parametrize("sizes", [[], [(2, 3)], [(3, 3), (1, 4)]])
@pytest.mark.parametrize(("height", "width", "length"), [(4, 4, 7), (3, 5, 1)])
@torch.inference_mode()
def test_equals_diffusers(flow_map: bool, sizes: list[tuple[int, int]], height: int, width: int, length: int) -> None:
    theirs, ours = pair(flow_map)
    latents, text = torch.randn(2, height * width, 16), torch.randn(2, length, 24)
    pictures = [torch.randn(2, 16, *size) for size in sizes]
    target = T_NEXT if flow_map else None
    seen = None
    if pictures:
        seen = {
            "image_cond_hidden_states": torch.cat([picture.flatten(2).mT for picture in pictures], dim=1),
            "image_cond_ids": torch.cat([ids(*size, i) for i, size in enumerate(sizes)]),
        }
    expected = theirs(
        hidden_states=latents,
        encoder_hidden_states=text,
        timestep=T,
        target_timestep=target,
        img_ids=ids(height, width),
        txt_ids=words(length),
        **(seen or {}),
    ).sample
    condition = ours.condition(text, height, width, pictures)
    found = ours(latents, condition, ours.modulation(T, target))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)

    table = torch.cat([words(length), ids(height, width), *(ids(*size, i) for i, size in enumerate(sizes))])
    torch.testing.assert_close(positions(length, height, width, sizes), table.double(), atol=0, rtol=0)


@pytest.mark.parametrize("flow_map", [True, False])
@torch.inference_mode()
def test_bfloat16_is_within_the_spread_of_diffusers(flow_map: bool) -> None:
    theirs, ours = pair(flow_map)
    latents, text, picture = torch.randn(4, 64, 16), torch.randn(4, 7, 24), torch.randn(4, 16, 3, 3)
    t = torch.tensor([0.1, 0.333, 0.75, 0.99])
    target = torch.tensor([0.0, 0.1, 0.6, 0.9]) if flow_map else None

    def ask(network: nn.Module, dtype: torch.dtype) -> Tensor:
        for name, module in network.named_modules():
            if name.endswith(("norm_q", "norm_k")):
                module.float()  # as diffusers loads them
        return network(
            hidden_states=latents.to(dtype),
            encoder_hidden_states=text.to(dtype),
            timestep=t,
            target_timestep=target,
            img_ids=ids(8, 8),
            txt_ids=words(7),
            image_cond_hidden_states=picture.flatten(2).mT.to(dtype),
            image_cond_ids=ids(3, 3, 0),
        ).sample

    half = torch.bfloat16
    exact, allowed = reference.spread(theirs, ask)
    ours.to(half)
    condition = ours.condition(text.to(half), 8, 8, [picture.to(half)])
    found = ours(latents.to(half), condition, ours.modulation(t, target))
    assert found.dtype == half
    reference.check_spread(found, exact, allowed)


@pytest.mark.parametrize("flow_map", [True, False])
@torch.inference_mode()
def test_a_batch_gives_what_its_members_give_alone(flow_map: bool) -> None:
    _, ours = pair(flow_map)
    members = []
    for t, t_next, (height, width) in ((0.9, 0.5, (2, 6)), (0.3, 0.0, (6, 2))):
        rows = ours.modulation(torch.tensor([t]), torch.tensor([t_next]) if flow_map else None)
        condition = ours.condition(torch.randn(1, 5, 24), height, width, [torch.randn(1, 16, 3, 1)])
        members.append((torch.randn(1, 12, 16), condition, rows))
    alone = torch.cat([ours(*member) for member in members])
    latents, conditions, rows = zip(*members, strict=True)
    together = ours(torch.cat(latents), Condition.stack(conditions), torch.cat(rows))
    torch.testing.assert_close(together, alone, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("flow_map", [True, False])
@torch.inference_mode()
def test_runs_without_its_modulation(flow_map: bool) -> None:
    """On the base model the rows that `condition` needs are kept."""
    _, ours = pair(flow_map)
    latents, text, pictures = torch.randn(2, 12, 16), torch.randn(2, 5, 24), [torch.randn(2, 16, 2, 2)]
    rows = ours.modulation(T, T_NEXT if flow_map else None)
    before = ours(latents, ours.condition(text, 3, 4, pictures), rows)
    ours.release_modulation()
    assert not any("modulation" in name for name, _ in ours.named_parameters())
    torch.testing.assert_close(ours(latents, ours.condition(text, 3, 4, pictures), rows), before, atol=0, rtol=0)
    with pytest.raises(RuntimeError, match="released"):
        ours.modulation(T, T_NEXT)


def test_inputs_go_only_where_they_are_taken() -> None:
    with torch.device("meta"):
        distilled, base = Flux3(reference.FLUX3), Flux3(replace(reference.FLUX3, flow_map=False))
        alone = Flux3(replace(reference.FLUX3, reference_branch=False))
    with pytest.raises(ValueError, match="needs t_next"):
        distilled.modulation(T)
    with pytest.raises(ValueError, match="takes no t_next"):
        base.modulation(T, T_NEXT)
    with pytest.raises(ValueError, match="takes no guidance"):
        base.modulation(T, guidance=T)
    with pytest.raises(ValueError, match="takes no pooled"):
        base.modulation(T, pooled=torch.randn(1, 768))
    text = torch.empty(1, 5, 24, device="meta")
    with pytest.raises(ValueError, match="takes no references"):
        alone.condition(text, 3, 4, [torch.empty(1, 16, 2, 2, device="meta")])
    with pytest.raises(ValueError, match="takes no control"):
        alone.condition(text, 3, 4, control=text)
    with pytest.raises(ValueError, match="axes"):
        Flux3Config(hidden=64, heads=2)


@torch.inference_mode()
def test_without_the_reference_branch_is_the_same_network_without_references() -> None:
    _, ours = pair(True)
    alone = Flux3(replace(reference.FLUX3, reference_branch=False))
    alone.load_state_dict({key: value for key, value in ours.state_dict().items() if "image_cond" not in key})
    latents, text = torch.randn(2, 12, 16), torch.randn(2, 5, 24)
    found, expected = (n(latents, n.condition(text, 3, 4), n.modulation(T, T_NEXT)) for n in (alone, ours))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_released_sizes() -> None:
    """Parameter counts of the released models, built without memory."""
    with torch.device("meta"):
        klein, base = Flux3(flux3.KLEIN), Flux3(flux3.KLEIN_BASE)
        alone = Flux3(replace(flux3.KLEIN, reference_branch=False))
    assert (reference.parameters(klein), len(klein.state_dict())) == (5_548_681_984, 359)
    assert (reference.parameters(base), len(base.state_dict())) == (5_538_458_368, 357)
    assert reference.parameters(alone) == 4_878_247_424
