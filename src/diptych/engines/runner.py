"""The loop that steps many pictures at once: studies and the server share it.

A picture joins at the next step and leaves when it is done or cancelled; nobody waits for a whole picture of somebody
else. Which pictures are stepped next is decided by fair queueing: every client has a virtual clock that runs with the
seconds spent on it, divided by the weight of the picture; the one that is furthest behind is next (S. J. Golestani, A
self-clocked fair queueing scheme, 1994). Within a client pictures take turns.

Pictures of one group (same network, same shapes) may be stepped together in one batch. Whether that pays depends on
the machine: a processor is busy with one, a card is not. So it is measured as it goes: seconds per picture and step,
alone and together, and the better one is taken.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

S = TypeVar("S")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

TRIALS = 2
"""Batches of a size that are timed before sizes of a group are compared; the best time of each counts."""
MOST_SIZES = 200
"""Groups and batch sizes whose times are kept; beyond that all are measured anew."""
WORTH = 0.95
"""Together is taken where it needs at most this share of the seconds alone: below that it is noise."""


class Engine(Protocol[S, R_co]):
    """What a runner drives. All methods are called on the runner's own thread, one at a time."""

    def group(self, state: S) -> Hashable:
        """States with equal groups can be stepped in one batch."""
        ...

    def step(self, states: Sequence[S]) -> Sequence[S]:
        """Each state one step on: a pure function."""
        ...

    def done(self, state: S) -> bool:
        """Whether there is no step left."""
        ...

    def finish(self, state: S) -> R_co:
        """The result of a state that is done."""
        ...


@dataclass(frozen=True)
class Load:
    """What a runner is busy with, at one moment."""

    waiting: int
    """Accepted, and not begun."""
    active: int
    """Begun: stepped in turn."""
    batch: int
    """Pictures in the last batch."""
    seconds: float
    """That the last batch took for one step."""
    steps: int
    """Steps of pictures since the start."""


@dataclass(eq=False)
class Ticket(Generic[S, R]):
    """A picture that was handed to a runner."""

    start: Callable[[], S]
    on_step: Callable[[S], None] | None
    client: Hashable
    weight: float
    future: Future[R] = field(default_factory=Future)
    state: S | None = None
    turn: int = 0
    """When it was stepped last, as a count of batches."""
    busy: float = 0.0
    """Seconds that were spent on it: of a batch, its share."""

    def cancel(self) -> None:
        """Give it up: it is stepped no more. `result` then raises CancelledError. Too late is harmless."""
        self.future.cancel()

    def result(self, timeout: float | None = None) -> R:
        """Wait for it. Raises what the engine raised, CancelledError, TimeoutError."""
        return self.future.result(timeout)


