"""Pictures to learn from: one to three things on a coloured background, put together from renders.

A `Scene` is a frozen record of what is where; both the picture (`paint`) and the words (`captions.caption`) are made
from it. Scene number `index` of a seed is the same on every machine and in any order.

**Held-out compositions.** A thing on a colour (`held_out_colour`) and two things in a relation (`held_out_pair`) are
held out by a hash of what they are, one in ten each. Training never sees them; evaluation asks for nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.errors import DiptychError
from diptych.training.data import COLOURS
from diptych.training.library import Library

HELD_OUT = 10
"""One composition in so many is held out."""
RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
KINDS = {"one": 0.56, "several": 0.16, "pair": 0.21, "several and one": 0.07}
"""What scenes are of, and how often: one thing, two or three of it, two things, two of one thing and another."""
BACKGROUNDS = {"plain": 0.5, "gradient": 0.18, "glow": 0.14, "texture": 0.18}
SMALLEST = 0.35
"""Of the picture's side: no thing is smaller."""
TRIES = 2000
"""Draws for a scene that is held out, or is not; a tenth of all compositions are."""
COLOUR_NOISE = 0.015
"""Standard deviation of a background's colour around the named one, of a range of 1."""
_PALETTE = {name: np.array(rgb, np.float32) / 255 for name, rgb in COLOURS.items()}


@dataclass(frozen=True)
class Group:
    """So many of one thing, all looking alike."""

    thing: int
    """Index in `Library.things`."""
    look: int
    """Index in `Library.looks[thing]`."""
    count: int = 1
    size: str | None = None
    """"small" or "big" where the thing is that, alone in its picture."""


@dataclass(frozen=True)
class Placed:
    """One thing in the picture. Lengths are fractions of the picture's side."""

    group: int
    x: float
    """Centre of what is seen of it; from the left."""
    y: float
    """From the top."""
    size: float
    """The longer side of what is seen of it."""
    mirrored: bool
    turn: float
    """Degrees, anticlockwise."""


@dataclass(frozen=True)
class Background:
    colour: str
    """A name in `data.COLOURS`."""
    kind: str
    """plain, gradient (from one side to the other), glow (lighter in the middle) or texture (soft clouds)."""
    rgb: tuple[float, float, float]
    """0..1: the named colour, a little off."""
    strength: float
    """Of what the kind adds, 0..1."""
    angle: float
    """Of a gradient, radians."""
    grain: int
    """Seed of a texture."""


@dataclass(frozen=True)
class Scene:
    groups: tuple[Group, ...]
    relation: str | None
    """Of the first group to the second: one of RELATIONS."""
    placed: tuple[Placed, ...]
    """In the order of painting."""
    background: Background
    light: float
    """Where shadows fall: offset to the right, as a fraction of the side."""

    @property
    def count(self) -> int:
        """How many things there are in all."""
        return len(self.placed)


