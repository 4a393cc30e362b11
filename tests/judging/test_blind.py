"""Nothing but pixels tells the two pictures of a trial apart."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
import zlib
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from diptych.errors import BadPicture, StoreError
from diptych.judging.blind import (
    GREY,
    MOST_SIDE,
    Canvas,
    Look,
    Preparer,
    canvas,
    encode,
    in_window,
    on_canvas,
    padded,
)
from diptych.store.pictures import Folder
from tests.report.conftest import picture

T = TypeVar("T")
SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each; fails where a check sum is wrong or anything follows the end."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        name, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(name + content),)
        yield name, content
        at += 12 + length
    assert at == len(png)
    assert name == b"IEND"


def pixels(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def done(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def preparer(folder: Folder) -> Iterator[Preparer]:
    made = Preparer(folder)
    yield made
    made.close()


@given(SIZES, SIZES)
def test_the_canvas_does_not_depend_on_sides(one: tuple[int, int], other: tuple[int, int]) -> None:
    made = canvas(one, other)
    assert made == canvas(other, one)
    assert max(made.size) <= MOST_SIDE
    if made.window is None:
        assert one == other == made.size
    else:
        assert all(1 <= side <= min(a, b) for side, a, b in zip(made.window, one, other, strict=True))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((512, 512), (512, 512), Canvas((512, 512), None)),
        ((1024, 768), (512, 512), Canvas((1024, 768), (512, 512))),
        ((4096, 4096), (4096, 4096), Canvas((2048, 2048), (2048, 2048))),
        ((4096, 2048), (1024, 1024), Canvas((2048, 1024), (1024, 1024))),
        ((1, 1), (3000, 10), Canvas((2048, 7), (1, 1))),
    ],
)
def test_canvases(one: tuple[int, int], other: tuple[int, int], expected: Canvas) -> None:
    assert canvas(one, other) == expected


def test_a_picture_is_padded_and_not_cropped() -> None:
    red = Image.new("RGB", (40, 20), (250, 10, 10))
    whole = np.asarray(on_canvas(red, (80, 80)))
    assert whole.shape == (80, 80, 3)
    assert (whole[:20] == GREY).all()
    assert (whole[60:] == GREY).all()
    assert (whole[22:58] == (250, 10, 10)).all()


def test_a_picture_of_the_canvas_size_is_as_it_is() -> None:
    image = Image.open(io.BytesIO(picture(1))).convert("RGB")
    assert (pixels(encode(on_canvas(image, image.size))) == np.asarray(image)).all()


def test_the_window_is_the_middle_at_its_own_pixels() -> None:
    image = Image.open(io.BytesIO(picture(1, (64, 48)))).convert("RGB")
    assert (np.asarray(in_window(image, (20, 10))) == np.asarray(image)[19:29, 22:42]).all()


@given(st.integers(0, 100_000))
def test_padding_gives_any_length_and_the_same_pixels(more: int) -> None:
    png = encode(Image.new("RGB", (5, 4), (1, 2, 3)))
    longer = padded(png, len(png) + more)
    assert len(longer) == len(png) + more + 12
    assert [name for name, _ in chunks(longer)] == [b"IHDR", b"IDAT", b"paDd", b"IEND"]
    assert (pixels(longer) == (1, 2, 3)).all()


def test_more_padding_than_there_is_random_filling() -> None:
    png = encode(Image.new("RGB", (2, 2)))
    assert len(dict(chunks(padded(png, 3_000_000)))[b"paDd"]) == 3_000_000 - len(png)


def test_metadata_of_every_kind_is_gone(folder: Folder, preparer: Preparer) -> None:
    maker = "made-by-dear-model"
    image = Image.open(io.BytesIO(picture(1))).convert("RGB")
    text = PngInfo()
    text.add_itxt("diptych", maker)
    text.add_text("parameters", maker)
    exif = Image.Exif()
    exif[0x0131] = maker  # Software
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", pnginfo=text, dpi=(72, 72), icc_profile=profile)
    image.save(jpeg, "JPEG", exif=exif, comment=maker, icc_profile=profile)
    assert maker.encode() in png.getvalue()
    assert maker.encode() in jpeg.getvalue()
    look = done(preparer.look(folder.put(png.getvalue()), folder.put(jpeg.getvalue())))
    for side in (0, 1):
        body = look.body("whole", side)
        assert maker.encode() not in body
        assert {name for name, _ in chunks(body)} == {b"IHDR", b"IDAT", b"paDd", b"IEND"}
    assert len(look.body("whole", 0)) == len(look.body("whole", 1))
    assert (pixels(look.body("whole", 0)) == np.asarray(image)).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [((64, 48), (64, 48)), ((64, 48), (96, 96)), ((30, 60), (60, 30)), ((2100, 20), (2100, 20))],
)
def test_both_are_alike_in_everything_but_pixels(
    folder: Folder, preparer: Preparer, one: tuple[int, int], other: tuple[int, int]
) -> None:
    left, right = folder.put(picture(1, one)), folder.put(picture(2, other, "JPEG"))
    look, swapped = done(preparer.look(left, right)), done(preparer.look(right, left))
    assert look.canvas == swapped.canvas
    assert (look.detail is None) == (one == other and max(one) <= MOST_SIDE)
    for view in ("whole", *(("detail",) if look.detail else ())):
        a, b = look.body(view, 0), look.body(view, 1)
        assert len(a) == len(b) == len(swapped.body(view, 0)) == len(swapped.body(view, 1))
        assert dict(chunks(a))[b"IHDR"] == dict(chunks(b))[b"IHDR"]
        assert pixels(a).shape == pixels(b).shape
        assert (pixels(a) == pixels(swapped.body(view, 1))).all()
        assert (pixels(a) != pixels(b)).any()


def test_transparent_grey_and_animated_pictures_become_plain_ones(folder: Folder, preparer: Preparer) -> None:
    files = []
    for mode, kind in (("RGBA", "PNG"), ("L", "PNG"), ("P", "GIF"), ("RGBA", "WEBP")):
        out = io.BytesIO()
        more = {"save_all": True, "append_images": [Image.new("P", (8, 8))]} if kind == "GIF" else {}
        Image.new(mode, (8, 8)).save(out, kind, **more)
        files.append(folder.put(out.getvalue()))
    for sha256 in files:
        look = done(preparer.look(sha256, files[0]))
        assert dict(chunks(look.body("whole", 0)))[b"IHDR"] == dict(chunks(look.body("whole", 1)))[b"IHDR"]


def test_no_view_at_1_to_1_where_the_whole_is_that() -> None:
    with pytest.raises(KeyError):
        Look(Canvas((1, 1), None), (b"", b""), None).body("detail", 0)


def test_what_cannot_be_read_is_said(folder: Folder, preparer: Preparer) -> None:
    good, text = folder.put(picture(1)), folder.put(b"no picture at all")
    with pytest.raises(BadPicture, match="no PNG"):
        done(preparer.look(good, text))
    with pytest.raises(StoreError, match="cannot be read"):
        done(preparer.look("0" * 64, good))
    done(preparer.readable(good))
    with pytest.raises(BadPicture):
        done(preparer.readable(text))


class Counting(Folder):
    """A real folder that tells how often it was read, and waits where it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read: list[str] = []
        self.held: dict[str, threading.Event] = {}

    def get(self, sha256: str) -> bytes:
        self.read.append(sha256)
        if sha256 in self.held:
            assert self.held[sha256].wait(30)
        return super().get(sha256)


