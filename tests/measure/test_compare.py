"""Near duplicates, and sizes as asked."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse.csgraph
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFilter

from diptych.errors import InvalidRequest
from diptych.measure import NEAR, AsAsked, measure, near_duplicates, size_as_asked
from tests.measure.pictures import photograph, png

few_bits = st.integers(0, 2**64 - 1).flatmap(
    lambda base: st.lists(st.sampled_from([base ^ (1 << bit) for bit in range(12)] + [base, base ^ 0xFFF]), max_size=12)
)


def connected(hashes: list[int], threshold: int) -> list[tuple[int, ...]]:
    """Every pair compared, and the components of the graph of near pairs, by scipy."""
    near = np.array([[(a ^ b).bit_count() <= threshold for a in hashes] for b in hashes], bool)
    count, labels = scipy.sparse.csgraph.connected_components(near.reshape(len(hashes), len(hashes)))
    groups = [tuple(np.flatnonzero(labels == label).tolist()) for label in range(count)]
    return sorted(group for group in groups if len(group) > 1)


@given(st.lists(few_bits, max_size=3).map(lambda lists: [h for hashes in lists for h in hashes]), st.integers(0, 8))
def test_groups_are_what_near_pairs_connect(hashes: list[int], threshold: int) -> None:
    assert near_duplicates(hashes, threshold) == connected(hashes, threshold)


def test_none_and_one() -> None:
    assert near_duplicates([]) == []
    assert near_duplicates([7]) == []
    assert near_duplicates([7, 7]) == [(0, 1)]


def test_the_threshold_counts_bits() -> None:
    assert near_duplicates([0, 2**NEAR - 1]) == [(0, 1)]
    assert near_duplicates([0, 2 ** (NEAR + 1) - 1]) == []
    assert near_duplicates([0, 2**64 - 1], 63) == []
    assert near_duplicates([0, 2**64 - 1], 64) == [(0, 1)]


@pytest.mark.parametrize("value", [-1, 2**64])
def test_more_than_64_bits(value: int) -> None:
    with pytest.raises(InvalidRequest, match="64 bits"):
        near_duplicates([0, value])


def test_many_hashes_take_little_memory() -> None:
    hashes = [int(h) for h in np.random.default_rng(0).integers(0, 2**64, 10_000, dtype=np.uint64)]
    hashes[9_000] = hashes[17] ^ 0b101
    near_duplicates(hashes[:2])
    tracemalloc.start()
    groups = near_duplicates(hashes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert groups == [(17, 9_000)]
    assert peak < 5e6  # all pairs at once would be 400 MB


def test_pictures_that_are_nearly_the_same() -> None:
    fox, cat = photograph("astronaut"), photograph("chelsea")
    pictures = [
        png(fox),
        png(cat),
        png(fox, "JPEG", quality=40),
        png(fox.resize((200, 200))),
        png(cat.filter(ImageFilter.GaussianBlur(2))),
        png(photograph("coffee")),
    ]
    assert near_duplicates([measure(data).perceptual_hash for data in pictures]) == [(0, 2, 3), (1, 4)]


@pytest.mark.parametrize(
    ("asked", "got", "expected"),
    [
        (None, (512, 512), AsAsked(None, None)),
        ((512, 512), (512, 512), AsAsked(True, True)),
        ((512, 512), (1024, 1024), AsAsked(False, True)),
        ((1024, 768), (768, 1024), AsAsked(False, False)),
        ((16, 9), (1344, 768), AsAsked(False, True)),
        ((3, 4), (864, 1184), AsAsked(False, True)),
        ((4, 5), (896, 1152), AsAsked(False, True)),
        ((5, 4), (1024, 768), AsAsked(False, False)),
        ((1000, 1000), (1024, 1000), AsAsked(False, True)),
        ((1000, 1000), (1000, 1040), AsAsked(False, False)),
    ],
)
def test_size_as_asked(asked: tuple[int, int] | None, got: tuple[int, int], expected: AsAsked) -> None:
    assert size_as_asked(asked, got) == expected


@given(*[st.integers(1, 5000)] * 4)
def test_which_is_the_other_way_round_does_not_matter(a: int, b: int, c: int, d: int) -> None:
    assert size_as_asked((a, b), (c, d)) == size_as_asked((b, a), (d, c)) == size_as_asked((c, d), (a, b))
