"""Marks in a corner: what is in the same place whatever the prompt."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diptych.judging import marks
from diptych.store.database import Store
from diptych.studies import results
from tests.judging.conftest import DEAR, a_study
from tests.report.conftest import Builder, picture

PLACES = {
    "top left": (0.08, 0.08), "top right": (0.92, 0.08), "bottom left": (0.08, 0.92), "bottom right": (0.92, 0.92)
}  # fmt: skip


def scene(seed: int, size: tuple[int, int] = (256, 256)) -> Image.Image:
    """Soft light and texture: nothing of it where it was in another one."""
    drawn = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / max(size)
    light = np.full(size[::-1], 90.0)
    for _ in range(12):
        a, b, phase, strength = (
            drawn.uniform(-20, 20, 2),
            drawn.uniform(0, 9),
            drawn.uniform(0, 7),
            drawn.uniform(4, 14),
        )
        light += strength * np.sin(a[0] * x + a[1] * y + b + phase)
    light += drawn.normal(0, 4, light.shape)
    return Image.fromarray(np.repeat(light.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))


def marked(image: Image.Image, corner: str, alpha: float = 0.6, part: float = 0.06) -> Image.Image:
    """A white star with four points, as one maker leaves it."""
    image = image.copy()
    mask = Image.new("L", image.size)
    x, y = (side * share for side, share in zip(image.size, PLACES[corner], strict=True))
    reach = min(image.size) * part / 2
    points = [
        (x + radius * math.sin(k * math.pi / 4), y - radius * math.cos(k * math.pi / 4))
        for k, radius in zip(range(8), itertools.cycle((reach, reach / 3.5)), strict=False)
    ]
    ImageDraw.Draw(mask).polygon(points, fill=round(255 * alpha))
    image.paste((255, 255, 255), mask=mask)
    return image


def of_prompts(prompts: int, samples: int, corner: str | None = None, **given: float) -> dict[int, list[Image.Image]]:
    return {
        prompt: [
            image if corner is None else marked(image, corner, **given)
            for image in (scene(100 * prompt + number) for number in range(samples))
        ]
        for prompt in range(prompts)
    }


@pytest.mark.parametrize("corner", marks.CORNERS)
@pytest.mark.parametrize(("prompts", "samples"), [(3, 1), (4, 3)])
def test_a_mark_is_found_in_its_corner(corner: str, prompts: int, samples: int) -> None:
    assert marks.marked_corners(of_prompts(prompts, samples, corner)) == (corner,)


@pytest.mark.parametrize(("prompts", "samples"), [(3, 1), (3, 4), (8, 1)])
def test_none_is_found_where_there_is_none(prompts: int, samples: int) -> None:
    assert marks.marked_corners(of_prompts(prompts, samples)) == ()


def test_pictures_of_one_prompt_may_be_alike() -> None:
    alike = {prompt: [scene(prompt)] * 6 for prompt in range(3)}
    assert marks.marked_corners(alike) == ()


def test_a_border_around_everything_is_in_every_corner() -> None:
    framed = of_prompts(4, 1)
    for images in framed.values():
        ImageDraw.Draw(images[0]).rectangle((8, 8, 247, 247), outline="white", width=3)
    assert set(marks.marked_corners(framed)) <= set(marks.CORNERS)


def test_a_model_that_puts_everything_in_one_place_has_no_mark() -> None:
    centred = of_prompts(4, 1)
    for images in centred.values():
        ImageDraw.Draw(images[0]).ellipse((20, 20, 236, 236), fill="red")
    assert marks.marked_corners(centred) == ()


def test_with_few_prompts_or_other_shapes_nothing_is_said() -> None:
    assert marks.marked_corners({}) == ()
    assert marks.marked_corners(of_prompts(2, 6, "top left")) == ()
    mixed = {prompt: [marked(scene(prompt, (200 + 10 * prompt, 256)), "top left")] for prompt in range(4)}
    assert marks.marked_corners(mixed) == ()


def test_the_marked_model_of_a_study_is_named(judged: Store) -> None:
    study = Builder(judged)
    for label in ("plain-model", "marked-model", "broken-model"):
        study.contestant(label)
    for prompt in range(3):
        study.prompt(f"prompt {prompt}")
        for at, corner in enumerate((None, "bottom right")):
            out = io.BytesIO()
            image = scene(10 * prompt + at)
            (image if corner is None else marked(image, corner)).save(out, "PNG")
            study.sample(prompt, at, 0, out.getvalue())
        study.sample(prompt, 2, 0, picture(900 + prompt), picture="0" * 64)
    assert marks.find(results.load(judged), judged.pictures) == {"marked-model": ("bottom right",)}


def test_ordinary_pictures_have_none(judged: Store) -> None:
    a_study(judged, sizes={DEAR: (200, 200)}, samples=4)
    assert marks.find(results.load(judged), judged.pictures) == {}
