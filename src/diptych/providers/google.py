"""Google's models with google-genai, Google's own client: Gemini through generateContent, Imagen through predict.

Which service is asked follows from the environment, under the names that the client gives its variables:

    Gemini API      GEMINI_API_KEY or GOOGLE_API_KEY, or a stored key; GOOGLE_GEMINI_BASE_URL for another address
    Vertex AI       with GOOGLE_GENAI_USE_VERTEXAI=true, or where there is GOOGLE_CLOUD_PROJECT and no key.
                    GOOGLE_CLOUD_PROJECT is asked with the default credentials of this machine in GOOGLE_CLOUD_LOCATION
                    (the client's default is "global", where all Gemini image models are; Imagen needs a region, such as
                    us-central1). Without a project the key is used. GOOGLE_VERTEX_BASE_URL for another address.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diptych import settings
from diptych.catalogue import TokenUsage
from diptych.errors import (
    DiptychError,
    InvalidRequest,
    MissingExtra,
    NoAccess,
    NotAvailable,
    ProviderError,
    Refused,
    Unreachable,
)
from diptych.images import Cost, Picture, Request
from diptych.providers import Message, Written
from diptych.providers.calling import failure, finish, only, retrying, shortened
from diptych.providers.connection import Answer, ask, at, bad, http_client

if TYPE_CHECKING:
    import httpx2
    from google.auth.credentials import Credentials
    from google.genai import Client

    from diptych.catalogue import Model
    from diptych.providers import Watch

NAME = "google"
LARGEST_SEED = 2**31 - 1
"""Both services take a seed as a 32-bit integer with a sign."""
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

GEMINI_OPTIONS = {"temperature": "temperature", "topP": "top_p", "topK": "top_k"}
IMAGE_OPTIONS = {
    "personGeneration": "person_generation",
    "prominentPeople": "prominent_people",
    "mimeType": "output_mime_type",
    "compressionQuality": "output_compression_quality",
}
"""Of imageConfig; on Vertex AI alone."""
IMAGEN_OPTIONS = {
    "personGeneration": "person_generation",
    "safetySetting": "safety_filter_level",
    "language": "language",
    "addWatermark": "add_watermark",
    "enhancePrompt": "enhance_prompt",
    "mimeType": "output_mime_type",
    "compressionQuality": "output_compression_quality",
}
"""From the name on the wire to the one in the client."""

REASONS = {
    "SAFETY": "it may be unsafe",
    "IMAGE_SAFETY": "the picture may be unsafe",
    "PROHIBITED_CONTENT": "it may be prohibited",
    "IMAGE_PROHIBITED_CONTENT": "the picture may show what is prohibited",
    "BLOCKLIST": "the prompt has a word that is on a list of blocked ones",
    "RECITATION": "it may repeat somebody's work",
    "IMAGE_RECITATION": "the picture may repeat somebody's work",
    "SPII": "it may show sensitive personal data",
    "LANGUAGE": "the language is not supported",
    "OTHER": "for a reason that is not said",
    "IMAGE_OTHER": "the picture was stopped for a reason that is not said",
    "NO_IMAGE": "a picture was expected, and the model made none",
    "MODEL_ARMOR": "Model Armor blocked it",
    "JAILBREAK": "it was taken for an attempt to get around the rules",
    "ESCALATION": "a rule of escalation filtered it",
    "PUP_LIMITED_DISABLED": "this account is limited for what it asked for before",
}
"""Why a prompt is blocked (blockReason) or an answer ends (finishReason) without a picture."""


class Google:
    """Gemini and Imagen models."""

    jobs = False

    def __init__(self) -> None:
        self._http: httpx2.AsyncClient | None = None
        self._client: Client | None = None
        self._vertex = False

    async def __aenter__(self) -> Google:
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._client is not None and self._http is not None:
            self._client.close()
            await self._http.aclose()
            self._client = self._http = None

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        """Raises MissingExtra, MissingKey, NotAvailable (no credentials; Imagen without Vertex AI), InvalidRequest."""
        self._connect()
        for request in requests:
            self._settings(model, request)

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        """One picture; a model that writes beside it has its words in `text`."""
        client, given = self._connect(), self._settings(model, request)
        name, imagen = model.remote_id or model.name, _is_imagen(model)
        turns = [] if imagen else _turns(request)

        def send() -> Awaitable[object]:
            if imagen:
                return _predict(client, name, request.prompt, **given)
            return _generate(client, name, turns, response_modalities=["TEXT", "IMAGE"], **given)

        async def attempt() -> Picture:
            answer = await _ask(send)
            judge = _imagen_picture if imagen else _gemini_picture
            return await asyncio.to_thread(judge, model, request, answer)  # a large picture takes a while to decode

        return await retrying(attempt)

    async def write(self, model: Model, message: Message) -> Written:
        """What a Gemini model answers in words."""
        client = self._connect()
        parts = [_text(message.prompt), *(_picture(one.data, one.media_type) for one in message.pictures)]
        turns = [{"role": "user", "parts": parts}]
        given: dict[str, Any] = {"response_modalities": ["TEXT"]}  # an image model would make, and bill, a picture
        if message.instruction:
            given["system_instruction"] = message.instruction

        async def attempt() -> Written:
            answer = await _ask(lambda: _generate(client, model.remote_id or model.name, turns, **given))
            return _written(model, answer)

        return await retrying(attempt)

    def _settings(self, model: Model, request: Request) -> dict[str, Any]:
        """The request's settings under the names of the client's configuration."""
        if request.seed is not None and request.seed > LARGEST_SEED:
            raise InvalidRequest(f"seed is {request.seed}; {model.name} takes 0 to {LARGEST_SEED}.")
        if _is_imagen(model):
            return self._imagen_settings(model, request)
        only(model, request, "aspect_ratio", "image_size", "seed", "references", "follows")
        options = {**GEMINI_OPTIONS, **(IMAGE_OPTIONS if self._vertex else {})}
        named = _named(model, request, options, "" if self._vertex else f" ({', '.join(IMAGE_OPTIONS)}: on Vertex AI)")
        image = {"aspect_ratio": request.aspect_ratio, "image_size": request.image_size}
        image |= {name: named.pop(name) for name in IMAGE_OPTIONS.values() if name in named}
        return _given(image_config=_given(**image) or None, seed=request.seed, **named)

    def _imagen_settings(self, model: Model, request: Request) -> dict[str, Any]:
        if not self._vertex:
            raise NotAvailable(
                f"{model.name} is on Vertex AI alone: set GOOGLE_GENAI_USE_VERTEXAI=true and GOOGLE_CLOUD_PROJECT."
            )
        only(model, request, "negative", "aspect_ratio", "image_size", "guidance", "seed")
        return _given(
            negative_prompt=request.negative or None,
            aspect_ratio=request.aspect_ratio,
            image_size=request.image_size,
            guidance_scale=request.guidance,
            seed=request.seed,
            **_named(model, request, IMAGEN_OPTIONS),
        )

    def _connect(self) -> Client:
        if self._client is None:
            try:
                from google import genai
                from google.genai import types
            except ImportError as error:
                raise MissingExtra("Google's models", "google", "google-genai") from error
            access = _access()
            self._vertex, self._http = access.vertex, http_client()
            # A client of our own also keeps theirs from choosing aiohttp, where it repeats requests on its own.
            self._client = genai.Client(
                vertexai=access.vertex,
                api_key=access.key,
                credentials=access.credentials,
                project=access.project,
                location=access.location,
                http_options=types.HttpOptions(httpx_async_client=self._http),
            )
        return self._client


# Which service, and as whom


@dataclass(frozen=True)
class _Access:
    vertex: bool
    key: str | None = None
    credentials: Credentials | None = None
    project: str | None = None
    location: str | None = None


def _access() -> _Access:
    key, project = settings.find_key(NAME), os.environ.get("GOOGLE_CLOUD_PROJECT") or None
    # The client's newer name of the variable, and its older one.
    wanted = os.environ.get("GOOGLE_GENAI_USE_ENTERPRISE") or os.environ.get("GOOGLE_GENAI_USE_VERTEXAI")
    vertex = wanted.lower() in ("true", "1") if wanted else bool(project and not key)
    if not vertex:
        return _Access(vertex=False, key=settings.key(NAME))
    if key and not project:
        return _Access(vertex=True, key=key)
    credentials, found = _default_credentials()
    project = project or found
    if not project:
        raise NotAvailable("Vertex AI needs the name of a project: set GOOGLE_CLOUD_PROJECT.")
    location = os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    return _Access(vertex=True, credentials=credentials, project=project, location=location)


def _default_credentials() -> tuple[Credentials, str | None]:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        return google.auth.default(scopes=[SCOPE])
    except GoogleAuthError as error:
        raise NotAvailable(
            "Vertex AI needs credentials: call `gcloud auth application-default login`, or set "
            f"GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account. {shortened(str(error))}"
        ) from None


# The request


def _is_imagen(model: Model) -> bool:
    return (model.remote_id or model.name).rpartition("/")[2].startswith("imagen")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _named(model: Model, request: Request, names: Mapping[str, str], more: str = "") -> dict[str, Any]:
    for name, value in request.options.items():
        if name not in names:
            raise InvalidRequest(
                f"{name} is {value!r}, but {model.name} has no setting {name} that can be sent; "
                f"it has {', '.join(names)}{more}."
            )
    return {names[name]: value for name, value in request.options.items()}


def _turns(request: Request) -> list[dict[str, Any]]:
    """The conversation that leads to the picture asked for, oldest first."""
    turns = []
    if request.follows is not None:
        before = request.follows
        turns = _turns(before.request)
        parts = [{**_text(before.text), **_signature(before, "textThoughtSignature")}] if before.text else []
        parts.append({**_picture(before.data, before.media_type), **_signature(before, "thoughtSignature")})
        turns.append({"role": "model", "parts": parts})
    parts = [_text(request.prompt), *(_picture(one.data, one.media_type) for one in request.references)]
    return [*turns, {"role": "user", "parts": parts}]


def _text(text: str | None) -> dict[str, Any]:
    return {"text": text}


def _picture(data: bytes, media_type: str) -> dict[str, Any]:
    return {"inline_data": {"data": data, "mime_type": media_type}}


def _signature(picture: Picture, name: str) -> dict[str, bytes]:
    found = picture.state.get(name)
    try:
        return {"thought_signature": _decoded(found)} if found else {}
    except binascii.Error:
        raise InvalidRequest(f"The picture that is gone on from has a {name} that is no base64.") from None


def _generate(client: Client, name: str, turns: list[dict[str, Any]], **config: Any) -> Awaitable[object]:
    from google.genai import types

    return client.aio.models.generate_content(
        model=name,
        contents=turns,  # type: ignore[arg-type]  # dicts of the right shape
        config=types.GenerateContentConfig(
            should_return_http_response=True,
            automatic_continuation=False,  # it would send, and pay for, requests of its own
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            **config,
        ),
    )


def _predict(client: Client, name: str, prompt: str, **config: Any) -> Awaitable[object]:
    from google.genai import types

    with warnings.catch_warnings():  # it warns when it is called, before anything is awaited
        warnings.filterwarnings("ignore", "The generate_images method is deprecated")
        call: Awaitable[object] = client.aio.models.generate_images(
            model=name,
            prompt=prompt,
            config=types.GenerateImagesConfig(number_of_images=1, include_rai_reason=True, **config),
        )
    return call


async def _ask(send: Callable[[], Awaitable[object]]) -> Answer:
    from google.auth.exceptions import GoogleAuthError, TransportError

    async def authorized() -> None:
        try:
            await send()
        except GoogleAuthError as error:  # before the request was sent, by the client's own request for a token
            kind = Unreachable if isinstance(error, TransportError) else ProviderError
            raise kind(f"{NAME} gave no access token: {shortened(str(error))}", provider=NAME) from None

    answer = await ask(NAME, authorized)
    answer.stopwatch.stop()
    if not answer.good:
        raise _failure(answer)
    return answer


def _failure(answer: Answer) -> DiptychError:
    """The vendor says how long to wait in the body, not in a header."""
    headers = dict(answer.headers)
    try:
        details = at(answer.table(NAME), "error", "details")
    except ProviderError:  # an error in HTML
        details = None
    for detail in details if isinstance(details, list) else []:
        delay = at(detail, "retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            headers.setdefault("retry-after", delay[:-1])
    # This one comes with the status of too many requests, but no waiting mends it.
    depleted = "credits are depleted" in answer.words
    # A wrong key comes with the status of a malformed request.
    wrong = any(at(detail, "reason") == "API_KEY_INVALID" for detail in (details if isinstance(details, list) else []))
    kind = NoAccess if depleted or wrong else None
    return failure(NAME, answer.status, answer.words, headers=headers, kind=kind)


# The answer


def _gemini_picture(model: Model, request: Request, answer: Answer) -> Picture:
    value, parts = _parts(answer)
    usage, request_id = _usage(value), _request_id(value)
    texts: list[str] = []
    state: dict[str, str] = {}
    encoded = None
    for part in parts:
        signature = part.get("thoughtSignature")
        data = at(part, "inlineData", "data")
        if isinstance(data, str) and encoded is None:  # one was asked for; the first one is it
            encoded = data
            state |= {"thoughtSignature": signature} if isinstance(signature, str) else {}
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
            state |= {"textThoughtSignature": signature} if isinstance(signature, str) else {}
    text = "".join(texts).strip() or None
    if encoded is None:
        raise _no_answer(value, "picture", text)
    return finish(
        NAME, model, request, _bytes(encoded, request_id, usage), answer.stopwatch,
        cost=_cost(model, usage, request), usage=usage, text=text, request_id=request_id, state=state,
        client="google-genai",
    )  # fmt: skip


def _imagen_picture(model: Model, request: Request, answer: Answer) -> Picture:
    value = answer.table(NAME)
    prediction = at(value, "predictions", 0)
    encoded, reason = at(prediction, "bytesBase64Encoded"), at(prediction, "raiFilteredReason")
    if not isinstance(encoded, str):
        if isinstance(reason, str):
            raise Refused(f"{NAME} refused: {shortened(reason)}", provider=NAME, status=answer.status)
        raise bad(NAME, f"has no picture: {shortened(repr(value))}")
    rewritten = at(prediction, "prompt")
    return finish(
        NAME, model, request, _bytes(encoded, None, {}), answer.stopwatch,
        text=rewritten if isinstance(rewritten, str) and rewritten != request.prompt else None, client="google-genai",
    )  # fmt: skip


def _written(model: Model, answer: Answer) -> Written:
    value, parts = _parts(answer)
    usage = _usage(value)
    text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str)).strip()
    if not text or at(value, "candidates", 0, "finishReason") != "STOP":
        raise _no_answer(value, "text", text)
    return Written(
        text=text,
        model=model.name,
        seconds=answer.stopwatch.seconds(),
        cost=_cost(model, usage),
        usage=usage,
        request_id=_request_id(value),
    )


def _parts(answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The body, and the parts of what the model said; its thoughts are left out."""
    value = answer.table(NAME)
    parts = at(value, "candidates", 0, "content", "parts")
    return value, [
        part
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and not part.get("thought")
    ]


