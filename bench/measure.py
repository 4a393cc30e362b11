"""How fast pictures are measured: diptych beside the same measures taken one by one with the usual libraries.

    python bench/measure.py [--pictures 6] [--rounds 5]

Both start from the bytes of a file, decode them once with Pillow, and give the same vector: every measure at the
original and at the common size, and the perceptual hash. The libraries are called as people call them: OpenCV for
Laplacian variance and Tenengrad, scikit-image for blur effect and noise, scipy for the spectrum, numpy for contrast and
colourfulness, imagehash for the hash, Pillow for decoding, grey and the common size.

Both sides run on one thread (OpenCV is told so, the others use no more), in this process, taking turns picture by
picture; of several rounds the best counts. The pictures are drawn here: pink noise as texture, shapes for edges, a
little grain. That both sides agree is checked before anything is timed.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import imagehash
import numpy as np
import numpy.typing as npt
import scipy.fft
import skimage.measure
import skimage.restoration
from PIL import Image, ImageDraw

from diptych.measure import QUANTITIES, measure, vector
from diptych.measure.decode import decode
from diptych.measure.records import common_size

Grey = npt.NDArray[np.uint8]
Step = tuple[str, Callable[[Any], object], Callable[[Any], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)

    row("pictures a second", "diptych", "libraries", "ratio")
    for side in (512, 1024):
        for kind in ("PNG", "JPEG"):
            files = [encode(photo_like(side, seed), kind) for seed in range(options.pictures)]
            for data in files:
                check_agreement(data)
            ours, theirs = in_turn(measure, with_libraries, files, options.rounds)
            row(f"{kind} {side}x{side}", f"{1 / ours:.1f}", f"{1 / theirs:.1f}", f"{theirs / ours:.1f}x")

    row()
    row("ms, PNG 1024x1024", "diptych", "libraries", "ratio")
    data = encode(photo_like(1024, 0), "PNG")
    taken = {}
    for name, our_step, their_step in steps(data):
        taken[name] = in_turn(our_step, their_step, [data], 5 * options.rounds)
    decoding, everything = np.array(taken["decode"]), np.array(taken["everything"])
    taken["all but decoding"] = tuple(everything - decoding)
    for name, (ours, theirs) in taken.items():
        row(name, f"{ours * 1e3:.2f}", f"{theirs * 1e3:.2f}", f"{theirs / ours:.1f}x")


def row(name: str = "", *cells: str) -> None:
    sys.stdout.write(f"{name:24}" + "".join(f"{cell:>12}" for cell in cells) + "\n")
    sys.stdout.flush()


def in_turn(
    ours: Callable[[Any], object], theirs: Callable[[Any], object], items: list[bytes], rounds: int
) -> tuple[float, float]:
    """Mean seconds an item on each side: for each item the best of `rounds`, the sides taking turns."""
    best = np.full((len(items), 2), math.inf)
    for _ in range(rounds):
        for item, seconds in zip(items, best, strict=True):
            for side, function in enumerate((ours, theirs)):
                start = time.perf_counter()
                function(item)
                seconds[side] = min(seconds[side], time.perf_counter() - start)
    mean = best.mean(axis=0)
    return float(mean[0]), float(mean[1])


# The pictures


def photo_like(side: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = math.inf
    spectrum = np.fft.rfft2(rng.standard_normal((3, side, side))) / frequency**1.2
    texture = np.fft.irfft2(spectrum, (side, side))
    colours = 128 + 40 * np.moveaxis(texture / texture.std(), 0, -1)
    image = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = rng.integers(0, side, 2)
        width, height = rng.integers(side // 20, side // 4, 2)
        box = (int(left), int(top), int(left + width), int(top + height))
        fill = tuple(int(c) for c in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=fill)
    grain = np.asarray(image) + rng.normal(0, 1.5, (side, side, 3))
    return Image.fromarray(np.clip(np.rint(grain), 0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 92} if kind == "JPEG" else {}))
    return out.getvalue()


# The same with the usual libraries


def with_libraries(data: bytes) -> tuple[dict[str, float], dict[str, float], str]:
    """The measures at the original and at the common size, and the hash."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    original = one_by_one(image)
    smaller = common_size(*image.size)
    common = original if smaller == image.size else one_by_one(image.resize(smaller, Image.Resampling.BOX))
    return original, common, str(imagehash.phash(image))


