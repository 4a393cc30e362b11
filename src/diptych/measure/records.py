"""The vector of measures: what each number is, where its formula comes from, its unit and range."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diptych.errors import DiptychError

VERSION = 1
"""Of the formulas. Raised whenever one changes, so that numbers of two versions are never put side by side."""

COMMON_PIXELS = 512 * 512
"""The area of the common size: most models of the catalogue make pictures of more."""


@dataclass(frozen=True, kw_only=True)
class AtSize:
    """What the pixels say at one size.

    Grey is the luma of ITU-R BT.601 in whole levels from 0 to 255 (Pillow's mode `L`). None: the picture is too small
    for the measure, or has nothing that it could be read off.
    """

    width: int
    """Pixels, as is `height`."""
    height: int
    laplacian_variance: float | None
    """Variance of the 4-neighbour Laplacian of grey. Squared grey levels, at least 0; sharper is more, noise is more
    too. Pech-Pacheco and others, "Diatom autofocusing in brightfield microscopy", ICPR 2000. From 3x3 pixels."""
    tenengrad: float | None
    """Mean squared magnitude of the 3x3 Sobel gradient of grey. Squared grey levels (the Sobel kernel sums to 8), at
    least 0; sharper is more, noise is more too. Tenenbaum 1970; as in Pertuz and others, "Analysis of focus measure
    operators for shape-from-focus", Pattern Recognition 46(5), 2013. From 3x3 pixels."""
    blur: float | None
    """How little of the Sobel edges an 11-pixel mean takes away, the worse of both directions. 0 sharp to 1 blurred;
    noise is less. Crete and others, "The blur effect", SPIE 6492, 2007, as scikit-image has it in `blur_effect`.
    From 12x12 pixels; a flat picture has none."""
    spectrum_slope: float | None
    """Slope of log power over log frequency, of the radially averaged power spectrum. About -2 for photographs (Field,
    "Relations between the statistics of natural images", JOSA A 4(12), 1987), 0 for white noise, lower for blur.
    How it is fitted: `diptych.measure.vector.spectrum_slope`. From 32x32 pixels; a flat picture has none."""
    noise: float | None
    """Standard deviation of white Gaussian noise that would explain the finest diagonal wavelet coefficients: their
    median magnitude over 0.6745 (db2). Grey levels, at least 0. Fine texture counts as noise too. Donoho and
    Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81(3), 1994. From 16x16 pixels."""
    contrast: float
    """RMS contrast: standard deviation of grey over 255. 0 for one flat grey to 0.5 for half black, half white.
    Peli, "Contrast in complex images", JOSA A 7(10), 1990."""
    colourfulness: float
    """Spread and mean of the opponent colours. 0 for grey, about 30 moderate, above 100 extreme. Hasler and
    Suesstrunk, "Measuring colourfulness in natural images", SPIE 5007, 2003."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Everything that is measured of one picture."""

    original: AtSize
    """At the size in which the picture came."""
    common: AtSize
    """At the common size, where models of different output size compare: the picture reduced, with its aspect, to
    about `COMMON_PIXELS` pixels by averaging areas, which invents no overshoot at edges as sharper filters do.
    A picture that has no more pixels than that is not enlarged, for its detail would be made up: `common` equals
    `original`, and its `width` and `height` say how much smaller it is."""
    bits_per_pixel: float | None
    """Of the original file, metadata included. Between files of one format and quality, more is more detail or more
    noise. None for an animation, whose bytes are those of many pictures."""
    perceptual_hash: int
    """64 bits, the first in the highest place: pHash, which coefficients of the 8x8 lowest frequencies of the 32x32
    picture are above their median. Equal to `imagehash.phash`, and compared by `near_duplicates`."""
    version: int = VERSION

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the hash as 16 hexadecimal digits, since many readers of JSON have no 64-bit integers."""
        return {**dataclasses.asdict(self), "perceptual_hash": f"{self.perceptual_hash:016x}"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measures:
        """The inverse of `to_dict`. Raises DiptychError for another version, and for what is no vector of measures."""
        version = values.get("version")
        if version != VERSION:
            raise DiptychError(
                f"These measures are of version {version}; this diptych computes version {VERSION}. Measure anew."
            )
        try:
            given = {**values, "perceptual_hash": int(values["perceptual_hash"], 16)}
            for name in ("original", "common"):
                given[name] = AtSize(**given[name])
            return cls(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise DiptychError(f"These are no measures: {type(error).__name__}: {error}.") from None


@dataclass(frozen=True)
class Quantity:
    """How a measure is shown to people."""

    name: str
    """Of the field in `AtSize`."""
    label: str
    unit: str
    """Or range; empty where there is none."""
    decimals: int
    """Worth showing."""
    reading: str
    """What more, or less, of it says."""


QUANTITIES = (
    Quantity("laplacian_variance", "Laplacian variance", "grey levels squared", 1, "more is sharper or noisier"),
    Quantity("tenengrad", "Tenengrad", "grey levels squared", 0, "more is sharper or noisier"),
    Quantity("blur", "blur effect", "0 to 1", 3, "less is sharper or noisier"),
    Quantity("spectrum_slope", "spectrum slope", "", 2, "photographs have about -2; less is smoother, more is noisier"),
    Quantity("noise", "noise", "grey levels", 2, "more is noise or fine texture"),
    Quantity("contrast", "RMS contrast", "0 to 0.5", 3, "more is contrast"),
    Quantity("colourfulness", "colourfulness", "0 to about 150", 1, "more is colour"),
)


def common_size(width: int, height: int) -> tuple[int, int]:
    """The size at which a picture of `width` x `height` is measured beside others."""
    if width * height <= COMMON_PIXELS:
        return width, height
    scale = math.sqrt(COMMON_PIXELS / (width * height))
    return max(1, round(width * scale)), max(1, round(height * scale))
