"""Many judges at once on one `diptych judge`: how long they wait, and whether every vote is kept once.

    python bench/judging.py [--judges 200] [--votes 10] [--think 2.0] [--arrive 4.0] [--side 512] [--rounds 5]

Twice, each time on a server of its own that has been up for two seconds:

as people sit      Judges come within `--arrive` seconds. Each does what the page does: asks for a pair, fetches both
                   pictures side by side, looks for a while (0.5 to 1.5 times `--think` seconds), votes, and asks for
                   the next pair. One vote in ten is sent twice at once, as a page does whose answer was lost.
in one instant     All judges do the same in the same instant, `--rounds` times, and wait for each other in between:
                   connect and get the page, ask for the pair, vote. What `page` takes is what HTTP and the judges' own
                   process take: a file of the page is sent, and no more is done.

The server is a process of its own, all judges are one other process of plain asyncio streams, without an HTTP library;
both share the processors of the machine, and both are reported. Milliseconds are the judges': from before a request is
written to after its answer was read, waiting for a turn in their own process included. At the end the store is read: so
many votes were sent, so many are there, none twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from diptych import store
from diptych.settings import HOME_VARIABLE

PROMPTS = ("a lighthouse at dusk", "a fox in snow", "a bowl of oranges on a table")
SAMPLES = 8
SENT_TWICE = 0.1
LIMIT_MS = 200
"""What is wanted of the 95th percentile."""


@dataclass
class Times:
    """Milliseconds of every request, by kind."""

    taken: dict[str, list[float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def of(self, kind: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.taken.setdefault(kind, []).append((time.perf_counter() - start) * 1000)


class Connection:
    """One kept-alive connection that asks one thing at a time: lean, to leave the processors to the server."""

    def __init__(self, port: int, cookies: dict[str, str]) -> None:
        self._port, self._cookies = port, cookies
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, ours: str = "page", body: Any = None) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", f"X-Diptych: {ours}"]
        if self._cookies:
            lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in self._cookies.items()))
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        for name, value in re.findall(r"set-cookie: ([^=]+)=([^;]*)", head):
            self._cookies[name] = value
        length = re.search(r"content-length: (\d+)", head)
        return int(head.split(" ", 2)[1]), await reader.readexactly(int(length[1]) if length else 0)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


@dataclass
class Judge:
    """One browser: two connections and its cookies."""

    port: int
    times: Times
    rng: random.Random
    state: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    """Keys of the votes that this judge was told are kept."""
    loaded: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        cookies: dict[str, str] = {}
        self.one, self.other = Connection(self.port, cookies), Connection(self.port, cookies)

    async def page(self) -> None:
        with self.times.of("page"):
            status, _ = await self.one.ask("GET", "/app.css")
        assert status == 200, status

    async def following(self, kind: str = "next") -> dict[str, Any]:
        with self.times.of(kind):
            status, body = await self.one.ask("GET", "/api/next")
        assert status == 200, (status, body)
        self.state = json.loads(body)
        return self.state

    async def picture(self, connection: Connection, name: str) -> int:
        with self.times.of("picture"):
            status, body = await connection.ask("GET", f"/p/{name}")
        assert status == 200, status
        return len(body)

    async def load(self) -> None:
        for trial in self.state["trials"]:
            if trial["trial"] not in self.loaded:
                self.loaded.add(trial["trial"])
                left, right = trial["whole"]["pictures"]
                lengths = await asyncio.gather(self.picture(self.one, left), self.picture(self.other, right))
                assert lengths[0] == lengths[1]

    async def vote(self) -> None:
        trial, choice = self.state["trials"][0]["trial"], self.rng.choice(["left", "right", "tie", "both_bad"])
        vote = {"trial": trial, "choice": choice, "criterion": "overall", "key": secrets.token_hex(10), "seconds": 1.5}
        with self.times.of("vote"):
            asked = [self.one.ask("POST", "/api/vote", self.state["token"], vote)]
            if self.rng.random() < SENT_TWICE:
                asked.append(self.other.ask("POST", "/api/vote", self.state["token"], vote))
            answers = await asyncio.gather(*asked)
        for status, body in answers:
            assert status == 200, (status, body)
            assert json.loads(body)["status"] == "kept", body
        self.kept.append(str(vote["key"]))

    def close(self) -> None:
        self.one.close()
        self.other.close()


async def as_people_sit(judges: list[Judge], given: argparse.Namespace) -> None:
    async def sit(judge: Judge) -> None:
        await asyncio.sleep(judge.rng.uniform(0, given.arrive))
        await judge.following()
        await judge.load()
        await judge.following()
        await judge.load()
        while len(judge.kept) < given.votes:
            await asyncio.sleep(given.think * judge.rng.uniform(0.5, 1.5))
            await judge.vote()
            await judge.following()
            await judge.load()

    await asyncio.gather(*map(sit, judges))


async def in_one_instant(judges: list[Judge], given: argparse.Namespace) -> None:
    barrier = asyncio.Barrier(len(judges))

    async def sit(judge: Judge) -> None:
        await barrier.wait()
        await judge.page()
        for number in range(given.rounds):
            await barrier.wait()
            await asyncio.sleep(0.3)
            await barrier.wait()
            await judge.following("next" if number else "first next")
            await barrier.wait()
            await asyncio.sleep(0.3)
            await barrier.wait()
            await judge.vote()

    await asyncio.gather(*map(sit, judges))


@contextlib.contextmanager
def served(home: str) -> Iterator[tuple[int, int]]:
    """Port and process id of a `diptych judge` of its own."""
    command = [sys.executable, "-m", "diptych.cli", "judge", "--no-open", "--port", "0"]
    environment = {**os.environ, HOME_VARIABLE: home}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)/", line)
        assert found, line
        try:
            yield int(found[1]), process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def processor_seconds(process: int) -> float:
    """User and system time of a process. Source: proc(5)."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check(url: str, sent: list[str]) -> None:
    opened = store.open(url)
    with opened.reading() as connection:
        rows = connection.execute(
            text("SELECT v.key, t.id, t.judge_id FROM votes v JOIN trials t ON t.id = v.trial_id")
        ).fetchall()
    opened.close()
    there = [row[0] for row in rows]
    lost, doubled = set(sent) - set(there), len(there) - len({(row[1], row[2]) for row in rows})
    print(f"votes sent {len(sent):,}, kept {len(there):,}, lost {len(lost)}, doubled {doubled}")
    assert not lost
    assert not doubled
    assert len(there) == len(sent)


