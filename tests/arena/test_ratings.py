"""Ratings, by hand and by what must not matter; intervals, where there are some, and reasons where there are none."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diptych.arena import davidson, ratings, sandwich
from diptych.arena.intervals import FEWEST
from diptych.arena.ratings import ELO, SCOPES, Rating, Ratings, by_category, by_criterion, by_scope, rate
from diptych.arena.votes import Vote, Votes, collect
from diptych.errors import InvalidRequest
from tests.arena.simulated import simulate


def between(a: str, b: str, won: int, lost: int, tied: int = 0, both_bad: int = 0) -> list[Vote]:
    """Votes on two models, sides turn by turn, prompts and judges in turn."""
    said = ["a"] * won + ["b"] * lost + ["tie"] * tied + ["both_bad"] * both_bad
    votes = []
    for i, choice in enumerate(said):
        left, right = (a, b) if i % 2 else (b, a)
        if choice in "ab":
            choice = "left" if (choice == "a") == (left == a) else "right"
        votes.append(Vote(left, right, choice, f"p{i % 6}", f"j{i % 7}"))
    return votes


def model(rated: Ratings, name: str) -> Rating:
    return next(row for row in rated.models if row.model == name)


def limits(estimate: ratings.Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.value is not None
    assert estimate.low <= estimate.value <= estimate.high
    return estimate.low, estimate.high


def test_two_models_by_hand() -> None:
    votes = collect(between("a", "b", 60, 20, 20, both_bad=7))
    rated = rate(votes, prior_sd=50)
    difference = rated.contrast("a", "b").difference
    assert difference.value == pytest.approx(ELO * math.log(3), rel=1e-3)
    assert difference.value == pytest.approx(400 * math.log10(3), rel=1e-3)
    error = ELO * math.sqrt(1 / 60 + 1 / 20)
    quantile = stats.t.ppf(0.975, 100 - 3)
    low, high = limits(difference)
    assert high - low == pytest.approx(2 * quantile * error, rel=0.03)
    first, second = rated.models
    assert (first.model, first.wins, first.losses, first.ties, first.votes) == ("a", 60, 20, 20, 100)
    assert (second.wins, second.losses) == (20, 60)
    assert first.both_bad == second.both_bad == rated.both_bad == 7
    assert first.both_bad_rate == pytest.approx(7 / 107)
    assert first.rating.value == pytest.approx(1000 + ELO * math.log(3) / 2, rel=1e-3)
    assert first.rating.value + second.rating.value == pytest.approx(2000)
    assert first.win_rate.value == pytest.approx(0.6 + 0.2 / 2, abs=1e-3)
    assert (first.rank, first.best_rank, first.worst_rank) == (1, 1, 1)
    assert (second.rank, second.best_rank, second.worst_rank) == (2, 2, 2)
    low, high = limits(first.win_rate)
    assert 0.55 < low < 0.65 < 0.75 < high < 0.85
    assert (rated.votes, rated.prompts, rated.judges) == (100, 6, 7)


def test_win_rate_is_the_mean_over_the_others() -> None:
    rated = rate(simulate(2000, 4))
    tie = math.exp(rated.tie)

    def wins(difference: float) -> float:
        win, lose = math.exp(difference / 2), math.exp(-difference / 2)
        return (win + tie / 2) / (win + lose + tie)

    for row in rated.models:
        others = [other.strength for other in rated.models if other is not row]
        assert row.strength is not None
        expected = np.mean([wins(row.strength - (s or 0.0)) for s in others])
        assert row.win_rate.value == pytest.approx(expected)


def test_the_interval_of_a_win_rate_is_that_of_a_difference_between_two_models() -> None:
    """Without ties they are the same thing on two scales."""
    rated = rate(collect(between("a", "b", 60, 40)), prior_sd=50)
    on_points = [1 / (1 + 10 ** (-x / 400)) for x in limits(rated.contrast("a", "b").difference)]
    np.testing.assert_allclose(limits(rated.models[0].win_rate), on_points, atol=2e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 5), st.sampled_from([20, 300]), st.sampled_from(SCOPES))
def test_the_order_of_votes_does_not_matter(seed: int, models: int, n: int, scope: ratings.Scope) -> None:
    votes = simulate(n, models, prompts=6, judges=6, seed=seed)
    order = np.random.default_rng(seed).permutation(n)
    same(rate(votes, scope), rate(votes.where(order), scope))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from(SCOPES))
def test_names_do_not_matter(seed: int, scope: ratings.Scope) -> None:
    votes = simulate(300, 4, prompts=6, judges=6, seed=seed)
    rng = np.random.default_rng(seed)
    columns, names = {}, {}
    for names_of, of in (("models", ("left", "right")), ("prompts", ("prompt",)), ("judges", ("judge",))):
        old = getattr(votes, names_of)
        new = rng.permutation(len(old))
        names[names_of] = tuple(old[i] for i in new)
        columns.update({column: np.argsort(new)[getattr(votes, column)] for column in of})
    same(rate(votes, scope), rate(replace(votes, **names, **columns), scope))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from(SCOPES))
def test_swapping_sides_turns_the_side_alone(seed: int, scope: ratings.Scope) -> None:
    votes = simulate(300, 4, prompts=6, judges=6, seed=seed)
    turned = np.array([1, 0, 2, 3, 4])[votes.choice]
    rated = rate(votes, scope)
    swapped = rate(replace(votes, left=votes.right, right=votes.left, choice=turned), scope)
    same(rated, replace(swapped, side=swapped.side.negated()))


def same(one: Ratings, other: Ratings) -> None:
    """Equal but for rounding."""

    def numbers(value: object) -> list[object]:
        if dataclasses.is_dataclass(value):
            return [n for field in dataclasses.fields(value) for n in numbers(getattr(value, field.name))]
        if isinstance(value, tuple):
            return [n for item in value for n in numbers(item)]
        return [value]

    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert a == (pytest.approx(b, abs=1e-4) if isinstance(b, float) else b)


def test_all_votes_twice_narrow_what_is_about_them_and_not_what_is_beyond() -> None:
    votes = simulate(3000, 3, prompts=8, judges=8, effect=1.0)
    twice = votes.where(np.tile(np.arange(len(votes)), 2))  # type: ignore[arg-type]
    for scope, expected in (("these", math.sqrt(2)), ("prompts", 1.0), ("judges", 1.0)):
        once, again = rate(votes, scope), rate(twice, scope)  # type: ignore[arg-type]
        assert again.models[0].rating.value == pytest.approx(once.models[0].rating.value, abs=1)
        widths = [np.subtract(*limits(rated.contrast("m0", "m2").difference)) for rated in (once, again)]
        assert widths[0] / widths[1] == pytest.approx(expected, rel=0.02)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32),
    st.floats(0, 2),
    st.integers(50, 400),
    st.sampled_from([(10, 10), (5, 40), (40, 5), (400, 400)]),
    st.sampled_from([3, 12]),
)
def test_a_wider_claim_never_has_the_narrower_interval(
    seed: int, effect: float, n: int, clusters: tuple[int, int], models: int
) -> None:
    prompts, judges = clusters
    all_scopes = by_scope(simulate(n, models, prompts=prompts, judges=judges, effect=effect, seed=seed))

    def widths(scope: ratings.Scope) -> list[float]:
        estimates = [contrast.difference for contrast in all_scopes[scope].contrasts]
        return [math.nan if e.low is None or e.high is None else e.high - e.low for e in estimates]

    for narrow, wide in (("these", "prompts"), ("these", "judges"), *((s, SCOPES[3]) for s in ("prompts", "judges"))):
        for a, b in zip(widths(narrow), widths(wide), strict=True):  # type: ignore[arg-type]
            assert not a > b + 1e-9


def test_claims_say_for_whom() -> None:
    votes = simulate(300, 3, prompts=6, judges=6)
    assert {scope: rated.claim for scope, rated in by_scope(votes).items()} == {
        "these": "on these prompts and pictures, for these judges",
        "prompts": "on prompts like these, for these judges",
        "judges": "on these prompts and pictures, for judges like these",
        "prompts and judges": "on prompts and for judges like these",
    }
    assert rate(simulate(50, 2, prompts=1, judges=1)).claim == "on this prompt and its pictures, for this judge"


def test_votes_from_elsewhere_claim_no_more_than_the_pairs_that_were_shown() -> None:
    votes = simulate(300, 3, prompts=6, judges=6)
    theirs = {scope: rate(replace(votes, drawn=False), scope) for scope in SCOPES}
    assert {scope: rated.claim for scope, rated in theirs.items()} == {
        "these": "on the pairs that were shown, for these judges",
        "prompts": "on prompts like these, paired as these were, for these judges",
        "judges": "on the pairs that were shown, for judges like these",
        "prompts and judges": "on prompts like these, paired as these were, for judges like these",
    }
    for scope, ours in by_scope(votes).items():
        assert ours.drawn
        same(replace(ours, claim="", drawn=False), replace(theirs[scope], claim=""))


def test_one_judge_and_three_prompts_say_nothing_of_others() -> None:
    rated = by_scope(simulate(300, 3, prompts=3, judges=1))
    assert rated["these"].reason is None
    limits(rated["these"].models[0].rating)
    expected = {
        "prompts": "the votes on 3 prompts say too little of other prompts: at least 5 are needed",
        "judges": "the votes of 1 judge say too little of other judges: at least 5 are needed",
        "prompts and judges": "the votes on 3 prompts say too little of other prompts: at least 5 are needed",
    }
    for scope, reason in expected.items():
        ratings_of = rated[scope]  # type: ignore[index]
        assert ratings_of.reason == reason
        everything = [*(m.rating for m in ratings_of.models), *(m.win_rate for m in ratings_of.models)]
        everything += [ratings_of.side, *(c.difference for c in ratings_of.contrasts)]
        for estimate in everything:
            assert (estimate.low, estimate.high, estimate.reason) == (None, None, reason)
            assert estimate.value is not None
        assert all((m.best_rank, m.worst_rank) == (1, 3) for m in ratings_of.models)


def test_uneven_clusters_count_less() -> None:
    votes = simulate(600, 2, prompts=FEWEST)
    rated = rate(votes, "prompts")
    limits(rated.models[0].rating)
    uneven = replace(votes, prompt=np.where(np.arange(600) < 500, 0, votes.prompt))
    refused = rate(uneven, "prompts")
    assert refused.reason is None
    reason = refused.contrasts[0].difference.reason
    assert reason is not None
    assert reason.startswith("the votes are spread over 5 prompts so unevenly that they count like 1.")
    assert refused.contrasts[0].difference.low is None


def test_one_judge_with_all_votes_of_a_model() -> None:
    """The others have their intervals for judges like these; this model has none."""
    votes = simulate(2400, 4, judges=12)
    of_last = (votes.left == 3) | (votes.right == 3)
    votes = replace(votes, judge=np.where(of_last, 0, votes.judge)).where(~of_last | (np.arange(2400) % 20 == 0))
    rated = rate(votes, "judges")
    limits(rated.contrast("m0", "m1").difference)
    reason = rated.contrast("m0", "m3").difference.reason
    assert reason is not None
    assert "unevenly" in reason


def test_three_prompts_that_agree_by_luck_are_no_proof() -> None:
    """Clusters without any variance between them: the votes' own is still there."""
    votes = collect([v for i in range(6) for v in (replace(w, prompt=f"q{i}") for w in between("a", "b", 6, 2))])
    these, prompts = rate(votes), rate(votes, "prompts")
    fit = ratings.fit(votes)
    rows = sandwich.Rows.of(fit, votes.left, votes.right, votes.choice)
    covariance = sandwich.by_cluster(fit, rows, votes.prompt).covariance
    weights = np.array([1.0, -1, 0, 0])
    assert weights @ covariance @ weights < 1e-4
    assert limits(prompts.contrasts[0].difference) == pytest.approx(limits(these.contrasts[0].difference))


