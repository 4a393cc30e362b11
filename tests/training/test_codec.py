"""The tokenizer's training at a size that learns nothing: both stages, killed and resumed, and their losses."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from diptych.engines.tokens.codec import Codec
from diptych.errors import WeightsError
from diptych.training.codec import SMOKE, edges, polish_codec, to_pixels, train_codec, unlike

# Stops itself, unsaved work in hand, at the step that is named on the command line.
KILLED = """
import os, signal, sys
from pathlib import Path
from diptych.training import checkpoint
from tests.training.test_codec import run
stage, step = sys.argv[2], int(sys.argv[3])
advance = checkpoint.Checkpoint.advance
def killing(self, decay):
    if self.path.stem == stage and self.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
    advance(self, decay)
checkpoint.Checkpoint.advance = killing
run(Path(sys.argv[1]), print)
"""


def draw(rng: np.random.Generator, count: int, size: int) -> NDArray[np.uint8]:
    """Plain squares on plain backgrounds."""
    pictures = np.empty((count, size, size, 3), np.uint8)
    pictures[:] = rng.integers(256, size=(count, 1, 1, 3))
    y, x = rng.integers(size // 2, size=2)
    pictures[:, y : y + size // 2, x : x + size // 2] = rng.integers(256, size=(count, 1, 1, 3))
    return pictures


def run(folder: Path, say: object) -> tuple[Codec, Codec]:
    assert callable(say)
    trained = train_codec(draw, SMOKE, folder, say)
    return trained, polish_codec(trained, draw, SMOKE, folder, say)


def test_both_stages_report_and_leave_sheets(tmp_path: Path) -> None:
    said: list[str] = []
    trained, polished = run(tmp_path, said.append)
    assert [line.split(",")[0] for line in said] == ["codec 2/4", "codec 4/4", "polish 2/4", "polish 4/4"]
    assert all("held out" in line and "codes used" in line for line in said)
    for sheet in ("codec.png", "polish.png"):
        with Image.open(tmp_path / sheet) as image:
            assert image.size == (12 * SMOKE.size, 2 * SMOKE.size)
    for key, value in trained.encoder.state_dict().items():  # codes stay what they are
        assert torch.equal(value, polished.encoder.state_dict()[key])
    assert not torch.equal(trained.decoder.conv_out.weight, polished.decoder.conv_out.weight)


@pytest.mark.parametrize(("stage", "step"), [("codec", 3), ("polish", 3)])
def test_killed_and_resumed_is_as_if_undisturbed(stage: str, step: int, tmp_path: Path) -> None:
    _, undisturbed = run(tmp_path / "undisturbed", lambda line: None)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), stage, str(step)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    said: list[str] = []
    _, resumed = run(tmp_path / "killed", said.append)
    assert not any(line.startswith(f"{stage} 2/") for line in said)  # it went on; it did not begin again
    for key, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train_codec(draw, SMOKE, tmp_path, lambda line: None)
    with pytest.raises(WeightsError, match="batch is 2 there and 3 here"):
        train_codec(draw, replace(SMOKE, batch=3), tmp_path, lambda line: None)


def test_it_learns_to_tell_light_from_dark(tmp_path: Path) -> None:
    def plain(rng: np.random.Generator, count: int, size: int) -> NDArray[np.uint8]:
        return np.broadcast_to(rng.choice([20, 235], (count, 1, 1, 1)), (count, size, size, 3)).astype(np.uint8)

    plan = replace(SMOKE, steps=80, batch=8, save_every=80)
    codec = train_codec(plain, plan, tmp_path, lambda line: None)
    pixels = to_pixels(plain(np.random.default_rng(9), 8, plan.size))
    with torch.inference_mode():
        error = (codec(pixels) - pixels).abs().mean()
    assert error < 0.3  # of a range of 2; 0.84 would be knowing nothing


def test_edges_count_outlines_and_not_areas() -> None:
    a = torch.rand(1, 3, 8, 8)
    assert edges(a, a + 0.3).item() == pytest.approx(0, abs=1e-6)
    assert edges(a, a.flip(-1)).item() > 0.1


def test_features_are_compared_by_direction() -> None:
    def features(x: Tensor) -> list[Tensor]:
        return [x, F.avg_pool2d(x, 2)]

    a = torch.rand(2, 3, 8, 8, requires_grad=True)
    loss = unlike(features, a, a.detach().flip(-1))
    loss.backward()
    assert a.grad is not None
    assert loss.item() > 0
    assert unlike(features, a, 2 * a.detach()).item() == pytest.approx(0, abs=1e-9)
    assert unlike(None, a, a.flip(-1)).item() == 0
