"""Every thing as it can be shown: renders in memory, the looks of each thing, and what colour each look has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.training.data import TONES, Thing, load_renders, read_things

SOURCE_SIZE = 256
"""Of the renders as they are published."""
HUES = {"red": 350, "orange": 32, "yellow": 50, "green": 118, "blue": 214, "purple": 268, "pink": 318}
"""In degrees: what a dyed thing's own hue is turned to."""
NEAR = 38.0
"""Degrees around a thing's own hue that are dyed with it; windows and wheels stay as they are."""
DOMINANT = 0.44
"""A render has a colour when at least this part of what is seen of it has that colour, and no other as much."""


@dataclass(frozen=True)
class Look:
    """One way to show a thing."""

    render: int
    """Row in `Library.renders`."""
    tone: str | None = None
    """Skin tone, one of TONES; None for the data's own yellow and for what has no skin."""
    colour: str | None = None
    """The render's dominant colour as computed, or None when it has none."""
    dyed: bool = False


@dataclass(frozen=True)
class Library:
    things: tuple[Thing, ...]
    looks: tuple[tuple[Look, ...], ...]
    """Of each thing; the first is the render as it is."""
    renders: NDArray[np.uint8]
    """Premultiplied RGBA, (R, size, size, 4)."""
    boxes: NDArray[np.float32]
    """What is not empty of each render: centre x, centre y, width, height as fractions of its side, (R, 4)."""

    @cached_property
    def levels(self) -> tuple[NDArray[np.uint8], ...]:
        """The renders, halved again and again down to 32 pixels: smaller things are drawn from smaller ones."""
        levels = [self.renders]
        while levels[-1].shape[1] > 32:
            half = levels[-1].shape[1] // 2
            levels.append(np.stack([cv2.resize(r, (half, half), interpolation=cv2.INTER_AREA) for r in levels[-1]]))
        return tuple(levels)

    def index(self, name: str) -> int:
        """Which thing is called that. Raises KeyError."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: i for i, thing in reversed(list(enumerate(self.things))) for name in reversed(thing.names)}


def load_library(source: Path, *, listing: str | None = None, size: int = SOURCE_SIZE) -> Library:
    """The things of ``things.txt`` (or of `listing`), their renders at `size`, skin tones and dyed looks included.

    source: the folder that `data.fetch` filled, or the archive that `data.pack` made. For pictures of 128 pixels,
    renders of 128 do and need a quarter of the memory. Raises DiptychError as `data.read_things` does.
    """
    things = read_things(source, listing)
    files = [name for thing in things for name in (thing.render, *thing.tones)]
    renders = list(load_renders(source, files, size))
    looks: list[tuple[Look, ...]] = []
    row = 0
    for thing in things:
        base = Look(row, colour=dominant_colour(renders[row]))
        shown = [base, *(Look(row + 1 + i, tone=TONES[i]) for i in range(len(thing.tones)))]
        row += 1 + len(thing.tones)
        if thing.dyed:
            for colour, hue in HUES.items():
                small = dye(renders[base.render][::4, ::4], hue)
                if colour != base.colour and dominant_colour(small) == colour:
                    shown.append(Look(len(renders), colour=colour, dyed=True))
                    renders.append(dye(renders[base.render], hue))
        looks.append(tuple(shown))
    stacked = np.stack(renders)
    return Library(tuple(things), tuple(looks), stacked, np.stack([_box(r) for r in stacked]))


def subset(library: Library, names: Sequence[str]) -> list[int]:
    """Indices of the things with one of these names, in the library's order; names it lacks are left out."""
    wanted = set(names)
    return [i for i, thing in enumerate(library.things) if wanted.intersection(thing.names)]