def test_no_votes() -> None:
    for names in ([], ["a"], ["a", "b"]):
        rated = rate(collect([], names))
        assert rated.reason == "there is no vote to rate"
        assert rated.criterion is None
        assert rated.groups == ()
        assert rated.contrasts == ()
        assert rated.side.value is None
        assert [row.model for row in rated.models] == names
        for row in rated.models:
            assert (row.rating.value, row.win_rate.value, row.rank, row.strength) == (None, None, None, None)
            assert row.rating.reason == "no vote compares it with another model"
            assert row.both_bad_rate is None


def test_both_bad_and_skip_alone_compare_nothing() -> None:
    votes = [Vote("a", "b", "both_bad", "p", "j"), Vote("a", "b", "skip", "p", "j")]
    rated = rate(collect(votes))
    assert (rated.votes, rated.both_bad, rated.skipped) == (0, 1, 1)
    assert [(row.rating.value, row.both_bad, row.both_bad_rate) for row in rated.models] == [(None, 1, 1.0)] * 2


def test_both_bad_and_skip_are_no_ties() -> None:
    votes = between("a", "b", 30, 10, 5)
    more = [Vote("a", "b", choice, "p0", "j0") for choice in ("both_bad", "skip") for _ in range(50)]
    assert rate(collect(votes + more)).models[0].rating == rate(collect(votes)).models[0].rating


