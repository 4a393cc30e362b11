"""Google's provider with Google's real client, over HTTP to the stand-in of the vendor."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request as Called
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from diptych.catalogue import Model, Option, Price, TokenRates
from diptych.catalogue.reading import load_packaged
from diptych.errors import (
    BadAnswer,
    InvalidRequest,
    MissingExtra,
    MissingKey,
    NotAvailable,
    ProviderError,
    RateLimited,
    Refused,
    SettingsError,
    Unanswered,
    Unreachable,
)
from diptych.images import Input, Picture, Request
from diptych.providers import Message, connection
from diptych.providers.google import Google
from tests.providers.conftest import KEY
from tests.standins import faults
from tests.standins.faults import Fault
from tests.standins.google import Google as StandIn
from tests.standins.pictures import draw
from tests.standins.server import serve

T = TypeVar("T")
MODELS = [model for model in load_packaged().models if model.provider == "google"]
RATES = TokenRates(text_in=0.5, image_in=1.0, text_out=3.0, image_out=60.0)
GEMINI = Model(
    name="gemini",
    title="Gemini",
    provider="google",
    remote_id="gemini-3.1-flash-image",
    prices=(Price(per_million_tokens=RATES, source="a test"),),
)
IMAGEN = Model(
    name="imagen",
    title="Imagen",
    provider="google",
    remote_id="imagen-4.0-generate-001",
    prices=(Price(per_image=0.04, source="a test"),),
)
FOX = Request(prompt="a fox in snow", image_size="512")


@pytest.fixture
def vendor(google: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in as the Gemini API."""
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", google.url)
    return google


