"""What hosted providers share, each rule by itself."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import email.utils
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from diptych.catalogue import Model, Price
from diptych.errors import (
    BadAnswer,
    InvalidRequest,
    MissingExtra,
    ProviderError,
    RateLimited,
    Refused,
    Unanswered,
    Unreachable,
)
from diptych.images import Cost, Input, Request
from diptych.providers import calling
from diptych.providers.calling import (
    Stopwatch,
    failure,
    finish,
    network,
    only,
    retry_after,
    retrying,
    shortened,
    whole,
    words_of,
)
from tests.providers.conftest import KEY
from tests.standins.pictures import bomb, draw

MODEL = Model(
    name="a-model",
    title="A model",
    provider="openai",
    remote_id="a-model-1",
    prices=(Price(per_image=0.04, source="a test"),),
)
PNG = draw("a fox", width=32, height=16)


# Retries


class Attempts:
    """Fails with the given errors in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.count = list(errors), 0

    async def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "a picture"


def limited(seconds: float | None = 0.01) -> RateLimited:
    return RateLimited("later", provider="p", retry_after=seconds)


@pytest.mark.parametrize(
    "errors",
    [[], [limited()], [limited(), limited(), limited(), limited()], [Unreachable("no", provider="p", retry_after=0.0)]],
    ids=["none", "one", "four", "unreachable"],
)
def test_what_costs_nothing_is_tried_again(errors: list[Exception]) -> None:
    attempt = Attempts(*errors)
    assert asyncio.run(retrying(attempt)) == "a picture"
    assert attempt.count == len(errors) + 1 if not attempt.errors else False


def test_the_last_error_is_raised() -> None:
    attempt = Attempts(*(limited() for _ in range(calling.ATTEMPTS + 1)))
    with pytest.raises(RateLimited, match="later"):
        asyncio.run(retrying(attempt))
    assert attempt.count == calling.ATTEMPTS


@pytest.mark.parametrize(
    "error",
    [
        Unanswered("?", provider="p"),
        BadAnswer("?", provider="p"),
        Refused("?", provider="p"),
        ProviderError("?", provider="p", status=500, retry_after=0.01),
        limited(calling.LONGEST_WAIT + 1),
        ValueError("a mistake"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_cost_twice_or_takes_too_long_is_not(error: Exception) -> None:
    attempt = Attempts(error)
    with pytest.raises(type(error)):
        asyncio.run(retrying(attempt))
    assert attempt.count == 1


def test_a_wait_can_be_given_up() -> None:
    async def give_up() -> None:
        task = asyncio.create_task(retrying(Attempts(limited(30))))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())


# Errors by status


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProviderError),
        (401, ProviderError),
        (404, ProviderError),
        (429, RateLimited),
        (500, ProviderError),
        (502, Unanswered),
        (503, RateLimited),
        (504, Unanswered),
    ],
)
def test_an_error_by_its_status(status: int, kind: type[ProviderError]) -> None:
    error = failure("vendor", status, "Something  is\nwrong.", headers={"Retry-After": "7"}, request_id="r-1")
    assert type(error) is kind
    assert str(error) == f"vendor answered {status}: Something is wrong. (request r-1)"
    assert (error.provider, error.status, error.request_id, error.retry_after) == ("vendor", status, "r-1", 7.0)


def test_a_provider_may_know_better() -> None:
    assert type(failure("vendor", 400, "No violence.", kind=Refused)) is Refused


def test_an_error_without_words_and_one_with_too_many() -> None:
    assert str(failure("vendor", 500, " \n ")) == "vendor answered 500: no reason given"
    assert len(str(failure("vendor", 500, "word " * 1000))) < 350


