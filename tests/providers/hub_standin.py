"""A small hub: the answers of huggingface.co that a download needs, for tiny real repositories, and ways to fail.

Sources: huggingface.co/docs/hub/api for the listing; huggingface_hub's file_download.py and utils/_http.py for the
headers of files, the redirect of large ones, and the codes of refusals.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.standins.server import TRANSPORT

TOKEN = "hf_standin0123456789"  # noqa: S105  # of this stand-in alone
OTHER = "hf_somebodyelse01234"
LARGE = 1000
"""Bytes from which on a file is large: kept under its SHA-256, and sent from another address."""


@dataclass
class Repository:
    files: dict[str, bytes]
    gated: bool = False
    tags: tuple[str, ...] = ()

    @property
    def commit(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for name in sorted(self.files):
            digest.update(name.encode() + b"\0" + self.files[name])
        return digest.hexdigest()


@dataclass
class Hub:
    repositories: dict[str, Repository]
    cut: list[int] = field(default_factory=list)
    """Before each answer that has a file: hang up after so many bytes; used up one by one."""
    hang: int | None = None
    """Before the next answer that has a file: stop after so many bytes, and neither go on nor hang up."""
    busy: int = 0
    """Answers with 503 that are still to come."""
    ranges: bool = True
    altered: set[str] = field(default_factory=set)
    """Files whose content comes with its last byte changed."""
    longer: set[str] = field(default_factory=set)
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Path and range of every file that was asked for."""
    tokens: list[str | None] = field(default_factory=list)
    elsewhere: str = ""
    """Address of `large`: where the hub sends those who ask for large files."""
    elsewhere_tokens: list[str | None] = field(default_factory=list)

    def large(self) -> Starlette:
        """The other server, which must not see tokens."""
        return Starlette(routes=[Route("/{owner}/{name}/{path:path}", self.cdn)])

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/models/{owner}/{name}", self.listing),
                Route("/api/models/{owner}/{name}/revision/{revision:path}", self.listing),
                Route("/{owner}/{name}/resolve/{commit}/{path:path}", self.resolve, methods=["GET", "HEAD"]),
            ]
        )

    def find(self, request: Request) -> Repository | Response:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        self.tokens.append(request.headers.get("authorization"))
        if name not in self.repositories:
            if request.headers.get("authorization") is None:
                return refusal(401, "RepoNotFound", "Invalid username or password.")
            return refusal(404, "RepoNotFound", "Repository not found")
        return self.repositories[name]

    async def listing(self, request: Request) -> Response:
        found = self.find(request)
        if isinstance(found, Response):
            return found
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        revision = request.path_params.get("revision", "main")
        if revision not in ("main", found.commit, *found.tags):
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        siblings: list[dict[str, Any]] = []
        for path, data in found.files.items():
            entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_id(data)}
            if len(data) >= LARGE:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        gated = "auto" if found.gated else False
        return JSONResponse({"id": name, "sha": found.commit, "gated": gated, "private": False, "siblings": siblings})

    async def resolve(self, request: Request) -> Response:
        found = self.find(request)
        if isinstance(found, Response):
            return found
        if found.gated and request.headers.get("authorization") != f"Bearer {TOKEN}":
            status = 403 if request.headers.get("authorization") else 401
            return refusal(status, "GatedRepo", "Access to this model is restricted.")
        path = request.path_params["path"]
        self.seen.append((path, request.headers.get("range", "")))
        if path not in found.files:
            return refusal(404, "EntryNotFound", "Entry not found")
        if self.busy:
            self.busy -= 1
            return Response("busy", 503, {"retry-after": "0"})
        data = found.files[path]
        headers = {"x-repo-commit": found.commit, "accept-ranges": "bytes"}
        if len(data) >= LARGE:
            sha = hashlib.sha256(data).hexdigest()
            headers |= {"x-linked-etag": f'"{sha}"', "x-linked-size": str(len(data))}
            owner, name = request.path_params["owner"], request.path_params["name"]
            return RedirectResponse(f"{self.elsewhere}/{owner}/{name}/{path}?sha={sha}", 302, headers)
        return self.send(request, path, data, {**headers, "etag": f'"{git_id(data)}"'})

    async def cdn(self, request: Request) -> Response:
        params = request.path_params
        self.elsewhere_tokens.append(request.headers.get("authorization"))
        data = self.repositories[f"{params['owner']}/{params['name']}"].files[params["path"]]
        return self.send(request, params["path"], data, {})

    def send(self, request: Request, path: str, data: bytes, headers: dict[str, str]) -> Response:
        if path in self.altered:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if path in self.longer:
            data += b"more"
        status, first = 200, 0
        asked = request.headers.get("range", "")
        if asked and self.ranges:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            status = 206
            headers = {**headers, "content-range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        body = data[first:]
        headers = {**headers, "content-length": str(len(body))}
        if self.hang is not None:
            return StreamingResponse(self.endless(body[: self.hang]), status, headers)
        if not self.cut:
            return Response(body, status, headers)
        stop, transport = self.cut.pop(0), request.scope[TRANSPORT]

        async def part() -> AsyncIterator[bytes]:
            yield body[:stop]
            transport.close()  # sends what is written, and hangs up
            yield b""

        return StreamingResponse(part(), status, headers)

    async def endless(self, beginning: bytes) -> AsyncIterator[bytes]:
        self.hang = None
        yield beginning
        await asyncio.Event().wait()


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": message}, status, {"x-error-code": code, "x-error-message": message})
