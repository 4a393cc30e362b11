"""Address and port."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from diptych.errors import InvalidRequest
from diptych.judging import serving
from diptych.judging.serving import listen

EVERYBODY = "0.0.0.0"  # noqa: S104  # for a moment, and answered by nobody


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is closed in tests, and finding out would connect a socket."""
    monkeypatch.setattr(serving, "own_address", lambda family=socket.AF_INET: "192.0.2.7")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", port: int | None = 0) -> Iterator[serving.Listening]:
    opened = listen(host, port)
    yield opened
    opened.socket.close()


def test_this_machine_alone() -> None:
    with listening() as opened:
        port = opened.socket.getsockname()[1]
        assert opened.addresses == (f"http://127.0.0.1:{port}/",)
        assert not opened.public
    with listening("localhost") as opened:
        assert not opened.public


def test_everybody() -> None:
    with listening(EVERYBODY) as opened:
        port = opened.socket.getsockname()[1]
        assert opened.addresses == (f"http://127.0.0.1:{port}/", f"http://192.0.2.7:{port}/")
        assert opened.public


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_the_other_protocol() -> None:
    with listening("::1") as opened:
        assert opened.addresses == (f"http://[::1]:{opened.socket.getsockname()[1]}/",)
        assert not opened.public


def test_the_usual_port_or_any_free_one(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    monkeypatch.setattr(serving, "PORT", taken)
    with listening(port=None) as opened:
        assert opened.socket.getsockname()[1] != taken


def test_a_taken_port_is_said(taken: int) -> None:
    with pytest.raises(InvalidRequest, match=f"Port {taken} is taken by another program"):
        listen("127.0.0.1", taken)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "x" * 300])
def test_an_address_of_another_machine_is_said(host: str) -> None:
    with pytest.raises(InvalidRequest, match=r"is no address of this machine. It has 127.0.0.1 and 192.0.2.7"):
        listen(host, 0)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_what_is_no_port_is_said(port: int) -> None:
    with pytest.raises(InvalidRequest, match="0 \\(any free one\\) to 65535"):
        listen("127.0.0.1", port)
