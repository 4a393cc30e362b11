"""Ask any model of the catalogue for a picture: now, awaited, or many in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from diptych.errors import InvalidRequest, NotAvailable
from diptych.images import LARGEST_SEED, Picture, Request, parse_size, random_seed

if TYPE_CHECKING:
    from diptych.providers.local import Progress

DEFAULT_MODEL = "builtin-flow"


def generate(
    prompt: str,
    *,
    model: str = DEFAULT_MODEL,
    size: str | tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str | None = None,
    seed: int | None = None,
    on_step: Progress | None = None,
) -> Picture:
    """One picture of `prompt`.

    size: (width, height) in pixels or "WIDTHxHEIGHT". What is `None` is the model's own default; without a seed one is
    drawn, and kept in the picture's request. on_step: called after every step with (step, steps, preview), where
    preview() is the picture as the model expects it by now.

    Raises InvalidRequest for what the model cannot do (UnknownModel for its name), NotAvailable for a model that this
    installation has no way to run, WeightsError, and MissingExtra without the extra that it needs.
    """
    width, height = _sides(size)
    request = Request(
        prompt=prompt, negative=negative, width=width, height=height, steps=steps, guidance=guidance, seed=seed
    )
    return next(generate_many([request], model=model, on_step=on_step))


async def agenerate(
    prompt: str,
    *,
    model: str = DEFAULT_MODEL,
    size: str | tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str | None = None,
    seed: int | None = None,
    on_step: Progress | None = None,
) -> Picture:
    """`generate`, awaited: the event loop goes on meanwhile. `on_step` is called from another thread."""
    import asyncio  # slow to import, and most programs never await

    return await asyncio.to_thread(
        generate,
        prompt,
        model=model,
        size=size,
        steps=steps,
        guidance=guidance,
        negative=negative,
        seed=seed,
        on_step=on_step,
    )


def generate_many(
    requests: Sequence[Request], *, model: str = DEFAULT_MODEL, on_step: Progress | None = None
) -> Iterator[Picture]:
    """A picture for every request, each as soon as it is there.

    Every request is checked before the first is run: a wrong one among many costs nothing. Raises as `generate` does.
    """
    from diptych import catalogue

    entry = catalogue.load().find(model)
    if entry.provider != "local":
        raise NotAvailable(
            f"{entry.name} is served by others ({', '.join(way.provider for way in entry.ways())}); this version of "
            "diptych runs local models only, such as builtin-flow."
        )
    resolved = [entry.resolve(request) for request in requests]
    resolved = [r if r.seed is not None else dataclasses.replace(r, seed=random_seed()) for r in resolved]

    from diptych.providers import local

    local.check(entry, resolved)
    return (local.generate(entry, request, on_step) for request in resolved)


def _sides(size: str | tuple[int, int] | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    if isinstance(size, str):
        return parse_size(size)
    try:
        width, height = size
    except (TypeError, ValueError):
        raise InvalidRequest(f'size is {size!r}; it is (width, height) in pixels, or text as in "1024x768".') from None
    return width, height


def samples(request: Request, count: int) -> list[Request]:
    """`request` `count` times with seeds that count up from its own, or from a random one."""
    if count < 1:
        raise InvalidRequest(f"The number of pictures is {count}; it must be at least 1.")
    first = request.seed if request.seed is not None else random_seed()
    if first + count - 1 > LARGEST_SEED:
        raise InvalidRequest(f"seed is {first}; with {count} pictures it must be at most {LARGEST_SEED - count + 1}.")
    return [dataclasses.replace(request, seed=first + i) for i in range(count)]