@pytest.fixture
def vertex(google: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in as Vertex AI, with a key."""
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", google.url)
    return google


def run(what: Callable[[Google], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with Google() as provider:
            return await what(provider)

    return asyncio.run(opened())


def generate(request: Request, model: Model = GEMINI) -> Picture:
    return run(lambda google: google.generate(model, request))


def picture(prompt: str = "a photo", media_type: str = "image/png") -> Input:
    return Input(draw(prompt, width=32, height=16, media_type=media_type))


def sent_picture(part: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64decode(part["inlineData"]["data"])


# A good answer


def test_settings_reach_the_wire_and_the_picture_comes_back(vendor: StandIn) -> None:
    request = Request(prompt="a fox in snow", aspect_ratio="16:9", image_size="512", seed=3)
    made = generate(request)

    (seen,) = vendor.requests
    assert seen.path == "/v1/models/gemini-3.1-flash-image:generateContent"
    assert seen.headers["x-goog-api-key"] == KEY
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.body == {
        "contents": [{"role": "user", "parts": [{"text": "a fox in snow"}]}],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "512"},
            "seed": 3,
        },
    }
    (charge,) = vendor.charges
    assert made.data == vendor.pictures[charge["id"]]
    assert (made.width, made.height, made.media_type) == (688, 384, "image/png")
    assert made.request == request
    assert made.model == "gemini"
    assert made.text == "Here is the picture."
    assert made.request_id
    assert made.usage["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 747}]
    assert made.recipe["versions"].keys() == {"diptych", "google-genai"}


def test_what_is_not_asked_for_is_not_sent(vendor: StandIn) -> None:
    generate(Request(prompt="a fox"))
    assert vendor.requests[0].body["generationConfig"] == {"responseModalities": ["TEXT", "IMAGE"]}


def test_tokens_are_priced_by_their_kind(vendor: StandIn) -> None:
    made = generate(Request(prompt="the same at dusk", image_size="512", references=(picture(),)))
    text_in = made.usage["promptTokenCount"] - 560
    assert made.cost is not None
    assert made.cost.basis == "usage"
    assert made.cost.dollars == pytest.approx((text_in * 0.5 + 560 * 1.0 + 747 * 60.0) / 1e6)


def answered(value: dict[str, Any]) -> Any:
    """A server that gives one answer to everything."""

    async def answer(_: Called) -> Response:
        return JSONResponse(value)

    return serve(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])]))


def answer_of(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], **more}


def inline(data: bytes) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}}


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 1000, "candidatesTokensDetails": []},
            (10 * 0.5 + 60_000) / 1e6,
        ),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 1100,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1000}],
                "thoughtsTokenCount": 400,
            },
            (10 * 0.5 + 60_000 + 500 * 3.0) / 1e6,
        ),
        ({"promptTokenCount": "many"}, None),
        ({}, None),
    ],
    ids=["no details", "text and thoughts", "no numbers", "nothing"],
)
def test_what_usage_costs(usage: dict[str, Any], dollars: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with answered(answer_of([inline(picture().data)], usageMetadata=usage)) as url:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
        cost = generate(FOX).cost
    assert (cost and cost.dollars) == (dollars if dollars is None else pytest.approx(dollars))


def test_thoughts_are_not_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [
        {"text": "I sketch first.", "thought": True},
        {**inline(picture("sketch").data), "thought": True},
        {"text": "Here: ", "thoughtSignature": "dGV4dA=="},
        {**inline(picture("final").data), "thoughtSignature": "cGljdHVyZQ=="},
        inline(picture("another").data),
    ]
    with answered(answer_of(parts)) as url:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
        made = generate(FOX)
    assert made.data == picture("final").data
    assert made.text == "Here:"
    assert made.state == {"thoughtSignature": "cGljdHVyZQ==", "textThoughtSignature": "dGV4dA=="}


def test_references_go_along_in_their_order(vendor: StandIn) -> None:
    first, second = picture("first"), picture("second", "image/jpeg")
    generate(Request(prompt="both together", references=(first, second), image_size="512"))
    text, *pictures = vendor.requests[0].body["contents"][0]["parts"]
    assert text == {"text": "both together"}
    assert [sent_picture(part) for part in pictures] == [first.data, second.data]


def test_a_conversation_goes_on_with_its_signatures(vendor: StandIn) -> None:
    reference = picture()

    async def talk(google: Google) -> list[Picture]:
        first = await google.generate(GEMINI, Request(prompt="a fox", references=(reference,), image_size="512"))
        second = await google.generate(GEMINI, Request(prompt="at dusk", follows=first, image_size="512"))
        return [first, second, await google.generate(GEMINI, Request(prompt="with a moon", follows=second, seed=1))]

    first, second, _ = run(talk)
    contents = vendor.requests[2].body["contents"]
    assert [turn["role"] for turn in contents] == ["user", "model", "user", "model", "user"]
    assert [turn["parts"][0]["text"] for turn in contents[::2]] == ["a fox", "at dusk", "with a moon"]
    assert sent_picture(contents[0]["parts"][1]) == reference.data
    for turn, before in ((contents[1], first), (contents[3], second)):
        said, shown = turn["parts"]
        assert said == {"text": "Here is the picture."}
        assert sent_picture(shown) == before.data
        assert base64.urlsafe_b64decode(shown["thoughtSignature"]) == base64.b64decode(before.state["thoughtSignature"])


def test_first_byte_is_measured_before_the_whole(vendor: StandIn) -> None:
    vendor.next(faults.Trickled(seconds=0.1))
    timing = generate(FOX).timing
    assert timing.first_byte is not None
    assert 0 < timing.first_byte < timing.total


def test_one_provider_serves_many_requests_at_once(vendor: StandIn) -> None:
    vendor.seconds = 0.05
    requests = [Request(prompt=f"fox {i}", image_size="512") for i in range(8)]

    async def all_of_them(google: Google) -> list[Picture]:
        return await asyncio.gather(*(google.generate(GEMINI, request) for request in requests))

    made = run(all_of_them)
    assert [one.request for one in made] == requests
    assert len({one.sha256 for one in made}) == 8  # and no answer went to another's request
    prompts = {vendor.pictures[charge["id"]]: charge["prompt"] for charge in vendor.charges}
    assert [prompts[one.data] for one in made] == [request.prompt for request in requests]


def sample(option: Option) -> Any:
    """A value that the option allows."""
    if option.choices:
        return option.choices[0]
    return {"text": "a", "yes/no": False, "whole number": 1, "number": 0.5}[option.type]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_all_that_the_catalogue_knows_of_a_model_can_be_sent(model: Model, vertex: StandIn) -> None:
    settings = model.settings
    assert settings is not None
    request = Request(
        prompt="a fox",
        aspect_ratio="1:1",
        seed=3 if settings.seed else None,
        negative="blur" if settings.negative else None,
        guidance=5.0 if settings.guidance else None,
        references=(picture(),) if settings.references else (),
        options={name: sample(option) for name, option in settings.options.items()},
    )
    request = model.resolve(request)
    made = generate(request, model)
    (seen,) = vertex.requests
    sent = json.dumps(seen.body)
    assert all(f'"{name}"' in sent for name in request.options)
    assert made.request == request


# Text


def test_text_with_pictures_and_an_instruction(vendor: StandIn) -> None:
    vendor.reply = "A fox stands in snow."
    message = Message(prompt="What is here?", pictures=(picture(),), instruction="Describe it.")
    written = run(lambda google: google.write(GEMINI, message))
    body = vendor.requests[0].body
    assert body["generationConfig"] == {"responseModalities": ["TEXT"]}
    assert body["systemInstruction"]["parts"] == [{"text": "Describe it."}]
    text, shown = body["contents"][0]["parts"]
    assert text == {"text": "What is here?"}
    assert sent_picture(shown) == message.pictures[0].data
    assert str(written) == "A fox stands in snow."
    assert written.cost is not None
    counted = written.usage
    assert written.cost.dollars == pytest.approx(
        ((counted["promptTokenCount"] - 560) * 0.5 + 560 + counted["candidatesTokenCount"] * 3.0) / 1e6
    )
    assert written.request_id
    assert written.seconds > 0
    assert written.model == "gemini"


def test_text_that_is_refused(vendor: StandIn) -> None:
    vendor.next(faults.Refused(how="PROHIBITED_CONTENT"))
    with pytest.raises(Refused, match="PROHIBITED_CONTENT"):
        run(lambda google: google.write(GEMINI, Message(prompt="something")))


def test_text_that_stops_in_the_middle_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    value = answer_of([{"text": "A fox in"}])
    value["candidates"][0]["finishReason"] = "MAX_TOKENS"
    with answered(value) as url:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
        with pytest.raises(BadAnswer, match=r"ended with MAX_TOKENS .*A fox in"):
            run(lambda google: google.write(GEMINI, Message(prompt="something")))


# Vertex AI and Imagen


def test_vertex_ai_with_a_key_takes_its_own_options(vertex: StandIn) -> None:
    options = {"personGeneration": "ALLOW_NONE", "mimeType": "image/jpeg", "compressionQuality": 80, "temperature": 0.5}
    made = generate(Request(prompt="a fox", image_size="512", options=options))
    (seen,) = vertex.requests
    assert seen.path == "/v1beta1/publishers/google/models/gemini-3.1-flash-image:generateContent"
    assert seen.headers["x-goog-api-key"] == KEY
    assert seen.body["generationConfig"]["temperature"] == 0.5
    assert seen.body["generationConfig"]["imageConfig"] == {
        "imageSize": "512",
        "personGeneration": "ALLOW_NONE",
        "imageOutputOptions": {"mimeType": "image/jpeg", "compressionQuality": 80},
    }
    assert made.media_type == "image/jpeg"


def test_options_of_vertex_ai_are_refused_on_the_gemini_api(vendor: StandIn) -> None:
    with pytest.raises(InvalidRequest, match=r"personGeneration is 'ALLOW_NONE', but gemini has no .* on Vertex AI"):
        generate(Request(prompt="a fox", options={"personGeneration": "ALLOW_NONE"}))
    assert not vendor.requests


def test_imagen(vertex: StandIn) -> None:
    options = {"addWatermark": False, "personGeneration": "allow_adult", "enhancePrompt": False, "language": "en"}
    made = generate(
        Request(
            prompt="a fox", negative="blur", aspect_ratio="16:9", image_size="1K", guidance=4.5, seed=7, options=options
        ),
        IMAGEN,
    )
    (seen,) = vertex.requests
    assert seen.path == "/v1beta1/publishers/google/models/imagen-4.0-generate-001:predict"
    assert seen.body["instances"] == [{"prompt": "a fox"}]
    assert seen.body["parameters"] == {
        "sampleCount": 1,
        "negativePrompt": "blur",
        "aspectRatio": "16:9",
        "sampleImageSize": "1K",
        "guidanceScale": 4.5,
        "seed": 7,
        "includeRaiReason": True,
        "addWatermark": False,
        "personGeneration": "ALLOW_ADULT",
        "enhancePrompt": False,
        "language": "en",
    }
    assert made.data == vertex.pictures[vertex.charges[0]["id"]]
    assert (made.width, made.height) == (1408, 768)
    assert made.cost is not None
    assert (made.cost.dollars, made.cost.basis) == (0.04, "price")


def test_imagen_says_why_it_refuses(vertex: StandIn) -> None:
    vertex.next(faults.Refused())
    with pytest.raises(Refused, match=r"google refused: Unable to show generated images\. Support codes: 58061214"):
        generate(Request(prompt="a fox"), IMAGEN)


def test_imagen_without_a_picture_and_a_reason(vertex: StandIn) -> None:
    vertex.next(faults.Refused(how="EMPTY"))
    with pytest.raises(BadAnswer, match="has no picture"):
        generate(Request(prompt="a fox"), IMAGEN)


@pytest.mark.parametrize("fault", [faults.Html(), faults.Empty(), faults.Garbage(), faults.OtherJson(value=[1])])
def test_imagen_with_an_answer_that_the_client_cannot_parse(vertex: StandIn, fault: Fault) -> None:
    vertex.next(fault)
    with pytest.raises(BadAnswer, match="google gave an answer that is no JSON object"):
        generate(Request(prompt="a fox"), IMAGEN)
    assert len(vertex.requests) == 1


def test_imagen_is_on_vertex_ai_alone(vendor: StandIn) -> None:
    with pytest.raises(NotAvailable, match="imagen is on Vertex AI alone: set GOOGLE_GENAI_USE_VERTEXAI=true"):
        generate(Request(prompt="a fox"), IMAGEN)


def service_account(folder: Path, token_address: str) -> Path:
    """The key file of a service account, whose tokens come from `token_address`."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = folder / "service-account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "the-account-s-project",
                "private_key_id": "1",
                "private_key": pem,
                "client_email": "diptych@example.org",
                "token_uri": token_address,
            }
        )
    )
    return path


