"""What the vendors' real clients send, kept in payloads/*.json: `python -m tests.standins.capture` writes them anew.

A scenario drives a client against its stand-in, which records the requests. What changes from run to run, or is
secret, is replaced: keys by `<key>`, ids by `<id>`, the boundary of a multipart body by nothing, and binary content by
its length and digest. `build` turns a payload back into a request, binary content included, so that any other server
can be held against the same payloads.

Black Forest Labs has no client: its payloads are `documented`, not captured, and are sent with httpx.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.standins import pictures
from tests.standins.answering import Part, Seen
from tests.standins.black_forest_labs import BlackForestLabs
from tests.standins.fal import Fal
from tests.standins.google import Google
from tests.standins.huggingface import HuggingFace
from tests.standins.openai import OpenAI
from tests.standins.replicate import Replicate
from tests.standins.vendor import Vendor

FOLDER = Path(__file__).parent / "payloads"
HEADERS = ("accept", "authorization", "content-type", "prefer", "x-goog-api-key", "x-key", "x-server-timeout")
# Their bytes do not depend on a compressor, and tell the two alphabets of base64 apart.
PHOTO = pictures.plain(16, 16, (200, 30, 255))
OTHER = pictures.plain(16, 16, (30, 200, 251))
MASK = pictures.plain(16, 16, (0, 0, 0), alpha=0)
BINARIES = {hashlib.sha256(data).hexdigest(): data for data in (PHOTO, OTHER, MASK)}
_ID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")


@dataclass(frozen=True)
class Scenario:
    vendor: type[Vendor]
    client: str
    """The distribution that sends the requests."""
    drive: Callable[[Any], object]
    documented: bool = False


# One function per scenario; its name is the name of the payload.


@contextmanager
def _gemini(vendor: Google, **more: Any) -> Iterator[Any]:
    from google import genai

    more = more or {"api_key": vendor.key}
    client = genai.Client(**more, http_options=genai.types.HttpOptions(base_url=vendor.url))
    with client:
        yield client


def google_text_to_image(vendor: Google) -> None:
    from google.genai import types

    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"], seed=3,
        image_config=types.ImageConfig(aspect_ratio="16:9", image_size="1K"),
    )  # fmt: skip
    with _gemini(vendor) as client:
        client.models.generate_content(model="gemini-3.1-flash-image", contents="a fox in snow", config=config)


def google_reference(vendor: Google) -> None:
    from google.genai import types

    config = types.GenerateContentConfig(response_modalities=["IMAGE"], candidate_count=1)
    contents = [types.Part.from_bytes(data=PHOTO, mime_type="image/png"), "make it dusk"]
    with _gemini(vendor) as client:
        client.models.generate_content(model="gemini-3-pro-image", contents=contents, config=config)


def google_turns(vendor: Google) -> None:
    from google.genai import types

    answer = types.Part(
        inline_data=types.Blob(data=PHOTO, mime_type="image/png"), thought_signature=b"\xff\xfe signature"
    )
    contents = [
        types.Content(role="user", parts=[types.Part(text="a fox in snow")]),
        types.Content(role="model", parts=[types.Part(text="Here it is."), answer]),
        types.Content(role="user", parts=[types.Part(text="now at night")]),
    ]
    with _gemini(vendor) as client:
        client.models.generate_content(model="gemini-3.1-flash-image", contents=contents)


def google_stream(vendor: Google) -> None:
    with _gemini(vendor) as client:
        for _ in client.models.generate_content_stream(model="gemini-3.1-flash-image", contents="a fox in snow"):
            pass


def google_text(vendor: Google) -> None:
    from google.genai import types

    vendor.reply = '{"better": "left"}'
    config = types.GenerateContentConfig(
        system_instruction="You compare pictures.", temperature=0, max_output_tokens=64,
        response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"better": {"type": "STRING", "enum": ["left", "right"]}}},
        thinking_config=types.ThinkingConfig(thinking_budget=0),
    )  # fmt: skip
    pair = [types.Part.from_bytes(data=data, mime_type="image/png") for data in (PHOTO, OTHER)]
    with _gemini(vendor) as client:
        client.models.generate_content(model="gemini-3.1-flash", contents=["Which is better?", *pair], config=config)


def google_vertex(vendor: Google) -> None:
    from google.genai import types
    from google.oauth2.credentials import Credentials

    image = types.ImageConfig(
        aspect_ratio="1:1", person_generation="ALLOW_NONE", output_mime_type="image/jpeg",
        output_compression_quality=80,
    )  # fmt: skip
    config = types.GenerateContentConfig(response_modalities=["IMAGE"], image_config=image)
    account = {"vertexai": True, "project": "p", "location": "l", "credentials": Credentials(token=vendor.key)}
    with _gemini(vendor, **account) as client:
        client.models.generate_content(model="gemini-3.1-flash-image", contents="a fox in snow", config=config)


def google_vertex_key(vendor: Google) -> None:
    with _gemini(vendor, vertexai=True, api_key=vendor.key) as client:
        client.models.generate_content(model="gemini-3.1-flash-image", contents="a fox in snow")


def google_imagen(vendor: Google) -> None:
    from google.genai import errors, types
    from google.oauth2.credentials import Credentials

    config = types.GenerateImagesConfig(
        number_of_images=2, aspect_ratio="16:9", negative_prompt="blur", guidance_scale=7.5, seed=3,
        add_watermark=False, include_rai_reason=True, output_mime_type="image/jpeg", output_compression_quality=80,
        image_size="1K", enhance_prompt=False, language=types.ImagePromptLanguage.en,
        safety_filter_level=types.SafetyFilterLevel.BLOCK_ONLY_HIGH,
        person_generation=types.PersonGeneration.DONT_ALLOW,
    )  # fmt: skip
    account = {"vertexai": True, "project": "p", "location": "l", "credentials": Credentials(token=vendor.key)}
    with _gemini(vendor, **account) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.ExperimentalWarning)
        client.models.generate_images(model="imagen-4.0-generate-001", prompt="a fox in snow", config=config)


@contextmanager
def _openai(vendor: OpenAI) -> Iterator[Any]:
    import openai

    with openai.OpenAI(api_key=vendor.key, base_url=f"{vendor.url}/v1", max_retries=0) as client:
        yield client


def openai_generate(vendor: OpenAI) -> None:
    with _openai(vendor) as client:
        client.images.generate(
            model="gpt-image-2", prompt="a fox in snow", n=2, size="512x768", quality="low", background="opaque",
            output_format="webp", output_compression=80, moderation="low", user="someone",
        )  # fmt: skip


def openai_generate_stream(vendor: OpenAI) -> None:
    with _openai(vendor) as client:
        for _ in client.images.generate(
            model="gpt-image-2", prompt="a fox in snow", size="512x512", stream=True, partial_images=2
        ):
            pass


def openai_edit(vendor: OpenAI) -> None:
    with _openai(vendor) as client:
        client.images.edit(model="gpt-image-2", prompt="make it dusk", image=("photo.png", PHOTO, "image/png"))


def openai_edit_several(vendor: OpenAI) -> None:
    with _openai(vendor) as client:
        for _ in client.images.edit(
            model="gpt-image-2", prompt="put them side by side", size="512x512", quality="low", input_fidelity="high",
            image=[("a.png", PHOTO, "image/png"), ("b.png", OTHER, "image/png")], mask=("mask.png", MASK, "image/png"),
            stream=True, partial_images=1,
        ):  # fmt: skip
            pass


def openai_chat(vendor: OpenAI) -> None:
    picture = {"url": f"data:image/png;base64,{base64.b64encode(PHOTO).decode()}", "detail": "high"}
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": picture}]
    with _openai(vendor) as client:
        client.chat.completions.create(
            model="gpt-5.5-mini", messages=[{"role": "user", "content": content}], temperature=0,
            max_completion_tokens=64,
        )  # fmt: skip


@contextmanager
def _replicate(vendor: Replicate) -> Iterator[Any]:
    import replicate

    client = replicate.Client(api_token=vendor.key, base_url=vendor.url)
    client.poll_interval = 0.001
    try:
        yield client
    finally:
        client._client.close()  # it has no close of its own


def replicate_model(vendor: Replicate) -> None:
    with _replicate(vendor) as client:
        asked = {"prompt": "a fox in snow", "seed": 3, "aspect_ratio": "1:1", "output_format": "png", "num_outputs": 1}
        client.predictions.create(model="black-forest-labs/flux-schnell", input=asked).wait()


def replicate_version(vendor: Replicate) -> None:
    asked = {"prompt": "a fox in snow"}
    with _replicate(vendor) as client:
        client.predictions.create(version="0" * 64, input=asked, webhook="https://example.org/").wait()


def replicate_wait(vendor: Replicate) -> None:
    with _replicate(vendor) as client:
        client.models.predictions.create("black-forest-labs/flux-1.1-pro", {"prompt": "a fox in snow"}, wait=5)


def replicate_reference(vendor: Replicate) -> None:
    photo = io.BytesIO(PHOTO)
    photo.name = "photo.png"
    with _replicate(vendor) as client:
        client.models.predictions.create(
            "black-forest-labs/flux-2-pro", {"prompt": "make it dusk", "input_images": [photo]},
            file_encoding_strategy="base64",
        )  # fmt: skip


def replicate_upload(vendor: Replicate) -> None:
    photo = io.BytesIO(PHOTO)
    photo.name = "photo.png"
    with _replicate(vendor) as client:
        client.files.create(photo)


def _huggingface(vendor: HuggingFace, address: str, **asked: Any) -> None:
    from huggingface_hub import InferenceClient
    from huggingface_hub.utils import close_session

    try:
        InferenceClient(model=address, token=vendor.key).text_to_image("a fox in snow", **asked)
    finally:
        close_session()


def huggingface_endpoint(vendor: HuggingFace) -> None:
    _huggingface(
        vendor, vendor.endpoint, negative_prompt="blur", height=256, width=512, num_inference_steps=4,
        guidance_scale=3.5, seed=3, scheduler="euler",
    )  # fmt: skip


def huggingface_router(vendor: HuggingFace) -> None:
    _huggingface(vendor, vendor.address("black-forest-labs/FLUX.1-schnell"))


@contextmanager
def fal_client(vendor: Fal) -> Iterator[Any]:
    """fal's client, pointed at the stand-in: it knows no other way than its environment at import, and https only."""
    from fal_client import client as module

    usual, module.QUEUE_URL_FORMAT = module.QUEUE_URL_FORMAT, f"{vendor.url}/"
    client = module.SyncClient(key=vendor.key)
    try:
        yield client
    finally:
        client._client.close()
        module.QUEUE_URL_FORMAT = usual


