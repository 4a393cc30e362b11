"""Black Forest Labs' provider, over HTTP to the stand-in of the vendor."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Called
from starlette.responses import Response
from starlette.routing import Route

from diptych.catalogue.model import Model
from diptych.catalogue.prices import Price
from diptych.errors import (
    BadAnswer,
    InvalidRequest,
    MissingKey,
    NotAvailable,
    ProviderError,
    RateLimited,
    Refused,
    Unanswered,
    Unreachable,
)
from diptych.images import Cost, Input, Request
from diptych.providers import black_forest_labs as module
from diptych.providers import calling, links
from diptych.providers.black_forest_labs import BlackForestLabs
from tests.providers.conftest import KEY
from tests.providers.jobs import NEVER, Kept, ask, left_waiting
from tests.standins import faults
from tests.standins.black_forest_labs import BlackForestLabs as StandIn
from tests.standins.faults import Fault
from tests.standins.pictures import draw
from tests.standins.server import serve

MODEL = Model(
    name="flux",
    title="FLUX",
    provider="black_forest_labs",
    remote_id="flux-2-pro",
    prices=(Price(per_image=0.5, source="a test"),),
)
FOX = Request(prompt="a fox in snow", width=64, height=64, seed=3)


@pytest.fixture
def vendor(black_forest_labs: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("BFL_BASE_URL", black_forest_labs.url)
    return black_forest_labs


def fails(vendor: StandIn, kind: type[ProviderError], *given: Fault, step: str = "generate") -> ProviderError:
    vendor.next(*given, step=step)
    with pytest.raises(kind) as caught:
        ask(BlackForestLabs, MODEL, FOX)
    assert type(caught.value) is kind
    assert caught.value.provider == "black_forest_labs"
    assert KEY not in str(caught.value)
    return caught.value


# A picture


def test_picture(vendor: StandIn) -> None:
    watch = Kept(vendor)
    picture = ask(BlackForestLabs, MODEL, FOX, watch)

    assert picture.data == next(iter(vendor.pictures.values()))
    assert (picture.media_type, picture.width, picture.height) == ("image/png", 64, 64)
    submitted, *polls, fetched = vendor.requests
    assert submitted.path == "/v1/flux-2-pro"
    assert submitted.body == {"prompt": "a fox in snow", "width": 64, "height": 64, "seed": 3, "output_format": "png"}
    assert [seen.step for seen in polls] == ["poll", "poll"]
    assert {seen.headers["x-key"] for seen in (submitted, *polls)} == {KEY}
    assert fetched.step == "picture"
    assert KEY not in str(fetched.headers)
    assert len(vendor.charges) == 1

    assert watch.asked_before == ["generate"]
    handle = json.loads(watch.handles[0])
    assert picture.request_id == handle["id"]
    assert handle["polling_url"] == f"{vendor.url}/v1/get_result?id={handle['id']}"
    assert handle["submitted"] <= time.time()
    assert KEY not in watch.handles[0]


def test_cost_is_what_the_vendor_states(vendor: StandIn) -> None:
    """3 credits of one cent for up to a megapixel, in place of the catalogue's price."""
    picture = ask(BlackForestLabs, MODEL, FOX)
    assert picture.cost == Cost(0.03, "stated")
    assert picture.usage["cost"] == 3
    assert picture.usage["seed"] == 3


def test_without_a_stated_cost_it_is_the_price_of_the_catalogue(vendor: StandIn) -> None:
    watch = Kept()
    ask(BlackForestLabs, MODEL, FOX, watch)
    handle = json.dumps({**json.loads(watch.handles[0]), "cost": None})
    cost = ask(BlackForestLabs, MODEL, FOX, Kept(handle=handle)).cost
    assert cost is not None
    assert (cost.dollars, cost.basis) == (0.5, "price")


def test_timing(vendor: StandIn) -> None:
    vendor.seconds = 0.05
    timing = ask(BlackForestLabs, MODEL, FOX).timing
    assert timing.queued is not None
    assert timing.first_byte is not None
    assert timing.download is not None
    assert 0 <= timing.queued <= timing.first_byte < timing.total
    assert timing.total >= 0.05
    assert timing.first_byte + timing.download <= timing.total


