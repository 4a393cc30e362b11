"""The evaluation: what it asks, how it scores what is drawn, and what it leaves on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import linalg

from diptych.errors import DiptychError, OutputError
from diptych.training.classifier import COLOUR_NAMES, Classifier, ClassifierPlan, Reading, train_classifier
from diptych.training.evaluate import (
    SEED,
    evaluate,
    evaluate_describe,
    frechet_distance,
    judge,
    names_thing,
    questions,
    summary,
)
from diptych.training.library import Library
from diptych.training.scenes import is_held_out, paint

TINY = ClassifierPlan(size=32, widths=(16, 24, 48), steps=150, batch=24, save_every=150)


@pytest.fixture(scope="module")
def classifier(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return train_classifier(library, TINY, tmp_path_factory.mktemp("classifier"), lambda line: None)


def perfect(library: Library, **asked: int):  # type: ignore[no-untyped-def]
    """A model that knows the answers: it paints the scene that each prompt was made from."""
    known = questions(library, **asked)
    scenes = {(q.prompt, q.seed): q.scene for q in known}
    any_seed = {q.prompt: q.scene for q in known}

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        asked_for = zip(prompts, seeds, strict=True)
        return np.stack([paint(scenes.get((p, s), any_seed[p]), library, 48) for p, s in asked_for])

    return draw


def gray(prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
    return np.full((len(prompts), 48, 48, 3), 150, np.uint8)


def test_only_held_out_compositions_are_asked_for_and_always_the_same(library: Library) -> None:
    asked = questions(library, compositions=60, names=12)
    assert asked == questions(library, compositions=60, names=12)
    assert asked != questions(library, compositions=60, names=12, seed=SEED + 1)
    compositions = [q for q in asked if q.kind != "name"]
    assert len(compositions) == 60
    assert all(is_held_out(library, q.scene) for q in compositions)
    assert {q.kind for q in compositions} == {"colour", "count", "relation"}
    assert {q.scene.count for q in compositions if q.kind == "count"} == {1, 2, 3}
    for question in compositions:
        assert question.scene.background.colour in question.prompt
        assert question.scene.relation is None or question.scene.relation in question.prompt
    bare = [q.prompt for q in asked if q.kind == "name"]
    assert set(bare[:6]) == {thing.names[0] for thing in library.things}
    assert "puppy" not in bare
    assert bare[6:] != bare[:6]  # then the other names


def test_a_model_that_draws_what_is_asked_reaches_the_ceiling(
    classifier: Classifier, library: Library, tmp_path: Path
) -> None:
    asked = {"compositions": 48, "names": 12}
    found = evaluate(perfect(library, **asked), classifier, library, model="perfect", folder=tmp_path, **asked)
    for name, (share, count) in found.scores.items():
        assert share == pytest.approx(found.ceiling[name][0], abs=0.001), name
        assert count == found.ceiling[name][1]
    assert found.scores["thing, top-1"][1] == 32
    assert found.frechet == pytest.approx(found.frechet_ceiling)
    assert found.diversity == pytest.approx(0.0, abs=1e-6)  # one picture for all seeds

    kept = json.loads((tmp_path / "evaluation.json").read_text())
    assert kept["model"] == "perfect"
    assert kept["scores"]["background colour"][1] == 48
    assert len(kept["answers"]) == 60
    table = (tmp_path / "evaluation.md").read_text()
    assert "| | perfect | real composites | asked |" in table
    assert "`worst.png`" in table
    for name in ("best.png", "worst.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (8 * 48, 3 * 48)


def test_a_model_that_draws_nothing_does_not(classifier: Classifier, library: Library) -> None:
    found = evaluate(gray, classifier, library, model="gray", compositions=48, names=12)
    assert found.scores["thing, top-1"][0] < found.ceiling["thing, top-1"][0] - 0.2
    assert found.scores["background colour"][0] < 0.3
    assert found.frechet > 2 * found.frechet_ceiling


def test_scores_by_hand(library: Library) -> None:
    """A reading that is written down rather than read: the first thing is right, the others each in one way wrong."""
    asked = [next(q for q in questions(library, compositions=60) if q.kind == kind) for kind in ("colour", "relation")]
    one, two = asked[0].scene, asked[1].scene
    things = np.zeros((2, 6), np.float32)
    things[0, one.groups[0].thing] = 1
    things[1, two.groups[0].thing] = 2
    things[1, two.groups[1].thing] = 1
    where = np.zeros((2, 6, 2), np.float32)
    apart = {"left of": (0.2, 0.5), "right of": (0.8, 0.5), "above": (0.5, 0.2), "below": (0.5, 0.8)}
    assert two.relation is not None
    where[1, two.groups[0].thing] = apart[two.relation]
    where[1, two.groups[1].thing] = 0.5
    colours = np.zeros((2, 12), np.float32)
    colours[0, COLOUR_NAMES.index(one.background.colour)] = 1
    colours[1, (COLOUR_NAMES.index(two.background.colour) + 1) % 12] = 1
    reading = Reading(things, where, colours, np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))
    first, second = judge(asked, reading, library)
    assert (first.ranks, first.top1, first.colour, first.count, first.position) == ((0,), 1.0, True, None, None)
    assert (second.ranks, second.top1, second.colour, second.position) == ((0, 1), 1.0, False, True)
    assert summary([first, second])["background colour"] == (0.5, 2)
    swapped = replace(reading, where=1 - where)
    assert judge(asked, swapped, library)[1].position is False


def test_frechet_distance_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(1, 2, size=(300, 6))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(0) - b.mean(0)
    wanted = gap @ gap + np.trace(first + second - 2 * linalg.sqrtm(first @ second).real)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_pictures_of_the_wrong_form_and_a_folder_in_the_way(
    classifier: Classifier, library: Library, tmp_path: Path
) -> None:
    def floats(prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.float32]:
        return np.zeros((len(prompts), 3, 32, 32), np.float32)

    with pytest.raises(DiptychError, match=r"For 4 prompts the model gave float32 \(4, 3, 32, 32\); wanted is uint8"):
        evaluate(floats, classifier, library, model="x", compositions=3, names=1)  # type: ignore[arg-type]
    with pytest.raises(DiptychError, match="at least one composition or name"):
        evaluate(gray, classifier, library, model="x", compositions=0, names=0)
    with pytest.raises(DiptychError, match="needs two things or more"):
        evaluate(gray, classifier, library, model="x", things=[1])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be made"):
        evaluate(gray, classifier, library, model="x", compositions=6, names=0, folder=tmp_path / "file")


def test_captions_are_matched_by_whole_words_and_synonyms() -> None:
    assert names_thing("A small PUPPY, on blue.", ("dog", "puppy"))
    assert names_thing("two mice", ("mouse",))
    assert names_thing("three loaves of bread", ("bread",))
    assert names_thing("a t-shirt", ("t-shirt",))
    assert not names_thing("a hot dogfish", ("dog",))
    assert not names_thing("a cat", ("dog", "puppy"))


def test_describing_is_scored_by_names(library: Library) -> None:
    shown: list[int] = []

    def describe(pictures: NDArray[np.uint8]) -> list[str]:
        shown.append(len(pictures))
        return ["a red apple on a black background"] * len(pictures)

    found = evaluate_describe(describe, library, count=30, size=32)
    assert shown == [30]
    assert found["named"] == sum(case["shown"] == "apple" for case in found["cases"]) / 30
    assert 0 < found["named"] < 1
    with pytest.raises(DiptychError, match="gave 0 captions"):
        evaluate_describe(lambda pictures: [], library, count=3)
