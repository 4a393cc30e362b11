"""What hosted providers share: retries that cost nothing twice, checked answers, errors that say enough."""

from __future__ import annotations

import datetime as dt
import email.utils
import functools
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

import stamina

from diptych.errors import (
    BadAnswer,
    BadPicture,
    DiptychError,
    InvalidRequest,
    ProviderError,
    RateLimited,
    Unanswered,
    Unreachable,
)
from diptych.images import RECIPE_VERSION, Cost, Picture, Request, Timing, inspect_picture
from diptych.settings import redact

if TYPE_CHECKING:
    from diptych.catalogue import Model

T = TypeVar("T")

logging.getLogger("stamina").addHandler(logging.NullHandler())  # it would print that it retries where nobody logs

ATTEMPTS = 5
LONGEST_WAIT = 60.0
"""Seconds; a vendor that asks for more is not waited for, and its error goes to the caller."""
LONGEST_ANSWER = 64 * 2**20
"""Bytes; more than the largest picture of any vendor, as base64 inside JSON."""
LONGEST_EXCERPT = 300
"""Characters of an unexpected answer that an error quotes."""

SETTINGS = ("aspect_ratio", "image_size", "steps", "guidance", "seed", "quality", "references", "mask", "follows")
"""Of a request, beside those that take more to look at."""

NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
"""httpx's errors (and those of its successor, which some clients bring) for requests that never left."""
HTTP_CLIENTS = {"httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "requests", "urllib3", "ssl"}
"""Packages whose errors are of the network."""


def only(model: Model, request: Request, *names: str) -> None:
    """Raise InvalidRequest where `request` sets what this provider has no way to send; `names` are what it can.

    The catalogue refuses more, for the models whose settings it knows; this is so that nothing is left out silently.
    Width and height may stand beside an aspect ratio that says the same.
    """
    set_ = {
        "size": (request.width, request.height) if request.width and request.aspect_ratio is None else None,
        "negative": (request.negative or "").strip(),
        **{name: getattr(request, name) for name in SETTINGS},
    }
    for name, value in set_.items():
        if value not in (None, "", ()) and name not in names:
            shown = f" is {value!r}" if isinstance(value, str | int | float) else " is given"
            raise InvalidRequest(f"{name}{shown}, which cannot be sent to {model.name}; it takes {', '.join(names)}.")


async def retrying(attempt: Callable[[], Awaitable[T]]) -> T:
    """Call `attempt` again after what is safe to repeat: nothing was accepted (429, 503) or sent (no connection).

    Waits as long as the vendor says (Retry-After), else with growing pauses. The last error is raised.
    """
    async for context in stamina.retry_context(
        on=_pause, attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=20
    ):
        with context:
            return await attempt()
    raise AssertionError("unreachable")  # the last attempt returns or raises


def _pause(error: Exception) -> bool | float:
    if not isinstance(error, RateLimited | Unreachable):
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= LONGEST_WAIT else False


def failure(
    provider: str,
    status: int,
    said: str,
    *,
    headers: Mapping[str, str] | None = None,
    request_id: str | None = None,
    kind: type[ProviderError] | None = None,
) -> ProviderError:
    """The error for an HTTP status, in the vendor's own words. kind: where the provider knows better."""
    if kind is None:
        if status in (429, 503):
            kind = RateLimited
        elif status in (502, 504):  # a gateway lost sight of the request; the service behind may have gone on
            kind = Unanswered
        else:
            kind = ProviderError
    words = shortened(said) or "no reason given"
    ending = f" (request {request_id})" if request_id else ""
    return kind(
        f"{provider} answered {status}: {words}{ending}",
        provider=provider,
        status=status,
        request_id=request_id,
        retry_after=retry_after(headers or {}),
    )


def shortened(text: str) -> str:
    """One line without any key, fit to be quoted in a message."""
    text = " ".join(redact(text).split())
    return text if len(text) <= LONGEST_EXCERPT else f"{text[: LONGEST_EXCERPT - 1]}…"


def words_of(body: bytes | str) -> str:
    """The vendor's own words in an error's body, whichever of the usual shapes it has."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    while isinstance(value, dict | list):
        if isinstance(value, list):
            inner = [v for v in value if isinstance(v, dict | str)]
            return "; ".join(words_of(json.dumps(v)) if isinstance(v, dict) else v for v in inner) or text
        if isinstance(value.get("loc"), list) and isinstance(value.get("msg"), str):  # FastAPI's, of one setting
            where = ".".join(str(part) for part in value["loc"] if part != "body")
            return f"{where}: {value['msg']}" if where else str(value["msg"])
        for name in ("message", "error", "detail", "msg", "title"):
            if value.get(name):
                value = value[name]
                break
        else:
            return text
    return str(value)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms`, or `retry-after` as seconds or as a date. None where it says nothing usable."""
    given = {name.lower(): value for name, value in headers.items()}
    try:
        if "retry-after-ms" in given:
            seconds = float(given["retry-after-ms"]) / 1000
        elif "retry-after" in given:
            try:
                seconds = float(given["retry-after"])
            except ValueError:
                date = email.utils.parsedate_to_datetime(given["retry-after"])
                date = date if date.tzinfo is not None else date.replace(tzinfo=dt.UTC)
                seconds = (date - dt.datetime.now(dt.UTC)).total_seconds()
        else:
            return None
    except (TypeError, ValueError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


@contextmanager
def network(provider: str) -> Iterator[None]:
    """Turn what HTTP clients raise into our errors: never sent, or sent and never answered.

    Clients wrap each other's errors, so the whole chain of causes is looked at, by name.
    """
    try:
        yield
    except DiptychError:
        raise
    except Exception as error:
        chain = list(_causes(error))
        names = [type(one).__name__ for one in chain]
        modules = {type(one).__module__.split(".")[0] for one in chain}
        if not modules & HTTP_CLIENTS and not any(isinstance(one, OSError) for one in chain):
            raise
        if "HTTPStatusError" in names:  # an answer came, with a status that is no good one
            raise
        said = shortened(next((str(one) for one in reversed(chain) if str(one)), names[0]))
        if any(name in NOT_SENT for name in names) or any(isinstance(one, ConnectionRefusedError) for one in chain):
            raise Unreachable(f"{provider} cannot be reached: {said}", provider=provider) from error
        raise Unanswered(
            f"{provider} did not answer ({names[0]}: {said}); the request was sent, so it may have been charged",
            provider=provider,
        ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


async def whole(provider: str, chunks: AsyncIterator[bytes]) -> bytes:
    """A body, read up to a limit: a vendor's mistake must not fill the memory."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise BadAnswer(f"{provider} sent more than {LONGEST_ANSWER:,} bytes for one picture", provider=provider)
    return bytes(body)


class Stopwatch:
    """Seconds since the request was sent, for `Timing`."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.end: float | None = None
        self.first_byte: float | None = None
        self.queued: float | None = None
        self.download: float | None = None

    def seconds(self) -> float:
        """Until now, or until `stop`."""
        return (time.perf_counter() if self.end is None else self.end) - self.start

    def stop(self) -> None:
        """The last byte is there: what follows is work of ours, and not measured."""
        if self.end is None:
            self.end = time.perf_counter()

    def byte(self) -> None:
        if self.first_byte is None:
            self.first_byte = self.seconds()

    def timing(self) -> Timing:
        return Timing(total=self.seconds(), queued=self.queued, first_byte=self.first_byte, download=self.download)


def finish(
    provider: str,
    model: Model,
    request: Request,
    data: bytes,
    stopwatch: Stopwatch,
    *,
    cost: Cost | None = None,
    usage: Mapping[str, Any] | None = None,
    text: str | None = None,
    request_id: str | None = None,
    state: Mapping[str, str] | None = None,
    client: str | None = None,
) -> Picture:
    """A picture from a vendor's bytes, which are checked and kept as they are.

    cost: what the vendor said; without it the catalogue's price, which may be unknown. client: the vendor's package.
    Raises BadAnswer for bytes that are no whole picture, or not safe to decode.
    """
    timing = stopwatch.timing()
    try:
        seen = inspect_picture(data)
    except BadPicture as error:
        raise BadAnswer(
            f"{provider} answered with a picture that cannot be used. {shortened(str(error))}",
            provider=provider,
            request_id=request_id,
            usage=usage,
        ) from None
    return Picture(
        request=request,
        model=model.name,
        data=data,
        media_type=seen.media_type,
        width=seen.width,
        height=seen.height,
        timing=timing,
        cost=cost if cost is not None else model.cost(request, made=(seen.width, seen.height)),
        usage=dict(usage or {}),
        text=text,
        request_id=request_id,
        state=dict(state or {}),
        recipe={
            "version": RECIPE_VERSION,
            "model": model.name,
            "provider": provider,
            "remote_id": model.remote_id,
            "request": request.to_dict(),
            "versions": {name: _version(name) for name in ("diptych", client) if name},
        },
    )


@functools.cache
def _version(package: str) -> str:
    return metadata.version(package)
