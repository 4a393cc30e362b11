"""A sitting without HTTP: what is shown, kept, taken back and known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import text

from diptych import store as stores
from diptych.arena.stopping import Rule
from diptych.errors import InvalidRequest, StoreError, StudyError
from diptych.judging.sitting import AHEAD, REVIEWED, Seat, Showing, Sitting
from diptych.store.database import Store
from diptych.studies import results
from tests.judging.conftest import DEAR, PROMPTS, QUICK, a_sitting, a_study, the_votes
from tests.report.conftest import Builder, picture
from tests.servers import fresh_database
from tests.voting import a_judge, many_votes

T = TypeVar("T")


def sit(opened: Store, what: Callable[[Sitting], Awaitable[T]], **given: Any) -> T:
    """Do `what` in a sitting that is opened for it."""

    async def go() -> T:
        async with a_sitting(opened, **given) as sitting:
            return await what(sitting)

    return asyncio.run(go())


async def two(sitting: Sitting, seat: Seat) -> tuple[Showing, ...]:
    """As the page asks: once for the first pair, once more for the one after it."""
    await sitting.next(seat)
    return await sitting.next(seat)


def tokens(showings: tuple[Showing, ...]) -> list[str]:
    return [one.trial.token for one in showings]


def prefers(opened: Store, trial: Any, label: str) -> str:
    """The side on which that model is."""
    return "left" if names_of(opened, trial)[0] == label else "right"


def names_of(opened: Store, trial: Any) -> list[str]:
    study = results.load(opened)
    of = {sample.id: sample.contestant_id for sample in study.samples}
    labels = {row.id: row.label for row in study.contestants}
    return [labels[of[sample]] for sample in (trial.left_sample_id, trial.right_sample_id)]


# What is shown


def test_the_first_pair_comes_alone_and_then_one_is_ahead(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        first = await sitting.next(seat)
        assert len(first) == 1
        assert first[0].prompt in PROMPTS
        more = await sitting.next(seat)
        assert len(more) == AHEAD
        assert more[0] is first[0]
        assert await sitting.next(seat) == more

    sit(judged, go)


def test_a_judge_sees_every_pair_once_and_then_nothing(judged: Store) -> None:
    a_study(judged, samples=2)

    async def go(sitting: Sitting) -> list[frozenset[int]]:
        seat, seen = await sitting.join(), []
        while showings := await sitting.next(seat):
            trial = showings[0].trial
            seen.append(frozenset((trial.left_sample_id, trial.right_sample_id)))
            assert (await sitting.vote(seat, trial.token, "tie", f"key-{len(seen):08}")).status == "kept"
        return seen

    seen = sit(judged, go)
    assert len(seen) == len(set(seen)) == 3 * 2 * 2


def test_sides_and_prompts_are_drawn(judged: Store) -> None:
    a_study(judged, samples=4)

    async def go(sitting: Sitting) -> tuple[set[str], set[str]]:
        seat, sides, prompts = await sitting.join(), set(), set()
        for number in range(24):
            one = (await sitting.next(seat))[0]
            sides.add(prefers(judged, one.trial, QUICK))
            prompts.add(one.prompt)
            await sitting.vote(seat, one.trial.token, "skip", f"key-{number:08}")
        return sides, prompts

    assert sit(judged, go) == ({"left", "right"}, set(PROMPTS))


def test_the_same_seed_shows_the_same_pairs(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> tuple[int, int]:
        one = (await sitting.next(await sitting.join()))[0].trial
        return one.left_sample_id, one.right_sample_id

    with judged.writing() as connection:
        before = connection.scalar(text("SELECT count(*) FROM trials"))
    first = sit(judged, go, seed=3)
    with judged.writing() as connection:
        connection.execute(text("DELETE FROM trials"))
    assert (before, sit(judged, go, seed=3)) == (0, first)


def test_pictures_have_ids_of_their_trial_and_judge(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        seat, other = await sitting.join(), await sitting.join()
        first, second = await two(sitting, seat)
        names = [*first.whole, *second.whole]
        assert len(set(names)) == 4
        bodies = [await sitting.picture(seat, name) for name in names]
        assert len(bodies[0] or b"") == len(bodies[1] or b"") > 0
        assert await sitting.picture(other, names[0]) is None
        assert await sitting.picture(seat, "nothing") is None
        await sitting.vote(seat, first.trial.token, "left", "key-00000001")
        assert await sitting.picture(seat, names[0]) is None
        assert await sitting.picture(seat, names[2]) == bodies[2]

    sit(judged, go)


def test_two_sizes_have_a_view_at_1_to_1(judged: Store) -> None:
    a_study(judged, sizes={DEAR: (96, 96)})

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        one = (await sitting.next(seat))[0]
        assert (one.canvas.size, one.canvas.window) == ((96, 96), (64, 48))
        assert one.detail is not None
        lengths = {len(await sitting.picture(seat, name) or b"") for name in one.detail}
        assert len(lengths) == 1

    sit(judged, go)


def test_a_picture_that_is_gone_is_passed_over_and_told(judged: Store) -> None:
    study = a_study(judged, samples=1)
    extra = study.sample(0, 0, 7, picture(77))
    with judged.reading() as connection:
        sha256 = connection.scalar(text("SELECT picture FROM samples WHERE id = :id"), {"id": extra})
    judged.pictures.path(sha256).unlink()  # type: ignore[attr-defined]

    async def go(sitting: Sitting) -> None:
        seat, seen = await sitting.join(), set()
        while showings := await sitting.next(seat):
            trial = showings[0].trial
            seen |= {trial.left_sample_id, trial.right_sample_id}
            await sitting.vote(seat, trial.token, "left", f"key-{len(seen):08}")
        assert extra not in seen
        assert len(seen) == 6
        assert len(sitting.unreadable) == 1
        assert sha256 in sitting.unreadable[0]

    sit(judged, go)


# Votes


def test_every_kind_of_vote_is_kept_as_it_is(judged: Store) -> None:
    a_study(judged)
    choices = ["left", "right", "tie", "both_bad", "skip"]

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        for number, choice in enumerate(choices):
            trial = (await sitting.next(seat))[0].trial
            assert (await sitting.vote(seat, trial.token, choice, f"key-{number:08}", seconds=1.5)).status == "kept"
        progress = sitting.progress(seat)
        assert (progress.mine, progress.votes, progress.judges) == (4, 4, 1)

    sit(judged, go)
    assert [choice for _, choice, _ in the_votes(judged)] == choices


def test_a_vote_that_is_sent_again_counts_once(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        trial = (await sitting.next(seat))[0].trial
        at_once = [sitting.vote(seat, trial.token, "left", "key-00000001") for _ in range(5)]
        assert {done.status for done in await asyncio.gather(*at_once)} == {"kept"}
        assert (await sitting.vote(seat, trial.token, "left", "key-00000001")).status == "kept"
        assert sitting.progress(seat).votes == 1

    sit(judged, go)
    assert len(the_votes(judged)) == 1


def test_of_two_tabs_the_first_vote_on_a_pair_counts(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        trial = (await sitting.next(seat))[0].trial
        assert (await sitting.vote(seat, trial.token, "left", "key-tab-one")).status == "kept"
        assert (await sitting.vote(seat, trial.token, "right", "key-tab-two")).status == "already"
        assert trial.token not in tokens(await sitting.next(seat))

    sit(judged, go)
    assert [choice for _, choice, _ in the_votes(judged)] == ["left"]


def test_nobody_votes_on_the_pair_of_another(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        mine, theirs = await sitting.join(), await sitting.join()
        trial = (await sitting.next(mine))[0].trial
        assert (await sitting.vote(theirs, trial.token, "left", "key-00000001")).status == "unknown"
        assert (await sitting.vote(mine, "no-such-trial", "left", "key-00000002")).status == "unknown"
        await sitting.vote(mine, trial.token, "left", "key-00000003")
        other = (await sitting.next(theirs))[0].trial
        assert (await sitting.vote(theirs, other.token, "left", "key-00000003")).status == "unknown"
        assert not await sitting.take_back(theirs, "key-00000003", "key-00000004")

    sit(judged, go)
    assert len(the_votes(judged)) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"choice": "middle"}, "choice is 'middle'"),
        ({"choice": "inconsistent"}, "choice is 'inconsistent'"),
        ({"criterion": "colour"}, "criterion is 'colour'"),
        ({"key": "short"}, "8 to 64 characters"),
    ],
)
def test_what_is_no_vote_is_refused(judged: Store, values: dict[str, str], said: str) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        token = (await sitting.next(seat))[0].trial.token
        given = {"choice": "left", "key": "key-00000001", **values}
        with pytest.raises(InvalidRequest, match=said):
            await sitting.vote(seat, token, given.pop("choice"), given.pop("key"), **given)

    sit(judged, go)


def test_a_vote_is_taken_back_and_its_pair_shown_again(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        first, second = await two(sitting, seat)
        await sitting.vote(seat, first.trial.token, "left", "key-00000001")
        await sitting.vote(seat, second.trial.token, "right", "key-00000002")
        assert sitting.last(seat) == "key-00000002"
        for _ in range(2):  # the second time changes nothing
            assert await sitting.take_back(seat, "key-00000002", "key-00000003")
        assert sitting.last(seat) == "key-00000001"
        assert sitting.progress(seat).votes == 1
        shown = await sitting.next(seat)
        assert shown[0].trial == second.trial
        assert set(shown[0].whole).isdisjoint(second.whole)  # new ids
        assert (await sitting.vote(seat, second.trial.token, "left", "key-00000002")).status == "kept"  # came late
        assert sitting.progress(seat).votes == 1
        assert (await sitting.vote(seat, second.trial.token, "tie", "key-00000004")).status == "kept"
        assert sitting.progress(seat).votes == 2
        assert await sitting.take_back(seat, "key-00000001", "key-00000005")
        assert (await sitting.next(seat))[0].trial == first.trial

    sit(judged, go)
    assert [choice for _, choice, _ in the_votes(judged)] == ["left", "right", None, "tie", None]


def test_what_was_open_is_shown_again_after_a_new_start(judged: Store) -> None:
    a_study(judged)

    async def before(sitting: Sitting) -> tuple[str, list[str]]:
        seat = await sitting.join()
        shown = await two(sitting, seat)
        await sitting.vote(seat, shown[0].trial.token, "left", "key-00000001")
        shown = await sitting.next(seat)
        await sitting.vote(seat, shown[0].trial.token, "left", "key-00000002")
        await sitting.take_back(seat, "key-00000002", "key-00000003")
        return seat.judge, tokens(seat.open and tuple(seat.open))

    judge, shown = sit(judged, before)

    async def after(sitting: Sitting) -> None:
        seat = await sitting.seat(judge)
        assert seat is not None
        assert await sitting.seat(judge) is seat
        assert tokens(await sitting.next(seat))[: len(shown)] == shown
        assert sitting.last(seat) == "key-00000001"
        assert sitting.progress(seat).mine == 1
        assert await sitting.seat("nobody") is None

    sit(judged, after, seed=99)


def test_another_criterion_asks_about_the_same_pairs_again(judged: Store) -> None:
    a_study(judged, samples=1)

    async def all_of_them(sitting: Sitting) -> tuple[str, int]:
        seat, count = await sitting.join(), 0
        while showings := await sitting.next(seat):
            count += 1
            await sitting.vote(seat, showings[0].trial.token, "left", f"{sitting.criterion}-{count:08}")
        return seat.judge, count

    judge, count = sit(judged, all_of_them)

    async def about_detail(sitting: Sitting) -> int:
        seat = await sitting.seat(judge)
        assert seat is not None
        assert sitting.progress(seat).mine == 0
        shown = await sitting.next(seat)
        late = await sitting.vote(seat, shown[0].trial.token, "left", "late-0000001", criterion="overall")
        assert late.status == "kept"  # of a queue that an earlier sitting left: it counts where it belongs
        assert sitting.progress(seat).votes == 0
        return len(await sitting.next(seat))

    assert (count, sit(judged, about_detail, criterion="detail")) == (3, AHEAD)


def test_names_after_each_vote_only_where_that_is_wanted(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        trial = (await sitting.next(seat))[0].trial
        key = f"key-{sitting.reveals}-00000001"
        done = await sitting.vote(seat, trial.token, "left", key)
        expected = (QUICK, DEAR) if prefers(judged, trial, QUICK) == "left" else (DEAR, QUICK)
        assert done.names == (expected if sitting.reveals else None)
        # What was revealed cannot be judged again.
        assert sitting.last(seat) == (None if sitting.reveals else key)
        assert await sitting.take_back(seat, key, "key-00000002") is not sitting.reveals

    sit(judged, go, reveals=True)
    sit(judged, go)


# What is known


def test_progress_grows_and_says_when_it_is_enough(judged: Store) -> None:
    a_study(judged, samples=4)
    said: list[str] = []

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        for number in range(12):
            trial = (await sitting.next(seat))[0].trial
            await sitting.vote(seat, trial.token, prefers(judged, trial, DEAR), f"key-{number:08}")
            progress = sitting.progress(seat)
            said.append(f"{progress.said} {progress.more or ''}".strip())
            assert progress.enough == (progress.more is None)
            assert DEAR not in said[-1]
            assert QUICK not in said[-1]

    sit(judged, go)
    assert said[0] == "The evidence does not separate the two models yet. At least 7 more votes are needed"
    assert "The evidence begins to separate the two models. At least 1 more vote is needed" in said
    assert said[-1] == "The evidence separates the two models."


def test_the_budget_is_the_end(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        for number, choice in enumerate(["left", "right", "skip", "tie"]):
            assert not sitting.progress(seat).enough
            trial = (await sitting.next(seat))[0].trial
            await sitting.vote(seat, trial.token, choice, f"key-{number:08}")
        progress = sitting.progress(seat)
        assert (progress.enough, progress.more) == (True, None)
        assert progress.said == "The vote budget is spent, and the evidence does not separate the two models."

    sit(judged, go, rule=Rule(budget=3))


def test_votes_of_models_are_not_those_of_people(judged: Store) -> None:
    study = a_study(judged)
    machine, person = a_judge(judged, "model", "some-model"), a_judge(judged)
    many_votes(judged, study.id, [machine], [(QUICK, DEAR, "left")] * 9, prompts=3)
    many_votes(judged, study.id, [person], [(QUICK, DEAR, "tie")] * 2, prompts=2)
    assert a_sitting(judged).known.votes == 2


def test_of_many_votes_not_every_one_is_looked_at_at_once(judged: Store) -> None:
    study = a_study(judged, samples=4)
    many_votes(judged, study.id, [a_judge(judged)], [(QUICK, DEAR, "left"), (QUICK, DEAR, "right")] * 201)

    async def go(sitting: Sitting) -> None:
        seat, looked = await sitting.join(), []
        for number in range(10):
            before = sitting.known
            trial = (await sitting.next(seat))[0].trial
            await sitting.vote(seat, trial.token, "left", f"new-{number:08}")
            looked.append(sitting.known is not before)
            assert sitting.progress(seat).votes == 403 + number
        assert sum(looked) == 1  # the ninth vote is 2 % of them
        await sitting.look_again()
        assert sitting.known.votes == 412

    sit(judged, go)


# The end


def test_the_end_names_the_models_and_takes_no_more_votes(judged: Store) -> None:
    a_study(judged, samples=3)

    async def go(sitting: Sitting) -> None:
        seat, other = await sitting.join(), await sitting.join()
        for number in range(14):
            trial = (await sitting.next(seat))[0].trial
            await sitting.vote(seat, trial.token, prefers(judged, trial, DEAR), f"key-{number:08}")
        left_open = (await sitting.next(seat))[0]
        facts = await sitting.end(seat)
        assert facts["headline"] == f"{DEAR} is better."
        assert "5 %" in facts["scope"]
        assert "on these prompts" in facts["scope"]
        assert (facts["votes"], facts["judges"], facts["mine"]) == (14, 1, 14)
        quick, dear = facts["models"]
        assert (quick["label"], quick["won"], quick["lost"], quick["score"]) == (QUICK, 0, 14, 0.0)
        assert (dear["seconds"], dear["cost"], quick["cost"]) == (1.5, pytest.approx(0.01), 0.0)
        assert sum(one["models"][1]["won"] for one in facts["categories"]) == 14
        assert {one["name"] for one in facts["categories"]} == set(PROMPTS.values())
        assert facts["marked"] == [DEAR]
        assert len(facts["review"]) == REVIEWED
        latest = facts["review"][0]
        assert latest["models"][0 if latest["choice"] == "left" else 1] == 1
        assert await sitting.picture(seat, latest["pictures"][0])
        assert await sitting.picture(other, latest["pictures"][0]) is None
        assert await sitting.next(seat) == ()
        assert await sitting.picture(seat, left_open.whole[0]) is None
        assert (await sitting.vote(seat, left_open.trial.token, "left", "key-after-the-end")).status == "ended"
        assert not await sitting.take_back(seat, "key-00000001", "key-after-the-end")
        assert (await sitting.end(seat))["review"] == facts["review"]
        assert len(await sitting.next(other)) == 1  # others go on

    sit(judged, go, marked=[DEAR])


def test_going_on_after_the_end(judged: Store) -> None:
    a_study(judged, samples=3)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        for number in range(4):
            trial = (await sitting.next(seat))[0].trial
            await sitting.vote(seat, trial.token, "left", f"key-{number:08}")
        left_open = tokens(await two(sitting, seat))
        facts = await sitting.end(seat)
        assert facts["left"]
        await sitting.go_on(seat)
        await sitting.go_on(seat)  # twice is once
        shown = await sitting.next(seat)
        assert tokens(shown) == left_open
        assert await sitting.picture(seat, shown[0].whole[0])
        assert sitting.last(seat) is None  # what was named cannot be judged again
        assert not await sitting.take_back(seat, "key-00000003", "key-00000009")
        assert (await sitting.vote(seat, shown[0].trial.token, "tie", "key-00000004")).status == "kept"
        assert sitting.last(seat) == "key-00000004"
        assert await sitting.take_back(seat, "key-00000004", "key-00000005")
        assert (await sitting.vote(seat, shown[0].trial.token, "left", "key-00000006")).status == "kept"
        again = await sitting.end(seat)
        assert (again["mine"], len(again["review"])) == (5, 5)

    sit(judged, go)


def test_nothing_is_left_after_the_last_pair(judged: Store) -> None:
    a_study(judged, samples=1)

    async def go(sitting: Sitting) -> None:
        seat, count = await sitting.join(), 0
        while showings := await sitting.next(seat):
            count += 1
            await sitting.vote(seat, showings[0].trial.token, "skip", f"key-{count:08}")
        assert not (await sitting.end(seat))["left"]

    sit(judged, go)


def test_many_votes_at_one_instant_are_all_known_soon(judged: Store) -> None:
    a_study(judged, samples=4)

    async def go(sitting: Sitting) -> None:
        seats = await asyncio.gather(*(sitting.join() for _ in range(20)))
        shown = await asyncio.gather(*map(sitting.next, seats))
        assert len({one[0].trial.token for one in shown}) == 20
        done = await asyncio.gather(
            *(
                sitting.vote(seat, one[0].trial.token, "left", f"key-{seat.judge}")
                for seat, one in zip(seats, shown, strict=True)
            )
        )
        assert {one.status for one in done} == {"kept"}
        assert sitting.progress(seats[0]).votes == 20
        for _ in range(200):
            if sitting.known.votes == 20:
                break
            await asyncio.sleep(0.05)
        assert (sitting.known.votes, sitting.known.judges) == (20, 20)

    sit(judged, go)
    assert len(the_votes(judged)) == 20


def test_the_end_without_a_vote(judged: Store) -> None:
    a_study(judged)

    async def go(sitting: Sitting) -> dict[str, Any]:
        return await sitting.end(await sitting.join())

    facts = sit(judged, go)
    assert (facts["headline"], facts["votes"], facts["review"]) == ("No vote compares them yet.", 0, [])


def test_three_models(judged: Store) -> None:
    a_study(judged, "first-model", "second-model", "third-model", samples=4)

    async def go(sitting: Sitting) -> None:
        seat = await sitting.join()
        for number in range(120):
            showings = await sitting.next(seat)
            if not showings or sitting.known.enough:
                break
            trial = showings[0].trial
            best = prefers(judged, trial, min(names_of(judged, trial)))
            await sitting.vote(seat, trial.token, best, f"key-{number:08}")
        facts = await sitting.end(seat)
        assert facts["headline"] == "first-model is the best of three."
        assert len(facts["pairs"]) == 3
        assert sitting.progress(seat).said == "The evidence shows which one is best."

    sit(judged, go)


def test_a_sitting_on_postgresql(postgres_server: str, tmp_path: Path) -> None:
    opened = stores.open(fresh_database(postgres_server, "judging"), str(tmp_path / "pictures"))
    a_study(opened)

    async def before(sitting: Sitting) -> tuple[str, list[str]]:
        seat = await sitting.join()
        first, second = await two(sitting, seat)
        at_once = [sitting.vote(seat, first.trial.token, "left", "key-00000001") for _ in range(3)]
        assert {done.status for done in await asyncio.gather(*at_once)} == {"kept"}
        await sitting.vote(seat, second.trial.token, "tie", "key-00000002")
        assert await sitting.take_back(seat, "key-00000002", "key-00000003")
        assert sitting.progress(seat).votes == 1
        return seat.judge, tokens(tuple(seat.open))

    async def after(sitting: Sitting) -> None:
        seat = await sitting.seat(judge)
        assert seat is not None
        assert tokens(await sitting.next(seat))[:1] == left_open[:1]
        assert (await sitting.end(seat))["votes"] == 1

    judge, left_open = sit(opened, before)
    sit(opened, after)
    opened.close()


# What cannot be


def test_what_cannot_be_judged_is_said(judged: Store) -> None:
    alone = Builder(judged, "alone")
    alone.prompt("a fox")
    alone.contestant("only-model")
    alone.sample(0, 0, 0, picture(1))
    with pytest.raises(StudyError, match="has one model: a blind test takes two"):
        a_sitting(judged)

    empty = Builder(judged, "not run")
    empty.prompt("a fox")
    for label in ("one", "other"):
        empty.contestant(label)
    empty.sample(0, 0, 0)
    empty.sample(0, 1, 0)
    with pytest.raises(StudyError, match=r'pictures of no model.*--name "not run"'):
        a_sitting(judged)
    empty.sample(0, 0, 1, picture(2))
    with pytest.raises(StudyError, match="pictures of one model only"):
        a_sitting(judged)

    apart = Builder(judged, "apart")
    for at, label in enumerate(("one", "other")):
        apart.prompt(f"prompt {at}")
        apart.contestant(label)
        apart.sample(at, at, 0, picture(at))
    with pytest.raises(StudyError, match="no two models with a picture of the same prompt"):
        a_sitting(judged)

    a_study(judged, name="good")
    with pytest.raises(InvalidRequest, match="criterion is 'beauty'"):
        a_sitting(judged, criterion="beauty")

    async def not_open() -> None:
        await a_sitting(judged).join()

    with pytest.raises(StoreError, match="not open"):
        asyncio.run(not_open())
