"""OpenAI's provider with OpenAI's real client, over HTTP to the stand-in of the vendor."""

from __future__ import annotations

import asyncio
import base64
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Called
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from diptych.catalogue import Model, Option, Price, Settings, TokenRates
from diptych.catalogue.reading import load_packaged
from diptych.errors import (
    BadAnswer,
    InvalidRequest,
    MissingExtra,
    MissingKey,
    ProviderError,
    RateLimited,
    Refused,
    Unanswered,
    Unreachable,
)
from diptych.images import Input, Picture, Request
from diptych.providers import Message, Watch, connection
from diptych.providers.openai import OpenAI
from tests.providers.conftest import KEY
from tests.standins import faults
from tests.standins.answering import Part
from tests.standins.faults import Fault
from tests.standins.openai import OpenAI as StandIn
from tests.standins.pictures import draw
from tests.standins.server import serve

T = TypeVar("T")
MODELS = [model for model in load_packaged().models if model.provider == "openai"]
RATES = TokenRates(text_in=5.0, image_in=8.0, text_out=10.0, image_out=30.0)
GPT = Model(
    name="gpt",
    title="GPT Image",
    provider="openai",
    remote_id="gpt-image-2",
    prices=(Price(per_million_tokens=RATES, source="a test"),),
)
STREAMED = GPT.model_copy(
    update={"settings": Settings(options={"partial_images": Option(type="whole number", min=0, max=3)})}
)
FOX = Request(prompt="a fox in snow", width=128, height=64)


