"""Models at fal, by the protocol of its queue (fal.ai/docs/api-reference/inference-api): submit, poll, fetch.

    POST queue.fal.run/{model}    answers with request_id, status_url and response_url
    GET  status_url               IN_QUEUE, IN_PROGRESS, COMPLETED
    GET  response_url             the result, with links to its pictures, or an error's status
    GET  images[0].url            no key

FAL_QUEUE_RUN_HOST asks another host, as it does for fal's own client, or another address where it begins with http.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx

from diptych import settings
from diptych.errors import ProviderError, Refused
from diptych.images import Input, Picture, Request
from diptych.providers import jobs
from diptych.providers.calling import Stopwatch, failure, finish, only, retrying, shortened
from diptych.providers.connection import Answer, at, bad
from diptych.providers.links import DOWNLOAD, checked, fetch, good, http_client, send
from diptych.settings import redact

if TYPE_CHECKING:
    from diptych.catalogue import Model
    from diptych.providers import Watch

NAME = "fal"
BASE_VARIABLE = "FAL_QUEUE_RUN_HOST"
BASE = "https://queue.fal.run"
HOSTS = ("fal.run", "*.fal.run")
"""Of the job. The key goes there."""
PICTURE_HOSTS = (*HOSTS, "fal.media", "*.fal.media")
REFUSAL = "content_policy_violation"
"""Among the types of errors of the result (fal.ai/docs/errors)."""
OF_THE_JOB = ("runner_", "startup_timeout", "request_timeout")
"""How the types of errors begin that say that the job failed; the others are about our asking for it."""


class Fal:
    """Models of fal's queue. The handle is JSON: request_id, status_url, response_url, submitted (since 1970)."""

    jobs = True

    def __init__(self) -> None:
        self.polling, self.downloading = jobs.POLLING, DOWNLOAD
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Fal:
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        """Raises MissingKey, NotAvailable (FAL_QUEUE_RUN_HOST is no address), InvalidRequest."""
        settings.key(NAME)
        _base()
        for request in requests:
            _check(model, request)

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        """One picture. fal repeats on its own what failed at its own side, and bills one that came about."""
        client = self._client = self._client or http_client()
        headers, base = {"authorization": f"Key {settings.key(NAME)}"}, _base()
        own = base if os.environ.get(BASE_VARIABLE) else None
        if watch is not None and watch.handle is not None:
            job = jobs.read_handle(
                NAME, watch.handle, request_id=str, status_url=str, response_url=str, submitted=float
            )
            stopwatch = jobs.started(job["submitted"])
        else:
            _check(model, request)
            job, stopwatch = await _submit(client, f"{base}/{model.remote_id}", headers, _body(request))
            if watch is not None:
                await watch.accepted(json.dumps(job))
        identity = job["request_id"]
        status_url, response_url = (
            checked(NAME, job[name], HOSTS, base=own) for name in ("status_url", "response_url")
        )
        done = False

        async def ask() -> dict[str, Any] | None:
            nonlocal done
            if not done:
                answer = await send(NAME, client, "GET", status_url, headers=headers)
                status = good(NAME, answer, identity).table(NAME, identity)
                if status.get("status") in ("IN_QUEUE", "IN_PROGRESS"):
                    return None
                if status.get("status") != "COMPLETED":
                    raise bad(NAME, f"has the status {shortened(str(status.get('status')))!r}", request_id=identity)
                if status.get("error"):
                    raise _failed(status, identity)
                done = True
            answer = await send(NAME, client, "GET", response_url, headers=headers)
            if answer.status == 422 or answer.headers.get("x-fal-error-type", "").startswith(OF_THE_JOB):
                raise _unmade(answer, identity)
            return good(NAME, answer, identity).table(NAME, identity)

        made = await jobs.result(NAME, ask, self.polling, identity)
        stopwatch.byte()
        if at(made, "has_nsfw_concepts", 0) is True and request.options.get("enable_safety_checker") is not False:
            raise Refused(  # what comes is black; without the checker it is a picture like any other
                f"{NAME} flagged the picture (has_nsfw_concepts) and answered with a black one (request {identity})",
                provider=NAME,
                request_id=identity,
            )
        link = at(made, "images", 0, "url") or at(made, "image", "url")
        if link is None:
            raise bad(NAME, f"has no picture: {shortened(json.dumps(made))}", request_id=identity)
        data = await fetch(
            NAME, client, link, PICTURE_HOSTS, stopwatch, base=own, pace=self.downloading, request_id=identity
        )
        usage = {name: made[name] for name in ("timings", "seed") if made.get(name) is not None}
        return finish(NAME, model, request, data, stopwatch, usage=usage, request_id=identity)


def _base() -> str:
    given = os.environ.get(BASE_VARIABLE, "")
    return jobs.base_url(BASE_VARIABLE, given if not given or "://" in given else f"https://{given}", BASE)


def _check(model: Model, request: Request) -> None:
    only(model, request, "size", "aspect_ratio", "steps", "guidance", "negative", "seed", "references", "mask")
    jobs.one_picture(request, "num_images")


def _body(request: Request) -> dict[str, Any]:
    links = [_data_uri(one) for one in request.references]
    body: dict[str, Any] = {
        "prompt": request.prompt,
        "image_size": {"width": request.width, "height": request.height} if request.width is not None else None,
        "aspect_ratio": request.aspect_ratio,
        "seed": request.seed,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance,
        "negative_prompt": request.negative or None,
        # Models that edit take either one or a list, and pass over the other: huggingface_hub sends both, too.
        "image_url": links[0] if links else None,
        "image_urls": links or None,
        "mask_url": _data_uri(request.mask) if request.mask is not None else None,
    }
    return {**request.options, **{name: value for name, value in body.items() if value is not None}}


def _data_uri(picture: Input) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode()}"


async def _submit(
    client: httpx.AsyncClient, url: str, headers: dict[str, str], body: dict[str, Any]
) -> tuple[dict[str, Any], Stopwatch]:
    async def attempt() -> tuple[dict[str, Any], Stopwatch]:
        submitted, stopwatch = time.time(), Stopwatch()
        answer = await send(NAME, client, "POST", url, headers=headers, json=body)
        queued = good(NAME, answer, answer.headers.get("x-fal-request-id")).table(NAME)
        job = {name: queued.get(name) for name in ("request_id", "status_url", "response_url")}
        if not all(isinstance(value, str) for value in job.values()):
            raise bad(NAME, f"has no request_id, status_url and response_url: {shortened(json.dumps(queued))}")
        return {**job, "submitted": submitted}, stopwatch

    return await retrying(attempt)


def _failed(status: dict[str, Any], identity: str) -> ProviderError:
    said = redact(shortened(f"{status.get('error_type') or 'failed'}: {status['error']}"))
    return jobs.possibly_charged(
        ProviderError(f"{NAME} says {said} (request {identity})", provider=NAME, request_id=identity)
    )


def _unmade(answer: Answer, identity: str) -> ProviderError:
    """The error for a result that is none: the content is against a rule, a setting is wrong, or the runner failed."""
    kind = Refused if REFUSAL in answer.body.decode("utf-8", "replace") else ProviderError
    said = failure(NAME, answer.status, answer.words, request_id=identity, kind=kind)
    error = kind(str(said), provider=NAME, request_id=identity)  # no status: it is of the job, not of our asking for it
    # docs.fal.ai/model-apis/model-endpoints/reliability: "Failed requests that return 5xx status codes are not billed."
    return error if answer.status >= 500 else jobs.possibly_charged(error)
