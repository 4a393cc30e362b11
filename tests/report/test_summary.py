"""A study in numbers, by cases reckoned by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.report import data
from diptych.report.summary import size_is_right, summarise
from diptych.studies.results import ContestantRow, PromptRow, Results, SampleRow
from tests.report.conftest import Builder, change, picture

STATES = ("planned", "sent", "waiting", "done", "refused", "failed", "unknown")


def results_of(samples: list[SampleRow], contestants: int = 2, prompts: int = 1) -> Results:
    return Results(
        id=1,
        name="hand",
        created="2026-11-20",
        budget=None,
        seed=1,
        settings={},
        versions={},
        prompts=tuple(PromptRow(i, i, f"prompt {i}", None) for i in range(prompts)),
        contestants=tuple(
            ContestantRow(i, i, f"model-{i}", "m", "fake", {}, {}, None, None) for i in range(contestants)
        ),
        samples=tuple(samples),
        spent=0.0,
        unsure=0.0,
    )


def sample(contestant: int, number: int, state: str = "done", prompt: int = 0, **values: object) -> SampleRow:
    row = SampleRow(100 * contestant + number, prompt, contestant, number, {"prompt": "x"}, state)
    return change(row, **values)  # type: ignore[no-any-return]


def test_everything_that_can_become_of_a_sample_is_counted(rich: Builder) -> None:
    summary = summarise(rich.results())
    quick, dear, evil = summary.lines
    assert (quick.counts.total, quick.counts.done, quick.counts.left) == (8, 8, 0)
    counts = evil.counts
    assert (counts.total, counts.asked, counts.done, counts.refused) == (6, 5, 2, 1)
    assert (counts.failed, counts.unknown, counts.planned, counts.left) == (1, 1, 1, 1)
    assert summary.counts.total == 22
    assert dear.row.facts["name"] == "gemini-3.1-flash-image"


def test_money_is_of_what_is_known() -> None:
    samples = [
        sample(0, 0, cost=0.02, cost_basis="stated"),
        sample(0, 1, cost=0.04, cost_basis="usage"),
        sample(0, 2),
        sample(0, 3, "refused", cost=0.01),
    ]
    money = summarise(results_of(samples)).lines[0].money
    assert (money.known, money.unknown) == (2, 1)
    assert money.mean == pytest.approx(0.03)
    assert money.per_1000 == pytest.approx(30)
    assert (money.total, money.least, money.most) == (pytest.approx(0.06), 0.02, 0.04)
    assert money.bases == {"stated": 1, "usage": 1}
    assert money.without_picture == 0.01
    assert money.difference is None  # nothing was estimated

    none = summarise(results_of(samples)).lines[1].money
    assert (none.known, none.mean, none.per_1000, none.total) == (0, None, None, 0)


def test_the_difference_to_the_estimate(rich: Builder) -> None:
    results = rich.results()
    dearer = tuple(change(s, cost=0.1) if s.contestant_id == results.contestants[1].id else s for s in results.samples)
    money = summarise(change(results, samples=dearer)).lines[1].money
    assert money.difference == pytest.approx(0.033)
    assert money.estimate_source["source"] == "LiteLLM price file"


def test_seconds_and_steps() -> None:
    samples = [
        sample(0, i, seconds=float(i + 1), timing={"total": i + 1, "per_step": 0.5, "peak_memory": 10 * i})
        for i in range(4)
    ]
    line = summarise(results_of([*samples, sample(0, 4)])).lines[0]
    assert line.seconds is not None
    assert (line.seconds.n, line.seconds.median, line.seconds.p95) == (4, 2.5, None)
    assert line.per_step is not None
    assert line.per_step.median == 0.5
    assert line.peak_memory == 30


def test_p95_from_twenty_on() -> None:
    samples = [sample(0, i, seconds=float(i)) for i in range(21)]
    line = summarise(results_of(samples)).lines[0]
    assert line.seconds is not None
    assert line.seconds.p95 == 19.0


def test_contestants_are_paired_by_prompt_and_number() -> None:
    samples = [sample(0, i, seconds=1.0) for i in range(4)] + [
        sample(1, 0, seconds=2.0),
        sample(1, 1, seconds=0.5),
        sample(1, 2, "refused"),
        sample(1, 3, seconds=1.0),
    ]
    summary = summarise(results_of(samples))
    pair = summary.faster[0, 1]
    assert (pair.lower, pair.higher, pair.equal) == (1, 1, 1)
    assert summary.faster[1, 0].lower == pair.higher
    assert summary.cheaper[0, 1].n == 0


@pytest.mark.parametrize(
    ("request_values", "got", "size", "aspect"),
    [
        ({"width": 64, "height": 48}, (64, 48), True, True),
        ({"width": 64, "height": 48}, (128, 96), False, True),
        ({"width": 64, "height": 48}, (48, 64), False, False),
        ({"aspect_ratio": "16:9"}, (1344, 768), None, True),
        ({"aspect_ratio": "16:9"}, (1024, 1024), None, False),
        ({"image_size": "1K"}, (1024, 1024), True, None),
        ({"image_size": "2K", "aspect_ratio": "1:1"}, (1024, 1024), False, True),
        ({"image_size": "huge"}, (1024, 1024), None, None),
        ({}, (1024, 1024), None, None),
    ],
)
def test_sizes_beside_what_was_asked(
    request_values: dict[str, object], got: tuple[int, int], size: bool | None, aspect: bool | None
) -> None:
    found = size_is_right(sample(0, 0, request=request_values), got)
    assert (found.size, found.aspect) == (size, aspect)


def test_sentences_name_the_model_where_that_suffices() -> None:
    results = results_of([], contestants=3)
    models = ("flux", "flux", "other")
    rows = tuple(change(row, model=model) for row, model in zip(results.contestants, models, strict=True))
    names = [line.name for line in summarise(change(results, contestants=rows)).lines]
    assert names == ["model-0", "model-1", "other"]


def test_sizes_are_counted(rich: Builder) -> None:
    quick, dear, evil = (line.sizes for line in summarise(rich.results()).lines)
    assert (quick.as_asked, quick.otherwise, quick.not_asked) == (0, 0, 8)
    assert (dear.as_asked, dear.otherwise) == (8, 0)
    assert dear.seen == (((160, 120), 8),)
    assert (evil.otherwise, evil.wrong_aspect) == (2, 2)


def test_near_duplicates_are_found_within_a_contestant(rich: Builder) -> None:
    quick, _, evil = (line.duplicates for line in summarise(rich.results()).lines)
    assert (evil.hashed, evil.groups, evil.pictures) == (2, (2,), 2)
    assert quick.hashed == 8


def test_detail_is_of_the_common_size(rich: Builder) -> None:
    results = rich.results()
    line = summarise(results).lines[0]
    values = sorted(
        s.measures["common"]["contrast"] for s in results.samples if s.contestant_id == line.row.id and s.measures
    )
    assert line.detail["contrast"].n == 8 == line.measured
    assert line.detail["contrast"].median == pytest.approx((values[3] + values[4]) / 2)
    assert line.small == 8  # all of them are smaller than the common size


def test_pictures_that_were_not_measured_have_no_detail(build: Builder) -> None:
    build.prompt("a fox")
    build.contestant("one")
    build.sample(0, 0, 0, picture(1), seconds=1.0)
    line = summarise(build.results()).lines[0]
    assert (line.detail, line.measured, line.duplicates.hashed) == ({}, 0, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(STATES), st.none() | st.floats(0, 10), st.none() | st.floats(0, 10)), max_size=40
    )
)
def test_whatever_became_of_the_samples_it_adds_up(cells: list[tuple[str, float | None, float | None]]) -> None:
    samples = [sample(i % 2, i // 2, state, seconds=s, cost=c) for i, (state, s, c) in enumerate(cells)]
    results = results_of(samples)
    summary = summarise(results)
    counts = summary.counts
    assert counts.done + counts.refused + counts.failed + counts.unknown + counts.left == counts.total == len(cells)
    assert sum(line.counts.total for line in summary.lines) == len(cells)
    for line in summary.lines:
        assert line.money.known + line.money.unknown == line.counts.done
        assert (line.money.mean is None) == (line.money.known == 0)
        assert (line.seconds is None) == (
            not any(s.seconds is not None and s.state == "done" for s in samples if s.contestant_id == line.row.id)
        )
    assert data.to_csv(results).count("\n") == len(cells) + 1
