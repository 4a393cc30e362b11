"""What each section of the page says: plain values for the template, which escapes every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

from diptych import measure
from diptych.report import answer, plots, words
from diptych.report.claims import Claims
from diptych.report.evidence import ENOUGH_FOR_P95, LEVEL, Spread
from diptych.report.judged import Jury
from diptych.report.summary import Line, Money, Summary, done
from diptych.studies.results import Results

IN_TABLE = ("tenengrad", "blur", "noise")
"""Measures beside the other numbers; all of them are under *Detail*. Sharpness is never shown without noise."""
BASES = {
    "stated": "stated by the vendor for each request",
    "usage": "usage that the vendor counted, times its price",
    "price": "a price list",
    "machine": "measured seconds times what this machine costs an hour",
}
VERDICTS = {"agrees": "agrees", "differs": "differs", "open": "cannot be said"}
LONGEST_VALUE = 160
MOST_NAMED = 5
"""Models in one sentence."""
Context = dict[str, Any]


def named(lines: Sequence[Line]) -> list[Context]:
    return [{"label": line.label, "colour": at % plots.COLOURS} for at, line in enumerate(lines)]


# Numbers


def numbers(summary: Summary) -> Context:
    shown = [q for q in measure.QUANTITIES if q.name in IN_TABLE and any(q.name in one.detail for one in summary.lines)]
    rows = [
        {
            **name,
            "pictures": f"{line.counts.done:,} of {line.counts.total:,}",
            "cost": _maybe(line.money.mean, words.dollars),
            "per_1000": _maybe(line.money.per_1000, words.dollars),
            "p50": None if line.seconds is None else words.significant(line.seconds.median, 3, zeros=True),
            "p95": _p95(line.seconds),
            "p95_known": line.seconds is not None and line.seconds.p95 is not None,
            "refused": f"{line.counts.refused:,}",
            "failed": f"{line.counts.failed:,}"
            + (f" and {line.counts.unknown:,} unknown" if line.counts.unknown else ""),
            "detail": {
                q.name: words.significant(line.detail[q.name].median, 3, zeros=True) if q.name in line.detail else None
                for q in shown
            },
        }
        for name, line in zip(named(summary.lines), summary.lines, strict=True)
    ]
    notes = ["p50 is the median: half of the pictures took no longer."]
    if any(line.seconds is not None and line.seconds.p95 is None for line in summary.lines):
        notes.append(
            f"p95 is given from {ENOUGH_FOR_P95} pictures on; with fewer it would be little else than the worst."
        )
    if shown:
        notes.append(
            f"{words.listed([q.label for q in shown])}: medians at the common size. Noise counts as sharpness, so they "
            "are read together, and none of them says which picture is better."
        )
    if any(line.money.unknown for line in summary.lines):
        notes.append("Unknown is not nothing: costs that nobody stated are left out of the means.")
    return {"rows": rows, "detail": shown, "notes": notes}


def _p95(spread: Spread | None) -> str | None:
    if spread is None:
        return None
    return f"n < {ENOUGH_FOR_P95}" if spread.p95 is None else words.significant(spread.p95, 3, zeros=True)


def _maybe(value: float | None, text: Any) -> str | None:
    return None if value is None else str(text(value))


# Plots


def seconds(results: Results, summary: Summary) -> Context:
    rows = _rows(results, summary, "seconds")
    notes = ["From asking to having the picture. Each dot is one picture, the bar is the median."]
    steps = [
        f"{line.name} {words.seconds(line.per_step.median)}" for line in summary.lines if line.per_step is not None
    ]
    if steps:
        notes.append(f"A step took: {', '.join(steps)} (medians). Loading a model is not counted.")
    memory = [
        f"{line.name} {words.significant(line.peak_memory / 2**30, 2)} GiB"
        for line in summary.lines
        if line.peak_memory is not None
    ]
    if memory:
        notes.append(f"Memory at most: {', '.join(memory)}.")
    if not rows:
        return {"plot": None, "notes": [], "nothing": "No time was measured."}
    plot = plots.strips("seconds", rows, "s", alt=_alt("Seconds a picture", rows, words.seconds))
    return {"plot": plot, "notes": [*notes, *_about(plot)]}


def dollars(results: Results, summary: Summary) -> Context:
    rows = _rows(results, summary, "cost")
    table = [
        {
            **name,
            "estimate": _maybe(line.money.estimate, words.dollars),
            "source": _estimate_source(line.money),
            "actual": _actual(line.money),
            "actual_known": line.money.mean is not None,
            "basis": _bases(line.money),
        }
        for name, line in zip(named(summary.lines), summary.lines, strict=True)
    ]
    context: Context = {"rows": table, "plot": None, "notes": []}
    if not rows:
        context["nothing"] = "What the pictures cost is unknown."
        if all(line.row.provider == "local" for line in summary.lines):
            context["nothing"] += (
                " They were made on this machine, and what that costs an hour has not been said: dollars_per_hour in "
                "diptych.toml."
            )
        if all(line.money.estimate is None for line in summary.lines):
            context["rows"] = []
    elif all(row.spread.least == row.spread.most for row in rows):
        said = "; ".join(f"{row.label}, {words.dollars(row.spread.median)}" for row in rows)
        context["nothing"] = f"Every picture of a model cost the same, so there is nothing to plot: {said}."
    else:
        plot = plots.strips("dollars", rows, "$", alt=_alt("Dollars a picture", rows, words.dollars))
        context["plot"] = plot
        context["notes"] = ["Dollars a picture. Each dot is one picture, the bar is the median.", *_about(plot)]
    lost = [(line.name, line.money.without_picture) for line in summary.lines if line.money.without_picture]
    if lost:
        said = ", ".join(f"{name} {words.dollars(value)}" for name, value in lost)
        context["notes"].append(f"Charged without a picture: {said}. It is in no picture's cost.")
    if results.spent or results.budget is not None:
        of = "" if results.budget is None else f" of a budget of {words.dollars(results.budget)}"
        unsure = f", of which {words.dollars(results.unsure)} may not have been charged" if results.unsure else ""
        context["notes"].append(f"Spent: {words.dollars(results.spent)}{of}{unsure}.")
    return context


def _rows(results: Results, summary: Summary, name: str) -> list[plots.Row]:
    values: dict[int, list[float]] = {line.row.id: [] for line in summary.lines}
    for sample in done(results.samples):
        if getattr(sample, name) is not None:
            values[sample.contestant_id].append(getattr(sample, name))
    return _plot_rows(summary, [values[line.row.id] for line in summary.lines])


def _plot_rows(summary: Summary, values: Sequence[Sequence[float]]) -> list[plots.Row]:
    rows = []
    for at, (line, its) in enumerate(zip(summary.lines, values, strict=True)):
        spread = Spread.of(its)
        if spread is not None:
            rows.append(plots.Row(line.label, its, spread, at))
    return rows


def _alt(what: str, rows: Sequence[plots.Row], text: Any) -> str:
    return f"{what}: " + "; ".join(
        f"{row.label}, median {text(row.spread.median)}, {text(row.spread.least)} to {text(row.spread.most)}"
        for row in rows[:12]
    )


def _about(plot: plots.Plot) -> list[str]:
    said = []
    if plot.thinned:
        said.append(f"At most {plot.drawn} dots are drawn of each model, evenly by number; the numbers are of all.")
    if plot.logarithmic:
        said.append("The scale is logarithmic: equal steps are equal factors.")
    return said


def _estimate_source(money: Money) -> str:
    source = money.estimate_source
    parts = [str(source[key]) for key in ("source", "date") if source.get(key)]
    if source.get("basis") and not parts:
        parts.append(BASES.get(str(source["basis"]), str(source["basis"])))
    return ", ".join(parts) or "none"


def _actual(money: Money) -> str | None:
    if money.mean is None:
        return None
    said = words.dollars(money.mean)
    if money.difference is None:
        return said
    if abs(money.difference) < 0.005 * max(money.mean, money.estimate or 0.0):
        return f"{said}, as estimated"
    return f"{said}, {words.dollars(abs(money.difference))} {'more' if money.difference > 0 else 'less'}"


def _bases(money: Money) -> str:
    said = [f"{BASES.get(basis, basis)} ({n:,})" for basis, n in money.bases.items()]
    if money.unknown:
        said.append(f"unknown ({money.unknown:,})")
    return ", ".join(said) or "no picture"


# Detail


def detail(results: Results, summary: Summary) -> Context:
    measured = {
        line.row.id: [s.measures for s in done(results.samples) if s.contestant_id == line.row.id and s.measures]
        for line in summary.lines
    }
    key = named(summary.lines)
    context: Context = {"key": key, "plot": None, "notes": [], "rows": [], "sizes": _sizes(summary)}
    quantities = [q for q in measure.QUANTITIES if any(q.name in line.detail for line in summary.lines)]
    if not quantities:
        context["nothing"] = "These pictures were not measured."
        return context
    shown = []
    for q in quantities:
        values = [[one["common"][q.name] for one in measured[line.row.id]] for line in summary.lines]
        rows = _plot_rows(summary, [[value for value in its if value is not None] for its in values])
        shown.append(plots.Panel(q.label, rows))
        context["rows"].append(
            {
                "label": q.label,
                "reading": ", ".join(part for part in (q.unit, q.reading) if part),
                "cells": [_spread(line.detail.get(q.name)) for line in summary.lines],
            }
        )
    alt = "Measures of detail at the common size; the table below has the numbers."
    context["plot"] = plots.panels("detail", shown, len(summary.lines), alt=alt)
    context["side"] = round(measure.COMMON_PIXELS**0.5)
    small = [line for line in summary.lines if line.small]
    if small:
        whose = "All pictures" if len(small) == len(summary.lines) else f"The pictures of {_some(small)}"
        context["notes"].append(f"{whose} are smaller than that, and are not enlarged.")
    if small and len({_typical_area(line) for line in summary.lines if line.measured}) > 1:
        context["notes"].append("Between pictures of different size these numbers do not compare.")
    return context


def _some(lines: Sequence[Line]) -> str:
    named = [line.name for line in lines[:MOST_NAMED]]
    return words.listed(named if len(lines) <= MOST_NAMED else [*named, f"{len(lines) - MOST_NAMED} more"])


def _typical_area(line: Line) -> int:
    """Pixels at the common size of what came most often."""
    if not line.sizes.seen:
        return 0
    width, height = line.sizes.seen[0][0]
    return min(width * height, measure.COMMON_PIXELS)


def _spread(spread: Spread | None) -> Context | None:
    if spread is None:
        return None
    return {name: words.significant(getattr(spread, name), 3, zeros=True) for name in ("median", "low", "high")}


def _sizes(summary: Summary) -> list[Context]:
    rows = []
    for name, line in zip(named(summary.lines), summary.lines, strict=True):
        if not line.counts.done:
            continue
        sizes, twins = line.sizes, line.duplicates
        seen = ", ".join(f"{words.size(*size)} ({n:,})" for size, n in sizes.seen[:5])
        asked = sizes.as_asked + sizes.otherwise
        as_asked = f"{sizes.as_asked:,} of {asked:,}" if asked else "no size was asked"
        if sizes.wrong_aspect:
            as_asked += f"; {sizes.wrong_aspect:,} of another shape"
        near = (
            "not measured"
            if not twins.hashed
            else f"{twins.pictures:,} of {twins.hashed:,}"
            + (f", in {words.count(len(twins.groups), 'group')}" if twins.groups else "")
        )
        more = f" and {len(sizes.seen) - 5} other sizes" if len(sizes.seen) > 5 else ""
        rows.append({**name, "seen": (seen or "unknown") + more, "as_asked": as_asked, "duplicates": near})
    return rows


# Claims, settings, colophon


def claims(checked: Sequence[Claims], summary: Summary) -> Context:
    of = []
    for name, one in zip(named(summary.lines), checked, strict=True):
        nothing = (
            "Its catalogue entry was kept in a form that this version cannot read."
            if one.unreadable
            else "The catalogue holds no claims about it."
        )
        rows = [{**_claim(claim), "says": VERDICTS[claim.verdict]} for claim in one.claims]
        of.append({**name, "claims": rows, "nothing": nothing})
    told = [claim for one in checked for claim in one.claims]
    notes = ["What is published of each model, beside what was measured here."]
    if told:
        number = {verdict: sum(claim.verdict == verdict for claim in told) for verdict in VERDICTS}
        parts = [
            f"{number[verdict]} {words_for}"
            for verdict, words_for in (
                ("agrees", "agree with what was measured"),
                ("differs", "differ from it"),
                ("open", "cannot be judged by this study"),
            )
            if number[verdict]
        ]
        notes.append(f"Of {words.count(len(told), 'claim')}, {words.listed(parts)}.")
    return {"of": of, "notes": notes}


def _claim(claim: Any) -> Context:
    return {name: getattr(claim, name) for name in claim.__dataclass_fields__}


def settings(results: Results, summary: Summary) -> Context:
    contestants = []
    for name, line in zip(named(summary.lines), summary.lines, strict=True):
        title = line.row.facts.get("title")
        remote = line.row.facts.get("remote_id")
        model = line.row.model + (f" ({title})" if title and title != line.row.model else "")
        contestants.append(
            {
                **name,
                "model": model,
                "provider": words.provider(line.row.provider) + (f", as {remote}" if remote else ""),
                "sent": _sent(results, line),
            }
        )
    seeds = sorted({s.request["seed"] for s in results.samples if s.request.get("seed") is not None})
    pairs = [
        ("study", results.name),
        ("planned", moment(results.created)),
        ("seeds", _seeds(seeds)),
        ("budget", "none" if results.budget is None else words.dollars(results.budget)),
        *((key.replace("_", " "), _value(value)) for key, value in results.settings.items() if value not in (None, {})),
    ]
    return {"contestants": contestants, "pairs": pairs}


def _seeds(seeds: Sequence[int]) -> str:
    if not seeds:
        return "none were sent"
    if len(seeds) > 1 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return words.cut(", ".join(map(str, seeds[:12])), LONGEST_VALUE) + (" and others" if len(seeds) > 12 else "")


def _sent(results: Results, line: Line) -> str:
    """What all of a contestant's requests have in common; what differs between them is said to."""
    values: dict[str, set[str]] = {}
    number = 0
    for sample in results.samples:
        if sample.contestant_id != line.row.id:
            continue
        number += 1
        for key, value in _flat(sample.request).items():
            values.setdefault(key, set()).add(value)
    parts = [
        f"{key.replace('_', ' ')} {next(iter(its)) if len(its) == 1 else 'of each its own'}"
        for key, its in values.items()
    ]
    return words.cut(", ".join(parts), 4 * LONGEST_VALUE) or "the prompt alone"


