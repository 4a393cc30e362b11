"""What arrives as a picture: seen as a person would see it, or refused in words."""

from __future__ import annotations

import io
import random
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from diptych.errors import BadPicture
from diptych.images import MOST_PIXELS
from diptych.measure import measure
from diptych.measure.decode import decode
from tests.measure.pictures import flat, photograph, png, white_noise


def pixels(data: bytes) -> np.ndarray:
    image, _ = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_that_says(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# Refused


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty: 0 bytes"),
        (b"<html>no picture</html>", r"23 bytes that are no PNG, .*AVIF; they begin '<html>no picture'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no PNG"),
        (b"\x89PNG\r\n\x1a\n", "no PNG"),
    ],
)
def test_what_is_no_picture(data: bytes, says: str) -> None:
    with pytest.raises(BadPicture, match=says):
        measure(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_refused_whole(kind: str, share: float) -> None:
    data = png(Image.fromarray(white_noise(30, 128)).convert("RGB"), kind)
    measure(data)
    with pytest.raises(BadPicture):
        measure(data[: int(share * len(data))])


def test_a_picture_of_too_many_pixels_is_not_decoded() -> None:
    side = int(MOST_PIXELS**0.5) + 1
    with pytest.raises(BadPicture, match=f"{side}x{side}; more than {MOST_PIXELS:,} pixels"):
        measure(png_that_says(side, side))


@pytest.mark.parametrize("size", [(12_000, 10_000), (60_000, 60_000)])  # Pillow warns of the first, and raises
def test_a_bomb_is_refused_without_a_warning(size: tuple[int, int]) -> None:
    data = png_that_says(*size)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(BadPicture, match="pixels"):
            measure(data)
    assert not caught


def test_the_warning_filters_survive_threads() -> None:
    before = list(warnings.filters)
    data = png(flat(9))
    threads = [threading.Thread(target=lambda: [decode(data) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_damaged_bytes_are_measured_or_refused(kind: str) -> None:
    whole = png(Image.fromarray(white_noise(30, 24)).convert("RGB"), kind)
    dice = random.Random(kind)  # noqa: S311
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(min(len(data), 400))] = dice.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                measure(bytes(data))
            except BadPicture:
                refused += 1
    assert refused


# Seen


def test_transparency_is_seen_on_white() -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[:, 0] = 255, 0, 0, 255
    rgba[:, 1] = 0, 0, 0, 128
    assert pixels(png(rgba)).tolist() == [[[255, 0, 0], [127, 127, 127], [255, 255, 255]]] * 2


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    image = photograph("chelsea")
    assert measure(png(image.convert("RGBA"))).original == measure(png(image)).original


def test_grey_with_transparency() -> None:
    grey_alpha = Image.merge("LA", [Image.new("L", (4, 4), 0), Image.new("L", (4, 4), 0)])
    assert (pixels(png(grey_alpha)) == 255).all()


def test_a_palette() -> None:
    image = photograph("coffee").quantize(64)
    assert image.mode == "P"
    assert (pixels(png(image)) == np.asarray(image.convert("RGB"))).all()


def test_a_palette_with_transparent_colours() -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putdata([0, 1, 0, 1])
    data = png(image, transparency=b"\x00\xff")
    assert pixels(data)[0].tolist() == [[255] * 3, [10, 20, 30]] * 2


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_plain_modes(mode: str) -> None:
    image = photograph("camera").convert(mode)
    assert (pixels(png(image)) == np.asarray(image.convert("RGB"))).all()


def test_sixteen_bits_are_scaled_to_eight() -> None:
    values = np.array([[0, 255, 257, 32768, 65278, 65535]], np.uint16)
    assert pixels(png(values))[0, :, 0].tolist() == [0, 1, 1, 128, 254, 255]


def test_sixteen_bit_noise_measures_like_eight_bit_noise() -> None:
    eight = white_noise(10)
    assert measure(png(eight.astype(np.uint16) * 257)).original == measure(png(eight)).original


def test_a_cmyk_jpeg() -> None:
    image = photograph("astronaut")
    plain, seen = measure(png(image)), measure(png(image.convert("CMYK"), "JPEG", quality=98))
    assert (seen.perceptual_hash ^ plain.perceptual_hash).bit_count() <= 2
    assert seen.original.contrast == pytest.approx(plain.original.contrast, rel=0.02)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    frames = [Image.fromarray(np.stack([flat(v)] * 3, -1)) for v in (40, 90, 200)]
    measures = measure(png(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert measures.bits_per_pixel is None
    assert abs(int(pixels(png(frames[0], kind, save_all=True, append_images=frames[1:]))[0, 0, 0]) - 40) <= 1
    assert measure(png(frames[0], kind)).bits_per_pixel is not None


def test_exif_orientation_is_applied() -> None:
    image = photograph("coffee")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: turned by 270 degrees to be seen
    turned = image.transpose(Image.Transpose.ROTATE_90)
    seen = measure(png(turned, exif=exif.tobytes()))
    assert seen.original == measure(png(image)).original
    assert seen.perceptual_hash == measure(png(image)).perceptual_hash


def test_an_srgb_profile_changes_nothing() -> None:
    image = photograph("chelsea")
    assert measure(png(image, icc_profile=srgb_profile())).original == measure(png(image)).original


def gamma_one_profile() -> bytes:
    """sRGB's primaries with linear values: a matrix profile whose three curves are replaced by gamma 1."""
    profile = bytearray(srgb_profile())
    count = struct.unpack_from(">I", profile, 128)[0]
    for index in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + size] = (b"curv" + bytes(8)).ljust(size, b"\0")[:size]
        if name == b"desc":
            profile[offset : offset + size] = bytes(profile[offset : offset + size]).replace(b"s\0R", b"l\0R")
    return bytes(profile)


def test_another_profile_is_converted_to_srgb() -> None:
    linear = flat(55)  # 21.4 % of the light is 127.5 of sRGB
    seen = pixels(png(np.stack([linear] * 3, -1), icc_profile=gamma_one_profile()))
    assert abs(int(seen[0, 0, 0]) - 128) <= 1


@pytest.mark.parametrize("profile", [b"broken", srgb_profile()])  # which is for RGB, not for grey
def test_a_profile_that_cannot_be_used_is_passed_over(profile: bytes) -> None:
    image = photograph("camera").convert("L")
    assert (pixels(png(image, icc_profile=profile))[..., 0] == np.asarray(image)).all()


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow has no AVIF")
def test_avif() -> None:
    image = photograph("coffee")
    seen = measure(png(image, "AVIF", quality=90))
    assert seen.original.contrast == pytest.approx(measure(png(image)).original.contrast, rel=0.02)


def test_the_file_is_not_needed_afterwards() -> None:
    data = bytearray(png(photograph("text")))
    image, _ = decode(bytes(data))
    del data
    assert image.resize((8, 8)).tobytes()
    assert not isinstance(getattr(image, "fp", None), io.BufferedReader)
