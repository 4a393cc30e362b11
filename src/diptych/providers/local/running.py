"""Pictures that are asked for at the same time, on one machine: a runner for the model that is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from diptych.engines import compute
from diptych.engines.runner import Runner
from diptych.images import Request, Timing

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.catalogue import Model
    from diptych.providers.local import Progress
    from diptych.providers.local.loaded import Loaded

_lock = threading.Lock()
_running: tuple[Loaded, Runner[Any, Image]] | None = None


class _OneAtATime:
    """The engine, but never while a picture is made elsewhere in this process."""

    def __init__(self, loaded: Loaded, computing: threading.Lock) -> None:
        self.loaded = loaded
        self.computing = computing

    def group(self, state: Any) -> Hashable:
        return self.loaded.group(state)

    def step(self, states: Sequence[Any]) -> Sequence[Any]:
        with self.computing:
            return self.loaded.step(states)

    def done(self, state: Any) -> bool:
        return self.loaded.done(state)

    def finish(self, state: Any) -> Image:
        with self.computing:
            return self.loaded.finish(state)


def _runner(loaded: Loaded, computing: threading.Lock) -> Runner[Any, Image]:
    """The runner of `loaded`; that of a model that was loaded before finishes what it has and ends."""
    global _running
    with _lock:
        if _running is None or _running[0] is not loaded:
            if _running is not None:
                threading.Thread(target=_running[1].close, daemon=True).start()
            _running = (loaded, Runner(_OneAtATime(loaded, computing)))
        return _running[1]


async def draw(
    loaded: Loaded,
    computing: threading.Lock,
    model: Model,
    request: Request,
    on_step: Progress | None,
    client: Hashable,
) -> tuple[Image, Timing, float]:
    """The picture, its times, and the seconds that the machine worked on it. Cancelled, it leaves at the next step."""
    asked: Any = loaded.parameters(model, request)
    started: list[float] = []
    at: list[float] = []

    def begin() -> Any:
        started.append(time.perf_counter())
        with computing:
            compute.forget_peak(loaded.device)
            return loaded.begin(asked)

    def watch(drawing: Any) -> None:
        at.append(time.perf_counter())
        if on_step is not None:
            on_step(*loaded.progress(drawing))

    handed_in = time.perf_counter()
    ticket = _runner(loaded, computing).submit(begin, on_step=watch, client=client)
    try:
        image = await asyncio.wrap_future(ticket.future)
    except asyncio.CancelledError:
        with contextlib.suppress(RuntimeError):
            ticket.cancel()
        raise
    total = time.perf_counter() - handed_in
    timing = Timing(
        total=total,
        queued=started[0] - handed_in,
        per_step=(at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else None,
        peak_memory=compute.peak_memory(loaded.device),
    )
    return image, timing, ticket.busy
