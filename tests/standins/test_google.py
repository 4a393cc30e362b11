"""google-genai against the stand-in: what it makes of good answers, refusals and faults."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from PIL import Image

from tests.standins.capture import PHOTO
from tests.standins.faults import (
    BadPicture,
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
from tests.standins.google import Google

MODEL = "gemini-3.1-flash-image"
PICTURE = types.GenerateContentConfig(
    response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="4:1", image_size="512")
)


def connect(vendor: Google, *, vertex: bool = False, **options: Any) -> genai.Client:
    more: dict[str, Any] = {"api_key": vendor.key}
    if vertex:
        more = {"vertexai": True, "project": "p", "location": "l", "credentials": Credentials(token=vendor.key)}
    return genai.Client(**more, http_options=types.HttpOptions(base_url=vendor.url, **options))


@pytest.fixture
def client(google: Google) -> Iterator[genai.Client]:
    with connect(google) as client:
        yield client


def picture(answer: types.GenerateContentResponse) -> bytes:
    assert answer.candidates
    return next(part.inline_data.data for part in answer.candidates[0].content.parts if part.inline_data)


@pytest.mark.parametrize(
    ("model", "ratio", "size", "pixels", "tokens"),
    [
        ("gemini-3.1-flash-image", "1:1", "512", (512, 512), 747),
        ("gemini-3.1-flash-image", "1:8", "512", (192, 1536), 747),
        ("gemini-3.1-flash-image", "16:9", "2K", (2752, 1536), 1680),
        ("gemini-3-pro-image", "21:9", "1K", (1584, 672), 1120),
        ("gemini-3-pro-image", "1:1", "4K", (4096, 4096), 2000),
        ("gemini-2.5-flash-image", "2:3", None, (832, 1248), 1290),
    ],
)
def test_sizes_and_tokens(
    client: genai.Client, model: str, ratio: str, size: str | None, pixels: tuple[int, int], tokens: int
) -> None:
    image = types.ImageConfig(aspect_ratio=ratio, image_size=size)
    answer = client.models.generate_content(
        model=model, contents="a fox", config=types.GenerateContentConfig(image_config=image)
    )
    assert Image.open(io.BytesIO(picture(answer))).size == pixels
    used = answer.usage_metadata
    assert used.candidates_tokens_details[0].modality == types.MediaModality.IMAGE
    assert (used.candidates_token_count, used.total_token_count) == (tokens, tokens + used.prompt_token_count)


def test_what_an_answer_carries(google: Google, client: genai.Client) -> None:
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True), candidate_count=2)
    contents = [types.Part.from_bytes(data=PHOTO, mime_type="image/png"), "make it dusk"]
    answer = client.models.generate_content(model=MODEL, contents=contents, config=config)
    assert len(google.charges) == len(answer.candidates) == 2
    thought, sketch, words, picture = answer.candidates[1].content.parts
    assert thought.thought and sketch.thought and sketch.inline_data  # noqa: PT018 - one question: is it an interim
    assert words.text == "Here is the picture. "
    assert picture.inline_data.data == google.pictures[google.charges[1]["id"]]
    assert picture.thought_signature
    assert answer.candidates[1].finish_reason == types.FinishReason.STOP
    assert answer.usage_metadata.thoughts_token_count == 120
    assert [told.modality.name for told in answer.usage_metadata.prompt_tokens_details] == ["TEXT", "IMAGE"]
    assert answer.response_id
    assert answer.model_version == MODEL
    assert answer.sdk_http_response.headers["content-type"] == "application/json"


def test_streaming(google: Google, client: genai.Client) -> None:
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="a fox"))
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    assert [bool(part.inline_data) for part in parts] == [False, True]
    assert parts[1].inline_data.data == google.pictures[google.charges[0]["id"]]
    assert [chunk.candidates[0].finish_reason for chunk in chunks] == [None, None, types.FinishReason.STOP]
    assert [chunk.usage_metadata.candidates_token_count for chunk in chunks] == [None, None, 1120]


def test_refused_text(google: Google, client: genai.Client) -> None:
    google.next(Refused())
    answer = client.models.generate_content(model="gemini-3.1-flash", contents="a fox")
    assert (answer.text, answer.prompt_feedback.block_reason, google.charges) == (None, types.BlockedReason.SAFETY, [])


def test_text(google: Google, client: genai.Client) -> None:
    google.reply = lambda prompt: prompt.upper()
    assert client.models.generate_content(model="gemini-3.1-flash", contents="a fox").text == "A FOX"
    stream = client.models.generate_content_stream(model="gemini-3.1-flash", contents="a fox")
    assert "".join(chunk.text for chunk in stream) == "A FOX"
    assert [charge["what"] for charge in google.charges] == ["text", "text"]


def test_without_waiting(google: Google) -> None:
    async def run() -> tuple[bytes, int]:
        async with connect(google).aio as client:
            answer = await client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
            stream = await client.models.generate_content_stream(model=MODEL, contents="a fox")
            return picture(answer), len([chunk async for chunk in stream])

    data, chunks = asyncio.run(run())
    assert data == google.pictures[google.charges[0]["id"]]
    assert chunks == 3


@pytest.mark.parametrize(
    ("how", "charged"), [("SAFETY", 0), ("PROHIBITED_CONTENT", 0), ("OTHER", 0), ("blocked:IMAGE_SAFETY", 0)]
)
def test_a_blocked_prompt_has_no_candidates(google: Google, client: genai.Client, how: str, charged: int) -> None:
    google.next(Refused(how=how))
    answer = client.models.generate_content(model=MODEL, contents="a fox")
    assert answer.candidates is None
    assert answer.prompt_feedback.block_reason.value == how.removeprefix("blocked:")
    assert len(google.charges) == charged


@pytest.mark.parametrize(
    "how",
    ["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "IMAGE_RECITATION"],
)
@pytest.mark.parametrize("vertex", [False, True])
def test_a_refused_picture_has_a_reason_and_no_content(google: Google, how: str, vertex: bool) -> None:
    google.next(Refused(how=how))
    with connect(google, vertex=vertex) as client:
        answer = client.models.generate_content(model=MODEL, contents="a fox")
    (candidate,) = answer.candidates
    assert (candidate.finish_reason.value, candidate.content) == (how, None)
    # The client drops the vendor's own words, except on Vertex.
    assert candidate.finish_message == (f"Unable to show the generated image. {how}" if vertex else None)
    assert len(google.charges) == 1


def test_words_in_place_of_a_picture(google: Google, client: genai.Client) -> None:
    google.next(Refused(how="TEXT"))
    answer = client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert all(part.inline_data is None for part in answer.candidates[0].content.parts)


@pytest.mark.parametrize(
    ("fault", "kind", "code", "status"),
    [
        (RateLimited(retry_after=7), errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        (OutOfCredits(), errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        (Unauthorized(status=0), errors.ClientError, 400, "INVALID_ARGUMENT"),
        (Unauthorized(status=401), errors.ClientError, 401, "UNAUTHENTICATED"),
        (Unauthorized(status=403), errors.ClientError, 403, "PERMISSION_DENIED"),
        (Retired(), errors.ClientError, 404, "NOT_FOUND"),
        (Invalid(), errors.ClientError, 400, "INVALID_ARGUMENT"),
        (Invalid(shape="list"), errors.ClientError, 422, None),
        (ServerError(status=500), errors.ServerError, 500, "INTERNAL"),
        (ServerError(status=503, charged=True), errors.ServerError, 503, "UNAVAILABLE"),
        (ServerError(status=504, charged=True), errors.ServerError, 504, "DEADLINE_EXCEEDED"),
        (Html(status=502), errors.ServerError, 502, "Bad Gateway"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_with_a_status(
    google: Google, client: genai.Client, fault: Fault, kind: type[Exception], code: int, status: str, stream: bool
) -> None:
    google.next(fault)
    method = client.models.generate_content_stream if stream else client.models.generate_content
    with pytest.raises(kind) as told:
        list(method(model=MODEL, contents="a fox", config=PICTURE))
    assert (told.value.code, told.value.status) == (code, status)
    assert len(google.requests) == 1, "nothing is sent twice"
    assert len(google.charges) == fault.accepted
    if isinstance(fault, RateLimited):
        assert told.value.response.headers["retry-after"] == "7"
        assert told.value.details["error"]["details"][1]["retryDelay"] == "7s"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Dropped(), httpx2.TransportError),
        (Dropped(charged=True), httpx2.RemoteProtocolError),
        (Truncated(), httpx2.RemoteProtocolError),
        (Html(), json.JSONDecodeError),
        (Garbage(), json.JSONDecodeError),
        (Redirected(location="http://127.0.0.1:1/"), httpx2.ConnectError),
    ],
    ids=str,
)
def test_what_comes_through_bare(google: Google, client: genai.Client, fault: Fault, kind: type[Exception]) -> None:
    google.next(fault)
    with pytest.raises(kind):
        client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
    assert (len(google.requests), len(google.charges)) == (1, fault.accepted)


@pytest.mark.parametrize("fault", [Empty(), OtherJson(), OtherJson(value=[1]), OtherJson(value="x")], ids=str)
def test_answers_without_sense_are_not_errors(google: Google, client: genai.Client, fault: Fault) -> None:
    google.next(fault)
    answer = client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
    assert (answer.candidates, answer.prompt_feedback) == (None, None)
    assert len(google.charges) == 1


@pytest.mark.parametrize("kind", ["truncated", "bomb", "noise", "empty"])
def test_pictures_are_not_looked_at(google: Google, client: genai.Client, kind: Any) -> None:
    google.next(BadPicture(kind=kind))
    answer = client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
    (part,) = answer.candidates[0].content.parts
    assert (part.inline_data.data or b"") == google.pictures[google.charges[0]["id"]]


@pytest.mark.parametrize(
    ("fault", "kind", "chunks"),
    [
        (StreamBroken(after=1), httpx2.RemoteProtocolError, 1),
        (StreamBroken(after=2), httpx2.RemoteProtocolError, 2),
        (StreamBroken(after=1, how="error"), errors.ServerError, 1),
        (Html(), errors.UnknownApiResponseError, 0),
        (Garbage(), errors.UnknownApiResponseError, 0),
        (Dropped(charged=True), httpx2.RemoteProtocolError, 0),
    ],
    ids=str,
)
def test_streams_that_break(
    google: Google, client: genai.Client, fault: Fault, kind: type[Exception], chunks: int
) -> None:
    google.next(fault)
    got: list[Any] = []
    with pytest.raises(kind):
        got.extend(client.models.generate_content_stream(model=MODEL, contents="a fox"))
    assert (len(got), len(google.charges)) == (chunks, 1)


def test_an_empty_stream_ends_without_a_word(google: Google, client: genai.Client) -> None:
    google.next(Empty(), OtherJson())
    assert not list(client.models.generate_content_stream(model=MODEL, contents="a fox"))
    (chunk,) = client.models.generate_content_stream(model=MODEL, contents="a fox")
    assert chunk.candidates is None


@pytest.mark.parametrize("fault", [Slow(seconds=0.001), Trickled(seconds=0.001)], ids=str)
def test_slow_answers(google: Google, client: genai.Client, fault: Fault) -> None:
    google.next(fault)
    assert picture(client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE))


def test_running_out_of_time_is_charged(google: Google) -> None:
    google.next(Slow(seconds=600))
    with connect(google, timeout=50) as client, pytest.raises(httpx2.ReadTimeout):  # milliseconds
        client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
    google.wait_until(lambda vendor: len(vendor.charges) == 1)
    assert google.requests[0].headers["x-server-timeout"] == "1"


def test_a_redirect_takes_the_key_to_another_host(google: Google, client: genai.Client) -> None:
    with Google() as other:
        location = f"{other.url}/v1/models/{MODEL}:generateContent"
        google.next(Redirected(location=location))
        client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
        assert other.requests[0].headers["x-goog-api-key"] == google.key
        assert len(other.charges) == 1
        google.next(Redirected(location=location))
        with connect(google, client_args={"follow_redirects": False}) as stays, pytest.raises(errors.APIError) as told:
            stays.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
        assert (told.value.code, len(other.requests)) == (307, 1)


def test_retries_are_the_callers_to_ask_for(google: Google) -> None:
    google.next(ServerError(), ServerError(charged=True), None, Dropped(charged=True))
    again = types.HttpRetryOptions(attempts=3, initial_delay=0.001, max_delay=0.001, jitter=0)
    with connect(google, retry_options=again) as client:
        client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
        assert (len(google.requests), len(google.charges)) == (3, 2)
        with pytest.raises(httpx2.RemoteProtocolError):
            client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
    assert (len(google.requests), len(google.charges)) == (4, 3)


@pytest.mark.parametrize("key", ["wrong", "auth"])
def test_keys(google: Google, key: str) -> None:
    with (
        genai.Client(api_key=key, http_options=types.HttpOptions(base_url=google.url)) as client,
        pytest.raises(errors.ClientError, match="API key not valid") as told,
    ):
        client.models.generate_content(model=MODEL, contents="a fox")
    assert told.value.code == 400
    account = {"project": "p", "location": "l", "credentials": Credentials(token=key)}
    with (
        genai.Client(vertexai=True, **account, http_options=types.HttpOptions(base_url=google.url)) as client,
        pytest.raises(errors.ClientError) as told,
    ):
        client.models.generate_content(model=MODEL, contents="a fox")
    assert (told.value.code, len(google.charges)) == (401, 0)


@pytest.mark.parametrize(
    "config",
    [
        types.GenerateContentConfig(seed=2**31),
        types.GenerateContentConfig(image_config=types.ImageConfig(aspect_ratio="7:5")),
        types.GenerateContentConfig(image_config=types.ImageConfig(image_size="8K")),
    ],
    ids=["seed", "ratio", "size"],
)
def test_what_the_vendor_would_not_take(google: Google, client: genai.Client, config: Any) -> None:
    with pytest.raises(errors.ClientError) as told:
        client.models.generate_content(model=MODEL, contents="a fox", config=config)
    assert (told.value.code, len(google.charges)) == (400, 0)


@pytest.mark.filterwarnings("ignore:The generate_images method is deprecated")
class TestImagen:
    MODEL = "imagen-4.0-generate-001"

    @pytest.fixture
    def client(self, google: Google) -> Iterator[genai.Client]:
        with connect(google, vertex=True) as client:
            yield client

    def test_pictures(self, google: Google, client: genai.Client) -> None:
        config = types.GenerateImagesConfig(number_of_images=2, aspect_ratio="9:16", seed=3, add_watermark=False)
        answer = client.models.generate_images(model=self.MODEL, prompt="a fox", config=config)
        sent = [made.image.image_bytes for made in answer.generated_images]
        assert sent == list(google.pictures.values())
        assert Image.open(io.BytesIO(sent[0])).size == (768, 1408)

    def test_a_seed_and_a_watermark_do_not_go_together(self, google: Google, client: genai.Client) -> None:
        with pytest.raises(errors.ClientError, match="watermark"):
            client.models.generate_images(
                model=self.MODEL, prompt="a fox", config=types.GenerateImagesConfig(seed=3)
            )  # fmt: skip
        assert not google.charges

    def test_refusals(self, google: Google, client: genai.Client) -> None:
        google.next(Refused(), Refused(how="EMPTY"))
        (refused,) = client.models.generate_images(model=self.MODEL, prompt="a fox").generated_images
        assert refused.rai_filtered_reason.startswith("Unable to show")
        assert refused.image.image_bytes is None  # an image that is there, and empty
        assert client.models.generate_images(model=self.MODEL, prompt="a fox").generated_images is None
        assert not google.charges

    def test_only_on_vertex(self, google: Google) -> None:
        with connect(google) as client, pytest.raises(ValueError, match="only supported in"):
            client.models.generate_images(model=self.MODEL, prompt="a fox")
        assert not google.requests