@pytest.fixture
def tokens(google: StandIn) -> Any:
    """A server that hands out the access token which the stand-in accepts."""

    async def token(_: Called) -> Response:
        return JSONResponse({"access_token": KEY, "expires_in": 3600, "token_type": "Bearer"})

    async def denied(_: Called) -> Response:
        return JSONResponse({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)

    with serve(
        Starlette(routes=[Route("/token", token, methods=["POST"]), Route("/denied", denied, methods=["POST"])])
    ) as url:
        yield url


def test_vertex_ai_with_the_default_credentials(
    google: StandIn, tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, f"{tokens}/token")))
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", google.url)
    generate(FOX)
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-central1")
    generate(Request(prompt="a fox"), IMAGEN)
    first, second = google.requests
    models = "/v1beta1/projects/a-project/locations/{}/publishers/google/models/"
    assert first.path == models.format("global") + "gemini-3.1-flash-image:generateContent"
    assert second.path == models.format("us-central1") + "imagen-4.0-generate-001:predict"
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in first.headers


def test_vertex_ai_takes_the_project_of_the_credentials(
    google: StandIn, tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, f"{tokens}/token")))
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", google.url)
    generate(FOX)
    assert "/projects/the-account-s-project/" in google.requests[0].path


def test_credentials_that_are_denied(
    google: StandIn, tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, f"{tokens}/denied")))
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", google.url)
    with pytest.raises(ProviderError, match=r"google gave no access token: .*Invalid JWT Signature") as caught:
        generate(FOX)
    assert caught.value.charged is False
    assert not google.requests


