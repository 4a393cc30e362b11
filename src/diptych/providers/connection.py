"""The HTTP client under those vendors' own clients that let one be put there, and the answers that come back over it.

A vendor's client knows how a request is written; what came back is judged here, as it came. So an answer that their
client cannot parse still has its status, its request id and its own words, and nothing is parsed twice.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from diptych.errors import BadAnswer, DiptychError, ProviderError, Unanswered
from diptych.providers.calling import LONGEST_ANSWER, Stopwatch, network, shortened, words_of
from diptych.settings import redact

if TYPE_CHECKING:
    import httpx2  # which those vendors' clients bring

CONNECT_WITHIN = 15.0
ANSWER_WITHIN = 300.0
"""Seconds for a whole request. The slowest models take two minutes for their largest pictures."""
EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Answer:
    """What came back, whatever the status. `body` is empty for a stream of events: those were handled on the way."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    stopwatch: Stopwatch

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def words(self) -> str:
        """What the vendor says of an error."""
        if 300 <= self.status < 400:
            return (
                f"it sends us on to {self.headers.get('location')}, where a key is not sent; set the address it is at"
            )
        return words_of(self.body)

    def table(self, provider: str, request_id: str | None = None) -> dict[str, Any]:
        """The body as a JSON object. Raises BadAnswer for anything else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):  # bytes that are no UTF-8 raise a ValueError, too
            value = None
        if not isinstance(value, dict):
            what = f"it begins {_beginning(self.body)!r}" if self.body.strip() else "it is empty"
            raise bad(provider, f"is no JSON object: {what}", status=self.status, request_id=request_id)
        return value


def bad(
    provider: str,
    what: str,
    *,
    status: int = 200,
    request_id: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> BadAnswer:
    """The error for an answer with a good status that `what`."""
    ending = f" (request {request_id})" if request_id else ""
    return BadAnswer(
        f"{provider} gave an answer that {redact(what)}{ending}",
        provider=provider,
        status=status,
        request_id=request_id,
        usage=usage,
    )


def _beginning(body: bytes) -> str:
    return shortened(body[:4000].decode("utf-8", "replace"))[:80]


def at(value: Any, *path: str | int) -> Any:
    """What lies at `path` in decoded JSON; None where the way there is another than the protocol's."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
            value = value[step]
        else:
            return None
    return value


@dataclass
class _Exchange:
    provider: str
    stopwatch: Stopwatch
    response: httpx2.Response | None = None
    body: bytes | None = None


_under_way: ContextVar[_Exchange] = ContextVar("_under_way")
"""Vendors' clients pass nothing of ours down to the HTTP client; the task that both run in does."""


def http_client() -> httpx2.AsyncClient:
    """For `ask`. It follows no redirect, as the key would go along, and asks for no compression: a small answer
    must not become a large one in memory."""
    import httpx2

    return httpx2.AsyncClient(
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        event_hooks={"request": [_sending], "response": [_answering]},
    )


async def ask(provider: str, send: Callable[[], Awaitable[object]]) -> Answer:
    """Run `send`, which makes one request with a vendor's client over `http_client`; return what came back.

    What their client makes of an answer is of no interest. For a stream of events, `send` handles them, and what it
    raises is raised. Raises Unreachable, Unanswered, BadAnswer; asyncio.CancelledError passes through.
    """
    exchange = _Exchange(provider, Stopwatch())
    token = _under_way.set(exchange)
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            with network(provider):
                try:
                    await send()
                except Exception:
                    if exchange.body is None:
                        raise
    except TimeoutError:
        raise Unanswered(
            f"{provider} did not answer within {ANSWER_WITHIN:g} s; the request was sent, so it may have been charged",
            provider=provider,
        ) from None
    except DiptychError:
        raise
    except Exception as error:  # noqa: BLE001  # a vendor's client may fail in any way
        what = f"{type(error).__name__}: {shortened(str(error))}"
        if exchange.response is None:
            raise ProviderError(f"The request to {provider} cannot be sent: {what}", provider=provider) from None
        raise bad(provider, f"its client cannot read: {what}") from None
    finally:
        _under_way.reset(token)
    response = exchange.response
    if response is None:
        raise RuntimeError(f"The client of {provider} sent nothing.")
    return Answer(response.status_code, response.headers, exchange.body or b"", exchange.stopwatch)


async def _sending(request: httpx2.Request) -> None:
    _under_way.get().stopwatch.start = (
        time.perf_counter()
    )  # writing the request, getting a token: not the vendor's time
    # Vendors' clients set one number for everything, but a connection should fail sooner than a picture does.
    # `ask` bounds the sum.
    request.extensions["timeout"] = {"connect": CONNECT_WITHIN, "read": None, "write": None, "pool": None}


async def _answering(response: httpx2.Response) -> None:
    exchange = _under_way.get()
    exchange.response = response
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise bad(exchange.provider, "is compressed, which was not asked for")
    response.stream = _watched(cast("httpx2.AsyncByteStream", response.stream), exchange)
    if not response.headers.get("content-type", "").startswith(EVENTS) or not response.is_success:
        exchange.body = await response.aread()


def _watched(stream: httpx2.AsyncByteStream, exchange: _Exchange) -> httpx2.AsyncByteStream:
    """The same body, which stops the watch at its first byte, and ends at a limit."""
    import httpx2

    class Watched(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            length = 0
            async for chunk in stream:
                exchange.stopwatch.byte()
                length += len(chunk)
                if length > LONGEST_ANSWER:
                    raise bad(exchange.provider, f"is longer than {LONGEST_ANSWER:,} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Watched()
