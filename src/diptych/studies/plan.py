"""What a study will ask, what that will cost, and what its models refuse: all before anything is sent."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from diptych import catalogue
from diptych.catalogue import Model
from diptych.errors import InvalidRequest
from diptych.images import LARGEST_SEED, Cost, Request, random_seed
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies.prompts import Prompt, Prompts

WITH_SETTINGS = re.compile(r"(?P<name>.+?):(?P<settings>\w+=[^,]*(?:,\w+=[^,]*)*)")
MOST_SAMPLES = 1_000_000
"""In one study; more is a slip of the hand."""
LONGEST_LABEL = 200


@dataclass(frozen=True)
class Contestant:
    """A model with settings of its own. Two may be the same model with different settings."""

    label: str
    model: Model
    values: Mapping[str, str]


@dataclass(frozen=True)
class Estimate:
    """What a contestant's samples will cost and take, as far as that can be known before."""

    per_picture: Cost | None
    """Of the dearest prompt. None: unknown."""
    total: float | None
    """Dollars for all of its samples."""
    seconds: float | None
    """A picture, as the median of what this store holds of the same contestant. None: never measured here."""


@dataclass(frozen=True)
class Plan:
    """A study before it exists. `requests` is what will be sent."""

    prompts: Prompts
    contestants: tuple[Contestant, ...]
    samples: int
    """A prompt and contestant."""
    seed: int
    """Of the first sample of every prompt; the next ones count up."""
    seed_given: bool
    values: Mapping[str, str]
    """Settings for all contestants, as given."""
    budget: float | None
    estimates: tuple[Estimate, ...]

    @property
    def count(self) -> int:
        return len(self.prompts.prompts) * len(self.contestants) * self.samples

    @property
    def total(self) -> float | None:
        """Dollars; None where one contestant's price is unknown."""
        known = [estimate.total for estimate in self.estimates if estimate.total is not None]
        return sum(known) if len(known) == len(self.estimates) else None

    def fingerprint(self) -> str:
        """Of what was asked for, so that the same command finds its study again. A seed that was drawn is no part."""
        asked = {
            "prompts": [[prompt.text, prompt.category] for prompt in self.prompts.prompts],
            "contestants": [contestant.label for contestant in self.contestants],
            "values": dict(sorted(self.values.items())),
            "samples": self.samples,
            "seed": self.seed if self.seed_given else None,
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def request(self, contestant: Contestant, prompt: Prompt, number: int) -> Request:
        """Resolved: with every setting that the model knows a default for. Raises InvalidRequest."""
        return _request(contestant, prompt, self.values, self.seed + number, self.seed_given)


def parse_contestant(text: str, known: catalogue.Catalogue) -> Contestant:
    """`"NAME"` or `"NAME:steps=4,guidance=2"`. Raises InvalidRequest, UnknownModel."""
    found = WITH_SETTINGS.fullmatch(text.strip())
    name = found["name"] if found else text.strip()
    values = dict(pair.split("=", 1) for pair in found["settings"].split(",")) if found else {}
    model = known.find(name)
    label = " ".join([model.name, *(f"{key}={value}" for key, value in values.items())])
    if len(label) > LONGEST_LABEL:
        raise InvalidRequest(f"{label[:60]}… is too long for a model and its settings.")
    return Contestant(label, model, values)


def make_plan(
    store: Store | None,
    prompts: Prompts,
    models: Sequence[str],
    *,
    samples: int = 1,
    size: str | None = None,
    seed: int | None = None,
    values: Mapping[str, str] | None = None,
    budget: float | None = None,
    prices: Mapping[str, float] | None = None,
) -> Plan:
    """Plan a study. store: what was measured before, for the expected time. prices: dollars a picture by model, for
    those that the catalogue has none of.

    Raises InvalidRequest that lists everything which any model refuses, and for a budget that does not suffice for
    one sample; UnknownModel; NotAvailable for a model that was shut down.
    """
    if not models:
        raise InvalidRequest("A study needs at least one model: name each with -m.")
    if samples < 1:
        raise InvalidRequest(f"The number of samples is {samples}; it must be at least 1.")
    if seed is not None and not 0 <= seed <= LARGEST_SEED - samples:
        raise InvalidRequest(
            f"seed is {seed}; with {samples} samples it is a whole number from 0 to {LARGEST_SEED - samples}."
        )
    known = catalogue.load()
    contestants = tuple(parse_contestant(text, known) for text in models)
    labels = [contestant.label for contestant in contestants]
    for label in labels:
        if labels.count(label) > 1:
            raise InvalidRequest(f"{label} is named twice; each model with its settings takes part once.")
    for name in prices or {}:
        if name not in {c.model.name for c in contestants} | set(labels):
            raise InvalidRequest(f"A price is given for {name}, which takes no part; there are {', '.join(labels)}.")
    count = len(prompts.prompts) * len(contestants) * samples
    if count > MOST_SAMPLES:
        raise InvalidRequest(f"That is {count:,} samples; a study has at most {MOST_SAMPLES:,}.")
    given = {**(values or {}), **({"size": size} if size else {})}
    plan = Plan(
        prompts=prompts,
        contestants=contestants,
        samples=samples,
        seed=seed if seed is not None else random_seed(),
        seed_given=seed is not None,
        values=given,
        budget=budget,
        estimates=(),
    )
    _refuse_together(plan)
    today = datetime.now(UTC).date()
    for contestant in contestants:
        contestant.model.check_alive(today)
    estimates = tuple(_estimate(store, plan, contestant, prices or {}) for contestant in contestants)
    _check_budget(budget, contestants, estimates)
    return dataclasses.replace(plan, estimates=estimates)


def _request(contestant: Contestant, prompt: Prompt, values: Mapping[str, str], seed: int, seed_given: bool) -> Request:
    request = catalogue.with_settings(Request(prompt=prompt.text), {**values, **contestant.values}, contestant.model)
    # A model whose settings are unknown to us gets a seed only from a person who wants it to have one.
    if request.seed is None and (seed_given or contestant.model.takes_seed(request)):
        request = dataclasses.replace(request, seed=seed)
    return contestant.model.resolve(request)


def _refuse_together(plan: Plan) -> None:
    """Resolve one request of every contestant and prompt; all refusals in one message."""
    refusals: list[str] = []
    for contestant in plan.contestants:
        for prompt in plan.prompts.prompts:
            try:
                plan.request(contestant, prompt, plan.samples - 1)
            except InvalidRequest as error:
                if str(error) not in refusals:
                    refusals.append(str(error))
                if len(refusals) == 10:
                    break
    if len(refusals) == 1:
        raise InvalidRequest(refusals[0])
    if refusals:
        lines = "\n".join(f"  - {refusal}" for refusal in refusals)
        raise InvalidRequest(
            f"Not every model can do that:\n{lines}\nSettings for one model alone are written -m NAME:key=value."
        )


def _estimate(store: Store | None, plan: Plan, contestant: Contestant, prices: Mapping[str, float]) -> Estimate:
    told = prices.get(contestant.label, prices.get(contestant.model.name))
    cost: Cost | None
    if told is not None:
        cost = Cost(told, "price", "given")
    else:
        costs = [contestant.model.cost(plan.request(contestant, prompt, 0)) for prompt in plan.prompts.prompts]
        known = [one for one in costs if one is not None]
        cost = max(known, key=lambda one: one.dollars) if len(known) == len(costs) else None
    seconds = None if store is None else seconds_before(store, contestant.label)
    number = len(plan.prompts.prompts) * plan.samples
    if cost is None and contestant.model.provider == "local":
        from diptych.settings import config

        rate = config().dollars_per_hour
        if rate is not None and seconds is not None:
            cost = Cost(seconds * rate / 3600, "machine", "diptych.toml and earlier samples")
    return Estimate(cost, None if cost is None else cost.dollars * number, seconds)


def seconds_before(store: Store, label: str) -> float | None:
    """The median over the last hundred samples of this contestant, in any study."""
    s, c = schema.samples, schema.contestants
    with store.reading() as connection:
        seconds = list(
            connection.scalars(
                select(s.c.seconds)
                .join(c, c.c.id == s.c.contestant_id)
                .where(c.c.label == label, s.c.state == "done", s.c.seconds.is_not(None))
                .order_by(s.c.id.desc())
                .limit(100)
            )
        )
    return statistics.median(seconds) if seconds else None


def _check_budget(budget: float | None, contestants: Sequence[Contestant], estimates: Sequence[Estimate]) -> None:
    if budget is None:
        return
    if not 0 <= budget < float("inf"):
        raise InvalidRequest(f"The budget is {budget:g}; it is in dollars, at least 0.")
    for contestant, estimate in zip(contestants, estimates, strict=True):
        if contestant.model.provider == "local":  # this machine bills nobody; its cost is counted once it is known
            continue
        if estimate.per_picture is None:
            raise InvalidRequest(
                f"A budget cannot be kept: what {contestant.label} costs is unknown. "
                f"Give a price: --price {contestant.model.name}=DOLLARS, or leave the budget out."
            )
        if estimate.per_picture.dollars > budget:
            raise InvalidRequest(
                f"The budget of ${budget:g} is too small for one picture of {contestant.label}, "
                f"which costs ${estimate.per_picture.dollars:.4g}."
            )
