"""Pairs of scenes differ in the one respect that the instruction asks for, and hold no held-out composition."""

from __future__ import annotations

import re

import numpy as np
import pytest

from diptych.training.data import COLOURS, Thing
from diptych.training.edits import KINDS, Scenes
from diptych.training.library import Library, Look
from diptych.training.scenes import Maker, is_held_out

NAMES = ("apple", "ball", "box", "car", "duck", "egg", "fish", "ghost")


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """Eight squares of different greys."""
    renders = np.zeros((len(NAMES), 32, 32, 4), np.uint8)
    for i, render in enumerate(renders):
        render[4:28, 4:28] = (*[25 * i] * 3, 255)
    things = tuple(Thing((name,), f"{name}.webp") for name in NAMES)
    looks = tuple((Look(i),) for i in range(len(NAMES)))
    boxes = np.tile(np.array([0.5, 0.5, 0.75, 0.75], np.float32), (len(NAMES), 1))
    return Scenes(Maker(Library(things, looks, renders, boxes), 0))


def test_shown_pictures_come_with_several_captions(scenes: Scenes) -> None:
    shown = scenes.show(np.random.default_rng(0), 64)
    assert shown.picture.shape == (64, 64, 3)
    assert shown.description in shown.captions
    assert len(set(shown.captions)) > 1
    assert any(name in shown.description for name in NAMES)
    again = scenes.show(np.random.default_rng(0), 64)
    assert np.array_equal(shown.picture, again.picture)
    assert shown.captions == again.captions


def test_one_respect_changes_and_the_words_say_which(scenes: Scenes) -> None:
    rng = np.random.default_rng(1)
    kinds = set()
    for _ in range(200):
        before, after, instructions = scenes.change(rng)
        words = re.sub(r"[^a-z ]", "", instructions[0]).split()
        there, then = ({g.thing for g in scene.groups} for scene in (before, after))
        if before.background != after.background:
            kinds.add("background")
            assert before.groups == after.groups
            assert before.placed == after.placed
            assert all(after.background.colour in way for way in instructions)
            continue
        if len(before.groups) == len(after.groups):
            kinds.add("replace")
            assert before.placed == after.placed
            assert len(there - then) == len(then - there) == 1
        elif len(before.groups) < len(after.groups):
            kinds.add("add")
            assert there < then
            assert set(before.placed) <= {*after.placed} | {*_renumbered(after.placed)}
        else:
            kinds.add("remove")
            assert then < there
        changed = there ^ then
        stem = [NAMES[i][:3] for i in changed]
        assert any(word.startswith(tuple(stem)) for word in words), (instructions, stem)
    assert kinds == set(KINDS)


def _renumbered(placed: object) -> list[object]:
    from dataclasses import replace

    assert isinstance(placed, tuple)
    return [replace(p, group=0) for p in placed]


def test_no_edit_shows_a_held_out_composition(scenes: Scenes) -> None:
    rng = np.random.default_rng(2)
    library = scenes.maker.library
    compositions = [scenes.change(rng)[:2] for _ in range(100)]
    assert any(is_held_out(library, scene) for pair in compositions for scene in pair)  # so it takes care
    painted: list[object] = []
    original = Scenes.change

    def watching(self: Scenes, rng: np.random.Generator) -> object:
        painted.append(made := original(self, rng))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scenes, "change", watching)
        for _ in range(100):
            edited = scenes.edit(rng, 32)
            before, after, instructions = painted[-1]  # type: ignore[misc]
            assert not is_held_out(library, before)
            assert not is_held_out(library, after)
            assert edited.instructions == instructions
            assert edited.before.shape == edited.after.shape == (32, 32, 3)
            assert not np.array_equal(edited.before, edited.after)


def test_articles_fit_colours(scenes: Scenes) -> None:
    rng = np.random.default_rng(3)
    said = [way for _ in range(300) for way in scenes.change(rng)[2]]
    assert not any(re.search(r"\ba orange\b|\ban (?!orange|apple|egg)", way) for way in said), said
    assert any(f"{colour} background" in way for way in said for colour in COLOURS)
