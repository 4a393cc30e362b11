"""`diptych show`: the recipe inside a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import diptych
from diptych.images import encode_png
from tests.cli.conftest import Run

RECIPE = {
    "version": 1,
    "model": "tiny",
    "request": {
        "prompt": "a [red] fox",
        "negative": "blur",
        "width": 64,
        "height": 32,
        "steps": 3,
        "guidance": 2.5,
        "seed": 7,
    },
    "weights": "0123456789abcdef" * 4,
    "sampler": "Euler",
    "device": "cpu",
    "dtype": "float32",
    "versions": {"diptych": "0.1.0", "torch": "2.13.0"},
}


@pytest.fixture
def picture(folder: Path) -> Path:
    path = folder / "fox.png"
    path.write_bytes(encode_png(Image.new("RGB", (64, 32)), RECIPE))
    return path


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_everything_that_makes_it_again(run_cli: Run, picture: Path) -> None:
    code, out, err = run_cli("show", picture)
    assert (code, err) == (0, "")
    assert [line.strip().split(maxsplit=1) for line in out.splitlines()][:7] == [
        ["prompt", "a [red] fox"],
        ["negative", "blur"],
        ["model", "tiny"],
        ["seed", "7"],
        ["size", "64 x 32"],
        ["steps", "3"],
        ["guidance", "2.5"],
    ]
    for said in ("Euler", "0123456789abcdef" * 4, "cpu float32", "diptych 0.1.0, torch 2.13.0"):
        assert said in out


def test_as_json_it_is_the_recipe(run_cli: Run, picture: Path) -> None:
    code, out, err = run_cli("show", picture, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == RECIPE == diptych.read_recipe(picture)


def test_a_recipe_of_little(run_cli: Run, picture: Path) -> None:
    recipe = {"version": 1, "model": "hosted", "request": {"prompt": "雪の中の狐"}, "versions": {"diptych": "0.1.0"}}
    picture.write_bytes(encode_png(Image.new("RGB", (8, 8)), recipe))
    code, out, _ = run_cli("show", picture)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["prompt", "model", "made"]
    assert "雪の中の狐" in out
