"""Where a sitting is served: address and port, and the server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from diptych.errors import InvalidRequest
from diptych.judging.doors import is_loopback

PORT = 8437
"""Where nothing else is said: the same every time, so that a browser finds the votes again that it could not send."""
LOOPBACK = "127.0.0.1"
GRACE = 3
"""Seconds for what is under way when the sitting is ended."""


@dataclass(frozen=True)
class Listening:
    """A socket that takes connections, and how people get there."""

    socket: socket.socket
    addresses: tuple[str, ...]
    """URLs; the first one is for this machine's own browser."""
    public: bool
    """Others than this machine can reach it."""


def listen(host: str = LOOPBACK, port: int | None = None) -> Listening:
    """host: an address or name of this machine; 0.0.0.0 and :: are all of them. port: 0 takes any free one, and so does
    None where PORT is taken.

    Raises InvalidRequest where this machine has no such address, or the port is taken or not allowed.
    """
    if port is not None and not 0 <= port <= 65_535:
        raise InvalidRequest(f"--port is {port}; it is 0 (any free one) to 65535.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InvalidRequest(_not_here(host)) from None
    last: OSError | None = None
    for number in (port,) if port is not None else (PORT, 0):
        opened = socket.socket(family, kind, protocol)
        try:
            if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where REUSEADDR lets another program take the port
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((where[0], number, *where[2:]))
            opened.listen(512)
        except OSError as error:
            opened.close()
            last = error
            continue
        bound = opened.getsockname()
        return Listening(opened, _addresses(str(bound[0]), int(bound[1])), not is_loopback(str(bound[0])))
    if last is not None and last.errno == errno.EADDRNOTAVAIL:
        raise InvalidRequest(_not_here(host))
    if last is not None and last.errno == errno.EACCES:
        raise InvalidRequest(f"Port {port} is not for ordinary users; those from 1024 on are.")
    if last is not None and last.errno == errno.EADDRINUSE:
        raise InvalidRequest(
            f"Port {port} is taken by another program. Name another one, or --port 0 for any free one."
        )
    raise InvalidRequest(f"--host {host}: {last.strerror if last else 'cannot be listened on'}.")


def config(app: ASGIApp) -> uvicorn.Config:
    """Without the headers that tell the time and the program, and without a log of who asked for what."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE,
    )


async def serve(app: ASGIApp, listening: Listening, started: Callable[[], None], over: asyncio.Event) -> None:
    """Serve until Ctrl-C or `over`. started: called when the first request would be answered."""
    server = uvicorn.Server(config(app))
    running = asyncio.ensure_future(server.serve(sockets=[listening.socket]))
    ending = asyncio.ensure_future(over.wait())
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.01)
        if server.started:
            # What was loaded by now stays: looking through all of it for garbage stops everything for some 70 ms.
            gc.collect()
            gc.freeze()
            started()
        await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await running
    finally:
        gc.unfreeze()
        ending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ending


def _addresses(host: str, port: int) -> tuple[str, ...]:
    address = ipaddress.ip_address(host.partition("%")[0])
    if not address.is_unspecified:
        return (_url(str(address), port),)
    found = own_address(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    own = _url("127.0.0.1" if address.version == 4 else "::1", port)
    return (own, _url(found, port)) if found else (own,)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def own_address(family: socket.AddressFamily = socket.AF_INET) -> str | None:
    """By which address others reach this machine: the one that it would send from. Nothing is sent."""
    elsewhere = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"  # RFC 5737, RFC 3849: nobody's
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect((elsewhere, 9))
        found = str(asking.getsockname()[0])
        return None if is_loopback(found) else found
    return None


def _not_here(host: str) -> str:
    own = own_address()
    has = f"127.0.0.1 and {own}" if own else "127.0.0.1"
    return f"--host {host} is no address of this machine. It has {has}; 0.0.0.0 is all of them."
