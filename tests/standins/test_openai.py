"""openai against the stand-in: what it makes of good answers, refusals and faults."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from openai import OpenAI as Client
from PIL import Image

from tests.standins.capture import MASK, OTHER, PHOTO
from tests.standins.faults import (
    Dropped,
    Empty,
    Fault,
    Garbage,
    Html,
    Invalid,
    OtherJson,
    OutOfCredits,
    RateLimited,
    Redirected,
    Refused,
    Retired,
    ServerError,
    Slow,
    StreamBroken,
    Trickled,
    Truncated,
    Unauthorized,
)
from tests.standins.openai import OpenAI

ASKED: dict[str, Any] = {"model": "gpt-image-2", "prompt": "a fox", "size": "256x128"}


def connect(vendor: OpenAI, **more: Any) -> Client:
    return Client(api_key=vendor.key, base_url=f"{vendor.url}/v1", **{"max_retries": 0, **more})


@pytest.fixture
def client(openai: OpenAI) -> Iterator[Client]:
    with connect(openai) as client:
        yield client


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_pictures(openai: OpenAI, client: Client, kind: Any) -> None:
    answer = client.images.generate(**ASKED, n=2, output_format=kind, quality="low", background="opaque")
    sent = [base64.b64decode(made.b64_json) for made in answer.data]
    assert sent == list(openai.pictures.values())
    image = Image.open(io.BytesIO(sent[0]))
    assert (image.format, image.size) == (kind.upper(), (256, 128))
    assert (answer.size, answer.quality, answer.output_format, answer.background) == ("256x128", "low", kind, "opaque")
    used = answer.usage
    assert used.output_tokens == 2 * int(272 * 256 * 128 / 1024**2)
    assert (used.input_tokens, used.total_tokens) == (2, 2 + used.output_tokens)
    assert answer._request_id.startswith("req_")


def test_edits(openai: OpenAI, client: Client) -> None:
    files = [("a.png", PHOTO, "image/png"), ("b.png", OTHER, "image/png")]
    answer = client.images.edit(**ASKED, image=files, mask=("mask.png", MASK, "image/png"), input_fidelity="high", n=2)
    assert len(answer.data) == len(openai.charges) == 2
    assert answer.usage.input_tokens_details.image_tokens == 2 * 323
    sent = [part for part in openai.requests[0].body if part.filename]
    assert [(part.name, part.data) for part in sent] == [("image[]", PHOTO), ("image[]", OTHER), ("mask", MASK)]
    client.images.edit(**ASKED, image=PHOTO)
    (bare,) = [part for part in openai.requests[1].body if part.filename]
    assert (bare.name, bare.filename, bare.content_type) == ("image", "upload", "application/octet-stream")


@pytest.mark.parametrize("partial", [0, 1, 3])
def test_streams(openai: OpenAI, client: Client, partial: int) -> None:
    events = list(client.images.generate(**ASKED, stream=True, partial_images=partial))
    assert [event.type for event in events] == [
        *["image_generation.partial_image"] * partial,
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:-1]] == list(range(partial))
    assert base64.b64decode(events[-1].b64_json) == openai.pictures[openai.charges[0]["id"]]
    assert events[-1].usage.output_tokens == int(1056 * 256 * 128 / 1024**2) + 100 * partial
    assert len({event.b64_json for event in events}) == partial + 1


def test_streams_of_edits(client: Client) -> None:
    events = list(client.images.edit(**ASKED, image=PHOTO, stream=True, partial_images=1))
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


def test_text(openai: OpenAI, client: Client) -> None:
    url = f"data:image/png;base64,{base64.b64encode(PHOTO).decode()}"
    content: Any = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = client.chat.completions.create(model="gpt-5.5-mini", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "gpt-5.5-mini read 3 words and 1 pictures."
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    openai.reply = "left"
    assert client.responses.create(model="gpt-5.5-mini", input="Which?").output_text == "left"
    assert [charge["what"] for charge in openai.charges] == ["text", "text"]
    openai.retired.add("gpt-image-1.5")
    assert "gpt-image-1.5" not in [model.id for model in client.models.list()]


def test_without_waiting(openai: OpenAI) -> None:
    async def run() -> tuple[int, int]:
        async with AsyncOpenAI(api_key=openai.key, base_url=f"{openai.url}/v1", max_retries=0) as client:
            answer = await client.images.generate(**ASKED)
            stream = await client.images.generate(**ASKED, stream=True, partial_images=2)
            return len(answer.data), len([event async for event in stream])

    assert asyncio.run(run()) == (1, 3)


@pytest.mark.parametrize("how", ["moderation_blocked", "content_policy_violation"])
@pytest.mark.parametrize("stream", [False, True])
def test_refused_pictures(openai: OpenAI, client: Client, how: str, stream: bool) -> None:
    openai.next(Refused(how=how))
    with pytest.raises(BadRequestError) as told:
        client.images.generate(**ASKED, stream=stream)
    assert (told.value.code, told.value.type) == (how, "image_generation_user_error")
    assert not openai.charges


def test_refused_text(openai: OpenAI, client: Client) -> None:
    openai.next(Refused(), Refused(how="content_filter"))
    asked: Any = {"model": "gpt-5.5-mini", "messages": [{"role": "user", "content": "hello"}]}
    first, second = (client.chat.completions.create(**asked).choices[0] for _ in range(2))
    assert (first.finish_reason, first.message.content) == ("stop", None)
    assert first.message.refusal
    assert (second.finish_reason, second.message.content) == ("content_filter", None)


@pytest.mark.parametrize(
    ("fault", "kind", "status", "code"),
    [
        (RateLimited(retry_after=7), RateLimitError, 429, "rate_limit_exceeded"),
        (OutOfCredits(), RateLimitError, 429, "insufficient_quota"),
        (Unauthorized(), AuthenticationError, 401, "invalid_api_key"),
        (Unauthorized(status=403), PermissionDeniedError, 403, "invalid_api_key"),
        (Retired(), NotFoundError, 404, "model_not_found"),
        (Invalid(), BadRequestError, 400, "invalid_value"),
        (Invalid(shape="text"), UnprocessableEntityError, 422, None),
        (Invalid(shape="list"), UnprocessableEntityError, 422, None),
        (ServerError(status=500), InternalServerError, 500, None),
        (ServerError(status=503, charged=True), InternalServerError, 503, None),
        (Html(status=502), InternalServerError, 502, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_with_a_status(
    openai: OpenAI, client: Client, fault: Fault, kind: type[APIStatusError], status: int, code: str, stream: bool
) -> None:
    openai.next(fault)
    with pytest.raises(kind) as told:
        client.images.generate(**ASKED, stream=stream)
    assert (told.value.status_code, told.value.code) == (status, code)
    assert (len(openai.requests), len(openai.charges)) == (1, fault.accepted)
    if isinstance(fault, RateLimited):
        assert told.value.response.headers["retry-after"] == "7"
        assert told.value.request_id.startswith("req_")
        assert told.value.body["type"] == "requests"  # what was inside `error`
    elif isinstance(fault, Html):
        assert isinstance(told.value.body, str)
    elif isinstance(fault, Invalid) and fault.shape != "vendor":
        assert set(told.value.body) == {"detail"}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Dropped(), httpx2.TransportError),
        (Dropped(charged=True), httpx2.RemoteProtocolError),
        (Truncated(), httpx2.RemoteProtocolError),
        (Redirected(location="http://127.0.0.1:1/"), httpx2.ConnectError),
    ],
    ids=str,
)
def test_connections_that_end(openai: OpenAI, client: Client, fault: Fault, cause: type[Exception]) -> None:
    openai.next(fault)
    with pytest.raises(APIConnectionError) as told:
        client.images.generate(**ASKED)
    assert isinstance(told.value.__cause__, cause)
    assert (len(openai.requests), len(openai.charges)) == (1, fault.accepted)


@pytest.mark.parametrize(("fault", "kind"), [(Empty(), json.JSONDecodeError), (Garbage(), UnicodeDecodeError)], ids=str)
def test_what_comes_through_bare(openai: OpenAI, client: Client, fault: Fault, kind: type[Exception]) -> None:
    openai.next(fault)
    with pytest.raises(kind):
        client.images.generate(**ASKED)


@pytest.mark.parametrize(
    ("fault", "told"), [(Html(), str), (OtherJson(value=[1]), list), (OtherJson(value="x"), str)], ids=str
)
def test_an_answer_may_be_of_any_type(openai: OpenAI, client: Client, fault: Fault, told: type) -> None:
    openai.next(fault)
    assert type(client.images.generate(**ASKED)) is told


def test_an_answer_without_sense_is_not_an_error(openai: OpenAI, client: Client) -> None:
    openai.next(OtherJson())
    answer = client.images.generate(**ASKED)
    assert (answer.data, answer.usage, len(openai.charges)) == (None, None, 1)


@pytest.mark.parametrize(
    ("fault", "kind", "events"),
    [
        (StreamBroken(after=1), APIConnectionError, 1),
        (StreamBroken(after=0), APIConnectionError, 0),
        (StreamBroken(after=2, how="error"), APIError, 2),
        (Dropped(charged=True), APIConnectionError, 0),
    ],
    ids=str,
)
def test_streams_that_break(openai: OpenAI, client: Client, fault: Fault, kind: type[Exception], events: int) -> None:
    openai.next(fault)
    got: list[Any] = []
    with pytest.raises(kind) as told:
        got.extend(client.images.generate(**ASKED, stream=True, partial_images=2))
    assert (type(told.value), len(got), len(openai.charges)) == (kind, events, 1)


@pytest.mark.parametrize("fault", [Empty(), Html(), OtherJson()], ids=str)
def test_a_stream_that_is_none_ends_without_a_word(openai: OpenAI, client: Client, fault: Fault) -> None:
    openai.next(fault)
    assert not list(client.images.generate(**ASKED, stream=True))
    assert len(openai.charges) == 1


@pytest.mark.parametrize("fault", [Slow(seconds=0.001), Trickled(seconds=0.001)], ids=str)
def test_slow_answers(openai: OpenAI, client: Client, fault: Fault) -> None:
    openai.next(fault, fault)
    assert client.images.generate(**ASKED).data
    assert len(list(client.images.generate(**ASKED, stream=True, partial_images=1))) == 2


def test_running_out_of_time_is_charged(openai: OpenAI) -> None:
    openai.next(Slow(seconds=600))
    with connect(openai, timeout=0.05) as client, pytest.raises(APITimeoutError):
        client.images.generate(**ASKED)
    openai.wait_until(lambda vendor: len(vendor.charges) == 1)


def test_left_alone_it_pays_for_every_attempt(openai: OpenAI) -> None:
    openai.next(*[ServerError(charged=True, retry_after=0.001)] * 2)
    with connect(openai, max_retries=2) as client:
        client.images.generate(**ASKED)
    assert [seen.headers["x-stainless-retry-count"] for seen in openai.requests] == ["0", "1", "2"]
    assert not any("idempotency-key" in seen.headers for seen in openai.requests)
    assert len(openai.charges) == 3


def test_a_redirect_leaves_the_key_at_home(openai: OpenAI, client: Client) -> None:
    with OpenAI() as other:
        location = f"{other.url}/v1/images/generations"
        openai.next(Redirected(location=location))
        with pytest.raises(AuthenticationError):
            client.images.generate(**ASKED)
        assert "authorization" not in other.requests[0].headers
        openai.next(Redirected(location=location))
        stays = httpx2.Client(follow_redirects=False)
        with connect(openai, http_client=stays) as client, pytest.raises(APIStatusError) as told:
            client.images.generate(**ASKED)
        assert (told.value.status_code, len(other.requests)) == (307, 1)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"response_format": "b64_json"}, "unknown_parameter"),
        ({"n": 11}, "invalid_value"),
        ({"size": "large"}, "invalid_value"),
        ({"output_format": "jpeg", "background": "transparent"}, "invalid_value"),
        ({"output_compression": 50}, "invalid_value"),
        ({"extra_body": {"seed": 3}}, "unknown_parameter"),
    ],
    ids=str,
)
def test_what_the_vendor_would_not_take(openai: OpenAI, client: Client, more: dict[str, Any], code: str) -> None:
    with pytest.raises(BadRequestError) as told:
        client.images.generate(**{**ASKED, **more})
    assert (told.value.code, len(openai.charges)) == (code, 0)


def test_no_more_than_sixteen_images(openai: OpenAI, client: Client) -> None:
    with pytest.raises(BadRequestError, match="17 given"):
        client.images.edit(**ASKED, image=[PHOTO] * 17)
    assert not openai.charges
