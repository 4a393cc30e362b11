"""OpenAI's images with OpenAI's own client, and every server that speaks the same protocol: OPENAI_BASE_URL.

OPENAI_API_KEY, or a stored key; a server at another address may need none
OPENAI_ORG_ID, OPENAI_PROJECT_ID        read by the client
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from diptych import settings
from diptych.catalogue import TokenUsage
from diptych.errors import BadAnswer, MissingExtra, NoAccess, ProviderError, Refused, Unanswered
from diptych.images import SUFFIXES, Input, Picture, Request
from diptych.providers import Message, Watch, Written
from diptych.providers.calling import Stopwatch, failure, finish, only, retrying, shortened
from diptych.providers.connection import ANSWER_WITHIN, EVENTS, Answer, ask, at, bad, http_client

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

    from diptych.catalogue import Model

NAME = "openai"
PARTIALS = 1
"""Pictures on the way where somebody watches and the request does not say how many: each is billed, as 100 tokens."""
REFUSALS = ("moderation_blocked", "content_policy_violation", "content_filter")
NO_KEY = "none"
"""Sent where a server at another address needs no key."""


class OpenAI:
    """GPT Image models, and pictures of compatible servers."""

    jobs = False

    def __init__(self) -> None:
        self._http: httpx2.AsyncClient | None = None
        self._client: AsyncOpenAI | None = None

    async def __aenter__(self) -> OpenAI:
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._client = self._http = None

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        """Raises MissingExtra, MissingKey, InvalidRequest."""
        self._connect()
        for request in requests:
            _check(model, request)

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        """One picture; with references it is an edit. With `watch.partial`, or the option partial_images, it is
        streamed."""
        _check(model, request)
        client, given = self._connect(), _settings(model, request, watch)

        async def attempt() -> tuple[Answer, dict[str, Any]]:
            events = _Events(watch)

            async def send() -> None:
                images = client.images.with_raw_response
                if request.references:
                    files = _files(request)
                    raw = await images.edit(prompt=request.prompt, model=model.remote_id, **files, **given)
                else:
                    raw = await images.generate(prompt=request.prompt, model=model.remote_id, **given)
                if given.get("stream"):
                    await events.read(raw)

            answer = await _ask(send)
            return answer, events.last if events.last is not None else answer.table(NAME, _request_id(answer))

        return await self._picture(model, request, *await retrying(attempt))

    async def write(self, model: Model, message: Message) -> Written:
        """What a model answers in words, by the chat completions that every compatible server has."""
        client = self._connect()
        content: list[dict[str, Any]] = [{"type": "text", "text": message.prompt}]
        content += [{"type": "image_url", "image_url": {"url": _data_uri(one)}} for one in message.pictures]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if message.instruction:
            messages.insert(0, {"role": "system", "content": message.instruction})

        async def attempt() -> Written:
            completions = client.chat.completions.with_raw_response
            answer = await _ask(
                lambda: completions.create(model=model.remote_id or model.name, messages=cast("Any", messages))
            )
            return _written(model, answer)

        return await retrying(attempt)

    async def _picture(self, model: Model, request: Request, answer: Answer, value: dict[str, Any]) -> Picture:
        """value: the whole answer, or the event that holds the picture."""
        request_id, usage = _request_id(answer), _usage(value)
        made = at(value, "data", 0) if "data" in value else value
        encoded, url, rewritten = at(made, "b64_json"), at(made, "url"), at(made, "revised_prompt")
        if isinstance(encoded, str):
            answer.stopwatch.stop()
            data = _decoded(encoded, request_id, usage)
        elif isinstance(url, str):
            data = await self._linked(url, answer.stopwatch, request_id)
        else:
            raise bad(NAME, f"has no picture: {shortened(repr(value))}", request_id=request_id, usage=usage)
        tokens = _tokens(usage)
        return await asyncio.to_thread(  # a large picture takes a while to decode
            finish, NAME, model, request, data, answer.stopwatch,
            cost=None if tokens is None else model.cost_of_usage(tokens, request), usage=usage,
            text=rewritten if isinstance(rewritten, str) else None, request_id=request_id, client="openai",
        )  # fmt: skip

    async def _linked(self, url: str, stopwatch: Stopwatch, request_id: str | None) -> bytes:
        """A picture that a compatible server links to: by TLS anywhere, else on its own host. No key goes there."""
        from diptych.providers import links

        base = str(self._connect().base_url)
        try:
            hosts = [urlsplit(url).hostname or ""]
        except ValueError:
            hosts = []
        async with links.http_client() as client:
            return await links.fetch(NAME, client, url, hosts, stopwatch, base=base, request_id=request_id)

    def _connect(self) -> AsyncOpenAI:
        if self._client is None:
            try:
                from openai import AsyncOpenAI
            except ImportError as error:
                raise MissingExtra("OpenAI's models", "openai", "openai") from error
            elsewhere = os.environ.get("OPENAI_BASE_URL", "").strip()
            key = settings.find_key(NAME) or (NO_KEY if elsewhere else settings.key(NAME))
            self._http = http_client()
            self._client = AsyncOpenAI(api_key=key, max_retries=0, timeout=ANSWER_WITHIN, http_client=self._http)
        return self._client


# The request


def _check(model: Model, request: Request) -> None:
    only(model, request, "size", "quality", "seed", "references", "mask")


def _settings(model: Model, request: Request, watch: Watch | None) -> dict[str, Any]:
    """Settings as the client takes them. Options go as they are, under the names of the protocol or of the server."""
    options = dict(request.options)
    watched = watch is not None and type(watch).partial is not Watch.partial
    if watched and model.settings is not None and "partial_images" in model.settings.options:
        options.setdefault("partial_images", PARTIALS)
    if request.seed is not None:  # not OpenAI's, but some servers have it
        options["seed"] = request.seed
    given: dict[str, Any] = {"extra_body": options}
    if request.width is not None:
        given["size"] = f"{request.width}x{request.height}"
    if request.quality is not None:
        given["quality"] = request.quality
    if options.get("partial_images"):
        given["stream"] = True
    return given


def _files(request: Request) -> dict[str, Any]:
    files = [_file(f"picture-{index}", one) for index, one in enumerate(request.references, 1)]
    found: dict[str, Any] = {"image": files if len(files) > 1 else files[0]}
    if request.mask is not None:
        found["mask"] = _file("mask", request.mask)
    return found


def _file(name: str, picture: Input) -> tuple[str, bytes, str]:
    return name + SUFFIXES[picture.media_type], picture.data, picture.media_type


def _data_uri(picture: Input) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode()}"


async def _ask(send: Callable[[], Awaitable[object]]) -> Answer:
    answer = await ask(NAME, send)
    if not answer.good:
        raise _failure(answer)
    return answer


def _failure(answer: Answer) -> ProviderError:
    request_id = _request_id(answer)
    try:
        code = at(answer.table(NAME), "error", "code")
    except BadAnswer:  # an error in HTML
        code = None
    kind: type[ProviderError] | None = None
    if code in REFUSALS:
        kind = Refused
    elif code == "insufficient_quota":  # a 429 that no waiting mends
        kind = NoAccess
    return failure(NAME, answer.status, answer.words, headers=answer.headers, request_id=request_id, kind=kind)


# The answer


class _Events:
    """A stream of partial pictures and the last one."""

    def __init__(self, watch: Watch | None) -> None:
        self.watch = watch
        self.last: dict[str, Any] | None = None

    async def read(self, raw: Any) -> None:
        """raw: the client's answer to a request with stream=True. A server may still answer without a stream."""
        import openai

        if not raw.headers.get("content-type", "").startswith(EVENTS):
            return
        request_id = raw.headers.get("x-request-id")
        try:
            async with raw.parse() as stream:
                async for event in stream:
                    self._take(event.to_dict() if isinstance(event, openai.BaseModel) else event, request_id)
        except openai.APIConnectionError:
            raise  # the connection broke: `network` says what that means
        except openai.APIError as error:  # told of by an event
            raise _broken_off(error.message, error.body, request_id) from None
        except ValueError:
            raise bad(NAME, "is a stream with events that are no JSON", request_id=request_id) from None
        if self.last is None:
            raise _broken_off("the stream ended without a picture", None, request_id)

    def _take(self, event: Any, request_id: str | None) -> None:
        kind, encoded = str(at(event, "type")), at(event, "b64_json")
        if kind.endswith(".completed"):
            self.last = self.last or event
        elif kind.endswith(".partial_image") and isinstance(encoded, str) and self.watch is not None:
            self.watch.partial(_decoded(encoded, request_id, {}))


