"""The token network's training at a size that learns nothing: caching, three tasks, killed and resumed; edits."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from diptych.engines.tokens.codec import Codec, CodecConfig
from diptych.engines.tokens.network import Tokens
from diptych.engines.tokens.pipeline import Pipeline
from diptych.engines.tokens.weights import write_model
from diptych.errors import WeightsError
from diptych.training.edits import Edited, Shown
from diptych.training.tokens import SHEET, SMOKE, Cached, TokensTraining, cache_codes, train_tokens

COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220), "white": (250, 250, 250)}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "on", "background", *COLOURS, "make", "it"]
CODEC = CodecConfig(widths=(8, 8, 8, 8), decoder_blocks=1, levels=4, channels=4, groups=2)
# Stops itself, unsaved work in hand: in the middle of a shard, or at a step.
KILLED = """
import os, signal, sys
from pathlib import Path
from diptych.training import checkpoint
from tests.training import test_tokens
where, step = sys.argv[2], int(sys.argv[3])
if where == "step":
    advance = checkpoint.Checkpoint.advance
    def killing(self, decay):
        if self.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        advance(self, decay)
    checkpoint.Checkpoint.advance = killing
else:
    show, shown = test_tokens.Squares.show, []
    def killing(self, rng, size):
        shown.append(size)
        if len(shown) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return show(self, rng, size)
    test_tokens.Squares.show = killing
test_tokens.run(Path(sys.argv[1]), print)
"""


class Squares:
    """Plain pictures with the name of their colour."""

    def show(self, rng: np.random.Generator, size: int) -> Shown:
        name = str(rng.choice(list(COLOURS)))
        return Shown(self.plain(name, size), (f"a {name} background", name), f"a {name} background")

    def edit(self, rng: np.random.Generator, size: int) -> Edited:
        old, new = rng.choice(list(COLOURS), 2, replace=False)
        return Edited(self.plain(str(old), size), self.plain(str(new), size), (f"make it {new}",))

    def plain(self, name: str, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.broadcast_to(np.array(COLOURS[name], np.uint8), (size, size, 3)).copy()


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]"))  # noqa: S106
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def codec(seed: int = 0) -> Codec:
    torch.manual_seed(seed)
    made = Codec(CODEC).eval()
    made.encoder.conv_out.weight.data.mul_(4)  # or a random encoder tells hardly anything apart
    return made


def table() -> torch.Tensor:
    return torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


def run(folder: Path, say: Callable[[str], None]) -> Tokens:
    return train_tokens(codec(), Squares(), table(), tokenizer(), SMOKE, folder, say)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokens, list[str], Path]:
    """A training that nothing disturbed, what it said, and its folder."""
    folder, said = tmp_path_factory.mktemp("undisturbed"), list[str]()
    return run(folder, said.append), said, folder


def test_it_reports_every_task_and_leaves_sheets(trained: tuple[Tokens, list[str], Path]) -> None:
    _, said, folder = trained
    assert sum(line.startswith("codes of 32x32, shown") for line in said) == 2
    assert sum(line.startswith("codes of 64x64") for line in said) == 2
    assert said[-1].startswith("tokens 12/12, loss of ")
    assert "described as" in said[-1]
    assert {task for line in said for task in ("drawing", "describing", "editing") if task in line} == {
        "drawing",
        "describing",
        "editing",
    }
    with Image.open(folder / "tokens-000012.png") as image:
        assert image.size == (len(SHEET) * SMOKE.size, 4 * SMOKE.size)


@pytest.mark.parametrize(("where", "step"), [("step", 5), ("step", 11), ("shard", 6)])
def test_killed_and_resumed_is_as_if_undisturbed(
    where: str, step: int, trained: tuple[Tokens, list[str], Path], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), where, str(step)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    said: list[str] = []
    resumed = run(tmp_path, said.append)
    first = "tokens 2/" if where == "step" else "codes of 32x32, shown 4/"
    assert not any(line.startswith(first) for line in said)  # it went on; it did not begin again
    for key, value in trained[0].state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_the_words_stay_as_they_were_distilled(trained: tuple[Tokens, list[str], Path]) -> None:
    assert torch.equal(trained[0].table.weight, table())


def test_what_was_trained_draws_describes_and_edits(trained: tuple[Tokens, list[str], Path], tmp_path: Path) -> None:
    write_model(
        tmp_path,
        network=(SMOKE.network, trained[0].state_dict()),
        codec=(CODEC, codec().state_dict()),
        tokenizer=tokenizer().to_str(),
        settings={},
    )
    pipeline = Pipeline.load(tmp_path, torch.device("cpu"), torch.float32)
    picture = pipeline("a red background", width=32, height=32, passes=2, guidance=2.0, seed=0)
    assert picture.shape == (32, 32, 3)
    assert pipeline.edit(picture, "make it blue", passes=2, guidance=2.0, seed=0).shape == (32, 32, 3)
    assert isinstance(pipeline.describe(picture), str)


def test_codes_of_another_codec_or_a_broken_file_are_refused(
    trained: tuple[Tokens, list[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="are of another codec or plan"):
        cache_codes(codec(seed=1), Squares(), SMOKE, 32, trained[2], lambda line: None)
    cache_codes(codec(), Squares(), SMOKE, 32, tmp_path, lambda line: None)
    shard = tmp_path / "codes-32" / "shown-0001.npz"
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"shown-0001\.npz cannot be read"):
        cache_codes(codec(), Squares(), SMOKE, 32, tmp_path, lambda line: None)


def test_what_is_cached_is_what_the_codec_says(tmp_path: Path) -> None:
    cached = cache_codes(codec(), Squares(), SMOKE, 32, tmp_path, lambda line: None)
    rng = np.random.default_rng([SMOKE.seed, 32, False, 0])
    shown = Squares().show(rng, 32)
    pixels = torch.from_numpy(shown.picture).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        expected = codec().encode(pixels)[0]
    assert np.array_equal(cached.codes[0], expected.numpy())
    assert cached.captions[0] == list(shown.captions)
    assert len(cached.captions) == len(cached.codes) == SMOKE.pictures
    assert len(cached.instructions) == len(cached.before) == len(cached.after) == SMOKE.edits


def test_all_three_tasks_are_learned(tmp_path: Path) -> None:
    """Three colours as three patterns of codes: a small network learns to draw, name and change them in seconds."""
    patterns = np.random.default_rng(0).integers(16, size=(3, 4, 2)).astype(np.int16)
    names = list(COLOURS)
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    cached = Cached(
        patterns,
        [[f"a {name} background"] for name in names],
        [f"a {name} background" for name in names],
        patterns[[a for a, _ in pairs]],
        patterns[[b for _, b in pairs]],
        [[f"make it {names[b]}"] for _, b in pairs],
    )
    plan = replace(SMOKE, steps=200, large_steps=0, batch=16, caption_dropout=0.0, adam_lr=5e-3)
    training = TokensTraining(table(), tokenizer(), plan, {plan.size: cached}, tmp_path)
    losses: dict[str, list[float]] = {"drawing": [], "describing": [], "editing": []}
    for _ in range(plan.steps):
        task, loss = training.step()
        losses[task].append(loss)
    for task, values in losses.items():
        assert np.mean(values[-10:]) < 0.6 * np.mean(values[:3]), (task, values)