def test_one_vote() -> None:
    rated = rate(collect([Vote("a", "b", "left", "p", "j")]))
    assert [row.model for row in rated.models] == ["a", "b"]
    assert rated.models[0].rating.low is None
    assert rated.models[0].rating.reason is not None
    assert "too few decided votes" in rated.models[0].rating.reason
    assert (rated.models[0].best_rank, rated.models[0].worst_rank) == (1, 2)
    assert not rated.contrasts[0].apart
    assert (rated.unbeaten, rated.winless) == (("a",), ("b",))


def test_all_ties_are_equal_ratings() -> None:
    rated = rate(collect([*between("a", "b", 0, 0, 20), *between("b", "c", 0, 0, 20), *between("a", "c", 0, 0, 20)]))
    for row in rated.models:
        assert row.rating.value == pytest.approx(1000)
        assert row.win_rate.value == pytest.approx(0.5)
        assert (row.best_rank, row.worst_rank) == (1, 3)
    assert rated.notes == ()


def test_an_unbeaten_model_has_no_upper_limit() -> None:
    votes = [*between("a", "b", 30, 0), *between("a", "c", 30, 0), *between("b", "c", 18, 12)]
    rated = rate(collect(votes))
    assert (rated.unbeaten, rated.winless) == (("a",), ())
    assert [row.model for row in rated.models] == ["a", "b", "c"]
    best = rated.models[0]
    assert best.rating.low is not None
    assert best.rating.low > 1000
    assert best.rating.high is None
    assert best.rating.reason is not None
    assert "no upper limit" in best.rating.reason
    assert best.win_rate.low is not None
    assert best.win_rate.high is None
    assert (best.rank, best.best_rank, best.worst_rank) == (1, 1, 1)
    assert (rated.models[1].best_rank, rated.models[1].worst_rank) == (2, 3)
    assert "a has neither lost nor tied" in rated.notes[0]
    turned = rated.contrast("b", "a")
    assert (turned.wins, turned.losses) == (0, 30)
    assert turned.difference.low is None
    assert turned.difference.high is not None
    assert turned.difference.high < 0
    limits(rated.contrast("b", "c").difference)
    # The rest is rated around 1000 as if the unbeaten model were not there.
    alone = rate(collect(between("b", "c", 18, 12)))
    assert model(rated, "b").rating.value == pytest.approx(model(alone, "b").rating.value or 0, abs=5)


