"""Latency: in turn, counted as it was, and nothing hidden."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.catalogue import Model
from diptych.errors import BadAnswer, InvalidRequest, MissingKey, ProviderError, Refused, Unanswered, UnknownModel
from diptych.images import Cost, Picture, Request, Timing
from diptych.studies import latency
from diptych.studies.latency import Latency, measure, plan


class Scripted:
    """A provider that answers as a test says: with seconds, or with an error. It keeps what it was asked."""

    jobs = False

    def __init__(self, answer: Callable[[Model, Request, int], float | Exception]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Request]] = []

    def open(self, name: str) -> Scripted:
        return self

    async def __aenter__(self) -> Scripted:
        return self

    async def __aexit__(self, *failure: object) -> None:
        pass

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        pass

    async def generate(self, model: Model, request: Request, watch: Any = None) -> Picture:
        before = sum(name == model.name for name, _ in self.asked)
        self.asked.append((model.name, request))
        answer = self.answer(model, request, before)
        if isinstance(answer, Exception):
            raise answer
        return Picture(
            request=request,
            model=model.name,
            data=b"",
            width=1,
            height=1,
            timing=Timing(total=answer, first_byte=answer / 2),
            recipe={},
            cost=Cost(0.25, "stated") if model.name == "fake-a" else None,
        )


def run(asked: latency.LatencyPlan, provider: Scripted) -> list[Latency]:
    return asyncio.run(measure(asked, open_provider=provider.open))


class TestThePlan:
    def test_every_model_is_asked_the_same(self) -> None:
        asked = plan(["fake-a:price=0.02", "fake-b"], n=3, size="64x64", prompt=" a fox ")
        assert [way.contestant.label for way in asked.ways] == ["fake-a price=0.02", "fake-b"]
        assert {(r.prompt, r.width, r.height) for way in asked.ways for r in way.requests} == {("a fox", 64, 64)}
        first, second = ([r.seed for r in way.requests] for way in asked.ways)
        assert first == second
        assert len(set(first)) == 3, "a picture that a vendor made before would come too fast"
        assert [way.total for way in asked.ways] == [pytest.approx(0.06), 0.0]
        assert asked.total == pytest.approx(0.06)

    def test_an_unknown_price_makes_the_total_unknown(self) -> None:
        asked = plan(["fake-a", "replicate/someone/some-model"])
        assert asked.total is None

    def test_what_runs_here_is_paid_to_nobody(self) -> None:
        assert plan(["builtin-flow"]).total == 0

    def test_regions_multiply_the_models_that_have_them(self) -> None:
        asked = plan(["replicate/someone/some-model", "fake-a"], n=2, regions=["eu", " us", "eu"])
        assert [(way.contestant.label, way.region) for way in asked.ways] == [
            ("replicate/someone/some-model", "eu"),
            ("replicate/someone/some-model", "us"),
            ("fake-a", None),
        ]
        assert [[r.options.get("region") for r in way.requests] for way in asked.ways] == [
            ["eu", "eu"],
            ["us", "us"],
            [None, None],
        ]
        assert asked.without_regions == ("fake-a",)

    @pytest.mark.parametrize(
        ("models", "options", "said"),
        [
            ([], {}, "Name each model with -m"),
            (["fake-a"], {"n": 0}, "The number of requests is 0; it is 1 to 1,000"),
            (["fake-a"], {"n": 1001}, "The number of requests is 1001"),
            (["fake-a"], {"regions": ["eu"]}, "fake-a has no setting region"),
            (["fake-a", "fake-b"], {"regions": ["eu"]}, "fake-a and fake-b have no setting region"),
            (["fake-a"], {"size": "1x1"}, "size is 1x1; fake-a makes"),
            (["fake-a"], {"prompt": " "}, "The prompt is empty"),
            (["fake-a", "fake-a"], {}, "fake-a is named twice"),
        ],
    )
    def test_what_cannot_be_is_refused(self, models: list[str], options: dict[str, Any], said: str) -> None:
        with pytest.raises(InvalidRequest) as raised:
            plan(models, **options)
        assert said in str(raised.value)

    def test_an_unknown_model(self) -> None:
        with pytest.raises(UnknownModel, match="Did you mean fake-a"):
            plan(["fakea"])


class TestTheTurns:
    def test_each_round_asks_all_and_begins_with_another(self) -> None:
        provider = Scripted(lambda *_: 1.0)
        run(plan(["fake-a", "fake-b", "fake-a:latency=0.1"], n=4), provider)
        rounds = [provider.asked[i : i + 3] for i in range(0, 12, 3)]
        firsts = [(name, one.options["latency"]) for (name, one), *_ in rounds]
        assert firsts == [("fake-a", 0), ("fake-b", 0), ("fake-a", 0.1), ("fake-a", 0)]
        for asked in rounds:
            assert len({(name, one.options["latency"]) for name, one in asked}) == 3
            assert len({one.seed for _, one in asked}) == 1

    def test_only_one_request_is_under_way(self) -> None:
        busy: list[int] = [0]

        class Slow(Scripted):
            async def generate(self, model: Model, request: Request, watch: Any = None) -> Picture:
                busy[0] += 1
                assert busy[0] == 1
                await asyncio.sleep(0)
                picture = await super().generate(model, request)
                busy[0] -= 1
                return picture

        rows = run(plan(["fake-a", "fake-b"], n=3), Slow(lambda *_: 1.0))
        assert [len(row.seconds) for row in rows] == [3, 3]
        assert not any(row.errors for row in rows)

    def test_a_drift_hits_all_alike(self) -> None:
        """A network that grows slower with every request: two equal models come out equal."""
        clock = itertools.count(1)
        rows = run(plan(["fake-a", "fake-b"], n=20), Scripted(lambda *_: float(next(clock))))
        a, b = (statistics.mean(row.seconds) for row in rows)
        assert a == b


class TestWhatIsCounted:
    def test_seconds_first_bytes_and_cost(self) -> None:
        rows = run(plan(["fake-a", "fake-b"], n=4), Scripted(lambda _, __, before: before + 1.0))
        assert rows[0].seconds == [1, 2, 3, 4]
        assert rows[0].first_byte == [0.5, 1, 1.5, 2]
        assert (rows[0].p50, rows[0].spread, rows[0].p95) == (2.5, 1.5, None)
        assert (rows[0].cost, rows[0].unknown_costs) == (1.0, 0)

    def test_errors_are_kept_and_the_rest_goes_on(self) -> None:
        errors = [
            Refused("fake refused this", provider="fake"),
            Unanswered("fake did not answer", provider="fake"),
            BadAnswer("fake sent HTML", provider="fake"),
            ProviderError("fake answered 500", provider="fake", status=500),
            ValueError("a plugin's own mistake"),
        ]
        provider = Scripted(lambda _, __, before: errors[before] if before < len(errors) else 1.0)
        (row,) = run(plan(["fake-a"], n=6), provider)
        assert row.errors == [
            "Refused: fake refused this",
            "Unanswered: fake did not answer",
            "BadAnswer: fake sent HTML",
            "ProviderError: fake answered 500",
            "ValueError: a plugin's own mistake",
        ]
        assert row.seconds == [1.0]
        assert row.perhaps_charged == 4, "only the 500 is known to cost nothing"
        assert row.unasked == 0

    @pytest.mark.parametrize("status", [401, 402, 403, 404])
    def test_what_a_vendor_would_say_again_is_asked_once(self, status: int) -> None:
        def answer(model: Model, *_: object) -> float | Exception:
            wrong = ProviderError(f"fake answered {status}", provider="fake", status=status)
            return wrong if model.name == "fake-a" else 1.0

        provider = Scripted(answer)
        rows = run(plan(["fake-a", "fake-b"], n=5), provider)
        assert (rows[0].errors, rows[0].unasked) == ([f"ProviderError: fake answered {status}"], 4)
        assert (len(rows[1].seconds), rows[1].unasked) == (5, 0)
        assert len(provider.asked) == 6

    def test_what_a_check_refuses_ends_it_before_anything_is_sent(self) -> None:
        class Keyless(Scripted):
            def check(self, model: Model, requests: Sequence[Request]) -> None:
                if model.name == "fake-b":
                    raise MissingKey("fake", ["FAKE_KEY"], None)

        provider = Keyless(lambda *_: 1.0)
        with pytest.raises(MissingKey):
            run(plan(["fake-a", "fake-b"]), provider)
        assert provider.asked == []

    def test_what_was_measured_before_a_stop_is_there(self) -> None:
        asked, rows = plan(["fake-a", "fake-b"], n=5), []

        def answer(model: Model, request: Request, before: int) -> float:
            if before == 2:
                raise asyncio.CancelledError
            return 1.0

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(measure(asked, open_provider=Scripted(answer).open, rows=rows))
        assert [len(row.seconds) for row in rows] == [2, 2]

    def test_events_say_whose_turn_it_was(self) -> None:
        places: list[int] = []
        asked = plan(["fake-a", "fake-b"], n=2)
        asyncio.run(measure(asked, places.append, Scripted(lambda *_: 1.0).open))
        assert places == [0, 1, 1, 0]


class TestNumbers:
    @given(st.lists(st.floats(0.01, 100), min_size=1, max_size=60))
    def test_they_are_those_of_numpy(self, seconds: list[float]) -> None:
        row = Latency("m", None, seconds=seconds)
        assert row.p50 == pytest.approx(np.median(seconds))
        assert (row.p95 is None) == (len(seconds) < 20)
        if row.p95 is not None:
            assert row.p95 == pytest.approx(np.percentile(seconds, 95))
        if row.spread is not None:
            assert row.spread == pytest.approx(np.subtract(*np.percentile(seconds, [75, 25])), abs=1e-9)
        assert (row.spread is None) == (len(seconds) < 4)

    def test_nothing_measured_is_nothing(self) -> None:
        row = Latency("m", None)
        assert (row.p50, row.p95, row.spread) == (None, None, None)


class TestForReal:
    def test_fake_models(self) -> None:
        asked = plan(["fake-a:latency=0.02,price=0.01", "fake-b:failures=1"], n=3, size="64x64")
        rows = asyncio.run(measure(asked))
        assert len(rows[0].seconds) == 3
        assert min(rows[0].seconds) >= 0.016, "fake's latency varies by a fifth"
        assert rows[0].cost == pytest.approx(0.03)
        assert len(rows[1].errors) == 3
        assert rows[1].warm_up is None

    def test_the_first_picture_of_a_local_model_is_not_counted(self, tiny: str) -> None:
        rows = asyncio.run(measure(plan([tiny, f"{tiny}:steps=1"], n=2)))
        for row in rows:
            assert row.warm_up is not None
            assert len(row.seconds) == 2
            assert row.unknown_costs == 2, "dollars_per_hour is not set"
