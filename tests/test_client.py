"""Asking for pictures in Python, on a tiny model of the real classes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import diptych
from diptych.client import samples
from diptych.errors import InvalidRequest, MissingKey, NotAvailable, UnknownModel
from diptych.images import LARGEST_SEED, Picture, Request
from diptych.providers import local

pytestmark = pytest.mark.usefixtures("tiny")


def generate(prompt: str = "a red fox", *, seed: int | None = 1, **settings: Any) -> Picture:
    return diptych.generate(prompt, model="tiny", seed=seed, **settings)


def pixels(picture: Picture) -> bytes:
    return picture.image.tobytes()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that reached a model."""
    asked: list[Request] = []

    def watched(model: Any, request: Request, on_step: Any = None) -> Picture:
        asked.append(request)
        return original(model, request, on_step)

    original = local.generate
    monkeypatch.setattr(local, "generate", watched)
    return asked


def test_what_comes_back_says_everything() -> None:
    picture = generate(seed=None)
    assert picture.request.seed is not None
    assert picture.request == Request(
        prompt="a red fox", width=32, height=32, steps=3, guidance=2.0, seed=picture.request.seed
    )
    assert (picture.model, picture.media_type, picture.width, picture.height) == ("tiny", "image/png", 32, 32)
    assert (picture.image.mode, picture.image.size) == ("RGB", (32, 32))
    assert picture.seconds > 0
    assert picture.recipe["request"] == picture.request.to_dict()
    assert picture.recipe["versions"]["diptych"] == diptych.__version__


@pytest.mark.parametrize("size", ["64x32", (64, 32), [64, 32]])
def test_a_size_is_text_or_two_numbers(size: Any) -> None:
    picture = generate(size=size)
    assert (picture.request.width, picture.request.height) == (64, 32) == picture.image.size


@pytest.mark.parametrize("size", [(64,), (), 64, (1, 2, 3)])
def test_a_size_of_another_form_is_refused(size: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"size is .*; it is \(width, height\) in pixels"):
        generate(size=size)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert generate().data == generate().data


def test_a_seed_that_was_drawn_gives_the_picture_again() -> None:
    drawn = generate(seed=None)
    assert generate(seed=drawn.request.seed).data == drawn.data


@pytest.mark.parametrize(
    "settings", [{"seed": 2}, {"prompt": "a green apple"}, {"steps": 4}, {"guidance": 3.0}, {"negative": "blur"}]
)
def test_what_is_set_changes_the_picture(settings: dict[str, Any]) -> None:
    assert pixels(generate(**settings)) != pixels(generate())


def test_the_largest_seed() -> None:
    assert generate(seed=LARGEST_SEED).request.seed == LARGEST_SEED


def test_a_picture_among_many_is_the_picture_alone() -> None:
    requests = [
        Request(prompt="a green apple in snow", seed=5, steps=2),
        Request(prompt="a red fox", seed=1),
        Request(prompt="a rocket", seed=1, width=64, height=32, guidance=1.0),
    ]
    pictures = list(diptych.generate_many(requests, model="tiny"))
    assert [p.request.prompt for p in pictures] == [r.prompt for r in requests]
    assert pictures[1].data == generate().data
    for request, picture in zip(requests, pictures, strict=True):
        assert next(diptych.generate_many([request], model="tiny")).data == picture.data


def test_no_requests_no_pictures(runs: list[Request]) -> None:
    assert list(diptych.generate_many([], model="tiny")) == []
    assert runs == []


def test_pictures_come_as_they_are_made(runs: list[Request]) -> None:
    pictures = diptych.generate_many([Request(prompt="a fox", seed=i) for i in range(3)], model="tiny")
    next(pictures)
    assert [r.seed for r in runs] == [0]


def test_the_recipe_in_a_file_gives_the_same_bytes(tmp_path: Path) -> None:
    made = generate(seed=None, negative="blur", guidance=3.5, steps=4, size="64x32")
    recipe = diptych.read_recipe(made.save(tmp_path / "fox.png"))
    assert recipe == made.recipe
    request = Request.from_dict(recipe["request"])
    local._loaded.cache_clear()  # as another process would, another day
    again = next(diptych.generate_many([request], model=recipe["model"]))
    assert again.data == made.data


async def awaited() -> Picture:
    return await diptych.agenerate("a red fox", model="tiny", seed=1)


async def called_in_a_running_loop() -> Picture:
    return generate()


@pytest.mark.parametrize("ask", [awaited, called_in_a_running_loop])
def test_in_a_running_loop(ask: Callable[[], Any]) -> None:
    assert asyncio.run(ask()).data == generate().data


def test_the_loop_goes_on_meanwhile() -> None:
    async def together() -> Picture:
        waiting = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_step(*_: Any) -> None:  # cannot return before the loop has set the event
            asyncio.run_coroutine_threadsafe(waiting.wait(), loop).result(timeout=60)

        task = asyncio.create_task(diptych.agenerate("a red fox", model="tiny", seed=1, on_step=on_step))
        await asyncio.sleep(0)
        waiting.set()
        return await task

    assert asyncio.run(together()).data == generate().data


