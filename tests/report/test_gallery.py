"""Which pictures are shown, and in how many bytes."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diptych.report import gallery
from diptych.report.gallery import Missing, Shot
from diptych.store.database import Store
from diptych.studies.results import Results, SampleRow
from tests.report.conftest import Builder, picture
from tests.report.test_summary import results_of, sample


def study_of(prompts: int, contestants: int, numbers: int, side: int = 64) -> Results:
    samples = [
        SampleRow(i, p, c, n, {"prompt": "x"}, "done", picture="0" * 64, width=side, height=side)
        for i, (p, c, n) in enumerate(
            (p, c, n) for p in range(prompts) for c in range(contestants) for n in range(numbers)
        )
    ]
    return results_of(samples, contestants, prompts)


def decoded(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def size_of(shots: list[tuple[Shot | Missing | None, ...]]) -> int:
    urls = [url for row in shots for shot in row if isinstance(shot, Shot) for url in (shot.src, shot.crop) if url]
    return sum(len(base64.b64decode(url.partition(",")[2])) for url in urls)


# Which


def test_a_small_study_is_shown_whole() -> None:
    choice = gallery.choose(study_of(3, 2, 4), 14e6)
    assert (choice.samples, choice.prompts, choice.numbers) == (24, 3, 4)
    assert [(one.prompt.id, one.number) for one in choice.sets] == [(p, n) for p in range(3) for n in range(4)]


def test_of_many_samples_some_are_shown_evenly_by_number() -> None:
    choice = gallery.choose(study_of(10, 2, 500), 14e6)
    assert (choice.prompts, choice.numbers, choice.all_numbers) == (10, 24, 500)
    assert choice.samples == 480
    numbers = [one.number for one in choice.sets[:24]]
    assert numbers[0] == 0
    assert {b - a for a, b in pairwise(numbers)} <= {20, 21}
    assert [one.number for one in choice.sets[24:48]] == numbers


def test_of_many_prompts_some_are_shown_evenly() -> None:
    choice = gallery.choose(study_of(1000, 4, 2), 14e6)
    assert (choice.prompts, choice.all_prompts, choice.numbers) == (120, 1000, 1)
    assert choice.samples == 480


def test_large_pictures_are_fewer() -> None:
    assert gallery.choose(study_of(3, 2, 200, side=2048), 14e6).samples <= 14e6 / 64_000


def test_without_a_budget_all_are_shown() -> None:
    assert gallery.choose(study_of(10, 2, 60), None).samples == 1200


def test_cells_that_a_study_lacks_are_none() -> None:
    choice = gallery.choose(results_of([sample(0, 0), sample(1, 3)]), 14e6)
    assert [(one.number, [s is not None for s in one.samples]) for one in choice.sets] == [
        (0, [True, False]),
        (3, [False, True]),
    ]


@given(st.integers(0, 50), st.integers(-1, 60))
def test_evenly(count: int, most: int) -> None:
    found = list(gallery.evenly(range(count), most))
    assert len(found) == min(count, max(1, most))
    assert found == sorted(set(found))
    assert not found or found[0] == 0


# In how many bytes


def embedded(study: Builder, budget: float) -> list[tuple[Shot | Missing | None, ...]]:
    results = study.results()
    return list(gallery.embedded(gallery.choose(results, budget), study.store.pictures, budget))


def filled(study: Builder, size: tuple[int, int], count: int = 3) -> None:
    study.prompt("a fox")
    study.contestant("one")
    study.contestant("two")
    for number in range(count):
        for contestant in range(2):
            study.sample(0, contestant, number, picture(10 * number + contestant, size))


def test_small_pictures_are_kept_without_loss(build: Builder) -> None:
    filled(build, (64, 48))
    shots = embedded(build, 1e6)
    first = shots[0][0]
    assert isinstance(first, Shot)
    assert (first.whole, first.crop) == (True, None)
    original = Image.open(io.BytesIO(picture(0, (64, 48)))).convert("RGB")
    assert np.array_equal(np.asarray(decoded(first.src)), np.asarray(original))


def test_large_pictures_are_whole_while_they_fit(build: Builder) -> None:
    filled(build, (600, 400))
    shots = embedded(build, 2e6)
    assert all(isinstance(shot, Shot) and shot.whole for row in shots for shot in row)
    assert decoded(shots[0][0].src).size == (600, 400)  # type: ignore[union-attr]
    assert size_of(shots) <= 2e6


@pytest.mark.parametrize("budget", [20_000, 60_000, 200_000])
def test_what_does_not_fit_becomes_a_preview_and_a_part_of_its_middle(build: Builder, budget: int) -> None:
    filled(build, (900, 600))
    shots = embedded(build, budget)
    assert size_of(shots) <= budget
    for row in shots:
        for shot in row:
            assert isinstance(shot, Shot)
            assert not shot.whole
            assert max(decoded(shot.src).size) <= 512


def test_the_part_is_the_middle_of_the_original(build: Builder) -> None:
    filled(build, (900, 600), count=1)
    shot = embedded(build, 150_000)[0][1]
    assert isinstance(shot, Shot)
    assert shot.crop is not None
    assert shot.box is not None
    left, top, width, height = shot.box
    assert left == pytest.approx((1 - width) / 2)
    box = [round(v) for v in (left * 900, top * 600, (left + width) * 900, (top + height) * 600)]
    original = Image.open(io.BytesIO(picture(1, (900, 600)))).convert("RGB").crop(tuple(box))  # type: ignore[arg-type]
    crop = decoded(shot.crop)
    assert crop.size == original.size
    assert np.abs(np.asarray(crop, int) - np.asarray(original, int)).mean() < 12  # as near as quality 90 is


def test_large_pictures_of_a_set_are_treated_alike(build: Builder) -> None:
    build.prompt("a fox")
    for name in ("small", "large", "larger"):
        build.contestant(name)
    build.sample(0, 0, 0, picture(1, (64, 64)))
    build.sample(0, 1, 0, picture(2, (800, 800)))
    build.sample(0, 2, 0, picture(3, (1600, 800)))
    small, large, larger = embedded(build, 400_000)[0]
    assert isinstance(small, Shot)
    assert isinstance(large, Shot)
    assert isinstance(larger, Shot)
    assert (small.whole, large.whole, larger.whole) == (True, False, False)
    assert large.crop is not None
    assert larger.crop is not None
    assert large.box == pytest.approx(larger.box, abs=0.004)  # the same place of both
    assert decoded(larger.crop).size[0] == pytest.approx(2 * decoded(large.crop).size[0], abs=4)


def test_a_picture_too_long_for_webp_is_shown_in_part(build: Builder) -> None:
    build.prompt("a fox")
    build.contestant("long")
    build.sample(0, 0, 0, picture(1, (17_000, 20)))
    ((shot,),) = embedded(build, 5e6)
    assert isinstance(shot, Shot)
    assert shot.crop is not None
    assert 16_000 < decoded(shot.crop).width <= 16_383


def test_what_cannot_be_shown_says_why(opened: Store, tmp_path: Path) -> None:
    study = Builder(opened)
    filled(study, (64, 48), count=2)
    files = sorted(path for path in (tmp_path / "pictures").rglob("*") if path.is_file())
    files[0].unlink()
    files[1].write_bytes(b"no picture")
    flat = [shot for row in embedded(study, 1e6) for shot in row]
    missing = [shot for shot in flat if isinstance(shot, Missing)]
    assert len(missing) == 2
    assert any("cannot be read" in one.why for one in missing)
    assert any("damaged" in one.why for one in missing)


def test_file_names_say_what_they_are(rich: Builder) -> None:
    results = rich.results()
    samples = {(s.prompt_id, s.contestant_id, s.number): s for s in results.samples}
    dear, evil = results.contestants[1], results.contestants[2]
    prompt = results.prompts[1]
    jpeg, png = samples[prompt.id, dear.id, 2], samples[prompt.id, evil.id, 0]
    assert gallery.file_name(jpeg, dear, prompt) == "002-03-2-dear.jpg"
    assert gallery.file_name(png, evil, prompt).startswith("002-01-3-evil--script-alert")
    names = [
        gallery.file_name(s, c, p)
        for p in results.prompts
        for c in results.contestants
        for s in results.samples
        if s.prompt_id == p.id and s.contestant_id == c.id
    ]
    assert len(set(names)) == len(results.samples)
