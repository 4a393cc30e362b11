"""The answer in a sentence, with its evidence: only what was measured, and no wider than that.

When is a contestant said to be faster than another? Both pictures of every prompt and number that both made are put
side by side. Its median must be lower, and the sign test (how often it was the faster one of two, against a fair coin)
must give less than 5 %, shared out over all pairs of contestants (Bonferroni). So six pairs that all point one way are
the least with which two contestants are told apart. The test takes pairs as independent: an hour in which a vendor is
slow can fool it, so what is said holds for this run. Costs are compared in the same way, except where both are reckoned
from price lists, in which nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diptych.report import words
from diptych.report.evidence import LEVEL, Paired
from diptych.report.judged import NOBODY, Jury, sentence, verdict
from diptych.report.summary import Line, Summary

LONGEST_NAME = 60
MOST_NAMED = 4
"""Models in one sentence."""
MANY = 0.25
"""Share of refused or failed samples from which the headline says so."""


@dataclass(frozen=True)
class Answer:
    headline: str
    evidence: tuple[str, ...]
    """Sentences, the most important first."""


def answer(summary: Summary, *, prompts: int, jury: Jury = NOBODY) -> Answer:
    counts = summary.counts
    with_pictures = [line for line in summary.lines if line.counts.done]
    if not counts.total:
        return Answer("This study is empty.", ())
    if not counts.asked:
        return Answer("Nothing has been asked yet.", (f"{words.count(counts.total, 'sample')} are planned.",))
    if not with_pictures:
        return Answer("No picture came back.", (*_shortfalls(summary.lines), *_still_to_come(summary)))
    votes = [] if jury.people is None else [sentence(jury.people)]
    evidence = [*votes, *_time_evidence(summary, with_pictures), *_cost_evidence(summary, with_pictures)]
    return Answer(
        headline=_headline(summary, with_pictures, jury),
        evidence=(*evidence, *_shortfalls(summary.lines), *_still_to_come(summary), _scope(summary, prompts)),
    )


# The headline


def _headline(summary: Summary, lines: Sequence[Line], jury: Jury) -> str:
    if len(lines) == 1:
        return _alone(summary, lines[0])
    timed = [line for line in lines if line.seconds is not None]
    said = _time_claim(summary, timed) if len(timed) > 1 else "How long the models take is not known"
    cost = _cost_claim(summary, lines, said)
    troubled = [line for line in summary.lines if _lost(line) >= MANY]
    but = f"; {_trouble(troubled)}" if troubled else ""
    return f"{said}{cost}{but}, and {verdict(jury, {line.label: _name(line) for line in summary.lines})}."


def _alone(summary: Summary, line: Line) -> str:
    name = _name(line)
    took = f"made a picture in {words.seconds(line.seconds.median)}" if line.seconds else "made pictures"
    if len(summary.lines) == 1:
        return f"{name} {took}; with one model there is nothing to compare."
    return f"Only {name} {took.replace('made a picture in', 'made pictures, each in about')}; the others made none."


def _time_claim(summary: Summary, timed: Sequence[Line]) -> str:
    first, *others = sorted(timed, key=_median)
    apart = [line for line in others if _surely_lower(summary, summary.faster, _median, first, line)]
    level = [line for line in others if line not in apart]
    if len(timed) == 2:
        other = others[0]
        if level:
            return f"{_name(first)} and {_name(other)} cannot be told apart by speed here"
        ratio = _median(other) / _median(first) if _median(first) else float("inf")
        if ratio < 1.15:
            return f"{_name(first)} is a little faster than {_name(other)}"
        return f"{_name(first)} is {words.times(ratio)} times as fast as {_name(other)}"
    if not level:
        return f"{_name(first)} is the fastest of {len(timed)}"
    if not apart:
        return f"The {len(timed)} models cannot be told apart by speed here"
    leading = [first, *level]
    who = words.listed([_name(line) for line in leading]) if len(leading) <= 3 else f"{len(leading)} of {len(timed)}"
    return f"{who} are the fastest, too close to tell apart"


def _cost_claim(summary: Summary, lines: Sequence[Line], said: str) -> str:
    """Who costs least: only where every cost is known, and one is surely lowest. said: the claim before it."""
    if any(line.money.mean is None or line.money.unknown for line in lines):
        return ""
    first, *others = sorted(lines, key=_mean_cost)
    if not all(_surely_cheaper(summary, first, other) for other in others):
        return ""
    least = "less" if len(lines) == 2 else "least"
    if said.startswith(f"{_name(first)} is "):
        return f" and costs {least}"
    return f", {_name(first)} costs {least}"


def _trouble(lines: Sequence[Line]) -> str:
    parts = []
    for line in lines[:3]:
        lost = {"refused": line.counts.refused, "failed at": line.counts.failed, "never answered": line.counts.unknown}
        what, number = max(lost.items(), key=lambda item: item[1])
        parts.append(f"{_name(line)} {what} {number:,} of {line.counts.asked:,}")
    return words.listed(parts)


# The evidence


def _time_evidence(summary: Summary, lines: Sequence[Line]) -> list[str]:
    timed = sorted((line for line in lines if line.seconds is not None), key=_median)
    said = []
    if timed:
        took = [f"{words.seconds(_median(line))} with {_name(line)}" for line in timed[:MOST_NAMED]]
        numbers = sorted({line.seconds.n for line in timed if line.seconds is not None})
        of = f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"
        more = " and more with others" if len(timed) > MOST_NAMED else ""
        said.append(f"A picture took {words.listed(took)}{more} (median{'s' if len(timed) > 1 else ''} of {of}).")
    if len(timed) > 1:
        said.append(_tests(summary, timed[0], timed[1 : MOST_NAMED + 1]))
    missing = [_name(line) for line in lines if line.seconds is None]
    if missing:
        said.append(f"No time is known for {words.listed(missing)}.")
    return said


def _tests(summary: Summary, first: Line, others: Sequence[Line]) -> str:
    """How often the fastest one was faster, and what a sign test makes of it."""
    parts = []
    for other in others:
        pair = _pair(summary, summary.faster, first, other)
        if not pair.n:
            parts.append(f"than {_name(other)} in none, as they share no prompt and number")
            continue
        ties = f", {pair.equal:,} equal" if pair.equal else ""
        verdict = _chance(pair.chance)
        if pair.lower < pair.higher:
            verdict += ": its median is lower, yet most pairs point the other way"
        elif not _surely_lower(summary, summary.faster, _median, first, other):
            verdict += ": it could be chance"
        parts.append(f"than {_name(other)} in {pair.lower:,} of {pair.n:,} pairs{ties} ({verdict})")
    return f"On the same prompt and number, {_name(first)} was faster {words.listed(parts)}, by a sign test."


def _chance(p: float) -> str:
    said = "p < 0.001" if p < 0.001 else f"p = {words.significant(p, 2)}"
    return said.replace(" ", words.UNBROKEN)


def _cost_evidence(summary: Summary, lines: Sequence[Line]) -> list[str]:
    known = sorted((line for line in lines if line.money.mean is not None), key=_mean_cost)
    said = []
    if known:
        cost = [f"{words.dollars(_mean_cost(line))} with {_name(line)}" for line in known[:MOST_NAMED]]
        more = " and more with others" if len(known) > MOST_NAMED else ""
        said.append(f"A picture cost {words.listed(cost)}{more} (mean{'s' if len(known) > 1 else ''}).")
    unknown = [line for line in lines if line.money.unknown]
    if unknown:
        all_of_it = all(line.money.mean is None for line in unknown)
        local = all(line.row.provider == "local" for line in unknown)
        hint = ": nobody has said what this machine costs an hour" if local else ""
        part = "" if all_of_it else " in part"
        said.append(f"What {words.listed([_name(line) for line in unknown])} cost is{part} unknown{hint}.")
    return said


def _shortfalls(lines: Sequence[Line]) -> list[str]:
    said = []
    for line in lines:
        counts = line.counts
        parts = [
            f"{number:,} {what}"
            for number, what in (
                (counts.refused, "refused"),
                (counts.failed, "failed"),
                (counts.unknown, "never answered and possibly charged"),
            )
            if number
        ]
        if parts:
            said.append(f"{_name(line)}: of {words.count(counts.asked, 'request')}, {words.listed(parts)}.")
    return said


def _still_to_come(summary: Summary) -> list[str]:
    counts = summary.counts
    if not counts.left:
        return []
    left = words.count(counts.total, "sample")
    return [f"{counts.left:,} of {left} are still to come: this is not the whole study."]


def _scope(summary: Summary, prompts: int) -> str:
    plural = "these" if prompts > 1 else "this"
    return f"All of it on {plural} {words.count(prompts, 'prompt')}, as timed from here during this run."


# What may be said


def _surely_lower(
    summary: Summary,
    pairs: Mapping[tuple[int, int], Paired],
    value: Callable[[Line], float],
    first: Line,
    other: Line,
) -> bool:
    """See the module's docstring."""
    k = len(summary.lines)
    pair = _pair(summary, pairs, first, other)
    return value(first) < value(other) and pair.lower > pair.higher and pair.chance < LEVEL / (k * (k - 1) / 2)


def _surely_cheaper(summary: Summary, first: Line, other: Line) -> bool:
    if all(set(line.money.bases) == {"price"} for line in (first, other)):
        dearest, cheapest = first.money.most, other.money.least
        return dearest is not None and cheapest is not None and dearest < cheapest
    return _surely_lower(summary, summary.cheaper, _mean_cost, first, other)


def _pair(summary: Summary, pairs: Mapping[tuple[int, int], Paired], first: Line, other: Line) -> Paired:
    return pairs[summary.lines.index(first), summary.lines.index(other)]


def _median(line: Line) -> float:
    return line.seconds.median if line.seconds is not None else float("inf")


def _mean_cost(line: Line) -> float:
    return line.money.mean if line.money.mean is not None else float("inf")


def _lost(line: Line) -> float:
    counts = line.counts
    return (counts.refused + counts.failed + counts.unknown) / counts.asked if counts.asked else 0.0


def _name(line: Line) -> str:
    """What is not plain text is set apart, so that its direction of writing ends with it."""
    name = words.cut(line.name, LONGEST_NAME)
    return name if line.name.isascii() else f"\u2068{name}\u2069"