def test_settings_go_out_under_the_vendors_names(vendor: StandIn) -> None:
    references = [Input(draw(word, width=64, height=64)) for word in ("one", "two", "three")]
    request = Request(
        prompt="both",
        aspect_ratio="16:9",
        steps=20,
        guidance=4.5,
        seed=1,
        references=tuple(references),
        options={"prompt_upsampling": False, "safety_tolerance": 3, "output_format": "jpeg"},
    )
    picture = ask(BlackForestLabs, MODEL, request)
    body = vendor.requests[0].body
    sent = [base64.b64decode(body.pop(name)) for name in ("input_image", "input_image_2", "input_image_3")]
    assert sent == [one.data for one in references]
    assert body == {
        "prompt": "both",
        "aspect_ratio": "16:9",
        "steps": 20,
        "guidance": 4.5,
        "seed": 1,
        "prompt_upsampling": False,
        "safety_tolerance": 3,
        "output_format": "jpeg",
    }
    assert picture.media_type == "image/jpeg"
    assert (picture.width, picture.height) == (1360, 768)


def test_another_size_than_asked_for_is_said(vendor: StandIn) -> None:
    vendor.next(faults.OtherSize(width=96, height=32))
    picture = ask(BlackForestLabs, MODEL, FOX)
    assert (picture.width, picture.height) == (96, 32)
    assert (picture.request.width, picture.request.height) == (64, 64)


def test_many_rounds_and_previews(vendor: StandIn) -> None:
    vendor.next(faults.Pending(rounds=12, previews=True))
    watch = Kept()
    ask(BlackForestLabs, MODEL, FOX, watch)
    assert len(vendor.seen("poll")) == 13
    assert len(vendor.charges) == 1
    assert 1 < len(watch.partials) <= 12
    assert all(data.startswith(b"\x89PNG") for data in watch.partials)


def test_many_at_once(vendor: StandIn) -> None:
    vendor.seconds = 0.02

    async def go() -> set[bytes]:
        async with BlackForestLabs() as provider:
            provider.polling = links.Pace(first=0.01, most=0.02)
            requests = [Request(prompt="a fox", width=64, height=64, seed=seed) for seed in range(20)]
            pictures = await asyncio.gather(*(provider.generate(MODEL, request) for request in requests))
            assert [p.request for p in pictures] == requests
            return {p.data for p in pictures}

    assert asyncio.run(go()) == set(vendor.pictures.values())


# Before anything is sent


def check(request: Request = FOX) -> None:
    BlackForestLabs().check(MODEL, [request])


def test_check_passes() -> None:
    check()


def test_check_wants_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BFL_API_KEY")
    with pytest.raises(MissingKey, match="BFL_API_KEY"):
        check()


