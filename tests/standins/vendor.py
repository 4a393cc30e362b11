"""What all stand-ins share: what a test tells a vendor to do, and what the vendor saw and charged for.

    with Google() as vendor:                                    # serves on loopback until the end of the block
        vendor.next(RateLimited(retry_after=2), Refused())      # the next request, and the one after it
        vendor.next(ServerError(), step="poll")                 # the next poll
        vendor.when(lambda seen: "fox" in seen.text, Slow(seconds=1))
        ...
        assert len(vendor.charges) == 1
        assert vendor.requests[0].headers["x-goog-api-key"] == vendor.key

A stand-in bills like a vendor: a picture is charged when it is started, before it is answered. With a journal each
charge is on disk, fsynced, before that.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins import pictures
from tests.standins.answering import Answer, Seen, Step, sleep
from tests.standins.faults import (
    BadPicture,
    Dropped,
    Expired,
    Failed,
    Fault,
    Lost,
    OtherSize,
    Pending,
    RateLimited,
    Refused,
)
from tests.standins.server import serve

Charge = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A picture that was started, and charged."""

    id: str
    data: bytes
    media_type: str
    width: int
    height: int
    seed: int

    @property
    def extension(self) -> str:
        return self.media_type.removeprefix("image/")


@dataclass
class Job:
    """Work that is asked for, polled and fetched in separate requests."""

    id: str
    model: str
    asked: dict[str, Any]
    made: list[Made]
    fault: Fault | None
    ready_at: float
    rounds: int
    polled: int = 0
    cancelled: bool = False

    @property
    def running(self) -> bool:
        """By the clock alone: whether it counts against the number of jobs at a time."""
        return not self.cancelled and time.monotonic() < self.ready_at

    @property
    def ready(self) -> bool:
        return not self.running and self.polled > self.rounds

    @property
    def progress(self) -> float:
        return min(0.95, self.polled / (self.rounds + 1))


@dataclass
class _Rule:
    matches: Callable[[Seen], bool]
    fault: Fault
    times: int | None = None
    rate: float = 1.0
    chance: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def fires(self, seen: Seen) -> bool:
        if self.times == 0 or not self.matches(seen) or (self.rate < 1 and self.chance.random() >= self.rate):
            return False
        self.times = self.times - 1 if self.times is not None else None
        return True