def test_an_error_holds_no_key() -> None:
    error = failure("vendor", 400, f"The key {KEY} is wrong.")
    assert str(error) == "vendor answered 400: The key [key] is wrong."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"code": 400, "message": "No such size.", "status": "INVALID_ARGUMENT"}}, "No such size."),
        ({"error": {"message": "No such size.", "type": "x", "param": None, "code": None}}, "No such size."),
        ({"detail": "No such size."}, "No such size."),
        ({"detail": [{"loc": ["body"], "msg": "No such size.", "type": "x"}, {"msg": "No prompt."}]},
         "No such size.; No prompt."),
        ({"error": "bad_request", "message": "No such size."}, "No such size."),
        ({"title": "Bad request", "detail": "No such size.", "status": 400}, "No such size."),
        ([{"message": "No such size."}], "No such size."),
        ({"error": ""}, '{"error": ""}'),
        ({}, "{}"),
        ([], "[]"),
        ("No such size.", "No such size."),
        ({"error": {"message": {"message": "No such size."}}}, "No such size."),
        ({"error": {"message": ["No such size.", 3]}}, "No such size."),
    ],
    ids=str,
)  # fmt: skip
def test_the_vendor_s_words(body: Any, words: str) -> None:
    assert words_of(json.dumps(body)) == words
    assert words_of(json.dumps(body).encode()) == words


def test_words_that_are_no_json() -> None:
    assert words_of("<html>Bad gateway</html>") == "<html>Bad gateway</html>"
    assert words_of(b"\xff\xfe") == "\ufffd\ufffd"
    assert words_of("[" * 100_000).startswith("[")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
    ids=str,
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_how_long_to_wait_by_date() -> None:
    def date(seconds: float) -> dict[str, str]:
        then = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        return {"retry-after": email.utils.format_datetime(then, usegmt=True)}

    found = retry_after(date(100))
    assert found is not None
    assert 90 < found <= 100
    assert retry_after(date(-100)) == 0.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00"}) == 0.0  # without a zone


# What clients raise


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError("refused"), Unreachable),
        (httpx.ConnectTimeout("slow"), Unreachable),
        (ConnectionRefusedError(111, "refused"), Unreachable),
        (httpx.ReadError(""), Unanswered),
        (httpx.ReadTimeout("slow"), Unanswered),
        (httpx.RemoteProtocolError("hung up"), Unanswered),
        (ConnectionResetError(104, "reset"), Unanswered),
        (TimeoutError(), Unanswered),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_client_raises_is_told_by_whether_it_was_sent(raised: Exception, kind: type[ProviderError]) -> None:
    class TheirError(Exception):
        """Vendors' clients wrap what happened."""

    def wrapped() -> None:
        try:
            raise raised
        except Exception as error:
            raise TheirError("Connection error.") from error

    def bare() -> None:
        raise raised

    for client in (bare, wrapped):
        with pytest.raises(ProviderError) as caught, network("vendor"):
            client()
        assert type(caught.value) is kind
        assert "vendor" in str(caught.value)


