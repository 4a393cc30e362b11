"""A study in numbers: pure functions of `Results` to frozen records. What is unknown is None, never zero."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diptych import measure
from diptych.catalogue import shapes
from diptych.report.evidence import Paired, Spread, paired
from diptych.studies.results import ContestantRow, Results, SampleRow

UNDER_WAY = ("sent", "waiting")


@dataclass(frozen=True)
class Counts:
    """Samples by what became of them. `asked` is all that were ever asked for."""

    total: int
    done: int
    refused: int
    failed: int
    unknown: int
    """Sent and never answered: possibly charged."""
    under_way: int
    planned: int

    @property
    def asked(self) -> int:
        return self.total - self.planned

    @property
    def left(self) -> int:
        """What running the study again would still ask for, or ask about."""
        return self.planned + self.under_way


@dataclass(frozen=True)
class Money:
    """What pictures cost, in dollars. Only pictures whose cost is known are in `mean` and `total`."""

    known: int
    unknown: int
    """Pictures whose cost nobody knows."""
    mean: float | None
    total: float
    least: float | None
    most: float | None
    bases: Mapping[str, int]
    """How many costs are stated by the vendor, from usage, from a price list, or from this machine's seconds."""
    without_picture: float
    """Known to be charged for refusals and failures; it is in no picture's cost."""
    estimate: float | None
    """A picture, before the fact, with where that came from."""
    estimate_source: Mapping[str, Any]

    @property
    def per_1000(self) -> float | None:
        return None if self.mean is None else 1000 * self.mean

    @property
    def difference(self) -> float | None:
        """Dollars a picture by which it came dearer than estimated."""
        return None if self.mean is None or self.estimate is None else self.mean - self.estimate


@dataclass(frozen=True)
class Sizes:
    """Pixels that came, beside those that were asked for."""

    as_asked: int
    otherwise: int
    not_asked: int
    """Pictures for which no size was asked."""
    wrong_aspect: int
    """Of `otherwise`, those whose shape is another one too."""
    seen: tuple[tuple[tuple[int, int], int], ...]
    """(width, height) and how many, most first."""


@dataclass(frozen=True)
class Duplicates:
    """Nearly the same picture more than once, by perceptual hash, within one contestant."""

    hashed: int
    groups: tuple[int, ...]
    """Sizes of the groups, largest first."""

    @property
    def pictures(self) -> int:
        return sum(self.groups)


@dataclass(frozen=True)
class Line:
    """One contestant, summed up."""

    row: ContestantRow
    name: str
    """By `names_of`."""
    counts: Counts
    money: Money
    seconds: Spread | None
    """From asking to having a picture, over the pictures whose time is known."""
    per_step: Spread | None
    peak_memory: int | None
    """Bytes, the most that any sample held."""
    sizes: Sizes
    detail: Mapping[str, Spread]
    """By name of `measure.QUANTITIES`, at the common size."""
    measured: int
    small: int
    """Measured pictures of less than half the common size, to which nothing is enlarged."""
    duplicates: Duplicates

    @property
    def label(self) -> str:
        return self.row.label


@dataclass(frozen=True)
class Summary:
    counts: Counts
    lines: tuple[Line, ...]
    faster: Mapping[tuple[int, int], Paired]
    """By positions of two contestants, the first lower: pairs of the same prompt and number with both times known."""
    cheaper: Mapping[tuple[int, int], Paired]


def summarise(results: Results) -> Summary:
    by_contestant: dict[int, list[SampleRow]] = {row.id: [] for row in results.contestants}
    for sample in results.samples:
        by_contestant[sample.contestant_id].append(sample)
    samples = [by_contestant[row.id] for row in results.contestants]
    names = names_of(results.contestants)
    return Summary(
        counts=_counts(results.samples),
        lines=tuple(_line(row, name, its) for row, name, its in zip(results.contestants, names, samples, strict=True)),
        faster=_pairs([_values(its, "seconds") for its in samples]),
        cheaper=_pairs([_values(its, "cost") for its in samples]),
    )


def names_of(contestants: Sequence[ContestantRow]) -> list[str]:
    """What to call each where room is short: the model, or where others are of it too, its whole label."""
    models = Counter(row.model for row in contestants)
    return [row.model if models[row.model] == 1 else row.label for row in contestants]


def done(samples: Sequence[SampleRow]) -> list[SampleRow]:
    return [sample for sample in samples if sample.state == "done"]


