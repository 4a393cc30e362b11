"""Marks of a maker in a corner: a star, a logo, a name. They survive every encoding and tell a model at a glance.

What is in the same place in pictures of different prompts is not of the prompt. Of each picture the fine structure is
taken (brightness less its own blur); in a small square the products of two pictures of different prompts average to
nothing where they have nothing to do with each other, and to their whole energy where both hold the same mark:

    likeness = mean over such pairs of <a, b>, over the mean energy of the pictures there

between 0 and 1. Measured on five photographs and on 24 pictures of two drawing models, of three or four prompts: at
most 0.31 in a corner without a mark; with a white star, a twentieth of the side wide, 0.8 and more on calm ground, and
on photographs 0.66 where it is half transparent, 0.42 where it is a quarter white, which is missed.

What this cannot see: marks elsewhere than in a corner, faint ones on rich ground, marks that move, and those that are
meant for machines. With fewer than three prompts it says nothing. A mark in the middle of an edge, or of a person's own
knowing, is told with `--watermarked`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from diptych.errors import BadPicture, StoreError
from diptych.measure.decode import decode
from diptych.studies.results import Results, SampleRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from diptych.store.pictures import Pictures

FEWEST_PROMPTS = 3
MOST_PICTURES = 12
"""Looked at of each model, evenly over the prompts."""
SIDE = 512
"""Pixels of the shorter side that a picture is reduced to for this; a mark is reduced alike in all of them."""
CORNER = 1 / 5
"""Of the shorter side."""
SQUARE = 1 / 16
"""Of the shorter side: what products are averaged over, about as large as a mark."""
BLUR = 1 / 64
LIKE = 0.45
"""From here on it is a mark."""
ABOVE = 0.1
"""And by so much more alike than 99 % of the rest of the picture is: some models put everything in one place."""
NOISE = 1.0
"""Levels of 255, squared, that are added to the energy: in flat ground the last bits of all pictures may be alike."""

CORNERS = ("top left", "top right", "bottom left", "bottom right")


def find(results: Results, pictures: Pictures) -> dict[str, tuple[str, ...]]:
    """Labels of the models with what looks like a mark, and in which corners. What cannot be read is left out."""
    found = {}
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for row in results.contestants:
            chosen = _chosen([sample for sample in results.samples if sample.contestant_id == row.id])
            opened = pool.map(lambda sample: _open(sample, pictures), chosen)
            by_prompt: dict[int, list[Image]] = {}
            for sample, image in zip(chosen, opened, strict=True):
                if image is not None:
                    by_prompt.setdefault(sample.prompt_id, []).append(image)
            corners = marked_corners(by_prompt)
            if corners:
                found[row.label] = corners
    return found


def marked_corners(by_prompt: Mapping[int, Sequence[Image]]) -> tuple[str, ...]:
    """Corners in which pictures of different prompts are alike. Only those of the most frequent shape are looked at."""
    import cv2
    import numpy as np

    shapes = [image.size for images in by_prompt.values() for image in images]
    if not shapes:
        return ()
    shape = max(dict.fromkeys(shapes), key=shapes.count)
    stacks = [
        np.stack([_fine(image) for image in same])
        for images in by_prompt.values()
        if (same := [image for image in images if image.size == shape])
    ]
    if len(stacks) < FEWEST_PROMPTS:
        return ()
    numbers = [len(stack) for stack in stacks]
    count = sum(numbers)
    pairs = count**2 - sum(number**2 for number in numbers)  # ordered, of different prompts
    sums = [stack.sum(axis=0) for stack in stacks]
    products = (sum(sums) ** 2 - sum(each**2 for each in sums)) / pairs
    energy = sum((stack**2).sum(axis=0) for stack in stacks) / count

    height, width = products.shape
    side = max(8, round(min(height, width) * SQUARE))

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_ISOLATED)  # type: ignore[return-value]

    alike = mean(products) / (mean(energy) + NOISE)
    places = dict(zip(CORNERS, _corners(height, width), strict=True))
    rest = np.ones_like(alike, dtype=bool)
    for place in places.values():
        rest[place] = False
    needed = max(LIKE, float(np.quantile(alike[rest], 0.99)) + ABOVE)
    return tuple(name for name, place in places.items() if alike[place].max() >= needed)


def _corners(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    size = round(min(height, width) * CORNER)
    yield from itertools.product(
        (slice(0, size), slice(height - size, height)), (slice(0, size), slice(width - size, width))
    )


def _fine(image: Image) -> NDArray[np.float32]:
    """Brightness less its blur; the outermost pixels, where encoders leave lines of their own, are nothing."""
    import cv2
    import numpy as np

    scale = min(1.0, SIDE / min(image.size))
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), reducing_gap=2.0)
    bright = np.asarray(image.convert("L"), np.float32)
    fine = bright - cv2.GaussianBlur(bright, (0, 0), max(2.0, min(bright.shape) * BLUR))
    fine[:2] = fine[-2:] = 0
    fine[:, :2] = fine[:, -2:] = 0
    return fine


def _chosen(samples: Sequence[SampleRow]) -> list[SampleRow]:
    """Of each prompt the first, then of each the second, and so on."""
    done = [sample for sample in samples if sample.state == "done" and sample.picture is not None]
    return sorted(done, key=lambda sample: sample.number)[:MOST_PICTURES]


def _open(sample: SampleRow, pictures: Pictures) -> Image | None:
    try:
        return decode(pictures.get(sample.picture or ""))[0]
    except (StoreError, BadPicture):
        return None