def fal_queue(vendor: Fal) -> None:
    with fal_client(vendor) as client:
        job = client.submit(
            "fal-ai/flux/schnell",
            {"prompt": "a fox in snow", "image_size": {"width": 512, "height": 256}, "seed": 3, "num_images": 2},
        )  # fmt: skip
        job.status()
        job.status(with_logs=True)
        job.get()


def fal_cancel(vendor: Fal) -> None:
    with fal_client(vendor) as client:
        client.submit("fal-ai/flux/schnell", {"prompt": "a fox in snow"}).cancel()


def _black_forest_labs(vendor: BlackForestLabs, model: str, asked: dict[str, Any]) -> None:
    import httpx

    with httpx.Client(headers={"x-key": vendor.key}) as client:
        task = client.post(f"{vendor.url}/v1/{model}", json=asked).raise_for_status().json()
        while (answer := client.get(task["polling_url"]).raise_for_status().json())["status"] == "Pending":
            pass
        httpx.get(answer["result"]["sample"]).raise_for_status()


def black_forest_labs_generate(vendor: BlackForestLabs) -> None:
    asked = {"prompt": "a fox in snow", "width": 512, "height": 256, "seed": 3, "output_format": "png"}
    _black_forest_labs(vendor, "flux-2-pro", {**asked, "safety_tolerance": 2})