def test_pictures_are_encoded_once_and_forgotten_when_there_are_too_many(tmp_path: Path) -> None:
    folder = Counting(tmp_path)
    names = [folder.put(picture(seed)) for seed in range(4)]
    roomy, tight = Preparer(folder), Preparer(folder, memory=1)
    done(roomy.look(names[0], names[1]))
    assert (sorted(folder.read), roomy.is_full) == (sorted(names[:2]), False)
    done(roomy.look(names[1], names[0]))
    assert len(folder.read) == 2

    async def with_little_memory() -> list[bytes]:
        bodies = []
        for left, right in ((0, 1), (2, 3), (0, 1)):
            look = await tight.look(names[left], names[right])
            bodies.append(look.whole[0] + look.whole[1])
        return bodies

    first, _, again = done(with_little_memory())
    assert first == again  # the same bytes, though they were made anew
    assert len(folder.read) == 2 + 6
    assert tight.is_full
    roomy.close()
    tight.close()


def test_neither_is_ready_before_both_are(tmp_path: Path) -> None:
    folder = Counting(tmp_path)
    left, right = folder.put(picture(1)), folder.put(picture(2))
    folder.held[right] = threading.Event()

    async def go() -> None:
        preparer = Preparer(folder)
        waiting = asyncio.ensure_future(preparer.look(left, right))
        while right not in folder.read:
            await asyncio.sleep(0.001)
        assert not waiting.done()
        folder.held[right].set()
        await waiting
        preparer.close()

    done(go())


def test_a_small_picture_for_the_end(folder: Folder, preparer: Preparer) -> None:
    assert pixels(done(preparer.small(folder.put(picture(1, (960, 480)))))).shape == (240, 480, 3)
