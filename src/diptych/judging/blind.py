"""What of two pictures reaches the browser: their pixels, and nothing else that tells them apart.

Both are decoded to 8-bit sRGB and encoded anew in the same way, so neither metadata nor format nor compression is
left. Both lie on one canvas, as wide as the wider and as high as the higher one, scaled to fit and padded with grey,
never cropped. Where that is not pixel for pixel what was made, because the two are of different sizes or larger than
MOST_SIDE, there is a second view of each: the middle at its own pixels, cut to a window that both can fill.

PNG, because it keeps every pixel, every browser reads it, it is encoded faster than lossless WebP (at 1024x768 in
21 ms against 35), and it has a place for padding that readers pass over: an ancillary chunk. With it both files are of
the same length. The larger one has an empty chunk, so both have one.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from diptych.measure.decode import decode

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.store.pictures import Pictures

MOST_SIDE = 2048
"""Pixels of a canvas or window: more than half a screen shows, and a few megabytes."""
SMALL_SIDE = 480
GREY = (128, 128, 128)
"""Around a picture of another shape than its rival's."""
PADDING = b"paDd"
"""Ancillary, private, safe to copy. Source: w3.org/TR/png-3, 5.4 chunk naming conventions."""
COMPRESSION = 1
"""Of zlib: the fastest. The padding takes away what more would save."""
MEMORY = 256 * 2**20
"""Bytes of encoded pictures that are kept for the next judge."""
FILLING = os.urandom(2**20)
"""Of padding: random, so that nothing on the way packs one picture tighter than the other."""
END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
"""How every PNG ends."""

Size = tuple[int, int]
View = Literal["whole", "detail"]


@dataclass(frozen=True)
class Canvas:
    """On what two pictures are shown. The same whichever is on the left."""

    size: Size
    window: Size | None
    """Of the view at 1:1; None where the canvas is pixel for pixel what was made."""


@dataclass(frozen=True)
class Look:
    """Two pictures as they are sent: PNG, left and right, before padding."""

    canvas: Canvas
    whole: tuple[bytes, bytes]
    detail: tuple[bytes, bytes] | None

    def body(self, view: View, side: int) -> bytes:
        """What is sent, as long for one side as for the other. side: 0 left, 1 right. Raises KeyError for no view."""
        both = self.whole if view == "whole" else self.detail
        if both is None:
            raise KeyError(view)
        return padded(both[side], max(map(len, both)))


def canvas(one: Size, other: Size) -> Canvas:
    """For two pictures of these sizes, (width, height)."""
    width, height = max(one[0], other[0]), max(one[1], other[1])
    scale = min(1.0, MOST_SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if one == other == size:
        return Canvas(size, None)
    return Canvas(size, (min(one[0], other[0], MOST_SIDE), min(one[1], other[1], MOST_SIDE)))


def on_canvas(image: Image, size: Size) -> Image:
    """As large as it fits, in the middle, with grey around it."""
    from PIL import Image as Images

    if image.size == size:
        return image
    scale = min(size[0] / image.width, size[1] / image.height)
    fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if fitted != image.size:
        image = image.resize(fitted, Images.Resampling.LANCZOS)
    whole = Images.new("RGB", size, GREY)
    whole.paste(image, ((size[0] - fitted[0]) // 2, (size[1] - fitted[1]) // 2))
    return whole


def in_window(image: Image, window: Size) -> Image:
    """The middle, at its own pixels."""
    left, top = (image.width - window[0]) // 2, (image.height - window[1]) // 2
    return image.crop((left, top, left + window[0], top + window[1]))


def encode(image: Image) -> bytes:
    """PNG of an image in mode RGB: header, pixels, end."""
    import cv2
    import numpy as np

    pixels = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION])
    png = data.tobytes()
    if not done or not png.endswith(END):
        raise RuntimeError("OpenCV wrote no PNG.")  # it has no way to fail on 8-bit pixels
    return png


def padded(png: bytes, length: int) -> bytes:
    """The same picture in `length` bytes and those of an empty chunk more. length: at least that of `png`."""
    size = length - len(png)
    filling = (FILLING * (1 + size // len(FILLING)))[:size]
    chunk = struct.pack(">I", len(filling)) + PADDING + filling
    check = struct.pack(">I", zlib.crc32(filling, zlib.crc32(PADDING)))
    return b"".join((png[: -len(END)], chunk, check, END))


class Preparer:
    """Makes looks, in threads, and keeps the encoded pictures for the next judge."""

    def __init__(self, pictures: Pictures, threads: int = 2, memory: int = MEMORY) -> None:
        self._pictures = pictures
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="diptych-pictures")
        self._memory = memory
        self._sizes: dict[str, Size] = {}
        self._kept: OrderedDict[tuple[str, View, Size], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    async def look(self, left: str, right: str) -> Look:
        """Two pictures by their SHA-256; when this returns, both are ready.

        Raises StoreError or BadPicture where one cannot be read.
        """
        there = self._look(left, right, self._known)
        if there is not None:
            return there
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._make, left, right)

    async def small(self, sha256: str) -> bytes:
        """PNG for the end, when nothing is blind any more: at most SMALL_SIDE pixels a side. Raises as `look` does."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._make_small, sha256)

    async def readable(self, sha256: str) -> None:
        """Raises StoreError or BadPicture where the picture cannot be read."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._open, sha256)

    @property
    def is_full(self) -> bool:
        return self._bytes > self._memory / 2

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _make(self, left: str, right: str) -> Look:
        opened: dict[str, Image] = {}

        def image(sha256: str) -> Image:
            if sha256 not in opened:
                opened[sha256] = self._open(sha256)
            return opened[sha256]

        for sha256 in (left, right):
            if sha256 not in self._sizes:
                image(sha256)

        def make(sha256: str, view: View, size: Size) -> bytes:
            there = self._known(sha256, view, size)
            if there is None:
                made = on_canvas(image(sha256), size) if view == "whole" else in_window(image(sha256), size)
                there = encode(made)
                self._keep((sha256, view, size), there)
            return there

        look = self._look(left, right, make)
        if look is None:
            raise RuntimeError("Both pictures have been made.")
        return look

    def _make_small(self, sha256: str) -> bytes:
        image = self._open(sha256)
        image.thumbnail((SMALL_SIDE, SMALL_SIDE))
        return encode(image)

    def _look(self, left: str, right: str, get: Callable[[str, View, Size], bytes | None]) -> Look | None:
        sizes = self._sizes.get(left), self._sizes.get(right)
        if sizes[0] is None or sizes[1] is None:
            return None
        on = canvas(sizes[0], sizes[1])
        whole = get(left, "whole", on.size), get(right, "whole", on.size)
        detail = None if on.window is None else (get(left, "detail", on.window), get(right, "detail", on.window))
        if whole[0] is None or whole[1] is None:
            return None
        if detail is None:
            return Look(on, (whole[0], whole[1]), None)
        if detail[0] is None or detail[1] is None:
            return None
        return Look(on, (whole[0], whole[1]), (detail[0], detail[1]))

    def _open(self, sha256: str) -> Image:
        image, _ = decode(self._pictures.get(sha256))
        self._sizes[sha256] = image.size
        return image

    def _known(self, sha256: str, view: View, size: Size) -> bytes | None:
        key = (sha256, view, size)
        with self._lock:
            there = self._kept.get(key)
            if there is not None:
                self._kept.move_to_end(key)
            return there

    def _keep(self, key: tuple[str, View, Size], data: bytes) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._bytes += len(data)
            while self._bytes > self._memory and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
