"""When the votes suffice, and what is said then."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.arena.betting import Evidence, log_e_value
from diptych.arena.stopping import SPENT, Rule, decide, decide_all, fewest_prompts
from diptych.arena.votes import Vote, Votes, collect
from diptych.errors import InvalidRequest

PROMPTS = Rule(level="prompts")


def cast(text: str, *, prompts: int = 3, judges: int = 2, models: tuple[str, str] = ("A", "B")) -> list[Vote]:
    """One vote for each letter: a or b is better, = tie, 0 both bad, - skip. Sides, prompts and judges alternate."""
    votes = []
    for i, letter in enumerate(text):
        left, right = models if i % 2 else models[::-1]
        choice = {"=": "tie", "0": "both_bad", "-": "skip"}.get(letter)
        if choice is None:
            choice = "left" if (letter == "a") == (left == models[0]) else "right"
        votes.append(Vote(left, right, choice, f"prompt {i % prompts}", f"judge {i % judges}"))
    return votes


def columns(text: str, **how: int) -> Votes:
    return collect(cast(text, **how), models=("A", "B"))


def test_eight_votes_that_say_the_same() -> None:
    seven, eight = (decide(columns("a" * n), "A", "B") for n in (7, 8))
    assert (seven.outcome, seven.sentence, seven.more) == ("open", "at least 1 more vote", 1)
    assert (eight.outcome, eight.better, eight.more) == ("better", "A", None)
    assert (
        eight.sentence == "A is better (false-alarm rate at most 5 %, on these prompts and pictures, for these judges)"
    )
    assert eight.log_evidence == pytest.approx(log_e_value(8, 0))
    assert eight.interval[0] > 0.5
    assert eight.judges == (("judge 0", 0.5), ("judge 1", 0.5))


def test_one_judge_and_one_prompt() -> None:
    verdict = decide(columns("b" * 9, prompts=1, judges=1), "A", "B")
    assert (
        verdict.sentence
        == "B is better (false-alarm rate at most 5 %, on this prompt and its pictures, for this judge)"
    )


@settings(max_examples=25, deadline=None)
@given(st.text("ab=0-", max_size=60), st.randoms(use_true_random=False))
def test_only_counts_matter_and_names_may_be_swapped(text: str, random: object) -> None:
    verdict = decide(columns(text), "A", "B")
    assert (verdict.wins, verdict.losses, verdict.ties) == tuple(text.count(letter) for letter in "ab=")
    assert (verdict.both_bad, verdict.skipped) == (text.count("0"), text.count("-"))
    assert verdict.log_evidence == pytest.approx(log_e_value(verdict.wins, verdict.losses), abs=1e-9)

    votes = cast(text)
    random.shuffle(votes)  # type: ignore[attr-defined]
    assert replace(decide(collect(votes, ("A", "B")), "A", "B"), judges=verdict.judges) == verdict

    swapped = decide(columns(text), "B", "A")
    assert (swapped.outcome, swapped.better, swapped.more) == (verdict.outcome, verdict.better, verdict.more)
    assert swapped.interval == pytest.approx((1 - verdict.interval[1], 1 - verdict.interval[0]), abs=1e-9)


def test_both_bad_and_skip_compare_nothing() -> None:
    plain, more = decide(columns("aab" * 20), "A", "B"), decide(columns("aab" * 20 + "0-" * 50), "A", "B")
    assert (plain.interval, plain.log_evidence) == (more.interval, more.log_evidence)


def test_no_difference() -> None:
    verdict = decide(columns("ab" * 700), "A", "B")
    assert (verdict.outcome, verdict.better, verdict.more) == ("no difference", None, None)
    assert verdict.sentence == (
        "no difference larger than 55:45 (error rate at most 5 %, on these prompts and pictures, for these judges)"
    )
    assert 0.45 < verdict.interval[0] < 0.5 < verdict.interval[1] < 0.55
    assert decide(columns("ab" * 400), "A", "B").outcome == "open"
    wider = decide(columns("ab" * 400), "A", "B", Rule(margin=0.1))
    assert wider.sentence.startswith("no difference larger than 60:40 ")


def test_ties_are_scores_of_one_half() -> None:
    """Those who mostly tie are known to be alike long before enough votes are decided."""
    assert decide(columns("=" * 60), "A", "B").outcome == "no difference"
    assert decide(columns("==ab" * 175), "A", "B").outcome == "no difference"
    assert decide(columns("ab" * 175), "A", "B").outcome == "open"


def test_a_spent_budget() -> None:
    text = "aab" * 10
    spent = decide(columns(text), "A", "B", Rule(budget=30))
    assert (spent.outcome, spent.sentence, spent.more) == ("budget spent", SPENT, None)
    assert decide(columns(text), "A", "B", Rule(budget=31)).outcome == "open"
    assert decide(columns(text + "-"), "A", "B", Rule(budget=31)).outcome == "open"
    assert decide(columns(text + "0"), "A", "B", Rule(budget=31)).outcome == "budget spent"
    assert decide(columns("a" * 30), "A", "B", Rule(budget=30)).outcome == "better"


def test_no_votes() -> None:
    verdict = decide(columns(""), "A", "B")
    assert (verdict.outcome, verdict.sentence) == ("open", "at least 8 more votes")
    assert (verdict.score, verdict.interval, verdict.judges) == (None, (0, 1), ())
    assert verdict.reason == "There is no vote that compares the two."


def test_few_votes_promise_no_more_than_the_least() -> None:
    verdict = decide(columns("aab"), "A", "B")
    assert verdict.sentence == "at least 9 more votes"
    assert verdict.basis is not None
    assert "if all of them say the same" in verdict.basis
    assert decide(columns("aab" + "a" * 9), "A", "B").outcome == "better"
    assert decide(columns("aab" + "a" * 8), "A", "B").outcome == "open"


@pytest.mark.parametrize(
    ("text", "low", "high"), [("aab" * 10, 20, 80), ("aaabb" * 10, 100, 400), ("ab" * 100, 900, 2000)]
)
def test_forecasts(text: str, low: int, high: int) -> None:
    verdict = decide(columns(text), "A", "B")
    assert verdict.more is not None
    assert low < verdict.more < high
    assert verdict.sentence.startswith("about ")
    assert verdict.basis == f"if votes go on like the {len(text)} so far"


def test_no_forecast_without_end() -> None:
    verdict = decide(columns("ab" * 400), "A", "B", Rule(margin=0.001))
    assert (verdict.more, verdict.sentence) == (None, "more votes than can be foreseen")


def test_forecasts_are_rounded_in_words() -> None:
    verdict = decide(columns("aaabb" * 10), "A", "B")
    assert verdict.sentence == f"about {round(verdict.more or 0, -1)} more votes"


def test_the_reason_says_the_counts() -> None:
    reason = decide(columns("aab=" * 5), "A", "B").reason
    assert reason.startswith("Of 20 votes that compare, A has 10, B 5, and 5 are ties.")
    assert "a claim takes 20." in reason
    assert "not of others that the models would make" in reason


# Beyond these prompts


def test_three_prompts_never_suffice() -> None:
    verdict = decide(columns("a" * 3000, prompts=3, judges=1), "A", "B", PROMPTS)
    assert verdict.outcome == "open"
    assert verdict.log_evidence < math.log(2)
    assert "fewer than 9 cannot suffice" in verdict.reason
    assert decide(columns("a" * 3000, prompts=3, judges=1), "A", "B").outcome == "better"


def test_the_fewest_prompts() -> None:
    assert fewest_prompts(PROMPTS) == 9
    assert decide(columns("a" * 8, prompts=8), "A", "B", PROMPTS).outcome == "open"
    assert decide(columns("a" * 80, prompts=8), "A", "B", PROMPTS).outcome == "open"
    verdict = decide(columns("a" * 9, prompts=9, judges=1), "A", "B", PROMPTS)
    assert verdict.sentence == "A is better (false-alarm rate at most 5 %, on prompts like these, for this judge)"
    assert fewest_prompts(replace(PROMPTS, comparisons=28)) == 15


def test_a_prompt_counts_once_by_its_first_votes() -> None:
    """Worked out for four prompts with 4, 2, 1 and 1 votes: r is 1, 2 and 4, at a half, a quarter, an eighth."""
    scores = {"p": [1, 0.5, 1, 0], "q": [1, 1], "r": [0], "s": [1]}
    choices = {1: "left", 0: "right", 0.5: "tie"}
    votes = [Vote("A", "B", choices[s], prompt, "judge") for prompt, all_of in scores.items() for s in all_of]
    expected = {
        1: Evidence((1.0, 0.0), (3, 1)).log_against(0.5) + math.log(1 / 2),
        2: Evidence((0.75, 1.0), (1, 1)).log_against(0.5) + math.log(1 / 4),
        4: Evidence((0.625,), (1,)).log_against(0.5) + math.log(1 / 8),
    }
    narrowest = Evidence((1.0, 0.0), (3, 1)).interval(0.05 / 2)
    verdict = decide(collect(votes), "A", "B", PROMPTS)
    assert verdict.interval == pytest.approx(narrowest)
    assert verdict.log_evidence == pytest.approx(expected[1])


def test_second_votes_may_say_what_first_ones_do_not() -> None:
    text = "=" * 30 + "a" * 30
    verdict = decide(columns(text, prompts=30), "A", "B", PROMPTS)
    expected = Evidence((0.75,), (30,))
    assert verdict.better == "A"
    assert verdict.log_evidence == pytest.approx(expected.log_against(0.5) + math.log(1 / 4))
    assert verdict.interval == pytest.approx(expected.interval(0.05 / 4))
    assert "the first 2 votes on each of 30 prompts" in verdict.reason


def test_later_votes_on_a_prompt_do_not_bend_its_first() -> None:
    votes = cast("a" * 9, prompts=9)
    later = [replace(vote, choice="tie") for vote in cast("a" * 90, prompts=9)]
    verdict = decide(collect([*votes, *later], ("A", "B")), "A", "B", PROMPTS)
    assert verdict.better == "A"
    assert "the first vote on each of 9 prompts" in verdict.reason


def test_it_says_for_whom_it_speaks() -> None:
    """The first vote on each prompt was cast by one judge, all others by another one."""
    first = cast("a" * 12, prompts=12, judges=1)
    later = [replace(vote, judge="another", choice="tie") for vote in cast("a" * 60, prompts=12)]
    votes = collect([*first, *later], ("A", "B"))
    beyond, here = decide(votes, "A", "B", PROMPTS), decide(votes, "A", "B")
    assert beyond.judges == (("judge 0", 1.0),)
    assert beyond.sentence.endswith("for this judge)")
    assert here.judges == (("judge 0", pytest.approx(12 / 72)), ("another", pytest.approx(60 / 72)))


def test_a_difference_on_all_prompts_is_found() -> None:
    rng = np.random.default_rng(0)
    text = "".join("a" if rng.random() < 0.8 else "b" for _ in range(400))
    verdict = decide(columns(text, prompts=50), "A", "B", PROMPTS)
    assert verdict.better == "A"


def test_prompts_that_disagree_are_no_difference_between_models() -> None:
    """All votes on half of the prompts are for A, on the others for B: by votes alike, a claim comes and goes."""
    text = "ab" * 200
    assert decide(columns(text, prompts=20), "A", "B", PROMPTS).outcome == "open"


def test_prompts_are_foreseen() -> None:
    rng = np.random.default_rng(1)
    text = "".join("a" if rng.random() < 0.65 else "b" for _ in range(100))
    verdict = decide(columns(text, prompts=25), "A", "B", PROMPTS)
    assert verdict.outcome == "open"
    assert verdict.sentence.endswith(" more prompts")
    assert verdict.basis == "if prompts go on like the 25 so far"


# Many models


def round_robin(texts: dict[tuple[str, str], str], models: str) -> Votes:
    votes = [vote for pair, text in texts.items() for vote in cast(text, models=pair)]
    return collect(votes, models=tuple(models))


def test_alpha_is_shared_by_all_pairs() -> None:
    texts = dict.fromkeys(combinations("ABC", 2), "a" * 10)
    nine = decide_all(round_robin(dict.fromkeys(texts, "a" * 9), "ABC"))
    ten = decide_all(round_robin(texts, "ABC"))
    # 2^9 / 10 = 51 and 2^10 / 11 = 93, where 3 x 20 = 60 is needed.
    assert (nine.best, ten.best) == (None, "A")
    assert ten.rule.comparisons == 3
    assert {v.better for v in nine.verdicts} == {None}
    assert ten.sentence == (
        "A is better than each of the others (false-alarm rate at most 5 % over all 3 pairs, on these prompts and "
        "pictures, for these judges)"
    )
    assert ten.verdicts[2].sentence.startswith("B is better than C (false-alarm rate at most 5 % over all 3 pairs")
    assert (ten.unbeaten, ten.open, ten.more) == (("A",), (), None)


def test_the_models_are_those_of_the_votes() -> None:
    """One that has no vote yet takes its share of alpha."""
    votes = round_robin({("A", "B"): "a" * 8}, "ABC")
    standing = decide_all(votes)
    assert [(v.first, v.second) for v in standing.verdicts] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert standing.verdicts[0].outcome == "open"
    assert decide(votes, "A", "B").outcome == "better"


def test_two_models_are_the_plain_test() -> None:
    votes = columns("a" * 8)
    standing = decide_all(votes)
    assert standing.verdicts == (decide(votes, "A", "B"),)
    assert standing.sentence == standing.verdicts[0].sentence
    assert standing.best == "A"


def test_what_is_wanted_next() -> None:
    texts = {("A", "B"): "ab" * 10, ("A", "C"): "a" * 20, ("B", "C"): "a" * 20, ("C", "D"): "ab"}
    standing = decide_all(round_robin(texts | {("A", "D"): "a" * 20}, "ABCD"))
    assert standing.unbeaten == ("A", "B")
    assert standing.open == (("A", "B"), ("B", "D"), ("C", "D"))
    assert np.argwhere(standing.wanted()).tolist() == [[0, 1], [1, 3], [2, 3]]
    assert np.argwhere(standing.wanted(to_find_the_best=True)).tolist() == [[0, 1]]
    assert standing.more == standing.verdicts[0].more
    assert standing.sentence.startswith("about ")


def test_few_votes_on_many_models_promise_no_more_than_the_least() -> None:
    standing = decide_all(collect([], models=("A", "B", "C")))
    assert (standing.more, standing.sentence) == (30, "at least 30 more votes")


def test_the_budget_is_of_all_pairs_together() -> None:
    texts = {("A", "B"): "ab" * 10, ("A", "C"): "a" * 20, ("B", "C"): "a" * 20}
    standing = decide_all(round_robin(texts, "ABC"), Rule(budget=60))
    assert standing.sentence == f"{SPENT}: A and B"
    assert not standing.open
    assert decide_all(round_robin(texts, "ABC"), Rule(budget=61)).open == (("A", "B"),)


def test_the_best_may_be_alike() -> None:
    texts = {("A", "B"): "=" * 100, ("A", "C"): "a" * 20, ("B", "C"): "a" * 20}
    assert decide_all(round_robin(texts, "ABC")).sentence.startswith(
        "no difference larger than 55:45 between A and B (error rate at most 5 % over all 3 pairs"
    )


SAID_OF_ALL = "at most 5 % over all 3 pairs, on these prompts and pictures, for these judges"


def test_one_unbeaten_model_that_is_not_yet_better_than_all() -> None:
    """Nothing is known of A and C: no budget was set, so none is spent, and votes on that pair are wanted."""
    texts = {("A", "B"): "a" * 20, ("B", "C"): "a" * 20}
    standing = decide_all(round_robin(texts, "ABC"))
    assert (standing.best, standing.unbeaten) == (None, ("A",))
    assert [(v.first, v.second) for v in standing.contested] == [("A", "C")]
    assert (standing.more, standing.sentence, standing.scope) == (10, "at least 10 more votes", None)
    assert np.argwhere(standing.wanted(to_find_the_best=True)).tolist() == [[0, 2]]
    more = decide_all(round_robin(texts | {("A", "C"): "aab" * 10}, "ABC"))
    assert more.sentence.startswith("about ")
    assert more.more == more.contested[0].more
    spent = decide_all(round_robin(texts | {("A", "C"): "aab" * 10}, "ABC"), Rule(budget=70))
    assert (spent.sentence, spent.scope, spent.contested) == (f"{SPENT}: A and C", None, ())
    assert decide_all(round_robin(texts | {("A", "C"): "a" * 20}, "ABC")).best == "A"


def test_one_unbeaten_model_that_is_like_another_one() -> None:
    texts = {("A", "B"): "a" * 20, ("B", "C"): "a" * 20, ("A", "C"): "=" * 200}
    standing = decide_all(round_robin(texts, "ABC"))
    assert (standing.best, standing.unbeaten, standing.contested, standing.more) == (None, ("A",), (), None)
    assert standing.scope == f"error rate {SAID_OF_ALL}"
    assert standing.sentence == (
        f"no difference larger than 55:45 between A and C, and A is better than B ({standing.scope})"
    )
    cycle = {("B", "C"): "a" * 20, ("C", "D"): "a" * 20, ("B", "D"): "b" * 20}
    standing = decide_all(round_robin(dict.fromkeys([("A", x) for x in "BCD"], "=" * 200) | cycle, "ABCD"))
    assert standing.unbeaten == ("A",)
    assert standing.sentence.startswith("no difference larger than 55:45 between A and B, C or D (error rate")


def test_each_may_be_worse_than_another_one() -> None:
    texts = {("A", "B"): "a" * 20, ("B", "C"): "a" * 20, ("A", "C"): "b" * 20}
    for budget in (None, 60):
        standing = decide_all(round_robin(texts, "ABC"), Rule(budget=budget))
        assert (standing.best, standing.unbeaten, standing.contested, standing.more) == (None, (), (), None)
        assert standing.scope == f"false-alarm rate {SAID_OF_ALL}"
        assert standing.sentence == f"there is no best: each of them is worse than another one ({standing.scope})"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(list(combinations("ABCD", 2))), st.sampled_from("ab="), st.integers(1, 60))),
    st.one_of(st.none(), st.integers(1, 200)),
)
def test_what_is_said_agrees_with_what_is_known(
    cells: list[tuple[tuple[str, str], str, int]], budget: int | None
) -> None:
    """Whatever the votes: only a budget that was set is spent, and more votes are for pairs that matter."""
    votes = collect([vote for pair, letter, n in cells for vote in cast(letter * n, models=pair)], models=tuple("ABCD"))
    standing = decide_all(votes, Rule(budget=budget))
    said, better = standing.sentence, {(v.first, v.second): v.better for v in standing.verdicts}
    assert said.startswith(SPENT) <= (budget is not None and len(votes) >= budget)
    assert bool(standing.contested) == said.endswith((" more vote", " more votes", "can be foreseen"))
    assert (f" ({standing.scope})" in said) == (standing.scope is not None)
    if standing.best:
        assert [name for pair, name in better.items() if standing.best in pair] == [standing.best] * 3
        assert said.startswith(f"{standing.best} is better than each of the others")
    for verdict in standing.contested:
        assert {verdict.first, verdict.second} & set(standing.unbeaten)
        assert verdict.outcome == "open"


def test_votes_from_elsewhere_speak_of_the_pairs_that_were_shown() -> None:
    verdict = decide(replace(columns("a" * 8), drawn=False), "A", "B")
    assert verdict.sentence == (
        "A is better (false-alarm rate at most 5 %, on the pairs that were shown, for these judges)"
    )
    assert "It speaks of the pairs that were shown, whoever chose them" in verdict.reason
    assert "the models would make" not in verdict.reason
    ours = decide(columns("a" * 8), "A", "B")
    assert (verdict.log_evidence, verdict.interval) == (ours.log_evidence, ours.interval)
    beyond = decide(replace(columns("a" * 9, prompts=9), drawn=False), "A", "B", Rule(level="prompts"))
    assert "on prompts like these, paired as these were, for these judges" in beyond.sentence


# What cannot be asked


def test_what_cannot_be_compared() -> None:
    votes = columns("ab")
    with pytest.raises(InvalidRequest, match="no model 'C' in these votes; there are A, B"):
        decide(votes, "A", "C")
    with pytest.raises(InvalidRequest, match="with itself"):
        decide(votes, "A", "A")
    with pytest.raises(InvalidRequest, match="Two models"):
        decide_all(collect([], models=("A",)))
    mixed = collect([*cast("ab"), Vote("A", "B", "left", "p", "j", "detail")])
    for function in (lambda: decide(mixed, "A", "B"), lambda: decide_all(mixed)):
        with pytest.raises(InvalidRequest, match="'overall', 'detail'"):
            function()
    assert decide(mixed.of_criterion("detail"), "A", "B").wins == 1


@pytest.mark.parametrize(
    "values",
    [{"alpha": 0}, {"alpha": 1}, {"margin": 0}, {"margin": 0.5}, {"budget": 0}, {"comparisons": 0}, {"prior": 0}],
    ids=str,
)
def test_rules_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest):
        Rule(**values)  # type: ignore[arg-type]
