"""Seconds to a picture, from here: the same request to several models in turn, so that whatever drifts hits all alike.

    asked = plan(["fake-a", "fake-b"], n=5)
    rows = asyncio.run(measure(asked))

One request at a time. Each round asks every model once and begins with another one. Nothing is kept in the store.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diptych import providers
from diptych.errors import DiptychError, InvalidRequest, ProviderError
from diptych.images import Request
from diptych.studies.plan import Contestant, make_plan
from diptych.studies.prompts import Prompt, Prompts, checked
from diptych.studies.run import HOPELESS, OpenProvider

if TYPE_CHECKING:
    from diptych.images import Cost

PROMPT = "a red apple on a blue background"
"""Which every model can draw, the built-in ones too."""
ENOUGH_FOR_P95 = 20
"""Requests below which a 95th percentile would be the slowest one by another name."""
ENOUGH_FOR_SPREAD = 4
MOST = 1000
"""Requests to one model."""


@dataclass(frozen=True)
class Way:
    """A model with its settings, in one region, and the requests that will be sent to it."""

    contestant: Contestant
    region: str | None
    requests: tuple[Request, ...]
    estimate: Cost | None
    """Of one picture. None: unknown."""

    @property
    def total(self) -> float | None:
        """Dollars to pay to others for all requests; None is unknown."""
        if self.contestant.model.provider == "local":
            return 0.0
        return None if self.estimate is None else self.estimate.dollars * len(self.requests)


@dataclass(frozen=True)
class LatencyPlan:
    prompt: str
    n: int
    ways: tuple[Way, ...]
    without_regions: tuple[str, ...]
    """Models that have none, although regions were asked for; they are measured once."""

    @property
    def total(self) -> float | None:
        """Dollars to pay to others; None where one model's price is unknown."""
        totals = [way.total for way in self.ways]
        return None if any(one is None for one in totals) else sum(one or 0.0 for one in totals)