def test_no_credentials(no_client_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(NotAvailable, match="Vertex AI needs credentials: call `gcloud auth application-default login`"):
        Google().check(GEMINI, [FOX])


# What is refused here, before anything is sent


def test_no_key(no_client_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    with pytest.raises(MissingKey, match="google needs a key: set GEMINI_API_KEY"):
        Google().check(GEMINI, [FOX])


def test_the_gemini_api_where_vertex_ai_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "false")
    with pytest.raises(MissingKey):
        Google().check(GEMINI, [FOX])


def test_a_key_comes_before_a_project(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    generate(FOX)
    assert vendor.requests[0].path.startswith("/v1/models/")


def test_a_signature_that_is_damaged(vendor: StandIn) -> None:
    before = dataclasses.replace(generate(FOX), state={"thoughtSignature": "a"})
    with pytest.raises(InvalidRequest, match="has a thoughtSignature that is no base64"):
        generate(Request(prompt="at dusk", follows=before))


def test_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.genai", None)
    with pytest.raises(MissingExtra, match=r'Google\'s models needs google-genai.*pip install "diptych\[google\]"'):
        Google().check(GEMINI, [FOX])


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(prompt="a", steps=4), "steps is 4, which cannot be sent to gemini; it takes aspect_ratio"),
        (Request(prompt="a", negative="blur"), "negative is 'blur', which cannot be sent"),
        (Request(prompt="a", width=512, height=512), "size is given, which cannot be sent"),
        (Request(prompt="a", seed=2**31), "seed is 2147483648; gemini takes 0 to 2147483647"),
        (Request(prompt="a", options={"tempreature": 1}), "tempreature is 1, but gemini has no setting tempreature"),
    ],
    ids=["steps", "negative", "size", "seed", "option"],
)
def test_a_request_that_cannot_be_sent(request_: Request, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Google().check(GEMINI, [FOX, request_])


def test_a_size_may_stand_beside_the_shape_that_says_the_same(vendor: StandIn) -> None:
    made = generate(Request(prompt="a", width=512, height=512, aspect_ratio="1:1", image_size="512"))
    assert (made.width, made.height) == (512, 512)


# Refusals


@pytest.mark.parametrize(
    ("how", "words", "charges"),
    [
        ("SAFETY", "google refused the prompt: it may be unsafe (SAFETY).", 0),
        ("blocked:IMAGE_SAFETY", "google refused the prompt: the picture may be unsafe (IMAGE_SAFETY).", 0),
        ("blocked:NEW_RULE", "google refused the prompt: for a reason of its own (NEW_RULE).", 0),
        ("IMAGE_SAFETY", "the picture may be unsafe (IMAGE_SAFETY). It says: Unable to show the generated image.", 1),
        ("IMAGE_RECITATION", "the picture may repeat somebody's work (IMAGE_RECITATION).", 1),
        ("NO_IMAGE", "a picture was expected, and the model made none (NO_IMAGE).", 1),
    ],
)
def test_a_refusal_says_why(vendor: StandIn, how: str, words: str, charges: int) -> None:
    vendor.next(faults.Refused(how=how))
    with pytest.raises(Refused) as caught:
        generate(FOX)
    assert words in str(caught.value)
    assert caught.value.usage["promptTokenCount"] > 0
    assert caught.value.request_id
    assert caught.value.request_id in str(caught.value)
    assert len(vendor.requests) == 1
    assert len(vendor.charges) == charges


def test_words_in_place_of_a_picture(vendor: StandIn) -> None:
    vendor.reply = "I would rather talk about foxes."
    vendor.next(faults.Refused(how="TEXT"))
    with pytest.raises(BadAnswer, match=r"has no picture. It says: I would rather talk about foxes.") as caught:
        generate(FOX)
    assert caught.value.usage
    assert caught.value.charged is None


# Errors


@pytest.mark.parametrize("form", ["seconds", "body"])
def test_too_many_requests_are_waited_out_as_long_as_the_vendor_says(vendor: StandIn, form: Any) -> None:
    vendor.next(faults.RateLimited(retry_after=0.02, form=form), faults.RateLimited(retry_after=0.02, form=form))
    generate(FOX)
    assert len(vendor.requests) == 3
    assert len(vendor.charges) == 1


def test_a_wait_that_is_too_long_is_told(vendor: StandIn) -> None:
    vendor.next(faults.RateLimited(retry_after=3600, form="body"))
    with pytest.raises(RateLimited, match="google answered 429: You exceeded your current quota") as caught:
        generate(FOX)
    assert caught.value.retry_after == 3600
    assert caught.value.status == 429
    assert len(vendor.requests) == 1


def test_an_empty_purse_is_not_waited_out(vendor: StandIn) -> None:
    vendor.next(faults.OutOfCredits())
    with pytest.raises(ProviderError, match="google answered 429: Your prepayment credits are depleted") as caught:
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
        (faults.OtherJson(value={"candidates": [{"content": {"parts": [7, {"inlineData": "x"}]}}]}), BadAnswer, 1, 1),
        (faults.OtherJson(value={"candidates": {"0": 1}, "usageMetadata": 3, "responseId": 4}), BadAnswer, 1, 1),
        (faults.BadPicture(kind="truncated"), BadAnswer, 1, 1),
        (faults.BadPicture(kind="bomb"), BadAnswer, 1, 1),
        (faults.BadPicture(kind="noise"), BadAnswer, 1, 1),
        (faults.BadPicture(kind="empty"), BadAnswer, 1, 1),
        (faults.Invalid(), ProviderError, 1, 0),
        (faults.Retired(), ProviderError, 1, 0),
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
        assert caught.value.provider == "google"
        assert "google" in str(caught.value)
    assert (len(vendor.requests), len(vendor.charges)) == (requests, charges)


def test_the_vendor_s_words_and_status_are_in_the_error(vendor: StandIn) -> None:
    vendor.next(faults.Invalid(message="Image size 3K is not supported."))
    with pytest.raises(ProviderError, match=r"google answered 400: Image size 3K is not supported\.") as caught:
        generate(FOX)
    assert caught.value.status == 400


def test_a_body_that_is_no_json_is_quoted(vendor: StandIn) -> None:
    vendor.next(faults.Html())
    with pytest.raises(BadAnswer, match="is no JSON object: it begins '<!DOCTYPE html>"):
        generate(FOX)


def test_a_picture_that_is_no_base64(monkeypatch: pytest.MonkeyPatch) -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "a"}}
    with answered(answer_of([part], responseId="r-1")) as url:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
        with pytest.raises(BadAnswer, match=r"holds a picture that is no base64 \(request r-1\)"):
            generate(FOX)


