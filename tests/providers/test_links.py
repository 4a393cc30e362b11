"""Which links of a vendor may be followed."""

from __future__ import annotations

import pytest

from diptych.errors import BadAnswer
from diptych.providers.links import checked

HOSTS = ("bfl.ai", "*.bfl.ai")


@pytest.mark.parametrize(
    ("link", "base"),
    [
        ("https://bfl.ai/x", None),
        ("https://api.bfl.ai/x?y=z", None),
        ("https://delivery.eu1.bfl.ai:8443/x", None),
        ("HTTPS://API.BFL.AI/x", None),
        ("https://api.bfl.ai/x", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:9000/x", "http://127.0.0.1:8000"),
        ("http://localhost:9000/x", "http://127.0.0.1:8000"),
        ("http://[::1]:9000/x", "http://localhost:8000"),
        ("https://gateway.example/x", "https://gateway.example/bfl"),
        ("http://gateway.example/x", "http://gateway.example/bfl"),
        ("https://gateway.example/x", "http://gateway.example/bfl"),
    ],
)
def test_may_be_followed(link: str, base: str | None) -> None:
    assert str(checked("vendor", link, HOSTS, base=base)).lower() == link.lower()


@pytest.mark.parametrize(
    ("link", "base", "message"),
    [
        ("http://api.bfl.ai/x", None, "api.bfl.ai without TLS"),
        ("https://example.org/x", None, "example.org, which is none of its hosts"),
        ("https://notbfl.ai/x", None, "notbfl.ai, which is none"),
        ("https://bfl.ai.example.org/x", None, "bfl.ai.example.org, which is none"),
        ("https://bfl.ai./x", None, "bfl.ai., which is none"),
        ("https://api.bfl.ai@example.org/x", None, "no address of the web"),
        ("https://key:word@api.bfl.ai/x", None, "no address of the web"),
        ("https://example.org\\@api.bfl.ai/x", None, "example.org|no address"),
        ("https://example.org#@api.bfl.ai/x", None, "example.org, which is none"),
        ("http://127.0.0.1/x", None, "127.0.0.1, which is none"),
        ("http://169.254.169.254/latest", "http://127.0.0.1:8000", "169.254.169.254, which is none"),
        ("http://gateway.example/x", "https://gateway.example/bfl", "gateway.example, which is none"),
        ("http://127.0.0.1/x", "https://localhost", "127.0.0.1, which is none"),
        ("file:///etc/passwd", None, "no address of the web"),
        ("//api.bfl.ai/x", None, "no address of the web"),
        ("/x", None, "no address of the web"),
        ("", None, "no address of the web"),
        ("https://", None, "no address of the web"),
        ("https://[::1/x", None, "no address of the web"),
        ("https://api.bfl.ai:port/x", None, "no address of the web"),
        (None, None, "no address of the web"),
        (7, None, "no address of the web"),
        (["https://api.bfl.ai"], None, "no address of the web"),
    ],
)
def test_may_not(link: object, base: str | None, message: str) -> None:
    with pytest.raises(BadAnswer, match=message) as caught:
        checked("vendor", link, HOSTS, base=base)
    assert caught.value.charged is None
