"""Models that run here, from a request to the bytes: FLUX from released files at toy size, and many at once."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import diptych
from diptych import catalogue
from diptych.errors import CatalogueError, DiptychError, InvalidRequest, NotAvailable, WeightsError
from diptych.images import Input, Picture, Request
from diptych.providers import Watch, local
from diptych.providers import open as open_provider
from tests.engines.flow.test_pipeline import flux1_folder, flux2_folder, flux3_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flux2_folder(tmp_path_factory.mktemp("klein"))


@pytest.fixture
def klein(folder: Path) -> str:
    local._loaded.cache_clear()
    return catalogue.add(str(folder), name="tiny-klein", like="flux-2-klein-4b").name


def generate(model: str, **settings: Any) -> Picture:
    return diptych.generate("a red fox", model=model, **{"size": "64x64", "seed": 1, **settings})


def drawn(seed: int = 0, size: tuple[int, int] = (96, 64)) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_flux_from_its_files(klein: str) -> None:
    picture = generate(klein)
    assert (picture.image.size, picture.request.steps) == ((64, 64), 4)
    assert generate(klein).data == picture.data
    assert len(picture.recipe["weights"]) == 64
    assert picture.timing.peak_memory
    assert generate(klein, seed=2).data != picture.data


def test_previews_are_pictures_of_the_right_size(klein: str) -> None:
    seen: list[tuple[int, int, tuple[int, int]]] = []
    generate(klein, on_step=lambda i, n, preview: seen.append((i, n, preview().size)))
    assert seen == [(i, 4, (64, 64)) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "heun"},
        {"shift": 1.0},
        {"blend": "a blue car"},
        {"walk": 0.2, "walk_seed": 9},
        {"steps": 6},
    ],
)
def test_every_knob_changes_the_picture_and_is_in_its_recipe(settings: dict[str, Any], klein: str) -> None:
    picture = generate(klein, **settings)
    assert picture.data != generate(klein).data
    request = Request.from_dict(picture.recipe["request"])
    assert {**request.options, "steps": request.steps}.items() >= settings.items()
    again = next(diptych.client.generate_many([request], model=klein))
    assert again.data == picture.data


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "dpm"}, "sampler is 'dpm'; tiny-klein takes euler or heun"),
        ({"true_guidance": 2.0}, "true_guidance is 2"),
        ({"strength": 0.5}, "there is none: give a reference"),
        ({"walk": 0.2}, "walk_seed is missing"),
        ({"blend_weight": 0.2}, "give that as blend"),
        ({"guidance_from": 0.9, "guidance_until": 0.1}, "begins before it ends"),
        ({"lora": "style.safetensors:much"}, "it is FILE or FILE:STRENGTH"),
        ({"size": "70x64"}, "multiples of 16"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(
    settings: dict[str, Any], message: str, klein: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        generate(klein, **settings)


def test_a_prompt_of_too_many_tokens(klein: str) -> None:
    with pytest.raises(InvalidRequest, match="tokens"):
        diptych.generate("fox " * 600, model=klein, size="64x64")


def test_references_decide_the_size_and_the_picture(klein: str) -> None:
    one = diptych.edit(drawn(1), "in snow", model=klein, seed=1)
    assert one.image.size == (96, 64)
    two = diptych.edit([drawn(1), drawn(2)], "in snow", model=klein, seed=1)
    assert two.data != one.data
    odd = diptych.edit(drawn(1, (100, 70)), "in snow", model=klein, seed=1)
    assert odd.image.size == (96, 64)
    with pytest.raises(InvalidRequest, match="at most 10 pictures"):
        diptych.edit([drawn(1)] * 11, "in snow", model=klein)


def test_a_strength_begins_from_the_picture(klein: str) -> None:
    """The less may change, the less it matters what the noise is; the picture matters always."""

    def made(strength: float, seed: int, picture: int = 1) -> np.ndarray:
        settings = {"seed": seed, "steps": 20, "strength": strength, "shift": 1.0}
        found = diptych.edit(drawn(picture), "in snow", model=klein, **settings)
        return np.asarray(found.image, np.float32)

    near, far = (np.abs(made(strength, 1) - made(strength, 2)).mean() for strength in (0.05, 0.9))
    assert 0 < near < 0.5 * far
    assert np.abs(made(0.05, 1) - made(0.05, 1, picture=2)).mean() > near


def test_a_mask_keeps_the_rest(klein: str) -> None:
    mask = Image.new("RGBA", (96, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (48, 0, 96, 64))
    out = io.BytesIO()
    mask.save(out, "PNG")
    made = [diptych.edit(drawn(1), "in snow", model=klein, mask=out.getvalue(), seed=seed) for seed in (1, 2)]
    difference = np.abs(np.asarray(made[0].image, int) - np.asarray(made[1].image, int)).mean(axis=(0, 2))
    assert difference[:16].mean() < 0.5 * difference[-16:].mean()


def test_a_lora_is_merged_and_undone(klein: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "style.safetensors"
    key = "double_blocks.0.img_attn.proj"
    save_file({f"{key}.lora_A.weight": torch.randn(2, 32), f"{key}.lora_B.weight": torch.randn(32, 2)}, path)
    plain = generate(klein)
    changed = generate(klein, lora=str(path))
    assert changed.data != plain.data
    assert generate(klein, lora=f"{path}:0.5").data not in (plain.data, changed.data)
    assert generate(klein).image.tobytes() == plain.image.tobytes()
    save_file({"nothing.lora_A.weight": torch.randn(2, 32), "nothing.lora_B.weight": torch.randn(32, 2)}, path)
    local._loaded.cache_clear()
    with pytest.raises(WeightsError, match="nothing"):
        generate(klein, lora=str(path))


def test_flux1_guidance_and_negative(tmp_path: Path) -> None:
    name = catalogue.add(str(flux1_folder(tmp_path / "w")), name="tiny-dev", like="flux-1-dev").name
    plain = generate(name)
    assert plain.request.guidance == 3.5
    assert generate(name, guidance=2.0).data != plain.data
    with pytest.raises(InvalidRequest, match="negative needs true_guidance above 1"):
        generate(name, negative="blur")
    assert generate(name, negative="blur", true_guidance=2.0).data != plain.data


def test_flux3(tmp_path: Path) -> None:
    name = catalogue.add(str(flux3_folder(tmp_path / "w", flow_map=True)), name="t3", like="flux-3-image-klein").name
    assert generate(name).request.steps == 16
    with pytest.raises(InvalidRequest, match="distilled to steps of Euler"):
        generate(name, sampler="heun")


async def _all(model: str, requests: list[Request]) -> list[Picture]:
    entry = catalogue.load().find(model)
    async with open_provider("local") as provider:
        resolved = [entry.resolve(request) for request in requests]
        await asyncio.to_thread(provider.check, entry, resolved)
        return await asyncio.gather(*(provider.generate(entry, request) for request in resolved))


def test_pictures_at_the_same_time_are_those_alone(klein: str) -> None:
    requests = [Request(prompt="a fox", width=64, height=64, seed=i, steps=3 + i) for i in range(4)]
    alone = list(diptych.client.generate_many(requests, model=klein))
    for picture, expected in zip(asyncio.run(_all(klein, requests)), alone, strict=True):
        assert picture.request == expected.request
        difference = np.abs(np.asarray(picture.image, int) - np.asarray(expected.image, int))
        assert difference.max() <= 1
        assert picture.timing.queued is not None
        assert picture.timing.total >= picture.timing.queued


def test_one_that_is_no_longer_waited_for_leaves(klein: str) -> None:
    entry = catalogue.load().find(klein)
    request = entry.resolve(Request(prompt="a fox", width=64, height=64, seed=1, steps=50))

    async def give_up() -> int:
        steps: list[int] = []

        class Seen(Watch):
            def step(self, index: int, total: int, preview: Any) -> None:
                steps.append(index)

        async with open_provider("local") as provider:
            task = asyncio.ensure_future(provider.generate(entry, request, Seen()))
            while len(steps) < 2:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            short = dataclasses.replace(request, steps=2)
            await provider.generate(entry, short)
        return len(steps)

    assert asyncio.run(give_up()) < 50


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match=r"diptych weights pull black-forest-labs/FLUX\.1-dev"):
        generate("flux-1-dev")
    (tmp_path / "x").mkdir()
    with pytest.raises(CatalogueError, match=r"no model\.json, no safetensors file"):
        catalogue.add(str(tmp_path / "x"), name="x")
    (tmp_path / "x" / "model_index.json").write_text("{}")
    with pytest.raises(CatalogueError, match="--like flux-1-schnell"):
        catalogue.add(str(tmp_path / "x"), name="x")
    with pytest.raises(CatalogueError, match="Did you mean flux-1-dev"):
        catalogue.add(str(tmp_path / "x"), name="x", like="flux-1-devv")
    catalogue.add(str(tmp_path / "x"), name="x", like="flux-1-dev")
    with pytest.raises(DiptychError):
        generate("x")


def test_an_input_is_checked_where_it_is_made() -> None:
    with pytest.raises(DiptychError):
        Input(b"no picture")
