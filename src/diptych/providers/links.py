"""What a vendor links to: which links may be followed, requests that may be repeated, and the picture at their end.

A vendor's answer says where to poll and where the picture lies. Following any link at all would send the key to a
stranger, or let a bad answer read what only this machine can reach. So a link is followed when

- its host is one of `hosts`, the vendor's own by its documentation (`*.bfl.ai`: every host below bfl.ai), and it has
  TLS; or
- its host is that of `base`, the address that the user set in the vendor's place, as for a gateway or in tests. All
  names of this machine are one host there. TLS may be missing where `base` has none either.

Redirects are followed by `fetch` alone, each held against the same rule, and never with a key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from diptych.errors import ProviderError, RateLimited, Unanswered, Unreachable
from diptych.providers.calling import LONGEST_WAIT, Stopwatch, failure, network, shortened, whole
from diptych.providers.connection import Answer, bad

T = TypeVar("T")

CONNECT_WITHIN = 15.0
ANSWER_WITHIN = 60.0
"""Seconds for one request and its answer; no vendor of jobs makes the picture meanwhile."""
REDIRECTS = 5


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often to ask again: after `first` seconds, then ever later up to `most`, for `within` seconds in all."""

    first: float = 0.25
    most: float = 1.5
    within: float = 600.0
    growth: float = 1.4


DOWNLOAD = Pace(most=5.0, within=120.0)


def checked(provider: str, link: object, hosts: Sequence[str], *, base: str | None = None) -> httpx.URL:
    """`link`, when it may be followed. Raises BadAnswer, which names the host, when it may not."""
    try:
        url = httpx.URL(link) if isinstance(link, str) else httpx.URL()
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeDecodeError):
        url, host = httpx.URL(), ""
    if url.scheme not in ("http", "https") or not host or url.userinfo:
        raise bad(provider, f"links to {shortened(str(link))[:80]!r}, which is no address of the web")
    if base is not None:
        own = httpx.URL(base)
        if _same(host, own.raw_host.decode("ascii")) and url.scheme in ("https", own.scheme):
            return url
    if not any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in hosts):
        raise bad(provider, f"links to {host}, which is none of its hosts ({', '.join(hosts)}), so it was not followed")
    if url.scheme != "https":
        raise bad(provider, f"links to {host} without TLS, so it was not followed")
    return url


def _same(one: str, other: str) -> bool:
    return one == other or (is_here(one) and is_here(other))


def is_here(host: str) -> bool:
    """Whether `host` is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def http_client() -> httpx.AsyncClient:
    """For `send`. It has no key, follows no redirect, and asks for no compression, which `send` would not undo."""
    return httpx.AsyncClient(
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
        timeout=httpx.Timeout(None, connect=CONNECT_WITHIN),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
    )


async def send(
    provider: str,
    client: httpx.AsyncClient,
    method: str,
    url: str | httpx.URL,
    *,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    within: float | None = None,
) -> Answer:
    """One request and its answer, whatever the status. Raises Unreachable, Unanswered, BadAnswer (too long)."""
    within = ANSWER_WITHIN if within is None else within
    stopwatch, limit = Stopwatch(), asyncio.timeout(within)
    try:
        async with limit:
            with network(provider):
                async with client.stream(method, url, headers=headers, json=json) as response:
                    stopwatch.byte()
                    body = await whole(provider, response.aiter_raw())
    except TimeoutError:
        if not limit.expired():
            raise
        raise Unanswered(
            f"{provider} did not answer within {within:g} s; the request was sent, so it may have been charged",
            provider=provider,
        ) from None
    return Answer(response.status_code, response.headers, body, stopwatch)


def good(provider: str, answer: Answer, request_id: str | None = None) -> Answer:
    """`answer`, when its status is a good one. Raises what the status and the vendor's words say."""
    if not answer.good:
        raise failure(provider, answer.status, answer.words, headers=answer.headers, request_id=request_id)
    return answer


async def patiently(provider: str, ask: Callable[[], Awaitable[T | None]], pace: Pace, what: str) -> T:
    """Call `ask`, which may be repeated at no cost, until it gives something other than None.

    Whatever may pass (a limit, an overload, a lost connection) is waited out. Raises Unanswered when there is no `what`
    within the time of `pace`, and anything else that `ask` raises.
    """
    until = time.monotonic() + pace.within
    pause = pace.first
    trouble: ProviderError | None = None
    while True:
        wait = pause
        try:
            found = await ask()
        except ProviderError as error:
            if not _passing(error):
                raise
            trouble = error
            wait = max(pause, min(error.retry_after or 0.0, LONGEST_WAIT))
        else:
            if found is not None:
                return found
            trouble = None
        if time.monotonic() + wait > until:
            last = f". The last answer: {trouble}" if trouble is not None else ""
            raise Unanswered(
                f"{provider} gave no {what} within {pace.within:g} s; "
                f"the request was accepted, so it may have been charged{last}",
                provider=provider,
                status=trouble.status if trouble is not None else None,
            )
        await asyncio.sleep(wait)
        pause = min(pause * pace.growth, pace.most)


def _passing(error: ProviderError) -> bool:
    return isinstance(error, RateLimited | Unreachable | Unanswered) or (error.status or 0) >= 500


async def fetch(
    provider: str,
    client: httpx.AsyncClient,
    link: object,
    hosts: Sequence[str],
    stopwatch: Stopwatch,
    *,
    base: str | None = None,
    pace: Pace = DOWNLOAD,
    request_id: str | None = None,
) -> bytes:
    """The bytes of the picture at `link`, which may be a data URI. No key is sent there; `client` must have none.

    The picture is made and billed by now, so the request is repeated while that may help. Raises BadAnswer for a link
    that may not be followed, ProviderError (charged) for one that is no longer good, Unanswered when time is up.
    """
    if isinstance(link, str) and link.startswith("data:"):
        return _decoded(provider, link)
    first = checked(provider, link, hosts, base=base)

    async def get() -> bytes:
        url = first
        for _ in range(REDIRECTS + 1):
            answer = await send(provider, client, "GET", url, within=pace.within)
            location = answer.headers.get("location")
            if not 300 <= answer.status < 400 or location is None:
                return good(provider, answer, request_id).body
            url = _next(provider, url, location, hosts, base)
        raise bad(provider, f"redirects more than {REDIRECTS} times", request_id=request_id)

    before = stopwatch.seconds()
    try:
        data = await patiently(provider, get, pace, "picture")
    except ProviderError as error:
        if type(error) is not ProviderError:
            error.request_id = error.request_id or request_id
            raise
        lost = ProviderError(
            f"{provider} made the picture, but its link no longer leads there, as links expire: {error}",
            provider=provider,
            status=error.status,
            request_id=request_id,
        )
        lost.charged = True
        raise lost from None
    stopwatch.download = stopwatch.seconds() - before
    return data


def _next(provider: str, url: httpx.URL, location: str, hosts: Sequence[str], base: str | None) -> httpx.URL:
    try:
        there = str(url.join(location))
    except httpx.InvalidURL:
        there = location
    return checked(provider, there, hosts, base=base)


def _decoded(provider: str, uri: str) -> bytes:
    head, _, data = uri.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("no base64")
        return base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        raise bad(provider, f"holds a picture that is no base64: {shortened(uri)[:80]!r}") from None