def measure(
    home: str, what: Callable[[list[Judge], argparse.Namespace], Awaitable[None]], given: argparse.Namespace
) -> None:
    """Print the table, and raise AssertionError where a vote is lost or doubled."""
    times, rng = Times(), random.Random(1)  # noqa: S311  # nothing is secret here
    with served(home) as (port, process):
        time.sleep(2)
        before, own, start = processor_seconds(process), time.process_time(), time.perf_counter()

        async def all_of_them() -> list[str]:
            judges = [Judge(port, times, random.Random(rng.random())) for _ in range(given.judges)]  # noqa: S311
            await what(judges, given)
            for one in judges:
                one.close()
            return [key for one in judges for key in one.kept]

        sent = asyncio.run(all_of_them())
        seconds = time.perf_counter() - start
        busy, own = processor_seconds(process) - before, time.process_time() - own
    print(f"\n{what.__name__.replace('_', ' ')}: {given.judges} judges, {len(sent) / seconds:.0f} votes a second")
    print(f"the server used {busy / seconds:.0%} of one processor, the judges {own / seconds:.0%}, of {os.cpu_count()}")
    print(f"{'ms':12}{'p50':>8}{'p95':>8}{'most':>8}{'requests':>10}")
    worst = 0.0
    for kind, taken in times.taken.items():
        p95 = statistics.quantiles(taken, n=20)[-1]
        worst = max(worst, p95)
        print(f"{kind:12}{statistics.median(taken):8.1f}{p95:8.1f}{max(taken):8.1f}{len(taken):10,}")
    print(f"p95 {'under' if worst < LIMIT_MS else 'NOT under'} {LIMIT_MS} ms")
    check(f"sqlite:///{home}/diptych.sqlite", sent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", type=int, default=200)
    parser.add_argument("--votes", type=int, default=10, help="of each judge, as people sit")
    parser.add_argument("--think", type=float, default=2.0, help="seconds to a vote")
    parser.add_argument("--arrive", type=float, default=4.0, help="seconds within which all of them come")
    parser.add_argument("--side", type=int, default=512, help="pixels of a picture's side")
    parser.add_argument("--rounds", type=int, default=5, help="votes of each judge, in one instant")
    given = parser.parse_args()
    print(f"{given.side}x{given.side}, load of the machine before: {os.getloadavg()[0]:.1f}")
    for what in (as_people_sit, in_one_instant):
        with tempfile.TemporaryDirectory() as home:
            how = ["-n", str(SAMPLES), "--size", f"{given.side}x{given.side}", "--no-measure"]
            subprocess.run(  # noqa: S603  # the command is ours
                [sys.executable, "-m", "diptych.cli", "pilot", *PROMPTS, "-m", "fake-a", "-m", "fake-b", *how],
                env={**os.environ, HOME_VARIABLE: home}, check=True, capture_output=True,
            )  # fmt: skip
            measure(home, what, given)


if __name__ == "__main__":
    main()
