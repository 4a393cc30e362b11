"""Pictures that are asked for at the same time, on one machine: a runner for the model that is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from diptych.engines import compute
from diptych.engines.runner import Runner
from diptych.images import Request, Timing
from diptych.providers.local.flow import Drawing, Flow

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.providers.local import Progress

_lock = threading.Lock()
_running: tuple[Flow, Runner[Drawing, Image]] | None = None


class _OneAtATime:
    """The engine, but never while a picture is made elsewhere in this process."""

    def __init__(self, flow: Flow, computing: threading.Lock) -> None:
        self.flow = flow
        self.computing = computing

    def group(self, state: Drawing) -> Hashable:
        return self.flow.group(state)

    def step(self, states: Sequence[Drawing]) -> Sequence[Drawing]:
        with self.computing:
            return self.flow.step(states)

    def done(self, state: Drawing) -> bool:
        return self.flow.done(state)

    def finish(self, state: Drawing) -> Image:
        with self.computing:
            return self.flow.finish(state)


def _runner(flow: Flow, computing: threading.Lock) -> Runner[Drawing, Image]:
    """The runner of `flow`; that of a model that was loaded before finishes what it has and ends."""
    global _running
    with _lock:
        if _running is None or _running[0] is not flow:
            if _running is not None:
                threading.Thread(target=_running[1].close, daemon=True).start()
            _running = (flow, Runner(_OneAtATime(flow, computing)))
        return _running[1]


async def draw(
    flow: Flow, computing: threading.Lock, request: Request, on_step: Progress | None, client: Hashable
) -> tuple[Image, Timing, float]:
    """The picture, its times, and the seconds that the machine worked on it. Cancelled, it leaves at the next step."""
    asked = flow.parameters("this model", request)
    started: list[float] = []
    at: list[float] = []

    def begin() -> Drawing:
        started.append(time.perf_counter())
        with computing:
            compute.forget_peak(flow.device)
            return flow.begin(asked)

    def watch(drawing: Drawing) -> None:
        at.append(time.perf_counter())
        if on_step is not None:
            on_step(*flow.progress(drawing))

    handed_in = time.perf_counter()
    ticket = _runner(flow, computing).submit(begin, on_step=watch, client=client)
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
        peak_memory=compute.peak_memory(flow.device),
    )
    return image, timing, ticket.busy
