"""Agreement between judges, the favoured side, and judges to look at."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diptych.arena.agreement import FASTEST, Judge, alpha, alphas, look_at_judges, position
from diptych.arena.votes import CHOICES, Vote, Votes, collect
from diptych.errors import InvalidRequest
from tests.arena.simulated import simulate

WORDS = {"a": 1.0, "b": -1.0, "=": 0.0}


def judged(units: list[str], models: tuple[str, str] = ("a", "b")) -> list[Vote]:
    """One pair of pictures for each word, and in it one letter for each judge, who all sit differently."""
    votes = []
    for number, unit in enumerate(units):
        for judge, letter in enumerate(unit):
            if letter == ".":
                continue
            left, right = models if (number + judge) % 2 else models[::-1]
            choice = "tie" if letter == "=" else "left" if (letter == "a") == (left == models[0]) else "right"
            votes.append(Vote(left, right, choice, "p", f"j{judge}", pictures=f"pair {number}"))
    return votes


def by_definition(units: list[str]) -> float:
    """1 - observed / expected squared differences over all pairs of values, each unit seen from both sides."""
    values = [[WORDS[letter] for letter in unit if letter != "."] for unit in units]
    values = [[sign * value for value in unit] for unit in values for sign in (1, -1) if len(unit) > 1]
    everything = [value for unit in values for value in unit]
    observed = sum(sum((x - y) ** 2 for x, y in permutations(unit, 2)) / (len(unit) - 1) for unit in values)
    expected = sum((x - y) ** 2 for x, y in permutations(everything, 2)) / (len(everything) - 1)
    return 1 - observed / expected


@pytest.mark.parametrize(
    "units",
    [["aa", "bb", "ab", "=="], ["aab", "bbb", "=a.", ".ab", "a.."], ["aaaa", "bbbb"], ["ab", "ba", "ab"]],
)
def test_alpha_by_its_definition(units: list[str]) -> None:
    found = alpha(collect(judged(units)))
    assert found.value == pytest.approx(by_definition(units))
    shared = [unit.replace(".", "") for unit in units if len(unit.replace(".", "")) > 1]
    assert (found.units, found.votes) == (len(shared), sum(map(len, shared)))
    assert found.judges == len({i for unit in units for i, x in enumerate(unit) if x != "." and unit.strip(".")})
    assert (found.criterion, found.reason) == ("overall", None)


@given(st.lists(st.text("ab=", min_size=2, max_size=4), min_size=1, max_size=6))
def test_alpha_does_not_care_which_model_is_first(units: list[str]) -> None:
    votes = judged(units)
    one, other = alpha(collect(votes, ["a", "b"])), alpha(collect(votes, ["b", "a"]))
    assert one.value == (other.value if other.value is None else pytest.approx(other.value))


@settings(deadline=None)
@given(st.lists(st.text("ab=.", min_size=1, max_size=5), min_size=1, max_size=8))
def test_alpha_by_its_definition_whatever_the_votes(units: list[str]) -> None:
    shared = [letters for unit in units if len(letters := unit.replace(".", "")) > 1]
    assume(set("".join(shared)) - {"="})
    found = alpha(collect(judged(units)))
    assert found.value == pytest.approx(by_definition(units))
    assert (found.value or 0) <= 1 + 1e-12
    assert ((found.value or 0) > 1 - 1e-12) == all(len(set(letters)) == 1 for letters in shared)


def shuffled(votes: Votes, seed: int) -> Votes:
    """In another order, with judges and models numbered anew, and every pair seen from the other side."""
    rng = np.random.default_rng(seed)
    models, judges = (rng.permutation(len(names)) for names in (votes.models, votes.judges))
    columns = {
        "left": np.argsort(models)[votes.right],
        "right": np.argsort(models)[votes.left],
        "judge": np.argsort(judges)[votes.judge],
        "choice": np.array([1, 0, 2, 3, 4])[votes.choice],
    }
    names = {"models": tuple(votes.models[i] for i in models), "judges": tuple(votes.judges[i] for i in judges)}
    return replace(votes, **columns, **names).where(rng.permutation(len(votes)))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 9))
def test_order_names_and_sides_do_not_matter(seed: int, judges: int) -> None:
    votes = simulate(120, 3, prompts=4, judges=judges, seed=seed)
    seconds = np.random.default_rng(seed).exponential(2, 120)
    votes = replace(votes, seconds=np.where(seconds < 0.4, np.nan, seconds))
    other = shuffled(votes, seed)
    one, same = alpha(votes), alpha(other)
    assert replace(one, value=None) == replace(same, value=None)
    assert one.value == (None if same.value is None else pytest.approx(same.value))
    there, turned = position(votes), position(other)
    assert (there.left, there.right) == (turned.right, turned.left)
    assert there.even_share.value == pytest.approx(1 - (turned.even_share.value or 0))
    assert there.even_share.low == pytest.approx(1 - (turned.even_share.high or 0))
    flipped = {judge.judge: replace(judge, left=judge.right, right=judge.left) for judge in look_at_judges(other)}
    for judge in look_at_judges(votes):
        reasons = tuple(
            reason.replace("left", "?").replace("right", "left").replace("?", "right")
            for reason in flipped[judge.judge].reasons
        )
        assert judge == replace(flipped[judge.judge], reasons=reasons)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CHOICES), st.integers(0, 3), st.one_of(st.none(), st.floats(0, 9)))))
def test_every_vote_is_some_judges(said: list[tuple[str, int, float | None]]) -> None:
    found = look_at_judges(collect(Vote("a", "b", choice, "p", f"j{j}", seconds=s) for choice, j, s in said))
    assert {judge.judge for judge in found} == {f"j{j}" for _, j, _ in said}
    for judge in found:
        mine = [(choice, seconds) for choice, j, seconds in said if judge.judge == f"j{j}"]
        counts = (judge.left, judge.right, judge.ties, judge.both_bad, judge.skipped)
        assert counts == tuple(sum(choice == one for choice, _ in mine) for one in CHOICES)
        timed = [seconds for _, seconds in mine if seconds is not None]
        assert (judge.timed, judge.too_fast) == (len(timed), sum(seconds < FASTEST for seconds in timed))
        assert judge.agreed <= judge.compared <= judge.left + judge.right


def test_all_agree_and_nobody_agrees() -> None:
    assert alpha(collect(judged(["aaa", "bbb", "aaa"]))).value == pytest.approx(1)
    random = np.random.default_rng(0).choice(list("ab"), (400, 2))
    assert alpha(collect(judged(["".join(row) for row in random]))).value == pytest.approx(0, abs=0.12)
    worse_than_chance = alpha(collect(judged(["ab"] * 20))).value
    assert worse_than_chance is not None
    assert worse_than_chance < -0.9


def test_without_pictures_a_unit_is_a_prompt_and_two_models() -> None:
    votes = [replace(vote, pictures=None) for vote in judged(["aa", "bb"])]
    assert alpha(collect(votes)).units == 1
    votes = [replace(vote, pictures=None, prompt=vote.pictures or "") for vote in judged(["aa", "bb"])]
    assert alpha(collect(votes)).units == 2


def test_several_votes_of_a_judge_are_one_voice() -> None:
    votes = [replace(v, pictures=None) for v in judged(["aa", "aa", "aa", "ba"])]
    others = [replace(v, prompt="q", pictures=None) for v in judged(["bb"])]
    found = alpha(collect([*votes, *others]))
    values = [[0.5, 1.0], [-0.5, -1.0], [-1.0, -1.0], [1.0, 1.0]]
    everything = [x for unit in values for x in unit]
    observed = sum(2 * (x - y) ** 2 for x, y in values)
    expected = sum((x - y) ** 2 for x, y in permutations(everything, 2)) / 7
    assert found.value == pytest.approx(1 - observed / expected)
    assert (found.units, found.votes) == (2, 10)


def test_no_alpha_is_said() -> None:
    assert alpha(collect([])).reason == "no two judges voted on the same pictures"
    assert alpha(collect(judged(["a", "b"]))).reason == "no two judges voted on the same pictures"
    assert alpha(collect(judged(["==", "=="]))).reason == "every vote is a tie: there is nothing to agree on"
    only_bad = [replace(vote, choice="both_bad") for vote in judged(["aa"])]
    assert alpha(collect(only_bad)).value is None


def test_alphas_by_criterion() -> None:
    votes = [*judged(["aa", "bb"]), *(replace(v, criterion="detail") for v in judged(["ab", "ab"]))]
    found = alphas(collect(votes))
    assert list(found) == ["overall", "detail"]
    assert found["overall"].value == pytest.approx(1)
    assert (found["detail"].value or 0) < 0
    with pytest.raises(InvalidRequest, match="'overall', 'detail'"):
        alpha(collect(votes))


def test_position() -> None:
    found = position(simulate(20_000, 3, side=0.4, effect=0.0))
    share = 1 / (1 + math.exp(-0.4))
    assert found.even_share.low is not None
    assert found.even_share.high is not None
    assert found.even_share.low < share < found.even_share.high
    assert found.share_left == pytest.approx(share, abs=0.02)
    assert found.share_left == found.left / (found.left + found.right)
    assert found.claim == "on these prompts and pictures, for these judges"
    even = position(simulate(20_000, 3, side=0.0, effect=0.0)).even_share
    assert even.value == pytest.approx(0.5, abs=0.01)
    nothing = position(collect([]))
    assert (nothing.share_left, nothing.even_share.value) == (None, None)


def test_position_is_not_who_stood_where() -> None:
    """A better model that is always on the left: the share says left, the model does not."""
    votes = [Vote("good", "bad", "left" if i % 5 else "right", "p", "j") for i in range(400)]
    votes += [Vote("bad", "good", "right" if i % 5 else "left", "p", "j") for i in range(40)]
    found = position(collect(votes))
    assert (found.share_left or 0) > 0.7
    assert found.even_share.value == pytest.approx(0.5, abs=0.03)


def one(votes: list[Vote], name: str = "x", fastest: float = FASTEST) -> Judge:
    return next(judge for judge in look_at_judges(collect(votes), fastest=fastest) if judge.judge == name)


def test_a_judge_who_always_votes_left() -> None:
    found = one([Vote("a", "b", "left", f"p{i}", "x") for i in range(12)])
    assert found.flagged
    assert found.reasons == ("12 of 12 decided votes are for the picture on the left",)
    assert (found.left, found.right, found.ties, found.median_seconds) == (12, 0, 0, None)
    assert one([Vote("a", "b", "right", f"p{i}", "x") for i in range(12)]).reasons[0].endswith("on the right")


def test_few_votes_or_some_on_the_other_side_are_no_reason() -> None:
    assert not one([Vote("a", "b", "left", f"p{i}", "x") for i in range(6)]).flagged
    assert not one([Vote("a", "b", "left" if i % 4 else "right", f"p{i}", "x") for i in range(400)]).flagged


def test_more_judges_take_more_to_flag_one_of_them() -> None:
    votes = [Vote("a", "b", "left", f"p{i}", "x") for i in range(10)]
    assert one(votes).flagged
    others = [Vote("a", "b", ("left", "right")[i % 2], "p", f"j{i // 4}") for i in range(400)]
    assert not one(votes + others).flagged


def test_a_judge_who_is_too_fast() -> None:
    votes = [Vote("a", "b", ("left", "right")[i % 2], f"p{i}", "x", seconds=0.3 if i < 6 else 4.0) for i in range(10)]
    found = one(votes)
    assert found.reasons == ("6 of 10 votes came in less than 0.8 seconds",)
    assert (found.timed, found.too_fast, found.median_seconds) == (10, 6, pytest.approx(0.3))
    assert not one(votes, fastest=0.2).flagged
    assert not one(votes[:4]).flagged
    assert not one([replace(vote, seconds=None) for vote in votes]).flagged


def test_a_judge_against_all_others() -> None:
    rng = np.random.default_rng(0)
    units = ["".join(word * 3) + ("b" if word == "a" else "a") for word in rng.choice(["a", "b"], 20)]
    judges = look_at_judges(collect(judged(units)))
    assert [judge.flagged for judge in judges] == [False, False, False, True]
    assert judges[3].reasons == ("20 of 20 votes are against most of the other judges",)
    assert (judges[3].compared, judges[3].agreed) == (20, 0)
    assert (judges[0].compared, judges[0].agreed) == (20, 20)


def test_two_judges_who_disagree_say_nothing_of_either() -> None:
    judges = look_at_judges(collect(judged(["ab"] * 40)))
    assert [(judge.compared, judge.flagged) for judge in judges] == [(0, False)] * 2


def test_all_choices_are_counted_and_nobody_is_left_out() -> None:
    choices = ["left", "right", "tie", "both_bad", "skip", "skip"]
    votes = [Vote("a", "b", choice, "p", "x", criterion=f"c{i}") for i, choice in enumerate(choices)]
    votes += [Vote("a", "b", "skip", "p", "y")]
    found = look_at_judges(collect(votes))
    assert [judge.judge for judge in found] == ["x", "y"]
    assert (found[0].left, found[0].right, found[0].ties, found[0].both_bad, found[0].skipped) == (1, 1, 1, 1, 2)
    assert found[1].skipped == 1
    assert look_at_judges(collect([])) == ()


def test_honest_judges_are_rarely_flagged() -> None:
    """At most one study in a hundred by each of two tests, at worst."""
    flagged = sum(
        any(judge.flagged for judge in look_at_judges(simulate(400, 3, judges=8, effect=0.3, seed=seed)))
        for seed in range(150)
    )
    assert flagged <= 6