def black_forest_labs_edit(vendor: BlackForestLabs) -> None:
    first, second = (base64.b64encode(data).decode() for data in (PHOTO, OTHER))
    asked = {"prompt": "put them side by side", "input_image": first, "input_image_2": second}
    _black_forest_labs(vendor, "flux-2-flex", {**asked, "steps": 20, "guidance": 4})


_BY_PREFIX: dict[str, tuple[type[Vendor], str]] = {
    "google": (Google, "google-genai"), "openai": (OpenAI, "openai"), "replicate": (Replicate, "replicate"),
    "huggingface": (HuggingFace, "huggingface-hub"), "fal": (Fal, "fal-client"),
    "black": (BlackForestLabs, "httpx"),
}  # fmt: skip
SCENARIOS = {
    drive.__name__: Scenario(*_BY_PREFIX[drive.__name__.partition("_")[0]], drive, drive.__name__.startswith("black"))
    for drive in (
        google_text_to_image, google_reference, google_turns, google_stream, google_text, google_vertex,
        google_vertex_key, google_imagen, openai_generate, openai_generate_stream, openai_edit, openai_edit_several,
        openai_chat, replicate_model, replicate_version, replicate_wait, replicate_reference, replicate_upload,
        huggingface_endpoint, huggingface_router, fal_queue, fal_cancel, black_forest_labs_generate,
        black_forest_labs_edit,
    )
}  # fmt: skip


