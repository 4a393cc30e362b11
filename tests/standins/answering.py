"""From a request to an answer: reads and records the request, checks the key, and applies the fault it meets."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.standins import faults
from tests.standins.faults import Fault
from tests.standins.server import TRANSPORT

if TYPE_CHECKING:
    from tests.standins.vendor import Vendor

HTML = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"


@dataclass(frozen=True)
class Part:
    """One part of a multipart body: `text`, or the `data` of a file."""

    name: str
    text: str = ""
    data: bytes = b""
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True)
class Seen:
    """A request as it arrived. Names of headers are lower case."""

    step: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None
    """JSON decoded, a list of `Part`, bytes of anything else, or None if there was none or it was not read."""
    params: dict[str, str] = field(default_factory=dict)
    """What the path says, by the names in the route."""

    @property
    def text(self) -> str:
        """All that is text in the body, to search in."""
        if isinstance(self.body, bytes):
            return self.body.decode(errors="replace")
        if isinstance(self.body, list) and all(isinstance(part, Part) for part in self.body):
            return "\n".join(part.text for part in self.body)
        return json.dumps(self.body, ensure_ascii=False)


class Answer(Exception):
    """Raised in a handler to answer at once; a way out, not an error."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class Events(Response):
    """A stream of events, each already written as `data: ...` with its empty line."""

    def __init__(self, events: Iterable[bytes], *, pause: float = 0.0) -> None:
        super().__init__(media_type="text/event-stream")
        self.events, self.pause = list(events), pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def body() -> AsyncIterator[bytes]:
            for event in self.events:
                yield event
                await sleep(self.pause)

        headers = {k: v for k, v in self.headers.items() if k != "content-length"}
        await StreamingResponse(body(), headers=headers)(scope, receive, send)


class Step:
    """The ASGI application behind one route of a vendor."""

    def __init__(
        self, vendor: Vendor, handler: Callable[[Seen, Fault | None], Any], *, step: str, key: bool = True
    ) -> None:
        self.vendor, self.handler, self.step, self.key = vendor, handler, step, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        vendor, request = self.vendor, Request(scope, receive)
        seen = Seen(
            self.step, request.method, request.url.path, dict(request.query_params), dict(request.headers),
            params={k: str(v) for k, v in request.path_params.items()},
        )  # fmt: skip
        # A fault is chosen from the whole request, except by those that never read it.
        body = None if vendor.drops_unread(seen) else await _body(request)
        seen = Seen(**{**vars(seen), "body": body})
        vendor.record(seen)
        if self.key and (denied := vendor.unauthorized(seen)) is not None:
            await denied(scope, receive, send)
            return
        fault = vendor.take(seen)
        try:
            response = await self._answer(seen, fault)
        except Answer as answer:
            response = answer.response
        except Exception:  # noqa: BLE001 - kept, and raised in the test
            response = vendor.broken()
        await _deliver(response, fault, vendor, scope, receive, send)

    async def _answer(self, seen: Seen, fault: Fault | None) -> Response:
        if fault is not None and not fault.accepted:
            return Response()  # replaced when it is delivered
        response = self.handler(seen, fault)
        return response if isinstance(response, Response) else await response


async def _deliver(
    response: Response, fault: Fault | None, vendor: Vendor, scope: Scope, receive: Receive, send: Send
) -> None:
    match fault:
        case faults.Dropped():
            await _hang_up(scope, receive, reset=fault.reset)
            return
        case faults.Slow():
            await sleep(fault.seconds)
        case faults.Held():
            while not vendor.gate.is_set():
                await sleep(0.002)
        case faults.Truncated() | faults.Trickled():
            response = _Piecewise(response, fault)
        case faults.StreamBroken() if isinstance(response, Events):
            response.events[fault.after :] = [vendor.stream_error()] if fault.how == "error" else []
            if fault.how == "cut":
                response = _Piecewise(response, faults.Truncated(keep=1.0))
        case None:
            pass
        case _:
            response = _replaced(response, fault, vendor)
    await response(scope, receive, send)


