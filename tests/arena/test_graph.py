"""Components and separation, against networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from diptych.arena import graph


@st.composite
def sparse_counts(draw: st.DrawFn) -> NDArray[np.float64]:
    models = draw(st.integers(1, 7))
    counts = draw(arrays(np.float64, (models, models, 3), elements=st.sampled_from([0.0] * 12 + [1.0, 2.0])))
    counts[np.arange(models), np.arange(models)] = 0
    return counts


def who_beat_whom(counts: NDArray[np.float64]) -> nx.DiGraph:
    directed = nx.DiGraph()
    for i, j, choice in zip(*np.nonzero(counts), strict=True):
        if choice in (0, 2):
            directed.add_edge(i, j)
        if choice in (1, 2):
            directed.add_edge(j, i)
    return directed


@given(sparse_counts())
def test_components(counts: NDArray[np.float64]) -> None:
    numbers = graph.components(counts)
    expected = sorted(sorted(part) for part in nx.weakly_connected_components(who_beat_whom(counts)))
    found = [np.flatnonzero(numbers == i).tolist() for i in range(numbers.max() + 1)]
    assert found == expected
    assert (numbers < 0).sum() == len(counts) - sum(map(len, expected))


@given(sparse_counts())
def test_ways_of_wins_and_ties(counts: NDArray[np.float64]) -> None:
    directed = who_beat_whom(counts)
    directed.add_nodes_from(range(len(counts)))
    reach = graph.not_below(counts)
    for i in range(len(counts)):
        assert set(np.flatnonzero(reach[i]).tolist()) == nx.descendants(directed, i) | {i}


@given(sparse_counts())
def test_the_core_is_the_largest_strong_component(counts: NDArray[np.float64]) -> None:
    directed, reach = who_beat_whom(counts), graph.not_below(counts)
    for part in nx.weakly_connected_components(directed):
        strong = max(len(c) for c in nx.strongly_connected_components(directed.subgraph(part)))
        core = set(graph.core(reach, np.array(sorted(part))).tolist())
        assert core == part if strong == 1 else len(core) == strong
        if strong > 1:
            assert core in list(nx.strongly_connected_components(directed))