def test_a_redirect_is_not_followed(vendor: StandIn) -> None:
    with StandIn() as elsewhere:
        vendor.next(faults.Redirected(location=f"{elsewhere.url}/v1/models/x:generateContent"))
        with pytest.raises(ProviderError, match=f"google answered 307: it sends us on to {elsewhere.url}"):
            generate(FOX)
        assert not elsewhere.requests


def test_a_wrong_key_is_not_repeated(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "a-wrong-key-of-mine")
    with pytest.raises(ProviderError, match="google answered 400: API key not valid") as caught:
        generate(FOX)
    assert "a-wrong-key-of-mine" not in str(caught.value)


def test_a_key_in_an_answer_is_blotted_out(vendor: StandIn) -> None:
    vendor.next(faults.Invalid(message=f"The key {KEY} is not good enough."), faults.OtherJson(value={"key": KEY}))
    for _ in range(2):
        with pytest.raises(ProviderError, match=r"\[key\]") as caught:
            generate(FOX)
        assert KEY not in str(caught.value)


def test_a_key_that_no_header_can_hold(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "“a-key-in-quotes”")  # as copied from a web page
    with pytest.raises(SettingsError, match="GEMINI_API_KEY holds no key") as caught:
        generate(FOX)
    assert "a-key-in-quotes" not in str(caught.value)