class Vendor:
    """A vendor that speaks its wire protocol on loopback, and that a test controls. Safe to use from any thread."""

    name = "vendor"

    def __init__(
        self,
        *,
        key: str = "test-key",
        seconds: float = 0.0,
        rounds: int = 1,
        journal: str | os.PathLike[str] | None = None,
        retired: Iterable[str] = (),
    ) -> None:
        """`seconds`: how long a generation takes. `rounds`: polls that say "not yet" before the one that says ready.

        `retired`: models that are answered as gone.
        """
        self.key, self.seconds, self.rounds, self.retired = key, seconds, rounds, set(retired)
        self.reply: str | Callable[[str], str] | None = None
        """What text requests are answered with, or a function of the prompt."""
        self.url = ""
        self.jobs: dict[str, Job] = {}
        self.pictures: dict[str, bytes] = {}
        """By the id of their charge, as they were sent."""
        self.problems: list[str] = []
        """Tracebacks: mistakes of the stand-in itself. Leaving the context raises if there are any."""
        self.gate = threading.Event()
        self._journal = Path(journal) if journal is not None else None
        self._changed = threading.Condition(threading.RLock())
        self._charges: list[Charge] = []
        self._requests: list[Seen] = []
        self._queue: list[tuple[str, Fault]] = []
        self._rules: list[_Rule] = []
        self._started: Counter[str] = Counter()
        self._ids = 0
        self._stack = ExitStack()

    # What a test does.

    def next(self, *faults: Fault | None, step: str = "generate") -> None:
        """The next requests of that kind meet these faults, one each in this order; None is a good answer.

        `step`: `generate` (whatever starts and bills something), `poll`, `result` (fal), `picture`, `cancel`, `other`.
        """
        with self._changed:
            self._queue += [(step, fault or Fault()) for fault in faults]

    def when(self, matches: Callable[[Seen], bool], fault: Fault, *, times: int | None = None) -> None:
        """Requests that match meet the fault, the first `times` of them if given. What `next` set comes before."""
        with self._changed:
            self._rules.append(_Rule(matches, fault, times))

    def often(self, fault: Fault, rate: float, *, step: str = "generate", seed: int = 0) -> None:
        """That part of the requests meets the fault; which ones follows from the seed and their order."""
        with self._changed:
            self._rules.append(
                _Rule(lambda seen: seen.step == step, fault, rate=rate, chance=np.random.default_rng(seed))
            )

    def release(self) -> None:
        """Let every request that is `Held` go on, and those to come."""
        self.gate.set()

    def expire(self) -> None:
        """From now on no picture made so far is at its address any more."""
        with self._changed:
            for job in self.jobs.values():
                job.fault = Expired()

    def wait_until(self, condition: Callable[[Self], bool], timeout: float = 10.0) -> None:
        """Wait for what requests do, such as `lambda vendor: len(vendor.charges) == 3`. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                stood = f"{len(self._requests)} requests, {len(self._charges)} charges"
                raise TimeoutError(f"{self.name} stood at {stood}.")

    @property
    def charges(self) -> list[Charge]:
        """One for every picture (or text) that was started, oldest first: id, what, prompt, model, seed, when."""
        with self._changed:
            return list(self._charges)

    @property
    def requests(self) -> list[Seen]:
        """Every request, oldest first, also those that were refused or met a fault."""
        with self._changed:
            return list(self._requests)

    def seen(self, step: str) -> list[Seen]:
        return [request for request in self.requests if request.step == step]

    def __enter__(self) -> Self:
        self.gate.clear()
        self.url = self._stack.enter_context(serve(self.app))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.gate.set()
        self._stack.close()
        if self.problems and kind is None:
            raise AssertionError("The stand-in itself is broken:\n" + "\n".join(self.problems))

    @cached_property
    def app(self) -> Starlette:
        """To serve the same vendor at a second address: `with serve(vendor.app) as other: ...`."""
        return Starlette(routes=list(self.routes()))

    # What a vendor's own file says.

    def routes(self) -> Sequence[Route]:
        raise NotImplementedError

    def error(self, status: int, message: str, **more: Any) -> Response:
        """An error in the vendor's shape."""
        raise NotImplementedError

    def unauthorized(self, seen: Seen) -> Response | None:
        """The vendor's answer if the request does not carry the key."""
        raise NotImplementedError

    def wrong_key(self, status: int) -> Response:
        return self.error(status or 401, "The key is not valid.")

    def out_of_credits(self) -> Response:
        return self.error(402, "Insufficient credits.")

    def rate_limited(self, fault: RateLimited) -> Response:
        return self.error(429, "Too many requests.")

    def invalid(self, message: str) -> Response:
        return self.error(422, message)

    def gone(self, model: str) -> Response:
        return self.error(404, f"The model {model!r} does not exist.")

    def stream_error(self) -> bytes:
        """An error as an event of a stream."""
        return b""

    # What a vendor's own file uses.

    def route(
        self,
        path: str,
        handler: Callable[[Seen, Fault | None], Any],
        *,
        step: str = "generate",
        method: str = "POST",
        key: bool = True,
    ) -> Route:
        return Route(path, Step(self, handler, step=step, key=key), methods=[method])

    def new_id(self) -> str:
        """32 hexadecimal digits: the first, second, ... of every vendor of this name are the same in every run."""
        with self._changed:
            self._ids += 1
            return hashlib.sha256(f"{self.name} {self._ids}".encode()).hexdigest()[:32]

    def check_model(self, model: str) -> None:
        if model in self.retired:
            raise Answer(self.gone(model))

    def charge(
        self, prompt: str, *, model: str, seed: int | None = None, what: Literal["picture", "text"] = "picture"
    ) -> Charge:
        """Bill for something that is started now. With a journal it is on disk when this returns."""
        charge: Charge = {
            "id": self.new_id(), "vendor": self.name, "what": what, "prompt": prompt, "model": model, "seed": seed,
            "when": time.time(),
        }  # fmt: skip
        with self._changed:
            if self._journal is not None:
                with self._journal.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(charge) + "\n")
                    stream.flush()
                    os.fsync(stream.fileno())
            self._charges.append(charge)
            self._changed.notify_all()
        return charge

    def make(
        self,
        prompt: str,
        *,
        model: str,
        seed: int | None,
        size: tuple[int, int],
        media_type: str = "image/png",
        count: int = 1,
        fault: Fault | None = None,
    ) -> list[Made]:
        """Start `count` pictures: each is charged, then drawn as asked, or as the fault has it.

        Without a seed the vendor takes one, another each time, but the same in every run.
        """
        made = []
        width, height = (fault.width, fault.height) if isinstance(fault, OtherSize) else size
        for index in range(count):
            charge = self.charge(prompt, model=model, seed=seed)
            with self._changed:
                self._started[f"{model} {prompt}"] += 1
                chosen = seed if seed is not None else self._started[f"{model} {prompt}"] + 1_000_000
            data = pictures.draw(
                prompt, model=model, seed=chosen, width=width, height=height, media_type=media_type, index=index
            )
            if isinstance(fault, BadPicture):
                data = _spoiled(fault.kind, data, width, height)
            self.pictures[charge["id"]] = data
            made.append(Made(charge["id"], data, media_type, width, height, chosen))
        return made

    def start(self, asked: dict[str, Any], made: list[Made], *, model: str, fault: Fault | None = None) -> Job:
        rounds = fault.rounds if isinstance(fault, Pending | Failed) else self.rounds
        job = Job(
            self.new_id(), model, asked, made, fault, time.monotonic() + self.seconds, rounds
        )  # fmt: skip
        with self._changed:
            self.jobs[job.id] = job
        return job

    def job(self, identity: str) -> Job | None:
        """The job, or None if the vendor does not know it (any more)."""
        job = self.jobs.get(identity)
        return None if job is None or isinstance(job.fault, Lost) else job

    def picture(self, seen: Seen, fault: Fault | None) -> Response:
        """The bytes behind the address of a picture: path parameters `id` and `index`."""
        job = self.jobs.get(seen.params["id"])
        index = int(seen.params.get("index", 0))
        if job is None or index >= len(job.made):
            return Response("Not found", 404, media_type="text/plain")
        expired = job.fault if isinstance(job.fault, Expired) else fault
        if isinstance(expired, Expired):
            return Response("<Error><Code>AuthenticationFailed</Code></Error>", expired.status, media_type="text/xml")
        made = job.made[index]
        data = _spoiled(fault.kind, made.data, made.width, made.height) if isinstance(fault, BadPicture) else made.data
        return Response(data, media_type=made.media_type)

    def text(self, prompt: str, *, model: str, images: int = 0) -> str:
        """The text that answers a prompt; it is charged."""
        self.charge(prompt, model=model, what="text")
        if callable(self.reply):
            return self.reply(prompt)
        if self.reply is not None:
            return self.reply
        return f"{model} read {len(prompt.split())} words and {images} pictures."

    async def work(self) -> None:
        """Take the time that a generation takes."""
        await sleep(self.seconds)

    # What answers requests.

    def take(self, seen: Seen) -> Fault | None:
        """The fault that this request meets."""
        with self._changed:
            for position, (step, fault) in enumerate(self._queue):
                if step == seen.step:
                    del self._queue[position]
                    return None if type(fault) is Fault else fault
            return next((rule.fault for rule in self._rules if rule.fires(seen)), None)

    def drops_unread(self, seen: Seen) -> bool:
        """Whether the next request of this kind is hung up on before its body is read."""
        with self._changed:
            first = next((fault for step, fault in self._queue if step == seen.step), None)
        return isinstance(first, Dropped) and not first.charged

    def record(self, seen: Seen) -> None:
        with self._changed:
            self._requests.append(seen)
            self._changed.notify_all()

    def broken(self) -> Response:
        with self._changed:
            self.problems.append(traceback.format_exc())
        return JSONResponse({"stand-in": traceback.format_exc()}, 500)


def refusal_is_charged(fault: Refused, usually: bool) -> bool:
    return usually if fault.charged is None else fault.charged


def _spoiled(kind: str, data: bytes, width: int, height: int) -> bytes:
    if kind == "truncated":
        return data[: len(data) // 2]
    if kind == "bomb":
        return pictures.bomb()
    if kind == "black":
        return pictures.black(width, height)
    return b"" if kind == "empty" else hashlib.sha512(data).digest() * 8
