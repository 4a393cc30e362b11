"""A provider that answers every prompt with a plain picture in the prompt's own colour."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from diptych.errors import InvalidRequest
from diptych.images import RECIPE_VERSION, Picture, Request, Timing, encode_png

if TYPE_CHECKING:
    from diptych.catalogue import Model
    from diptych.providers import Watch


class Echo:
    jobs = False

    async def __aenter__(self) -> Echo:
        return self

    async def __aexit__(self, *failure: object) -> None:
        pass

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        for request in requests:
            if request.references:
                raise InvalidRequest("An echo takes no references.")

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        start = time.perf_counter()
        width, height = request.width or 64, request.height or 64
        hue = zlib.crc32(request.prompt.encode()) % 360
        recipe = {
            "version": RECIPE_VERSION,
            "model": model.name,
            "request": request.to_dict(),
            "versions": {"diptych": "0.1.0"},
        }
        return Picture(
            request=request,
            model=model.name,
            data=encode_png(Image.new("RGB", (width, height), f"hsl({hue}, 60%, 50%)"), recipe),
            width=width,
            height=height,
            timing=Timing(total=time.perf_counter() - start),
            recipe=recipe,
        )
