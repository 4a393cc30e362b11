"""The whole training at a size that learns nothing: every stage, killed and resumed, and the model that comes out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from diptych import catalogue
from diptych.client import describe, edit, generate, write
from diptych.errors import InvalidRequest, NotAvailable
from diptych.training import run
from diptych.training.optim import orthogonalise
from diptych.training.plan import SMOKE
from diptych.training.tokens import SMOKE as TOKENS_SMOKE

THINGS = "apple: red apple\nball\nbox: package, parcel\n"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "on", "background", "apple", "ball", "box", "red", "blue", "white"]
# Stops itself, unsaved work in hand, at the step that is named on the command line.
KILLED = """
import os, signal, sys
from pathlib import Path
from diptych.training import checkpoint, plan, run
stage, step = sys.argv[3], int(sys.argv[4])
advance = checkpoint.Checkpoint.advance
def killing(self, decay):
    if self.path.stem == stage and self.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
    advance(self, decay)
checkpoint.Checkpoint.advance = killing
run.smoke(Path(sys.argv[1]), Path(sys.argv[2]), Path("never"), print, "flow", listing=sys.argv[5])
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Renders, names and a sentence encoder, of the real kinds and in the real layout."""
    folder = tmp_path_factory.mktemp("data")
    assets = folder / "fluent-emoji-3d" / "assets"
    assets.mkdir(parents=True)
    for code, colour in (("1f34e", "red"), ("26bd-fe0f", "green"), ("1f4e6", "brown")):
        render = Image.new("RGBA", (64, 64))
        ImageDraw.Draw(render).ellipse((8, 8, 56, 56), fill=colour)
        render.save(assets / f"{code}.webp", lossless=True)
    names = folder / "emojibase-data" / "en"
    names.mkdir(parents=True)
    entries = [("apple", "1F34E"), ("ball", "26BD"), ("box", "1F4E6"), ("ghost", "1F47B")]
    (names / "data.json").write_text(json.dumps([{"label": label, "hexcode": code} for label, code in entries]))

    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder / "teacher")
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(PIECES), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(shape).save_pretrained(folder / "teacher")
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A training that nothing disturbed, and what it said."""
    folder = tmp_path_factory.mktemp("undisturbed")
    said: list[str] = []
    run.smoke(data, folder / "work", folder / "model", said.append, "flow", listing=THINGS)
    return folder, said


def test_every_stage_reports_and_leaves_a_sheet(trained: tuple[Path, list[str]]) -> None:
    folder, said = trained
    assert any(line.startswith("autoencoder 8/8") for line in said)
    assert any(line.startswith("flow 6/6") for line in said)
    for sheet, columns in (("autoencoder.png", 12), ("decoder.png", 12), ("flow-000006.png", 8)):
        with Image.open(folder / "work" / sheet) as image:
            assert image.size == (columns * SMOKE.size, 2 * SMOKE.size)


def test_the_model_runs_under_a_name_of_its_own(trained: tuple[Path, list[str]]) -> None:
    catalogue.add(str(trained[0] / "model"), name="mine")
    picture = generate("a red apple on a blue background", model="mine", seed=1, steps=2)
    assert picture.image.size == (SMOKE.size, SMOKE.size)


@pytest.mark.parametrize(("stage", "step"), [("autoencoder", 5), ("flow", 3), ("decoder", 3)])
def test_killed_and_resumed_is_as_if_undisturbed(
    stage: str, step: int, data: Path, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(data), str(tmp_path / "work"), stage, str(step), THINGS]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    said: list[str] = []
    run.smoke(data, tmp_path / "work", tmp_path / "model", said.append, "flow", listing=THINGS)
    assert not any(line.startswith(f"{stage} 2/") for line in said)  # it went on; it did not begin again
    for file in (trained[0] / "model").iterdir():
        assert (tmp_path / "model" / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_token_model_is_made_and_runs_under_a_name_of_its_own(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run.smoke(data, tmp_path / "work", tmp_path / "model", said.append, "tokens", listing=THINGS)
    assert any(line.startswith("codec ") for line in said)
    assert any(line.startswith("tokens ") for line in said)
    model = catalogue.add(str(tmp_path / "model"), name="tokens-of-mine")
    assert model.engine == "tokens"
    size = TOKENS_SMOKE.size
    picture = generate("a red apple", model=model.name, seed=1)
    assert picture.image.size == (size, size)
    assert picture.recipe["sampler"] == "parallel masked decoding"
    assert generate("a red apple", model=model.name, seed=1).data == picture.data
    assert generate("a red apple", model=model.name, seed=1, size=f"{2 * size}x{2 * size}").image.width == 2 * size
    seen: list[tuple[int, int]] = []
    generate("a red apple", model=model.name, steps=3, on_step=lambda i, n, preview: seen.append((i, preview().width)))
    assert seen == [(1, size), (2, size), (3, size)]
    assert edit(picture, "make it blue", model=model.name, seed=2).image.size == (size, size)
    assert edit(picture, "a ball", model=model.name, strength=0.5, seed=2).data != picture.data
    assert isinstance(describe(picture, model=model.name), str)
    with pytest.raises(NotAvailable, match="writes no text here"):
        write("a poem", model=model.name)
    with pytest.raises(NotAvailable, match="describes no pictures: it makes them"):
        describe(picture, model="builtin-flow")
    with pytest.raises(InvalidRequest, match="give a reference"):
        generate("a red apple", model=model.name, strength=0.5)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((16, 16), (8, 40), (40, 8)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert 0.3 < values.min() <= values.max() < 1.4


def test_a_thing_without_a_render_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="'ghost'"):
        run.smoke(data, tmp_path / "work", tmp_path / "model", print, "flow", listing="ghost\n")


def test_captions_name_the_thing_and_backgrounds_are_plain(data: Path) -> None:
    from diptych.training.data import COLOURS, caption, compose, load_renders, place, read_things

    rng = np.random.default_rng(0)
    things = read_things(data, THINGS)
    box = things[2]
    captions = [caption(rng, box, "blue", long=long) for long in (False, True) for _ in range(200)]
    assert all(any(name in c for name in box.names) for c in captions)
    assert sum("blue" in c for c in captions) > 200
    render = load_renders(data, [box.render], 32)[0]
    blue = np.array(COLOURS["blue"], np.float32) / 255
    picture = compose(place(rng, render), blue)
    assert picture.shape == (32, 32, 3)
    np.testing.assert_allclose(picture[0, 0], blue * 2 - 1, atol=1e-6)
    assert abs(picture[16, 16] - picture[0, 0]).max() > 0.2