def test_every_step_is_seen_with_a_preview() -> None:
    seen: list[tuple[int, int, Image.Image]] = []
    watched = generate(size="64x32", steps=4, on_step=lambda i, total, preview: seen.append((i, total, preview())))
    assert [(i, total) for i, total, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {image.size for _, _, image in seen} == {(64, 32)}
    assert seen[0][2].tobytes() != seen[-1][2].tobytes()
    assert seen[-1][2].tobytes() == pixels(watched), "at the last step what is expected is what is made"
    assert watched.data == generate(size="64x32", steps=4).data, "to be watched changes nothing"


def test_an_error_in_a_callback_ends_the_picture_and_harms_no_other() -> None:
    def on_step(*_: Any) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        generate(on_step=on_step)
    assert generate().image.size == (32, 32)


def test_two_threads_at_once() -> None:
    expected = {seed: generate(seed=seed).data for seed in (1, 2)}
    local._loaded.cache_clear()  # both load, too
    made: dict[int, list[bytes]] = {1: [], 2: []}
    start = threading.Barrier(2)

    def work(seed: int) -> None:
        start.wait()
        made[seed].extend(generate(seed=seed).data for _ in range(3))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == {seed: [data] * 3 for seed, data in expected.items()}


def test_an_unknown_model() -> None:
    with pytest.raises(UnknownModel, match=r"no model named 'tinny'\. Did you mean tiny"):
        diptych.generate("a fox", model="tinny")


def test_a_hosted_model_without_a_key_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("BFL_API_KEY", "BFL_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(MissingKey, match=r"black_forest_labs needs a key: set BFL_API_KEY, .*https://"):
        diptych.generate("a fox", model="flux-2-pro", size=(512, 512))


def test_a_model_that_was_shut_down() -> None:
    with pytest.raises(NotAvailable, match="gpt-image-1 was shut down on 2026-10-23"):
        diptych.generate("a fox", model="gpt-image-1")


def test_an_open_model_without_weights_says_who_serves_it() -> None:
    with pytest.raises(NotAvailable, match=r"weights pull .*flux-2-klein-4b@black_forest_labs"):
        diptych.generate("a fox", model="flux-2-klein-4b")


def test_a_model_without_a_default_says_what_is_missing(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "model.json").write_text('{"settings": {"seed": true}}', "utf-8")
    diptych.catalogue.add(str(folder), name="bare")
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(NotAvailable, match="bare says no default for one of size and steps"):
        diptych.generate("a fox", model="bare")


@pytest.mark.parametrize("wrong", [{"steps": 51}, {"width": 48, "height": 48}, {"negative": "blur", "guidance": 1.0}])
def test_a_wrong_request_among_many_costs_nothing(wrong: dict[str, Any], runs: list[Request]) -> None:
    good = Request(prompt="a fox")
    with pytest.raises(InvalidRequest):
        diptych.generate_many([good, good, Request(prompt="a fox", **wrong)], model="tiny")
    assert runs == []


def test_a_negative_prompt_that_could_do_nothing_is_refused() -> None:
    with pytest.raises(
        InvalidRequest, match="no effect at guidance 1; leave one of the two out, or set guidance above"
    ):
        generate(negative="blur", guidance=1.0)


def test_a_prompt_too_long_for_the_model() -> None:
    with pytest.raises(InvalidRequest, match=r"has 31 word pieces; this model reads at most 30 \(about 22 words\)"):
        generate(" ".join(["fox"] * 31))
    assert generate(" ".join(["fox"] * 30)).image.size == (32, 32)


def test_samples_count_up() -> None:
    assert [r.seed for r in samples(Request(prompt="a fox", seed=7), 3)] == [7, 8, 9]
    drawn = [r.seed or 0 for r in samples(Request(prompt="a fox"), 3)]
    assert drawn == [drawn[0], drawn[0] + 1, drawn[0] + 2]


@pytest.mark.parametrize(("count", "said"), [(0, "number of pictures is 0"), (2, f"at most {LARGEST_SEED - 1}")])
def test_samples_that_cannot_be(count: int, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        samples(Request(prompt="a fox", seed=LARGEST_SEED), count)


def test_in_a_process_with_narrower_instructions(home: Path) -> None:
    code = (
        "import sys, diptych\n"
        "picture = diptych.generate('a red fox', model='tiny', seed=1)\n"
        "sys.stdout.buffer.write(picture.data)"
    )
    here = generate()
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert run.stderr == b""
    path = home / "there.png"
    path.write_bytes(run.stdout)
    assert diptych.read_recipe(path)["request"] == here.request.to_dict()
    assert diptych.read_recipe(path)["weights"] == here.recipe["weights"]
    measured = json.loads((home / "probe.json").read_text("utf-8"))
    assert [key for key in measured if key.endswith("instructions AVX2")], "narrower ones are measured by themselves"
