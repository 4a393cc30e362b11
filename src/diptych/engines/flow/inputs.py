"""Pictures and masks that go into a model: sized and placed as its makers do, as tensors.

Pillow images in; out come pixels (1, 3, H, W) in -1..1 and masks (1, 1, H, W) of 0 and 1, float32, on the CPU. What is
read is what a person sees: turned as EXIF says, transparency on white. Sources: diffusers 0.42.1, ``pipelines/flux``,
``pipelines/flux2/image_processor.py`` and ``modular_pipelines/flux3/image_processor.py``, which follow Black Forest
Labs' code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from diptych.engines.flow.autoencoder import AutoencoderConfig
from diptych.engines.flow.latents import pack
from diptych.errors import InvalidRequest

MULTIPLE = 16
"""Pixels along a side of one token, in every released model."""
SMALLEST_SIDE = 64
FLUX2_ONE, FLUX2_SEVERAL = 2024**2, 1024**2
"""Most pixels of a single reference, and of each of several."""
FLUX3_ONE, FLUX3_SEVERAL = 4 * 1024**2, 1024**2
FLUX3_LONGEST = 4096
MOST_LENGTHY = 8
"""How many times longer one side of a FLUX.2 reference may be than the other."""
# What FLUX.1 Kontext was trained on, (width, height): one of them is nearest to any picture's shape.
KONTEXT_SIZES = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
    (1024, 1024), (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752), (1456, 720), (1504, 688),
    (1568, 672),
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A reference picture, ready for the encoder."""

    pixels: Tensor
    """(1, 3, H, W) in -1..1; H and W are multiples of 16."""
    crop: tuple[int, int, int, int] | None = None
    """Where the picture lies in `pixels` when those were padded: left, top, right, bottom. An edit that has the size
    of `pixels` is cut back to this."""


def kontext_size(width: int, height: int) -> tuple[int, int]:
    """The size (width, height) that FLUX.1 Kontext knows and that is nearest in shape to a picture's."""
    shape = width / height
    return min(KONTEXT_SIZES, key=lambda size: (abs(shape - size[0] / size[1]), size))


def kontext_reference(image: Image.Image) -> Reference:
    """FLUX.1 Kontext's one reference: stretched to the nearest size that the model knows."""
    image = upright(image)
    return Reference(pixels_of(image, kontext_size(*image.size)))


def flux2_references(images: Sequence[Image.Image]) -> list[Reference]:
    """FLUX.2's: made smaller where they have more than 2024^2 pixels (1024^2 each, when there are several), then
    cropped at all sides alike to multiples of 16.

    Raises InvalidRequest for a side under 64 pixels and a picture more than 8 times as long as wide, as diffusers does.
    """
    most = FLUX2_ONE if len(images) == 1 else FLUX2_SEVERAL
    references = []
    for number, image in enumerate(images, 1):
        image = upright(image)
        if max(image.size) > MOST_LENGTHY * min(image.size):
            raise InvalidRequest(
                f"Reference {number} is {image.width}x{image.height}; this model takes pictures whose longer side is "
                f"at most {MOST_LENGTHY} times the shorter one."
            )
        references.append(_cropped(image, most, number))
    return references


def flux3_references(images: Sequence[Image.Image]) -> list[Reference]:
    """FLUX 3's. One is kept whole: at most 4 megapixels, its sides filled up to multiples of 16 by its own reflection.
    Several are made smaller than 1 megapixel each and cropped as FLUX.2's are.
    """
    if len(images) == 1:
        return [_padded(upright(images[0]))]
    return [_cropped(upright(image), FLUX3_SEVERAL, number) for number, image in enumerate(images, 1)]


