"""What vendors of jobs share: a request is accepted under an id, and its result asked for until it is there.

The id is kept by the caller before it is waited for, so that another process can go on asking. What goes wrong after a
job was accepted is told apart by what it means for the money:

    the vendor says that the job failed, or is unknown      ProviderError, possibly charged: no result is to be had
    it cannot be asked: no connection, a wrong key, HTML    Unanswered: the id stays good, asking later may help
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx

from diptych.errors import BadAnswer, InvalidRequest, NotAvailable, ProviderError, Unanswered
from diptych.images import Request
from diptych.providers.calling import Stopwatch
from diptych.providers.links import Pace, patiently
from diptych.settings import redact

T = TypeVar("T")

POLLING = Pace()
"""The interval is most of what polling costs in time, so it begins short."""
SPOILED = 3
"""Answers in a row that are no protocol's, after which asking again is given up."""


def possibly_charged(error: ProviderError) -> ProviderError:
    """`error`, of a job that was accepted: vendors do not say which of those they bill."""
    if error.charged is False:
        error.charged = None
    return error


async def result(provider: str, ask: Callable[[], Awaitable[T | None]], pace: Pace, request_id: str) -> T:
    """What `ask` gives once the job is done; it gives None until then. Failed requests are repeated, as they are free.

    `ask` raises an error without a status for what the vendor says of the job itself. Raises as the module says.
    """
    spoiled = 0

    async def patient() -> T | None:
        nonlocal spoiled
        try:
            found = await ask()
        except BadAnswer:  # a page of a gateway's, perhaps, which may be gone the next time
            spoiled += 1
            if spoiled == SPOILED:
                raise
            return None
        spoiled = 0
        return found

    try:
        return await patiently(provider, patient, pace, "result")
    except ProviderError as error:
        error.request_id = error.request_id or request_id
        if error.status in (404, 410) and not isinstance(error, Unanswered):
            raise possibly_charged(error) from None
        if isinstance(error, BadAnswer) or (type(error) is ProviderError and error.status is not None):
            raise Unanswered(
                f"{error}; the job was accepted before, so it may have been charged",
                provider=provider,
                status=error.status,
                request_id=request_id,
            ) from error
        raise


def read_handle(provider: str, handle: str, **kinds: type[str | float]) -> dict[str, Any]:
    """The JSON object that a handle is. Raises BadAnswer where a value of `kinds` is missing: it is none of ours."""
    try:
        values = json.loads(handle)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(values.get(name), kinds[name]) for name in kinds):
        raise BadAnswer(
            f"{provider} cannot be asked for the result of {redact(handle)[:80]!r}: it is no handle that it gave out",
            provider=provider,
        )
    return values


def started(submitted: float) -> Stopwatch:
    """A stopwatch that was started at `submitted`, in seconds since 1970: that of a job which is gone on with."""
    stopwatch = Stopwatch()
    stopwatch.start -= max(0.0, time.time() - submitted)
    return stopwatch


def ended(stopwatch: Stopwatch, submitted: float, end: object) -> None:
    """Leave out of the time the part between the end of a job, as the vendor tells it, and our asking for it."""
    if isinstance(end, int | float) and submitted <= end <= time.time():
        stopwatch.start = time.perf_counter() - (end - submitted)


def base_url(variable: str, given: str, default: str) -> str:
    """The address to ask: what the user set in the environment, else the vendor's. Raises NotAvailable."""
    address = (given or default).rstrip("/")
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise NotAvailable(f"{variable} is {address!r}; it is an address, as in {default}")
    return address


def one_picture(request: Request, *names: str) -> None:
    """Raise InvalidRequest for an option that would make, and bill, several pictures where one is returned."""
    for name in names:
        if request.options.get(name, 1) != 1:
            raise InvalidRequest(f"{name} is {request.options[name]!r}; a request is for one picture, so it is 1.")