def test_how_far_apart_is_open_between_two_models_that_only_a_third_one_joins() -> None:
    """Both lost every vote to it: nothing is known of the two."""
    rated = rate(collect([*between("a", "b", 30, 0), *between("a", "c", 40, 0)]))
    difference = rated.contrast("b", "c").difference
    assert (difference.low, difference.high) == (None, None)
    assert difference.reason is not None
    assert "only the prior does" in difference.reason
    assert not rated.contrast("b", "c").apart
    assert rated.contrast("a", "b").apart


def test_two_groups_of_which_one_always_wins() -> None:
    """Nobody is unbeaten, and still there is no limit to how far apart the groups are."""
    inside = [*between("a", "b", 20, 20), *between("a", "c", 20, 20), *between("x", "y", 20, 20)]
    rated = rate(collect([*inside, *between("a", "x", 30, 0), *between("b", "y", 30, 0)]))
    assert (rated.unbeaten, rated.winless) == ((), ())
    assert rated.contrast("a", "x").difference.high is None
    limits(rated.contrast("x", "y").difference)
    for name in "abc":
        limits(model(rated, name).rating)
    assert {note.split()[0] for note in rated.notes} == {"x", "y"}
    assert "only ever won or only ever lost" in rated.notes[0]
    beaten = rate(collect([*inside, *between("a", "x", 30, 0), *between("b", "y", 30, 0), *between("c", "z", 30, 0)]))
    assert beaten.winless == ("z",)
    assert any(note.startswith("z has neither won nor tied") for note in beaten.notes)


