"""The model's folder and its face: strict loading, seeds, inpainting, image to image, editing, describing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diptych.engines.files import from_rows, to_rows
from diptych.engines.tokens.decode import Pass
from diptych.engines.tokens.pipeline import Pipeline
from diptych.engines.tokens.weights import NETWORK as FILE
from diptych.engines.tokens.weights import TOKENIZER, write_model
from diptych.errors import InvalidRequest, WeightsError
from tests.engines.tokens.conftest import CODEC, NETWORK, codec, network, tokenizer

CPU = torch.device("cpu")


def draw(pipeline: Pipeline, **changes: Any) -> Tensor:
    settings = {"prompt": "a red apple", "width": 64, "height": 64, "passes": 4, "guidance": 2.0, "seed": 1, **changes}
    return pipeline(settings.pop("prompt"), **settings)


def test_a_picture_and_the_same_again(pipeline: Pipeline) -> None:
    picture = draw(pipeline)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == torch.uint8
    assert torch.equal(picture, draw(pipeline))
    for changes in ({"seed": 2}, {"prompt": "a blue ball"}, {"guidance": 1.0}, {"passes": 2}, {"negative": "a ball"}):
        assert not torch.equal(picture, draw(pipeline, **changes)), changes
    assert draw(pipeline, width=32, height=96).shape == (96, 32, 3)


def test_without_guidance_the_negative_prompt_has_no_say(pipeline: Pipeline) -> None:
    assert torch.equal(draw(pipeline, guidance=1.0), draw(pipeline, guidance=1.0, negative="a ball"))


def test_previews_show_the_most_likely(pipeline: Pipeline) -> None:
    steps: list[Pass] = []
    picture = draw(pipeline, on_step=steps.append)
    assert [step.index for step in steps] == [1, 2, 3, 4]
    previews = [pipeline.decode(step.estimate, 64, 64) for step in steps]
    assert all(preview.shape == (64, 64, 3) for preview in previews)
    assert torch.equal(previews[-1], picture)


def test_inpainting_leaves_the_rest_as_it_is(pipeline: Pipeline, picture: Tensor) -> None:
    mask = torch.zeros(64, 64)
    mask[20:30, 5:12] = 1  # inside the second row's first position
    kept: list[Tensor] = []
    changed = draw(pipeline, picture=picture, mask=mask, on_step=lambda step: kept.append(step.codes))
    assert torch.equal(changed[mask == 0], picture[mask == 0])
    codes = pipeline.codes(picture)
    free = torch.zeros(16, dtype=torch.bool)
    free[4] = True
    for step in kept:
        assert torch.equal(step[0, ~free], codes[0, ~free])


def test_strength_is_the_share_of_positions_made_anew(pipeline: Pipeline, picture: Tensor) -> None:
    codes = pipeline.codes(picture)
    starts: list[Tensor] = []
    # Of so many passes the first makes nothing known: it shows what was masked at the start.
    draw(pipeline, picture=picture, strength=0.25, passes=1000, on_step=lambda step: starts.append(step.codes))
    assert starts[0].eq(NETWORK.mask).any(-1).sum() == 4
    assert starts[0].eq(codes).all(-1).sum() == 12
    assert torch.equal(draw(pipeline, picture=picture, strength=0.0), pipeline.decode(codes, 64, 64))
    assert torch.equal(draw(pipeline, picture=picture, strength=1.0), draw(pipeline))


def test_editing_depends_on_picture_and_instruction(pipeline: Pipeline, picture: Tensor) -> None:
    settings: dict[str, Any] = {"passes": 3, "guidance": 2.0, "seed": 1}
    edited = pipeline.edit(picture, "make it blue", **settings)
    assert edited.shape == picture.shape
    assert torch.equal(edited, pipeline.edit(picture, "make it blue", **settings))
    assert not torch.equal(edited, pipeline.edit(picture, "make it red", **settings))
    noisy = torch.randint(256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(edited, pipeline.edit(noisy, "make it blue", **settings))
    mask = torch.zeros(64, 64)
    mask[:32] = 1
    masked = pipeline.edit(picture, "make it blue", mask=mask, **settings)
    assert torch.equal(masked[32:], picture[32:])


def test_a_description_is_words_and_the_same_again(pipeline: Pipeline, picture: Tensor) -> None:
    said = pipeline.describe(picture)
    assert isinstance(said, str)
    assert said == pipeline.describe(picture)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 60}, "The size is 60x64; this model makes multiples of 16 pixels"),
        ({"prompt": "a red apple on a blue background"}, "has 7 word pieces; this model reads at most 6"),
        ({"strength": 0.5}, "needs a picture to start from"),
        ({"picture": torch.zeros(64, 64, 3, dtype=torch.uint8)}, "needs a mask or a strength"),
        ({"picture": torch.zeros(32, 64, 3, dtype=torch.uint8), "strength": 0.5}, "is 64x32, must be 64x64"),
        ({"picture": torch.zeros(64, 64, dtype=torch.uint8), "strength": 0.5}, r"A picture is \(height, width, 3\)"),
        ({"picture": torch.zeros(64, 64, 3, dtype=torch.uint8), "strength": 1.5}, "The strength is 1.5"),
        ({"picture": torch.zeros(64, 64, 3, dtype=torch.uint8), "mask": torch.zeros(8, 8)}, "The mask is 8x8"),
    ],
)
def test_what_cannot_be_is_refused(pipeline: Pipeline, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        draw(pipeline, **changes)


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / "model.json").read_text())
    change(content)
    (folder / "model.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / FILE).unlink(), "network.safetensors cannot be read: No such file"),
        (lambda f: (f / FILE).write_bytes((f / FILE).read_bytes()[:-9]), "was truncated or altered"),
        (lambda f: (f / TOKENIZER).write_text("{}"), "tokenizer.json was truncated or altered"),
        (lambda f: (f / "model.json").unlink(), "model.json cannot be read"),
        (lambda f: (f / "model.json").write_text("{"), "does not describe a model: JSONDecodeError"),
        (lambda f: rewritten(f, lambda c: c.update(format=9)), "has format 9"),
        (lambda f: rewritten(f, lambda c: c["files"].pop(FILE)), "lists no network.safetensors"),
        (lambda f: rewritten(f, lambda c: c["tokens"].update(hidden=-1)), "hidden is -1"),
        (lambda f: rewritten(f, lambda c: c["tokens"].update(depth=3)), "unexpected keyword argument 'depth'"),
        (lambda f: rewritten(f, lambda c: c["tokens"].update(codes=32)), "the network reads 2 codes of 32 values"),
        (lambda f: rewritten(f, lambda c: c["tokens"].update(decoder_layers=3)), "missing decoder.2.attention"),
    ],
)
def test_a_broken_folder_is_named(folder: Path, break_it: Callable[[Path], object], message: str) -> None:
    break_it(folder)
    with pytest.raises(WeightsError, match=message):
        Pipeline.load(folder, CPU, torch.float32)


def test_the_identity_is_that_of_the_weights(folder: Path, tmp_path: Path) -> None:
    first = Pipeline.load(folder, CPU, torch.float32).identity
    state = network().state_dict()
    state["head.bias"] += 1
    parts = {"network": (NETWORK, state), "codec": (CODEC, codec().state_dict())}
    write_model(tmp_path / "other", **parts, tokenizer=tokenizer().to_str(), settings={})  # type: ignore[arg-type]
    assert Pipeline.load(tmp_path / "other", CPU, torch.float32).identity != first


def test_eight_bits_are_half_of_half_and_close(tmp_path: Path) -> None:
    sizes = {}
    for eight in (True, False):
        parts = {"network": (NETWORK, network().state_dict()), "codec": (CODEC, codec().state_dict())}
        folder = tmp_path / str(eight)
        write_model(folder, **parts, tokenizer=tokenizer().to_str(), settings={}, eight_bits=eight)  # type: ignore[arg-type]
        loaded = Pipeline.load(folder, CPU, torch.float32)
        for key, value in network().state_dict().items():
            torch.testing.assert_close(loaded.network.state_dict()[key], value, atol=0.02, rtol=0.02)
        sizes[eight] = sum(t.nbytes for t in load_file(folder / FILE).values() if t.ndim > 1)
    assert sizes[True] * 2 == sizes[False]


def test_a_missing_scale_is_named(tmp_path: Path) -> None:
    parts = {"network": (NETWORK, network().state_dict()), "codec": (CODEC, codec().state_dict())}
    write_model(tmp_path, **parts, tokenizer=tokenizer().to_str(), settings={})  # type: ignore[arg-type]
    tensors = load_file(tmp_path / FILE)
    del tensors["head.weight.scale"]
    save_file(tensors, tmp_path / FILE)
    digest = hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest()
    rewritten(tmp_path, lambda c: c["files"].update({FILE: digest}))
    with pytest.raises(WeightsError, match=r"missing head\.weight\.scale"):
        Pipeline.load(tmp_path, CPU, torch.float32)


def test_rows_lose_at_most_half_a_step() -> None:
    matrix = torch.randn(7, 5, 3) * torch.logspace(-3, 2, 7)[:, None, None]
    rounded, scale = to_rows(matrix)
    assert rounded.dtype == torch.int8
    assert ((from_rows(rounded, scale) - matrix).abs().flatten(1).amax(1) <= scale / 2 * 1.001).all()
    assert (to_rows(torch.zeros(2, 3))[0] == 0).all()
