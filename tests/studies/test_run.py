"""A study is asked for whole, within its budget, and nothing that happens to a sample is lost or made up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from diptych import measure, providers, settings
from diptych.errors import MissingKey, StoreError, StudyError
from diptych.images import Picture, Request
from diptych.providers import jobs
from diptych.providers.links import Pace
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import create, plan, results, run
from diptych.studies.attempt import Event, Purse
from diptych.studies.prompts import read_prompts
from tests.standins.black_forest_labs import BlackForestLabs
from tests.standins.faults import Dropped, Fault, Html, Pending, RateLimited, Refused, ServerError, Unauthorized
from tests.standins.openai import OpenAI

Make = Callable[..., int]
Go = Callable[..., run.Outcome]


def states(store: Store) -> Counter[str]:
    return Counter(sample.state for sample in results.load(store).samples)


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAI]:
    with OpenAI() as vendor:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{vendor.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", vendor.key)
        yield vendor


@pytest.fixture
def bfl(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlackForestLabs]:
    with BlackForestLabs() as vendor:
        monkeypatch.setenv("BFL_BASE_URL", vendor.url)
        monkeypatch.setenv("BFL_API_KEY", vendor.key)
        yield vendor


IMAGE = "openai/image-model"


def test_a_study_from_start_to_end(store: Store, make: Make, go: Go) -> None:
    events: list[Event] = []
    study_id = make("fake-a:price=0.25", "fake-b", samples=3, seed=1)
    outcome = go(study_id, on_event=events.append)
    assert outcome == run.Outcome(stopped=False, over_budget=())
    study = results.load(store)
    assert states(store) == {"done": 12}
    assert study.spent == pytest.approx(6 * 0.25)
    assert study.unsure == 0
    for sample in study.samples:
        assert sample.picture is not None
        data = store.pictures.get(sample.picture)
        assert len(data) == sample.bytes
        assert (sample.width, sample.height, sample.media_type) == (64, 64, "image/png")
        assert sample.seconds == sample.timing["total"]
        assert sample.recipe["request"] == sample.request
    assert Counter(event.state for event in events) == {"sent": 12, "done": 12}


def test_running_again_asks_for_nothing(store: Store, make: Make, go: Go) -> None:
    study_id = make("fake-a:price=0.25")
    go(study_id)
    before = results.load(store)
    assert go(study_id) == run.Outcome(stopped=False, over_budget=())
    assert results.load(store) == before


def test_refusals_and_failures_are_what_they_are(store: Store, make: Make, go: Go) -> None:
    study_id = make("fake-a:refusals=0.3,failures=0.3,price=0.1", samples=20, seed=1)
    go(study_id)
    counted = states(store)
    assert set(counted) == {"done", "refused", "failed"}
    study = results.load(store)
    for sample in study.samples:
        assert (sample.picture is None) == (sample.state != "done")
        assert (sample.error is None) == (sample.state == "done")
        if sample.state == "refused":
            assert sample.error_kind == "Refused"
    # A refusal may have been charged; a failure that the vendor says it made was not.
    assert study.spent == pytest.approx(0.1 * (counted["done"] + counted["refused"]))
    assert study.unsure == pytest.approx(0.1 * counted["refused"])


def test_what_failed_is_repeated_only_when_asked(store: Store, openai: OpenAI, make: Make, go: Go) -> None:
    openai.next(ServerError(status=500))
    study_id = make(IMAGE, prices={IMAGE: 0.01}, budget=1.0)
    go(study_id, concurrency={"openai": 1})
    assert states(store) == {"failed": 1, "done": 3}
    go(study_id)
    assert states(store) == {"failed": 1, "done": 3}
    go(study_id, retry_failed=True)
    assert states(store) == {"done": 4}
    assert len(openai.charges) == 4


def test_the_budget_is_kept(store: Store, make: Make, go: Go) -> None:
    study_id = make("fake-a:price=0.25,latency=0.02", "fake-b", samples=10, budget=1.1)
    outcome = go(study_id)
    study = results.load(store)
    by_label = {c.label: c.id for c in study.contestants}
    done = Counter(s.contestant_id for s in study.samples if s.state == "done")
    assert done[by_label["fake-a price=0.25 latency=0.02"]] == 4
    assert done[by_label["fake-b"]] == 20  # what costs nothing goes on
    assert outcome.over_budget == ("fake-a price=0.25 latency=0.02",)
    assert study.spent == pytest.approx(1.0)
    create.amend(store, study_id, budget=100.0)
    assert go(study_id).over_budget == ()
    assert states(store) == {"done": 40}


def test_a_price_that_was_too_low_is_learned_from(store: Store, bfl: BlackForestLabs, make: Make, go: Go) -> None:
    """Every picture costs three times the estimate: only what was under way at once may exceed the budget."""
    study_id = make("flux-2-pro", prices={"flux-2-pro": 0.01}, budget=0.1, samples=10, size="1024x1024")
    go(study_id, concurrency={"black_forest_labs": 1})
    study = results.load(store)
    costs = [s.cost or 0.0 for s in study.samples if s.state == "done"]
    assert len(costs) == 3
    assert min(costs) > 0.03
    assert study.spent == pytest.approx(sum(costs))


def test_a_budget_needs_every_price(store: Store, openai: OpenAI, make: Make, go: Go) -> None:
    """A study that was made without a budget gets one, while a price is unknown."""
    study_id = make(IMAGE)
    create.amend(store, study_id, budget=0.01)
    with pytest.raises(StudyError, match=f"what {IMAGE} costs is unknown"):
        go(study_id)
    assert openai.requests == []
    create.amend(store, study_id, prices={IMAGE: 0.004})
    go(study_id)
    assert states(store) == {"done": 2, "planned": 2}
    assert results.load(store).spent == pytest.approx(0.008)


def test_what_a_picture_cost_is_remembered(store: Store, bfl: BlackForestLabs, make: Make, go: Go) -> None:
    study_id = make("flux-2-pro", prices={"flux-2-pro": 0.01}, budget=0.05, samples=10, size="1024x1024")
    go(study_id, concurrency={"black_forest_labs": 1})
    charged = len(bfl.charges)
    go(study_id, concurrency={"black_forest_labs": 1})  # the estimate alone would ask for one more
    assert len(bfl.charges) == charged


def test_a_place_that_takes_no_pictures_is_found_before_anything_is_paid_for(
    store: Store, openai: OpenAI, make: Make, go: Go, home: Path
) -> None:
    study_id = make(IMAGE)
    (home / "pictures").write_bytes(b"a file where a folder should be")
    with pytest.raises(StoreError, match="Pictures cannot be kept in"):
        go(study_id)
    assert openai.requests == []
    assert states(store) == {"planned": 4}


def test_the_purse_waits_for_what_may_turn_out_cheaper() -> None:
    async def main() -> None:
        purse = Purse(budget=1.0, counted=0.0)
        assert await purse.reserve(0.6)
        second = asyncio.create_task(purse.reserve(0.6))
        await asyncio.sleep(0.01)
        assert not second.done()
        await purse.settle(0.6, 0.3)
        assert await second
        assert purse.counted == pytest.approx(0.9)
        await purse.settle(0.6, 0.6)
        assert not await purse.reserve(0.2)
        assert await purse.reserve(0.0)

    asyncio.run(main())


@pytest.mark.parametrize("fault", [Dropped(charged=True), ServerError(status=504, charged=True)])
def test_sent_and_never_answered(store: Store, openai: OpenAI, make: Make, go: Go, fault: Fault) -> None:
    openai.next(fault)
    study_id = make(IMAGE, prices={IMAGE: 0.01}, budget=1.0)
    go(study_id, concurrency={"openai": 1})
    assert states(store) == {"unknown": 1, "done": 3}
    assert len(openai.charges) == 4
    study = results.load(store)
    assert (study.spent, study.unsure) == (pytest.approx(0.04), pytest.approx(0.01))
    go(study_id, retry_failed=True)
    assert len(openai.charges) == 4
    go(study_id, retry_unknown=True)
    assert states(store) == {"done": 4}
    assert len(openai.charges) == 5
    assert results.load(store).spent == pytest.approx(0.05)  # the first one still counts


def test_a_vendor_that_asks_to_wait_is_waited_for(store: Store, openai: OpenAI, make: Make, go: Go) -> None:
    openai.next(RateLimited(retry_after=0.05), RateLimited(retry_after=0.05))
    go(make(IMAGE))
    assert states(store) == {"done": 4}
    assert len(openai.charges) == 4
    assert len(openai.seen("generate")) == 6


def test_what_was_never_taken_is_asked_again_by_the_next_run(store: Store, openai: OpenAI, make: Make, go: Go) -> None:
    openai.next(*[RateLimited(retry_after=3600)] * 2)
    study_id = make(IMAGE)
    go(study_id, concurrency={"openai": 1})
    assert states(store) == {"failed": 2, "done": 2}
    go(study_id)
    assert states(store) == {"done": 4}


def test_a_wrong_key_stops_that_vendor_alone(store: Store, openai: OpenAI, make: Make, go: Go) -> None:
    openai.when(lambda seen: True, Unauthorized())
    study_id = make(IMAGE, "fake-a", samples=20)
    outcome = go(study_id, concurrency={"openai": 2, "fake": 2})
    assert list(outcome.hopeless) == [IMAGE]
    assert "401" in outcome.hopeless[IMAGE]
    assert openai.key not in outcome.hopeless[IMAGE]
    assert states(store) == {"planned": 40, "done": 40}
    assert len(openai.seen("generate")) <= 2
    assert results.load(store).spent == 0


@pytest.mark.parametrize(("fault", "state"), [(Html(), "failed"), (Refused(), "refused")])
def test_a_200_that_is_no_picture(store: Store, openai: OpenAI, make: Make, go: Go, fault: Fault, state: str) -> None:
    openai.next(fault)
    go(make(IMAGE, prices={IMAGE: 0.01}, budget=1.0), concurrency={"openai": 1})
    assert states(store) == {state: 1, "done": 3}
    assert results.load(store).spent == pytest.approx(0.04)


def test_a_job_is_asked_for_again_and_not_paid_again(store: Store, bfl: BlackForestLabs, make: Make, go: Go) -> None:
    """The run is cancelled while the vendor works; the next one asks with the ids that the first committed."""
    bfl.seconds = 1.0
    study_id = make("flux-2-pro", samples=3, size="64x64")

    async def cut_off() -> None:
        running = asyncio.create_task(run.run(store, study_id))
        while len(bfl.charges) < 6:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cut_off())
    assert states(store) == {"waiting": 6}
    with store.reading() as connection:
        handles = connection.scalars(select(schema.attempts.c.handle)).all()
    assert all(handles)
    assert len(set(handles)) == 6
    go(study_id)
    assert states(store) == {"done": 6}
    assert len(bfl.charges) == 6
    assert results.load(store).spent == pytest.approx(sum(s.cost or 0 for s in results.load(store).samples))


def test_a_job_that_is_not_ready_in_time_stays_open(
    store: Store, bfl: BlackForestLabs, make: Make, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "POLLING", Pace(first=0.05, within=0.5))
    bfl.next(Pending(rounds=1000))
    study_id = make("flux-2-pro", texts=("a fox",), samples=2, size="64x64")
    go(study_id)
    assert states(store) == {"waiting": 1, "done": 1}
    assert len(bfl.charges) == 2


def test_stopping_asks_for_nothing_more_and_waits_for_what_was_asked(store: Store, make: Make) -> None:
    study_id = make("fake-a:latency=0.1", samples=20)

    async def stopped() -> run.Outcome:
        stop = asyncio.Event()

        def on_event(event: Event) -> None:
            if event.state == "done":
                stop.set()

        return await run.run(store, study_id, stop=stop, on_event=on_event, concurrency={"fake": 4})

    assert asyncio.run(stopped()).stopped
    counted = states(store)
    assert set(counted) == {"done", "planned"}
    assert 1 <= counted["done"] <= 8


def test_one_process_at_a_time(store: Store, make: Make, go: Go) -> None:
    study_id = make("fake-a")
    with (
        store.lock(f"study-{study_id}"),
        pytest.raises(StoreError, match=f"Another process is at work on study-{study_id}"),
    ):
        go(study_id)
    go(study_id)
    assert states(store) == {"done": 4}


def test_a_missing_key_is_said_before_anything_is_sent(store: Store, openai: OpenAI, monkeypatch: Any) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    planned = plan.make_plan(store, read_prompts(["a fox"]), ["gpt-image-2", "fake-a"])
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        run.check([(c.model, [planned.request(c, planned.prompts.prompts[0], 0)]) for c in planned.contestants])
    assert openai.requests == []


def test_a_provider_that_breaks_costs_a_sample_and_not_the_study(store: Store, make: Make, go: Go) -> None:
    class Broken(providers.fake.Fake):  # type: ignore[name-defined]
        async def generate(self, model: Any, request: Request, watch: Any = None) -> Picture:
            if request.prompt == "a red fox":
                raise KeyError("surprise")
            return await super().generate(model, request, watch)

    go(make("fake-a:price=0.5", samples=3), open_provider=lambda name: Broken())
    assert states(store) == {"failed": 3, "done": 3}
    failed = [s for s in results.load(store).samples if s.state == "failed"]
    assert {(s.error_kind, s.error) for s in failed} == {("KeyError", "KeyError: 'surprise'")}
    assert results.load(store).spent == pytest.approx(3.0)  # who knows what it did before it broke


def test_a_local_model_in_a_study(store: Store, make: Make, go: Go, tiny: str, empty_home: Path) -> None:
    settings.config_file().write_text("dollars_per_hour = 3600", "utf-8")  # a dollar a second
    go(make(f"{tiny}:steps=2", tiny, size="32x32", seed=5))
    study = results.load(store)
    assert states(store) == {"done": 8}
    for sample in study.samples:
        assert 0 < sample.cost <= sample.seconds  # what it waited for costs nothing
        assert sample.cost_basis == "machine"
        assert 0 < sample.timing["per_step"] * sample.request["steps"] < 2 * (sample.seconds or 0)
        assert sample.timing["peak_memory"] > 0


def test_pictures_are_measured_as_they_arrive_and_what_was_missed_later(store: Store, make: Make, go: Go) -> None:
    study_id = make("fake-a", samples=3)
    go(study_id)
    assert {s.measures for s in results.load(store, measure_version=measure.VERSION).samples} == {None}
    with measure.Pool(1) as pool:
        go(study_id, pool=pool)  # nothing is left to ask, but something to measure
        other = make("fake-b", samples=3)
        go(other, pool=pool)
    for name in results.names(store):
        for sample in results.load(store, name, measure_version=measure.VERSION).samples:
            assert sample.measures is not None
            assert sample.picture is not None
            assert sample.measures == measure.measure(store.pictures.get(sample.picture)).to_dict()


def test_ctrl_c_stops_cleanly(tmp_path: Path, home: Path) -> None:
    command = [sys.executable, "-m", "diptych.cli", "pilot", "a fox", "-m", "fake-a:latency=0.2", "-n", "100"]
    process = subprocess.Popen(
        [*command, "--no-measure", "--size", "64x64"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    database = home / "diptych.sqlite"
    pictures = home / "pictures"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(pictures.rglob("*")):
        time.sleep(0.02)
    process.send_signal(2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopping" in err
    assert "Traceback" not in err
    assert "diptych report a-fox" in out
    store = Store.open(f"sqlite:///{database}")
    counted = states(store)
    store.close()
    assert set(counted) == {"done", "planned"}
    assert counted["done"] < 100


def test_results_are_in_the_order_of_prompt_model_and_number(store: Store, make: Make) -> None:
    make("fake-b", "fake-a", samples=2)
    study = results.load(store)
    at = {prompt.id: prompt.position for prompt in study.prompts}
    label = {one.id: one.label for one in study.contestants}
    order: Sequence[tuple[int, str, int]] = [(at[s.prompt_id], label[s.contestant_id], s.number) for s in study.samples]
    assert list(order) == [(p, m, n) for p in range(2) for m in ("fake-b", "fake-a") for n in range(2)]
