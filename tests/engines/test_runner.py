"""The loop on top of the steps, with an engine that counts and a clock that only its steps move."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace

import pytest

from diptych.engines.runner import Runner


@dataclass(frozen=True)
class Count:
    name: str
    left: int
    shape: int = 0


class Counting:
    """A step of n pictures takes `seconds[n]`; every step is written down."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.steps: list[list[str]] = []
        self.broken: set[str] = set()

    def group(self, state: Count) -> Hashable:
        return state.shape

    def step(self, states: Sequence[Count]) -> Sequence[Count]:
        assert len({state.shape for state in states}) == 1
        self.now += self.seconds(len(states))
        names = [state.name for state in states]
        if self.broken & set(names):
            raise RuntimeError("out of memory")
        self.steps.append(names)
        return [replace(state, left=state.left - 1) for state in states]

    def done(self, state: Count) -> bool:
        return state.left == 0

    def finish(self, state: Count) -> str:
        return f"{state.name} at {self.now:g}"


@pytest.fixture
def engine() -> Counting:
    return Counting(lambda pictures: float(pictures))


@pytest.fixture
def held(engine: Counting) -> Iterator[tuple[Runner[Count, str], Callable[[], None]]]:
    """A runner that begins nothing until it is let go, so that what is handed in before is there at once."""
    runner = Runner(engine, active=8, clock=lambda: engine.now)
    gate = threading.Event()
    hold = runner.submit(lambda: (gate.wait(10) and Count("hold", 0)) or Count("hold", 0))
    yield runner, gate.set
    gate.set()
    hold.result(10)
    runner.close(finish=False)


def test_a_picture_is_stepped_to_its_end_and_tells_of_every_step(engine: Counting) -> None:
    runner = Runner(engine)
    seen: list[int] = []
    assert runner.submit(lambda: Count("a", 3), on_step=lambda s: seen.append(s.left)).result(10) == "a at 3"
    assert seen == [2, 1, 0]
    assert runner.load().steps == 3
    runner.close()


def test_a_short_picture_overtakes_a_long_one_of_another_client(engine: Counting, held) -> None:
    runner, go = held
    long = runner.submit(lambda: Count("long", 50, shape=1), client="one")
    short = runner.submit(lambda: Count("short", 4, shape=2), client="two")
    go()
    assert short.result(10) in ("short at 7", "short at 8")
    assert long.result(10) == "long at 54"


def test_clients_share_the_machine_however_many_pictures_each_hands_in(engine: Counting, held) -> None:
    runner, go = held
    many = [runner.submit(lambda i=i: Count(f"m{i}", 10, shape=i), client="many") for i in range(5)]
    one = runner.submit(lambda: Count("one", 10, shape=9), client="one")
    go()
    assert float(one.result(10).split()[-1]) <= 21
    assert max(float(ticket.result(10).split()[-1]) for ticket in many) == 60


def test_a_weight_of_two_gets_twice_the_steps(engine: Counting, held) -> None:
    runner, go = held
    light = runner.submit(lambda: Count("light", 30, shape=1), client="one")
    heavy = runner.submit(lambda: Count("heavy", 30, shape=2), client="two", weight=2)
    go()
    assert 44 <= float(heavy.result(10).split()[-1]) <= 46
    assert light.result(10) == "light at 60"


def test_stepping_together_is_chosen_where_it_is_faster_and_only_there(engine: Counting, held) -> None:
    runner, go = held
    engine.seconds = lambda pictures: 1.0 if pictures == 1 else 1.5
    tickets = [runner.submit(lambda i=i: Count(str(i), 20, shape=1)) for i in range(4)]
    go()
    for ticket in tickets:
        ticket.result(10)
    assert sum(len(names) == 4 for names in engine.steps) >= 15

    engine.seconds = lambda pictures: 1.2 * pictures
    engine.steps.clear()
    tickets = [runner.submit(lambda i=i: Count(str(i), 20, shape=2)) for i in range(4)]
    for ticket in tickets:
        ticket.result(10)
    assert sum(len(names) > 1 for names in engine.steps) <= 2 * 3  # the trials of each size


def test_a_cancelled_picture_is_stepped_no_more_and_frees_its_place(engine: Counting) -> None:
    runner = Runner(engine, active=1)
    reached, go = threading.Event(), threading.Event()

    def watch(state: Count) -> None:
        reached.set()
        go.wait(10)

    first = runner.submit(lambda: Count("first", 1000), on_step=watch)
    second = runner.submit(lambda: Count("second", 1))
    assert reached.wait(10)
    first.cancel()
    go.set()
    assert second.result(10).startswith("second")
    with pytest.raises(CancelledError):
        first.result(10)
    assert sum("first" in names for names in engine.steps) == 1
    runner.close()


def test_what_fails_fails_alone(engine: Counting, held) -> None:
    runner, go = held
    engine.broken = {"bad"}
    bad = runner.submit(lambda: Count("bad", 3, shape=1))
    good = runner.submit(lambda: Count("good", 3, shape=2))

    def no() -> Count:
        raise ValueError("no such prompt")

    def angry(state: Count) -> None:
        raise OSError("the watcher has gone")

    unstarted = runner.submit(no)
    unwatched = runner.submit(lambda: Count("w", 3, shape=3), on_step=angry)
    go()
    assert good.result(10).startswith("good")
    for ticket, error, words in (
        (bad, RuntimeError, "out of memory"),
        (unstarted, ValueError, "no such prompt"),
        (unwatched, OSError, "has gone"),
    ):
        with pytest.raises(error, match=words):
            ticket.result(10)
    assert runner.submit(lambda: Count("later", 1)).result(10).startswith("later")


def test_closing_finishes_what_was_handed_in_or_cancels_it(engine: Counting) -> None:
    runner = Runner(engine, active=1)
    tickets = [runner.submit(lambda i=i: Count(str(i), 5)) for i in range(3)]
    runner.close()
    assert [ticket.result(0).split()[0] for ticket in tickets] == ["0", "1", "2"]
    with pytest.raises(RuntimeError, match="closed"):
        runner.submit(lambda: Count("x", 1))

    other = Runner(engine, active=1)
    gate = threading.Event()
    first = other.submit(lambda: Count("a", 1), on_step=lambda s: gate.wait(10) and None)
    waiting = other.submit(lambda: Count("b", 1))
    threading.Timer(0.1, gate.set).start()
    other.close(finish=False)
    with pytest.raises(CancelledError):
        waiting.result(0)
    assert first.future.done()


def test_a_picture_without_steps_is_done_at_once(engine: Counting) -> None:
    runner = Runner(engine)
    assert runner.submit(lambda: Count("ready", 0)).result(10) == "ready at 0"
    runner.close()