def _flat(request: Mapping[str, Any]) -> dict[str, str]:
    kept = {
        key: value
        for key, value in request.items()
        if key not in ("prompt", "seed", "original_prompt", "width", "height", "options")
    }
    if request.get("width"):
        kept = {"size": words.size(request["width"], request["height"]), **kept}
    return {key: _value(value) for key, value in {**kept, **request.get("options", {})}.items()}


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return words.cut(", ".join(f"{key} {_value(inner)}" for key, inner in value.items()), LONGEST_VALUE) or "none"
    if isinstance(value, list | tuple):
        return words.cut(", ".join(_value(inner) for inner in value), LONGEST_VALUE) or "none"
    return words.cut(f"{value:g}" if isinstance(value, float) else str(value), LONGEST_VALUE)


def colophon(results: Results, summary: Summary, *, linked: bool) -> Context:
    """The words are in the template; these are the numbers in them."""
    pairs = max(1, len(summary.lines) * (len(summary.lines) - 1) // 2)
    return {
        "linked": linked,
        "enough": ENOUGH_FOR_P95,
        "level": words.significant(100 * LEVEL, 2),
        "each": words.significant(100 * LEVEL / pairs, 2),
        "pairs": words.count(pairs, "pair"),
        "measures": measure.VERSION,
        "common": f"{measure.COMMON_PIXELS:,}",
        "near": measure.NEAR,
        "versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()) or "not recorded",
        "made": f"Made by diptych {metadata.version('diptych')} from the study {results.name} of "
        f"{results.created[:10]}.",
    }


def day(iso: str) -> str:
    """`22 November 2026`."""
    try:
        found = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{found.day} {found:%B %Y}"


def moment(iso: str) -> str:
    try:
        found = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{day(iso)}, {found:%H:%M} {found.tzname() or ''}".strip()


def headline(summary: Summary, results: Results, jury: Jury) -> answer.Answer:
    return answer.answer(summary, prompts=len(results.prompts), jury=jury)
