"""Numbers read off a picture, without a model and without a download.

    records.py    the vector, its version, and what each number means
    decode.py     bytes to sRGB pixels, safely
    vector.py     pixels to numbers
    compare.py    near duplicates; whether the size is as asked
    pool.py       processes that measure while pictures arrive

There is a vector and never one score: noise and over-sharpening raise nearly every measure of sharpness, so
sharpness means something only beside the noise estimate, and only between pictures of one size.

Importing this room is cheap: OpenCV and numpy come with the first picture.
"""

from __future__ import annotations

from diptych.measure.compare import NEAR, AsAsked, near_duplicates, size_as_asked
from diptych.measure.pool import Pool
from diptych.measure.records import COMMON_PIXELS, QUANTITIES, VERSION, AtSize, Measures, Quantity

__all__ = [
    "COMMON_PIXELS",
    "NEAR",
    "QUANTITIES",
    "VERSION",
    "AsAsked",
    "AtSize",
    "Measures",
    "Pool",
    "Quantity",
    "measure",
    "near_duplicates",
    "size_as_asked",
]


def measure(data: bytes) -> Measures:
    """Measure the picture that `data`, the bytes of a file, holds. The same bytes give the same numbers.

    What is measured is what a person sees: EXIF orientation applied, colours in sRGB, transparency on white, of an
    animation the first frame. Raises BadPicture for bytes that are no whole picture, or more of one than is decoded.
    """
    from diptych.measure.vector import measure_picture

    return measure_picture(data)
