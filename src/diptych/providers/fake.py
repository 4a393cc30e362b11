"""Pictures without a model, for rehearsals: no network, no key, no weights, and the same bytes every time.

Two manners, told apart at a glance: `fake-a` composes circles, bars and arcs on a flat ground, `fake-b` soft orbs of
light with a grain. What a vendor can do to a study can be rehearsed with options of the request:

    latency     seconds that a picture takes, give or take 20 % that follow from the seed
    price       dollars that it is said to cost
    refusals    share of the requests that are refused, 0 to 1
    failures    share of the requests that fail, 0 to 1
    jobs        true: the request is accepted under an id first, and can be resumed by it

Which requests are refused or fail follows from model, prompt and seed, so that a rehearsal can be repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from diptych.errors import InvalidRequest, NotAvailable, ProviderError, Refused
from diptych.images import RECIPE_VERSION, Picture, Request, Timing, encode_png

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.catalogue import Model
    from diptych.providers import Watch

DEFAULT_SIZE = 512, 512
IN_PLACE = 128 * 128
"""Pixels up to which a picture is drawn at once: handing it to a thread would take longer."""
Colour = tuple[int, int, int]


class Fake:
    """A provider that draws. Raises Refused and ProviderError only where the request's options ask for it."""

    jobs = True
    """With the option of that name."""

    async def __aenter__(self) -> Fake:
        return self

    async def __aexit__(self, *failure: object) -> None:
        pass

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        _manner(model)
        for request in requests:
            _options(request)

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        start = time.perf_counter()
        draw, options = _manner(model), _options(request)
        name = f"{model.remote_id} {request.prompt} {request.seed}"
        latency = options.latency * (0.8 + 0.4 * _chance("latency", name))
        job = None
        if options.jobs:
            job, latency = await _as_job(name, latency, watch)
        if latency:
            await asyncio.sleep(latency)
        if _chance("refusal", name) < options.refusals:
            raise Refused("fake refused this prompt: a rehearsal of a refusal", provider="fake", request_id=job)
        if _chance("failure", name) < options.failures:
            raise ProviderError(
                "fake answered 500: a rehearsal of a failure", provider="fake", status=500, request_id=job
            )

        width, height = request.width or DEFAULT_SIZE[0], request.height or DEFAULT_SIZE[1]
        recipe: dict[str, Any] = {
            "version": RECIPE_VERSION,
            "model": model.name,
            "provider": "fake",
            "remote_id": model.remote_id,
            "request": request.to_dict(),
            "versions": {"diptych": _version()},
        }

        def make() -> bytes:
            mood = random.Random(_digest("mood", request.prompt))  # noqa: S311  # nothing is secret here
            layout = random.Random(_digest("layout", name))  # noqa: S311
            return encode_png(draw(width, height, mood.random, layout.random), recipe)

        data = make() if width * height <= IN_PLACE else await asyncio.to_thread(make)
        return Picture(
            request=request,
            model=model.name,
            data=data,
            width=width,
            height=height,
            timing=Timing(total=time.perf_counter() - start),
            recipe=recipe,
            cost=model.cost(request, made=(width, height)),
            request_id=job,
        )


async def _as_job(name: str, latency: float, watch: Watch | None) -> tuple[str, float]:
    """The id of the job, new or gone on with, and the seconds until it is done."""
    from diptych.providers.jobs import read_handle  # brings an HTTP client, which nothing else here needs

    handle: dict[str, Any] = {
        "id": hashlib.sha256(name.encode()).hexdigest()[:16],
        "ready": time.time() + latency,
    }
    if watch is not None and watch.handle is not None:
        handle = read_handle("fake", watch.handle, id=str, ready=float)
    elif watch is not None:
        await watch.accepted(json.dumps(handle))
    return handle["id"], max(0.0, handle["ready"] - time.time())


@dataclass(frozen=True, kw_only=True)
class _Options:
    latency: float = 0.0
    price: float = 0.0
    refusals: float = 0.0
    failures: float = 0.0
    jobs: bool = False


def _options(request: Request) -> _Options:
    given = dict(request.options)
    for name, value in given.items():
        if name == "jobs":
            if not isinstance(value, bool):
                raise InvalidRequest(f"jobs is {value!r}; it is true or false.")
        elif name in _Options.__dataclass_fields__:
            most = 1 if name in ("refusals", "failures") else math.inf
            if isinstance(value, bool | str) or not 0 <= value <= most:
                possible = "a share from 0 to 1" if most == 1 else "a number of at least 0"
                raise InvalidRequest(f"{name} is {value!r}; it is {possible}.")
        else:
            raise InvalidRequest(
                f"{name} is {value!r}, but a fake model has no setting {name}; "
                f"it has {', '.join(_Options.__dataclass_fields__)}."
            )
    return _Options(**given)  # type: ignore[arg-type]  # checked above


