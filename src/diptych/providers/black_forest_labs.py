"""Black Forest Labs' own service, by its documented protocol (docs.bfl.ai): submit, poll, fetch.

    POST api.bfl.ai/v1/{model}      x-key; answers with id, polling_url, and the cost in credits
    GET  polling_url                x-key; Pending, Ready, Error, Request Moderated, Content Moderated, Task not found
    GET  result.sample              no key; the link expires after ten minutes

The option `region` (eu, us) asks the servers there; the environment variable BFL_BASE_URL asks another address, as a
gateway's, in every region's place.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx

from diptych import settings
from diptych.errors import BadAnswer, BadPicture, InvalidRequest, ProviderError, Refused
from diptych.images import Cost, Picture, Request, inspect_picture
from diptych.providers import jobs
from diptych.providers.calling import Stopwatch, finish, only, retrying, shortened
from diptych.providers.connection import Answer, at, bad
from diptych.providers.links import DOWNLOAD, checked, fetch, good, http_client, send
from diptych.settings import redact

if TYPE_CHECKING:
    from diptych.catalogue import Model
    from diptych.providers import Watch

NAME = "black_forest_labs"
BASE_VARIABLE = "BFL_BASE_URL"
BASE = "https://api.bfl.ai"
REGIONS = ("eu", "us")
HOSTS = ("bfl.ai", "*.bfl.ai")
"""Of `polling_url`. The key goes there."""
DELIVERY_HOSTS = (*HOSTS, "*.blob.core.windows.net")
"""Of `sample`: BFL delivers from its own hosts and from Azure's storage (bfldeliverysc.blob.core.windows.net)."""
DOLLARS_PER_CREDIT = 0.01
MODERATED = ("Request Moderated", "Content Moderated")
ENDED = (*MODERATED, "Error", "Task not found")
LOST_WITHIN = 5.0
"""Seconds after which a task that BFL does not know is taken as lost: its servers may not all know it at once."""


class BlackForestLabs:
    """FLUX models. The handle of a job is JSON: id, polling_url, cost, input_mp, output_mp, submitted (since 1970)."""

    jobs = True

    def __init__(self) -> None:
        self.polling, self.downloading = jobs.POLLING, DOWNLOAD
        self.lost_within = LOST_WITHIN
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> BlackForestLabs:
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        """Raises MissingKey, NotAvailable (BFL_BASE_URL is no address), InvalidRequest."""
        settings.key(NAME)
        for request in requests:
            _base(request)
            _check(model, request)

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        """One picture, at the cost that BFL states for it."""
        client = self._client = self._client or http_client()
        headers = {"x-key": settings.key(NAME)}
        own = os.environ.get(BASE_VARIABLE) or None
        if watch is not None and watch.handle is not None:
            job = jobs.read_handle(NAME, watch.handle, id=str, polling_url=str, submitted=float)
            stopwatch = jobs.started(job["submitted"])
        else:
            _check(model, request)
            url = f"{_base(request)}/v1/{model.remote_id}"
            job, stopwatch = await _submit(client, url, headers, _body(request))
            if watch is not None:
                await watch.accepted(json.dumps(job))
        address = checked(NAME, job["polling_url"], HOSTS, base=own)
        identity, shown = job["id"], ""

        async def ask() -> dict[str, Any] | None:
            nonlocal shown
            answer = _task(await send(NAME, client, "GET", address, headers=headers), identity)
            status = answer.get("status")
            if status == "Pending":
                preview = _preview(answer.get("preview"))
                if preview is not None and watch is not None and preview[0] != shown:
                    shown = preview[0]
                    watch.partial(preview[1])
                return None
            if status == "Task not found" and time.time() - job["submitted"] < self.lost_within:
                return None
            if status in ENDED:
                raise _ended(status, answer.get("details"), identity)
            if status != "Ready":
                raise bad(NAME, f"has the status {shortened(str(status))!r}", request_id=identity)
            return answer

        found = await jobs.result(NAME, ask, self.polling, identity)
        made = found.get("result")
        start, end = at(made, "start_time"), at(made, "end_time")
        if watch is not None and watch.handle is not None:
            jobs.ended(stopwatch, job["submitted"], end)
        stopwatch.byte()
        if isinstance(start, int | float) and 0 <= start - job["submitted"] <= stopwatch.seconds():
            stopwatch.queued = start - job["submitted"]
        data = await fetch(
            NAME,
            client,
            at(made, "sample"),
            DELIVERY_HOSTS,
            stopwatch,
            base=own,
            pace=self.downloading,
            request_id=identity,
        )
        usage = {name: job[name] for name in ("cost", "input_mp", "output_mp") if job.get(name) is not None}
        usage |= {name: at(made, name) for name in ("seed", "duration") if at(made, name) is not None}
        return finish(
            NAME, model, request, data, stopwatch, cost=_cost(job.get("cost")), usage=usage, request_id=identity
        )


