"""Hugging Face's provider with the vendor's real client, over HTTP to the stand-in of the vendor."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Called
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from diptych.catalogue.model import Model
from diptych.catalogue.prices import Price
from diptych.errors import (
    BadAnswer,
    InvalidRequest,
    MissingExtra,
    MissingKey,
    NotAvailable,
    ProviderError,
    RateLimited,
    Refused,
    Unanswered,
    Unreachable,
)
from diptych.images import Input, Picture, Request
from diptych.providers import huggingface as module
from diptych.providers.huggingface import HuggingFace
from tests.providers.conftest import KEY
from tests.standins import faults
from tests.standins.faults import Fault
from tests.standins.huggingface import HuggingFace as StandIn
from tests.standins.pictures import draw
from tests.standins.server import serve

FOX = Request(prompt="a fox in snow", width=64, height=64, seed=3)


def model(remote_id: str) -> Model:
    return Model(
        name="sdxl",
        title="SDXL",
        provider="huggingface",
        remote_id=remote_id,
        prices=(Price(per_image=0.5, source="a test"),),
    )


def ask(remote_id: str, request: Request = FOX) -> Picture:
    async def go() -> Picture:
        async with HuggingFace() as provider:
            return await provider.generate(model(remote_id), request)

    return asyncio.run(go())


def fails(vendor: StandIn, kind: type[ProviderError], *given: Fault) -> ProviderError:
    vendor.next(*given)
    with pytest.raises(kind) as caught:
        ask(vendor.endpoint)
    assert type(caught.value) is kind
    assert KEY not in str(caught.value)
    return caught.value


# An endpoint


def test_the_bytes_are_those_that_were_sent(huggingface: StandIn) -> None:
    picture = ask(huggingface.endpoint)
    assert picture.data == next(iter(huggingface.pictures.values()))
    assert (picture.media_type, picture.width, picture.height) == ("image/png", 64, 64)
    [seen] = huggingface.requests
    assert seen.body == {"inputs": "a fox in snow", "parameters": {"width": 64, "height": 64, "seed": 3}}
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert picture.cost is not None
    assert picture.cost.dollars == 0.5
    assert picture.recipe["versions"]["huggingface-hub"]


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_whatever_the_format(media_type: str) -> None:
    data = draw("x", width=64, height=64, media_type=media_type)

    async def answer(request: Called) -> Response:
        return Response(data, media_type=media_type)

    with serve(Starlette(routes=[Route("/", answer, methods=["POST"])])) as url:
        picture = ask(f"{url}/")
    assert picture.data == data
    assert picture.media_type == media_type


def test_settings(huggingface: StandIn) -> None:
    request = Request(prompt="a fox", negative="blur", steps=20, guidance=4.5, seed=1, options={"scheduler": "Euler"})
    ask(huggingface.endpoint, request)
    assert huggingface.requests[0].body["parameters"] == {
        "negative_prompt": "blur",
        "num_inference_steps": 20,
        "guidance_scale": 4.5,
        "seed": 1,
        "scheduler": "Euler",
    }


def test_a_reference_makes_it_image_to_image(huggingface: StandIn) -> None:
    bodies: list[Any] = []
    data = draw("edited", width=64, height=64)

    async def answer(request: Called) -> Response:
        bodies.append(json.loads(await request.body()))
        return Response(data, media_type="image/png")

    reference = Input(draw("before", width=64, height=64))
    request = Request(prompt="at dusk", width=64, height=64, seed=3, steps=4, references=(reference,))
    with serve(Starlette(routes=[Route("/", answer, methods=["POST"])])) as url:
        assert ask(f"{url}/", request).data == data
    [body] = bodies
    assert base64.b64decode(body["inputs"]) == reference.data
    assert body["parameters"] == {
        "prompt": "at dusk",
        "num_inference_steps": 4,
        "seed": 3,
        "target_size": {"width": 64, "height": 64},
    }


def test_many_at_once(huggingface: StandIn) -> None:
    async def go() -> list[Picture]:
        async with HuggingFace() as provider:
            requests = [Request(prompt="a fox", width=64, height=64, seed=seed) for seed in range(8)]
            entry = model(huggingface.endpoint)
            return await asyncio.gather(*(provider.generate(entry, request) for request in requests))

    assert {picture.data for picture in asyncio.run(go())} == set(huggingface.pictures.values())


# The key


def test_check(monkeypatch: pytest.MonkeyPatch) -> None:
    HuggingFace().check(model("owner/name"), [FOX])
    monkeypatch.delenv("HF_TOKEN")
    HuggingFace().check(model("https://endpoint.example"), [FOX])
    with pytest.raises(MissingKey, match="HF_TOKEN"):
        HuggingFace().check(model("owner/name"), [FOX])


@pytest.mark.parametrize(
    ("endpoint", "may"),
    [
        ("https://x.eu-west-1.aws.endpoints.huggingface.cloud", True),
        ("https://api-inference.huggingface.co/models/x", True),
        ("http://localhost:8080", True),
        ("http://127.0.0.1:8080", True),
        ("http://x.endpoints.huggingface.cloud", False),
        ("https://example.org", False),
        ("https://huggingface.co.example.org", False),
        ("https://nothuggingface.co", False),
        ("https://[", False),
    ],
)
def test_who_gets_the_key(endpoint: str, may: bool) -> None:
    assert module._may_have_key(endpoint) is may


def test_another_endpoint_gets_no_key(huggingface: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_may_have_key", lambda endpoint: False)
    error = fails(huggingface, ProviderError)
    assert error.status == 401
    assert "authorization" not in huggingface.requests[0].headers


def test_check_wants_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match="huggingface"):
        HuggingFace().check(model("owner/name"), [FOX])


@pytest.mark.parametrize("remote_id", ["sdxl", "a/b/c", "/b", "ftp://example.org/x"])
def test_check_wants_an_id(remote_id: str) -> None:
    with pytest.raises(NotAvailable, match="owner/name, or the address"):
        HuggingFace().check(model(remote_id), [FOX])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(prompt="x", quality="high"), "quality is 'high'"),
        (Request(prompt="x", aspect_ratio="16:9"), "aspect_ratio is '16:9'"),
        (Request(prompt="x", references=(Input(draw("x", width=64, height=64)),) * 2), "2 references are given"),
    ],
)
def test_what_cannot_be_sent_is_refused(request_: Request, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        HuggingFace().check(model("owner/name"), [request_])


# Refusals and errors


def test_a_black_picture_is_a_refusal(huggingface: StandIn) -> None:
    error = fails(huggingface, Refused, faults.Refused())
    assert "black all over" in str(error)
    assert error.charged is None


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (faults.OutOfCredits(), 402, "exceeded your monthly included credits"),
        (faults.Unauthorized(), 401, "Invalid username or password"),
        (faults.Retired(), 404, "does not exist"),
        (faults.Invalid(), 422, "steps must be at most 50"),
        (faults.Invalid(shape="list"), 422, "steps must be at most 50"),
        (faults.OtherJson(status=403, charged=False, value={"error": f"{KEY} may not"}), 403, "[key] may not"),
        (faults.ServerError(status=500), 500, "overloaded"),
    ],
    ids=repr,
)
def test_what_the_vendor_says(huggingface: StandIn, fault: Fault, status: int, words: str) -> None:
    error = fails(huggingface, ProviderError, fault)
    assert (error.status, error.charged) == (status, False)
    assert words in str(error)
    assert len(huggingface.requests) == 1


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
def test_a_limit_is_waited_for(huggingface: StandIn, form: str) -> None:
    huggingface.next(faults.RateLimited(retry_after=0.02, form=form), None)  # type: ignore[arg-type]
    ask(huggingface.endpoint)
    assert [len(huggingface.requests), len(huggingface.charges)] == [2, 1]


def test_a_model_that_is_still_loading_is_waited_for(huggingface: StandIn) -> None:
    huggingface.next(faults.ServerError(status=503, retry_after=0.02), None)
    ask(huggingface.endpoint)
    assert len(huggingface.charges) == 1


def test_a_long_limit_goes_to_the_caller(huggingface: StandIn) -> None:
    assert fails(huggingface, RateLimited, faults.RateLimited(retry_after=3600)).retry_after == 3600


def test_nobody_there(one_attempt: None) -> None:
    with pytest.raises(Unreachable):
        ask("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    "fault",
    [
        faults.Dropped(),
        faults.Dropped(charged=True, reset=True),
        faults.Truncated(),
        faults.ServerError(status=504, charged=True),
    ],
    ids=repr,
)
def test_a_connection_that_is_lost_is_not_repeated(huggingface: StandIn, fault: Fault) -> None:
    assert fails(huggingface, Unanswered, fault).charged is None
    assert len(huggingface.requests) == 1


def test_an_answer_that_does_not_come(huggingface: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.05)
    fails(huggingface, Unanswered, faults.Held())
    huggingface.release()


def test_a_request_that_hangs_does_not_keep_the_program_from_ending(huggingface: StandIn) -> None:
    huggingface.next(faults.Held())

    async def go() -> None:
        async with HuggingFace() as provider:
            task = asyncio.create_task(provider.generate(model(huggingface.endpoint), FOX))
            await asyncio.to_thread(huggingface.wait_until, lambda vendor: len(vendor.requests) == 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()

    asyncio.run(go())
    assert not huggingface.gate.is_set()
    huggingface.release()


@pytest.mark.parametrize(
    "fault",
    [
        faults.Html(),
        faults.Empty(),
        faults.Garbage(),
        faults.OtherJson(),
        faults.BadPicture(kind="truncated"),
        faults.BadPicture(kind="bomb"),
        faults.BadPicture(kind="noise"),
        faults.BadPicture(kind="empty"),
    ],
    ids=repr,
)
def test_what_is_no_picture(huggingface: StandIn, fault: Fault) -> None:
    assert fails(huggingface, BadAnswer, fault).charged is None
    assert len(huggingface.requests) == 1


def test_another_size_than_asked_for_is_said(huggingface: StandIn) -> None:
    huggingface.next(faults.OtherSize(width=96, height=32))
    picture = ask(huggingface.endpoint)
    assert (picture.width, picture.height) == (96, 32)


def test_a_redirect_gets_no_key(huggingface: StandIn) -> None:
    """The client follows it; the other address is asked without the key."""
    with StandIn() as other:
        error = fails(huggingface, ProviderError, faults.Redirected(location=other.endpoint))
        assert error.status == 401
        assert "authorization" not in other.requests[0].headers


# Models of the Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Called]]:
    """The Hub, which knows who serves a model, and the router, behind which fal-ai does so."""
    requests: list[Called] = []
    data = draw("from the hub", width=64, height=64, media_type="image/jpeg")

    async def answer(request: Called) -> Response:
        requests.append(request)
        path = request.url.path
        if path.startswith("/api/models/"):
            served = {"fal-ai": {"status": "live", "providerId": "fal-ai/flux/schnell", "task": "text-to-image"}}
            return JSONResponse({"id": path.removeprefix("/api/models/"), "inferenceProviderMapping": served})
        if path == "/router/fal-ai/fal-ai/flux/schnell":
            link = {"url": f"http://{request.headers['host']}/picture.jpg"}
            return JSONResponse({"images": [] if (await request.json())["prompt"] == "nothing" else [link]})
        return Response(data, media_type="image/jpeg")

    from huggingface_hub import constants

    with serve(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])) as url:
        monkeypatch.setenv("HF_TOKEN", "hf_for_tests_alone")
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "INFERENCE_PROXY_TEMPLATE", f"{url}/router/{{provider}}")
        yield requests


@pytest.mark.parametrize("options", [{}, {"provider": "fal-ai"}])
def test_a_model_of_the_hub(hub: list[Called], options: dict[str, str]) -> None:
    request = Request(prompt="a fox", width=64, height=64, options=options)
    picture = ask("black-forest-labs/FLUX.1-schnell", request)
    assert picture.data == draw("from the hub", width=64, height=64, media_type="image/jpeg")
    asked = next(one for one in hub if one.method == "POST")
    assert asked.headers["authorization"] == "Bearer hf_for_tests_alone"
    assert hub[-1].url.path == "/picture.jpg"
    assert "authorization" not in hub[-1].headers


@pytest.mark.parametrize("name", ["replicate", "nobody"])
def test_a_provider_that_does_not_serve_it(hub: list[Called], name: str) -> None:
    with pytest.raises(ProviderError, match=name) as caught:
        ask("black-forest-labs/FLUX.1-schnell", Request(prompt="a fox", options={"provider": name}))
    assert caught.value.charged is False
    assert not any(one.method == "POST" for one in hub)


def test_an_answer_of_a_provider_without_a_picture(hub: list[Called]) -> None:
    with pytest.raises(BadAnswer, match="its client cannot read") as caught:
        ask("black-forest-labs/FLUX.1-schnell", Request(prompt="nothing"))
    assert caught.value.charged is None
    assert [one.method for one in hub].count("POST") == 1