@cache
def _version() -> str:
    return metadata.version("diptych")  # reads a file, which takes as long as drawing a small picture


def _digest(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")


def _chance(what: str, name: str) -> float:
    """From 0 up to 1, the same every time."""
    return _digest(what, name) / 2**64


Drawing = Callable[[int, int, Callable[[], float], Callable[[], float]], "Image"]
"""Width, height, and two sources of random numbers from 0 to 1: the prompt's for colours, the picture's for the rest.

Only `random()` is drawn from: Python promises the same numbers in every version for that alone.
"""


def _manner(model: Model) -> Drawing:
    manner = {"a": composition, "b": light}.get(model.remote_id or "")
    if manner is None:
        raise NotAvailable(f"The fake provider has no model {model.remote_id!r}; it has a and b.")
    return manner


PALETTES: tuple[tuple[Colour, ...], ...] = (  # the ground, the darkest, then three that sing
    ((242, 232, 213), (33, 33, 38), (209, 53, 43), (29, 78, 137), (242, 177, 52)),
    ((236, 229, 218), (38, 50, 56), (232, 93, 58), (0, 122, 122), (244, 201, 93)),
    ((28, 32, 48), (242, 235, 220), (238, 96, 85), (86, 145, 200), (248, 197, 55)),
    ((246, 240, 230), (52, 42, 60), (226, 86, 120), (70, 98, 190), (250, 180, 110)),
    ((228, 218, 196), (40, 46, 40), (178, 58, 46), (74, 112, 88), (222, 160, 50)),
    ((214, 226, 226), (26, 42, 64), (240, 110, 84), (44, 120, 150), (250, 214, 120)),
    ((240, 200, 96), (40, 36, 44), (206, 60, 52), (42, 86, 140), (250, 240, 222)),
)
"""In the manner of the Bauhaus."""


def composition(width: int, height: int, mood: Callable[[], float], layout: Callable[[], float]) -> Image:
    """A flat ground with a few overlapping circles, bars and arcs."""
    from PIL import Image, ImageDraw

    finer = (
        4 if width * height <= IN_PLACE else 2 if width * height <= 2**20 else 1
    )  # smooth edges where they are cheap
    w, h = width * finer, height * finer
    unit = min(w, h)
    ground, dark, *bright = PALETTES[int(mood() * len(PALETTES))]
    turn = int(layout() * 3)
    first, second, third = bright[turn:] + bright[:turn]
    image = Image.new("RGB", (w, h), ground)
    pen = ImageDraw.Draw(image, "RGBA")  # on RGB, a colour with alpha is laid over what is there

    def between(least: float, most: float) -> float:
        return least + (most - least) * layout()

    def disc(x: float, y: float, radius: float, colour: Colour, alpha: int = 255) -> None:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour, alpha))

    def bar(x: float, y: float, length: float, thickness: float, angle: float, colour: Colour) -> None:
        along, across = (math.cos(angle) * length / 2, math.sin(angle) * length / 2), thickness / 2
        aside = -math.sin(angle) * across, math.cos(angle) * across
        pen.polygon(
            [
                (x + s * along[0] + t * aside[0], y + s * along[1] + t * aside[1])
                for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ],
            fill=colour,
        )

    tilt = math.radians((-60, -45, -30, 30, 45, 60)[int(layout() * 6)])
    if layout() < 0.4:  # a field of colour behind everything
        edge = between(0.3, 0.7) * w
        lean = between(-0.25, 0.25) * w
        side = 0 if layout() < 0.5 else w
        pen.polygon([(side, 0), (edge + lean, 0), (edge - lean, h), (side, h)], fill=(*third, 90))

    x, y, radius = between(0.34, 0.66) * w, between(0.34, 0.62) * h, between(0.24, 0.33) * unit
    disc(x, y, radius, first)
    if layout() < 0.6:  # a half of it in the dark colour
        at = 90 * int(layout() * 4)
        pen.pieslice((x - radius, y - radius, x + radius, y + radius), at, at + 180, fill=dark)
    away = between(0, 2 * math.pi)
    near = between(0.8, 1.15) * radius
    disc(x + math.cos(away) * near, y + math.sin(away) * near, between(0.45, 0.7) * radius, second, 205)

    rings = 1 + int(layout() * 3)
    corner_x, corner_y = (0.08 + 0.84 * (layout() < 0.5)) * w, (0.1 + 0.8 * (layout() < 0.5)) * h
    for ring in range(rings):  # quarter arcs about a corner
        far = (0.16 + 0.085 * ring) * unit
        box = (corner_x - far, corner_y - far, corner_x + far, corner_y + far)
        start = (0 if corner_x < w / 2 else 90) if corner_y < h / 2 else (270 if corner_x < w / 2 else 180)
        pen.arc(box, start, start + 90, fill=dark, width=max(1, round(0.022 * unit)))

    bar(x, y, 2 * unit, between(0.012, 0.02) * unit, tilt, dark)
    for index in range(1 + int(layout() * 3)):
        off = between(-0.42, 0.42) * unit
        bar(
            x - math.sin(tilt) * off, y + math.cos(tilt) * off,
            between(0.25, 0.7) * unit, between(0.025, 0.07) * unit, tilt, (third, second, dark)[index],
        )  # fmt: skip
    if layout() < 0.6:  # a handful of dots in rows
        left, top, gap = between(0.08, 0.7) * w, between(0.68, 0.8) * h, 0.05 * unit
        for row in range(3):
            for column in range(4):
                disc(left + column * gap, top + row * gap, 0.011 * unit, dark)
    disc(between(0.12, 0.88) * w, between(0.1, 0.3) * h, between(0.03, 0.06) * unit, third)
    return image if finer == 1 else image.reduce(finer)


