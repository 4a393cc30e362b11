"""The stand-ins themselves, spoken to with plain HTTP: what they answer, bill, record, and do when told to fail."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.standins import pictures
from tests.standins.black_forest_labs import BlackForestLabs
from tests.standins.fal import Fal
from tests.standins.faults import (
    BadPicture,
    Dropped,
    Elsewhere,
    Empty,
    Expired,
    Failed,
    Fault,
    Garbage,
    Held,
    Html,
    Invalid,
    Lost,
    OtherJson,
    OtherSize,
    OutOfCredits,
    Pending,
    RateLimited,
    Redirected,
    Refused,
    Retired,
    ServerError,
    Slow,
    Trickled,
    Truncated,
    Unauthorized,
)
from tests.standins.fixtures import ROOT, process
from tests.standins.google import Google
from tests.standins.huggingface import HuggingFace
from tests.standins.openai import OpenAI
from tests.standins.replicate import Replicate
from tests.standins.server import serve
from tests.standins.vendor import Vendor

Send = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(verify=False) as client:  # noqa: S501 - nothing is encrypted on loopback
        yield client


def ask(vendor: Vendor, client: httpx.Client, **more: Any) -> httpx.Response:
    """Ask the vendor for a picture in its own words: prompt, seed (if the vendor has seeds), model, width, height."""
    prompt, seed, key = more.get("prompt", "a fox in snow"), more.get("seed", 3), more.get("key", vendor.key)
    size = {"width": 256, "height": 128}
    if isinstance(vendor, Google):
        path = f"/v1/models/{more.get('model', 'gemini-3.1-flash-image')}:generateContent"
        image = {"aspectRatio": "4:1", "imageSize": "512"}
        config = {"seed": seed, "responseModalities": ["IMAGE"], "imageConfig": image}
        body: dict[str, Any] = {"contents": [{"parts": [{"text": prompt}]}], "generationConfig": config}
        return client.post(vendor.url + path, json=body, headers={"x-goog-api-key": key})
    if isinstance(vendor, OpenAI):
        body = {"model": more.get("model", "gpt-image-2"), "prompt": prompt, "size": "256x128"}
        return client.post(f"{vendor.url}/v1/images/generations", json=body, headers={"authorization": f"Bearer {key}"})
    if isinstance(vendor, BlackForestLabs):
        path = f"/v1/{more.get('model', 'flux-2-pro')}"
        return client.post(vendor.url + path, json={"prompt": prompt, "seed": seed, **size}, headers={"x-key": key})
    if isinstance(vendor, Replicate):
        path = f"/v1/models/{more.get('model', 'black-forest-labs/flux-2-pro')}/predictions"
        body = {"input": {"prompt": prompt, "seed": seed, **size}}
        return client.post(vendor.url + path, json=body, headers={"authorization": f"Bearer {key}"})
    if isinstance(vendor, HuggingFace):
        body = {"inputs": prompt, "parameters": {"seed": seed, **size}}
        address = vendor.address(more.get("model", "some/model"))
        return client.post(address, json=body, headers={"authorization": f"Bearer {key}"})
    assert isinstance(vendor, Fal)
    body = {"prompt": prompt, "seed": seed, "image_size": size, "output_format": "png"}
    path = f"/{more.get('model', 'fal-ai/flux')}"
    return client.post(vendor.url + path, json=body, headers={"authorization": f"Key {key}"})


def picture(vendor: Vendor, client: httpx.Client, answer: httpx.Response) -> bytes:
    """Go on from the answer to the bytes of the picture."""
    answer.raise_for_status()
    if isinstance(vendor, HuggingFace):
        return answer.content
    told = answer.json()
    if isinstance(vendor, Google):
        return base64.b64decode(told["candidates"][0]["content"]["parts"][0]["inlineData"]["data"])
    if isinstance(vendor, OpenAI):
        return base64.b64decode(told["data"][0]["b64_json"])
    if isinstance(vendor, BlackForestLabs):
        while (state := poll(vendor, client, told["polling_url"]))["status"] == "Pending":
            pass
        return client.get(state["result"]["sample"]).raise_for_status().content
    if isinstance(vendor, Replicate):
        while (state := poll(vendor, client, told["urls"]["get"]))["status"] in ("starting", "processing"):
            pass
        return client.get(state["output"]).raise_for_status().content
    while poll(vendor, client, told["status_url"])["status"] != "COMPLETED":
        pass
    result = poll(vendor, client, told["response_url"])
    return client.get(result["images"][0]["url"]).raise_for_status().content


def poll(vendor: Vendor, client: httpx.Client, url: str) -> dict[str, Any]:
    key = {"x-key": vendor.key, "authorization": f"{'Key' if isinstance(vendor, Fal) else 'Bearer'} {vendor.key}"}
    state: dict[str, Any] = client.get(url, headers=key).raise_for_status().json()
    return state


VENDORS = (Google, OpenAI, BlackForestLabs, Replicate, HuggingFace, Fal)
POLLED = (BlackForestLabs, Replicate, Fal)


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.name)
def vendor(request: pytest.FixtureRequest) -> Iterator[Vendor]:
    with request.param() as vendor:
        yield vendor


@pytest.fixture(params=POLLED, ids=lambda vendor: vendor.name)
def polled(request: pytest.FixtureRequest) -> Iterator[Vendor]:
    with request.param() as vendor:
        yield vendor


def test_the_picture_follows_from_prompt_model_and_seed(vendor: Vendor, client: httpx.Client) -> None:
    def made(**more: Any) -> bytes:
        return picture(vendor, client, ask(vendor, client, **more))

    first = made()
    size = (1024, 256) if isinstance(vendor, Google) else (256, 128)
    assert Image.open(io.BytesIO(first)).size == size
    assert first == vendor.pictures[vendor.charges[0]["id"]]
    other_model = {Google: "gemini-3-flash-image", OpenAI: "gpt-image-1.5", BlackForestLabs: "flux-2-max"}
    others = [made(prompt="a fox at sea"), made(model=other_model.get(type(vendor), "some/other"))]
    if not isinstance(vendor, OpenAI):  # which has no seeds: two alike requests give two pictures
        assert made() == first
        others.append(made(seed=4))
    else:
        others.append(made())
    assert len({first, *others}) == 1 + len(others)


def test_a_picture_is_charged_when_it_is_started(vendor: Vendor, client: httpx.Client) -> None:
    ask(vendor, client, prompt="a fox")
    (charge,) = vendor.charges
    seed = None if isinstance(vendor, OpenAI) else 3
    assert (charge["prompt"], charge["seed"], charge["what"]) == ("a fox", seed, "picture")
    assert charge["model"] == vendor.charges[0]["model"] != ""
    assert [seen.step for seen in vendor.requests] == ["generate"]


def test_a_wrong_key_is_refused_and_nothing_charged(vendor: Vendor, client: httpx.Client) -> None:
    answer = ask(vendor, client, key="wrong")
    assert answer.status_code == {Google: 400, BlackForestLabs: 403}.get(type(vendor), 401)
    assert not vendor.charges
    if isinstance(vendor, Google):
        assert answer.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
        assert ask(vendor, client, key="").status_code == 403


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (RateLimited(), 429),
        (Unauthorized(status=403), 403),
        (Invalid(shape="text"), 422),
        (Invalid(shape="list"), 422),
        (Invalid(shape="error"), 422),
        (Retired(), 404),
        (Redirected(location="http://127.0.0.1:1/", status=302), 302),
        (ServerError(status=500), 500),
        (ServerError(status=502), 502),
        (ServerError(status=503, charged=True), 503),
        (ServerError(status=504, charged=True), 504),
        (Html(), 200),
        (Html(status=502, charged=False), 502),
        (Empty(), 200),
        (Garbage(), 200),
        (OtherJson(), 200),
        (OtherJson(value=["x"]), 200),
    ],
    ids=str,
)
def test_a_fault_meets_one_request_and_is_charged_only_after_acceptance(
    vendor: Vendor, client: httpx.Client, fault: Fault, status: int
) -> None:
    vendor.next(fault)
    assert ask(vendor, client).status_code == status
    assert len(vendor.charges) == fault.accepted
    assert picture(vendor, client, ask(vendor, client))
    assert len(vendor.charges) == fault.accepted + 1


@pytest.mark.parametrize(
    "fault",
    [Dropped(), Dropped(charged=True), Dropped(charged=True, reset=True), Truncated(), Truncated(keep=0)],
    ids=str,
)
def test_a_connection_that_ends(vendor: Vendor, client: httpx.Client, fault: Fault) -> None:
    vendor.next(fault)
    with pytest.raises(httpx.TransportError):
        ask(vendor, client)
    assert len(vendor.charges) == fault.accepted
    assert vendor.requests[0].body is None or fault.accepted


@pytest.mark.parametrize("fault", [Slow(seconds=0.001), Trickled(seconds=0.001, pieces=5)], ids=str)
def test_a_good_answer_that_takes_longer(vendor: Vendor, client: httpx.Client, fault: Fault) -> None:
    usual = picture(vendor, client, ask(vendor, client))
    vendor.next(fault)
    again = picture(vendor, client, ask(vendor, client))
    assert isinstance(vendor, OpenAI) or again == usual


@pytest.mark.parametrize("vendor", [Google, HuggingFace], indirect=True, ids=lambda vendor: vendor.name)
def test_a_request_is_held_charged_until_it_is_released(vendor: Vendor) -> None:
    vendor.next(Held())
    answers: list[int] = []

    def run() -> None:
        with httpx.Client(verify=False) as client:  # noqa: S501
            answers.append(ask(vendor, client).status_code)

    thread = threading.Thread(target=run)
    thread.start()
    vendor.wait_until(lambda vendor: len(vendor.charges) == 1)
    assert not answers
    vendor.release()
    thread.join()
    assert answers == [200]


def test_waiting_for_what_does_not_come_says_where_it_stood(google: Google) -> None:
    with pytest.raises(TimeoutError, match="google stood at 0 requests, 0 charges"):
        google.wait_until(lambda vendor: bool(vendor.charges), timeout=0.001)


@pytest.mark.parametrize(
    ("form", "header"), [("seconds", "retry-after"), ("date", "retry-after"), ("milliseconds", "retry-after-ms")]
)
def test_how_long_to_wait_is_told_in_each_form(vendor: Vendor, client: httpx.Client, form: Any, header: str) -> None:
    vendor.next(RateLimited(retry_after=2, form=form))
    told = ask(vendor, client).headers[header]
    assert told == {"seconds": "2", "milliseconds": "2000"}.get(form, told)
    assert form != "date" or told.endswith("GMT")


def test_google_tells_how_long_to_wait_in_the_body(google: Google, client: httpx.Client) -> None:
    google.next(RateLimited(retry_after=20, form="body"))
    answer = ask(google, client)
    assert "retry-after" not in answer.headers
    assert answer.json()["error"]["details"][1]["retryDelay"] == "20s"


def test_no_credits(vendor: Vendor, client: httpx.Client) -> None:
    vendor.next(OutOfCredits())
    status = {Google: 429, OpenAI: 429, Fal: 403}.get(type(vendor), 402)
    assert ask(vendor, client).status_code == status
    assert not vendor.charges


@pytest.mark.parametrize("kind", ["truncated", "bomb", "noise", "empty", "black"])
def test_a_picture_that_is_none(vendor: Vendor, client: httpx.Client, kind: Any) -> None:
    vendor.next(BadPicture(kind=kind))
    data = picture(vendor, client, ask(vendor, client))
    if kind == "black":
        assert not Image.open(io.BytesIO(data)).getbbox()
    else:
        with pytest.raises((OSError, Image.DecompressionBombError)):
            Image.open(io.BytesIO(data)).load()


def test_a_picture_of_another_size(vendor: Vendor, client: httpx.Client) -> None:
    vendor.next(OtherSize(width=48, height=32))
    assert Image.open(io.BytesIO(picture(vendor, client, ask(vendor, client)))).size == (48, 32)


def test_faults_come_in_order_and_by_kind_of_request(polled: Vendor, client: httpx.Client) -> None:
    polled.next(None, ServerError(status=500))
    polled.next(ServerError(status=503), step="poll")
    assert ask(polled, client).status_code < 300
    assert ask(polled, client).status_code == 500
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        picture(polled, client, ask(polled, client))


def test_faults_for_what_matches(vendor: Vendor, client: httpx.Client) -> None:
    vendor.when(lambda seen: "fox" in seen.text, ServerError(), times=2)
    told = [ask(vendor, client, prompt=prompt).status_code for prompt in ("a fox", "a hen", "a fox", "a fox")]
    assert [status == 503 for status in told] == [True, False, True, False]


def test_a_part_of_the_requests_fails_the_same_in_every_run(client: httpx.Client) -> None:
    def run() -> list[int]:
        with HuggingFace() as vendor:
            vendor.often(ServerError(), 0.4, seed=1)
            return [ask(vendor, client).status_code for _ in range(12)]

    first = run()
    assert 0 < first.count(503) < 12
    assert run() == first


def test_retired_models_are_gone(vendor: Vendor, client: httpx.Client) -> None:
    name = {Google: "imagen-3.0", OpenAI: "gpt-image-1", BlackForestLabs: "flux-dev"}.get(type(vendor), "old/model")
    vendor.retired.add(name)
    assert ask(vendor, client, model=name).status_code == 404
    assert not vendor.charges


def test_polls_bring_progress_and_previews(polled: Vendor, client: httpx.Client) -> None:
    polled.next(Pending(rounds=3, previews=True))
    told = ask(polled, client).json()
    url = told.get("polling_url") or told.get("status_url") or told["urls"]["get"]
    states = [poll(polled, client, url) for _ in range(4)]
    assert len({state["status"] for state in states[:3]} & {"Ready", "succeeded", "COMPLETED"}) == 0
    assert states[3]["status"] in ("Ready", "succeeded", "COMPLETED")
    if isinstance(polled, BlackForestLabs):
        assert [state["progress"] for state in states] == [0.25, 0.5, 0.75, None]
        assert Image.open(io.BytesIO(base64.b64decode(states[0]["preview"]["image"]))).size == (128, 128)


def test_jobs_that_fail_are_lost_or_expire(polled: Vendor, client: httpx.Client) -> None:
    polled.next(Lost(), Expired(status=410))
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        picture(polled, client, ask(polled, client))
    with pytest.raises(httpx.HTTPStatusError, match="410"):
        picture(polled, client, ask(polled, client))
    answer = ask(polled, client)
    assert picture(polled, client, answer)
    polled.expire()
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        picture(polled, client, answer)
    assert len(polled.charges) == 3


def test_addresses_elsewhere(polled: Vendor, client: httpx.Client) -> None:
    polled.next(Elsewhere(poll="https://example.org", picture="http://127.0.0.1:1"))
    told = ask(polled, client).json()
    url = told.get("polling_url") or told.get("status_url")
    assert isinstance(polled, Replicate) or url.startswith("https://example.org/")
    polled.next(Elsewhere(picture="http://127.0.0.1:1"))
    with pytest.raises(httpx.ConnectError):
        picture(polled, client, ask(polled, client))


def test_two_regions_of_one_vendor(black_forest_labs: BlackForestLabs, client: httpx.Client) -> None:
    with serve(black_forest_labs.app) as region, serve(black_forest_labs.app) as delivery:
        black_forest_labs.polling_url, black_forest_labs.delivery_url = region, delivery
        answer = ask(black_forest_labs, client)
        assert answer.json()["polling_url"].startswith(region)
        assert picture(black_forest_labs, client, answer)
    assert [seen.step for seen in black_forest_labs.requests] == ["generate", "poll", "poll", "picture"]
    assert black_forest_labs.requests[-1].headers["host"] == delivery.removeprefix("http://")


@pytest.mark.parametrize(
    ("fault", "status", "charged"),
    [
        (Refused(), "Content Moderated", 1),
        (Refused(how="Request Moderated"), "Request Moderated", 0),
        (Refused(charged=False), "Content Moderated", 0),
        (Failed(), "Error", 1),
    ],
    ids=str,
)
def test_black_forest_labs_says_no(
    black_forest_labs: BlackForestLabs, client: httpx.Client, fault: Fault, status: str, charged: int
) -> None:
    black_forest_labs.rounds = 0
    black_forest_labs.next(fault)
    told = ask(black_forest_labs, client).json()
    state = poll(black_forest_labs, client, told["polling_url"])
    assert (state["status"], state["result"], len(black_forest_labs.charges)) == (status, None, charged)


def test_black_forest_labs_counts_credits_and_tasks(client: httpx.Client) -> None:
    with BlackForestLabs(seconds=60) as vendor:
        body = {"prompt": "a fox", "width": 2000, "height": 1000, "input_image": "AA==", "input_image_2": "AA=="}
        told = client.post(f"{vendor.url}/v1/flux-2-pro", json=body, headers={"x-key": vendor.key}).json()
        assert (told["cost"], told["input_mp"], told["output_mp"]) == (3 + 1.5 * (1 + 2), 2.0, 2.0)
        assert [ask(vendor, client).status_code for _ in range(24)] == [200] * 23 + [429]
        assert poll(vendor, client, told["polling_url"])["status"] == "Pending"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"prompt": "a fox", "colour": "red"}, 422),
        ({"prompt": "a fox", "width": 32}, 422),
        ({"width": 512}, 422),
        ({"prompt": "a fox"}, 200),
    ],
)
def test_black_forest_labs_checks_what_is_asked(
    black_forest_labs: BlackForestLabs, client: httpx.Client, body: dict[str, Any], status: int
) -> None:
    answer = client.post(f"{black_forest_labs.url}/v1/flux-2-pro", json=body, headers={"x-key": black_forest_labs.key})
    assert answer.status_code == status
    assert status == 200 or isinstance(answer.json()["detail"], list)


def test_a_mistake_of_the_stand_in_is_not_silent(client: httpx.Client) -> None:
    with pytest.raises(AssertionError, match="The stand-in itself is broken"), OpenAI() as vendor:
        assert ask(vendor, client, prompt=["no", "text"]).status_code == 500


def test_a_request_still_under_way_does_not_hold_up_the_end() -> None:
    with HuggingFace() as vendor:
        vendor.next(Slow(seconds=600))

        def run() -> None:
            with httpx.Client(verify=False) as client, pytest.raises(httpx.TransportError):  # noqa: S501
                ask(vendor, client)

        thread = threading.Thread(target=run)
        thread.start()
        vendor.wait_until(lambda vendor: len(vendor.charges) == 1)
    thread.join()


def test_the_same_port_again(client: httpx.Client) -> None:
    with Google() as first:
        ask(first, client)
        port = int(first.url.rpartition(":")[2])
    second = Google()
    with serve(second.app, port=port) as second.url:
        assert ask(second, client).status_code == 200


def test_pictures() -> None:
    plain = Image.open(io.BytesIO(pictures.plain(300, 200, (1, 2, 3))))
    assert plain.getcolors() == [(300 * 200, (1, 2, 3))]
    assert Image.open(io.BytesIO(pictures.plain(4, 4, (1, 2, 3), alpha=0))).getcolors() == [(16, (1, 2, 3, 0))]
    for media_type, name in pictures.FORMATS.items():
        data = pictures.draw("a fox", width=64, height=48, media_type=media_type)
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.size) == (name, (64, 48))
    assert len(pictures.bomb()) < 1000


def test_a_vendor_as_a_process_bills_before_it_answers(tmp_path: Path, client: httpx.Client) -> None:
    journal = tmp_path / "charges.jsonl"
    vendor = HuggingFace()
    failing = ("--fault", "Dropped:charged=True", "--rate", "0.5")
    with process("huggingface", "--journal", str(journal), *failing) as vendor.url:
        told: list[int | None] = []
        for number in range(8):
            try:
                told.append(ask(vendor, client, prompt=f"fox {number}").status_code)
            except httpx.TransportError:
                told.append(None)
    assert set(told) == {200, None}
    charges = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    assert [charge["prompt"] for charge in charges] == [f"fox {number}" for number in range(8)]


def test_a_charge_is_on_disk_though_the_client_was_killed(tmp_path: Path) -> None:
    journal = tmp_path / "charges.jsonl"
    with Google(journal=journal) as vendor:
        vendor.next(Held())
        body = json.dumps({"contents": [{"parts": [{"text": "a fox"}]}]})
        url = f"{vendor.url}/v1/models/gemini-3.1-flash-image:generateContent"
        script = (
            "import sys, urllib.request\n"
            "url, body, key = sys.argv[1:]\n"
            "headers = {'x-goog-api-key': key, 'content-type': 'application/json'}\n"
            "urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers))\n"
        )
        with subprocess.Popen([sys.executable, "-c", script, url, body, vendor.key]) as client:
            vendor.wait_until(lambda vendor: len(vendor.charges) == 1)
            client.kill()
        assert client.returncode == -signal.SIGKILL
        assert json.loads(journal.read_text("utf-8")) == vendor.charges[0]


@pytest.mark.parametrize("options", [["nobody"], ["google", "--fault", "Tired"], ["google", "--fault", "Vendor"]])
def test_a_process_that_cannot_be(options: list[str]) -> None:
    command = [sys.executable, "-m", "tests.standins", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "usage:" in ended.stderr
