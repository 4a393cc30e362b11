"""The provider that draws: for rehearsals, and for other tests."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest

from diptych import catalogue
from diptych.catalogue import Model
from diptych.errors import BadAnswer, InvalidRequest, NotAvailable, ProviderError, Refused
from diptych.images import Option, Picture, Request, read_recipe
from diptych.providers.fake import Fake
from tests.providers.jobs import Kept


def model(name: str = "fake-a") -> Model:
    return catalogue.load().find(name)


def request(seed: int = 1, prompt: str = "a fox in snow", size: int = 64, **options: Option) -> Request:
    return Request(prompt=prompt, width=size, height=size, seed=seed, options=options)


def ask(request: Request, name: str = "fake-a", watch: Kept | None = None) -> Picture:
    async def go() -> Picture:
        entry = model(name)
        async with Fake() as provider:
            resolved = entry.resolve(request)
            provider.check(entry, [resolved])
            return await provider.generate(entry, resolved, watch)

    return asyncio.run(go())


@pytest.mark.parametrize("name", ["fake-a", "fake-b"])
@pytest.mark.parametrize("size", [(64, 64), (512, 512), (640, 64), (64, 2048)])
def test_picture(name: str, size: tuple[int, int]) -> None:
    width, height = size
    asked = Request(prompt="a fox in snow", width=width, height=height, seed=7)
    picture = ask(asked, name)
    assert picture.image.size == size == (picture.width, picture.height)
    assert picture.image.mode == "RGB"
    assert len(picture.image.getcolors(2**22)) > 4
    assert picture.data == ask(asked, name).data
    assert picture.cost is not None
    assert picture.cost.dollars == 0


def test_the_recipe_is_in_the_picture(tmp_path: Path) -> None:
    path = ask(request(seed=5)).save(tmp_path / "fox.png")
    recipe = read_recipe(path)
    assert recipe["model"] == "fake-a"
    assert recipe["request"]["seed"] == 5


def test_pictures_follow_from_model_prompt_and_seed() -> None:
    pictures = [
        ask(request(seed=seed, prompt=prompt), name).image.tobytes()
        for name in ("fake-a", "fake-b")
        for prompt in ("a fox", "an owl")
        for seed in (1, 2)
    ]
    assert len(set(pictures)) == 8


@pytest.mark.parametrize(
    ("name", "colour", "corner"),
    [
        ("fake-a", (221.1, 196.2, 161.5), (233.0, 226.3, 215.6)),
        ("fake-b", (209.7, 146.2, 137.1), (192.9, 133.4, 146.0)),
    ],
)
def test_the_same_on_every_machine(
    name: str, colour: tuple[float, float, float], corner: tuple[float, float, float]
) -> None:
    """A rehearsal is repeated elsewhere: a change of what is drawn must be one that is meant."""
    pixels = np.asarray(ask(request(seed=3, size=256), name).image, np.float64)
    assert pixels.mean(axis=(0, 1)) == pytest.approx(colour, abs=1)
    assert pixels[:64, :64].mean(axis=(0, 1)) == pytest.approx(corner, abs=1)


def test_one_model_looks_unlike_the_other() -> None:
    """The one has a few flat colours, the other many."""
    colours = {name: len(ask(request(size=256), name).image.getcolors(2**22)) for name in ("fake-a", "fake-b")}
    assert colours["fake-a"] < 600 < colours["fake-b"]


def test_the_default_size_is_that_of_the_catalogue() -> None:
    assert ask(Request(prompt="a fox", seed=1)).image.size == (512, 512)


def test_price() -> None:
    cost = ask(request(price=0.04)).cost
    assert cost is not None
    assert (cost.dollars, cost.basis) == (0.04, "price")


def outcomes(**options: Option) -> list[str]:
    """What becomes of 200 requests."""

    async def go() -> list[str]:
        entry = model()
        async with Fake() as provider:
            asked = (provider.generate(entry, request(seed=seed, size=8, **options)) for seed in range(200))
            found = await asyncio.gather(*asked, return_exceptions=True)
        assert all("rehearsal" in str(one) for one in found if isinstance(one, Exception))
        return [type(one).__name__ for one in found]

    return asyncio.run(go())


def test_refusals_and_failures_come_as_often_as_asked_for() -> None:
    found = outcomes(refusals=0.2, failures=0.25)
    assert found == outcomes(refusals=0.2, failures=0.25)
    assert found.count("Refused") == pytest.approx(40, abs=20)
    assert found.count("ProviderError") == pytest.approx(40, abs=20)
    assert outcomes(refusals=1.0) == ["Refused"] * 200
    assert outcomes(failures=1.0) == ["ProviderError"] * 200
    assert outcomes() == ["Picture"] * 200


def test_what_a_refusal_and_a_failure_mean_for_the_bill() -> None:
    with pytest.raises(Refused) as refused:
        ask(request(refusals=1))
    assert refused.value.charged is None
    with pytest.raises(ProviderError) as failed:
        ask(request(failures=1))
    assert failed.value.charged is False


def test_latency() -> None:
    picture = ask(request(latency=0.05))
    assert picture.timing.total >= 0.04


def test_pictures_are_waited_for_side_by_side() -> None:
    async def go() -> int:
        waiting = most = 0

        async def one(seed: int) -> None:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            await provider.generate(entry, request(seed=seed, latency=0.02))
            waiting -= 1

        provider, entry = Fake(), model()
        await asyncio.gather(*(one(seed) for seed in range(50)))
        return most

    assert asyncio.run(go()) == 50


def test_a_job_is_accepted_and_gone_on_with() -> None:
    watch = Kept()
    asked = request(jobs=True, latency=0.02)
    picture = ask(asked, watch=watch)
    handle = json.loads(watch.handles[0])
    assert picture.request_id == handle["id"]

    later = Kept(handle=json.dumps({**handle, "ready": time.time() - 1}))
    again = ask(asked, watch=later)
    assert again.data == picture.data
    assert later.handles == []


def test_a_request_that_is_no_job_has_no_handle() -> None:
    watch = Kept()
    assert ask(request(), watch=watch).request_id is None
    assert watch.handles == []


def test_a_handle_that_is_none() -> None:
    with pytest.raises(BadAnswer, match="no handle"):
        ask(request(jobs=True), watch=Kept(handle="x"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latency": -1}, "latency is -1"),
        ({"latency": "long"}, "latency is 'long'"),
        ({"refusals": 1.5}, "refusals is 1.5; it is a share from 0 to 1"),
        ({"price": True}, "price is True"),
        ({"jobs": 1}, "jobs is 1; it is true or false"),
        ({"colour": "red"}, "no setting colour; it has latency, price, refusals, failures, jobs"),
    ],
)
def test_options_that_are_none(options: dict[str, Option], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Fake().check(model(), [Request(prompt="x", options=options)])


def test_a_model_that_there_is_not() -> None:
    entry = Model(name="fake-c", title="c", provider="fake", remote_id="c")
    with pytest.raises(NotAvailable, match="no model 'c'; it has a and b"):
        Fake().check(entry, [])
