"""The sitting over HTTP: the page, its pictures, and six answers in JSON.

    GET  /             the page; GET /app.css, /app.js, ... its parts
    POST /api/join     a join code for a pass, where the sitting has one
    GET  /api/next     the pairs to show, and what may be said of the votes so far
    POST /api/vote     keep a vote
    POST /api/back     take one back
    POST /api/end      end the sitting: only this answer, and `next` after it, name models
    POST /api/on       go on after the end
    GET  /p/ID         a picture

All answers have the same headers: nothing is stored, nothing can be asked for conditionally, and no clock is told.
The two pictures of a trial are of one length, and neither can be had before both are ready.

Who has seen the end has a cookie that says so. After a new start of the program it brings the end back, where the
evidence still suffices or the budget is spent; nobody who has not asked for the end is shown it.

A judge is an opaque id in a cookie. What changes anything, or makes a judge, needs a header that no other site's page
can set without being asked first, and is never allowed; votes also need a token that only this page can read.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.errors import DiptychError, InvalidRequest
from diptych.judging.doors import Door, TooMany, is_own_host, own_names
from diptych.judging.sitting import Seat, Showing, Sitting

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/api.js": ("api.js", "text/javascript; charset=utf-8"),
    "/viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "/reveal.js": ("reveal.js", "text/javascript; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
HEADERS = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
JUDGE, PASS, ENDED = "diptych_judge", "diptych_pass", "diptych_ended"
MOST_ENDED = 8
"""Studies of which a browser keeps that it has seen the end: the latest."""
YEAR = 365 * 86_400
OURS = "x-diptych"
"""Header that the page sends with everything; its value is the token, where one is needed."""
MOST_BYTES = 8_192
"""Of a request's body; a vote has two hundred."""