def one_by_one(image: Image.Image) -> dict[str, float]:
    grey = np.asarray(image.convert("L"))
    return {
        "laplacian_variance": laplacian_variance(grey),
        "tenengrad": tenengrad(grey),
        "blur": float(skimage.measure.blur_effect(grey)),
        "spectrum_slope": spectrum_slope(grey),
        "noise": float(skimage.restoration.estimate_sigma(grey.astype(float))),
        "contrast": float(grey.std() / 255),
        "colourfulness": colourfulness(np.asarray(image)),
    }


def laplacian_variance(grey: Grey) -> float:
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def tenengrad(grey: Grey) -> float:
    across, down = cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1)
    return float((across**2 + down**2).mean())


def colourfulness(colours: npt.NDArray[np.uint8]) -> float:
    red, green, blue = np.moveaxis(colours.astype(float), -1, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def spectrum_slope(grey: Grey, side: int = 256) -> float:
    """Of pictures whose sides are multiples of `side`."""
    rows, columns = grey.shape[0] // side, grey.shape[1] // side
    tiles = (grey - grey.mean()).reshape(rows, side, columns, side).swapaxes(1, 2)
    window = np.hanning(side + 1)[:-1]
    power = (np.abs(scipy.fft.fft2(tiles * np.outer(window, window))) ** 2).sum(axis=(0, 1))
    frequency = scipy.fft.fftfreq(side, 1 / side)
    rings = np.rint(np.hypot(frequency[:, None], frequency)).astype(int).ravel()
    density = np.bincount(rings, power.ravel()) / np.bincount(rings)
    radii = np.arange(4, side // 2 + 1)
    return float(np.polyfit(np.log(radii), np.log(density[radii]), 1, w=radii**-0.5)[0])


# Both


def check_agreement(data: bytes) -> None:
    """Raise where the sides do not mean the same thing."""
    measures = measure(data)
    original, common, perceptual_hash = with_libraries(data)
    if f"{measures.perceptual_hash:016x}" != perceptual_hash:
        raise SystemExit(f"The hashes differ: {measures.perceptual_hash:016x} and {perceptual_hash}.")
    for ours, theirs, at in ((measures.original, original, "original"), (measures.common, common, "common")):
        for quantity in QUANTITIES:
            a, b = getattr(ours, quantity.name), theirs[quantity.name]
            # scikit-image's noise counts the border too; halves are rounded differently by the two reductions
            tolerance = 0.05 if quantity.name == "noise" else 1e-4 if at == "original" else 0.01
            if not math.isclose(a, b, rel_tol=tolerance):
                raise SystemExit(f"{quantity.label} at the {at} size differs: {a} and {b}.")


def steps(data: bytes) -> Iterator[Step]:
    """Each measure by itself, at the original size, from pixels that are there already."""
    image, _ = decode(data)
    grey_image = image.convert("L")
    colours, grey = np.asarray(image), np.asarray(grey_image)
    across, down = cv2.spatialGradient(grey)
    size = common_size(*image.size)
    yield "decode", lambda _: decode(data), lambda _: Image.open(io.BytesIO(data)).convert("RGB")
    yield "grey", lambda _: np.asarray(image.convert("L")), lambda _: np.asarray(image.convert("L"))
    yield (
        "Laplacian variance",
        lambda _: vector.variance(cv2.Laplacian(grey, cv2.CV_16S)),
        lambda _: laplacian_variance(grey),
    )
    yield (
        "Tenengrad",
        lambda _: [vector.sum_of_squares(plane) for plane in cv2.spatialGradient(grey)],
        lambda _: tenengrad(grey),
    )
    yield "blur effect", lambda _: vector.blur_effect(grey, across, down), lambda _: skimage.measure.blur_effect(grey)
    yield "spectrum slope", lambda _: vector.spectrum_slope(grey), lambda _: spectrum_slope(grey)
    yield (
        "noise",
        lambda _: vector.noise(grey),
        lambda _: skimage.restoration.estimate_sigma(grey.astype(float)),
    )
    yield "RMS contrast", lambda _: vector.variance(grey), lambda _: grey.std()
    yield "colourfulness", lambda _: vector.colourfulness(colours), lambda _: colourfulness(colours)
    yield "perceptual hash", lambda _: vector.perceptual_hash(grey_image), lambda _: imagehash.phash(image)
    yield (
        "common size",
        lambda _: cv2.resize(colours, size, interpolation=cv2.INTER_AREA),
        lambda _: image.resize(size, Image.Resampling.BOX),
    )
    yield "everything", measure, with_libraries


if __name__ == "__main__":
    main()