@pytest.mark.parametrize(
    "raised",
    [
        Refused("no", provider="p"),
        MissingExtra("It", "extra", "package"),
        InvalidRequest("no"),
        ValueError("no"),
        httpx.HTTPStatusError("404", request=httpx.Request("GET", "https://example.org"), response=httpx.Response(404)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_of_the_network_passes(raised: Exception) -> None:
    with pytest.raises(type(raised)) as caught, network("vendor"):
        raise raised
    assert caught.value is raised


def test_an_error_of_ours_passes_whatever_led_to_it() -> None:
    def refuse() -> None:
        try:
            raise httpx.ReadError("while something else went on")
        except httpx.ReadError:
            raise Refused("no", provider="p") from None

    with pytest.raises(Refused), network("vendor"):
        refuse()


def test_being_cancelled_passes() -> None:
    with pytest.raises(asyncio.CancelledError), network("vendor"):
        raise asyncio.CancelledError


def test_an_address_with_a_key_is_not_repeated() -> None:
    with pytest.raises(Unreachable) as caught, network("vendor"):
        raise httpx.ConnectError(f"cannot reach https://example.org/?key={KEY}")
    assert KEY not in str(caught.value)


# Bodies and pictures


def test_a_body_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"1234"

    assert asyncio.run(whole("vendor", chunks())) == b"1234" * 4
    monkeypatch.setattr(calling, "LONGEST_ANSWER", 15)
    with pytest.raises(BadAnswer, match="vendor sent more than 15 bytes for one picture"):
        asyncio.run(whole("vendor", chunks()))


def test_a_picture_is_kept_as_it_came() -> None:
    stopwatch = Stopwatch()
    stopwatch.byte()
    first = stopwatch.first_byte
    stopwatch.byte()
    request = Request(prompt="a fox", references=(Input(PNG),))
    made = finish(
        "openai", MODEL, request, PNG, stopwatch, usage={"tokens": 3}, request_id="r-1", state={"a": "b"}, text="Here."
    )
    assert made.data == PNG
    assert (made.width, made.height, made.media_type) == (32, 16, "image/png")
    assert made.timing.first_byte == first
    assert made.timing.total >= (first or 0)
    assert made.cost == Cost(0.04, "price", source="a test")
    assert (made.usage, made.request_id, made.state, made.text) == ({"tokens": 3}, "r-1", {"a": "b"}, "Here.")
    assert made.recipe["request"] == {"prompt": "a fox", "references": [Input(PNG).sha256]}
    assert (made.recipe["provider"], made.recipe["remote_id"]) == ("openai", "a-model-1")
    json.dumps(made.recipe)


def test_a_stopped_watch_stands_still() -> None:
    stopwatch = Stopwatch()
    assert stopwatch.timing().total <= stopwatch.timing().total
    stopwatch.stop()
    total = stopwatch.seconds()
    stopwatch.stop()
    assert stopwatch.timing().total == total


def test_what_the_vendor_says_of_the_cost_comes_first() -> None:
    stated = Cost(0.07, "stated")
    assert finish("openai", MODEL, Request(prompt="a fox"), PNG, Stopwatch(), cost=stated).cost == stated


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (PNG[:-40], "cannot be decoded"),
        (bomb(), "decompression bomb"),
        (b"<html>", "no PNG, JPEG, WebP or GIF"),
    ],
    ids=["empty", "truncated", "bomb", "HTML"],
)
def test_a_picture_that_cannot_be_used(data: bytes, words: str) -> None:
    with pytest.raises(BadAnswer, match=words) as caught:
        finish("openai", MODEL, Request(prompt="a fox"), data, Stopwatch(), usage={"tokens": 3}, request_id="r-1")
    assert caught.value.usage == {"tokens": 3}
    assert caught.value.request_id == "r-1"
    assert caught.value.charged is None


# Settings that cannot be sent


def test_every_setting_of_a_request_is_looked_at() -> None:
    looked_at = {*calling.SETTINGS, "negative", "width", "height"}
    others = {"prompt", "options", "original_prompt"}  # the provider's own to look at, or not sent
    assert looked_at | others == {field.name for field in dataclasses.fields(Request)}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(prompt="a", width=64, height=64), "size is given, which cannot be sent to a-model; it takes seed"),
        (Request(prompt="a", steps=3), "steps is 3,"),
        (Request(prompt="a", references=(Input(PNG),)), "references is given,"),
        (Request(prompt="a", guidance=0.0), "guidance is 0.0,"),
        (Request(prompt="a", negative="blur"), "negative is 'blur',"),
    ],
    ids=["size", "steps", "references", "guidance", "negative"],
)
def test_what_cannot_be_sent_is_refused(request_: Request, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        only(MODEL, request_, "seed")


def test_what_can_be_sent_is_not() -> None:
    only(MODEL, Request(prompt="a", seed=0, negative="  "), "seed")
    only(MODEL, Request(prompt="a", width=64, height=64, aspect_ratio="1:1"), "aspect_ratio")


def test_a_long_text_is_shortened() -> None:
    assert shortened(" a \n b ") == "a b"
    assert shortened("x" * 1000) == "x" * (calling.LONGEST_EXCERPT - 1) + "…"