Key = Annotated[str, Field(min_length=8, max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Code(_Body):
    code: Annotated[str, Field(max_length=64)]


class Vote(_Body):
    trial: Annotated[str, Field(max_length=64)]
    choice: Annotated[str, Field(max_length=16)]
    criterion: Annotated[str, Field(max_length=32)]
    key: Key
    seconds: Annotated[float, Field(ge=0, lt=86_400, allow_inf_nan=False)] | None = None


class Back(_Body):
    of: Key
    key: Key


class Nothing(_Body):
    pass


def make_app(
    sitting: Sitting,
    *,
    code: str | None = None,
    names: frozenset[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
    token: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ended: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """The application of a sitting that is open.

    code: asked for once, for people elsewhere. names: hosts that are this machine, else its own. ended: called when a
    judge has seen the end.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    door = Door(code, clock, token)
    secret = token().encode()
    page = files("diptych.judging") / "page"

    def token_of(seat: Seat) -> str:
        return hashlib.blake2b(seat.judge.encode(), key=secret, digest_size=16).hexdigest()

    async def seat_of(request: Request, *, writes: bool = True) -> Seat:
        """The judge who asks. Raises HTTPException: 401 who has to give the code first, 403 without the token."""
        if not door.lets_in(request.cookies.get(PASS)):
            raise HTTPException(401, "code")
        shown = request.cookies.get(JUDGE)
        seat = await sitting.seat(shown) if shown and len(shown) <= 64 else None
        if seat is None:
            raise HTTPException(403, "token")
        if writes and not secrets.compare_digest(
            request.headers.get(OURS, "").encode("utf-8", "replace"), token_of(seat).encode()
        ):
            raise HTTPException(403, "token")
        return seat

    @app.get("/p/{name}")
    async def picture(request: Request, name: str) -> Response:
        seat = await seat_of(request, writes=False)
        body = await sitting.picture(seat, name)
        if body is None:
            raise HTTPException(404, "picture")
        return Response(body, media_type="image/png")

    @app.post("/api/join")
    async def join(request: Request, body: Code) -> Response:
        _ours(request)
        address = request.client.host if request.client else ""
        try:
            given = door.knock(body.code, address)
        except TooMany as error:
            return _json({"joined": False, "wait": int(error.seconds) + 1})
        if given is None:
            return _json({"joined": False})
        answer = _json({"joined": True})
        answer.set_cookie(PASS, given, httponly=True, samesite="strict")
        return answer

    @app.get("/api/next")
    async def following(request: Request) -> Response:
        _ours(request)
        if not door.lets_in(request.cookies.get(PASS)):
            return _json({"needs": "code"})
        shown = request.cookies.get(JUDGE)
        seat = await sitting.seat(shown) if shown and len(shown) <= 64 else None
        new = seat is None
        if seat is None:
            seat = await sitting.join()
        if not seat.ended and sitting.mark(seat) in _marks(request) and sitting.progress(seat).enough:
            seat.ended = True
        answer = _json(await _state(sitting, seat, token_of(seat)))
        if new:
            answer.set_cookie(JUDGE, seat.judge, max_age=YEAR, httponly=True, samesite="strict")
        return answer

    @app.post("/api/vote")
    async def vote(request: Request, body: Vote) -> Response:
        seat = await seat_of(request)
        done = await sitting.vote(
            seat, body.trial, body.choice, body.key, criterion=body.criterion, seconds=body.seconds
        )
        said: dict[str, Any] = {
            "status": done.status,
            "progress": vars(sitting.progress(seat)),
            "last": sitting.last(seat),
        }
        if done.names is not None:
            said["names"] = done.names
        return _json(said, {"unknown": 404, "ended": 409}.get(done.status, 200))

    @app.post("/api/back")
    async def back(request: Request, body: Back) -> Response:
        seat = await seat_of(request)
        return _json({"done": await sitting.take_back(seat, body.of, body.key)})

    @app.post("/api/end")
    async def end(request: Request, body: Nothing) -> Response:  # nothing is said, but as JSON
        seat = await seat_of(request)
        answer = _json({"reveal": await sitting.end(seat)})
        mark = sitting.mark(seat)
        _remember(answer, [*(one for one in _marks(request) if one != mark), mark])
        ended()
        return answer

    @app.post("/api/on")
    async def on(request: Request, body: Nothing) -> Response:
        seat = await seat_of(request)
        await sitting.go_on(seat)
        answer = _json({"done": True})
        _remember(answer, [one for one in _marks(request) if one != sitting.mark(seat)])
        return answer

    for path, (name, kind) in PAGE.items():
        app.get(path)(_part((page / name).read_bytes(), kind))

    @app.exception_handler(HTTPException)
    async def said_no(_: Request, error: HTTPException) -> Response:
        return _json({"error": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    async def not_understood(_: Request, error: RequestValidationError) -> Response:
        where = ".".join(str(part) for part in error.errors()[0]["loc"][1:])
        return _json({"error": f"not understood: {where or 'the body'}"}, 422)

    @app.exception_handler(DiptychError)
    async def failed(_: Request, error: DiptychError) -> Response:
        wrong = isinstance(error, InvalidRequest)
        return _json({"error": str(error) if wrong else "store"}, 422 if wrong else 503)  # paths stay here

    return _Outer(app, names or own_names())


async def _state(sitting: Sitting, seat: Seat, token: str) -> dict[str, Any]:
    if seat.ended:
        return {"token": token, "reveal": await sitting.end(seat)}
    showings = await sitting.next(seat)
    return {
        "token": token,
        "criterion": sitting.criterion,
        "reveals": sitting.reveals,
        "trials": [_trial(one) for one in showings],
        "progress": vars(sitting.progress(seat)),
        "last": sitting.last(seat),
    }


def _trial(one: Showing) -> dict[str, Any]:
    width, height = one.canvas.size
    said: dict[str, Any] = {
        "trial": one.trial.token,
        "prompt": one.prompt,
        "whole": {"pictures": one.whole, "width": width, "height": height},
        "detail": None,
    }
    if one.detail is not None and one.canvas.window is not None:
        width, height = one.canvas.window
        said["detail"] = {"pictures": one.detail, "width": width, "height": height}
    return said


def _part(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def serve() -> Response:
        return Response(content, media_type=kind)

    return serve


def _json(values: dict[str, Any], status: int = 200) -> Response:
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")


def _marks(request: Request) -> list[str]:
    return request.cookies.get(ENDED, "").split(".")


def _remember(answer: Response, marks: list[str]) -> None:
    value = ".".join([one for one in marks if one][-MOST_ENDED:])
    answer.set_cookie(ENDED, value, max_age=YEAR if value else 0, httponly=True, samesite="strict")


def _ours(request: Request) -> None:
    """Another site's page cannot send this header: the browser would ask first, and is not told yes."""
    if OURS not in request.headers:
        raise HTTPException(403, "header")


class _Outer:
    """Around everything: the host, the length of a body, and the same headers on every answer."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not is_own_host(headers.get(b"host", b"").decode("latin-1"), self._names):
            await self._answer(send, 421, "This is no name of the machine that the sitting is on.")
            return
        if scope["method"] == "POST" and not headers.get(b"content-length", b"").isdigit():
            await self._answer(send, 411, "A request says how long it is.")
            return
        if int(headers.get(b"content-length", b"0")) > MOST_BYTES:
            await self._answer(send, 413, "No request is as long as this one.")
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers)

    @staticmethod
    async def _answer(send: Send, status: int, text: str) -> None:
        body = text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *HEADERS]})
        await send({"type": "http.response.body", "body": body})
