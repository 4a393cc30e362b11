"""The answer in a sentence: no wider than its evidence."""

from __future__ import annotations

import random

import pytest

from diptych.report import words
from diptych.report.answer import Answer, answer
from diptych.report.judged import NOT_JUDGED
from diptych.report.summary import summarise
from diptych.studies.results import Results, SampleRow
from tests.report.conftest import Builder, change
from tests.report.test_summary import results_of, sample


def answer_to(
    samples: list[SampleRow], contestants: int = 2, labels: list[str] | None = None, **rows: object
) -> Answer:
    return said(results_of(samples, contestants), labels, **rows)


def said(results: Results, labels: list[str] | None = None, **rows: object) -> Answer:
    named = tuple(
        change(row, label=name, model=name, **rows)
        for row, name in zip(results.contestants, labels or ("quick", "slow", "third", "fourth"), strict=False)
    )
    found = answer(summarise(change(results, contestants=named)), prompts=len(results.prompts))
    return Answer(_plain(found.headline), tuple(_plain(sentence) for sentence in found.evidence))


def _plain(text: str) -> str:
    return text.replace(words.UNBROKEN, " ")


def timed(contestant: int, seconds: list[float], **values: object) -> list[SampleRow]:
    return [sample(contestant, i, seconds=s, **values) for i, s in enumerate(seconds)]  # type: ignore[arg-type]


def test_one_is_faster() -> None:
    found = answer_to(timed(0, [0.25] * 12) + timed(1, [0.725] * 12))
    assert found.headline == f"quick is 2.9 times as fast as slow, and {NOT_JUDGED}."
    assert "A picture took 0.25 s with quick and 0.72 s with slow (medians of 12)." in found.evidence
    assert any("faster than slow in 12 of 12 pairs (p < 0.001)" in sentence for sentence in found.evidence)
    assert any("this 1 prompt" in sentence for sentence in found.evidence)


def test_too_few_pairs_say_nothing() -> None:
    found = answer_to(timed(0, [0.2] * 5) + timed(1, [2.0] * 5))
    assert found.headline == f"quick and slow cannot be told apart by speed here, and {NOT_JUDGED}."
    assert any("5 of 5 pairs (p = 0.062: it could be chance)" in sentence for sentence in found.evidence)


def test_chance_is_shared_out_over_pairs_of_contestants() -> None:
    """Seven pairs of seven, p = 0.016, tell two contestants apart, and not one of six pairs of four."""
    two = timed(0, [1.0] * 7) + timed(1, [2.0] * 7)
    assert "2 times as fast" in answer_to(two).headline
    four = two + timed(2, [3.0] * 7) + timed(3, [4.0] * 7)
    assert "cannot be told apart" in answer_to(four, 4).headline


def test_false_alarms_are_as_rare_as_they_are_said_to_be() -> None:
    """Four contestants that are all alike: any difference called out is one too many, and 5 % are allowed."""
    drawn = random.Random(7)  # noqa: S311
    alarms = 0
    for _ in range(300):
        samples = [one for k in range(4) for one in timed(k, [drawn.lognormvariate(0, 0.5) for _ in range(12)])]
        alarms += "cannot be told apart" not in answer_to(samples, 4).headline
    assert alarms <= 300 * 0.05


def test_a_small_difference_is_called_small() -> None:
    found = answer_to(timed(0, [1.0] * 20) + timed(1, [1.05] * 20))
    assert found.headline.startswith("quick is a little faster than slow")


def test_several_lead_together() -> None:
    samples = timed(0, [1.0, 1.4] * 10) + timed(1, [1.3, 1.15] * 10) + timed(2, [5.0] * 20)
    assert answer_to(samples, 3).headline.startswith("quick and slow are the fastest, too close to tell apart")


def test_medians_and_pairs_that_disagree() -> None:
    samples = timed(0, [1.0] * 7 + [9.0] * 5) + timed(1, [1.1] * 2 + [0.9] * 4 + [2.0] * 6)
    found = answer_to(samples)
    assert "cannot be told apart" in found.headline