def _no_answer(value: dict[str, Any], wanted: str, text: str | None) -> ProviderError:
    """Why there is no picture (or text): a refusal where the vendor gives a reason for one."""
    usage, request_id = _usage(value), _request_id(value)
    block, end = at(value, "promptFeedback", "blockReason"), at(value, "candidates", 0, "finishReason")
    reason = block or end
    said = at(value, "promptFeedback", "blockReasonMessage") or at(value, "candidates", 0, "finishMessage") or text
    words = f" It says: {shortened(str(said))}" if said else ""
    if block or reason in REASONS:
        why = REASONS.get(reason, "for a reason of its own")
        ending = f" (request {request_id})" if request_id else ""
        what = "the prompt" if block else f"to answer with a {wanted}"
        return Refused(
            settings.redact(f"{NAME} refused {what}: {why} ({reason}).{words}{ending}"),
            provider=NAME, status=200, request_id=request_id, usage=usage,
        )  # fmt: skip
    if not said and not end:
        words = f" It is: {shortened(repr(value))}"
    why = f"ended with {end} and has no whole {wanted}." if end and end != "STOP" else f"has no {wanted}."
    return bad(NAME, why + words, request_id=request_id, usage=usage)


def _usage(value: dict[str, Any]) -> dict[str, Any]:
    usage = value.get("usageMetadata")
    return usage if isinstance(usage, dict) else {}