class Seeing(Watch):
    """Keeps what it is shown on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def partial(self, data: bytes) -> None:
        self.seen.append(data)


@pytest.fixture
def vendor(openai: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{openai.url}/v1")
    return openai


def run(what: Callable[[OpenAI], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with OpenAI() as provider:
            return await what(provider)

    return asyncio.run(opened())


def generate(request: Request, model: Model = GPT, watch: Watch | None = None) -> Picture:
    return run(lambda openai: openai.generate(model, request, watch))


def picture(prompt: str = "a photo", media_type: str = "image/png") -> Input:
    return Input(draw(prompt, width=32, height=16, media_type=media_type))


def fields(parts: list[Part]) -> dict[str, str]:
    return {part.name: part.text for part in parts if part.filename is None}


def files(parts: list[Part]) -> list[tuple[str, str | None, str | None, bytes]]:
    return [(part.name, part.filename, part.content_type, part.data) for part in parts if part.filename is not None]


# A good answer


def test_settings_reach_the_wire_and_the_picture_comes_back(vendor: StandIn) -> None:
    options = {"background": "opaque", "output_format": "webp", "output_compression": 80, "moderation": "low"}
    request = Request(prompt="a fox in snow", width=128, height=64, quality="high", options=options)
    made = generate(request)

    (seen,) = vendor.requests
    assert seen.path == "/v1/images/generations"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body == {
        "model": "gpt-image-2",
        "prompt": "a fox in snow",
        "size": "128x64",
        "quality": "high",
        "background": "opaque",
        "output_format": "webp",
        "output_compression": 80,
        "moderation": "low",
    }
    (charge,) = vendor.charges
    assert made.data == vendor.pictures[charge["id"]]
    assert (made.width, made.height, made.media_type) == (128, 64, "image/webp")
    assert made.request == request
    assert made.request_id == f"req_{charge['id']}"
    assert made.recipe["versions"].keys() == {"diptych", "openai"}
    assert made.timing.first_byte is not None
    assert 0 < made.timing.first_byte <= made.timing.total


def test_what_is_not_asked_for_is_not_sent(vendor: StandIn) -> None:
    generate(Request(prompt="a fox"))
    assert vendor.requests[0].body == {"model": "gpt-image-2", "prompt": "a fox"}


def test_tokens_are_priced_by_their_kind(vendor: StandIn) -> None:
    request = Request(prompt="the same at dusk", width=128, height=64, quality="high", references=(picture(),))
    made = generate(request)
    tokens = made.usage["output_tokens"]
    assert tokens > 0
    assert made.cost is not None
    assert made.cost.basis == "usage"
    assert made.cost.dollars == pytest.approx((5 * 5.0 + 323 * 8.0 + tokens * 30.0) / 1e6)


def test_one_reference_with_a_mask(vendor: StandIn) -> None:
    photo, mask = picture("photo", "image/jpeg"), picture("mask")
    generate(
        Request(
            prompt="at dusk",
            width=128,
            height=64,
            references=(photo,),
            mask=mask,
            options={"input_fidelity": "high", "output_compression": 70, "output_format": "jpeg"},
        )
    )
    (seen,) = vendor.requests
    assert seen.path == "/v1/images/edits"
    assert fields(seen.body) == {
        "model": "gpt-image-2",
        "prompt": "at dusk",
        "size": "128x64",
        "input_fidelity": "high",
        "output_compression": "70",
        "output_format": "jpeg",
    }
    assert files(seen.body) == [
        ("image", "picture-1.jpg", "image/jpeg", photo.data),
        ("mask", "mask.png", "image/png", mask.data),
    ]


def test_several_references_in_their_order(vendor: StandIn) -> None:
    first, second = picture("first"), picture("second", "image/webp")
    generate(Request(prompt="both together", width=128, height=64, references=(first, second)))
    assert files(vendor.requests[0].body) == [
        ("image[]", "picture-1.png", "image/png", first.data),
        ("image[]", "picture-2.webp", "image/webp", second.data),
    ]


def test_one_provider_serves_many_requests_at_once(vendor: StandIn) -> None:
    vendor.seconds = 0.05
    requests = [Request(prompt=f"fox {i}", width=64, height=64) for i in range(8)]

    async def all_of_them(openai: OpenAI) -> list[Picture]:
        return await asyncio.gather(*(openai.generate(GPT, request) for request in requests))

    made = run(all_of_them)
    prompts = {vendor.pictures[charge["id"]]: charge["prompt"] for charge in vendor.charges}
    assert [prompts[one.data] for one in made] == [request.prompt for request in requests]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("edit", [False, True], ids=["generation", "edit"])
def test_all_that_the_catalogue_knows_of_a_model_can_be_sent(model: Model, edit: bool, vendor: StandIn) -> None:
    assert model.settings is not None
    elsewhere = "moderation" if edit else "input_fidelity"  # each is of one of the two
    samples = {"output_format": "webp", "output_compression": 50, "partial_images": 1}
    options = {
        name: samples.get(name, (option.choices or [None])[0])
        for name, option in model.settings.options.items()
        if name != elsewhere
    }
    references = (picture(),) if edit and model.settings.references else ()
    request = model.resolve(Request(prompt="a fox", quality="low", references=references, options=options))
    made = generate(request, model, Seeing())
    body = vendor.requests[0].body
    asked = fields(body) if references else body
    assert asked.keys() >= {"model", "prompt", "quality", "stream", *options}
    assert made.request == request


# Pictures on the way


@pytest.mark.parametrize("references", [(), (picture(),)], ids=["generation", "edit"])
def test_pictures_on_the_way_are_shown(vendor: StandIn, references: tuple[Input, ...]) -> None:
    watch = Seeing()
    request = Request(
        prompt="a fox", width=128, height=64, quality="low", references=references, options={"partial_images": 2}
    )
    made = generate(request, watch=watch)
    body = vendor.requests[0].body
    asked = fields(body) if references else body
    assert (asked["stream"], asked["partial_images"]) in ((True, 2), ("true", "2"))
    assert [Input(data).media_type for data in watch.seen] == ["image/png", "image/png"]
    assert made.data == vendor.pictures[vendor.charges[0]["id"]]
    assert made.data not in watch.seen
    assert made.usage["output_tokens"] > 200
    assert made.cost is not None


def test_whoever_watches_is_shown_one_where_the_model_has_them(vendor: StandIn) -> None:
    watch = Seeing()
    generate(FOX, STREAMED, watch)
    assert vendor.requests[0].body["partial_images"] == 1
    assert len(watch.seen) == 1


@pytest.mark.parametrize(
    ("model", "options", "watch"),
    [(GPT, {}, Seeing()), (STREAMED, {}, Watch()), (STREAMED, {}, None), (STREAMED, {"partial_images": 0}, Seeing())],
    ids=["the model has none", "nobody looks", "nobody watches", "none are wanted"],
)
def test_nothing_is_streamed_where_there_is_no_use(
    vendor: StandIn, model: Model, options: dict[str, Any], watch: Watch | None
) -> None:
    generate(Request(prompt="a fox", width=128, height=64, options=options), model, watch)
    assert "stream" not in vendor.requests[0].body


def test_a_server_that_does_not_stream_may_answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with answered({"data": [{"b64_json": base64.b64encode(picture().data).decode()}]}) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        made = generate(FOX, STREAMED, Seeing())
    assert made.data == picture().data


def test_a_stream_that_breaks(vendor: StandIn) -> None:
    watch = Seeing()
    vendor.next(faults.StreamBroken(after=1))
    with pytest.raises(Unanswered, match="openai did not answer"):
        generate(FOX, STREAMED, watch)
    assert len(watch.seen) == 1
    assert len(vendor.charges) == 1


def test_a_stream_with_an_error(vendor: StandIn) -> None:
    vendor.next(faults.StreamBroken(after=1, how="error"))
    with pytest.raises(Unanswered, match=r"openai broke off: The server had an error\.; .* may have been charged"):
        generate(FOX, STREAMED, Seeing())
    assert len(vendor.charges) == 1


def events(*data: str) -> Any:
    """A server that answers with these events."""

    async def answer(_: Called) -> Response:
        body = "".join(f"data: {one}\n\n" for one in data)
        return Response(body, media_type="text/event-stream", headers={"x-request-id": "req_1"})

    return serve(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])]))


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        ((), Unanswered, r"the stream ended without a picture; .*\(request req_1\)"),
        (("{",), BadAnswer, r"is a stream with events that are no JSON \(request req_1\)"),
        (("7", "[]", "null", "{}", '{"type": 3}'), Unanswered, "the stream ended without a picture"),
        (('{"type": "image_generation.partial_image", "b64_json": "a"}',), BadAnswer, "no base64"),
        (('{"type": "image_generation.completed"}',), BadAnswer, "has no picture"),
        (
            ('{"error": {"code": "moderation_blocked", "message": "Violence."}}',),
            Refused,
            r"openai refused: Violence. \(request req_1\)",
        ),
        (('{"error": "overloaded"}',), Unanswered, "openai broke off"),
    ],
    ids=["none", "no JSON", "no events", "a bad partial", "no picture", "refused", "an error"],
)
def test_events_that_bring_no_picture(
    data: tuple[str, ...], kind: type[ProviderError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with events(*data) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        with pytest.raises(ProviderError, match=words) as caught:
            generate(FOX, STREAMED, Seeing())
        assert type(caught.value) is kind


# Compatible servers


def answered(value: dict[str, Any]) -> Any:
    """A server that gives one answer to everything."""

    async def answer(_: Called) -> Response:
        return JSONResponse(value)

    return serve(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])]))


def test_a_server_of_its_own_may_need_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with answered({"data": [{"b64_json": base64.b64encode(picture().data).decode()}]}) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        made = generate(FOX)
    assert made.cost is None  # no usage: not known


@pytest.mark.parametrize("how", ["b64_json", "url"])
def test_a_picture_as_a_data_uri(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(picture().data).decode()}"
    with answered({"data": [{how: uri, "revised_prompt": "a red fox"}]}) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        made = generate(FOX)
    assert made.data == picture().data
    assert made.text == "a red fox"


def test_a_picture_behind_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    headers: list[dict[str, str]] = []

    async def link(called: Called) -> Response:
        return JSONResponse({"data": [{"url": str(called.url_for("file"))}]})

    async def file(called: Called) -> Response:
        headers.append(dict(called.headers))
        return Response(picture().data, media_type="image/png")

    app = Starlette(routes=[Route("/file", file, name="file"), Route("/{path:path}", link, methods=["POST"])])
    with serve(app) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        made = generate(FOX)
    assert made.data == picture().data
    assert made.timing.download is not None
    assert "authorization" not in headers[0]
    assert KEY not in str(headers)


@pytest.mark.parametrize("link", ["http://example.org/picture.png", "ftp://example.org/a", "nonsense", "http://[", ""])
def test_a_link_that_is_not_followed(link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answered({"data": [{"url": link}]}) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        with pytest.raises(BadAnswer, match="openai gave an answer that links to"):
            generate(FOX)


def test_a_seed_goes_to_servers_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = []

    async def answer(called: Called) -> Response:
        bodies.append(await called.json())
        return JSONResponse({"data": [{"b64_json": base64.b64encode(picture().data).decode()}]})

    with serve(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        generate(Request(prompt="a fox", seed=5, options={"num_inference_steps": 4}))
    assert bodies == [{"model": "gpt-image-2", "prompt": "a fox", "seed": 5, "num_inference_steps": 4}]


# Text


def test_text_with_pictures_and_an_instruction(vendor: StandIn) -> None:
    vendor.reply = "A fox stands in snow."
    message = Message(prompt="What is here?", pictures=(picture(),), instruction="Describe it.")
    written = run(lambda openai: openai.write(GPT, message))
    (seen,) = vendor.requests
    assert seen.path == "/v1/chat/completions"
    uri = f"data:image/png;base64,{base64.b64encode(picture().data).decode()}"
    assert seen.body == {
        "model": "gpt-image-2",
        "messages": [
            {"role": "system", "content": "Describe it."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is here?"},
                    {"type": "image_url", "image_url": {"url": uri}},
                ],
            },
        ],
    }
    assert str(written) == "A fox stands in snow."
    counted = written.usage
    assert written.cost is not None
    assert written.cost.dollars == pytest.approx(
        (counted["prompt_tokens"] * 5.0 + counted["completion_tokens"] * 10.0) / 1e6
    )
    assert written.request_id is not None
    assert written.request_id.startswith("req_")
    assert written.seconds > 0


@pytest.mark.parametrize(
    ("how", "words"), [("", "openai refused: I can't help with that."), ("content_filter", "the content filter")]
)
def test_text_that_is_refused(vendor: StandIn, how: str, words: str) -> None:
    vendor.next(faults.Refused(how=how))
    with pytest.raises(Refused, match=words) as caught:
        run(lambda openai: openai.write(GPT, Message(prompt="something")))
    assert caught.value.usage
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ([{"message": {"content": "A fox in"}, "finish_reason": "length"}], "ends before its end, .*: A fox in"),
        ([{"message": {"content": "  "}, "finish_reason": "stop"}], "has no text"),
        ([{"message": {"content": [1]}}], "has no text"),
        ([], "has no text"),
        (7, "has no text"),
    ],
    ids=["cut", "blank", "a list", "none", "a number"],
)
def test_text_that_is_none(choices: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answered({"choices": choices}) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        with pytest.raises(BadAnswer, match=words):
            run(lambda openai: openai.write(GPT, Message(prompt="something")))


# What is refused here, before anything is sent


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(MissingKey, match="openai needs a key: set OPENAI_API_KEY"):
        OpenAI().check(GPT, [FOX])


def test_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtra, match=r'OpenAI\'s models needs openai.*pip install "diptych\[openai\]"'):
        OpenAI().check(GPT, [FOX])


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(prompt="a", steps=4), "steps is 4, which cannot be sent to gpt; it takes size, quality"),
        (Request(prompt="a", guidance=2.5), "guidance is 2.5, which cannot"),
        (Request(prompt="a", negative="blur"), "negative is 'blur', which cannot"),
        (Request(prompt="a", aspect_ratio="16:9"), "aspect_ratio is '16:9', which cannot"),
        (Request(prompt="a", image_size="2K"), "image_size is '2K', which cannot"),
    ],
    ids=["steps", "guidance", "negative", "aspect_ratio", "image_size"],
)
def test_a_request_that_cannot_be_sent(request_: Request, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        OpenAI().check(GPT, [FOX, request_])


# Refusals and errors


@pytest.mark.parametrize("how", ["", "content_policy_violation"])
def test_a_refusal_says_why(vendor: StandIn, how: str) -> None:
    vendor.next(faults.Refused(how=how))
    with pytest.raises(Refused, match=r"rejected by the safety system\. safety_violations=\[violence\]\.") as caught:
        generate(FOX)
    assert caught.value.status == 400
    assert caught.value.request_id is not None
    assert caught.value.request_id in str(caught.value)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("form", ["seconds", "milliseconds"])
def test_too_many_requests_are_waited_out_as_long_as_the_vendor_says(vendor: StandIn, form: Any) -> None:
    vendor.next(faults.RateLimited(retry_after=0.02, form=form), faults.RateLimited(retry_after=0.02, form=form))
    generate(FOX)
    assert len(vendor.requests) == 3
    assert len(vendor.charges) == 1


def test_a_wait_that_is_too_long_is_told(vendor: StandIn) -> None:
    vendor.next(faults.RateLimited(retry_after=3600))
    with pytest.raises(RateLimited, match="openai answered 429: Rate limit reached") as caught:
        generate(FOX)
    assert caught.value.retry_after == 3600
    assert len(vendor.requests) == 1


def test_an_empty_purse_is_not_waited_out(vendor: StandIn) -> None:
    vendor.next(faults.OutOfCredits())
    with pytest.raises(ProviderError, match="openai answered 429: You exceeded your current quota") as caught:
        generate(FOX)
    assert not isinstance(caught.value, RateLimited)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "requests", "charges"),
    [
        (faults.ServerError(status=503, retry_after=0.02), None, 2, 1),
        (faults.ServerError(status=500), ProviderError, 1, 0),
        (faults.ServerError(status=502, charged=True), Unanswered, 1, 1),
        (faults.ServerError(status=504, charged=True), Unanswered, 1, 1),
        (faults.Dropped(), Unanswered, 1, 0),
        (faults.Dropped(charged=True), Unanswered, 1, 1),
        (faults.Dropped(charged=True, reset=True), Unanswered, 1, 1),
        (faults.Truncated(), Unanswered, 1, 1),
        (faults.Html(), BadAnswer, 1, 1),
        (faults.Html(status=500), ProviderError, 1, 1),
        (faults.Empty(), BadAnswer, 1, 1),
        (faults.Garbage(), BadAnswer, 1, 1),
        (faults.Garbage(status=500), ProviderError, 1, 1),
        (faults.OtherJson(), BadAnswer, 1, 1),
        (faults.OtherJson(value=[]), BadAnswer, 1, 1),
        (faults.OtherJson(value={"data": [], "usage": 3}), BadAnswer, 1, 1),
        (faults.OtherJson(value={"data": [{"b64_json": 7}]}), BadAnswer, 1, 1),
        (faults.OtherJson(value={"data": [{"b64_json": "a"}]}), BadAnswer, 1, 1),
        (faults.OtherJson(value={"data": [{"b64_json": "é"}]}), BadAnswer, 1, 1),
        (faults.BadPicture(kind="truncated"), BadAnswer, 1, 1),
        (faults.BadPicture(kind="bomb"), BadAnswer, 1, 1),
        (faults.BadPicture(kind="noise"), BadAnswer, 1, 1),
        (faults.BadPicture(kind="empty"), BadAnswer, 1, 1),
        (faults.Invalid(), ProviderError, 1, 0),
        (faults.Invalid(shape="list"), ProviderError, 1, 0),
        (faults.Retired(), ProviderError, 1, 0),
        (faults.Unauthorized(status=403), ProviderError, 1, 0),
    ],
    ids=lambda value: str(value) if isinstance(value, Fault) else "",
)
def test_what_goes_wrong_is_told_and_paid_once(
    vendor: StandIn, fault: Fault, kind: type[ProviderError] | None, requests: int, charges: int
) -> None:
    vendor.next(fault)
    if kind is None:
        generate(FOX)
    else:
        with pytest.raises(ProviderError) as caught:
            generate(FOX)
        assert type(caught.value) is kind
        assert caught.value.provider == "openai"
        assert "openai" in str(caught.value)
    assert (len(vendor.requests), len(vendor.charges)) == (requests, charges)


def test_the_vendor_s_words_status_and_request_id_are_in_the_error(vendor: StandIn) -> None:
    vendor.next(faults.Invalid(message="Invalid value: '7x7'."))
    with pytest.raises(ProviderError, match=r"openai answered 400: Invalid value: '7x7'\. \(request req_") as caught:
        generate(FOX)
    assert caught.value.status == 400
    assert caught.value.request_id is not None


def test_a_redirect_is_not_followed(vendor: StandIn) -> None:
    with StandIn() as elsewhere:
        vendor.next(faults.Redirected(location=f"{elsewhere.url}/v1/images/generations"))
        with pytest.raises(ProviderError, match=f"openai answered 307: it sends us on to {elsewhere.url}"):
            generate(FOX)
        assert not elsewhere.requests


def test_a_wrong_key_is_not_repeated(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-wrong-key-of-mine")
    with pytest.raises(ProviderError, match="openai answered 401: Incorrect API key provided") as caught:
        generate(FOX)
    assert "a-wrong-key-of-mine" not in str(caught.value)


def test_a_key_in_an_answer_is_blotted_out(vendor: StandIn) -> None:
    vendor.next(faults.Invalid(message=f"The key {KEY} is not good enough."), faults.OtherJson(value={"key": KEY}))
    for _ in range(2):
        with pytest.raises(ProviderError, match=r"\[key\]") as caught:
            generate(FOX)
        assert KEY not in str(caught.value)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, one_attempt: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    with pytest.raises(Unreachable, match="openai cannot be reached") as caught:
        generate(FOX)
    assert caught.value.charged is False


def test_an_answer_that_takes_too_long(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.3)
    vendor.next(faults.Held())
    with pytest.raises(Unanswered, match=r"openai did not answer within 0.3 s; .* may have been charged"):
        generate(FOX)
    assert len(vendor.charges) == 1


def test_an_answer_that_is_too_long(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LONGEST_ANSWER", 500)
    for model in (GPT, STREAMED):
        with pytest.raises(BadAnswer, match="is longer than 500 bytes"):
            generate(FOX, model, Seeing())


def test_a_request_can_be_given_up(vendor: StandIn) -> None:
    vendor.next(faults.Held())

    async def give_up(openai: OpenAI) -> None:
        task = asyncio.create_task(openai.generate(GPT, FOX))
        await asyncio.to_thread(vendor.wait_until, lambda seen: len(seen.charges) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        vendor.release()
        assert (await openai.generate(GPT, FOX)).width == 128  # and the connections are in order

    run(give_up)
    assert len(vendor.charges) == 2