def test_costs_are_compared_where_all_are_known() -> None:
    both = [{"cost": 0.01, "cost_basis": "price"}, {"cost": 0.04, "cost_basis": "price"}]
    samples = timed(0, [1.0] * 8, **both[0]) + timed(1, [3.0] * 8, **both[1])
    assert answer_to(samples).headline.startswith("quick is 3 times as fast as slow and costs less,")
    swapped = timed(0, [1.0] * 8, **both[1]) + timed(1, [3.0] * 8, **both[0])
    assert answer_to(swapped).headline.startswith("quick is 3 times as fast as slow, slow costs less,")
    partly = [change(samples[0], cost=None), *samples[1:]]
    assert "cost" not in answer_to(partly).headline
    assert any("What quick cost is in part unknown" in sentence for sentence in answer_to(partly).evidence)


def test_billed_costs_need_the_same_evidence_as_seconds() -> None:
    bill = {"cost_basis": "usage"}
    samples = timed(0, [1.0] * 3, cost=0.01, **bill) + timed(1, [1.0] * 3, cost=0.04, **bill)
    assert "costs" not in answer_to(samples).headline


def test_unknown_costs_of_this_machine_say_what_is_missing() -> None:
    found = answer_to(timed(0, [1.0] * 8) + timed(1, [3.0] * 8), provider="local")
    assert any("nobody has said what this machine costs an hour" in sentence for sentence in found.evidence)


def test_many_refusals_are_in_the_headline() -> None:
    refused = [sample(1, i, "refused") for i in range(6)]
    found = answer_to(timed(0, [1.0] * 12) + refused + [sample(1, 6 + i, seconds=3.0) for i in range(6)])
    assert "slow refused 6 of 12" in found.headline
    assert "slow: of 12 requests, 6 refused." in found.evidence


def test_one_contestant() -> None:
    found = answer_to(timed(0, [0.5] * 4), 1)
    assert found.headline == "quick made a picture in 0.50 s; with one model there is nothing to compare."


def test_only_one_gave_pictures() -> None:
    found = answer_to(timed(0, [0.5] * 4) + [sample(1, i, "failed") for i in range(4)])
    assert found.headline == "Only quick made pictures, each in about 0.50 s; the others made none."
    assert "slow: of 4 requests, 4 failed." in found.evidence


@pytest.mark.parametrize(
    ("states", "headline"),
    [
        ([], "This study is empty."),
        (["planned"] * 3, "Nothing has been asked yet."),
        (["refused", "failed", "unknown", "planned"], "No picture came back."),
        (["sent", "waiting"], "No picture came back."),
    ],
)
def test_no_pictures_at_all(states: list[str], headline: str) -> None:
    found = answer_to([sample(0, i, state) for i, state in enumerate(states)])
    assert found.headline == headline


def test_what_is_still_to_come_is_said() -> None:
    found = answer_to([*timed(0, [1.0] * 3), sample(0, 3, "planned"), sample(0, 4, "waiting")], 1)
    assert "2 of 5 samples are still to come: this is not the whole study." in found.evidence


def test_imported_pictures_have_no_time() -> None:
    found = answer_to([sample(k, i) for k in range(2) for i in range(4)])
    assert found.headline == f"How long the models take is not known, and {NOT_JUDGED}."


def test_no_study_makes_it_fail(rich: Builder) -> None:
    results = rich.results()
    for keep in range(len(results.samples) + 1):
        part = change(results, samples=results.samples[:keep])
        found = answer(summarise(part), prompts=2)
        assert found.headline.endswith(".")


def test_labels_that_are_no_plain_text_are_set_apart() -> None:
    found = answer_to(timed(0, [1.0] * 8) + timed(1, [3.0] * 8), labels=["\u05e9\u05d5\u05e2\u05dc", "b" * 200])
    assert found.headline.startswith("\u2068\u05e9\u05d5\u05e2\u05dc\u2069 is 3 times as fast as bbb")
    assert len(found.headline) < 200
