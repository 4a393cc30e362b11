"""fal's provider, over HTTP to the stand-in of the vendor."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from starlette.responses import Response

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
from diptych.images import Input, Request
from diptych.providers import fal as module
from diptych.providers import links
from diptych.providers.fal import Fal
from tests.providers.conftest import KEY
from tests.providers.jobs import NEVER, Kept, ask, left_waiting
from tests.standins import faults
from tests.standins.answering import Seen
from tests.standins.fal import Fal as StandIn
from tests.standins.faults import Fault
from tests.standins.pictures import draw

MODEL = Model(
    name="flux",
    title="FLUX",
    provider="fal",
    remote_id="fal-ai/flux/schnell",
    prices=(Price(per_image=0.5, source="a test"),),
)
FOX = Request(prompt="a fox in snow", width=64, height=64, seed=3)


@pytest.fixture
def vendor(fal: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", fal.url)
    return fal


def fails(
    vendor: StandIn, kind: type[ProviderError], *given: Fault, step: str = "generate", request: Request = FOX
) -> ProviderError:
    vendor.next(*given, step=step)
    with pytest.raises(kind) as caught:
        ask(Fal, MODEL, request)
    assert type(caught.value) is kind
    assert KEY not in str(caught.value)
    return caught.value


# A picture


def test_picture(vendor: StandIn) -> None:
    watch = Kept(vendor)
    picture = ask(Fal, MODEL, FOX, watch)

    assert picture.data == next(iter(vendor.pictures.values()))
    assert (picture.media_type, picture.width, picture.height) == ("image/jpeg", 64, 64)
    submitted, *asked, fetched = vendor.requests
    assert submitted.path == "/fal-ai/flux/schnell"
    assert submitted.body == {"prompt": "a fox in snow", "image_size": {"width": 64, "height": 64}, "seed": 3}
    assert [seen.step for seen in asked] == ["poll", "poll", "result"]
    assert {seen.headers["authorization"] for seen in (submitted, *asked)} == {f"Key {KEY}"}
    assert fetched.step == "picture"
    assert KEY not in str(fetched.headers)
    assert len(vendor.charges) == 1

    assert watch.asked_before == ["generate"]
    assert json.loads(watch.handles[0])["request_id"] == picture.request_id == next(iter(vendor.jobs))
    assert picture.usage == {"timings": {"inference": 0.0}, "seed": 3}
    assert picture.cost is not None
    assert picture.cost.dollars == 0.5
    timing = picture.timing
    assert timing.first_byte is not None
    assert timing.download is not None
    assert timing.first_byte + timing.download <= timing.total


def test_settings_go_out_under_the_vendors_names(vendor: StandIn) -> None:
    pictures = [Input(draw(word, width=64, height=64)) for word in ("one", "two", "mask")]
    request = Request(
        prompt="a fox",
        negative="blur",
        aspect_ratio="16:9",
        steps=20,
        guidance=4.5,
        seed=1,
        references=tuple(pictures[:2]),
        mask=pictures[2],
        options={"output_format": "png", "image_size": "square"},
    )
    picture = ask(Fal, MODEL, request)
    body = vendor.requests[0].body
    links_ = [body.pop("image_url"), *body.pop("image_urls"), body.pop("mask_url")]
    assert all(link.startswith("data:image/png;base64,") for link in links_)
    assert links_[0] == links_[1]
    assert len(set(links_)) == 3
    assert body == {
        "prompt": "a fox",
        "negative_prompt": "blur",
        "aspect_ratio": "16:9",
        "num_inference_steps": 20,
        "guidance_scale": 4.5,
        "seed": 1,
        "output_format": "png",
        "image_size": "square",
    }
    assert (picture.media_type, picture.width) == ("image/png", 512)


def test_pictures_inside_the_answer(vendor: StandIn) -> None:
    told, data = vendor.output, draw("inside", width=64, height=64)
    uri = Input(data)
    vendor.output = lambda job: {  # type: ignore[method-assign]
        **told(job),
        "images": [{"url": module._data_uri(uri)}],
    }
    assert ask(Fal, MODEL, FOX).data == data
    assert vendor.seen("picture") == []


# Before anything is sent


def test_check(monkeypatch: pytest.MonkeyPatch) -> None:
    Fal().check(MODEL, [FOX])
    monkeypatch.delenv("FAL_KEY")
    with pytest.raises(MissingKey, match="FAL_KEY"):
        Fal().check(MODEL, [FOX])


def test_the_address_may_be_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._base() == "https://queue.fal.run"
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", "queue.example.org")
    assert module._base() == "https://queue.example.org"
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", "ftp://example.org")
    with pytest.raises(NotAvailable, match="FAL_QUEUE_RUN_HOST is"):
        Fal().check(MODEL, [FOX])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(prompt="x", quality="high"), "quality is 'high'"),
        (Request(prompt="x", options={"num_images": 4}), "num_images is 4; a request is for one picture"),
    ],
)
def test_what_cannot_be_sent_is_refused(request_: Request, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Fal().check(MODEL, [request_])


# Refusals and errors


def test_a_refusal(vendor: StandIn) -> None:
    error = fails(vendor, Refused, faults.Refused(how="content_policy_violation"))
    assert "flagged by a content checker" in str(error)
    assert error.charged is None


def test_a_black_picture_with_a_flag_is_a_refusal(vendor: StandIn) -> None:
    error = fails(vendor, Refused, faults.Refused(how="has_nsfw_concepts"))
    assert "has_nsfw_concepts" in str(error)
    assert vendor.seen("picture") == []


def test_a_flag_without_the_checker_is_none(vendor: StandIn) -> None:
    told = vendor.output
    vendor.output = lambda job: {**told(job), "has_nsfw_concepts": [True]}  # type: ignore[method-assign]
    request = Request(prompt="a fox", width=64, height=64, options={"enable_safety_checker": False})
    assert ask(Fal, MODEL, request).data in vendor.pictures.values()


def test_a_job_that_fails(vendor: StandIn) -> None:
    error = fails(vendor, ProviderError, faults.Failed(message="the worker stopped"))
    assert "runner_disconnected: the worker stopped" in str(error)
    assert error.charged is None


def test_a_result_that_fails_at_the_vendors_side_is_not_charged(fal: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(StandIn):
        def result(self, seen: Seen, fault: Fault | None) -> Response:
            return self.error(500, "the worker stopped", error_type="runner_disconnected")

    with Failing() as vendor:
        monkeypatch.setenv("FAL_QUEUE_RUN_HOST", vendor.url)
        error = fails(vendor, ProviderError)
        assert "the worker stopped" in str(error)
        assert error.charged is False
        assert len(vendor.seen("result")) == 1


def test_a_setting_that_the_model_refuses(vendor: StandIn) -> None:
    """The queue takes any request; the model refuses it later."""
    error = fails(vendor, ProviderError, faults.Invalid(message="steps must be at most 12"), step="result")
    assert "steps must be at most 12" in str(error)
    assert error.charged is None


@pytest.mark.parametrize("shape", ["vendor", "text", "list", "error"])
def test_a_setting_that_the_queue_refuses(vendor: StandIn, shape: str) -> None:
    error = fails(vendor, ProviderError, faults.Invalid(shape=shape))  # type: ignore[arg-type]
    assert (error.status, error.charged) == (422, False)
    assert "steps must be at most 50" in str(error)


def test_an_unknown_job_may_be_charged(vendor: StandIn) -> None:
    error = fails(vendor, ProviderError, faults.Lost())
    assert (error.status, error.charged) == (404, None)


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (faults.OutOfCredits(), 403, "Exhausted balance"),
        (faults.Unauthorized(), 401, "Authentication is required"),
        (faults.Retired(), 404, "not found"),
    ],
)
def test_what_the_vendor_says_to_every_request(vendor: StandIn, fault: Fault, status: int, words: str) -> None:
    error = fails(vendor, ProviderError, fault)
    assert (error.status, error.charged) == (status, False)
    assert words in str(error)
    assert len(vendor.requests) == 1


# What may be repeated, and what may not


def test_a_limit_is_waited_for(vendor: StandIn) -> None:
    vendor.next(faults.RateLimited(retry_after=0.02), None)
    ask(Fal, MODEL, FOX)
    assert [len(vendor.seen("generate")), len(vendor.charges)] == [2, 1]


def test_a_long_limit_goes_to_the_caller(vendor: StandIn) -> None:
    assert fails(vendor, RateLimited, faults.RateLimited(retry_after=3600)).retry_after == 3600


def test_nobody_there(one_attempt: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", "http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        ask(Fal, MODEL, FOX)


@pytest.mark.parametrize(
    "fault", [faults.Dropped(), faults.Dropped(charged=True, reset=True), faults.Truncated()], ids=repr
)
def test_a_connection_lost_at_the_submission_is_not_repeated(vendor: StandIn, fault: Fault) -> None:
    assert fails(vendor, Unanswered, fault).charged is None
    assert len(vendor.seen("generate")) == 1


def test_an_answer_that_does_not_come(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "ANSWER_WITHIN", 0.05)
    fails(vendor, Unanswered, faults.Held())
    assert len(vendor.charges) == 1


@pytest.mark.parametrize("kind", [faults.Html, faults.Empty, faults.Garbage, faults.OtherJson])
def test_an_answer_that_is_none_at_the_submission(vendor: StandIn, kind: Callable[[], Fault]) -> None:
    assert fails(vendor, BadAnswer, kind()).charged is None
    assert len(vendor.requests) == 1


def test_a_redirect_is_not_followed(vendor: StandIn) -> None:
    with StandIn() as other:
        assert fails(vendor, ProviderError, faults.Redirected(location=other.url)).status == 307
        assert other.requests == []


@pytest.mark.parametrize("step", ["poll", "result"])
@pytest.mark.parametrize(
    "fault",
    [
        faults.RateLimited(retry_after=0.01),
        faults.ServerError(status=500),
        faults.ServerError(status=503, retry_after=0.01),
        faults.Dropped(),
        faults.Truncated(),
        faults.Html(),
        faults.Garbage(),
        faults.Empty(),
    ],
    ids=repr,
)
def test_asking_goes_on(vendor: StandIn, fault: Fault, step: str) -> None:
    vendor.next(fault, fault, step=step)
    assert ask(Fal, MODEL, FOX).data in vendor.pictures.values()
    assert len(vendor.charges) == 1


def test_a_status_that_is_none(vendor: StandIn) -> None:
    vendor.next(*[faults.OtherJson()] * 3, step="poll")
    assert "has the status 'None'" in str(fails(vendor, Unanswered))


def test_a_result_that_is_none_is_charged_perhaps(vendor: StandIn) -> None:
    error = fails(vendor, BadAnswer, faults.OtherJson(), step="result")
    assert "has no picture" in str(error)
    assert error.charged is None


# Going on with a job


def test_another_process_goes_on(vendor: StandIn) -> None:
    vendor.next(faults.Pending(rounds=10**6))
    handle = left_waiting(Fal, MODEL, FOX, vendor)
    next(iter(vendor.jobs.values())).rounds = 0
    watch = Kept(handle=handle)
    assert ask(Fal, MODEL, FOX, watch).data in vendor.pictures.values()
    assert watch.handles == []
    assert len(vendor.charges) == len(vendor.seen("generate")) == 1


def test_a_job_that_is_not_done_in_time_stays_good(vendor: StandIn) -> None:
    watch = Kept()
    vendor.next(faults.Pending(rounds=10**6))
    with pytest.raises(Unanswered):
        ask(Fal, MODEL, FOX, watch, polling=NEVER)
    next(iter(vendor.jobs.values())).rounds = 0
    assert ask(Fal, MODEL, FOX, Kept(handle=watch.handles[0])).data in vendor.pictures.values()
    assert len(vendor.charges) == 1


def test_a_handle_that_is_none(vendor: StandIn) -> None:
    with pytest.raises(BadAnswer, match="no handle"):
        ask(Fal, MODEL, FOX, Kept(handle="{}"))
    assert vendor.requests == []


# Links


@pytest.mark.parametrize("address", ["https://example.org", "http://queue.fal.run", "https://fal.media"])
def test_the_key_goes_to_no_strange_host(vendor: StandIn, address: str) -> None:
    watch = Kept()
    vendor.next(faults.Elsewhere(poll=address))
    with pytest.raises(BadAnswer, match=address.partition("//")[2]):
        ask(Fal, MODEL, FOX, watch)
    assert len(watch.handles) == 1


@pytest.mark.parametrize("address", ["https://example.org", "http://v3.fal.media", "http://10.0.0.1"])
def test_the_picture_comes_from_no_strange_host(vendor: StandIn, address: str) -> None:
    assert address.partition("//")[2] in str(fails(vendor, BadAnswer, faults.Elsewhere(picture=address)))


@pytest.mark.parametrize("fault", [faults.ServerError(status=503), faults.Dropped(), faults.Truncated()], ids=repr)
def test_fetching_goes_on(vendor: StandIn, fault: Fault) -> None:
    vendor.next(fault, fault, step="picture")
    assert ask(Fal, MODEL, FOX).data in vendor.pictures.values()


def test_a_picture_that_expired_is_charged(vendor: StandIn) -> None:
    assert fails(vendor, ProviderError, faults.Expired()).charged is True


@pytest.mark.parametrize("kind", ["truncated", "bomb", "noise", "empty"])
def test_bad_pictures(vendor: StandIn, kind: str) -> None:
    fails(vendor, BadAnswer, faults.BadPicture(kind=kind))  # type: ignore[arg-type]
