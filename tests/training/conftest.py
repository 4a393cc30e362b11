"""A small set of training data of the real kinds and in the real layout, drawn here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diptych.training.library import Library, load_library

LISTING = """# what is learned
apple: red apple
*ball: toy ball
brown box = box: package, parcel
woman: lady
mouse
star
"""
CODES = {
    "apple": "1f34e",
    "ball": "26bd-fe0f",
    "brown box": "1f4e6",
    "woman": "1f469",
    "mouse": "1f401",
    "star": "2b50",
}
DRAWN = {
    "apple": ("ellipse", (214, 30, 40)),
    "ball": ("ellipse", (60, 170, 70)),
    "brown box": ("rectangle", (140, 90, 50)),
    "woman": ("ellipse", (250, 200, 60)),
    "mouse": ("triangle", (150, 150, 155)),
    "star": ("triangle", (250, 205, 40)),
}
SKINS = ((250, 222, 200), (235, 200, 160), (200, 150, 110), (150, 100, 70), (90, 60, 45))


def _render(path: Path, shape: str, colour: tuple[int, int, int]) -> None:
    render = Image.new("RGBA", (64, 64))
    pen = ImageDraw.Draw(render)
    if shape == "ellipse":
        pen.ellipse((8, 10, 56, 54), fill=colour)
    elif shape == "rectangle":
        pen.rectangle((6, 14, 58, 50), fill=colour)
    else:
        pen.polygon(((32, 4), (60, 56), (4, 56)), fill=colour)
    render.save(path, lossless=True)


@pytest.fixture(scope="session")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `data.fetch` leaves it, without the sentence encoder."""
    folder = tmp_path_factory.mktemp("emoji")
    assets = folder / "fluent-emoji-3d" / "assets"
    assets.mkdir(parents=True)
    entries = []
    for label, code in CODES.items():
        _render(assets / f"{code}.webp", *DRAWN[label])
        entries.append({"label": label, "hexcode": code.upper(), "tags": ["a", "b"]})
    skins = []
    for tone, colour in enumerate(SKINS, 1):
        code = f"1f469-1f3f{'bcdef'[tone - 1]}"
        _render(assets / f"{code}.webp", "ellipse", colour)
        skins.append({"hexcode": code.upper(), "tone": tone, "label": f"woman: tone {tone}"})
    next(e for e in entries if e["label"] == "woman")["skins"] = skins  # type: ignore[assignment]
    names = folder / "emojibase-data" / "en"
    names.mkdir(parents=True)
    (names / "data.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(scope="session")
def library(emoji: Path) -> Library:
    return load_library(emoji, listing=LISTING, size=64)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
