"""Each measure beside another implementation of it, and on pictures whose value is known."""

from __future__ import annotations

import json
import math

import hypothesis.extra.numpy as arrays
import imagehash
import numpy as np
import pytest
import pywt
import scipy.ndimage
import skimage.measure
import skimage.restoration
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from diptych.measure import AtSize, measure
from tests.measure.pictures import (
    PHOTOGRAPHS,
    checkerboard,
    coloured_noise,
    flat,
    grey_of,
    photograph,
    png,
    white_noise,
)

pictures = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)), elements=st.integers(0, 255)
)


def original(image: Image.Image | np.ndarray) -> AtSize:
    return measure(png(image)).original


# Beside other implementations


def laplacian_variance(grey: np.ndarray) -> float:
    return float(scipy.ndimage.laplace(grey.astype(float), mode="mirror").var())


def tenengrad(grey: np.ndarray) -> float:
    across, down = (scipy.ndimage.sobel(grey.astype(float), axis, mode="mirror") for axis in (1, 0))
    return float((across**2 + down**2).mean())


def colourfulness(colours: np.ndarray) -> float:
    red, green, blue = np.moveaxis(colours.astype(float), -1, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def spectrum_slope(grey: np.ndarray) -> float:
    """As the docstring has it, with numpy's full transform in float64."""
    side = next(side for side in (256, 128, 64, 32) if side <= min(grey.shape))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side)
    power = np.zeros((side, side))
    tops, lefts = (np.rint(np.linspace(0, n - side, -(-n // side))).astype(int) for n in grey.shape)
    for top in tops:
        for left in lefts:
            tile = grey[top : top + side, left : left + side] - grey.mean()
            power += np.abs(np.fft.fft2(tile * window[:, None] * window)) ** 2
    frequency = np.fft.fftfreq(side) * side
    ring = np.rint(np.hypot(frequency[:, None], frequency))
    radii = np.arange(4, side // 2 + 1)
    density = [power[ring == radius].mean() for radius in radii]
    return float(np.polyfit(np.log(radii), np.log(density), 1, w=radii**-0.5)[0])


def noise(grey: np.ndarray) -> float:
    diagonal = pywt.dwt2(grey.astype(float), "db2")[1][2]
    inside = diagonal[1 : grey.shape[0] // 2, 1 : grey.shape[1] // 2]
    return float(np.median(np.abs(inside)) / 0.6744897501960817)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs(name: str) -> None:
    image = photograph(name)
    grey = grey_of(image)
    measures = measure(png(image))
    seen = measures.original
    assert (seen.width, seen.height) == image.size
    assert seen.laplacian_variance == pytest.approx(laplacian_variance(grey), rel=1e-12)
    assert seen.tenengrad == pytest.approx(tenengrad(grey), rel=1e-12)
    assert seen.blur == pytest.approx(skimage.measure.blur_effect(grey / 255), rel=1e-9)
    assert seen.spectrum_slope == pytest.approx(spectrum_slope(grey), abs=1e-4)
    assert seen.noise == pytest.approx(noise(grey), rel=2e-3, abs=1e-4)  # float32; the upper of two middle values
    assert seen.contrast == pytest.approx(grey.std() / 255, rel=1e-12)
    assert seen.colourfulness == pytest.approx(colourfulness(np.asarray(image)), rel=1e-12)
    assert f"{measures.perceptual_hash:016x}" == str(imagehash.phash(image))


@pytest.mark.parametrize("name", ["camera", "chelsea", "coffee", "moon"])
def test_noise_is_near_that_of_scikit_image(name: str) -> None:
    grey = grey_of(photograph(name))
    theirs = float(skimage.restoration.estimate_sigma(grey.astype(float)))
    assert original(photograph(name)).noise == pytest.approx(theirs, rel=0.04)  # the border, and exact zeros


@given(pictures)
@settings(deadline=None)
def test_any_small_picture(colours: np.ndarray) -> None:
    grey = grey_of(Image.fromarray(colours))
    measures = measure(png(colours))
    seen = measures.original
    side = min(grey.shape)
    json.dumps(measures.to_dict(), allow_nan=False)
    assert measures.common == seen
    assert seen.contrast == pytest.approx(grey.std() / 255, rel=1e-9, abs=1e-12)
    assert seen.colourfulness == pytest.approx(colourfulness(colours), rel=1e-9, abs=1e-5)  # theirs is off near zero
    assert (seen.laplacian_variance is None) == (seen.tenengrad is None) == (side < 3)
    assert (seen.noise is None) == (side < 16)
    if side >= 3:
        assert seen.laplacian_variance == pytest.approx(laplacian_variance(grey), rel=1e-9, abs=1e-9)
        assert seen.tenengrad == pytest.approx(tenengrad(grey), rel=1e-9)
    if side < 12:
        assert seen.blur is None
    elif seen.blur is not None:
        theirs = skimage.measure.blur_effect(grey / 255, reduce_func=None)
        gradients = [scipy.ndimage.sobel(grey, axis)[2:-1, 2:-1] for axis in (0, 1)]
        worst = max(b for b, gradient in zip(theirs, gradients, strict=True) if gradient.any())
        assert seen.blur == pytest.approx(worst, rel=1e-6, abs=1e-9)
    if seen.spectrum_slope is not None:
        assert side >= 32
        assert seen.spectrum_slope == pytest.approx(spectrum_slope(grey), abs=0.01)


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 300))
@settings(deadline=None)
def test_the_hash_of_any_busy_picture_is_that_of_imagehash(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((width, height))
    colours = np.asarray(coarse) // 2 + rng.integers(0, 128, (height, width, 3), dtype=np.uint8)
    assert f"{measure(png(colours)).perceptual_hash:016x}" == str(imagehash.phash(Image.fromarray(colours)))


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_the_hash_of_a_flat_picture_is_that_of_imagehash(value: int) -> None:
    theirs = imagehash.phash(Image.fromarray(flat(value)))
    assert f"{measure(png(flat(value))).perceptual_hash:016x}" == str(theirs)


# Known pictures


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_flat_picture_has_nothing_to_measure(value: int) -> None:
    assert original(flat(value)) == AtSize(
        width=64,
        height=64,
        laplacian_variance=0.0,
        tenengrad=0.0,
        blur=None,
        spectrum_slope=None,
        noise=0.0,
        contrast=0.0,
        colourfulness=0.0,
    )


def test_a_checkerboard() -> None:
    seen = original(checkerboard())
    assert seen.laplacian_variance == 1020.0**2  # 4 x 255 away from its neighbours' mean, up and down
    assert seen.tenengrad == 0.0  # the neighbours left and right are alike
    assert seen.blur is None
    assert seen.spectrum_slope is None  # all its power is in the corner of the spectrum
    assert seen.contrast == 0.5
    assert seen.noise == pytest.approx(255 / 0.67449, rel=1e-4)


def test_pure_red_has_the_colourfulness_of_its_distance_from_grey() -> None:
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 255
    assert original(red).colourfulness == pytest.approx(0.3 * math.hypot(255, 127.5))


@pytest.mark.parametrize("sigma", [2.0, 5.0, 20.0])
def test_white_noise_is_measured(sigma: float) -> None:
    seen = original(white_noise(sigma))
    assert seen.noise == pytest.approx(sigma, rel=0.03)
    assert seen.contrast == pytest.approx(sigma / 255, rel=0.02)
    assert seen.laplacian_variance == pytest.approx(20 * sigma**2, rel=0.05)  # 4^2 + 4 x 1^2
    assert seen.tenengrad == pytest.approx(24 * sigma**2, rel=0.05)  # 2 x (4 x 1^2 + 2 x 2^2)
    assert seen.spectrum_slope == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("slope", [-1.0, -2.0, -3.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_noise_of_a_known_slope(slope: float, seed: int) -> None:
    assert original(coloured_noise(slope, seed=seed)).spectrum_slope == pytest.approx(slope, abs=0.1)


@pytest.mark.parametrize("side", [32, 64, 200])
def test_small_pictures_have_a_slope_too(side: int) -> None:
    slopes = [original(coloured_noise(-2.0, seed=seed)[:side, :side]).spectrum_slope or 0.0 for seed in range(8)]
    assert np.mean(slopes) == pytest.approx(-2.0, abs=0.25)


def test_a_stripe_has_edges_in_one_direction_only() -> None:
    grey = np.tile(np.repeat(np.array([0, 255], np.uint8), 20), (40, 1))
    assert original(grey).blur == pytest.approx(skimage.measure.blur_effect(grey / 255, reduce_func=None)[1])


@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
def test_blur_noise_and_sharpening_are_told_apart_by_the_vector(name: str) -> None:
    image = photograph(name)
    series = [original(image.filter(ImageFilter.GaussianBlur(radius))) for radius in (3, 1.5, 0.8, 0)]
    for field in ("laplacian_variance", "tenengrad", "spectrum_slope"):
        values = [getattr(seen, field) for seen in series]
        assert values == sorted(values), field
    blur = [seen.blur or 0.0 for seen in series]
    assert blur == sorted(blur, reverse=True)

    grain = np.random.default_rng(0).normal(0, 10, (image.height, image.width, 1))
    noisy = original(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
    plain = series[-1]
    assert (noisy.laplacian_variance or 0) > (plain.laplacian_variance or 0)  # looks sharper,
    assert (noisy.noise or 0) > (plain.noise or 0) + 5  # and here is why


# Sizes


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2), (8, 8), (15, 500), (31, 31)])
def test_tiny_pictures_have_what_is_defined_for_them(shape: tuple[int, int]) -> None:
    seen = original(white_noise(20, 512)[: shape[0], : shape[1]])
    side = min(shape)
    defined = {name for name in ("laplacian_variance", "tenengrad", "blur", "noise") if getattr(seen, name) is not None}
    expected = {"laplacian_variance": 3, "tenengrad": 3, "blur": 12, "noise": 16}
    assert defined == {name for name, smallest in expected.items() if side >= smallest}
    assert seen.spectrum_slope is None


def test_a_small_picture_is_not_enlarged() -> None:
    measures = measure(png(white_noise(20, 512)))
    assert measures.common == measures.original


@pytest.mark.parametrize("size", [(1024, 1024), (1344, 768), (768, 1376), (3000, 200), (513, 512)])
def test_the_common_size_keeps_the_aspect(size: tuple[int, int]) -> None:
    measures = measure(png(Image.new("RGB", size, "teal")))
    common = measures.common
    assert common.width * common.height == pytest.approx(512 * 512, rel=0.01)
    assert common.width / common.height == pytest.approx(size[0] / size[1], rel=0.01)
    assert common.colourfulness == pytest.approx(measures.original.colourfulness, rel=1e-12)


def test_the_common_size_is_the_mean_of_areas() -> None:
    image = Image.fromarray(coloured_noise(-2.0, 1024)).convert("RGB")
    reduced = skimage.transform.downscale_local_mean(np.asarray(image), (2, 2, 1))
    seen, expected = measure(png(image)).common, original(np.rint(reduced).astype(np.uint8))
    assert (seen.width, seen.height) == (512, 512)
    for field in ("laplacian_variance", "tenengrad", "blur", "spectrum_slope", "noise", "contrast"):
        assert getattr(seen, field) == pytest.approx(getattr(expected, field), rel=0.01), (
            field
        )  # how halves are rounded


def test_an_enlarged_picture_gains_no_detail() -> None:
    image = photograph("astronaut")
    larger = image.resize((1024, 1024), Image.Resampling.BICUBIC)
    there, back = original(image), measure(png(larger))
    assert (back.original.laplacian_variance or 0) < 0.2 * (there.laplacian_variance or 0)
    assert back.common.blur == pytest.approx(there.blur, rel=0.1)
    assert back.common.contrast == pytest.approx(there.contrast, rel=0.02)


def test_the_same_bytes_give_the_same_numbers() -> None:
    data = png(photograph("coffee").resize((1000, 700)))
    assert measure(data) == measure(data)


def test_bits_per_pixel_are_those_of_the_file() -> None:
    image = photograph("coffee")
    data = png(image, "JPEG", quality=80)
    assert measure(data).bits_per_pixel == 8 * len(data) / (image.width * image.height)
