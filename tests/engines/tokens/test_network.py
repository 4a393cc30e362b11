"""The encoder-decoder: what depends on what."""

from __future__ import annotations

import pytest
import torch

from diptych.engines.tokens.network import TokensConfig, join, positions, rotary_tables, rotate
from tests.engines.tokens.conftest import NETWORK, network

IDS = torch.tensor([[2, 4, 5, 3], [2, 7, 3, 0]])
WORDS = IDS.ne(0)


def drawn(count: int = 2, side: int = 3) -> torch.Tensor:
    return torch.randint(
        NETWORK.codes + 1, (count, side * side, NETWORK.groups), generator=torch.Generator().manual_seed(0)
    )


@torch.inference_mode()
def test_shapes() -> None:
    made = network()
    memory = made.encode(IDS, WORDS)
    assert made(drawn(), memory, 3).shape == (2, 9, NETWORK.groups, NETWORK.codes)
    assert made(drawn(side=4), memory, 2).shape == (2, 16, NETWORK.groups, NETWORK.codes)  # 2 rows of 8
    beside = made.encode(IDS, WORDS, drawn(), 3)
    assert beside.states.shape == (2, 4 + 9, NETWORK.hidden)
    assert made.next_words(IDS, beside).shape == (2, 4, NETWORK.vocabulary)


@torch.inference_mode()
def test_every_code_depends_on_prompt_picture_beside_and_every_other_code() -> None:
    made = network()
    logits = made(drawn(), made.encode(IDS, WORDS, drawn(), 3), 3)
    other_prompt = made(drawn(), made.encode(IDS.flip(0), WORDS.flip(0), drawn(), 3), 3)
    other_picture = made(drawn(), made.encode(IDS, WORDS, (drawn() + 1) % 16, 3), 3)
    changed = drawn()
    changed[:, 4, 1] = (changed[:, 4, 1] + 1) % 16
    other_code = made(changed, made.encode(IDS, WORDS, drawn(), 3), 3)
    for other in (other_prompt, other_picture, other_code):
        assert ((logits - other).abs().amax((2, 3)) > 1e-6).all()


@torch.inference_mode()
def test_positions_that_show_the_same_are_told_apart() -> None:
    made = network()
    logits = made(torch.full((1, 9, NETWORK.groups), NETWORK.mask), made.encode(IDS[:1], WORDS[:1]), 3)[0]
    assert torch.pdist(logits.flatten(1)).min() > 1e-4


@torch.inference_mode()
def test_a_caption_is_read_from_left_to_right() -> None:
    made = network()
    memory = made.encode(IDS, WORDS, drawn(), 3)
    words = torch.tensor([[2, 4, 5, 7, 3], [2, 9, 9, 8, 3]])
    logits = made.next_words(words, memory)
    torch.testing.assert_close(made.next_words(words[:, :3], memory), logits[:, :3])


@torch.inference_mode()
def test_padding_and_joining_change_nothing() -> None:
    made = network()
    short, long = made.encode(IDS[:1], WORDS[:1]), made.encode(IDS[1:], WORDS[1:], drawn(1), 3)
    codes = drawn()
    both = made(codes, join([short, long]), 3)
    torch.testing.assert_close(both[:1], made(codes[:1], short, 3))
    torch.testing.assert_close(both[1:], made(codes[1:], long, 3))
    padded = torch.cat([IDS[:1], torch.zeros(1, 4, dtype=torch.long)], dim=1)
    torch.testing.assert_close(made.encode(padded, padded.ne(0)).states[:, :4], short.states)


def test_rotation_keeps_lengths_and_sees_distances_only() -> None:
    at = positions(0, 4, 4)
    cos, sin = rotary_tables(at, (4, 6, 6), 100.0)
    q, k = torch.randn(2, 1, 1, 1, 16)
    turned_q, turned_k = (rotate(x.expand(1, 1, 16, 16), (cos, sin))[0, 0] for x in (q, k))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(16))
    products = turned_q @ turned_k.T
    torch.testing.assert_close(products[0, 5], products[10, 15])  # both one down and one to the right


def test_a_picture_spans_the_same_positions_at_every_size() -> None:
    small, large = positions(0, 4, 4), positions(0, 8, 8)
    assert small[:, 1:].mean() == large[:, 1:].mean() == 8
    torch.testing.assert_close(large.view(4, 2, 4, 2, 3).mean((1, 3)).view(-1, 3), small)


def test_a_shape_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="must be even and add up to the width of a head"):
        TokensConfig(axes=(16, 16, 16))
    with pytest.raises(ValueError, match="longest, 20"):
        TokensConfig(longest=20)
