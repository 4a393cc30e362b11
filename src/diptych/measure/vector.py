"""Pixels to numbers.

Grey, the Sobel gradient and its magnitude are computed once for all that need them. Filters work on 16-bit integers
and their sums are exact, so the numbers do not depend on the machine; noise and spectrum are in float32, and rounded.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike
from PIL import Image

from diptych.measure.decode import decode
from diptych.measure.records import AtSize, Measures, common_size

# Sides in pixels below which a measure is not defined.
SMALLEST_GRADIENT = 3
SMALLEST_BLUR = 12
SMALLEST_NOISE = 16
SMALLEST_SPECTRUM = 32

BLUR_WINDOW = 11
"""Pixels: the size in Crete and others, and scikit-image's default."""

DB2_HIGH_PASS = np.array([-0.12940952255126037, -0.22414386804201338, 0.83651630373780790, -0.48296291314453414])
"""Daubechies, "Ten lectures on wavelets", 1992: of four taps, orthonormal, blind to linear gradients."""
NORMAL_QUARTILE = 0.6744897501960817
"""The median magnitude of a normal variable of standard deviation 1."""

LARGEST_TILE = 256
LOWEST_RING = 4
"""Cycles a tile; below it the window's main lobe mixes in the mean."""

HASH_SIZE = 8
HASH_PICTURE = 32


def measure_picture(data: bytes) -> Measures:
    """See `diptych.measure.measure`."""
    image, animated = decode(data)
    width, height = image.size
    grey = image.convert("L")
    original = _at_size(np.asarray(image), np.asarray(grey))
    common = original
    if common_size(width, height) != (width, height):
        reduced = cv2.resize(np.asarray(image), common_size(width, height), interpolation=cv2.INTER_AREA)
        common = _at_size(reduced, np.asarray(Image.fromarray(reduced).convert("L")))
    return Measures(
        original=original,
        common=common,
        bits_per_pixel=None if animated else 8 * len(data) / (width * height),
        perceptual_hash=perceptual_hash(grey),
    )


def _at_size(colours: MatLike, grey: MatLike) -> AtSize:
    """Of bytes: colours, height x width x red, green, blue; grey, height x width."""
    height, width = grey.shape
    side = min(height, width)
    laplacian_variance = tenengrad = blur = None
    if side >= SMALLEST_GRADIENT:
        laplacian_variance = variance(cv2.Laplacian(grey, cv2.CV_16S))
        across, down = cv2.spatialGradient(grey)  # 3x3 Sobel, both in one pass
        tenengrad = (sum_of_squares(across) + sum_of_squares(down)) / grey.size
        if side >= SMALLEST_BLUR:
            blur = blur_effect(grey, across, down)
    return AtSize(
        width=width,
        height=height,
        laplacian_variance=laplacian_variance,
        tenengrad=tenengrad,
        blur=blur,
        spectrum_slope=spectrum_slope(grey) if side >= SMALLEST_SPECTRUM else None,
        noise=noise(grey) if side >= SMALLEST_NOISE else None,
        contrast=math.sqrt(variance(grey)) / 255,
        colourfulness=colourfulness(colours),
    )


def variance(values: MatLike) -> float:
    """Of whole numbers, from their exact sums."""
    total = round(cv2.sumElems(values)[0])
    return (values.size * sum_of_squares(values) - total * total) / values.size**2


def sum_of_squares(values: MatLike) -> int:
    """Sum of squares. OpenCV is exact but for the last bit, in which its builds differ."""
    return round(cv2.norm(values, cv2.NORM_L2SQR))


def sum_of_squared_differences(a: MatLike, b: MatLike) -> int:
    return round(cv2.norm(a, b, cv2.NORM_L2SQR))


def blur_effect(grey: MatLike, across: MatLike, down: MatLike) -> float | None:
    """Crete's blur effect; `across` and `down` are the Sobel derivatives of `grey`. None without any edge.

    With edges s, and b after the mean over the window, it is sum(s - max(0, s - b)) / sum(s): what is left of the
    edges, min(s, b). All is kept in whole numbers by leaving out the mean's division: b is 11 times too large,
    and so is made s. A direction without any edge has no say, where scikit-image calls it blurred.
    """
    worst = None
    for sharp, window, order in ((across, (BLUR_WINDOW, 1), (1, 0)), (down, (1, BLUR_WINDOW), (0, 1))):
        sums = cv2.boxFilter(grey, cv2.CV_16S, window, normalize=False, borderType=cv2.BORDER_REFLECT)
        blurred = cv2.Sobel(sums, cv2.CV_16S, *order)
        edges = np.abs(sharp[2:-1, 2:-1])  # the border as scikit-image leaves it out
        edges *= BLUR_WINDOW  # at most 11 x 1020, well within 16 bits
        total = cv2.norm(edges, cv2.NORM_L1)
        left = cv2.norm(np.minimum(edges, np.abs(blurred[2:-1, 2:-1])), cv2.NORM_L1)
        if total:
            worst = max(left / total, worst or 0.0)
    return worst


