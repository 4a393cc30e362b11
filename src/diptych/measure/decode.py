"""Bytes to the pixels that a person would see, in 8-bit sRGB."""

from __future__ import annotations

import functools
import io
import threading
import warnings
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from diptych.errors import BadPicture
from diptych.images import MOST_PIXELS

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

# What pictures for the screen come in: Pillow would hand PostScript to an interpreter, and its TIFF reader prints to
# standard error. The last one is not in every build of Pillow.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")

_filters = threading.Lock()


def decode(data: bytes) -> tuple[Image.Image, bool]:
    """The picture in `data` in mode RGB, and whether it is the first frame of several. Raises BadPicture."""
    if not data:
        raise BadPicture("The picture is empty: 0 bytes.")
    try:
        image = _open(data)
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise BadPicture(
                f"The picture says it is {width}x{height}; more than {MOST_PIXELS:,} pixels are not decoded."
            )
        animated = getattr(image, "is_animated", False)
        image.load()
        return _as_seen(image), animated
    except BadPicture:
        raise
    except UnidentifiedImageError:
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        begins = data[:16].decode("ascii", "replace").strip()
        raise BadPicture(f"{len(data):,} bytes that are no {kinds}; they begin {begins!r}.") from None
    except Exception as error:  # noqa: BLE001  # foreign bytes: decoders raise nearly anything, and all of it means this
        raise BadPicture(f"The picture cannot be decoded: {str(error) or type(error).__name__}.") from None


def _open(data: bytes) -> Image.Image:
    """Read the header. Our own limit follows, so Pillow's warning of a large picture is not passed on."""
    with _filters, warnings.catch_warnings():  # which changes what all threads share
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data), formats=FORMATS)


def _as_seen(image: Image.Image) -> Image.Image:
    """Upright, in sRGB, on white."""
    profile = image.info.get("icc_profile")
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        image = _eight_bit(image)
    alpha = None
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        alpha = with_alpha.getchannel("A")
        image = image.convert("L") if image.mode in ("L", "LA") else with_alpha.convert("RGB")
    elif image.mode not in ("L", "CMYK", "RGB"):  # which have colour profiles of their own
        image = image.convert("RGB")

    transform = _to_srgb(profile, image.mode) if profile else None
    if transform:
        image = transform.apply(image)
    elif image.mode != "RGB":
        image = image.convert("RGB")

    if alpha is not None and alpha.getextrema() != (255, 255):
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=alpha)
        return white
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """From 16-bit grey, where Pillow clips. Other 16-bit pictures it reduces to 8 bits as it reads them."""
    import numpy as np

    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


@functools.lru_cache(maxsize=8)
def _to_srgb(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """From the embedded profile to sRGB. None where it is sRGB already, and where, as in browsers, it is passed over:
    a broken profile, or one that is not made for this kind of pixels."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(source):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