@pytest.mark.parametrize("address", ["ftp://api.bfl.ai", "api.bfl.ai", "http://"])
def test_check_wants_an_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("BFL_BASE_URL", address)
    with pytest.raises(NotAvailable, match="BFL_BASE_URL is"):
        check()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(prompt="x", negative="blur"), "negative is 'blur'"),
        (Request(prompt="x", quality="high"), "quality is 'high'"),
        (Request(prompt="x", image_size="2K"), "image_size is '2K'"),
        (Request(prompt="x", options={"region": "mars"}), "region is 'mars'; it is eu or us"),
    ],
)
def test_what_cannot_be_sent_is_refused(request_: Request, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check(request_)


def test_regions_have_their_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def address(**options: str) -> str:
        return module._base(Request(prompt="x", options=options))

    assert address() == "https://api.bfl.ai"
    assert address(region="eu") == "https://api.eu.bfl.ai"
    assert address(region="us") == "https://api.us.bfl.ai"
    monkeypatch.setenv("BFL_BASE_URL", "https://gateway.example/bfl/")
    assert address(region="us") == "https://gateway.example/bfl"


# Refusals and errors


@pytest.mark.parametrize("how", ["Request Moderated", "Content Moderated"])
def test_refusals(vendor: StandIn, how: str) -> None:
    error = fails(vendor, Refused, faults.Refused(how=how))
    assert how in str(error)
    assert "Derivative Works Filter" in str(error)
    assert error.charged is None
    assert error.request_id is not None


def test_a_job_that_fails_may_be_charged(vendor: StandIn) -> None:
    error = fails(vendor, ProviderError, faults.Failed(message="the worker stopped"))
    assert "the worker stopped" in str(error)
    assert error.charged is None


def test_a_job_that_is_not_known_may_be_charged(vendor: StandIn) -> None:
    error = fails(vendor, ProviderError, faults.Lost())
    assert "Task not found" in str(error)
    assert error.charged is None


def test_a_new_job_may_not_be_known_everywhere_at_once(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {"id": "x", "status": "Task not found"}
    vendor.next(*[faults.OtherJson(status=404, value=lost)] * 3, step="poll")

    async def go() -> None:
        async with BlackForestLabs() as provider:
            provider.polling = links.Pace(first=0.001, most=0.005)
            await provider.generate(MODEL, FOX)

    asyncio.run(go())
    assert len(vendor.charges) == 1


@pytest.mark.parametrize("shape", ["vendor", "text", "list", "error"])
def test_a_setting_that_the_vendor_refuses(vendor: StandIn, shape: str) -> None:
    error = fails(vendor, ProviderError, faults.Invalid(shape=shape))  # type: ignore[arg-type]
    assert (error.status, error.charged) == (422, False)
    assert "steps must be at most 50" in str(error)
    assert ("steps: steps must be" in str(error)) == (shape in ("vendor", "list"))  # which setting, where it is said


def test_out_of_credits(vendor: StandIn) -> None:
    error = fails(vendor, ProviderError, faults.OutOfCredits())
    assert (error.status, error.charged) == (402, False)
    assert "Insufficient credits" in str(error)


def test_a_model_that_is_gone(vendor: StandIn) -> None:
    assert fails(vendor, ProviderError, faults.Retired()).status == 404


def test_a_wrong_key_is_not_repeated(vendor: StandIn) -> None:
    said = faults.OtherJson(status=403, charged=False, value={"detail": f"{KEY} is not a key"})
    error = fails(vendor, ProviderError, said)
    assert error.status == 403
    assert "[key] is not a key" in str(error)


# What may be repeated, and what may not


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
def test_a_limit_is_waited_for(vendor: StandIn, form: str) -> None:
    vendor.next(faults.RateLimited(retry_after=0.02, form=form), None)  # type: ignore[arg-type]
    ask(BlackForestLabs, MODEL, FOX)
    assert [len(vendor.seen("generate")), len(vendor.charges)] == [2, 1]


def test_a_long_limit_goes_to_the_caller(vendor: StandIn) -> None:
    error = fails(vendor, RateLimited, faults.RateLimited(retry_after=3600))
    assert error.retry_after == 3600
    assert len(vendor.requests) == 1


def test_nobody_there(one_attempt: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFL_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(Unreachable) as caught:
        ask(BlackForestLabs, MODEL, FOX)
    assert caught.value.charged is False


@pytest.mark.parametrize(
    "fault",
    [faults.Dropped(), faults.Dropped(charged=True), faults.Dropped(charged=True, reset=True), faults.Truncated()],
    ids=repr,
)
def test_a_connection_lost_at_the_submission_is_not_repeated(vendor: StandIn, fault: Fault) -> None:
    error = fails(vendor, Unanswered, fault)
    assert error.charged is None
    assert len(vendor.seen("generate")) == 1


def test_an_answer_that_does_not_come(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "ANSWER_WITHIN", 0.05)
    error = fails(vendor, Unanswered, faults.Held())
    assert "within 0.05 s" in str(error)
    assert len(vendor.charges) == 1


@pytest.mark.parametrize("kind", [faults.Html, faults.Empty, faults.Garbage, faults.OtherJson])
def test_an_answer_that_is_none_at_the_submission(vendor: StandIn, kind: Callable[[], Fault]) -> None:
    error = fails(vendor, BadAnswer, kind())
    assert error.charged is None
    assert len(vendor.requests) == 1


def test_a_redirect_of_the_submission_is_not_followed(vendor: StandIn) -> None:
    with StandIn() as other:
        error = fails(vendor, ProviderError, faults.Redirected(location=f"{other.url}/v1/flux-2-pro"))
        assert error.status == 307
        assert other.url in str(error)
        assert other.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        faults.RateLimited(retry_after=0.01),
        faults.ServerError(status=500),
        faults.ServerError(status=503, retry_after=0.01),
        faults.ServerError(status=504),
        faults.Dropped(),
        faults.Dropped(charged=True, reset=True),
        faults.Truncated(),
        faults.Html(status=200),
        faults.Html(status=502),
        faults.Garbage(),
        faults.Empty(),
        faults.OtherJson(),
    ],
    ids=repr,
)
def test_polling_goes_on(vendor: StandIn, fault: Fault) -> None:
    vendor.next(fault, None, fault, step="poll")
    picture = ask(BlackForestLabs, MODEL, FOX)
    assert picture.data in vendor.pictures.values()
    assert len(vendor.charges) == 1


@pytest.mark.parametrize(
    "fault", [faults.Dropped(), faults.ServerError(status=500), faults.Html(), faults.Unauthorized(status=0)], ids=repr
)
def test_a_job_that_cannot_be_asked_for_stays_good(vendor: StandIn, fault: Fault) -> None:
    watch = Kept()
    vendor.next(*[fault] * 100, step="poll")
    with pytest.raises(Unanswered) as caught:
        ask(BlackForestLabs, MODEL, FOX, watch, polling=NEVER)
    assert caught.value.charged is None
    assert caught.value.request_id == json.loads(watch.handles[0])["id"]

    vendor._queue.clear()
    picture = ask(BlackForestLabs, MODEL, FOX, Kept(handle=watch.handles[0]))
    assert picture.data in vendor.pictures.values()
    assert len(vendor.charges) == len(vendor.seen("generate")) == 1


# Going on with a job


def test_another_process_goes_on(vendor: StandIn) -> None:
    vendor.next(faults.Pending(rounds=10**6))
    handle = left_waiting(BlackForestLabs, MODEL, FOX, vendor)
    next(iter(vendor.jobs.values())).rounds = 0

    watch = Kept(handle=handle)
    picture = ask(BlackForestLabs, MODEL, FOX, watch)
    assert picture.data in vendor.pictures.values()
    assert picture.cost == Cost(0.03, "stated")
    assert picture.request_id == json.loads(handle)["id"]
    assert watch.handles == []
    assert len(vendor.charges) == len(vendor.seen("generate")) == 1


def test_the_time_between_two_processes_does_not_count(vendor: StandIn) -> None:
    """The vendor says when the job was done; when nobody asked for it afterwards is nobody's latency."""
    watch, now = Kept(), time.time()
    ask(BlackForestLabs, MODEL, FOX, watch)
    handle = json.dumps({**json.loads(watch.handles[0]), "submitted": now - 100_000})
    assert ask(BlackForestLabs, MODEL, FOX, Kept(handle=handle)).timing.total >= 100_000  # done when it was asked for

    result = vendor.result
    vendor.result = lambda job: {  # type: ignore[method-assign]
        **result(job),
        "start_time": now - 95_000,
        "end_time": now - 90_000,
    }
    timing = ask(BlackForestLabs, MODEL, FOX, Kept(handle=handle)).timing
    assert timing.total == pytest.approx(10_000, abs=1000)
    assert timing.queued == pytest.approx(5_000)


@pytest.mark.parametrize("handle", ["", "abc", "[]", '{"id": "x"}', '{"id": 1, "polling_url": 2, "submitted": 3}'])
def test_a_handle_that_is_none(vendor: StandIn, handle: str) -> None:
    with pytest.raises(BadAnswer, match="no handle"):
        ask(BlackForestLabs, MODEL, FOX, Kept(handle=handle))
    assert vendor.requests == []


# Links


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://example.org", "example.org"),
        ("http://api.bfl.ai", "without TLS"),
        ("https://api.bfl.ai@example.org", "no address of the web"),
        ("https://notbfl.ai", "notbfl.ai"),
        ("file:///etc", "no address of the web"),
    ],
)
def test_polling_goes_to_no_strange_host(vendor: StandIn, address: str, host: str) -> None:
    watch = Kept()
    vendor.next(faults.Elsewhere(poll=address))
    with pytest.raises(BadAnswer, match=host) as caught:
        ask(BlackForestLabs, MODEL, FOX, watch)
    assert caught.value.charged is None
    assert len(watch.handles) == 1  # so that it can be looked into, or gone on with elsewhere
    assert vendor.seen("poll") == []