def dominant_colour(render: NDArray[np.uint8]) -> str | None:
    """The named colour that most of a premultiplied render has, or None when no colour has DOMINANT of it."""
    step = max(1, render.shape[0] // 64)
    hsv, seen = _hsv(render[::step, ::step])
    hue, saturation, value = (hsv[..., i][seen] for i in range(3))
    if not len(hue):
        return None
    warm = (hue < 48) | (hue >= 330)
    violet = (hue > 220) & (hue < 300) & (saturation >= 0.2)
    kinds = (
        # What is meant to be black is a dark violet in these renders.
        ("black", (value < 0.25) | ((value < 0.5) & violet & (saturation < 0.75))),
        ("", violet & (value < 0.66)),  # black to some, violet to others
        ("white", (saturation < 0.2) & (value > 0.8)),
        ("gray", saturation < 0.2),
        ("brown", warm & (value < 0.74) & ((saturation < 0.6) | ((hue >= 10) & (hue < 48)))),
        ("", warm & (saturation < 0.5)),  # skin, sand, wood: nobody calls it orange
        ("red", (hue < 14) | (hue >= 350) | ((hue >= 328) & (saturation > 0.68))),
        ("orange", hue < 37),
        ("yellow", hue < 66),
        ("green", hue < 160),
        ("teal", hue < 188),
        ("blue", hue < 240),
        ("purple", hue < 296),
        ("pink", hue >= 296),
    )
    left = np.ones(len(hue), bool)
    shares = dict.fromkeys((name for name, _ in kinds), 0.0)
    for name, pixels in kinds:
        shares[name] += float((pixels & left).mean())
        left &= ~pixels
    best = max(shares, key=lambda name: shares[name])
    return best if best and shares[best] >= DOMINANT else None


def dye(render: NDArray[np.uint8], hue: float) -> NDArray[np.uint8]:
    """The render with its own hue, and what is near it, turned to `hue` (degrees)."""
    hsv, seen = _hsv(render)
    colourful = seen & (hsv[..., 1] > 0.3) & (hsv[..., 2] > 0.2)
    own = hsv[..., 0][colourful]
    counts, edges = np.histogram(own, bins=36, range=(0, 360))
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    peak = float(edges[int(smooth.argmax())]) + 5
    away = (hsv[..., 0] - peak + 180) % 360 - 180
    near = (np.abs(away) < NEAR) & (hsv[..., 1] > 0.12)
    # Narrower around the new hue than around the old one, or half of a yellow would be orange.
    hsv[..., 0] = np.where(near, (hue + 0.4 * away) % 360, hsv[..., 0])
    if hue == HUES["green"]:  # which glares at full saturation
        hsv[..., 1] = np.where(near, 0.8 * hsv[..., 1], hsv[..., 1])
    if hue in (HUES["yellow"], HUES["orange"]):  # which are bright or they are brown
        hsv[..., 2] = np.where(near, hsv[..., 2] ** 0.35, hsv[..., 2])
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    alpha = render[..., 3:].astype(np.float32) / 255
    premultiplied: NDArray[np.uint8] = np.concatenate([rgb * alpha * 255, alpha * 255], axis=2).round().astype(np.uint8)
    return premultiplied


def _hsv(render: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Hue (degrees), saturation and value (0..1), and where the render is solid."""
    pixels = render.astype(np.float32) / 255
    rgb = pixels[..., :3] / np.maximum(pixels[..., 3:], 1e-3)
    return cv2.cvtColor(np.clip(rgb, 0, 1), cv2.COLOR_RGB2HSV), pixels[..., 3] > 0.8  # type: ignore[return-value]


def _box(render: NDArray[np.uint8]) -> NDArray[np.float32]:
    side = render.shape[0]
    solid = render[..., 3] > 12
    if not solid.any():
        return np.array([0.5, 0.5, 1, 1], np.float32)
    x, y = np.flatnonzero(solid.any(axis=0)), np.flatnonzero(solid.any(axis=1))
    left, right, top, bottom = x[0] / side, (x[-1] + 1) / side, y[0] / side, (y[-1] + 1) / side
    return np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], np.float32)
