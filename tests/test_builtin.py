"""The model that ships: what it weighs, what it says of itself, and that it draws what is asked for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import diptych
from diptych import catalogue
from diptych.client import generate_many
from diptych.images import Request
from diptych.providers.local import _folder
from diptych.training.data import COLOURS

FOLDER = _folder(catalogue.load().find("builtin-flow"))
README = Path(__file__).parents[1] / "README.md"


def test_weights_are_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 40e6


def test_the_catalogue_and_the_model_say_the_same() -> None:
    said = catalogue.load().find("builtin-flow").settings
    assert said is not None
    known = json.loads((FOLDER / "model.json").read_text())["settings"]
    own = said.model_dump(mode="json", exclude_unset=True, exclude={"source", "date", "options", "references", "mask"})
    own["size"].pop("follows_reference")
    assert own == known


@pytest.mark.parametrize("colour", COLOURS)
def test_the_background_has_the_colour_of_the_prompt(colour: str) -> None:
    picture = diptych.generate(f"a dog on a {colour} background", seed=5, steps=12)
    pixels = np.asarray(picture.image, np.float32)
    edge = np.concatenate([pixels[:4].reshape(-1, 3), pixels[:, :4].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
    distances = {name: np.abs(np.median(edge, axis=0) - rgb).sum() for name, rgb in COLOURS.items()}
    assert min(distances, key=lambda name: distances[name]) == colour


def test_a_recipe_makes_the_same_bytes_again(tmp_path: Path) -> None:
    picture = diptych.generate("a penguin", steps=4)
    recipe = diptych.read_recipe(picture.save(tmp_path / "penguin.png"))
    again = next(generate_many([Request.from_dict(recipe["request"])], model=recipe["model"]))
    assert again.data == picture.data
    assert recipe["weights"] == again.recipe["weights"]


def test_a_picture_among_others_is_the_picture_alone() -> None:
    requests = [Request(prompt=p, seed=s, steps=4) for p, s in (("a fox", 1), ("a car on a red background", 2))]
    together = [picture.data for picture in generate_many(requests)]
    assert together == [next(generate_many([request])).data for request in requests]


def test_runs_where_bfloat16_is_slow(tmp_path: Path) -> None:
    code = "import diptych; print(diptych.generate('a star', steps=2, seed=1).recipe['dtype'])"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() in ("float32", "bfloat16")


def test_the_lines_of_the_readme_run(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    (saved,) = tmp_path.glob("*.png")
    assert diptych.read_recipe(saved)["model"] == "builtin-flow"