def _broken_off(said: str, body: object, request_id: str | None) -> ProviderError:
    ending = f" (request {request_id})" if request_id else ""
    words = shortened(said)
    if at(body, "code") in REFUSALS:
        return Refused(f"{NAME} refused: {words}{ending}", provider=NAME, request_id=request_id)
    return Unanswered(
        f"{NAME} broke off: {words}; the request was taken, so it may have been charged{ending}",
        provider=NAME,
        request_id=request_id,
    )


def _written(model: Model, answer: Answer) -> Written:
    request_id = _request_id(answer)
    value = answer.table(NAME, request_id)
    usage = _usage(value)
    choice = at(value, "choices", 0)
    text, refusal, end = at(choice, "message", "content"), at(choice, "message", "refusal"), at(choice, "finish_reason")
    if refusal or end == "content_filter":
        why = shortened(str(refusal or "the content filter stopped the answer"))
        ending = f" (request {request_id})" if request_id else ""
        raise Refused(
            f"{NAME} refused: {why}{ending}", provider=NAME, status=answer.status, request_id=request_id, usage=usage
        )
    if not isinstance(text, str) or not text.strip() or end == "length":
        what = "ends before its end, at the most tokens that the model writes" if end == "length" else "has no text"
        raise bad(NAME, f"{what}: {shortened(str(text or value))}", request_id=request_id, usage=usage)
    tokens = _tokens(usage)
    return Written(
        text=text.strip(),
        model=model.name,
        seconds=answer.stopwatch.seconds(),
        cost=None if tokens is None else model.cost_of_usage(tokens),
        usage=usage,
        request_id=request_id,
    )


def _request_id(answer: Answer) -> str | None:
    return answer.headers.get("x-request-id")


def _usage(value: dict[str, Any]) -> dict[str, Any]:
    usage = value.get("usage")
    return usage if isinstance(usage, dict) else {}


def _decoded(encoded: str, request_id: str | None, usage: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(encoded.rpartition(",")[2])  # some servers write a data URI
    except (binascii.Error, ValueError):
        raise bad(NAME, "holds a picture that is no base64", request_id=request_id, usage=usage) from None


def _tokens(usage: Mapping[str, Any]) -> TokenUsage | None:
    """By kind, of pictures (input_tokens, output_tokens) and of text (prompt_tokens, completion_tokens)."""
    given, made = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if given + made:
        image_in = _count(at(usage, "input_tokens_details"), "image_tokens")
        text_out = _count(at(usage, "output_tokens_details"), "text_tokens")
        return TokenUsage(
            text_in=max(0, given - image_in), image_in=image_in, text_out=text_out, image_out=max(0, made - text_out)
        )
    given, made = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return TokenUsage(text_in=given, text_out=made) if given + made else None


def _count(table: Any, name: str) -> int:
    value = at(table, name)
    return value if isinstance(value, int) and value > 0 else 0
