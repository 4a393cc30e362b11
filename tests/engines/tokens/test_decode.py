"""The loop of passes: how many codes are kept, which, and that company changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diptych.engines.tokens.decode import Conditioning, Pass, State, begin, decode, gumbel, left, pass_, write
from diptych.engines.tokens.network import Memory, Tokens
from tests.engines.tokens.conftest import NETWORK, network

IDS = torch.tensor([[2, 4, 5, 3], [2, 7, 3, 0], [2, 8, 6, 3]])
EMPTY = torch.tensor([[2, 3, 0, 0]])
SIDE = 4


def conditioning(made: Tokens, members: slice, *, guidance: float = 3.0, temperature: float = 1.0) -> Conditioning:
    count = len(IDS[members])
    empty = EMPTY.repeat(count, 1)
    return Conditioning(
        made.encode(IDS[members], IDS[members].ne(0)),
        made.encode(empty, empty.ne(0)),
        (guidance,) * count,
        (temperature,) * count,
        SIDE,
    )


def masked(count: int) -> torch.Tensor:
    return torch.full((count, SIDE * SIDE, NETWORK.groups), NETWORK.mask)


def start(passes: tuple[int, ...] = (5, 5, 5), seeds: tuple[int, ...] = (1, 2, 3)) -> State:
    return begin(masked(len(passes)), NETWORK.mask, passes, seeds)


@pytest.mark.parametrize("passes", [1, 2, 8, 40])
def test_the_schedule_falls_along_a_cosine_to_nothing(passes: int) -> None:
    counts = [left(100, done, passes) for done in range(passes + 1)]
    assert counts[0] == 100
    assert counts[-1] == 0
    assert counts == sorted(counts, reverse=True)
    if passes == 2:
        assert counts[1] == 70  # cos(pi / 4)


@torch.inference_mode()
def test_each_pass_keeps_what_is_known_and_as_many_as_the_schedule_says() -> None:
    made = network()
    state, how = start(), conditioning(made, slice(None))
    for done in range(5):
        after = pass_(made, state, how)
        known = state.codes != NETWORK.mask
        assert torch.equal(after.codes[known], state.codes[known])
        assert after.codes.eq(NETWORK.mask).sum((1, 2)).tolist() == [left(32, done + 1, 5)] * 3
        assert after.likely.max() < NETWORK.codes
        told = after.codes != NETWORK.mask
        assert torch.equal(after.likely[told], after.codes[told])
        state = after
    assert state.finished


@torch.inference_mode()
def test_a_pass_is_a_pure_function() -> None:
    made = network()
    state, how = start(), conditioning(made, slice(None))
    before = state.codes.clone()
    torch.manual_seed(1)
    first = pass_(made, state, how)
    torch.manual_seed(2)
    second = pass_(made, state, how)
    assert torch.equal(state.codes, before)
    assert torch.equal(first.codes, second.codes)


@pytest.mark.parametrize("guidance", [1.5, 4.0])
@torch.inference_mode()
def test_a_member_of_a_batch_equals_the_picture_alone(guidance: float) -> None:
    made = network().double()  # in double precision no choice hangs by the last bits
    together = decode(made, start((3, 5, 8)), conditioning(made, slice(None), guidance=guidance))
    for i, passes in enumerate((3, 5, 8)):
        how = conditioning(made, slice(i, i + 1), guidance=guidance)
        alone = decode(made, begin(masked(1), NETWORK.mask, [passes], [i + 1]), how)
        assert torch.equal(together[i], alone[0])


@torch.inference_mode()
def test_members_may_join_at_different_passes() -> None:
    made = network().double()
    first = begin(masked(1), NETWORK.mask, [5], [1])
    for _ in range(2):
        first = pass_(made, first, conditioning(made, slice(0, 1)))
    second = begin(masked(1), NETWORK.mask, [3], [2])
    joined = State(
        torch.cat([first.codes, second.codes]),
        torch.cat([first.likely, second.likely]),
        first.start + second.start,
        first.done + second.done,
        first.passes + second.passes,
        first.seeds + second.seeds,
    )
    together = decode(made, joined, conditioning(made, slice(0, 2)))
    for i, passes in enumerate((5, 3)):
        how = conditioning(made, slice(i, i + 1))
        alone = decode(made, begin(masked(1), NETWORK.mask, [passes], [i + 1]), how)
        assert torch.equal(together[i], alone[0])


@torch.inference_mode()
def test_seeds_and_temperature() -> None:
    made = network()
    how = conditioning(made, slice(None))
    assert not torch.equal(decode(made, start(seeds=(1, 2, 3)), how), decode(made, start(seeds=(4, 5, 6)), how))
    cold = conditioning(made, slice(None), temperature=0.0)
    assert torch.equal(decode(made, start(seeds=(1, 2, 3)), cold), decode(made, start(seeds=(4, 5, 6)), cold))


@torch.inference_mode()
def test_one_cold_pass_takes_the_most_likely_code_of_the_guided_logits() -> None:
    made = network()
    how = conditioning(made, slice(0, 1), guidance=3.0, temperature=0.0)
    assert how.negative is not None
    wanted, unwanted = made(masked(1), how.memory, SIDE), made(masked(1), how.negative, SIDE)
    expected = (unwanted + 3.0 * (wanted - unwanted)).argmax(-1)
    assert torch.equal(decode(made, begin(masked(1), NETWORK.mask, [1], [0]), how), expected)


@torch.inference_mode()
def test_of_equally_trusted_guesses_the_first_are_kept() -> None:
    class Indifferent(Tokens):
        def forward(self, codes: torch.Tensor, memory: Memory, height: int) -> torch.Tensor:
            return torch.zeros(*codes.shape, NETWORK.codes)

    made = Indifferent(NETWORK)
    how = replace(conditioning(network(), slice(0, 1), temperature=0.0), negative=None)
    after = pass_(made, begin(masked(1), NETWORK.mask, [2], [0]), how)
    known = after.codes[0].flatten() != NETWORK.mask
    assert known.tolist() == [True] * 10 + [False] * 22  # 32 cos(pi / 4) = 22.6


@torch.inference_mode()
def test_what_was_known_at_the_start_is_never_changed() -> None:
    made = network()
    codes = torch.randint(NETWORK.codes, (1, SIDE * SIDE, NETWORK.groups))
    free = torch.zeros_like(codes, dtype=torch.bool)
    free[:, 5:9] = True
    free[:, 0, 1] = True  # one group of a position apart
    state = begin(codes.masked_fill(free, NETWORK.mask), NETWORK.mask, [4], [7])
    assert state.start == (9,)
    done = decode(made, state, conditioning(made, slice(0, 1)))
    assert torch.equal(done[~free], codes[~free])
    assert done.max() < NETWORK.codes


@torch.inference_mode()
def test_a_callback_sees_every_pass_and_may_change_the_codes() -> None:
    made = network()
    seen: list[Pass] = []

    def watch(step: Pass) -> torch.Tensor | None:
        seen.append(step)
        return step.codes.clone().fill_(3) if step.index == step.total else None

    done = decode(made, begin(masked(1), NETWORK.mask, [3], [0]), conditioning(made, slice(0, 1)), watch)
    assert [(step.index, step.total) for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert done.unique().tolist() == [3]


def test_noise_makes_the_largest_a_draw() -> None:
    chances = torch.tensor([0.6, 0.3, 0.1])
    noisy = chances.log() + gumbel((20_000, 3), torch.Generator().manual_seed(0))
    shares = noisy.argmax(-1).bincount(minlength=3) / 20_000
    torch.testing.assert_close(shares, chances, atol=0.02, rtol=0)


@torch.inference_mode()
def test_writing_ends_at_the_mark_or_at_the_longest() -> None:
    made = network()
    memory = made.encode(EMPTY, EMPTY.ne(0), torch.randint(NETWORK.codes, (1, 16, NETWORK.groups)), SIDE)
    made.frequency.data[7] = 1e3
    assert write(made, memory, 2, 3, 5) == [7] * 5
    made.frequency.data[3] = 1e4
    assert write(made, memory, 2, 3, 5) == []
