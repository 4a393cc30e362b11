"""Models at Replicate with the vendor's own client: official ones as owner/name, others as owner/name:version.

REPLICATE_BASE_URL asks another address. The client would repeat requests on its own, without saying so, and wait for
as long as it is told; it is given a transport that bypasses that.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import io
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx

from diptych import settings
from diptych.errors import InvalidRequest, MissingExtra, NotAvailable, ProviderError, Refused, Unanswered
from diptych.images import SUFFIXES, Input, Picture, Request
from diptych.providers import jobs
from diptych.providers.calling import Stopwatch, finish, network, only, retrying, shortened, whole
from diptych.providers.connection import Answer, at, bad
from diptych.providers.links import ANSWER_WITHIN, CONNECT_WITHIN, DOWNLOAD, fetch, good, http_client
from diptych.settings import redact

if TYPE_CHECKING:
    from replicate.client import Client

    from diptych.catalogue import Model
    from diptych.providers import Watch

NAME = "replicate"
BASE_VARIABLE = "REPLICATE_BASE_URL"
BASE = "https://api.replicate.com"
HOSTS = ("replicate.delivery", "*.replicate.delivery", "replicate.com")
"""Of outputs."""
LARGEST_DATA_URI = 2**20
"""Bytes of a picture that is sent inside the request; replicate.com/docs/topics/predictions/input-files says 1 MB."""
REFERENCES = {"black-forest-labs/flux-2-": "input_images", "black-forest-labs/flux-kontext-": "input_image"}
"""Under which input models take pictures, by how their names begin. Every model has a form of its own."""
REFERENCES_OPTION = "references_as"
NOT_SAFE = re.compile(r"nsfw|unsafe|flagged|sensitive|moderat|prohibited|content (policy|violation)", re.IGNORECASE)


class Replicate:
    """Predictions. The handle of a job is JSON: id, submitted (since 1970)."""

    jobs = True

    def __init__(self) -> None:
        self.polling, self.downloading = jobs.POLLING, DOWNLOAD
        self._client: Client | None = None
        self._wire: _Wire | None = None
        self._plain: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Replicate:
        return self

    async def __aexit__(self, *failure: object) -> None:
        for one in (self._wire, self._plain):
            if one is not None:
                await one.aclose()
        self._client = self._wire = self._plain = None

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        """Raises MissingExtra, MissingKey, NotAvailable (no id or no address, in form), InvalidRequest."""
        self._connect()
        _which(model)
        for request in requests:
            _input(model, request, [""] * len(request.references))

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        """One picture; where a model gives several, the first."""
        client = self._connect()
        if watch is not None and watch.handle is not None:
            job = jobs.read_handle(NAME, watch.handle, id=str, submitted=float)
            stopwatch = jobs.started(job["submitted"])
        else:
            job, stopwatch = await _submit(client, model, request)
            if watch is not None:
                await watch.accepted(json.dumps(job))
        identity = job["id"]

        async def ask() -> dict[str, Any] | None:
            answer = await _ask(lambda: client.predictions.async_get(identity))
            prediction = good(NAME, answer, identity).table(NAME, identity)
            if prediction.get("status") in ("starting", "processing"):
                return None
            if prediction.get("status") in ("failed", "canceled", "aborted"):
                raise _ended(prediction, identity)
            if prediction.get("status") != "succeeded":
                raise bad(NAME, f"has the status {shortened(str(prediction.get('status')))!r}", request_id=identity)
            return prediction

        made = await jobs.result(NAME, ask, self.polling, identity)
        created, began, end = (_seconds(made.get(name)) for name in ("created_at", "started_at", "completed_at"))
        if watch is not None and watch.handle is not None:
            jobs.ended(stopwatch, job["submitted"], end)
        stopwatch.byte()
        if created is not None and began is not None and began >= created:
            stopwatch.queued = began - created
        self._plain = self._plain or http_client()
        data = await fetch(
            NAME,
            self._plain,
            _output(made, identity),
            HOSTS,
            stopwatch,
            base=_own_base(),
            pace=self.downloading,
            request_id=identity,
        )
        metrics = made.get("metrics")
        usage = metrics if isinstance(metrics, dict) else {}
        return finish(NAME, model, request, data, stopwatch, usage=usage, request_id=identity, client=NAME)

    def _connect(self) -> Client:
        if self._client is None:
            try:
                from replicate.client import Client
            except ImportError as error:
                raise MissingExtra("Models at Replicate", "replicate", "replicate") from error
            self._wire = _Wire()
            self._client = Client(
                api_token=settings.key(NAME),
                base_url=jobs.base_url(BASE_VARIABLE, _own_base() or "", BASE),
                headers={"accept-encoding": "identity"},
                transport=self._wire,
                mounts={"all://": self._wire},  # which goes before the client's own transport, that repeats requests
            )
        return self._client


def _own_base() -> str | None:
    return os.environ.get(BASE_VARIABLE) or None


# The request


def _which(model: Model) -> dict[str, str]:
    """How the client is told which model it is."""
    name, _, version = (model.remote_id or "").partition(":")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or (version and not re.fullmatch(r"\w+", version)):
        raise NotAvailable(
            f"{model.name} has the id {model.remote_id!r}; at Replicate it is owner/name or owner/name:version."
        )
    return {"version": version} if version else {"model": name}


def _input(model: Model, request: Request, references: Sequence[str]) -> dict[str, Any]:
    only(model, request, "size", "aspect_ratio", "steps", "guidance", "negative", "seed", "references")
    jobs.one_picture(request, "num_outputs")
    values: dict[str, Any] = {
        "prompt": request.prompt,
        "width": request.width,
        "height": request.height,
        "aspect_ratio": request.aspect_ratio,
        "seed": request.seed,
        "num_inference_steps": request.steps,
        "guidance": request.guidance,
        "negative_prompt": request.negative or None,
    }
    options = {name: value for name, value in request.options.items() if name != REFERENCES_OPTION}
    given = {name: value for name, value in values.items() if value is not None}
    return {**options, **given, **_references(model, request, references)}


def _references(model: Model, request: Request, links: Sequence[str]) -> dict[str, Any]:
    if not links:
        return {}
    known = (name for begins, name in REFERENCES.items() if (model.remote_id or "").startswith(begins))
    name = request.options.get(REFERENCES_OPTION) or next(known, None)
    if not isinstance(name, str):
        raise InvalidRequest(
            f"{len(links)} references are given, but it is not known under which input {model.name} takes them: "
            f"set the option {REFERENCES_OPTION}, as in {REFERENCES_OPTION}=input_image."
        )
    if name.endswith("s"):
        return {name: list(links)}
    if len(links) > 1:
        raise InvalidRequest(f"{len(links)} references are given; {model.name} takes one, as {name}.")
    return {name: links[0]}


async def _submit(client: Client, model: Model, request: Request) -> tuple[dict[str, Any], Stopwatch]:
    which = _which(model)
    _input(model, request, [""] * len(request.references))  # refuse before anything is uploaded
    links = [await _link(client, one) for one in request.references]
    values = _input(model, request, links)

    async def attempt() -> tuple[dict[str, Any], Stopwatch]:
        submitted, stopwatch = time.time(), Stopwatch()
        answer = await _ask(lambda: client.predictions.async_create(**which, input=values))  # type: ignore[call-overload]
        prediction = good(NAME, answer).table(NAME)
        identity = prediction.get("id")
        if not isinstance(identity, str) or not re.fullmatch(r"\w+", identity):
            raise bad(NAME, f"has no id of a prediction: {shortened(json.dumps(prediction))}")
        return {"id": identity, "submitted": submitted}, stopwatch

    return await retrying(attempt)


async def _link(client: Client, reference: Input) -> str:
    """A picture as a link: to itself when it is small, else to where it is uploaded."""
    if len(reference.data) <= LARGEST_DATA_URI:
        return f"data:{reference.media_type};base64,{base64.b64encode(reference.data).decode()}"
    media_type = reference.media_type

    async def attempt() -> str:
        answer = await _ask(
            lambda: client.files.async_create(
                io.BytesIO(reference.data), filename=f"reference{SUFFIXES[media_type]}", content_type=media_type
            )
        )
        link = at(good(NAME, answer).table(NAME), "urls", "get")
        if not isinstance(link, str):
            raise ProviderError(f"{NAME} took a reference and gave no link to it", provider=NAME)
        return link

    return await retrying(attempt)


# The answer


def _ended(prediction: dict[str, Any], identity: str) -> ProviderError:
    """The error for a prediction that is over without a picture."""
    status, said = prediction.get("status"), redact(shortened(str(prediction.get("error") or "")))
    message = f"{NAME} says {status!r}{f': {said}' if said else ''} (request {identity})"
    if NOT_SAFE.search(said):
        return Refused(message, provider=NAME, request_id=identity)
    error = ProviderError(message, provider=NAME, request_id=identity)
    # replicate.com/docs/topics/predictions/lifecycle: aborted is "before it could start running", so nothing ran.
    return error if status == "aborted" else jobs.possibly_charged(error)


def _output(prediction: dict[str, Any], identity: str) -> str:
    output = prediction.get("output")
    link = output[0] if isinstance(output, list) and output else output
    if not isinstance(link, str):
        removed = "; outputs are deleted after an hour" if output is None else ""
        error = ProviderError(
            f"{NAME} made the picture, but gives no link to it{removed} (request {identity})",
            provider=NAME,
            request_id=identity,
        )
        error.charged = True
        raise error
    return link


def _seconds(date: object) -> float | None:
    try:
        return dt.datetime.fromisoformat(date).timestamp() if isinstance(date, str) else None
    except ValueError:
        return None


# The wire

_answers: ContextVar[list[Answer]] = ContextVar("_answers")
"""What came back in this task: the client keeps neither headers nor what it could not parse."""


async def _ask(call: Callable[[], Awaitable[object]]) -> Answer:
    """Run `call`, a method of the client; return what came back, which is judged here and not by the client."""
    answers: list[Answer] = []
    token = _answers.set(answers)
    limit = asyncio.timeout(ANSWER_WITHIN)
    try:
        async with limit:
            with network(NAME):
                await call()
    except TimeoutError:
        if not limit.expired():
            raise
        raise Unanswered(
            f"{NAME} did not answer within {ANSWER_WITHIN:g} s; the request was sent, so it may have been charged",
            provider=NAME,
        ) from None
    except ProviderError:
        raise
    except Exception:
        if not answers:  # nothing came: a fault in the client, or in how it is called
            raise
    finally:
        _answers.reset(token)
    return answers[-1]


class _Wire(httpx.AsyncHTTPTransport):
    """Reads every answer whole, up to a limit, and keeps it for `_ask`."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["timeout"] = {"connect": CONNECT_WITHIN, "read": None, "write": None, "pool": None}
        stopwatch = Stopwatch()
        response = await super().handle_async_request(request)
        try:
            stopwatch.byte()
            body = await whole(NAME, response.aiter_raw())
        finally:
            await response.aclose()
        _answers.get().append(Answer(response.status_code, response.headers, body, stopwatch))
        return httpx.Response(response.status_code, headers=response.headers, content=body)