def noise(grey: MatLike) -> float:
    """Wavelet estimate of the noise's standard deviation: median of the finest diagonal db2 coefficients' magnitude.

    As `skimage.restoration.estimate_sigma`, but without the coefficients at the border, and with those that are
    exactly zero: leaving them out would judge a black background otherwise than a white one.
    """
    taps = DB2_HIGH_PASS.astype(np.float32)
    filtered = cv2.sepFilter2D(grey, cv2.CV_32F, taps, taps, anchor=(2, 2))
    magnitude = np.abs(filtered[2:-1:2, 2:-1:2])
    middle = magnitude.size // 2
    return round(float(np.partition(magnitude, middle, axis=None)[middle]) / NORMAL_QUARTILE, 4)


def spectrum_slope(grey: MatLike) -> float | None:
    """Slope of log power over log frequency. None where a band holds no power, as in a flat picture.

    Welch's method: the picture less its mean is covered with square tiles of 256 pixels (128, 64 or 32 where it is
    smaller), each under a Hann window; their power spectra are averaged, then over rings one cycle wide. A line is
    fitted from 4 cycles a tile to the Nyquist frequency, where every octave weighs the same. With tiles of 256
    that is from 1/64 to 1/2 cycle a pixel at every picture size, and no corner of the spectrum counts. Where the
    tiles fall matters: shifting a 512x512 photograph under them moves its slope by about 0.1.
    """
    side = min(LARGEST_TILE, 1 << (min(grey.shape).bit_length() - 1))
    window, rings, doubled = _spectrum_layout(side)
    centred = np.subtract(grey, cv2.mean(grey)[0], dtype=np.float32)
    power = np.zeros((side, side), np.float32)
    for top in _starts(grey.shape[0], side):
        for left in _starts(grey.shape[1], side):
            tile = centred[top : top + side, left : left + side] * window
            cv2.accumulateSquare(cv2.dft(tile, tile), power)
    totals = np.bincount(rings, power.ravel() * doubled)
    density = (totals / np.bincount(rings))[LOWEST_RING : side // 2 + 1]
    # Quantisation alone leaves some 1e-6 of the mean density in any ring; float32 rounding leaves 1e-13.
    if density.min() <= 1e-10 * totals.sum() / power.size:
        return None
    ring = np.arange(LOWEST_RING, side // 2 + 1)
    x, y, weight = np.log(ring), np.log(density), 1 / ring
    x -= np.average(x, weights=weight)
    return round(float((weight * x * y).sum() / (weight * x * x).sum()), 4)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin that cover `length` with as little overlap as there can be."""
    count = math.ceil(length / side)
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]


@functools.lru_cache
def _spectrum_layout(side: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Window (side x side), ring and multiplicity (side * side) of each place in OpenCV's packed real spectrum.

    Packed, a coefficient's real and imaginary part lie in two neighbouring places: in a row, except in the first and
    last column, where they lie below each other. As the other half of the spectrum mirrors this one, each place
    counts twice, but for the four corners, which are coefficients without a mirror image or an imaginary part.
    Source: OpenCV's documentation of `dft`, the CCS format.
    """
    hann = np.hanning(side + 1)[:-1]
    packed = (np.arange(side) + 1) // 2
    places = np.arange(side)
    down = np.tile(np.minimum(places, side - places)[:, None], side)
    down[:, 0] = down[:, -1] = packed
    rings = np.rint(np.hypot(packed[None, :], down)).astype(np.intp)
    doubled = np.full((side, side), 2, np.float32)
    doubled[:: side - 1, :: side - 1] = 1
    return np.outer(hann, hann).astype(np.float32), rings.ravel(), doubled.ravel()


def colourfulness(colours: MatLike) -> float:
    """Hasler and Suesstrunk: with rg = R - G and yb = (R + G) / 2 - B, spread + 0.3 x mean's distance from grey."""
    red, green, blue = cv2.split(colours)
    count = red.size
    sums = [round(cv2.sumElems(plane)[0]) for plane in (red, green, blue)]
    rg, twice_yb = sums[0] - sums[1], sums[0] + sums[1] - 2 * sums[2]
    # 2 yb = (R - B) + (G - B), and the parallelogram law gives its square from three differences of bytes.
    rg_squares = sum_of_squared_differences(red, green)
    twice_yb_squares = (
        2 * sum_of_squared_differences(red, blue) + 2 * sum_of_squared_differences(green, blue) - rg_squares
    )
    rg_variance = count * rg_squares - rg * rg
    yb_variance = (count * twice_yb_squares - twice_yb * twice_yb) / 4
    return (math.sqrt(rg_variance + yb_variance) + 0.3 * math.hypot(rg, twice_yb / 2)) / count


def perceptual_hash(grey: Image.Image) -> int:
    """64-bit pHash of a picture in mode L: `imagehash.phash`. Source: hackerfactor.com, "Looks Like It", 2011."""
    small = np.asarray(grey.resize((HASH_PICTURE, HASH_PICTURE), Image.Resampling.LANCZOS), np.float64)
    cosines = _cosines()
    lowest = np.round(cosines @ small @ cosines.T, 6)  # what is zero but for rounding must not decide a bit
    bits = np.packbits(lowest > np.median(lowest))
    return int.from_bytes(bits.tobytes(), "big")


@functools.cache
def _cosines() -> npt.NDArray[np.float64]:
    """The first 8 rows of the type II discrete cosine transform, not normalised, as in scipy."""
    places = np.arange(HASH_PICTURE) + 0.5
    return 2 * np.cos(np.pi / HASH_PICTURE * np.outer(np.arange(HASH_SIZE), places))
