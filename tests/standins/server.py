"""A Starlette application under uvicorn on a loopback port, in a thread of the test's own process.

Starts and stops in a few milliseconds, so that every test can have a server to itself. An application served here finds
its connection in the scope (`TRANSPORT`), which is how a stand-in hangs up in the middle of an answer.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

TRANSPORT = "tests.standins.transport"
"""Key of the scope under which an application finds the asyncio transport of its connection."""
HOST = "127.0.0.1"


class _Protocol(H11Protocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT] = self.transport
            await inner(scope, receive, send)

        self.app = app


class _Server(uvicorn.Server):
    """uvicorn's server without its waits: it polls ten times a second for the end, and sleeps once more at the end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event

    async def main_loop(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        await self.on_tick(0)  # fills in the headers that every answer has
        self.ready.set()
        await self._end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.close()
        await asyncio.sleep(0)  # let each connection learn that it is closed
        tasks = list(self.server_state.tasks)
        for task in tasks:  # requests that are still being answered, such as one whose client was killed
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.lifespan.shutdown()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)


@contextmanager
def serve(app: ASGIApp, *, port: int = 0) -> Iterator[str]:
    """Serve `app` while the context lasts; yields its address, such as `http://127.0.0.1:40123`.

    `port` 0 takes any free one. The application answers from the first request on: startup has been waited for.
    Requests that are under way at the end are cancelled, and their connections closed.
    """
    # With the protocol spelled out asyncio sends small packets at once; without, each answer takes 40 ms longer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen(100)
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", loop="asyncio", log_config=None, log_level="critical", access_log=False,
        proxy_headers=False, server_header=False, timeout_keep_alive=60,
    )  # fmt: skip
    server = _Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="stand-in", daemon=True)
    thread.start()
    try:
        while not server.ready.wait(0.05):
            if not thread.is_alive():
                raise RuntimeError("The server did not start; its traceback is above.")
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        if server.ready.is_set():
            server.stop()
        thread.join()
        listener.close()
