"""Many judges at once on one `diptych judge`: how long they wait, and whether every vote is kept once.

    python bench/judging.py [--judges 200] [--votes 10] [--think 2.0] [--arrive 4.0] [--side 512]

Judges come within `--arrive` seconds and then all sit at once. Each does what the page does: asks for a pair, fetches
both pictures side by side, looks for a while (0.5 to 1.5 times `--think` seconds), votes, and asks for the next pair.
One vote in ten is sent twice at once, as a page does whose answer was lost. The server is a process of its own, this
one is all the judges; both share the processors of the machine. At the end the store is read: so many votes were
sent, so many are there, none twice.
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
from collections.abc import Iterator
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

    taken: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in ("next", "picture", "vote")})

    @contextlib.contextmanager
    def of(self, kind: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.taken[kind].append((time.perf_counter() - start) * 1000)


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


async def judge(port: int, votes: int, think: float, arrive: float, times: Times, rng: random.Random) -> list[str]:
    """Keys of the votes that this judge was told are kept."""
    cookies: dict[str, str] = {}
    one, other = Connection(port, cookies), Connection(port, cookies)
    loaded: set[str] = set()
    kept: list[str] = []

    async def following() -> dict[str, Any]:
        with times.of("next"):
            status, body = await one.ask("GET", "/api/next")
        assert status == 200, (status, body)
        return json.loads(body)  # type: ignore[no-any-return]

    async def picture(connection: Connection, name: str) -> int:
        with times.of("picture"):
            status, body = await connection.ask("GET", f"/p/{name}")
        assert status == 200, status
        return len(body)

    async def load(state: dict[str, Any]) -> None:
        for trial in state["trials"]:
            if trial["trial"] not in loaded:
                loaded.add(trial["trial"])
                left, right = trial["whole"]["pictures"]
                lengths = await asyncio.gather(picture(one, left), picture(other, right))
                assert lengths[0] == lengths[1]

    await asyncio.sleep(rng.uniform(0, arrive))
    state = await following()
    await load(state)
    await load(await following())
    while len(kept) < votes:
        await asyncio.sleep(think * rng.uniform(0.5, 1.5))
        trial = state["trials"][0]["trial"]
        choice = rng.choice(["left", "right", "tie", "both_bad"])
        vote = {"trial": trial, "choice": choice, "criterion": "overall", "key": secrets.token_hex(10), "seconds": 1.5}
        with times.of("vote"):
            asked = [one.ask("POST", "/api/vote", state["token"], vote)]
            if rng.random() < SENT_TWICE:
                asked.append(other.ask("POST", "/api/vote", state["token"], vote))
            answers = await asyncio.gather(*asked)
        for status, body in answers:
            assert status == 200, (status, body)
            assert json.loads(body)["status"] == "kept", body
        kept.append(vote["key"])
        state = await following()
        await load(state)
    one.close()
    other.close()
    return kept


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", type=int, default=200)
    parser.add_argument("--votes", type=int, default=10, help="of each judge")
    parser.add_argument("--think", type=float, default=2.0, help="seconds to a vote")
    parser.add_argument("--arrive", type=float, default=4.0, help="seconds within which all of them come")
    parser.add_argument("--side", type=int, default=512, help="pixels of a picture's side")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        make = [*PROMPTS, "-m", "fake-a", "-m", "fake-b", "-n", str(SAMPLES), "--size", f"{given.side}x{given.side}"]
        subprocess.run(  # noqa: S603  # the command is ours
            [sys.executable, "-m", "diptych.cli", "pilot", *make, "--no-measure"],
            env={**os.environ, HOME_VARIABLE: home}, check=True, capture_output=True,
        )  # fmt: skip
        times = Times()
        with served(home) as (port, process):

            async def all_of_them() -> list[str]:
                rng = random.Random(1)  # noqa: S311  # nothing is secret here
                judges = [
                    judge(port, given.votes, given.think, given.arrive, times, random.Random(rng.random()))  # noqa: S311
                    for _ in range(given.judges)
                ]
                return [key for keys in await asyncio.gather(*judges) for key in keys]

            before, start = processor_seconds(process), time.perf_counter()
            sent = asyncio.run(all_of_them())
            seconds = time.perf_counter() - start
            busy = processor_seconds(process) - before
        print(f"{given.judges} judges at once, {given.side}x{given.side}, {len(sent) / seconds:.0f} votes a second")
        print(f"the server used {busy / seconds:.0%} of one processor, of {os.cpu_count()}")
        print(f"{'ms':10}{'p50':>8}{'p95':>8}{'most':>8}{'requests':>10}")
        worst = 0.0
        for kind, taken in times.taken.items():
            p95 = statistics.quantiles(taken, n=20)[-1]
            worst = max(worst, p95)
            print(f"{kind:10}{statistics.median(taken):8.1f}{p95:8.1f}{max(taken):8.1f}{len(taken):10,}")
        print(f"p95 {'under' if worst < LIMIT_MS else 'NOT under'} {LIMIT_MS} ms")
        check(f"sqlite:///{home}/diptych.sqlite", sent)


if __name__ == "__main__":
    main()
