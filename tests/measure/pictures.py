"""Pictures with known properties, and photographs that come with scikit-image."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "grass", "moon", "rocket", "text")


def png(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def grey_of(image: Image.Image) -> np.ndarray:
    """BT.601 luma as Pillow documents `L`, in its fixed point, written anew."""
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int64), -1, 0)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def flat(value: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def checkerboard(side: int = 64) -> np.ndarray:
    """Black and white, a pixel each."""
    return (np.indices((side, side)).sum(0) % 2 * 255).astype(np.uint8)


def white_noise(sigma: float, side: int = 512, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(128, sigma, (side, side))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def coloured_noise(slope: float, side: int = 1024, seed: int = 0) -> np.ndarray:
    """Gaussian noise whose power falls as frequency to the power of `slope`."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((side, side))) * frequency ** (slope / 2)
    values = np.fft.irfft2(spectrum, (side, side))
    return np.clip(np.rint(128 + 30 * values / values.std()), 0, 255).astype(np.uint8)