async def _submit(
    client: httpx.AsyncClient, url: str, headers: dict[str, str], body: dict[str, Any]
) -> tuple[dict[str, Any], Stopwatch]:
    async def attempt() -> tuple[dict[str, Any], Stopwatch]:
        submitted, stopwatch = time.time(), Stopwatch()
        task = good(NAME, await send(NAME, client, "POST", url, headers=headers, json=body)).table(NAME)
        job = {name: task.get(name) for name in ("id", "polling_url", "cost", "input_mp", "output_mp")}
        if not isinstance(job["id"], str) or not isinstance(job["polling_url"], str):
            raise bad(NAME, f"has no id and polling_url: {shortened(json.dumps(task))}")
        return {**job, "submitted": submitted}, stopwatch

    return await retrying(attempt)


def _base(request: Request) -> str:
    region = request.options.get("region")
    if region is not None and region not in REGIONS:
        raise InvalidRequest(f"region is {region!r}; it is {' or '.join(REGIONS)}, or left out.")
    default = BASE.replace("api.", f"api.{region}.") if region else BASE
    return jobs.base_url(BASE_VARIABLE, os.environ.get(BASE_VARIABLE, ""), default)


def _check(model: Model, request: Request) -> None:
    only(model, request, "size", "aspect_ratio", "steps", "guidance", "seed", "references")


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": request.prompt,
        "width": request.width,
        "height": request.height,
        "aspect_ratio": request.aspect_ratio,
        "seed": request.seed,
        "steps": request.steps,
        "guidance": request.guidance,
    }
    for number, reference in enumerate(request.references, 1):
        body[f"input_image_{number}" if number > 1 else "input_image"] = base64.b64encode(reference.data).decode()
    options = {name: value for name, value in request.options.items() if name != "region"}
    given = {name: value for name, value in body.items() if value is not None}
    return {"output_format": "png", **options, **given}


def _task(answer: Answer, identity: str) -> dict[str, Any]:
    """What is said of the task, also with the status 404, which "Task not found" comes with."""
    if answer.status == 404:
        try:
            table = answer.table(NAME, identity)
        except BadAnswer:
            table = {}
        if "status" in table:
            return table
    return good(NAME, answer, identity).table(NAME, identity)


def _ended(status: object, details: object, identity: str) -> ProviderError:
    """The error for a task that is over without a picture."""
    said = f": {redact(shortened(json.dumps(details, ensure_ascii=False)))}" if details else ""
    message = f"{NAME} says {status!r}{said} (request {identity})"
    if status in MODERATED:
        return Refused(message, provider=NAME, request_id=identity)
    return jobs.possibly_charged(ProviderError(message, provider=NAME, request_id=identity))


def _preview(value: object) -> tuple[str, bytes] | None:
    """A picture of the work so far, as base64, in whichever place; not documented, so anything else is passed over."""
    text = at(value, "image") if isinstance(value, dict) else value
    if not isinstance(text, str):
        return None
    try:
        data = base64.b64decode(text.rpartition(",")[2], validate=True)
        inspect_picture(data)
    except (ValueError, binascii.Error, BadPicture):
        return None
    return text, data


def _cost(stated: object) -> Cost | None:
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not stated >= 0:
        return None
    return Cost(stated * DOLLARS_PER_CREDIT, "stated")
