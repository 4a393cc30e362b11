"""replicate, huggingface_hub and fal_client against their stand-ins."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import fal_client
import httpx
import httpx2
import pytest
import replicate as replicate_client
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, OfflineModeIsEnabled
from huggingface_hub.utils import close_session
from PIL import Image, UnidentifiedImageError
from replicate.exceptions import ModelError, ReplicateError

from tests.standins.capture import PHOTO
from tests.standins.capture import fal_client as connect_fal
from tests.standins.fal import Fal
from tests.standins.faults import (
    BadPicture,
    Dropped,
    Empty,
    Failed,
    Fault,
    Garbage,
    Html,
    Invalid,
    Lost,
    OtherJson,
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
from tests.standins.huggingface import HuggingFace
from tests.standins.replicate import Replicate

MODEL = "black-forest-labs/flux-2-pro"
ASKED: dict[str, Any] = {"prompt": "a fox", "seed": 3, "width": 256, "height": 128}


class TestReplicate:
    @pytest.fixture
    def client(self, replicate: Replicate) -> Iterator[replicate_client.Client]:
        client = replicate_client.Client(api_token=replicate.key, base_url=replicate.url)
        client.poll_interval = 0.001
        yield client
        client._client.close()

    def create(self, client: replicate_client.Client, **more: Any) -> Any:
        return client.models.predictions.create(MODEL, ASKED, **more)

    def test_created_polled_and_fetched(self, replicate: Replicate, client: replicate_client.Client) -> None:
        replicate.next(Pending(rounds=2))
        prediction = self.create(client)
        assert (prediction.status, prediction.model, prediction.input) == ("starting", MODEL, ASKED)
        prediction.reload()
        assert (prediction.status, prediction.progress.total) == ("processing", 4)
        prediction.wait()
        assert (prediction.status, prediction.metrics["image_count"]) == ("succeeded", 1)
        data = httpx.get(prediction.output).content
        assert data == replicate.pictures[replicate.charges[0]["id"]]
        assert Image.open(io.BytesIO(data)).size == (256, 128)
        assert "authorization" not in replicate.seen("picture")[0].headers

    def test_waited_for_in_one_request(self, replicate: Replicate, client: replicate_client.Client) -> None:
        assert self.create(client, wait=5).status == "succeeded"
        assert self.create(client, wait=True).status == "succeeded"
        # By way of `predictions` the client forgets to say so.
        assert client.predictions.create(model=MODEL, input=ASKED, wait=5).status == "starting"
        assert [seen.headers.get("prefer") for seen in replicate.requests] == ["wait=5", "wait", None]

    def test_only_some_outputs_become_files(self, replicate: Replicate, client: replicate_client.Client) -> None:
        assert client.run(MODEL, ASKED).startswith("http://127.0.0.1")
        replicate.files = "data"
        assert client.run(MODEL, ASKED).read() == replicate.pictures[replicate.charges[0]["id"]]
        several = client.run("black-forest-labs/flux-schnell", {**ASKED, "num_outputs": 2})
        assert [type(output).__name__ for output in several] == ["FileOutput"] * 2

    def test_a_version(self, replicate: Replicate, client: replicate_client.Client) -> None:
        replicate.versions["0" * 64] = MODEL
        assert client.predictions.create("0" * 64, ASKED).model == MODEL
        assert client.run(f"{MODEL}:{'0' * 64}", ASKED)
        assert replicate.requests[-1].path == f"/v1/models/{MODEL}/versions/{'0' * 64}"

    def test_files_are_uploaded_unless_told_otherwise(
        self, replicate: Replicate, client: replicate_client.Client
    ) -> None:
        client.models.predictions.create(MODEL, {**ASKED, "image": io.BytesIO(PHOTO)})
        assert [seen.path for seen in replicate.requests] == ["/v1/files", f"/v1/models/{MODEL}/predictions"]
        assert next(iter(replicate.uploads.values())).data == PHOTO
        client.models.predictions.create(
            MODEL, {**ASKED, "image": io.BytesIO(PHOTO)}, file_encoding_strategy="base64"
        )  # fmt: skip
        assert replicate.requests[-1].body["input"]["image"].startswith("data:application/octet-stream;base64,")

    def test_without_waiting(self, replicate: Replicate) -> None:
        async def run() -> str:
            client = replicate_client.Client(api_token=replicate.key, base_url=replicate.url)
            client.poll_interval = 0.001
            try:
                prediction = await client.models.predictions.async_create(MODEL, ASKED)
                await prediction.async_wait()
                return str(prediction.status)
            finally:
                await client._async_client.aclose()

        assert asyncio.run(run()) == "succeeded"

    @pytest.mark.parametrize(("fault", "said"), [(Refused(), "NSFW"), (Failed(), "worker stopped")], ids=str)
    def test_predictions_that_fail(
        self, replicate: Replicate, client: replicate_client.Client, fault: Fault, said: str
    ) -> None:
        replicate.next(fault, fault)
        prediction = self.create(client)
        prediction.wait()
        assert (prediction.status, prediction.output) == ("failed", None)
        assert said in prediction.error
        with pytest.raises(ModelError, match=said) as told:
            client.run(MODEL, ASKED)
        assert told.value.prediction.id
        assert len(replicate.charges) == 2

    def test_cancelled(self, client: replicate_client.Client) -> None:
        prediction = self.create(client)
        prediction.cancel()
        assert prediction.status == "canceled"
        prediction.wait()

    @pytest.mark.parametrize(
        ("fault", "status", "title"),
        [
            (RateLimited(retry_after=7), 429, "Too many requests"),
            (OutOfCredits(), 402, "Insufficient credit"),
            (Unauthorized(), 401, "Unauthenticated"),
            (Retired(), 404, "Not found"),
            (Invalid(), 422, "Invalid input"),
            (Invalid(shape="list"), 422, None),
            (ServerError(charged=True), 503, "Internal server error"),
            (Html(status=502), 502, None),
        ],
        ids=str,
    )
    def test_errors_with_a_status(
        self, replicate: Replicate, client: replicate_client.Client, fault: Fault, status: int, title: str
    ) -> None:
        replicate.next(fault)
        with pytest.raises(ReplicateError) as told:
            self.create(client)
        assert (told.value.status, told.value.title) == (status, title)
        assert (len(replicate.requests), len(replicate.charges)) == (1, fault.accepted)
        assert not hasattr(told.value, "response"), "how long to wait is lost"

    def test_headers_of_errors_through_a_hook(self, replicate: Replicate) -> None:
        waits: list[str] = []
        client = replicate_client.Client(
            api_token=replicate.key, base_url=replicate.url,
            event_hooks={"response": [lambda response: waits.append(response.headers.get("retry-after", ""))]},
        )  # fmt: skip
        replicate.next(RateLimited(retry_after=7))
        with pytest.raises(ReplicateError):
            self.create(client)
        client._client.close()
        assert waits == ["7"]

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Dropped(), httpx.TransportError),
            (Dropped(charged=True), httpx.RemoteProtocolError),
            (Truncated(), httpx.RemoteProtocolError),
            (Html(), json.JSONDecodeError),
            (Empty(), json.JSONDecodeError),
            (Garbage(), UnicodeDecodeError),
            (OtherJson(), ValueError),  # pydantic.v1's
            (OtherJson(value=[1]), TypeError),
            (Redirected(location="http://127.0.0.1:1/"), json.JSONDecodeError),  # which it does not follow
        ],
        ids=str,
    )
    def test_what_comes_through_bare(
        self, replicate: Replicate, client: replicate_client.Client, fault: Fault, kind: type[Exception]
    ) -> None:
        replicate.next(fault)
        with pytest.raises(kind):
            self.create(client)
        assert (len(replicate.requests), len(replicate.charges)) == (1, fault.accepted)

    @pytest.mark.parametrize(
        "fault", [RateLimited(retry_after=0), ServerError(status=503), ServerError(status=504)], ids=str
    )
    def test_polls_are_sent_again_without_a_word(
        self, replicate: Replicate, client: replicate_client.Client, fault: Fault
    ) -> None:
        prediction = self.create(client)
        replicate.next(fault, step="poll")
        prediction.reload()
        assert len(replicate.seen("poll")) == 2
        client._client._transport.max_attempts = 1
        replicate.next(fault, step="poll")
        with pytest.raises(ReplicateError):
            prediction.reload()
        assert len(replicate.charges) == 1

    def test_a_lost_prediction(self, replicate: Replicate, client: replicate_client.Client) -> None:
        replicate.next(Lost())
        prediction = self.create(client)
        with pytest.raises(ReplicateError) as told:
            prediction.wait()
        assert told.value.status == 404

    @pytest.mark.parametrize("fault", [Slow(seconds=0.001), Trickled(seconds=0.001)], ids=str)
    def test_slow_answers(self, replicate: Replicate, client: replicate_client.Client, fault: Fault) -> None:
        replicate.next(fault)
        assert self.create(client).id

    def test_creating_knows_no_timeout(self, replicate: Replicate) -> None:
        replicate.next(Slow(seconds=0.1), Slow(seconds=0.1), Slow(seconds=600))
        replicate.next(Slow(seconds=600), step="poll")
        client = replicate_client.Client(
            api_token=replicate.key, base_url=replicate.url, timeout=httpx.Timeout(0.05)
        )  # fmt: skip
        self.create(client)  # the client's own is set aside
        prediction = self.create(client, wait=1)  # for this it waits 1.5 s
        with pytest.raises(httpx.ReadTimeout):
            prediction.reload()
        with pytest.raises(httpx.ReadTimeout):
            client._request("POST", f"/v1/models/{MODEL}/predictions", json={"input": ASKED})
        client._client.close()
        replicate.wait_until(lambda vendor: len(vendor.charges) == 3)


class TestHuggingFace:
    @pytest.fixture
    def client(self, huggingface: HuggingFace) -> Iterator[InferenceClient]:
        yield InferenceClient(model=huggingface.endpoint, token=huggingface.key)
        close_session()  # one for the whole process

    def generate(self, client: InferenceClient, **more: Any) -> Image.Image:
        return client.text_to_image("a fox", width=256, height=128, **more)

    def test_pictures(self, huggingface: HuggingFace, client: InferenceClient) -> None:
        image = self.generate(client, seed=3)
        assert (image.size, image.format) == ((256, 128), "PNG")
        # The original bytes are in reach until the picture is decoded.
        assert image.fp.getvalue() == huggingface.pictures[huggingface.charges[0]["id"]]
        routed = InferenceClient(base_url=huggingface.address(MODEL), api_key=huggingface.key)
        assert self.generate(routed, seed=3).size == (256, 128)
        assert huggingface.charges[1]["model"] == MODEL

    def test_what_is_not_asked_for_is_not_sent(self, huggingface: HuggingFace, client: InferenceClient) -> None:
        client.text_to_image("a fox", extra_body={"target_size": {"width": 64, "height": 64}})
        assert huggingface.requests[0].body["parameters"] == {"target_size": {"width": 64, "height": 64}}

    def test_a_refusal_is_a_black_picture(self, huggingface: HuggingFace, client: InferenceClient) -> None:
        huggingface.next(Refused())
        assert self.generate(client).getbbox() is None

    @pytest.mark.parametrize(
        ("fault", "status", "said"),
        [
            (RateLimited(retry_after=7), 429, "Too many requests."),
            (OutOfCredits(), 402, "You have exceeded your monthly included credits for Inference Providers."),
            (Unauthorized(), 401, "Invalid username or password."),
            (Unauthorized(status=403), 403, "Invalid username or password."),
            (Retired(), 404, "Model the-model does not exist"),
            (Invalid(), 422, "steps must be at most 50"),
            (Invalid(shape="text"), 422, None),
            (ServerError(status=503, charged=True), 503, "The service is overloaded."),
            (ServerError(status=504), 504, "The service is overloaded."),
            (Html(status=502), 502, None),
        ],
        ids=str,
    )
    def test_errors_with_a_status(
        self, huggingface: HuggingFace, client: InferenceClient, fault: Fault, status: int, said: str
    ) -> None:
        huggingface.next(fault)
        with pytest.raises(HfHubHTTPError) as told:
            self.generate(client)
        assert (told.value.response.status_code, told.value.server_message) == (status, said)
        assert (len(huggingface.requests), len(huggingface.charges)) == (1, fault.accepted)
        if isinstance(fault, RateLimited):
            assert told.value.response.headers["retry-after"] == "7"
            assert told.value.request_id

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Dropped(), httpx2.TransportError),
            (Dropped(charged=True), httpx2.RemoteProtocolError),
            (Truncated(), httpx2.RemoteProtocolError),
            (Html(), UnidentifiedImageError),
            (Empty(), UnidentifiedImageError),
            (Garbage(), UnidentifiedImageError),
            (OtherJson(), UnidentifiedImageError),
            (BadPicture(kind="bomb"), Image.DecompressionBombError),
            (Redirected(location="http://127.0.0.1:1/"), httpx2.ConnectError),
        ],
        ids=str,
    )
    def test_what_comes_through_bare(
        self, huggingface: HuggingFace, client: InferenceClient, fault: Fault, kind: type[Exception]
    ) -> None:
        huggingface.next(fault)
        with pytest.raises(kind):
            self.generate(client)
        assert (len(huggingface.requests), len(huggingface.charges)) == (1, fault.accepted)

    def test_a_truncated_picture_is_noticed_when_it_is_decoded(
        self, huggingface: HuggingFace, client: InferenceClient
    ) -> None:
        huggingface.next(BadPicture())
        image = self.generate(client)
        with pytest.raises(OSError, match="truncated"):
            image.load()

    @pytest.mark.parametrize("fault", [Slow(seconds=0.001), Trickled(seconds=0.001)], ids=str)
    def test_slow_answers(self, huggingface: HuggingFace, client: InferenceClient, fault: Fault) -> None:
        huggingface.next(fault)
        assert self.generate(client)

    @pytest.mark.usefixtures("client")
    def test_running_out_of_time_is_charged(self, huggingface: HuggingFace) -> None:
        huggingface.next(Slow(seconds=600))
        hasty = InferenceClient(model=huggingface.endpoint, token=huggingface.key, timeout=0.05)
        with pytest.raises(InferenceTimeoutError):
            self.generate(hasty)
        huggingface.wait_until(lambda vendor: len(vendor.charges) == 1)

    def test_offline_mode_also_stops_this(self, client: InferenceClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(OfflineModeIsEnabled):
            self.generate(client)

    @pytest.mark.usefixtures("client")
    def test_a_saved_token_goes_to_any_address(self, huggingface: HuggingFace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_saved")
        with pytest.raises(HfHubHTTPError, match="401"):
            self.generate(InferenceClient(model=huggingface.endpoint))
        assert huggingface.requests[0].headers["authorization"] == "Bearer hf_saved"

    def test_a_redirect_leaves_the_token_at_home(self, huggingface: HuggingFace, client: InferenceClient) -> None:
        with HuggingFace() as other:
            huggingface.next(Redirected(location=other.endpoint))
            with pytest.raises(HfHubHTTPError, match="401"):
                self.generate(client)
            assert "authorization" not in other.requests[0].headers


class TestFal:
    APP = "fal-ai/flux/schnell"
    ASKED: ClassVar[dict[str, Any]] = {"prompt": "a fox", "seed": 3, "image_size": {"width": 256, "height": 128}}

    @pytest.fixture
    def client(self, fal: Fal, monkeypatch: pytest.MonkeyPatch) -> Iterator[fal_client.SyncClient]:
        monkeypatch.setattr("fal_client.client.BASE_DELAY", 0.001)
        with connect_fal(fal) as client:
            yield client

    def test_submitted_polled_and_fetched(self, fal: Fal, client: fal_client.SyncClient) -> None:
        job = client.submit(self.APP, self.ASKED)
        assert job.status() == fal_client.Queued(position=0)
        assert isinstance(job.status(with_logs=True), fal_client.Completed)
        told = job.get()
        assert (told["seed"], told["has_nsfw_concepts"]) == (3, [False])
        data = httpx.get(told["images"][0]["url"]).content
        assert data == fal.pictures[fal.charges[0]["id"]]
        assert Image.open(io.BytesIO(data)).size == (256, 128)

    def test_progress(self, fal: Fal, client: fal_client.SyncClient) -> None:
        fal.next(Pending(rounds=2))
        states: list[Any] = []
        client.subscribe(self.APP, self.ASKED, interval=0.001, on_queue_update=states.append)
        assert [type(state).__name__ for state in states] == ["Queued", "InProgress", "Completed"]

    def test_cancelled(self, client: fal_client.SyncClient) -> None:
        job = client.submit(self.APP, self.ASKED)
        job.cancel()
        with pytest.raises(fal_client.FalClientHTTPError) as told:
            job.get(interval=0.001)
        assert told.value.status_code == 404

    @pytest.mark.parametrize(
        ("fault", "status", "kind", "charged"),
        [
            (Refused(), 422, None, 0),
            (Failed(), 500, "runner_disconnected", 1),
            (Lost(), 404, "not_found", 1),
            (OutOfCredits(), 403, "user_locked", 0),
            (Unauthorized(), 401, "authentication_error", 0),
            (Retired(), 404, "not_found", 0),
            (Invalid(), 422, None, 0),
            (ServerError(charged=True), 503, "internal_server_error", 1),
        ],
        ids=str,
    )
    def test_errors_with_a_status(
        self, fal: Fal, client: fal_client.SyncClient, fault: Fault, status: int, kind: str, charged: int
    ) -> None:
        fal.next(fault)
        with pytest.raises(fal_client.FalClientHTTPError) as told:
            client.subscribe(self.APP, self.ASKED, interval=0.001)
        assert (told.value.status_code, told.value.error_type, len(fal.charges)) == (status, kind, charged)
        if isinstance(fault, Refused):
            assert told.value.message[0]["type"] == "content_policy_violation"

    def test_a_refusal_may_be_a_flagged_black_picture(self, fal: Fal, client: fal_client.SyncClient) -> None:
        fal.next(Refused(how="has_nsfw_concepts"))
        told = client.subscribe(self.APP, self.ASKED, interval=0.001)
        assert told["has_nsfw_concepts"] == [True]
        assert Image.open(io.BytesIO(httpx.get(told["images"][0]["url"]).content)).getbbox() is None

    @pytest.mark.parametrize(
        "fault",
        [Dropped(charged=True), Truncated(), Html(status=502), Redirected(location="http://127.0.0.1:1/")],
        ids=str,
    )
    def test_it_submits_again_and_pays_twice(self, fal: Fal, client: fal_client.SyncClient, fault: Fault) -> None:
        fal.next(fault)
        client.submit(self.APP, self.ASKED)
        assert (len(fal.requests), len(fal.charges)) == (2, 1 + fault.accepted)

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [(Html(), json.JSONDecodeError), (Empty(), json.JSONDecodeError), (Garbage(), UnicodeDecodeError),
         (OtherJson(), KeyError), (OtherJson(value=[1]), TypeError)],
        ids=str,
    )  # fmt: skip
    def test_what_comes_through_bare(
        self, fal: Fal, client: fal_client.SyncClient, fault: Fault, kind: type[Exception]
    ) -> None:
        fal.next(fault)
        with pytest.raises(kind):
            client.submit(self.APP, self.ASKED)
        assert len(fal.charges) == 1
