"""What the tests of vendors of jobs share: a watch that keeps what it is told, and asking as another process would."""

from __future__ import annotations

import asyncio
from typing import Any

from diptych.catalogue.model import Model
from diptych.images import Picture, Request
from diptych.providers import Watch
from diptych.providers.links import Pace
from tests.standins.vendor import Vendor

QUICK = Pace(first=0.001, most=0.005, within=20)
NEVER = Pace(first=0.001, most=0.005, within=0.05)
"""Too short for what never comes."""


class Kept(Watch):
    """Keeps every handle, with what the vendor had been asked by then, and every partial picture."""

    def __init__(self, vendor: Vendor | None = None, handle: str | None = None) -> None:
        super().__init__(handle)
        self.vendor = vendor
        self.handles: list[str] = []
        self.asked_before: list[str] = []
        self.partials: list[bytes] = []

    async def accepted(self, handle: str) -> None:
        self.handles.append(handle)
        if self.vendor is not None:
            self.asked_before = [seen.step for seen in self.vendor.requests]

    def partial(self, data: bytes) -> None:
        self.partials.append(data)


def ask(
    provider: Any,
    model: Model,
    request: Request,
    watch: Watch | None = None,
    *,
    polling: Pace = QUICK,
    downloading: Pace = QUICK,
) -> Picture:
    """One picture from a new provider of the class `provider`, as another process would ask for it."""

    async def go() -> Picture:
        async with provider() as opened:
            opened.polling, opened.downloading, opened.lost_within = polling, downloading, 0.0
            picture: Picture = await opened.generate(model, request, watch)
            return picture

    return asyncio.run(go())


def left_waiting(provider: Any, model: Model, request: Request, vendor: Vendor) -> str:
    """The handle of a job whose caller went away while it was polled."""
    watch = Kept()

    async def go() -> None:
        async with provider() as opened:
            opened.polling = QUICK
            task = asyncio.create_task(opened.generate(model, request, watch))
            await asyncio.to_thread(vendor.wait_until, lambda v: len(v.seen("poll")) >= 2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()

    asyncio.run(go())
    assert len(watch.handles) == 1
    return watch.handles[0]