LIGHTS: tuple[tuple[Colour, ...], ...] = (  # above, below, then the orbs
    ((250, 214, 196), (120, 118, 190), (255, 128, 92), (255, 220, 140), (86, 84, 180)),
    ((24, 26, 62), (150, 70, 120), (255, 146, 96), (255, 214, 150), (90, 90, 220)),
    ((206, 232, 226), (70, 138, 150), (250, 240, 190), (38, 92, 120), (255, 170, 130)),
    ((250, 232, 190), (226, 120, 110), (255, 250, 220), (150, 70, 130), (255, 160, 90)),
    ((214, 206, 240), (90, 130, 200), (255, 190, 210), (240, 240, 255), (70, 80, 160)),
    ((12, 42, 52), (24, 120, 110), (180, 240, 190), (250, 230, 150), (20, 70, 120)),
)


def light(width: int, height: int, mood: Callable[[], float], layout: Callable[[], float]) -> Image:
    """Soft orbs over a slow gradient, with a grain like that of paper."""
    import numpy as np
    from PIL import Image

    above, below, *orbs = (np.array(colour, np.float32) for colour in LIGHTS[int(mood() * len(LIGHTS))])
    unit = min(width, height)
    # Everything is smooth, so it is computed on a coarse grid and enlarged.
    longest = max(width, height)
    cells = min(64, max(24, longest // 4))
    columns, rows = (max(2, round(cells * side / longest)) for side in (width, height))
    x = (np.arange(columns, dtype=np.float32) + 0.5)[None, :] * (width / columns / unit)
    y = (np.arange(rows, dtype=np.float32) + 0.5)[:, None] * (height / rows / unit)
    lean = (layout() - 0.5) * 0.8
    ramp = np.clip((y * unit / height) + lean * (x * unit / width - 0.5), 0, 1)[..., None]
    field = above + (below - above) * ramp
    for index in range(5):
        centre_x, centre_y = layout() * width / unit, (0.1 + 0.8 * layout()) * height / unit
        radius = 0.16 + 0.24 * layout()
        distance = np.hypot(x - centre_x, y - centre_y) / radius
        edge = 1.5 if index < 3 else 7.0  # the first ones are haze, the last ones have an outline
        cover = 1 / (1 + np.exp(np.clip((distance - 1) * edge * 2, -30, 30)))
        shade = 1 - 0.35 * np.clip((y - centre_y) / radius, -1, 1) if index >= 3 else np.ones_like(y)
        field += (orbs[index % len(orbs)] - field) * (cover * shade * 0.8).clip(0, 1)[..., None]
    coarse = Image.fromarray(field.clip(8, 244).astype(np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).clip(8, 244)
    # Few levels and coarse grains look the same on paper and take a third of the time to compress.
    size = max(2, round(unit / 170))
    noise = np.random.default_rng(int(layout() * 2**32))
    grain = noise.integers(-1, 2, (-(-height // size), -(-width // size), 1), np.int8) * 4
    grain = grain.repeat(size, 0).repeat(size, 1)[:height, :width]
    return Image.fromarray((smooth & 0xFC) + grain.view(np.uint8))  # the sum wraps around, as the grain has a sign
