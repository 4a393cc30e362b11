"""Pictures and masks are held against what diffusers' pipelines make of the same files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.modular_pipelines.flux3.image_processor import Flux3ImageProcessor
from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS
from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from diptych.engines.flow import inputs, latents
from diptych.engines.flow.autoencoder import FLUX1, FLUX2
from diptych.errors import InvalidRequest


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Colours that change everywhere, so that a shift by one pixel shows."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_kontext_size_is_the_one_diffusers_takes(width: int, height: int) -> None:
    assert set(inputs.KONTEXT_SIZES) == set(PREFERRED_KONTEXT_RESOLUTIONS)
    assert len(inputs.KONTEXT_SIZES) == 17
    _, *expected = min((abs(width / height - w / h), w, h) for w, h in PREFERRED_KONTEXT_RESOLUTIONS)
    assert inputs.kontext_size(width, height) == tuple(expected)


def test_kontext_reference_equals_diffusers() -> None:
    image = picture(300, 200)
    width, height = inputs.kontext_size(300, 200)
    processor = VaeImageProcessor(vae_scale_factor=16)
    expected = processor.preprocess(processor.resize(image, height, width), height, width)
    same(inputs.kontext_reference(image).pixels, expected)


def flux2_expected(image: Image.Image, most: int) -> Tensor:
    """As in ``Flux2KleinPipeline.__call__``."""
    processor = Flux2ImageProcessor(vae_scale_factor=16)
    image = processor._resize_if_exceeds_area(image, most)
    width, height = (side // 16 * 16 for side in image.size)
    return processor.preprocess(image, height=height, width=width, resize_mode="crop")


@pytest.mark.parametrize("size", [(64, 64), (201, 333), (1500, 1000), (2100, 2000)])
def test_one_flux2_reference(size: tuple[int, int]) -> None:
    (found,) = inputs.flux2_references([picture(*size)])
    same(found.pixels, flux2_expected(picture(*size), 2024**2))


def test_several_flux2_references_are_smaller() -> None:
    images = [picture(1500, 1000, 1), picture(130, 90, 2)]
    for found, image in zip(inputs.flux2_references(images), images, strict=True):
        same(found.pixels, flux2_expected(image, 1024**2))
        assert found.pixels.shape[2] * found.pixels.shape[3] <= 1024**2
        assert found.crop is None


@pytest.mark.parametrize("size", [(63, 200), (600, 65)])
def test_flux2_refuses_what_diffusers_refuses(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"small|extreme"):
        Flux2ImageProcessor.check_image_input(picture(*size))
    with pytest.raises(InvalidRequest, match=f"Reference 2 is {size[0]}x{size[1]}"):
        inputs.flux2_references([picture(64, 64), picture(*size)])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_one_flux3_reference_equals_diffusers(width: int, height: int) -> None:
    image = picture(width, height)
    (found,) = inputs.flux3_references([image])
    try:
        expected, more = Flux3ImageProcessor().preprocess(image, resize_mode="fill")
    except ValueError:  # numpy cannot reflect so little so far, there or here
        pytest.fail(f"diffusers refuses {width}x{height}")
    same(found.pixels, expected)
    assert found.crop == more["reference_crop"]
    assert inputs.cut_back(found.pixels, found.crop).shape == (1, 3, height, width)


@pytest.mark.parametrize("size", [(2049, 2049), (2047, 2049), (5000, 300)])
def test_a_large_flux3_reference_equals_diffusers(size: tuple[int, int]) -> None:
    (found,) = inputs.flux3_references([picture(*size)])
    expected, more = Flux3ImageProcessor().preprocess(picture(*size), resize_mode="fill")
    same(found.pixels, expected)
    assert found.crop == more["reference_crop"]


def test_several_flux3_references_equal_diffusers() -> None:
    images = [picture(1500, 1000, 1), picture(130, 90, 2)]
    for found, image in zip(inputs.flux3_references(images), images, strict=True):
        same(found.pixels, Flux3ImageProcessor().preprocess(image, resize_mode="crop")[0])


def test_pictures_are_turned_as_exif_says() -> None:
    image = picture(48, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    turned = image.copy()
    turned.info["exif"] = exif.tobytes()
    same(inputs.pixels_of(turned), inputs.pixels_of(image.transpose(Image.Transpose.ROTATE_270)))
    mask = Image.new("L", (48, 32))
    mask.paste(255, (0, 0, 48, 4))  # the top, which turns to the right
    mask.info["exif"] = exif.tobytes()
    assert inputs.mask_of(mask, (32, 48))[0, 0, :, -4:].all()


def test_transparency_lies_on_white() -> None:
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    same(inputs.pixels_of(image), torch.ones(1, 3, 16, 16))
    palette = Image.new("P", (16, 16))
    palette.info["transparency"] = 0
    same(inputs.pixels_of(palette), torch.ones(1, 3, 16, 16))


def test_pixels_equal_diffusers() -> None:
    image = picture(100, 70)
    same(inputs.pixels_of(image, (64, 32)), VaeImageProcessor(vae_scale_factor=16).preprocess(image, 32, 64))


def mask_image() -> Image.Image:
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (6, 8), np.uint8), "L")
    return small.resize((100, 70), Image.Resampling.BICUBIC)


def mask_expected(image: Image.Image, width: int, height: int) -> Tensor:
    processor = VaeImageProcessor(vae_scale_factor=16, do_normalize=False, do_binarize=True, do_convert_grayscale=True)
    return processor.preprocess(image, height=height, width=width)


def test_masks_equal_diffusers() -> None:
    found = inputs.mask_of(mask_image(), (64, 48))
    same(found, mask_expected(mask_image(), 64, 48))
    assert 0 < found.mean() < 1


def test_a_transparent_mask_says_the_same_as_a_white_one() -> None:
    grey = mask_image()
    see_through = Image.new("RGBA", grey.size, "black")
    see_through.putalpha(Image.eval(grey, lambda value: 255 - value))
    same(inputs.mask_of(see_through, (100, 70)), inputs.mask_of(grey, (100, 70)))
    opaque = grey.convert("RGBA")  # an alpha channel that says nothing
    same(inputs.mask_of(opaque, (100, 70)), inputs.mask_of(grey, (100, 70)))


def test_a_mask_that_changes_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing to change"):
        inputs.mask_of(Image.new("L", (16, 16)), (16, 16))


def test_latent_masks_equal_diffusers() -> None:
    """As in ``Flux2KleinInpaintPipeline`` and ``FluxInpaintPipeline.prepare_mask_latents``."""
    mask = mask_expected(mask_image(), 96, 64)
    soft = torch.nn.functional.interpolate(mask, size=(4, 6), mode="bilinear")
    same(inputs.latent_mask(mask, FLUX2), soft.reshape(1, 24, 1))
    hard = torch.nn.functional.interpolate(mask, size=(8, 12)).repeat(1, 16, 1, 1)
    packed = FluxFillPipeline._pack_latents(hard, 1, 16, 8, 12)
    same(inputs.latent_mask(mask, FLUX1), packed)


def test_fill_condition_equals_diffusers() -> None:
    mask = mask_expected(mask_image(), 96, 64)
    encoded = torch.randn(1, 16, 8, 12)

    class Pipeline:
        vae_scale_factor = 8
        vae = type("vae", (), {"config": type("config", (), {"shift_factor": 0.0, "scaling_factor": 1.0})})
        _pack_latents = staticmethod(FluxFillPipeline._pack_latents)

    their_mask, masked = FluxFillPipeline.prepare_mask_latents(
        Pipeline(), mask, encoded, 1, 16, 1, 64, 96, torch.float32, "cpu", None
    )
    ours = inputs.fill_condition(latents.pack(torch.nn.functional.pixel_unshuffle(encoded, 2)), mask)
    assert ours.shape == (1, 24, 320)
    same(ours, torch.cat([masked, their_mask], dim=-1))
