"""Checkpoints: in parts, whole or not at all, of their own recipe only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diptych.errors import OutputError, WeightsError
from diptych.training import checkpoint as checkpoint_module
from diptych.training.checkpoint import Checkpoint, digest
from diptych.training.optim import Optimizers


@dataclass(frozen=True)
class Recipe:
    width: int = 24
    rates: tuple[float, float] = (0.1, 0.2)


def make(path: Path, recipe: object = None, width: int = 24) -> Checkpoint:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))
    return Checkpoint(path, module, Optimizers([module], 0.02, 1e-3), np.random.default_rng(0), recipe)


def train(checkpoint: Checkpoint, steps: int) -> None:
    for _ in range(steps):
        numbers = torch.from_numpy(checkpoint.rng.standard_normal((4, 24))).float() + torch.randn(4, 24)
        checkpoint.module(numbers).square().mean().backward()
        checkpoint.optimizers.step(0.5)
        checkpoint.advance(0.9)


def weights(checkpoint: Checkpoint) -> torch.Tensor:
    return torch.cat([v.flatten() for v in [*checkpoint.module.state_dict().values(), *checkpoint.average.values()]])


def test_resumed_is_as_if_it_had_gone_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "PART", 4000)
    straight = make(tmp_path / "straight.ckpt")
    train(straight, 6)
    first = make(tmp_path / "run.ckpt", Recipe())
    assert first.load() == 0
    train(first, 3)
    first.save()
    second = make(tmp_path / "run.ckpt", Recipe())
    torch.manual_seed(99)
    assert second.load() == 3
    train(second, 3)
    assert torch.equal(weights(second), weights(straight))


def test_parts_stay_small_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "PART", 4000)
    checkpoint = make(tmp_path / "run.ckpt")
    (tmp_path / "run.ckpt.0000009.00").write_bytes(b"of a save that was killed")
    (tmp_path / "other.ckpt.0000001.00").write_bytes(b"not ours")
    for _ in range(2):
        train(checkpoint, 1)
        checkpoint.save()
        checkpoint.save()  # the same step again
    parts = json.loads((tmp_path / "run.ckpt").read_text())["parts"]
    assert len(parts) > 3
    assert {p.name for p in tmp_path.iterdir()} == {*parts, "run.ckpt", "other.ckpt.0000001.00"}
    assert max(p.stat().st_size for p in tmp_path.iterdir()) <= 4000
    assert make(tmp_path / "run.ckpt").load() == 2


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "PART", 4000)
    checkpoint = make(tmp_path / "run.ckpt")
    train(checkpoint, 1)
    checkpoint.save()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    train(checkpoint, 1)
    (tmp_path / "run.ckpt.0000002.02").symlink_to("/dev/full")  # the third part meets a full disk
    with pytest.raises(OutputError, match=r"No space left on device\. The checkpoint before it is untouched"):
        checkpoint.save()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert make(tmp_path / "run.ckpt").load() == 1
    fresh = make(tmp_path / "fresh.ckpt")
    (tmp_path / "fresh.ckpt.0000000.00").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="There was none before it"):
        fresh.save()


def test_another_recipe_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = make(tmp_path / "run.ckpt", Recipe())
    checkpoint.save()
    assert make(tmp_path / "run.ckpt").load() == 0  # which asks for none
    with pytest.raises(
        WeightsError, match=r"another recipe .*rates is \[0\.1, 0\.2\] there and \[0\.1, 0\.3\] here\. Go on"
    ):
        make(tmp_path / "run.ckpt", Recipe(rates=(0.1, 0.3))).load()
    assert digest(Recipe()) == digest({"rates": [0.1, 0.2], "width": 24})


def test_what_is_damaged_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    make(path).save()
    with pytest.raises(WeightsError, match="cannot be resumed"):
        make(path, width=32).load()
    part = next(tmp_path.glob("run.ckpt.*"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match=f"{part.name}, a part of a checkpoint, was truncated or altered"):
        make(path).load()
    part.unlink()
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        make(path).load()
    for content in (b"\x80\x04 an old pickle", b"{}", b'{"format": 7, "parts": {}}'):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="is not a checkpoint of this version"):
            make(path).load()
