"""The HTTP client under the vendors' clients, without one of them above it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Called
from starlette.responses import Response
from starlette.routing import Route

from diptych.errors import BadAnswer, ProviderError, RateLimited, Unanswered
from diptych.providers import connection
from diptych.providers.calling import Stopwatch
from diptych.providers.connection import Answer, ask, at, http_client
from tests.providers.conftest import KEY
from tests.standins.server import serve

Send = Callable[[httpx2.AsyncClient, str], Awaitable[object]]


def asked(send: Send, *, status: int = 200, body: bytes = b"{}", **headers: str) -> Answer:
    """What `send` is answered by a server with one answer."""

    async def answer(_: Called) -> Response:
        return Response(body, status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def main(url: str) -> Answer:
        async with http_client() as client:
            return await ask("vendor", lambda: send(client, url))

    with serve(Starlette(routes=[Route("/", answer)])) as url:
        return asyncio.run(main(url))


async def get(client: httpx2.AsyncClient, url: str) -> object:
    return await client.get(url)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 500])
def test_an_answer_comes_back_whatever_its_status(status: int) -> None:
    answer = asked(get, status=status, body=b"" if status == 204 else b'{"a": 1}', x_request_id="r-1")
    assert answer.status == status
    assert answer.good == (status < 300)
    assert answer.headers["x-request-id"] == "r-1"


def test_what_the_client_makes_of_an_answer_is_of_no_interest() -> None:
    async def parse(client: httpx2.AsyncClient, url: str) -> object:
        return (await client.get(url)).json()["nothing of the kind"]

    assert asked(parse, body=b'{"a": 1}').table("vendor") == {"a": 1}
    assert asked(parse, body=b"<html>").body == b"<html>"


def test_a_request_that_cannot_be_written() -> None:
    async def fail(client: httpx2.AsyncClient, url: str) -> object:
        raise ValueError(f"a header cannot hold {KEY}")

    with pytest.raises(ProviderError, match=r"The request to vendor cannot be sent: ValueError: .* \[key\]") as caught:
        asked(fail)
    assert caught.value.charged is False


def test_a_client_that_sends_nothing_is_a_mistake_of_ours() -> None:
    async def nothing(client: httpx2.AsyncClient, url: str) -> object:
        return None

    with pytest.raises(RuntimeError, match="sent nothing"):
        asked(nothing)


def test_events_are_handled_by_whoever_sends() -> None:
    lines: list[str] = []

    async def read(client: httpx2.AsyncClient, url: str) -> object:
        async with client.stream("GET", url) as response:
            lines.extend([line async for line in response.aiter_lines()])
        return None

    answer = asked(read, body=b"data: 1\n\n", content_type="text/event-stream; charset=utf-8")
    assert lines == ["data: 1", ""]
    assert answer.body == b""
    assert answer.stopwatch.first_byte is not None


def test_events_that_the_client_cannot_read() -> None:
    async def fail(client: httpx2.AsyncClient, url: str) -> object:
        async with client.stream("GET", url):
            raise KeyError("data")

    with pytest.raises(BadAnswer, match="its client cannot read: KeyError: 'data'"):
        asked(fail, content_type="text/event-stream")


def test_an_error_of_ours_passes() -> None:
    async def fail(client: httpx2.AsyncClient, url: str) -> object:
        raise RateLimited("later", provider="vendor")

    with pytest.raises(RateLimited, match="later"):
        asked(fail)


def test_answers_of_requests_at_once_are_not_mixed_up() -> None:
    async def echo(called: Called) -> Response:
        await asyncio.sleep(0.01 * (int(called.path_params["n"]) % 3))
        return Response(called.path_params["n"])

    async def main(url: str) -> list[Answer]:
        async with http_client() as client:

            def one(n: int) -> Awaitable[Answer]:
                return ask("vendor", lambda: client.get(f"{url}/{n}"))

            return await asyncio.gather(*(one(n) for n in range(20)))

    with serve(Starlette(routes=[Route("/{n}", echo)])) as url:
        answers = asyncio.run(main(url))
    assert [answer.body for answer in answers] == [str(n).encode() for n in range(20)]


def test_time_is_up_in_the_middle_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.1)

    async def slow(client: httpx2.AsyncClient, url: str) -> object:
        await client.get(url)
        return await asyncio.sleep(10)

    with pytest.raises(Unanswered, match=r"vendor did not answer within 0.1 s"):
        asked(slow)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("a", 0, "b"), 1),
        (("a", 1), None),
        (("a", -1), None),
        (("a", "0"), None),
        (("a", 0, "b", "c"), None),
        ((0,), None),
        ((), {"a": [{"b": 1}]}),
    ],
)
def test_the_way_into_a_table(path: tuple[Any, ...], found: Any) -> None:
    assert at({"a": [{"b": 1}]}, *path) == found


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "it is empty"), (b" \n", "it is empty"), (b"[1]", r"it begins '\[1\]'"), (b"\xff", "it begins"),
     (b"[" * 100_000, "it begins"), (f'"{KEY}"'.encode(), r"it begins '\"\[key\]\"'")],
    ids=["empty", "blank", "a list", "no UTF-8", "deep", "a key"],
)  # fmt: skip
def test_a_body_that_is_no_table(body: bytes, words: str) -> None:
    answer = Answer(200, {}, body, Stopwatch())
    with pytest.raises(BadAnswer, match=rf"vendor gave an answer that is no JSON object: {words}.* \(request r-1\)"):
        answer.table("vendor", "r-1")