def _replaced(response: Response, fault: Fault, vendor: Vendor) -> Response:
    """The answer that the fault puts in place of the good one; the good one if it has none."""
    match fault:
        case faults.RateLimited():
            response = vendor.rate_limited(fault)
            if fault.form != "body":
                response.headers.update(retry_after(fault.retry_after, fault.form))
        case faults.Unauthorized():
            response = vendor.wrong_key(fault.status)
        case faults.OutOfCredits():
            response = vendor.out_of_credits()
        case faults.Invalid(shape="vendor"):
            response = vendor.invalid(fault.message)
        case faults.Invalid(shape="text"):
            response = JSONResponse({"detail": fault.message}, 422)
        case faults.Invalid(shape="list"):
            response = JSONResponse({"detail": validation(fault.message)}, 422)
        case faults.Invalid():
            response = JSONResponse({"error": "validation_error", "message": fault.message}, 422)
        case faults.Retired():
            response = vendor.gone("the-model")
        case faults.Redirected():
            response = RedirectResponse(fault.location, fault.status)
        case faults.ServerError():
            response = vendor.error(fault.status, "The service is overloaded.")
            response.headers.update(retry_after(fault.retry_after, "seconds"))
        case faults.Html():
            response = HTMLResponse(HTML, fault.status)
        case faults.Empty():
            response = Response(b"", fault.status, media_type="application/json")
        case faults.Garbage():
            response = Response(bytes(range(128, 256)) * 4, fault.status, media_type="application/json")
        case faults.OtherJson():
            value = {"ok": True, "answers": [1, 2]} if fault.value is None else fault.value
            response = JSONResponse(value, fault.status)
    return response


def retry_after(seconds: float | None, form: str) -> dict[str, str]:
    if seconds is None:
        return {}
    if form == "milliseconds":
        return {"retry-after-ms": f"{seconds * 1000:g}"}
    if form == "date":
        return {"retry-after": email.utils.formatdate(time.time() + seconds, usegmt=True)}
    return {"retry-after": f"{seconds:g}"}


def validation(message: str, where: str = "steps") -> list[dict[str, Any]]:
    """The list that FastAPI's validation gives, which BFL and fal pass on."""
    return [{"type": "value_error", "loc": ["body", where], "msg": message, "input": None}]


class _Piecewise(Response):
    """An answer whose body comes in pieces with pauses, or stops before its end and hangs up."""

    def __init__(self, inner: Response, how: faults.Truncated | faults.Trickled) -> None:
        super().__init__()
        self.inner, self.how = inner, how

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Any] = []

        async def collect(message: Any) -> None:
            messages.append(message)

        await self.inner(scope, receive, collect)
        start, body = messages[0], b"".join(message.get("body", b"") for message in messages[1:])
        await send(start)
        if isinstance(self.how, faults.Truncated):
            kept = body[: int(len(body) * self.how.keep)]
            await send({"type": "http.response.body", "body": kept, "more_body": True})
            await _hang_up(scope, receive)
            return
        size = max(1, -(-len(body) // self.how.pieces))
        for at in range(0, len(body), size):
            await send({"type": "http.response.body", "body": body[at : at + size], "more_body": True})
            await sleep(self.how.seconds / self.how.pieces)
        await send({"type": "http.response.body", "body": b""})


async def _hang_up(scope: Scope, receive: Receive, *, reset: bool = False) -> None:
    transport = scope[TRANSPORT]
    if reset:
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind == "multipart/form-data":
        parts = []
        async with request.form(max_part_size=64 * 2**20) as form:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    parts.append(Part(name, text=value))
                else:
                    parts.append(
                        Part(name, data=await value.read(), filename=value.filename, content_type=value.content_type)
                    )
        return parts
    raw = await request.body()
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return raw


async def sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