def _cropped(image: Image.Image, most_pixels: int, number: int) -> Reference:
    given = image.size
    if image.width * image.height > most_pixels:
        scale = math.sqrt(most_pixels / (image.width * image.height))
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.LANCZOS)
    width, height = (side // MULTIPLE * MULTIPLE for side in image.size)
    if min(given) < SMALLEST_SIDE or min(width, height) < MULTIPLE:
        raise InvalidRequest(
            f"Reference {number} is {given[0]}x{given[1]}; its sides must be at least {SMALLEST_SIDE} pixels, and it "
            "must not be much longer than wide."
        )
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return Reference(pixels_of(image.crop((left, top, left + width, top + height))))


def _padded(image: Image.Image) -> Reference:
    """In the middle of a canvas of multiples of 16, filled with the picture's reflection."""
    scale = min(1.0, math.sqrt(FLUX3_ONE / (image.width * image.height)), FLUX3_LONGEST / max(image.size))
    while True:  # the canvas is a little larger than the picture, so what fits as a picture may not as a canvas
        width, height = (max(1, round(side * scale)) for side in image.size)
        canvas_width, canvas_height = (
            min(FLUX3_LONGEST, max(SMALLEST_SIDE, -(-side // MULTIPLE) * MULTIPLE)) for side in (width, height)
        )
        if canvas_width * canvas_height <= FLUX3_ONE:
            break
        scale *= 0.995
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (canvas_width - width) // 2, (canvas_height - height) // 2
    crop = (left, top, left + width, top + height)
    if (canvas_width, canvas_height) == (width, height):
        return Reference(pixels_of(image), crop)
    around = ((top, canvas_height - height - top), (left, canvas_width - width - left), (0, 0))
    # A reflection leaves the edge pixel out; a picture that is smaller than a token has too few others.
    mode = "reflect" if min(width, height) > MULTIPLE else "symmetric"
    return Reference(_tensor(np.pad(np.asarray(image), around, mode=mode)), crop)  # type: ignore[call-overload]


def upright(image: Image.Image) -> Image.Image:
    """RGB as a person sees it: turned as EXIF says, what is transparent on white."""
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def pixels_of(image: Image.Image, size: tuple[int, int] | None = None) -> Tensor:
    """(1, 3, H, W) in -1..1. size: (width, height), to which the picture is stretched (Lanczos) where it differs.

    This is how a picture comes in for image-to-image, inpainting and control: it has to have the size of what is made.
    """
    image = upright(image)
    if size is not None and image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return _tensor(np.asarray(image))


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    scaled = torch.from_numpy(array.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return 2 * scaled - 1


def mask_of(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """(1, 1, H, W): 1 where the picture may change, 0 where it must stay.

    A mask with transparency says it by being transparent there (OpenAI's way), one without by being white there
    (diffusers' way). size: (width, height), to which it is stretched. Raises InvalidRequest for a mask that changes
    nothing at all.
    """
    image = ImageOps.exif_transpose(image)
    alpha = image.convert("RGBA").getchannel("A")
    seen_through = alpha.getextrema() != (255, 255)  # many programs save an alpha channel that says nothing
    grey = ImageOps.invert(alpha) if seen_through else image.convert("L")
    if grey.size != size:
        grey = grey.resize(size, Image.Resampling.LANCZOS)
    mask = torch.from_numpy((np.asarray(grey).astype(np.float32) / 255 >= 0.5).astype(np.float32))[None, None]
    if not mask.any():
        raise InvalidRequest(
            "The mask leaves nothing to change: it must be transparent, or white, where the picture may change."
        )
    return mask


def latent_mask(mask: Tensor, config: AutoencoderConfig) -> Tensor:
    """A mask of pixels (B, 1, H, W) for packed latents, to be used with `latents.keep_outside`.

    FLUX.2: the bilinear value at each token, (B, tokens, 1). FLUX.1: the nearest value at each of a token's 2x2
    positions, (B, tokens, 4 C). Both as diffusers does.
    """
    height, width = mask.shape[2] // config.scale, mask.shape[3] // config.scale
    if config.batch_norm:
        return pack(F.interpolate(mask, size=(height, width), mode="bilinear"))
    patch = config.patch_size
    fine = F.interpolate(mask, size=(patch * height, patch * width))
    return pack(F.pixel_unshuffle(fine.repeat(1, config.latent_channels, 1, 1), patch))


def fill_condition(masked: Tensor, mask: Tensor) -> Tensor:
    """What FLUX.1 Fill reads beside its latents: (B, tokens, 320), 64 of the picture and 256 of the mask.

    masked: the encoded picture, whose pixels were multiplied by (1 - mask) before, as packed tokens (B, tokens, 64).
    mask: (B, 1, H, W). Each of a token's 16x16 pixels of the mask becomes a channel, in the order that two packings
    leave: 8x8 within a latent position, then 2x2. The network's input is [latents, this], 384 channels.
    """
    inner = F.pixel_unshuffle(mask, 8)  # (B, 1, 8 h, 8 w) to (B, 64, h, w), channels (y x)
    return torch.cat([masked, pack(F.pixel_unshuffle(inner, 2)).to(masked.dtype)], dim=2)


def cut_back(pixels: Tensor, crop: tuple[int, int, int, int] | None) -> Tensor:
    """(B, 3, H, W) to the part that a padded reference had; unchanged without `crop`."""
    if crop is None:
        return pixels
    left, top, right, bottom = crop
    return pixels[..., top:bottom, left:right]