def test_a_fit_that_did_not_arrive_has_no_intervals() -> None:
    votes = simulate(300, 3)
    columns = (votes.left, votes.right, votes.choice, votes.prompt, votes.judge)
    early = davidson.fit(davidson.pair_counts(3, *columns[:3]), limit=1)
    uncertainty = ratings.Uncertainty.of(early, "these", *columns)
    assert uncertainty.reason == "the fit did not converge within 1 steps"
    table = ratings.Table(votes, early, uncertainty, 0.95)
    assert table.ratings()[0].rating.low is None
    assert "not to be used" in table.notes()[-1]


def test_models_that_were_never_compared() -> None:
    rated = rate(
        collect([*between("a", "b", 30, 10), *between("c", "d", 10, 30), Vote("e", "a", "both_bad", "p", "j")])
    )
    assert rated.groups == (("a", "b"), ("d", "c"))
    assert [(row.model, row.group, row.rank) for row in rated.models] == [
        ("a", 0, 1),
        ("b", 0, 2),
        ("d", 1, 1),
        ("c", 1, 2),
        ("e", None, None),
    ]
    assert len(rated.contrasts) == 2
    assert "no vote connects these groups of models" in rated.notes[0]
    assert "a, b; d, c" in rated.notes[0]
    for group in (rated.models[:2], rated.models[2:4]):
        assert sum(row.rating.value or 0 for row in group) == pytest.approx(2000)
    with pytest.raises(KeyError):
        rated.contrast("a", "c")


def test_one_side_that_always_wins() -> None:
    votes = [Vote(*pair, "left", f"p{i % 5}", "j") for i in range(30) for pair in (("a", "b"), ("b", "a"))]
    side = rate(collect(votes)).side
    assert side.low is not None
    assert side.low > 1
    assert side.high is None
    assert side.reason is not None


def test_the_side_is_found() -> None:
    rated = rate(simulate(20_000, 3, side=0.4, effect=0.0))
    low, high = limits(rated.side)
    assert low < 0.4 < high
    assert high - low < 0.15
    without = rate(simulate(20_000, 3, side=0.4, effect=0.0), side=False)
    assert (without.side.value, without.side.reason) == (None, "the side was left out of the fit")
    assert without.models[0].rating.value == pytest.approx(rated.models[0].rating.value, abs=3)


def test_ranks_leave_room_for_what_is_not_known() -> None:
    votes = [*between("a", "b", 26, 24), *between("a", "c", 80, 10), *between("b", "c", 80, 10)]
    rated = rate(collect(votes))
    assert [(r.model, r.best_rank, r.worst_rank) for r in rated.models] == [("a", 1, 2), ("b", 1, 2), ("c", 3, 3)]
    assert [(c.model, c.other, c.apart) for c in rated.contrasts] == [
        ("a", "b", False),
        ("a", "c", True),
        ("b", "c", True),
    ]


def test_apart_is_holm_over_both_directions() -> None:
    votes = simulate(700, 6, effect=0.0)
    rated = rate(votes)
    fit = ratings.fit(votes)
    uncertainty = ratings.Uncertainty.of(fit, "these", votes.left, votes.right, votes.choice, votes.prompt, votes.judge)
    chances = []
    for contrast in rated.contrasts:
        weights = np.zeros((1, 8))
        weights[0, votes.models.index(contrast.model)], weights[0, votes.models.index(contrast.other)] = 1, -1
        spread = uncertainty.spread(weights)
        ratio = (contrast.difference.value or 0) / ELO / spread.errors.max()
        chances.append(stats.t.sf(ratio, 700 - 5 - 2))
    left, expected = 2 * len(chances), set()
    for i in np.argsort(chances):
        if chances[i] > 0.05 / left:
            break
        expected.add(i)
        left -= 1
    assert 0 < len(expected) < len(chances)
    assert {i for i, contrast in enumerate(rated.contrasts) if contrast.apart} == expected