class Runner(Generic[S, R]):
    """Steps pictures on a thread of its own until `close`."""

    def __init__(
        self,
        engine: Engine[S, R],
        *,
        active: int = 4,
        together: int = 4,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """active: pictures that are begun at once; each holds its latents and text. together: most in one batch."""
        if active < 1 or together < 1:
            raise ValueError(f"active is {active} and together {together}; both are at least 1")
        self._engine = engine
        self._limit = active
        self._together = together
        self._clock = clock
        self._waiting: list[Ticket[S, R]] = []
        self._active: list[Ticket[S, R]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._virtual: dict[Hashable, float] = {}
        self._now = 0.0
        self._turn = 0
        self._timed: dict[tuple[Hashable, int], list[float]] = {}
        self._last = (0, 0.0)
        self._steps = 0
        self._thread = threading.Thread(target=self._run, name="diptych-runner", daemon=True)
        self._thread.start()

    def submit(
        self,
        start: Callable[[], S],
        *,
        on_step: Callable[[S], None] | None = None,
        client: Hashable = None,
        weight: float = 1.0,
    ) -> Ticket[S, R]:
        """Hand in a picture. start: makes its first state, on the runner's thread. on_step: told every later one.

        client: who shares the machine fairly with others. weight: of this picture within its client's and others'
        turns; 2 gets twice the steps of 1. Raises RuntimeError after `close`.
        """
        if not weight > 0:
            raise ValueError(f"weight is {weight}; it is above 0")
        ticket = Ticket[S, R](start, on_step, client, weight)
        with self._changed:
            if self._closing:
                raise RuntimeError("this runner is closed")
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def load(self) -> Load:
        with self._changed:
            return Load(len(self._waiting), len(self._active), *self._last, self._steps)

    def close(self, *, finish: bool = True) -> None:
        """Take nothing more. finish: what was handed in is done first, else it is cancelled. Waits."""
        with self._changed:
            self._closing = True
            if not finish:
                for ticket in (*self._waiting, *self._active):
                    ticket.cancel()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._forget_cancelled()
                while not self._waiting and not self._active:
                    self._virtual.clear()  # nobody is behind when nothing is left to do
                    if self._closing:
                        return
                    self._changed.wait()
                    self._forget_cancelled()
                begun = self._admit()
            for ticket in begun:
                self._begin(ticket)
            batch = self._next_batch()
            if batch:
                self._step(batch)

    def _forget_cancelled(self) -> None:
        self._waiting = [ticket for ticket in self._waiting if not ticket.future.cancelled()]
        self._active = [ticket for ticket in self._active if not ticket.future.cancelled()]

    def _admit(self) -> list[Ticket[S, R]]:
        """Those waiting tickets that there is room for, by their clients' clocks, then in order of arrival."""
        begun: list[Ticket[S, R]] = []
        while self._waiting and len(self._active) < self._limit:
            having = [ticket.client for ticket in self._active]
            ticket = min(self._waiting, key=lambda one: (having.count(one.client), self._clock_of(one.client)))
            self._waiting.remove(ticket)
            # Who was away has saved up nothing.
            self._virtual[ticket.client] = max(self._clock_of(ticket.client), self._now)
            self._active.append(ticket)
            begun.append(ticket)
        return begun

    def _clock_of(self, client: Hashable) -> float:
        return self._virtual.get(client, self._now)

    def _begin(self, ticket: Ticket[S, R]) -> None:
        started = self._clock()
        try:
            ticket.state = ticket.start()
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to who handed it in
            self._fail([ticket], error)
            return
        finally:
            self._charge(ticket, self._clock() - started)
        if self._engine.done(ticket.state):
            self._finish(ticket)

    def _next_batch(self) -> list[Ticket[S, R]]:
        ready = [ticket for ticket in self._active if ticket.state is not None and not ticket.future.cancelled()]
        if not ready:
            return []
        first = min(ready, key=lambda one: (self._clock_of(one.client), one.turn))
        self._now = self._clock_of(first.client)
        group = self._group(first)
        alike = [ticket for ticket in ready if self._group(ticket) == group]
        alike.sort(key=lambda one: (one is not first, self._clock_of(one.client), one.turn))
        return alike[: self._size(group, len(alike))]

    def _group(self, ticket: Ticket[S, R]) -> Hashable:
        assert ticket.state is not None
        return self._engine.group(ticket.state)

    def _size(self, group: Hashable, there: int) -> int:
        """How many to step together: alone or all, whichever was faster per picture once both had their trials."""
        largest = min(there, self._together)
        for size in (1, largest):
            if len(self._timed.get((group, size), ())) < TRIALS:
                return size
        alone, both = (min(self._timed[group, size]) / size for size in (1, largest))
        return largest if both <= WORTH * alone else 1

    def _step(self, batch: list[Ticket[S, R]]) -> None:
        states = [ticket.state for ticket in batch if ticket.state is not None]
        group = self._group(batch[0])
        started = self._clock()
        try:
            moved = self._engine.step(states)
        except BaseException as error:  # noqa: BLE001  # the pictures fail, the runner goes on
            self._fail(batch, error)
            return
        seconds = self._clock() - started
        if len(self._timed) > MOST_SIZES:
            self._timed.clear()
        timed = self._timed.setdefault((group, len(batch)), [])
        timed[:] = [*timed, seconds][-8:]
        self._turn += 1
        self._steps += len(batch)
        self._last = (len(batch), seconds)
        for ticket, state in zip(batch, moved, strict=True):
            ticket.state, ticket.turn = state, self._turn
            self._charge(ticket, seconds / len(batch))
            if ticket.future.cancelled():
                continue
            if ticket.on_step is not None:
                try:
                    ticket.on_step(state)
                except BaseException as error:  # noqa: BLE001  # of who watches; it ends that picture alone
                    self._fail([ticket], error)
                    continue
            if self._engine.done(state):
                self._finish(ticket)

    def _charge(self, ticket: Ticket[S, R], seconds: float) -> None:
        ticket.busy += seconds
        self._virtual[ticket.client] = self._clock_of(ticket.client) + seconds / ticket.weight

    def _finish(self, ticket: Ticket[S, R]) -> None:
        assert ticket.state is not None
        started = self._clock()
        try:
            result = self._engine.finish(ticket.state)
        except BaseException as error:  # noqa: BLE001
            self._fail([ticket], error)
            return
        self._charge(ticket, self._clock() - started)
        self._leave(ticket)
        if ticket.future.set_running_or_notify_cancel():
            ticket.future.set_result(result)

    def _fail(self, tickets: Sequence[Ticket[S, R]], error: BaseException) -> None:
        for ticket in tickets:
            self._leave(ticket)
            with contextlib.suppress(CancelledError):
                if ticket.future.set_running_or_notify_cancel():
                    ticket.future.set_exception(error)

    def _leave(self, ticket: Ticket[S, R]) -> None:
        with self._changed:
            if ticket in self._active:
                self._active.remove(ticket)
            ticket.state = None
