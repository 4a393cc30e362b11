"""Pictures for the stand-ins: real files, cheap to make, the same for the same arguments and different for others."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from functools import lru_cache

import numpy as np
from PIL import Image

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
_OPTIONS: dict[str, dict[str, int]] = {
    "PNG": {"compress_level": 1},
    "JPEG": {"quality": 90},
    "WEBP": {"quality": 60, "method": 0},
}


@lru_cache(maxsize=128)
def draw(
    prompt: str,
    *,
    model: str = "",
    seed: int | None = None,
    width: int,
    height: int,
    media_type: str = "image/png",
    index: int = 0,
    progress: float = 1.0,
) -> bytes:
    """A field of 8 x 8 colours that follows from prompt, model, seed and index, as a file of the given type.

    `progress` below 1 gives the same picture greyed towards the mean, as a preview does.
    """
    digest = hashlib.sha256(json.dumps([prompt, model, seed, index]).encode()).digest()
    colours = np.random.default_rng(list(digest)).integers(0, 256, (8, 8, 3))
    colours = (128 + (colours - 128) * progress).astype(np.uint8)
    image = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    out = io.BytesIO()
    name = FORMATS[media_type]
    image.save(out, name, **_OPTIONS[name])
    return out.getvalue()


def black(width: int, height: int) -> bytes:
    """What some safety checkers hand out in place of a picture."""
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def plain(width: int, height: int, colour: tuple[int, int, int], *, alpha: int | None = None) -> bytes:
    """A PNG of one colour whose bytes do not depend on the installed compressor: nothing in it is compressed."""
    pixel = bytes((*colour, alpha)) if alpha is not None else bytes(colour)
    rows = (b"\0" + pixel * width) * height
    blocks = [rows[i : i + 65535] for i in range(0, len(rows), 65535)]
    stored = b"".join(
        struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for i, block in enumerate(blocks)
    )
    data = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 6 if alpha is not None else 2, 0, 0, 0)
    return _png((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few hundred bytes that says it has side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return _png((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b""))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