@dataclass
class Latency:
    """What was measured of one model in one region."""

    label: str
    region: str | None
    seconds: list[float] = field(default_factory=list)
    """Of every picture that came, in order: from sending to having its bytes."""
    first_byte: list[float] = field(default_factory=list)
    """Until the answer began, where that was measured."""
    errors: list[str] = field(default_factory=list)
    """Of every request that gave no picture, refusals too: what was said."""
    unasked: int = 0
    """Requests left out since the vendor says the same to all: a wrong key, no such model."""
    cost: float = 0.0
    """Dollars that are known."""
    unknown_costs: int = 0
    """Pictures whose cost is unknown."""
    perhaps_charged: int = 0
    """Requests without a picture that may have been charged."""
    warm_up: float | None = None
    """Seconds of the first picture of a local model, which is not counted."""

    @property
    def p50(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def p95(self) -> float | None:
        """None below `ENOUGH_FOR_P95` pictures."""
        if len(self.seconds) < ENOUGH_FOR_P95:
            return None
        return statistics.quantiles(self.seconds, n=20, method="inclusive")[-1]

    @property
    def spread(self) -> float | None:
        """Seconds between the quartiles: the middle half of the pictures lies within. None for too few."""
        if len(self.seconds) < ENOUGH_FOR_SPREAD:
            return None
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return third - first


def plan(
    models: Sequence[str],
    *,
    n: int = 5,
    prompt: str = PROMPT,
    size: str | None = None,
    regions: Sequence[str] = (),
) -> LatencyPlan:
    """What will be asked, and what it will cost. models: as in a study, `NAME` or `NAME:steps=4`.

    Raises InvalidRequest for what a model refuses, for regions that none of the models has, and UnknownModel.
    """
    if not models:
        raise InvalidRequest("Name each model with -m, as in: diptych latency -m fake-a -m builtin-flow")
    if not 1 <= n <= MOST:
        raise InvalidRequest(f"The number of requests is {n}; it is 1 to {MOST:,} for each model.")
    regions = [*dict.fromkeys(region.strip() for region in regions if region.strip())]
    asked = checked(prompt, None)
    study = make_plan(None, Prompts((asked,), "latency"), models, samples=n, size=size)
    ways: list[Way] = []
    without: list[str] = []
    for contestant, estimate in zip(study.contestants, study.estimates, strict=True):
        has_regions = _has_regions(contestant)
        if regions and not has_regions:
            without.append(contestant.label)
        requests = [study.request(contestant, Prompt(asked.text), number) for number in range(n)]
        for region in regions if regions and has_regions else [None]:
            there = tuple(_in_region(contestant, request, region) for request in requests)
            cost = estimate.per_picture if region is None else contestant.model.cost(there[0])
            ways.append(Way(contestant, region, there, cost))
    if without and len(without) == len(study.contestants):
        raise InvalidRequest(f"{' and '.join(without)} {'has' if len(without) == 1 else 'have'} no setting region.")
    return LatencyPlan(asked.text, n, tuple(ways), tuple(without))


def _has_regions(contestant: Contestant) -> bool:
    settings = contestant.model.settings
    if settings is None:  # unknown to us: the vendor decides, as with every option
        return contestant.model.provider != "local"
    return "region" in settings.options


def _in_region(contestant: Contestant, request: Request, region: str | None) -> Request:
    if region is None:
        return request
    return contestant.model.resolve(dataclasses.replace(request, options={**request.options, "region": region}))


async def measure(
    asked: LatencyPlan,
    on_event: Callable[[int], None] | None = None,
    open_provider: OpenProvider = providers.open,
    rows: list[Latency] | None = None,
) -> list[Latency]:
    """Ask, and measure. on_event: called after every request with its way's place in the plan.

    rows: an empty list that is filled as measurements come, for a caller that may be stopped before the end. The first
    picture of every local model is not counted: loading and warming up are not what the next one takes.
    Raises what a provider's `check` does, before anything is sent; what goes wrong later is counted.
    """
    rows = [] if rows is None else rows
    async with AsyncExitStack() as opened:
        by_name: dict[str, providers.Provider] = {}
        for way in asked.ways:
            model = way.contestant.model
            if model.provider not in by_name:
                by_name[model.provider] = await opened.enter_async_context(open_provider(model.provider))
            by_name[model.provider].check(model, way.requests)
        rows += [Latency(way.contestant.label, way.region) for way in asked.ways]
        for way, row in zip(asked.ways, rows, strict=True):
            if way.contestant.model.provider == "local":
                picture = await by_name["local"].generate(way.contestant.model, way.requests[0])
                row.warm_up = picture.seconds
        hopeless: set[int] = set()
        for number, place in _turns(asked.n, len(asked.ways)):
            way, row = asked.ways[place], rows[place]
            if place in hopeless:
                row.unasked += 1
            elif not await _ask(by_name[way.contestant.model.provider], way, row, number):
                hopeless.add(place)
            if on_event is not None:
                on_event(place)
    return rows


def _turns(rounds: int, ways: int) -> Iterator[tuple[int, int]]:
    """(round, place): in every round each way once, beginning one further each time."""
    for number in range(rounds):
        for place in range(ways):
            yield number, (number + place) % ways


async def _ask(provider: providers.Provider, way: Way, row: Latency, number: int) -> bool:
    """One request; False where the vendor will say the same to all that follow."""
    model = way.contestant.model
    try:
        picture = await provider.generate(model, way.requests[number])
    except ProviderError as error:
        row.errors.append(f"{type(error).__name__}: {error}")
        row.perhaps_charged += error.charged is None
        return error.status not in HOPELESS
    except DiptychError as error:
        row.errors.append(str(error))
        return True
    except Exception as error:  # noqa: BLE001  # a plugin that fails in its own way costs a request, not the rest
        row.errors.append(f"{type(error).__name__}: {error}")
        row.perhaps_charged += 1
        return True
    row.seconds.append(picture.seconds)
    if picture.timing.first_byte is not None:
        row.first_byte.append(picture.timing.first_byte)
    cost = picture.cost or model.cost(picture.request, seconds=picture.seconds)
    if cost is None:
        row.unknown_costs += 1
    else:
        row.cost += cost.dollars
    return True