def test_intervals_of_prompts_hold_beyond_these_and_those_of_votes_do_not() -> None:
    """Of 150 studies with ten prompts each. The table with all designs: bench/coverage.py."""
    covered = {"these": 0, "prompts": 0}
    for seed in range(150):
        votes = simulate(500, 2, prompts=10, judges=1, effect=0.0, seed=seed)
        rng = np.random.default_rng(seed + 10**6)
        moved = rng.normal(size=10)[votes.prompt]
        worth = np.where(votes.left == 0, moved, -moved)
        odds = rng.random(500) < 1 / (1 + np.exp(-worth))
        votes = replace(votes, choice=np.where(odds, 0, 1))
        for scope in covered:
            low, high = limits(rate(votes, scope).contrast("m0", "m1").difference)  # type: ignore[arg-type]
            covered[scope] += low <= 0 <= high
    assert covered["prompts"] >= 0.91 * 150
    assert covered["these"] <= 0.75 * 150


def test_by_criterion_and_category() -> None:
    votes = [replace(v, criterion="detail") for v in between("a", "b", 10, 30)]
    votes += [replace(v, category="portraits") for v in between("a", "b", 30, 10)]
    votes += [replace(v, category="text") for v in between("a", "b", 5, 30)]
    columns = collect(votes)
    criteria = by_criterion(columns)
    assert list(criteria) == ["overall", "detail"]
    assert criteria["detail"].models[0].model == "b"
    assert criteria["detail"].criterion == "detail"
    assert criteria["overall"].votes == 75
    assert criteria["overall"].category is None
    categories = by_category(columns.of_criterion("overall"))
    assert {name: rated.models[0].model for name, rated in categories.items()} == {"portraits": "a", "text": "b"}
    assert {name: rated.category for name, rated in categories.items()} == {"portraits": "portraits", "text": "text"}
    with pytest.raises(InvalidRequest, match="'overall', 'detail'"):
        rate(columns)


def test_results_are_frozen_and_hold_what_made_them() -> None:
    votes = simulate(200, 3)
    rated = rate(votes, "judges", confidence=0.9, prior_sd=1.5, side=False)
    assert (rated.scope, rated.confidence, rated.prior_sd, rated.fitted_side) == ("judges", 0.9, 1.5, False)
    assert (rated.votes, rated.prompts, rated.judges, rated.criterion) == (200, 5, 4, "overall")
    assert rated.converged
    assert rated.iterations > 1
    assert (rated.version, rated.numpy) == (ratings.VERSION, np.__version__)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rated.confidence = 0.5  # type: ignore[misc]


def test_a_million_votes_of_a_kind() -> None:
    n = 10**6
    ones = np.zeros(n, dtype=np.int64)
    votes = Votes(
        models=("a", "b"), prompts=("p",), judges=("j",), left=ones, right=ones + 1, choice=ones, prompt=ones,
        judge=ones, criterion=ones, category=ones - 1, seconds=np.full(n, np.nan),
    )  # fmt: skip
    rated = rate(votes)
    assert rated.converged
    assert rated.unbeaten == ("a",)
    assert math.isfinite(rated.models[0].rating.value or math.inf)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scope": "everyone"}, "no scope 'everyone'; there are these, prompts, judges, prompts and judges"),
        ({"confidence": 95}, "between 0 and 1"),
        ({"confidence": 0.0}, "between 0 and 1"),
        ({"confidence": math.nan}, "between 0 and 1"),
        ({"prior_sd": 0}, "above zero"),
        ({"prior_sd": math.inf}, "finite"),
        ({"prior_sd": math.nan}, "above zero"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        rate(simulate(50, 2), **options)  # type: ignore[arg-type]


def test_numbers_without_a_name() -> None:
    votes = simulate(50, 2)
    with pytest.raises(InvalidRequest, match="Vote 4 has 2 as its left"):
        rate(replace(votes, left=np.where(np.arange(50) == 3, 2, votes.left)))


def test_records_are_plain_numbers_and_words() -> None:
    for rated in by_scope(simulate(200, 3, prompts=6, judges=6)).values():
        assert json.loads(json.dumps(dataclasses.asdict(rated)))["claim"] == rated.claim
