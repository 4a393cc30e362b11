"""What people might say of a scene: long and short, in full sentences and in single words, all of it or parts of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.training.data import COLOURS, OTHER_WORDS, SCENES
from diptych.training.grammar import article, bare_plural, countable, counted
from diptych.training.library import Library
from diptych.training.scenes import OPPOSITE, Group, Scene

COLOUR_WORDS = frozenset(COLOURS) | {"gold", "golden", "grey", "silver", "dark", "light"}
"""A name that holds one of these says its colour itself."""
RELATION_WORDS = {
    "left of": ("left of", "left of", "to the left of", "on the left of", "next to", "beside"),
    "right of": ("right of", "right of", "to the right of", "on the right of", "next to", "beside"),
    "above": ("above", "above", "over"),
    "below": ("below", "below", "under", "beneath"),
}
SIDES = {"left of": ("on the left", "on the right"), "above": ("at the top", "at the bottom")}
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "big": ("big", "big", "large", "huge")}
ON_COLOUR = (
    "{what} on {a_colour} background",
    "{what} on {a_colour} background",
    "{what} on {colour}",
    "{what}, {colour} background",
    "{what} with {a_colour} background",
    "{colour} background, {what}",
    "{what} in front of {a_colour} wall",
    "{what} against {colour}",
)
ON_KIND = {
    "plain": ("{what} on a plain {colour} background", "{what}, plain {colour} background"),
    "gradient": ("{what} on {a_colour} gradient", "{what} on {a_colour} gradient background"),
    "glow": ("{what} on a glowing {colour} background", "{what} in front of {a_colour} glow"),
    "texture": ("{what} on a textured {colour} background", "{what} on a cloudy {colour} background"),
}
LONG = (
    "a picture of {what}, high quality, soft light, {colour} background",
    "a cute 3d render of {what} with soft studio light and {a_colour} background",
    "{colour} background, a detailed icon of {what}, soft shadow, smooth plastic",
    "please draw {what} for me, and the background should be {colour}",
    "i would like a picture that shows {what} on {a_colour} background",
)
PREFIXES = ("a picture of ", "a photo of ", "an icon of ", "a 3d render of ", "a drawing of ", "an image of ", "draw ")
PREFIX_RATE = 0.12
SILENT_BACKGROUND = 0.22
"""How often the background goes without saying, where the scene is not said in a single word anyway."""
SINGLE_WORD = 0.12
"""How often one thing alone is named and nothing else is said."""
FIRST_NAME = 0.55
"""How often a thing goes by its first name rather than by any of its names."""
LONG_RATE = 0.06
LONGEST = 26
"""Words that a caption has at most."""


def caption(scene: Scene, library: Library, rng: np.random.Generator, *, complete: bool = False) -> str:
    """One way of saying `scene`; another one with every call.

    complete: say things, counts, relation and background colour, in plain words: what an evaluation asks for.
    """
    while True:
        said = _complete(scene, library, rng) if complete else _casual(scene, library, rng)
        if len(said.split()) <= LONGEST:
            return said


def captions(scenes: Sequence[Scene], library: Library, rng: np.random.Generator) -> list[str]:
    """One caption for each scene."""
    return [caption(scene, library, rng) for scene in scenes]


def noun(
    group: Group, library: Library, rng: np.random.Generator, *, first_name: bool = False, count_said: bool = True
) -> str:
    """A group in words: "two small lemons", "a woman with dark skin", "a blue car".

    first_name: by its first name only, and without the colour that it always has.
    """
    thing, look = library.things[group.thing], library.looks[group.thing][group.look]
    names = [n for n in thing.names if (countable(n) or group.count == 1)] or list(thing.names)
    own_colour = [n for n in names if COLOUR_WORDS.isdisjoint(n.replace("-", " ").split())]
    if look.dyed:
        names = own_colour or names[:1]
    name = names[0] if first_name or rng.random() < FIRST_NAME else str(rng.choice(names))
    words = []
    if group.size is not None and rng.random() < 0.85:
        words.append(str(rng.choice(SIZE_WORDS[group.size])))
    if look.colour is not None and name in own_colour and (look.dyed or (not first_name and rng.random() < 0.15)):
        words.append(look.colour)
    after = ""
    if look.tone is not None:
        if rng.random() < 0.5:
            words.append(f"{look.tone}-skinned")
        else:
            after = f" with {look.tone} skin"
    if group.count > 1 and not count_said:
        return f"{' '.join(words)} {bare_plural(name)}".strip() + after
    return counted(name, group.count, " ".join(words)) + after


def _complete(scene: Scene, library: Library, rng: np.random.Generator) -> str:
    nouns = [noun(group, library, rng, first_name=True) for group in scene.groups]
    what = nouns[0] if scene.relation is None else f"{nouns[0]} {scene.relation} {nouns[1]}"
    colour = scene.background.colour
    return f"{what} on {article(colour)} {colour} background"


def _casual(scene: Scene, library: Library, rng: np.random.Generator) -> str:
    if scene.count == 1 and rng.random() < SINGLE_WORD:
        return _single(scene, library, rng)
    what = _things(scene, library, rng)
    colour = scene.background.colour
    word = str(rng.choice(OTHER_WORDS[colour])) if colour in OTHER_WORDS and rng.random() < 0.15 else colour
    if rng.random() < LONG_RATE:
        return str(rng.choice(LONG)).format(what=what, colour=word, a_colour=f"{article(word)} {word}")
    chance = rng.random()
    if chance < SILENT_BACKGROUND:
        said = what
    elif chance < SILENT_BACKGROUND + 0.1 and colour in SCENES:
        said = f"{what} {rng.choice(SCENES[colour])}"
    else:
        frames = ON_KIND[scene.background.kind] if rng.random() < 0.15 else ON_COLOUR
        said = str(rng.choice(frames)).format(what=what, colour=word, a_colour=f"{article(word)} {word}")
    if said.startswith(what) and rng.random() < PREFIX_RATE:
        said = str(rng.choice(PREFIXES)) + said
    return said + "." if rng.random() < 0.05 else said


def _single(scene: Scene, library: Library, rng: np.random.Generator) -> str:
    """A name alone, or with a word for the background: "fox", "fox, blue". A colour or tone not its own is said."""
    group = scene.groups[0]
    look = library.looks[group.thing][group.look]
    names = library.things[group.thing].names
    if look.dyed or look.tone is not None:
        return noun(group, library, rng)
    name = names[0] if rng.random() < FIRST_NAME else str(rng.choice(names))
    return f"{name}, {scene.background.colour}" if rng.random() < 0.25 else name


def _things(scene: Scene, library: Library, rng: np.random.Generator) -> str:
    """All groups, with their relation mostly."""
    count_said = rng.random() < 0.93
    nouns = [noun(group, library, rng, count_said=count_said) for group in scene.groups]
    if scene.relation is None:
        return nouns[0]
    first, second, relation = *nouns, scene.relation
    if rng.random() < 0.5:
        first, second, relation = second, first, OPPOSITE[relation]
    chance = rng.random()
    if chance < 0.12:
        return f"{first} and {second}"
    if chance < 0.3:
        if relation not in SIDES:
            first, second, relation = second, first, OPPOSITE[relation]
        here, there = SIDES[relation]
        return f"{first} {here} and {second} {there}" if rng.random() < 0.7 else f"{here} {first}, {there} {second}"
    return f"{first} {rng.choice(RELATION_WORDS[relation])} {second}"
