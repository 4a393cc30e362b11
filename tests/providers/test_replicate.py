"""Replicate's provider with the vendor's real client, over HTTP to the stand-in of the vendor."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable

import pytest
from starlette.responses import Response

from diptych.catalogue.model import Model
from diptych.catalogue.prices import Price
from diptych.errors import (
    BadAnswer,
    InvalidRequest,
    MissingExtra,
    MissingKey,
    NotAvailable,
    ProviderError,
    RateLimited,
    Refused,
    Unanswered,
    Unreachable,
)
from diptych.images import Input, Request
from diptych.providers import replicate as module
from diptych.providers.replicate import Replicate
from tests.providers.conftest import KEY
from tests.providers.jobs import NEVER, Kept, ask, left_waiting
from tests.standins import faults
from tests.standins.answering import Part
from tests.standins.faults import Fault
from tests.standins.pictures import draw
from tests.standins.replicate import Replicate as StandIn

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


def model(remote_id: str = "black-forest-labs/flux-2-pro") -> Model:
    return Model(
        name="flux",
        title="FLUX",
        provider="replicate",
        remote_id=remote_id,
        prices=(Price(per_image=0.5, source="a test"),),
    )


MODEL = model()
FOX = Request(prompt="a fox in snow", width=64, height=64, seed=3)


@pytest.fixture
def vendor(replicate: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("REPLICATE_BASE_URL", replicate.url)
    return replicate


def fails(vendor: StandIn, kind: type[ProviderError], *given: Fault, step: str = "generate") -> ProviderError:
    vendor.next(*given, step=step)
    with pytest.raises(kind) as caught:
        ask(Replicate, MODEL, FOX)
    assert type(caught.value) is kind
    assert KEY not in str(caught.value)
    return caught.value


# A picture


def test_picture(vendor: StandIn) -> None:
    watch = Kept(vendor)
    picture = ask(Replicate, MODEL, FOX, watch)

    assert picture.data == next(iter(vendor.pictures.values()))
    assert (picture.media_type, picture.width, picture.height) == ("image/webp", 64, 64)
    created, *polls, fetched = vendor.requests
    assert created.path == "/v1/models/black-forest-labs/flux-2-pro/predictions"
    assert created.body == {"input": {"prompt": "a fox in snow", "width": 64, "height": 64, "seed": 3}}
    assert "prefer" not in created.headers  # the id comes at once
    assert {seen.headers["authorization"] for seen in (created, *polls)} == {f"Bearer {KEY}"}
    assert KEY not in str(fetched.headers)
    assert len(vendor.charges) == 1

    assert watch.asked_before == ["generate"]
    handle = json.loads(watch.handles[0])
    assert handle["id"] == picture.request_id == next(iter(vendor.jobs))
    assert picture.usage == {"predict_time": 0.0, "image_count": 1}
    assert picture.cost is not None
    assert picture.cost.dollars == 0.5
    assert picture.recipe["versions"]["replicate"]


def test_versions_are_asked_for_by_their_id(vendor: StandIn) -> None:
    vendor.versions[VERSION] = "someone/something"
    ask(Replicate, model(f"someone/something:{VERSION}"), FOX)
    assert vendor.requests[0].path == "/v1/predictions"
    assert vendor.requests[0].body["version"] == VERSION
    assert vendor.charges[0]["model"] == "someone/something"


def test_outputs_as_lists_and_inside_the_answer(vendor: StandIn) -> None:
    picture = ask(Replicate, model("black-forest-labs/flux-schnell"), FOX)  # gives a list
    assert picture.data in vendor.pictures.values()
    vendor.files = "data"
    picture = ask(Replicate, MODEL, FOX)
    assert picture.data in vendor.pictures.values()
    assert len(vendor.seen("picture")) == 1


def test_settings_go_out_under_the_vendors_names(vendor: StandIn) -> None:
    request = Request(
        prompt="a fox",
        negative="blur",
        aspect_ratio="16:9",
        steps=20,
        guidance=4.5,
        seed=1,
        options={"output_format": "png", "go_fast": True},
    )
    picture = ask(Replicate, MODEL, request)
    assert vendor.requests[0].body["input"] == {
        "prompt": "a fox",
        "negative_prompt": "blur",
        "aspect_ratio": "16:9",
        "num_inference_steps": 20,
        "guidance": 4.5,
        "seed": 1,
        "output_format": "png",
        "go_fast": True,
    }
    assert (picture.media_type, picture.width) == ("image/png", 1344)


def test_references_go_along_under_the_input_that_the_model_has(vendor: StandIn) -> None:
    two = (Input(draw("one", width=64, height=64)), Input(draw("two", width=64, height=64)))
    uri = "data:image/png;base64,"
    ask(Replicate, MODEL, Request(prompt="both", references=two))
    assert [one.startswith(uri) for one in vendor.requests[0].body["input"]["input_images"]] == [True, True]

    ask(Replicate, model("black-forest-labs/flux-kontext-pro"), Request(prompt="one", references=two[:1]))
    assert vendor.seen("generate")[-1].body["input"]["input_image"].startswith(uri)

    other = Request(prompt="one", references=two[:1], options={"references_as": "image"})
    ask(Replicate, model("someone/something"), other)
    sent = vendor.seen("generate")[-1].body["input"]
    assert sent["image"].startswith(uri)
    assert "references_as" not in sent


def test_large_references_are_uploaded(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_DATA_URI", 10)
    reference = Input(draw("one", width=64, height=64))
    vendor.next(faults.RateLimited(retry_after=0.01), step="other")
    ask(Replicate, MODEL, Request(prompt="both", references=(reference,)))
    upload = vendor.seen("other")[-1]
    part = next(part for part in upload.body if isinstance(part, Part) and part.name == "content")
    assert part.data == reference.data
    assert part.content_type == "image/png"
    links = vendor.seen("generate")[0].body["input"]["input_images"]
    assert links == [f"{vendor.url}/v1/files/{next(iter(vendor.uploads))}"]


def test_an_upload_that_fails_is_not_charged(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_DATA_URI", 10)
    vendor.next(faults.Invalid(message="too large"), step="other")
    request = Request(prompt="both", references=(Input(draw("one", width=64, height=64)),))
    with pytest.raises(ProviderError, match="too large") as caught:
        ask(Replicate, MODEL, request)
    assert caught.value.charged is False
    assert vendor.charges == []


def test_timing(vendor: StandIn) -> None:
    vendor.seconds = 0.05
    timing = ask(Replicate, MODEL, FOX).timing
    assert timing.first_byte is not None
    assert timing.download is not None
    assert 0.05 <= timing.first_byte < timing.total


def test_waiting_at_the_vendor_is_told_apart(vendor: StandIn) -> None:
    told = vendor.prediction
    dates = {"created_at": "2026-11-01T00:00:00.5Z", "started_at": "2026-11-01T00:00:03Z"}
    vendor.prediction = lambda job: {**told(job), **dates}  # type: ignore[method-assign]
    assert ask(Replicate, MODEL, FOX).timing.queued == 2.5


def test_answers_that_the_client_cannot_parse_are_read_all_the_same(vendor: StandIn) -> None:
    """The client wants a model and a version in every prediction."""
    told = vendor.prediction
    vendor.prediction = lambda job: {  # type: ignore[method-assign]
        name: value for name, value in told(job).items() if name not in ("model", "version")
    }
    assert ask(Replicate, MODEL, FOX).data in vendor.pictures.values()


# Before anything is sent


def test_check(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Replicate()
    provider.check(MODEL, [FOX])
    provider.check(model(f"someone/some-thing.1:{VERSION}"), [FOX])
    monkeypatch.delenv("REPLICATE_API_TOKEN")
    with pytest.raises(MissingKey, match="REPLICATE_API_TOKEN"):
        Replicate().check(MODEL, [FOX])


def test_check_wants_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "replicate.client", None)
    with pytest.raises(MissingExtra, match="replicate"):
        Replicate().check(MODEL, [FOX])


@pytest.mark.parametrize("remote_id", ["flux", "a/b/c", "../b:c/d", "a/b?c", "https://replicate.com/a/b"])
def test_check_wants_an_id(remote_id: str) -> None:
    with pytest.raises(NotAvailable, match="owner/name"):
        Replicate().check(model(remote_id), [FOX])


REFERENCE = Input(draw("one", width=64, height=64))


@pytest.mark.parametrize(
    ("remote_id", "request_", "message"),
    [
        ("a/b", Request(prompt="x", quality="high"), "quality is 'high'"),
        ("a/b", Request(prompt="x", options={"num_outputs": 4}), "num_outputs is 4; a request is for one picture"),
        ("a/b", Request(prompt="x", references=(REFERENCE,)), "set the option references_as"),
        ("black-forest-labs/flux-kontext-pro", Request(prompt="x", references=(REFERENCE,) * 2), "takes one, as"),
    ],
)
def test_what_cannot_be_sent_is_refused(remote_id: str, request_: Request, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Replicate().check(model(remote_id), [request_])


# Refusals and errors


def test_refusal(vendor: StandIn) -> None:
    error = fails(vendor, Refused, faults.Refused())
    assert "NSFW content detected" in str(error)
    assert error.charged is None
    assert error.request_id is not None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("CUDA out of memory", ProviderError),
        ("The input or output was flagged as sensitive. Please try again with different inputs. (E005)", Refused),
        ("Content policy violation", Refused),
    ],
)
def test_failures(vendor: StandIn, message: str, kind: type[ProviderError]) -> None:
    error = fails(vendor, kind, faults.Failed(message=message))
    assert message in str(error)
    assert error.charged is None


@pytest.mark.parametrize(("status", "charged"), [("canceled", None), ("aborted", False)])
def test_predictions_that_end_early(vendor: StandIn, status: str, charged: bool | None) -> None:
    told = vendor.prediction
    vendor.prediction = lambda job: {**told(job), "status": status, "output": None}  # type: ignore[method-assign]
    error = fails(vendor, ProviderError)
    assert f"'{status}'" in str(error)
    assert error.charged is charged


def test_an_unknown_prediction_may_be_charged(vendor: StandIn) -> None:
    error = fails(vendor, ProviderError, faults.Lost())
    assert (error.status, error.charged) == (404, None)


def test_outputs_that_were_deleted_are_charged(vendor: StandIn) -> None:
    vendor.output = lambda job: None  # type: ignore[assignment,method-assign,return-value]
    error = fails(vendor, ProviderError)
    assert "deleted after an hour" in str(error)
    assert error.charged is True


@pytest.mark.parametrize("shape", ["vendor", "text", "list", "error"])
def test_a_setting_that_the_vendor_refuses(vendor: StandIn, shape: str) -> None:
    error = fails(vendor, ProviderError, faults.Invalid(shape=shape))  # type: ignore[arg-type]
    assert (error.status, error.charged) == (422, False)
    assert "steps must be at most 50" in str(error)


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (faults.OutOfCredits(), 402, "insufficient credit"),
        (faults.Unauthorized(), 401, "valid authentication token"),
        (faults.Retired(), 404, "could not be found"),
    ],
)
def test_what_the_vendor_says_to_every_request(vendor: StandIn, fault: Fault, status: int, words: str) -> None:
    error = fails(vendor, ProviderError, fault)
    assert (error.status, error.charged) == (status, False)
    assert words in str(error)
    assert len(vendor.requests) == 1


def test_a_wrong_key_is_not_repeated(vendor: StandIn) -> None:
    said = faults.OtherJson(status=401, charged=False, value={"detail": f"{KEY} is not a token"})
    assert "[key] is not a token" in str(fails(vendor, ProviderError, said))


# What may be repeated, and what may not


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
def test_a_limit_is_waited_for(vendor: StandIn, form: str) -> None:
    vendor.next(faults.RateLimited(retry_after=0.02, form=form), None)  # type: ignore[arg-type]
    ask(Replicate, MODEL, FOX)
    assert [len(vendor.seen("generate")), len(vendor.charges)] == [2, 1]


def test_a_long_limit_goes_to_the_caller(vendor: StandIn) -> None:
    assert fails(vendor, RateLimited, faults.RateLimited(retry_after=3600)).retry_after == 3600
    assert len(vendor.requests) == 1


def test_the_client_repeats_nothing_on_its_own(vendor: StandIn) -> None:
    """It would ask ten times for a prediction, and wait for as long as it is told to each time."""
    watch = Kept()
    vendor.next(*[faults.ServerError(status=503, retry_after=3600)] * 3, step="poll")
    with pytest.raises(Unanswered):
        ask(Replicate, MODEL, FOX, watch, polling=NEVER)
    assert len(vendor.seen("poll")) == 1


def test_nobody_there(one_attempt: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATE_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(Unreachable) as caught:
        ask(Replicate, MODEL, FOX)
    assert caught.value.charged is False


@pytest.mark.parametrize(
    "fault", [faults.Dropped(), faults.Dropped(charged=True, reset=True), faults.Truncated()], ids=repr
)
def test_a_connection_lost_at_the_submission_is_not_repeated(vendor: StandIn, fault: Fault) -> None:
    assert fails(vendor, Unanswered, fault).charged is None
    assert len(vendor.seen("generate")) == 1


def test_an_answer_that_does_not_come(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.05)
    assert "within 0.05 s" in str(fails(vendor, Unanswered, faults.Held()))
    assert len(vendor.charges) == 1


@pytest.mark.parametrize("kind", [faults.Html, faults.Empty, faults.Garbage, faults.OtherJson])
def test_an_answer_that_is_none_at_the_submission(vendor: StandIn, kind: Callable[[], Fault]) -> None:
    assert fails(vendor, BadAnswer, kind()).charged is None
    assert len(vendor.requests) == 1


def test_a_redirect_is_not_followed(vendor: StandIn) -> None:
    with StandIn() as other:
        error = fails(vendor, ProviderError, faults.Redirected(location=other.url))
        assert error.status == 307
        assert other.url in str(error)
        assert other.requests == []


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
        faults.OtherJson(),
    ],
    ids=repr,
)
def test_polling_goes_on(vendor: StandIn, fault: Fault) -> None:
    vendor.next(fault, None, fault, step="poll")
    assert ask(Replicate, MODEL, FOX).data in vendor.pictures.values()
    assert len(vendor.charges) == 1


def test_many_rounds(vendor: StandIn) -> None:
    vendor.rounds = 12
    ask(Replicate, MODEL, FOX)
    assert len(vendor.seen("poll")) == 13


# Going on with a job


def test_another_process_goes_on(vendor: StandIn) -> None:
    vendor.next(faults.Pending(rounds=10**6))
    handle = left_waiting(Replicate, MODEL, FOX, vendor)
    next(iter(vendor.jobs.values())).rounds = 0
    watch = Kept(handle=handle)
    picture = ask(Replicate, MODEL, FOX, watch)
    assert picture.data in vendor.pictures.values()
    assert watch.handles == []
    assert len(vendor.charges) == len(vendor.seen("generate")) == 1


def test_the_time_between_two_processes_does_not_count(vendor: StandIn) -> None:
    watch, now = Kept(), time.time()
    ask(Replicate, MODEL, FOX, watch)
    handle = json.dumps({**json.loads(watch.handles[0]), "submitted": now - 100_000})
    told, ended = vendor.prediction, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 90_000))
    vendor.prediction = lambda job: {**told(job), "completed_at": ended}  # type: ignore[method-assign]
    total = ask(Replicate, MODEL, FOX, Kept(handle=handle)).timing.total
    assert total == pytest.approx(10_000, abs=1000)


def test_a_key_that_is_wrong_by_now(vendor: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Kept()
    ask(Replicate, MODEL, FOX, watch)
    monkeypatch.setenv("REPLICATE_API_TOKEN", "another-key")
    with pytest.raises(Unanswered) as caught:
        ask(Replicate, MODEL, FOX, Kept(handle=watch.handles[0]))
    assert (caught.value.status, caught.value.charged) == (401, None)


def test_a_handle_that_is_none(vendor: StandIn) -> None:
    with pytest.raises(BadAnswer, match="no handle"):
        ask(Replicate, MODEL, FOX, Kept(handle="{}"))
    assert vendor.requests == []


# Pictures


@pytest.mark.parametrize("address", ["https://example.org", "http://replicate.delivery", "https://x.replicate.com"])
def test_the_picture_comes_from_no_strange_host(vendor: StandIn, address: str) -> None:
    error = fails(vendor, BadAnswer, faults.Elsewhere(picture=address))
    assert address.partition("//")[2] in str(error)


@pytest.mark.parametrize("fault", [faults.ServerError(status=503), faults.Dropped(), faults.Truncated()], ids=repr)
def test_fetching_goes_on(vendor: StandIn, fault: Fault) -> None:
    vendor.next(fault, fault, step="picture")
    assert ask(Replicate, MODEL, FOX).data in vendor.pictures.values()


def test_a_picture_that_expired_is_charged(vendor: StandIn) -> None:
    assert fails(vendor, ProviderError, faults.Expired()).charged is True


@pytest.mark.parametrize("kind", ["truncated", "bomb", "noise", "empty"])
def test_bad_pictures(vendor: StandIn, kind: str) -> None:
    fails(vendor, BadAnswer, faults.BadPicture(kind=kind))  # type: ignore[arg-type]


def test_a_data_uri_that_is_none(vendor: StandIn) -> None:
    vendor.output = lambda job: "data:image/png;base64,%%%"  # type: ignore[method-assign]
    assert "no base64" in str(fails(vendor, BadAnswer))


def test_many_at_once(vendor: StandIn) -> None:
    """What came back for one is not taken for another's."""
    vendor.seconds = 0.02

    async def go() -> None:
        async with Replicate() as provider:
            requests = [Request(prompt=f"fox {number}", width=64, height=64, seed=number) for number in range(12)]
            pictures = await asyncio.gather(*(provider.generate(MODEL, request) for request in requests))
            for request, picture in zip(requests, pictures, strict=True):
                assert picture.data == draw(
                    request.prompt,
                    model="black-forest-labs/flux-2-pro",
                    seed=request.seed,
                    width=64,
                    height=64,
                    media_type="image/webp",
                )

    asyncio.run(go())


def test_errors_without_a_body(vendor: StandIn) -> None:
    vendor.error = lambda status, message, **more: Response(status_code=status)  # type: ignore[method-assign]
    assert "answered 402: no reason given" in str(fails(vendor, ProviderError, faults.OutOfCredits()))