def test_nobody_there(no_client_settings: None, monkeypatch: pytest.MonkeyPatch, one_attempt: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(Unreachable, match="google cannot be reached") as caught:
        generate(FOX)
    assert caught.value.charged is False


def test_an_answer_that_takes_too_long(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.3)
    vendor.next(faults.Held())
    with pytest.raises(Unanswered, match=r"google did not answer within 0.3 s; .* may have been charged") as caught:
        generate(FOX)
    assert caught.value.charged is None
    assert len(vendor.charges) == 1


def test_an_answer_that_is_too_long(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LONGEST_ANSWER", 2000)
    with pytest.raises(BadAnswer, match="is longer than 2,000 bytes"):
        generate(FOX)


def test_a_compressed_answer_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def packed(_: Called) -> Response:
        return Response(b"\x1f\x8b" + bytes(50), headers={"content-encoding": "gzip"}, media_type="application/json")

    with serve(Starlette(routes=[Route("/{path:path}", packed, methods=["POST"])])) as url:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
        with pytest.raises(BadAnswer, match="is compressed, which was not asked for"):
            generate(FOX)


def test_a_request_can_be_given_up(vendor: StandIn) -> None:
    vendor.next(faults.Held())

    async def give_up(google: Google) -> None:
        task = asyncio.create_task(google.generate(GEMINI, FOX))
        await asyncio.to_thread(vendor.wait_until, lambda seen: len(seen.charges) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        vendor.release()
        made = await google.generate(GEMINI, FOX)  # and the connections are in order
        assert Image.open(io.BytesIO(made.data)).size == (512, 512)

    run(give_up)
    assert len(vendor.charges) == 2