def test_polling_and_delivery_may_be_at_another_address_of_the_gateway(vendor: StandIn) -> None:
    with serve(vendor.app) as second, serve(vendor.app) as third:
        vendor.polling_url, vendor.delivery_url = second, third
        picture = ask(BlackForestLabs, MODEL, FOX)
        assert picture.data in vendor.pictures.values()
        hosts = {seen.step: seen.headers["host"] for seen in vendor.requests}
        assert hosts == {"generate": vendor.url[7:], "poll": second[7:], "picture": third[7:]}
        assert "x-key" not in vendor.requests[-1].headers


@pytest.mark.parametrize("address", ["https://example.org", "http://delivery.eu1.bfl.ai", "http://169.254.169.254"])
def test_the_picture_comes_from_no_strange_host(vendor: StandIn, address: str) -> None:
    error = fails(vendor, BadAnswer, faults.Elsewhere(picture=address))
    assert address.partition("//")[2] in str(error)
    assert error.charged is None


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_picture_that_expired_is_charged(vendor: StandIn, status: int) -> None:
    error = fails(vendor, ProviderError, faults.Expired(status=status))
    assert "expire" in str(error)
    assert (error.status, error.charged) == (status, True)
    assert len(vendor.seen("picture")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        faults.RateLimited(retry_after=0.01),
        faults.ServerError(status=503),
        faults.Dropped(),
        faults.Dropped(charged=True, reset=True),
        faults.Truncated(),
        faults.Trickled(seconds=0.02),
    ],
    ids=repr,
)
def test_fetching_goes_on(vendor: StandIn, fault: Fault) -> None:
    vendor.next(fault, fault, step="picture")
    assert ask(BlackForestLabs, MODEL, FOX).data in vendor.pictures.values()


