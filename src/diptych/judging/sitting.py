"""A sitting: people judge one study by one criterion, without knowing which model made which picture.

No HTTP in here. Everything that must last is in the store before it is answered for; what is in memory can be made anew
from it. A judge has up to AHEAD open trials: the one on the screen, and the next one to be loaded meanwhile. They stay
open until they are voted on, so a reload, another tab or a new start of the program shows the same pair again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from sqlalchemy import Connection

from diptych.arena import pairs
from diptych.arena.stopping import Rule
from diptych.arena.votes import CHOICES, CRITERIA
from diptych.errors import BadPicture, InvalidRequest, StoreError, StudyError
from diptych.judging import history
from diptych.judging.blind import Canvas, Look, Preparer, View
from diptych.judging.deck import Deck
from diptych.judging.known import Known, know, reveal
from diptych.judging.together import Together
from diptych.store.database import Store
from diptych.store.writer import Writer
from diptych.studies import votes as kept
from diptych.studies.results import Results
from diptych.studies.votes import TrialRow

AHEAD = 2
"""Open trials of a judge: one on the screen, one that is loaded."""
LOOK_AGAIN = 0.02
"""Growth of the votes after which what they say is computed anew; below 100 votes that is after each one."""
SOON = 0.1
"""Seconds until that is done where many vote at once: they are answered first."""
REVIEWED = 12
"""Pairs that the end shows again, with the names: the latest."""

Status = Literal["kept", "already", "unknown", "ended"]


@dataclass(frozen=True)
class Showing:
    """An open trial, ready for the screen. `token` and picture ids are random, and new for each trial."""

    trial: TrialRow
    prompt: str
    canvas: Canvas
    whole: tuple[str, str]
    """Ids of the pictures on the left and on the right."""
    detail: tuple[str, str] | None
    """Ids of the views at 1:1, where the whole pictures are not that already."""


@dataclass(eq=False)
class Seat:
    """One judge's place."""

    judge: str
    open: list[Showing] = field(default_factory=list)
    voted: list[tuple[str, str]] = field(default_factory=list)
    """Key and choice of the votes that count, as they were cast."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: bool = False
    final: set[str] = field(default_factory=set)
    """Keys of votes whose models were named at the end: they cannot be taken back."""
    review: list[dict[str, Any]] | None = None
    """What the end shows again, once it was asked for."""


@dataclass(frozen=True)
class Kept:
    """What became of a vote. already: another vote of this judge counts. unknown: no trial of this judge."""

    status: Status
    names: tuple[str, str] | None = None
    """Of the models left and right, where the sitting reveals after each vote."""


@dataclass(frozen=True)
class Progress:
    """For the quiet line below the pictures."""

    mine: int
    votes: int
    judges: int
    said: str
    more: str | None
    enough: bool


class Sitting:
    """All judges of one study and criterion, in one process. Used from one event loop.

        async with Sitting(store, results) as sitting:
            seat = await sitting.join()
            for showing in await sitting.next(seat): ...
            await sitting.vote(seat, showing.trial.token, "left", key)

    marked: labels of models whose pictures carry a mark that can be seen; the end says so. rng: draws pairs, prompts
    and sides. token: makes ids for the browser.

    Raises StudyError where there is nothing to compare, InvalidRequest for a criterion that is none.
    """

    def __init__(
        self,
        store: Store,
        results: Results,
        *,
        criterion: str = CRITERIA[0],
        rule: Rule | None = None,
        uniform: bool = False,
        reveals: bool = False,
        marked: Sequence[str] = (),
        rng: np.random.Generator | None = None,
        token: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        if criterion not in CRITERIA:
            raise InvalidRequest(f"criterion is {criterion!r}; it is {', '.join(CRITERIA)}.")
        self.criterion, self.reveals = criterion, reveals
        self._store, self._results, self._rule = store, results, rule or Rule()
        self._deck = Deck.of(results)
        self._uniform = uniform
        self._rng = rng or np.random.default_rng()
        self._token = token
        self._preparer = Preparer(store.pictures)
        self._preparing: asyncio.Future[None] | None = None
        self._writer: Writer | None = None
        self._seats: dict[str, Seat] = {}
        self._numbers: dict[str, int] = {}
        self._on_screen: dict[str, tuple[TrialRow, View, int]] = {}
        self._reviewed: dict[str, tuple[str, str]] = {}
        self._looking = asyncio.Lock()
        self._changes = 0
        self._later: asyncio.Future[None] | None = None
        self._voting = 0  # votes that are being written
        self.marked = tuple(marked)
        self.unreadable: list[str] = []
        """What was said of pictures that cannot be shown."""
        with store.reading() as connection:
            before = history.past(connection, results.id, criterion)
        for one in before:
            self._number(one.trial.judge_id)
        self._shown = pairs.Shown.of(
            self._deck.pictures,
            [one.trial.left_sample_id for one in before],
            [one.trial.right_sample_id for one in before],
            [self._number(one.trial.judge_id) for one in before],
        )
        self._known = self._look()
        self._count = self._known.votes
        self._new_judge = Together(self._write_judges)
        self._new_trial = Together(self._write_trials)
        self._new_vote = Together(self._write_votes)

    async def __aenter__(self) -> Sitting:
        self._writer = Writer(self._store)
        self._preparing = asyncio.ensure_future(self._prepare())
        return self

    async def __aexit__(self, *failure: object) -> None:
        for task in (self._preparing, self._later):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)
            self._writer = None
        self._preparer.close()

    # Judges

    async def join(self) -> Seat:
        """A new judge."""
        judge = await self._new_judge(None)
        return self._seats.setdefault(judge, Seat(judge))

    async def seat(self, judge: str) -> Seat | None:
        """The place of a judge who was here before; None for nobody's id."""
        there = self._seats.get(judge)
        if there is not None:
            return there

        seat = Seat(judge)
        if not await self._remember(seat):
            return None
        return self._seats.setdefault(judge, seat)

    async def _remember(self, seat: Seat) -> bool:
        """Fill a seat with what is in the store of this judge; False for nobody's id."""

        def read() -> list[history.Past] | None:
            with self._store.reading() as connection:
                if not kept.is_judge(connection, seat.judge):
                    return None
                return history.past(connection, self._deck.study_id, self.criterion, seat.judge)

        past = await asyncio.to_thread(read)
        if past is None:
            return False
        voted = sorted((one for one in past if one.vote is not None), key=lambda one: one.vote or 0)
        seat.voted = [(one.key or "", one.choice or "") for one in voted]
        for one in past:
            if one.vote is None:
                await self._reopen(seat, one.trial)
        return True

    # Trials

    async def next(self, seat: Seat) -> tuple[Showing, ...]:
        """The judge's open trials, the one for the screen first. None where nothing is left to see.

        Who has none open gets one, to see it soon; who has one gets AHEAD of them.
        """
        async with seat.lock:
            wanted = AHEAD if seat.open else 1
            while len(seat.open) < wanted and not seat.ended:
                showing = await self._another(seat)
                if showing is None:
                    break
                seat.open.append(showing)
            return tuple(seat.open)

    async def picture(self, seat: Seat, name: str) -> bytes | None:
        """What the browser gets of a picture, once both of its trial are ready. None for no id of this judge."""
        again = self._reviewed.get(name)
        if again is not None and again[0] == seat.judge:
            return await self._preparer.small(again[1])
        found = self._on_screen.get(name)
        if found is None or found[0].judge_id != seat.judge:
            return None
        trial, view, side = found
        look = await self._preparer.look(*self._hashes(trial))
        return look.body(view, side)

    async def _prepare(self) -> None:
        """Encode pictures before the first judge asks for them, as many as are kept."""
        for left, right in self._deck.first_pairs():
            if self._preparer.is_full:
                return
            with contextlib.suppress(StoreError, BadPicture):  # whoever draws it will say so
                await self._preparer.look(self._deck.hashes[left], self._deck.hashes[right])

    async def _another(self, seat: Seat) -> Showing | None:
        number = self._number(seat.judge)
        while True:
            drawn = pairs.next_trial(self._shown, number, self._rng, None if self._uniform else self._known.information)
            if drawn is None:
                return None
            self._shown = self._shown.and_also(drawn, number)  # before anything is waited for: nobody else gets it
            both = drawn.left_sample, drawn.right_sample
            try:
                look = await self._preparer.look(*(self._deck.hashes[sample] for sample in both))
            except (StoreError, BadPicture):
                await self._drop_unreadable(both)
                continue
            return self._showing(await self._new_trial((seat.judge, *both)), look)

    async def _write_judges(self, many: Sequence[None]) -> list[str]:
        return list(await self._write(lambda connection: kept.new_judges(connection, len(many))))

    async def _write_trials(self, many: Sequence[tuple[str, int, int]]) -> list[TrialRow]:
        study, policy = self._deck.study_id, "uniform" if self._uniform else "informative"
        return list(await self._write(lambda connection: kept.open_trials(connection, study, many, policy)))

    async def _reopen(self, seat: Seat, trial: TrialRow, *, first: bool = False) -> None:
        """Put a trial on a judge's list again, unless its pictures are gone."""
        if trial.left_sample_id in self._deck and trial.right_sample_id in self._deck:
            with contextlib.suppress(StoreError, BadPicture):
                showing = self._showing(trial, await self._preparer.look(*self._hashes(trial)))
                seat.open.insert(0 if first else len(seat.open), showing)

    def _showing(self, trial: TrialRow, look: Look) -> Showing:
        def ids(view: View) -> tuple[str, str]:
            left, right = self._token(), self._token()
            self._on_screen[left], self._on_screen[right] = (trial, view, 0), (trial, view, 1)
            return left, right

        return Showing(
            trial=trial,
            prompt=self._deck.prompts[self._deck.prompt_of[trial.left_sample_id]],
            canvas=look.canvas,
            whole=ids("whole"),
            detail=None if look.detail is None else ids("detail"),
        )

    def _close(self, showing: Showing) -> None:
        for name in (*showing.whole, *(showing.detail or ())):
            self._on_screen.pop(name, None)

    def _hashes(self, trial: TrialRow) -> tuple[str, str]:
        return self._deck.hashes[trial.left_sample_id], self._deck.hashes[trial.right_sample_id]

    async def _drop_unreadable(self, samples: tuple[int, int]) -> None:
        for sample in samples:
            try:
                await self._preparer.readable(self._deck.hashes[sample])
            except (StoreError, BadPicture) as error:
                if sample in self._deck:
                    self.unreadable.append(str(error))
                    self._deck = self._deck.without(sample)
        old = self._shown
        self._shown = pairs.Shown.of(
            self._deck.pictures,
            old.pictures.sample[old.first].tolist(),
            old.pictures.sample[old.second].tolist(),
            old.judge.tolist(),
        )

    # Votes

    async def vote(
        self,
        seat: Seat,
        token: str,
        choice: str,
        key: str,
        *,
        criterion: str | None = None,
        seconds: float | None = None,
    ) -> Kept:
        """Keep a vote, once: the same key again changes nothing. criterion: where it was cast in an earlier sitting.

        Raises InvalidRequest for a choice, criterion or key that cannot be.
        """
        about = criterion or self.criterion
        if choice not in CHOICES:
            raise InvalidRequest(f"choice is {choice!r}; it is {', '.join(CHOICES)}.")
        if about not in CRITERIA:
            raise InvalidRequest(f"criterion is {about!r}; it is {', '.join(CRITERIA)}.")
        if not 8 <= len(key) <= 64:
            raise InvalidRequest("The key of a vote has 8 to 64 characters.")
        async with seat.lock:
            if seat.ended:
                return Kept("ended")

            self._voting += 1
            try:
                status, row, is_new = await self._new_vote(_Ballot(seat.judge, token, choice, key, about, seconds))
            finally:
                self._voting -= 1
            if row is None or row.study_id != self._deck.study_id or about != self.criterion:
                return Kept(status)
            there = next((one for one in seat.open if one.trial.token == token), None)
            if there is not None and (is_new or status == "already"):
                seat.open.remove(there)
                self._close(there)
            if is_new:
                seat.voted.append((key, choice))
                await self._changed(choice, 1)
        return Kept(status, self._names(row) if self.reveals else None)

    async def _write_votes(self, many: Sequence[_Ballot]) -> list[_Cast]:
        return list(await self._write(lambda connection: [_cast(connection, ballot) for ballot in many]))

    async def take_back(self, seat: Seat, of: str, key: str) -> bool:
        """Take the vote with the key `of` back, and show its pair again. Doing so twice is doing so once.

        False where nothing was: it is no vote of this judge, or its models have been revealed.
        Raises InvalidRequest for keys that cannot be.
        """
        if not (8 <= len(key) <= 64 and 8 <= len(of) <= 64):
            raise InvalidRequest("The key of a vote has 8 to 64 characters.")
        async with seat.lock:
            if seat.ended or self.reveals or of in seat.final:
                return False

            def back(connection: Connection) -> tuple[TrialRow, str] | None:
                found = history.author(connection, of)
                if found is None or found[0].judge_id != seat.judge:
                    return None
                kept.take_back(connection, of, key)
                return found

            found = await self._write(back)
            if found is None:
                return False
            there = next((vote for vote in seat.voted if vote[0] == of), None)
            if there is not None:  # else it was taken back before, or is of another study
                seat.voted.remove(there)
                await self._reopen(seat, found[0], first=True)
                await self._changed(there[1], -1)
            return True

    def _names(self, trial: TrialRow) -> tuple[str, str]:
        labels, of = self._deck.labels, self._deck.contestants
        return labels[of[trial.left_sample_id]], labels[of[trial.right_sample_id]]

    # What is known

    @property
    def known(self) -> Known:
        """As of the last time that it was computed; `look_again` does."""
        return self._known

    def progress(self, seat: Seat) -> Progress:
        mine = sum(choice != "skip" for _, choice in seat.voted)
        now = self._known
        return Progress(mine, self._count, max(now.judges, int(mine > 0)), now.said, now.more, now.enough)

    def last(self, seat: Seat) -> str | None:
        """Key of the vote that this judge can take back."""
        key = seat.voted[-1][0] if seat.voted and not self.reveals else None
        return None if key in seat.final else key

    async def look_again(self) -> None:
        """Compute what the votes say from what is in the store."""
        async with self._looking:
            self._changes = 0
            self._known = await asyncio.to_thread(self._look)
            self._count = self._known.votes

    async def end(self, seat: Seat) -> dict[str, Any]:
        """End this judge's sitting: who won, and which was which. No vote of this judge is taken until `go_on`."""
        async with seat.lock:
            seat.ended = True
            seat.final |= {key for key, _ in seat.voted}
            for showing in seat.open:
                self._close(showing)
            seat.open.clear()
        await self.look_again()
        return await asyncio.to_thread(self._reveal, seat)

    async def go_on(self, seat: Seat) -> None:
        """Take votes of this judge again, after the end. The pairs that were open then are shown again."""
        async with seat.lock:
            if seat.ended:
                await self._remember(seat)
                seat.ended, seat.review = False, None

    def mark(self, seat: Seat) -> str:
        """Stands for this judge, study and criterion, and tells nothing of them: what a browser keeps of the end."""
        what = f"{self._deck.study_id} {self.criterion} {seat.judge}"
        return hashlib.blake2b(what.encode(), digest_size=9).hexdigest()

    def _look(self) -> Known:
        votes = kept.load(self._store, self._deck.study_id, kind="person").votes
        return know(votes, self._deck.labels, self.criterion, self._rule)

    def _reveal(self, seat: Seat) -> dict[str, Any]:
        votes = kept.load(self._store, self._deck.study_id, kind="person").votes
        facts = reveal(self._known, votes, self._results, self.criterion)
        if seat.review is None:
            seat.review = self._review(seat)
        mine = sum(choice != "skip" for _, choice in seat.voted)
        left = self._deck.trials > len(seat.voted)
        return {**facts, "mine": mine, "left": left, "marked": list(self.marked), "review": seat.review}

    def _review(self, seat: Seat) -> list[dict[str, Any]]:
        """The judge's latest votes, with the names."""
        with self._store.reading() as connection:
            past = history.past(connection, self._deck.study_id, self.criterion, seat.judge)
        said = sorted(
            (one for one in past if one.vote is not None and one.choice in ("left", "right", "tie", "both_bad")),
            key=lambda one: one.vote or 0,
        )
        review = []
        for one in reversed(said[-REVIEWED:]):
            sides = one.trial.left_sample_id, one.trial.right_sample_id
            if not all(sample in self._deck for sample in sides):
                continue
            names = [self._token() for _ in sides]
            for name, sample in zip(names, sides, strict=True):
                self._reviewed[name] = seat.judge, self._deck.hashes[sample]
            review.append(
                {
                    "prompt": self._deck.prompts[self._deck.prompt_of[sides[0]]],
                    "choice": one.choice,
                    "models": [self._deck.contestants[sample] for sample in sides],
                    "pictures": names,
                }
            )
        return review

    async def _changed(self, choice: str, by: int) -> None:
        """Count at once, and look again now and then: at once where no other vote waits, else later, in nobody's."""
        self._count += by if choice != "skip" else 0
        self._changes += 1
        if self._due and not self._voting:
            await self.look_again()
        if self._due and (self._later is None or self._later.done()):
            self._later = asyncio.ensure_future(self._catch_up())

    @property
    def _due(self) -> bool:
        return self._changes >= max(1, LOOK_AGAIN * self._count) and not self._looking.locked()

    async def _catch_up(self) -> None:
        while self._due:
            await asyncio.sleep(SOON)
            await self.look_again()

    # Small things

    def _number(self, judge: str) -> int:
        return self._numbers.setdefault(judge, len(self._numbers))

    async def _write(self, do: Callable[[Connection], Any]) -> Any:
        if self._writer is None:
            raise StoreError("This sitting is not open.")
        return await self._writer.write(do)


@dataclass(frozen=True)
class _Ballot:
    """A vote that is to be written."""

    judge: str
    token: str
    choice: str
    key: str
    criterion: str
    seconds: float | None


_Cast = tuple[Status, TrialRow | None, bool]


def _cast(connection: Connection, ballot: _Ballot) -> _Cast:
    """What became of the vote, its trial, and whether it was written now: the first vote on a trial is the one."""
    try:
        row = kept.trial(connection, ballot.token)
    except StudyError:
        return "unknown", None, False
    if row.judge_id != ballot.judge:
        return "unknown", None, False
    by_key, counting = history.before(connection, row.id, ballot.criterion, ballot.key)
    if by_key is not None:  # sent again; it may have been taken back meanwhile
        return ("kept" if by_key == (row.id, ballot.criterion) else "unknown"), row, False
    if counting is not None:
        return "already", row, False
    kept.cast(connection, row.id, ballot.choice, ballot.key, criterion=ballot.criterion, seconds=ballot.seconds)
    return "kept", row, True