def capture(name: str) -> dict[str, Any]:
    """Drive the scenario's client, and return what it sent."""
    scenario = SCENARIOS[name]
    with scenario.vendor() as vendor:
        scenario.drive(vendor)
        requests = [_told(seen, vendor.key) for seen in vendor.requests if seen.step != "picture"]
    source = "documented" if scenario.documented else "captured"
    return {"source": source, "client": f"{scenario.client} {version(scenario.client)}", "requests": requests}


def load(name: str) -> dict[str, Any]:
    """The payload as it is kept: source, client, requests."""
    kept: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return kept


def build(request: dict[str, Any], *, key: str, identity: str = "") -> dict[str, Any]:
    """The arguments of `httpx.Client.request` that send a kept request again; `url` is the path.

    `identity` takes the place of `<id>`: the id of the job that an earlier answer named.
    """
    headers = {name: value.replace("<key>", key) for name, value in request["headers"].items()}
    arguments: dict[str, Any] = {
        "method": request["method"], "url": request["path"].replace("<id>", identity), "headers": headers,
        "params": {name: value.replace("<id>", identity) for name, value in request["query"].items()},
    }  # fmt: skip
    if "multipart" in request:
        headers.pop("content-type")  # httpx writes its own boundary
        arguments["files"] = [
            (part["name"], (part["filename"], _binary(part), part["content_type"]))
            if "filename" in part
            else (part["name"], (None, part["value"]))
            for part in request["multipart"]
        ]
    elif request["body"] is not None:
        arguments["content"] = json.dumps(_restored(request["body"]))
    return arguments


def _told(seen: Seen, key: str) -> dict[str, Any]:
    headers = {name: seen.headers[name].replace(key, "<key>") for name in HEADERS if name in seen.headers}
    if "content-type" in headers:
        headers["content-type"] = headers["content-type"].partition(";")[0]
    told: dict[str, Any] = {
        "method": seen.method, "path": _ID.sub("<id>", seen.path),
        "query": {name: _ID.sub("<id>", value) for name, value in seen.query.items()}, "headers": headers,
    }  # fmt: skip
    if isinstance(seen.body, list) and seen.body and isinstance(seen.body[0], Part):
        told["multipart"] = [
            {"name": part.name, "value": part.text} if part.filename is None
            else {"name": part.name, "filename": part.filename, "content_type": part.content_type, **_digest(part.data)}
            for part in seen.body
        ]  # fmt: skip
    else:
        told["body"] = _replaced(seen.body)
    return told


def _digest(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _binary(told: dict[str, Any]) -> bytes:
    return BINARIES[told["sha256"]]


def _replaced(value: Any) -> Any:
    """The JSON value with every base64 string told by its length, digest and alphabet."""
    if isinstance(value, dict):
        return {name: _replaced(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner) for inner in value]
    if not isinstance(value, str) or len(value) < 256:
        return value
    media_type, _, encoded = value.rpartition(";base64,")
    try:
        data = base64.b64decode(encoded.translate(str.maketrans("-_", "+/")), validate=True)
    except binascii.Error:
        return value
    alphabet = "url-safe" if set("-_") & set(encoded) else "standard"
    told = {"base64": alphabet, **_digest(data)}
    return {"media_type": media_type.removeprefix("data:"), **told} if media_type else told


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if not {"base64", "sha256"} <= set(value):
        return {name: _restored(inner) for name, inner in value.items()}
    encode = base64.urlsafe_b64encode if value["base64"] == "url-safe" else base64.b64encode
    text = encode(_binary(value)).decode()
    return f"data:{value['media_type']};base64,{text}" if "media_type" in value else text


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in SCENARIOS:
        text = json.dumps(capture(name), indent=2, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