def test_a_picture_that_cannot_be_fetched_now_can_be_later(vendor: StandIn) -> None:
    watch = Kept()
    vendor.next(*[faults.ServerError(status=500)] * 100, step="picture")
    with pytest.raises(Unanswered, match=r"gave no picture within 0\.05 s") as caught:
        ask(BlackForestLabs, MODEL, FOX, watch, downloading=NEVER)
    assert caught.value.status == 500
    vendor._queue.clear()
    assert ask(BlackForestLabs, MODEL, FOX, Kept(handle=watch.handles[0])).data in vendor.pictures.values()
    assert len(vendor.charges) == 1


def test_a_redirect_of_the_picture_is_followed_without_the_key(vendor: StandIn) -> None:
    data, headers = draw("moved", width=64, height=64), []

    def answer(request: Called) -> Response:
        headers.append(str(request.headers))
        return Response(data, media_type="image/png")

    with serve(Starlette(routes=[Route("/moved.png", answer)])) as second:
        vendor.next(faults.Redirected(location=f"{second}/moved.png", status=302), step="picture")
        assert ask(BlackForestLabs, MODEL, FOX).data == data
    assert len(headers) == 1
    assert KEY not in headers[0]


@pytest.mark.parametrize(
    "location", ["https://example.org/x.png", "//example.org/x.png", "http://delivery.eu1.bfl.ai/x"]
)
def test_a_redirect_of_the_picture_to_a_strange_host_is_not(vendor: StandIn, location: str) -> None:
    error = fails(vendor, BadAnswer, faults.Redirected(location=location, status=302), step="picture")
    assert location.split("/")[2] in str(error)


def test_redirects_in_a_circle(vendor: StandIn) -> None:
    vendor.when(lambda seen: seen.step == "picture", faults.Redirected(location="?again", status=302))
    assert "redirects more than 5 times" in str(fails(vendor, BadAnswer))
    assert len(vendor.seen("picture")) == 6


@pytest.mark.parametrize("kind", ["truncated", "bomb", "noise", "empty"])
def test_bad_pictures(vendor: StandIn, kind: str) -> None:
    error = fails(vendor, BadAnswer, faults.BadPicture(kind=kind))  # type: ignore[arg-type]
    assert "cannot be used" in str(error)
    assert error.charged is None


def test_an_endless_picture_does_not_fill_the_memory(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "LONGEST_ANSWER", 2000)
    vendor.next(faults.OtherSize(width=1024, height=1024))
    assert "more than 2,000 bytes" in str(fails(vendor, BadAnswer))
