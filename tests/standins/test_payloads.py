"""The payloads are what the installed clients send, and the stand-ins take them from any client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.standins import capture

EVERY = sorted(capture.SCENARIOS)
pytestmark = pytest.mark.usefixtures("no_client_settings")


@pytest.mark.parametrize("name", EVERY)
def test_the_installed_client_still_sends_what_is_kept(name: str) -> None:
    kept, now = capture.load(name), capture.capture(name)
    assert now["requests"] == kept["requests"], (
        f"{now['client']} sends something else than {kept['client']} did. If that is right, write the payloads anew: "
        "python -m tests.standins.capture"
    )
    assert now["source"] == kept["source"]


def test_there_is_a_payload_for_each_scenario_and_no_other() -> None:
    assert sorted(path.stem for path in capture.FOLDER.iterdir()) == EVERY


@pytest.mark.parametrize("name", EVERY)
def test_no_payload_holds_a_key_or_an_address(name: str) -> None:
    text = json.dumps(capture.load(name))
    assert "test-key" not in text
    assert "127.0.0.1" not in text
    assert "boundary" not in text


@pytest.mark.parametrize("name", EVERY)
def test_a_payload_can_be_sent_again(name: str) -> None:
    with capture.SCENARIOS[name].vendor() as vendor:
        first = capture.capture(name)
        with httpx.Client(base_url=vendor.url, verify=False) as client:  # noqa: S501 - nothing is encrypted
            identity = ""
            for request in capture.load(name)["requests"]:
                answer = client.request(**capture.build(request, key=vendor.key, identity=identity))
                assert answer.is_success, answer.text
                identity = identity or _identity(answer)
        again = [capture._told(seen, vendor.key) for seen in vendor.requests]
        assert [_content(request) for request in again] == [_content(request) for request in first["requests"]]


def _identity(answer: httpx.Response) -> str:
    if answer.headers["content-type"] != "application/json":
        return ""
    told = answer.json()
    return str(told.get("request_id") or told.get("id") or "")


def _content(request: dict[str, Any]) -> dict[str, Any]:
    return {name: request.get(name) for name in ("method", "path", "query", "body", "multipart")}
