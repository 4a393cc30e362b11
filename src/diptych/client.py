"""Ask any model of the catalogue: for pictures, edits, words; now, awaited, or many in turn."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from diptych.errors import InvalidRequest, NotAvailable
from diptych.images import LARGEST_SEED, Input, Option, Picture, Request, parse_size, random_seed

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.catalogue import Model
    from diptych.providers import Describer, Writer, Written
    from diptych.providers.local import Progress

DEFAULT_MODEL = "builtin-flow"

T = TypeVar("T")
Source = Picture | Input | bytes | str | os.PathLike[str]
"""Something to read a picture from: one that was made, its bytes, or a path."""


# Pictures


def generate(
    prompt: str,
    *,
    model: str = DEFAULT_MODEL,
    size: str | tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str | None = None,
    seed: int | None = None,
    improve: bool | str = False,
    on_step: Progress | None = None,
    **settings: Option,
) -> Picture:
    """One picture of `prompt`.

    size: (width, height) in pixels or "WIDTHxHEIGHT". What is `None` is the model's own default; without a seed one is
    drawn where the model takes one, and kept in the picture's request. improve: let a text model (the one named, or
    `text_model` of diptych.toml) write the prompt out first; the request keeps both. on_step: called after every step
    of a model that runs here with (step, steps, preview), where preview() is the picture as expected by now.
    settings: whatever else the model takes, as in quality="high" (`diptych models show NAME` lists it).

    Raises InvalidRequest for what the model cannot do (UnknownModel for its name), NotAvailable for a model that this
    installation has no way to run (MissingKey without a vendor's key), ProviderError for what a vendor answered
    (Refused for a prompt against its rules), WeightsError, and MissingExtra without the extra that it needs.
    """
    request = _request(prompt, size, steps, guidance, negative, seed, settings)
    if improve:
        text_model = improve if isinstance(improve, str) else None
        request = _improved(request, _wait(lambda: aimprove(prompt, model=text_model)))
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
    improve: bool | str = False,
    on_step: Progress | None = None,
    **settings: Option,
) -> Picture:
    """`generate`, awaited: the event loop goes on meanwhile. `on_step` is called from another thread."""
    request = _request(prompt, size, steps, guidance, negative, seed, settings)
    if improve:
        request = _improved(request, await aimprove(prompt, model=improve if isinstance(improve, str) else None))
    entry, (resolved,) = _resolved([request], model)
    return await _ask(entry, resolved, on_step)


def edit(
    picture: Source | Sequence[Source],
    prompt: str,
    *,
    model: str,
    mask: Source | None = None,
    size: str | tuple[int, int] | None = None,
    seed: int | None = None,
    **settings: Option,
) -> Picture:
    """Change a picture as `prompt` says, or make a new one from several.

    A picture that this very model made in a conversation (Gemini) is gone on with; any other is sent as a reference.
    mask: where the first one may change (transparent or white pixels), for models that take one. settings: steps,
    guidance, negative, strength and whatever else the model takes (`diptych models show NAME` lists it).
    Raises as `generate` does, and BadPicture for what is no picture.
    """
    return next(generate_many([_edit(picture, prompt, model, mask, size, seed, settings)], model=model))


async def aedit(
    picture: Source | Sequence[Source],
    prompt: str,
    *,
    model: str,
    mask: Source | None = None,
    size: str | tuple[int, int] | None = None,
    seed: int | None = None,
    **settings: Option,
) -> Picture:
    """`edit`, awaited."""
    entry, (resolved,) = _resolved([_edit(picture, prompt, model, mask, size, seed, settings)], model)
    return await _ask(entry, resolved, None)


def generate_many(
    requests: Sequence[Request], *, model: str = DEFAULT_MODEL, on_step: Progress | None = None
) -> Iterator[Picture]:
    """A picture for every request, each as soon as it is there.

    Every request is checked before the first is run: a wrong one among many costs nothing. Raises as `generate` does.
    """
    entry, resolved = _resolved(requests, model)
    if entry.provider == "local":  # on this thread: a step's preview may be drawn where it is asked for
        from diptych.providers import local

        local.check(entry, resolved)
        return (local.generate(entry, request, on_step) for request in resolved)
    return _hosted(entry, resolved)


def _hosted(entry: Model, requests: Sequence[Request]) -> Iterator[Picture]:
    from anyio.from_thread import start_blocking_portal

    from diptych import providers

    # A loop of its own on a thread of its own: a notebook's loop runs already, and cannot be waited for.
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(providers.open(entry.provider)) as provider,
    ):
        provider.check(entry, requests)
        for request in requests:
            yield portal.call(provider.generate, entry, request)


async def _ask(entry: Model, request: Request, on_step: Progress | None) -> Picture:
    from diptych import providers

    class Watch(providers.Watch):
        def step(self, index: int, total: int, preview: Callable[[], Image]) -> None:
            if on_step is not None:
                on_step(index, total, preview)

    async with providers.open(entry.provider) as provider:
        provider.check(entry, [request])
        return await provider.generate(entry, request, Watch())


def _resolved(requests: Sequence[Request], model: str) -> tuple[Model, list[Request]]:
    from diptych import catalogue

    entry = catalogue.load().find(model)
    entry.check_alive(datetime.now(UTC).date())
    resolved = [entry.resolve(request) for request in requests]
    drawn = [
        dataclasses.replace(r, seed=random_seed()) if r.seed is None and entry.takes_seed(r) else r for r in resolved
    ]
    return entry, drawn


def _request(
    prompt: str,
    size: str | tuple[int, int] | None,
    steps: int | None,
    guidance: float | None,
    negative: str | None,
    seed: int | None,
    settings: dict[str, Any],
) -> Request:
    width, height = _sides(size)
    named = {name: settings.pop(name) for name in ("aspect_ratio", "image_size", "quality") if name in settings}
    return Request(
        prompt=prompt,
        negative=negative,
        width=width,
        height=height,
        steps=steps,
        guidance=guidance,
        seed=seed,
        options=settings,
        **named,
    )


def _edit(
    picture: Source | Sequence[Source],
    prompt: str,
    model: str,
    mask: Source | None,
    size: str | tuple[int, int] | None,
    seed: int | None,
    settings: dict[str, Any],
) -> Request:
    steps, guidance, negative = (settings.pop(name, None) for name in ("steps", "guidance", "negative"))
    request = _request(prompt, size, steps, guidance, negative, seed, settings)
    if isinstance(picture, Picture) and picture.model == model and picture.state:
        return dataclasses.replace(request, follows=picture)
    several = [picture] if isinstance(picture, Picture | Input | bytes | str | os.PathLike) else picture
    return dataclasses.replace(
        request,
        references=tuple(_input(one) for one in several),
        mask=None if mask is None else _input(mask),
    )


def _input(source: Source) -> Input:
    if isinstance(source, Input):
        return source
    if isinstance(source, Picture):
        return Input(source.data)
    return Input(source) if isinstance(source, bytes) else Input.read(source)


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


# Words


def write(prompt: str, *, model: str | None = None, pictures: Sequence[Source] = ()) -> Written:
    """What a text model answers to `prompt`, and to pictures beside it; `str()` of it is the text.

    model: a name of the catalogue, or PROVIDER/ID for any that Gemini or an OpenAI-compatible server has. Without it,
    `text_model` of diptych.toml. Raises as `generate` does, and NotAvailable where no model is named.
    """
    return _wait(lambda: awrite(prompt, model=model, pictures=pictures))


async def awrite(prompt: str, *, model: str | None = None, pictures: Sequence[Source] = ()) -> Written:
    """`write`, awaited."""
    return await _write(prompt, model, pictures, None)


def describe(picture: Source, *, model: str | None = None) -> str:
    """A prompt that might have made `picture`. model, raises: as in `write`, and BadPicture.

    A token model that runs here describes pictures too, in few words.
    """
    return _wait(lambda: adescribe(picture, model=model))


async def adescribe(picture: Source, *, model: str | None = None) -> str:
    """`describe`, awaited."""
    from diptych import catalogue, providers
    from diptych.providers.prompts import DESCRIBE, only_prompt

    if model is not None:
        entry = catalogue.load().find(model)
        async with providers.open(entry.provider) as provider:
            if hasattr(provider, "describe"):
                return (await cast("Describer", provider).describe(entry, _input(picture))).text
    written = await _write("Describe this picture.", model, [picture], DESCRIBE)
    return only_prompt(written.text)


def improve(prompt: str, *, model: str | None = None) -> str:
    """`prompt` written out for a text-to-image model, asking for the same. model, raises: as in `write`."""
    return _wait(lambda: aimprove(prompt, model=model))


async def aimprove(prompt: str, *, model: str | None = None) -> str:
    """`improve`, awaited."""
    from diptych.providers.prompts import IMPROVE, only_prompt

    written = await _write(Request(prompt=prompt).prompt, model, [], IMPROVE)
    return only_prompt(written.text)


async def _write(prompt: str, model: str | None, pictures: Sequence[Source], instruction: str | None) -> Written:
    from diptych import catalogue, providers
    from diptych.settings import config, config_file

    name = model or config().text_model
    if name is None:
        raise NotAvailable(
            f'Which text model? Name one, as in model="openai/gpt-5-mini", or set text_model in {config_file()}.'
        )
    entry = catalogue.load().find(name)
    message = providers.Message(prompt=prompt, pictures=tuple(_input(one) for one in pictures), instruction=instruction)
    async with providers.open(entry.provider) as provider:
        if not hasattr(provider, "write"):
            raise NotAvailable(f"{entry.name} writes no text here: text comes from google and openai.")
        provider.check(entry, [])
        return await cast("Writer", provider).write(entry, message)


def _improved(request: Request, prompt: str) -> Request:
    return dataclasses.replace(request, prompt=prompt, original_prompt=request.prompt)


def _wait(ask: Callable[[], Awaitable[T]]) -> T:
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal() as portal:
        return portal.call(ask)