def _request_id(value: dict[str, Any]) -> str | None:
    found = value.get("responseId")
    return found if isinstance(found, str) else None


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4))


def _bytes(encoded: str, request_id: str | None, usage: Mapping[str, Any]) -> bytes:
    try:
        return _decoded(encoded)
    except binascii.Error:
        raise bad(NAME, "holds a picture that is no base64", request_id=request_id, usage=usage) from None


def _cost(model: Model, usage: Mapping[str, Any], request: Request | None = None) -> Cost | None:
    tokens = _tokens(usage, picture=request is not None)
    return None if tokens is None else model.cost_of_usage(tokens, request)


def _tokens(usage: Mapping[str, Any], *, picture: bool) -> TokenUsage | None:
    """By kind; None where nothing was counted. What is thought is billed as text that is written.

    Without details, tokens that go in are taken as text, and those of an answer with a picture as the picture's.
    """
    given = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    made = _count(usage, "candidatesTokenCount")
    if not given + made:
        return None
    image_in, image_out = _images(usage, "promptTokensDetails"), _images(usage, "candidatesTokensDetails")
    if picture and not usage.get("candidatesTokensDetails"):
        image_out = made
    return TokenUsage(
        text_in=max(0, given - image_in),
        image_in=image_in,
        text_out=max(0, made - image_out) + _count(usage, "thoughtsTokenCount"),
        image_out=image_out,
    )


def _images(usage: Mapping[str, Any], details: str) -> int:
    found = usage.get(details)
    return sum(
        _count(one, "tokenCount")
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict) and one.get("modality") == "IMAGE"
    )


def _count(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name)
    return value if isinstance(value, int) and value > 0 else 0
