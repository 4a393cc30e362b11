"""`diptych walk`, and `generate --from`: what is made again, and what lies between."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.images import encode_png
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("tiny")

WALK = ("walk", "a red fox", "-m", "tiny", "--seed", 1)


def test_a_walk_between_two_seeds_begins_and_ends_there(run_cli: Run, folder: Path) -> None:
    code, out, err = run_cli(*WALK, "--to", 7, "--frames", 4, "-o", "frames")
    assert code == 0, err
    assert out.split() == [f"frames/frame-000{i}.png" for i in (1, 2, 3, 4)]
    frames = [np.asarray(Image.open(name), int) for name in out.split()]
    ends = [np.asarray(diptych.generate("a red fox", model="tiny", seed=seed).image, int) for seed in (1, 7)]
    assert (frames[0] == ends[0]).all()
    assert abs(frames[-1] - ends[1]).max() <= 1
    assert (frames[1] != frames[0]).any()
    recipe = diptych.read_recipe("frames/frame-0002.png")
    assert recipe["request"]["options"] == {"walk_seed": 7, "walk": 1 / 3}


def test_an_animation_goes_there_and_back(run_cli: Run, folder: Path) -> None:
    code, out, _ = run_cli(*WALK, "--blend", "an owl", "--frames", 3)
    assert (code, out) == (0, "walk.webp\n")
    with Image.open("walk.webp") as image:
        assert (image.n_frames, image.size) == (4, (32, 32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Walk where to?"),
        (("--to", 2, "--frames", 1), "--frames is 1; a walk has 2 to 1000"),
        (("--to", 2, "-o", "walk.gif"), "written as .webp, or as frames"),
        (("--to", 2, "-m", "gpt-image-2"), "no setting"),
    ],
)
def test_a_walk_that_cannot_be(arguments: tuple[object, ...], message: str, run_cli: Run, folder: Path) -> None:
    code, out, err = run_cli(*WALK, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert list(folder.iterdir()) == []


def test_a_picture_is_made_again_from_its_recipe(run_cli: Run, folder: Path) -> None:
    run_cli("generate", "a red fox", "-m", "tiny", "--seed", 3, "--steps", 4, "--set", "shift=2", "-o", "fox.png")
    code, out, err = run_cli("generate", "--from", "fox.png", "-o", "again.png")
    assert (code, out) == (0, "again.png\n")
    assert "Note" not in err
    assert Path("again.png").read_bytes() == Path("fox.png").read_bytes()
    run_cli("generate", "--from", "fox.png", "--steps", 2, "-o", "other.png")
    recipe = diptych.read_recipe("other.png")
    assert (recipe["model"], recipe["request"]["steps"], recipe["request"]["seed"]) == ("tiny", 2, 3)
    assert recipe["request"]["options"] == {"shift": 2}
    run_cli("generate", "a blue car", "--from", "fox.png", "-o", "car.png")
    assert diptych.read_recipe("car.png")["request"]["prompt"] == "a blue car"


def test_other_weights_are_noted(run_cli: Run, folder: Path) -> None:
    run_cli("generate", "a red fox", "-m", "tiny", "--seed", 3, "-o", "fox.png")
    recipe = diptych.read_recipe("fox.png")
    Path("old.png").write_bytes(encode_png(Image.open("fox.png"), {**recipe, "weights": "0" * 64}))
    code, _, err = run_cli("generate", "--from", "old.png", "-o", "new.png")
    assert code == 0
    assert "tiny has other weights than when old.png was made" in err


def test_what_has_no_recipe_is_refused(run_cli: Run, folder: Path) -> None:
    Image.new("RGB", (8, 8)).save("plain.png")
    assert run_cli("generate", "--from", "plain.png")[0] != 0
    code, _, err = run_cli("generate")
    assert code == 2
    assert "What shall it show?" in err
    assert json.dumps(sorted(path.name for path in folder.iterdir())) == '["plain.png"]'