def _line(row: ContestantRow, name: str, samples: Sequence[SampleRow]) -> Line:
    pictures = done(samples)
    measured = [sample.measures for sample in pictures if sample.measures is not None]
    per_step = [s.timing["per_step"] for s in pictures if s.timing.get("per_step") is not None]
    memory = [s.timing["peak_memory"] for s in pictures if s.timing.get("peak_memory") is not None]
    detail = {q.name: Spread.of(_detail(measured, q.name)) for q in measure.QUANTITIES}
    return Line(
        row=row,
        name=name,
        counts=_counts(samples),
        money=_money(row, samples),
        seconds=Spread.of([s.seconds for s in pictures if s.seconds is not None]),
        per_step=Spread.of(per_step),
        peak_memory=max(memory, default=None),
        sizes=_sizes(pictures),
        detail={name: spread for name, spread in detail.items() if spread is not None},
        measured=len(measured),
        small=sum(one["common"]["width"] * one["common"]["height"] < measure.COMMON_PIXELS // 2 for one in measured),
        duplicates=_duplicates(measured),
    )


def _counts(samples: Sequence[SampleRow]) -> Counts:
    states = Counter(sample.state for sample in samples)
    return Counts(
        total=len(samples),
        done=states["done"],
        refused=states["refused"],
        failed=states["failed"],
        unknown=states["unknown"],
        under_way=sum(states[state] for state in UNDER_WAY),
        planned=states["planned"],
    )


def _money(row: ContestantRow, samples: Sequence[SampleRow]) -> Money:
    pictures = done(samples)
    known = [sample.cost for sample in pictures if sample.cost is not None]
    return Money(
        known=len(known),
        unknown=len(pictures) - len(known),
        mean=sum(known) / len(known) if known else None,
        total=sum(known),
        least=min(known, default=None),
        most=max(known, default=None),
        bases=dict(Counter(str(sample.cost_basis) for sample in pictures if sample.cost is not None)),
        without_picture=sum(sample.cost or 0.0 for sample in samples if sample.state != "done"),
        estimate=row.estimate,
        estimate_source=row.estimate_source or {},
    )


def _sizes(pictures: Sequence[SampleRow]) -> Sizes:
    as_asked = otherwise = not_asked = wrong_aspect = 0
    seen: Counter[tuple[int, int]] = Counter()
    for sample in pictures:
        if sample.width is None or sample.height is None:
            continue
        got = (sample.width, sample.height)
        seen[got] += 1
        right = size_is_right(sample, got)
        if right.size is None and right.aspect is None:
            not_asked += 1
        elif right.size is not False and right.aspect is not False:
            as_asked += 1
        else:
            otherwise += 1
            wrong_aspect += right.aspect is False
    return Sizes(as_asked, otherwise, not_asked, wrong_aspect, tuple(seen.most_common()))


def size_is_right(sample: SampleRow, got: tuple[int, int]) -> measure.AsAsked:
    """By pixels where they were asked for, else by class of size and by shape; None where nothing was asked."""
    asked = sample.request
    if asked.get("width") and asked.get("height"):
        return measure.size_as_asked((asked["width"], asked["height"]), got)
    size = aspect = None
    if asked.get("image_size") in shapes.SIDES:
        size = shapes.in_class(*got, asked["image_size"])
    if asked.get("aspect_ratio"):
        width, _, height = asked["aspect_ratio"].partition(":")
        aspect = measure.size_as_asked((int(width), int(height)), got).aspect
    return measure.AsAsked(size, aspect)


def _detail(measured: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [one["common"][name] for one in measured if one["common"][name] is not None]


def _duplicates(measured: Sequence[Mapping[str, Any]]) -> Duplicates:
    hashes = [int(one["perceptual_hash"], 16) for one in measured]
    groups = measure.near_duplicates(hashes) if hashes else []
    return Duplicates(len(hashes), tuple(sorted((len(group) for group in groups), reverse=True)))


def _values(samples: Sequence[SampleRow], name: str) -> dict[tuple[int, int], float]:
    """Of the pictures, by prompt and number."""
    return {(s.prompt_id, s.number): getattr(s, name) for s in done(samples) if getattr(s, name) is not None}


def _pairs(values: Sequence[Mapping[tuple[int, int], float]]) -> dict[tuple[int, int], Paired]:
    return {
        (i, j): paired([(value, values[j][key]) for key, value in values[i].items() if key in values[j]])
        for i in range(len(values))
        for j in range(len(values))
        if i != j
    }
