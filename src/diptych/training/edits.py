"""Pictures with words, and pairs of pictures that differ in one respect with the words that ask for the difference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diptych.training.captions import RELATION_WORDS, caption, noun
from diptych.training.data import COLOURS
from diptych.training.grammar import article
from diptych.training.library import Library
from diptych.training.scenes import OPPOSITE, Group, Maker, Scene, is_held_out, paint

KINDS = {"background": 0.34, "replace": 0.32, "add": 0.17, "remove": 0.17}
BACKGROUND = (
    "make the background {colour}",
    "change the background to {colour}",
    "{a} {colour} background",
    "{colour} background instead",
    "put it on {a} {colour} background",
    "turn the background {colour}",
)
REPLACE = (
    "replace {the_old} with {new}",
    "turn {the_old} into {new}",
    "swap {the_old} for {new}",
    "change {the_old} to {new}",
    "make it {new} instead of {the_old}",
)
ADD = ("add {new}", "put {new} there too", "with {new} as well", "add {new} {relation} {the_old}")
REMOVE = ("remove {the_old}", "take {the_old} away", "take away {the_old}", "delete {the_old}", "without {the_old}")
WAYS = 3
"""Wordings of each caption and instruction that are kept."""
LIKELY = 2**40
"""Scenes are numbered up to this."""


@dataclass(frozen=True)
class Shown:
    """A picture and what can be said of it."""

    picture: NDArray[np.uint8]
    """(size, size, 3)."""
    captions: tuple[str, ...]
    """Several ways of asking for it."""
    description: str
    """What a person who sees it would say, in a few words."""


@dataclass(frozen=True)
class Edited:
    """Two pictures that differ in one respect."""

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    instructions: tuple[str, ...]
    """Several ways of asking for the difference."""


@dataclass(frozen=True)
class Scenes:
    """Scenes of `maker` as the token network learns them. Held-out compositions are in none of them."""

    maker: Maker

    def show(self, rng: np.random.Generator, size: int) -> Shown:
        scene = self._scene(rng, self.maker)
        library = self.maker.library
        ways = tuple(caption(scene, library, rng) for _ in range(WAYS))
        return Shown(paint(scene, library, size), (*ways, said := described(scene, library, rng)), said)

    def edit(self, rng: np.random.Generator, size: int) -> Edited:
        while True:
            before, after, instructions = self.change(rng)
            if not is_held_out(self.maker.library, before) and not is_held_out(self.maker.library, after):
                break
        library = self.maker.library
        return Edited(paint(before, library, size), paint(after, library, size), instructions)

    def change(self, rng: np.random.Generator) -> tuple[Scene, Scene, tuple[str, ...]]:
        """A scene, the same with one thing changed, and ways of asking for that."""
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        if kind == "background":
            return self._background(rng)
        if kind == "replace":
            return self._replaced(rng)
        whole = self._scene(rng, replace(self.maker, kind="pair"))
        kept = int(rng.integers(2))
        alone = _without(whole, 1 - kept)
        if kind == "add":
            return alone, whole, self._added(rng, whole, 1 - kept)
        gone = self._nouns(rng, whole.groups[1 - kept])
        return whole, alone, tuple(str(rng.choice(REMOVE)).format(the_old=_the(old)) for old in gone)

    def _background(self, rng: np.random.Generator) -> tuple[Scene, Scene, tuple[str, ...]]:
        before = self._scene(rng, self.maker)
        colour = str(rng.choice([c for c in COLOURS if c != before.background.colour]))
        rgb = (np.array(COLOURS[colour]) / 255 + rng.normal(0, 0.015, 3)).clip(0, 1)
        background = replace(before.background, colour=colour, rgb=(float(rgb[0]), float(rgb[1]), float(rgb[2])))
        ways = tuple(str(rng.choice(BACKGROUND)).format(a=article(colour), colour=colour) for _ in range(WAYS))
        return before, replace(before, background=background), ways

    def _replaced(self, rng: np.random.Generator) -> tuple[Scene, Scene, tuple[str, ...]]:
        before = self._scene(rng, self.maker)
        index = int(rng.integers(len(before.groups)))
        old = before.groups[index]
        taken = {group.thing for group in before.groups}
        while (thing := int(rng.integers(len(self.maker.library.things)))) in taken:
            pass
        new = Group(thing, 0, old.count)
        groups = tuple(new if i == index else group for i, group in enumerate(before.groups))
        names = zip(self._nouns(rng, old), self._nouns(rng, new), strict=True)
        ways = tuple(str(rng.choice(REPLACE)).format(the_old=_the(a), new=b) for a, b in names)
        return before, replace(before, groups=groups), ways

    def _added(self, rng: np.random.Generator, whole: Scene, index: int) -> tuple[str, ...]:
        assert whole.relation is not None
        relation = whole.relation if index == 0 else OPPOSITE[whole.relation]
        ways = []
        new, old = (self._nouns(rng, whole.groups[i]) for i in (index, 1 - index))
        for a, b in zip(new, old, strict=True):
            words = str(rng.choice(RELATION_WORDS[relation]))
            ways.append(str(rng.choice(ADD)).format(new=a, the_old=_the(b), relation=words))
        return tuple(ways)

    def _nouns(self, rng: np.random.Generator, group: Group) -> list[str]:
        return [noun(replace(group, size=None), self.maker.library, rng) for _ in range(WAYS)]

    def _scene(self, rng: np.random.Generator, maker: Maker) -> Scene:
        return maker.scene(int(rng.integers(LIKELY)))


def described(scene: Scene, library: Library, rng: np.random.Generator) -> str:
    """Things by their first names, counts, relation and background: always in the same few words."""
    return caption(scene, library, rng, complete=True)


def _without(scene: Scene, gone: int) -> Scene:
    """A scene of two groups with one of them taken away; the other stays where it is."""
    placed = tuple(replace(p, group=0) for p in scene.placed if p.group != gone)
    return replace(scene, groups=(scene.groups[1 - gone],), relation=None, placed=placed)


def _the(words: str) -> str:
    """ "a red apple" to "the red apple", "two keys" to "the two keys"."""
    first, _, rest = words.partition(" ")
    return f"the {rest}" if first in ("a", "an") and rest else f"the {words}"
