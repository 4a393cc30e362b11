"""Pictures beside each other, and beside what was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from diptych.errors import InvalidRequest

NEAR = 5
"""Differing bits up to which two perceptual hashes mean nearly the same picture: "a few things may be different", where
10 is "probably a very different picture" (hackerfactor.com, "Looks Like It", 2011). Of 15 photographs, encoding
anew, halving, noise and blur changed 0 to 2 bits, brightening 0 to 6, cropping 2 % 0 to 10, mirroring about 32."""

ASPECT_TOLERANCE = 0.03
"""Models round sides to their own blocks: Gemini gives 864x1184 for 3:4 and 896x1152 for 4:5, each 2.8 % away."""


def near_duplicates(hashes: Sequence[int], threshold: int = NEAR) -> list[tuple[int, ...]]:
    """Groups of nearly the same picture: the indices of each, in order; a picture alone is in none.

    Two pictures are near when at most `threshold` of 64 bits differ; a group is all that near ones connect, so its ends
    may be further apart. Memory grows with the number of hashes, not its square.

    Raises InvalidRequest for a hash that has more than 64 bits.
    """
    import numpy as np

    try:
        values = np.array(hashes, np.uint64)
    except OverflowError:
        raise InvalidRequest("A perceptual hash is a whole number of 64 bits, from 0 to 2^64 - 1.") from None
    left = np.arange(len(values))  # in no group yet, with their hashes
    groups = []
    while left.size:
        group, found = [int(left[0])], [values[0]]
        left, values = left[1:], values[1:]
        for value in found:  # grows while it is walked
            near = np.bitwise_count(values ^ value) <= threshold
            if near.any():
                group.extend(left[near].tolist())
                found.extend(values[near])
                left, values = left[~near], values[~near]
        if len(group) > 1:
            groups.append(tuple(sorted(group)))
    return groups


class AsAsked(NamedTuple):
    """None: nothing was asked, so there is nothing to say."""

    size: bool | None
    aspect: bool | None


def size_as_asked(asked: tuple[int, int] | None, got: tuple[int, int]) -> AsAsked:
    """Whether a picture of `got` (width, height) has the size, and the aspect ratio, that was `asked` for.

    The aspect is as asked within 3 %, which is what rounding to blocks of pixels takes. For a request that names only
    a ratio, ask for (16, 9) and read `aspect`.
    """
    if asked is None:
        return AsAsked(None, None)
    width, height = asked
    off = math.log(got[0] / got[1]) - math.log(width / height)
    return AsAsked(asked == got, abs(off) <= math.log1p(ASPECT_TOLERANCE))