@dataclass(frozen=True)
class Batch:
    pictures: NDArray[np.uint8]
    """(B, size, size, 3), RGB."""
    scenes: tuple[Scene, ...]

    def normalised(self) -> NDArray[np.float32]:
        """As networks want it: (B, 3, size, size) in -1..1."""
        return np.ascontiguousarray(self.pictures.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


@cache
def _held_out(composition: str) -> bool:
    return int.from_bytes(hashlib.blake2b(composition.encode(), digest_size=8).digest()) % HELD_OUT == 0


def held_out_colour(library: Library, thing: int, colour: str) -> bool:
    """Whether this thing is never shown on this colour in training; whatever else is in the picture."""
    return _held_out(f"{library.things[thing].key} on {colour}")


def held_out_pair(library: Library, first: int, relation: str, second: int) -> bool:
    """Whether training never shows these two things so. "a left of b" and "b right of a" are one composition."""
    if relation in ("right of", "below"):
        first, relation, second = second, OPPOSITE[relation], first
    return _held_out(f"{library.things[first].key} {relation} {library.things[second].key}")


def is_held_out(library: Library, scene: Scene) -> bool:
    """Whether any composition in the scene is held out."""
    colour = scene.background.colour
    if any(held_out_colour(library, group.thing, colour) for group in scene.groups):
        return True
    return scene.relation is not None and held_out_pair(
        library, scene.groups[0].thing, scene.relation, scene.groups[1].thing
    )


@dataclass(frozen=True)
class Maker:
    """Makes the scenes of a seed, and pictures of them.

    held_out: False for training, whose scenes hold no held-out composition; True for evaluation: a scene of one kind
    of thing is on a colour that is held out for it, a scene of two things has them in a relation that is held out.
    """

    library: Library
    seed: int
    held_out: bool = False
    kind: str | None = None
    """Only scenes of this kind, one of KINDS."""
    things: tuple[int, ...] | None = None
    """Only these things."""

    def scene(self, index: int) -> Scene:
        """Scene number `index`, always the same. Raises DiptychError when so few things have no such scene."""
        rng = np.random.default_rng((self.seed, index))
        kind = self.kind or _choose(rng, KINDS)
        for _ in range(TRIES):
            first = self._thing(rng)
            things: tuple[int, ...] = (first,)
            relation = None
            if kind in ("pair", "several and one"):
                second = self._thing(rng)
                things, relation = (first, second), str(rng.choice(RELATIONS))
                if second == first or held_out_pair(self.library, first, relation, second) != self.held_out:
                    continue
            colour = self._colour(rng, things)
            if colour is not None:
                return self._arrange(rng, kind, things, relation, colour)
        sort = "held-out" if self.held_out else "training"
        among = len(self.library.things if self.things is None else self.things)
        raise DiptychError(f"There is no {sort} scene of the kind {kind!r} among {among} things; more things have one.")

    def scenes(self, first: int, count: int) -> tuple[Scene, ...]:
        return tuple(self.scene(i) for i in range(first, first + count))

    def batch(self, first: int, count: int, size: int) -> Batch:
        """Scenes `first` to `first + count - 1`, painted at `size` x `size`."""
        scenes = self.scenes(first, count)
        return Batch(np.stack([paint(scene, self.library, size) for scene in scenes]), scenes)

    def batches(self, first: int, count: int, size: int) -> Iterator[Batch]:
        """Batches without end, from scene `first` on."""
        while True:
            yield self.batch(first, count, size)
            first += count

    def _thing(self, rng: np.random.Generator) -> int:
        if self.things is not None:
            return self.things[int(rng.integers(len(self.things)))]
        return int(rng.integers(len(self.library.things)))

    def _colour(self, rng: np.random.Generator, things: Sequence[int]) -> str | None:
        """A colour that may be behind these things; None when there is none."""
        only = self.held_out and len(things) == 1
        fitting = [
            colour
            for colour in COLOURS
            if (held_out_colour(self.library, things[0], colour) if only else self._shown(things, colour))
        ]
        return str(rng.choice(fitting)) if fitting else None

    def _shown(self, things: Sequence[int], colour: str) -> bool:
        return self.held_out or not any(held_out_colour(self.library, thing, colour) for thing in things)

    def _arrange(
        self, rng: np.random.Generator, kind: str, things: tuple[int, ...], relation: str | None, colour: str
    ) -> Scene:
        looks = [self._look(rng, thing) for thing in things]
        several = int(rng.integers(2, 4)) if kind == "several" else 2 if kind == "several and one" else 1
        groups = [
            Group(thing, look, several if i == 0 else 1)
            for i, (thing, look) in enumerate(zip(things, looks, strict=True))
        ]
        if kind == "one":
            size, word = _alone(rng)
            groups[0] = replace(groups[0], size=word)
            middle = 0.5 + rng.normal(0, 0.2, 2).clip(-0.5, 0.5) * (1 - size)
            spots = [(0, float(middle[0]), float(middle[1]))]
        else:
            size = float(
                rng.uniform(0.38, 0.44) if len(things) + several > 3 or several == 3 else rng.uniform(0.42, 0.5)
            )
            spots = _several(rng, several, size) if relation is None else _related(relation, several)
        mirrored = bool(rng.random() < 0.5)
        placed = []
        for group, x, y in spots:
            own = size if kind == "one" else max(SMALLEST, size * float(rng.uniform(0.94, 1.06)))
            dx, dy = rng.normal(0, 0.012, 2) if kind != "one" else (0.0, 0.0)
            inside = (own / 2, 1 - own / 2)
            placed.append(
                Placed(
                    group,
                    round(float(np.clip(x + dx, *inside)), 4),
                    round(float(np.clip(y + dy, *inside)), 4),
                    round(own, 4),
                    mirrored if group == 0 else not mirrored,
                    round(float(np.clip(rng.normal(0, 5), -12, 12)), 2),
                )
            )
        return Scene(tuple(groups), relation, tuple(placed), _background(rng, colour), float(rng.uniform(-0.03, 0.03)))

    def _look(self, rng: np.random.Generator, thing: int) -> int:
        """The thing as it is, mostly: what is not said of it can then be taken for granted."""
        looks = self.library.looks[thing]
        return int(rng.integers(1, len(looks))) if len(looks) > 1 and rng.random() < 0.5 else 0


def _choose(rng: np.random.Generator, weights: dict[str, float]) -> str:
    return list(weights)[int(np.searchsorted(np.cumsum(list(weights.values())), rng.random() * sum(weights.values())))]


def _alone(rng: np.random.Generator) -> tuple[float, str | None]:
    chance = rng.random()
    if chance < 0.08:
        return float(rng.uniform(SMALLEST, 0.45)), "small"
    if chance < 0.16:
        return float(rng.uniform(0.87, 0.95)), "big"
    return float(rng.uniform(0.6, 0.85)), None


def _several(rng: np.random.Generator, count: int, size: float) -> list[tuple[int, float, float]]:
    """Two side by side or one above the other; three in a triangle or in a diagonal row."""
    if count == 2:
        across = [(0, 0.27, 0.5), (0, 0.73, 0.5)]
        return across if rng.random() < 0.7 else [(0, y, x) for _, x, y in across]
    if rng.random() < 0.8:
        top = float(rng.choice([0.27, 0.73]))
        return [(0, 0.5, top), (0, 0.26, 1 - top), (0, 0.74, 1 - top)]
    slope = float(rng.choice([-1, 1])) * 0.24
    return [(0, 0.2, 0.5 - slope), (0, 0.5, 0.5), (0, 0.8, 0.5 + slope)]


def _related(relation: str, several: int) -> list[tuple[int, float, float]]:
    """The first group to the left, two of it one above the other; turned to whatever the relation is."""
    near = [(0, 0.26, 0.5)] if several == 1 else [(0, 0.26, 0.27), (0, 0.26, 0.73)]
    spots = [*near, (1, 0.74, 0.5)]
    if relation in ("right of", "below"):
        spots = [(group, 1 - x, y) for group, x, y in spots]
    if relation in ("above", "below"):
        spots = [(group, y, x) for group, x, y in spots]
    return spots


def _background(rng: np.random.Generator, colour: str) -> Background:
    rgb = (_PALETTE[colour] + rng.normal(0, COLOUR_NOISE, 3)).clip(0, 1)
    return Background(
        colour,
        _choose(rng, BACKGROUNDS),
        (round(float(rgb[0]), 4), round(float(rgb[1]), 4), round(float(rgb[2]), 4)),
        round(float(rng.uniform(0.5, 1)), 3),
        round(float(rng.uniform(0, 2 * np.pi)), 3),
        int(rng.integers(2**31)),
    )


def paint(scene: Scene, library: Library, size: int) -> NDArray[np.uint8]:
    """The picture of a scene, (size, size, 3) RGB. One thread, no global state: a millisecond or so."""
    quarter = max(8, size // 4)
    shadow = np.zeros((quarter, quarter), np.float32)
    layers = []
    for placed in scene.placed:
        group = scene.groups[placed.group]
        render = library.looks[group.thing][group.look].render
        layers.append(_draw(library, render, placed, size))
        flat = replace(placed, x=placed.x + scene.light, y=placed.y + 0.035 * placed.size + 0.012)
        drawn, (x, y) = _draw(library, render, flat, quarter)
        spot = shadow[y : y + drawn.shape[0], x : x + drawn.shape[1]]
        np.maximum(spot, drawn[..., 3], out=spot)
    blurred: NDArray[Any] = cv2.GaussianBlur(shadow, (0, 0), 0.03 * quarter)
    shade = cv2.resize(1 - blurred * (0.38 / 255), (size, size), interpolation=cv2.INTER_LINEAR)
    canvas = _paint_background(scene.background, size)
    canvas *= shade[..., None]
    for drawn, (x, y) in layers:
        spot = canvas[y : y + drawn.shape[0], x : x + drawn.shape[1]]
        spot *= 1 - drawn[..., 3:].astype(np.float32) * (1 / 255)
        spot += drawn[..., :3]
    return (canvas + 0.5).clip(0, 255).astype(np.uint8)


def _draw(library: Library, render: int, placed: Placed, size: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The render as it is placed, premultiplied RGBA, and where its top left corner is in a picture of `size`."""
    cx, cy, width, height = library.boxes[render]
    length = placed.size * size / max(width, height)  # of the render's whole side, in pixels of the picture
    level = next((r for r in reversed(library.levels) if r.shape[1] >= 0.9 * length), library.levels[0])
    side = level.shape[1]
    scale = length / side
    angle = np.deg2rad(placed.turn)
    cos, sin = scale * float(np.cos(angle)), scale * float(np.sin(angle))
    flip = -1.0 if placed.mirrored else 1.0
    # What is seen, turned, fits into this square; it is cut where the picture ends.
    half = int(np.ceil(0.5 * placed.size * size * (abs(cos) + abs(sin)) / scale)) + 1
    left, top = round(placed.x * size) - half, round(placed.y * size) - half
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(size, left + 2 * half), min(size, top + 2 * half)
    matrix = np.array([[flip * cos, sin, 0], [-flip * sin, cos, 0]])
    centre = np.array([cx * side - 0.5, cy * side - 0.5])
    matrix[:, 2] = np.array([placed.x * size - 0.5 - x0, placed.y * size - 0.5 - y0]) - matrix[:, :2] @ centre
    drawn = cv2.warpAffine(level[render], matrix, (max(1, x1 - x0), max(1, y1 - y0)), flags=cv2.INTER_LINEAR)
    return drawn, (x0, y0)  # type: ignore[return-value]


def _paint_background(background: Background, size: int) -> NDArray[np.float32]:
    """(size, size, 3), 0..255."""
    colour = np.array(background.rgb, np.float32) * 255
    if background.kind == "plain":
        return np.broadcast_to(colour, (size, size, 3)).copy()
    grid = np.linspace(-1, 1, 16, dtype=np.float32)
    shade: NDArray[Any]
    if background.kind == "gradient":
        shade = (grid[None] * np.cos(background.angle) + grid[:, None] * np.sin(background.angle)) * 0.13
    elif background.kind == "glow":
        shade = 0.12 - 0.22 * (grid[None] ** 2 + grid[:, None] ** 2) / 2
    else:
        coarse = np.random.default_rng(background.grain).normal(0, 1, (6, 6)).astype(np.float32)
        shade = _resize(coarse, 16) * 0.055
    lightness = (shade * background.strength).astype(np.float32)[..., None]
    # Lighter is nearer to white, darker nearer to black: the colour keeps its name.
    small: NDArray[Any] = colour + np.maximum(lightness, 0) * (255 - colour) + np.minimum(lightness, 0) * colour
    return _resize(small.astype(np.float32), size)


def _resize(values: NDArray[Any], size: int) -> NDArray[np.float32]:
    resized: NDArray[Any] = cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)
    return resized.astype(np.float32, copy=False)
