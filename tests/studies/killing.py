"""A study that is killed and gone on with, against a vendor that counts what it charges."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych import store as stores
from diptych.studies import results

ROOT = Path(__file__).parents[2]
KEY = "test-key"
ADDRESSES = {"openai": ("OPENAI_BASE_URL", "/v1"), "black_forest_labs": ("BFL_BASE_URL", "")}
NAMES = {"openai": "openai", "black_forest_labs": "black-forest-labs"}
KEYS = {"openai": "OPENAI_API_KEY", "black_forest_labs": "BFL_API_KEY"}


@dataclass(frozen=True)
class Counting:
    """A stand-in in a process of its own, which outlives the clients that are killed."""

    environment: Mapping[str, str]
    journal: Path

    def charges(self) -> list[dict[str, object]]:
        if not self.journal.exists():
            return []
        return [json.loads(line) for line in self.journal.read_text("utf-8").splitlines()]


@contextlib.contextmanager
def counting(vendor: str, folder: Path, seconds: float, rounds: int = 2) -> Iterator[Counting]:
    journal = folder / f"{vendor}.jsonl"
    command = [sys.executable, "-m", "tests.standins", NAMES[vendor], "--journal", journal, "--key", KEY]
    process = subprocess.Popen(
        [*command, "--seconds", str(seconds), "--rounds", str(rounds)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        variable, path = ADDRESSES[vendor]
        yield Counting({variable: f"http://127.0.0.1:{port}{path}", KEYS[vendor]: KEY}, journal)
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
        if process.stdout is not None:
            process.stdout.close()


def pilot(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """`diptych pilot` as a process and a group of its own, so that a kill takes its workers along."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "diptych.cli", "pilot", *arguments, "--yes"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


def kill_again_and_again(
    start: Callable[[], subprocess.Popen[bytes]], progress: Callable[[], int], times: int, seed: int
) -> int:
    """Start a study `times` times and kill each at a random moment of its work; how often it was still at work."""
    moments = random.Random(seed)  # noqa: S311  # moments, not secrets
    killed = 0
    for _ in range(times):
        before, wanted = progress(), moments.randint(0, 3)
        process = start()
        deadline = time.monotonic() + 60
        while process.poll() is None and progress() < before + wanted and time.monotonic() < deadline:
            time.sleep(0.005)
        if wanted == 0:
            time.sleep(moments.uniform(0, 2.0))  # while it starts, too
        else:
            time.sleep(moments.uniform(0, 0.15))
        if process.poll() is None:
            killed += 1
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return killed


def finish(start: Callable[[], subprocess.Popen[bytes]], log: Path) -> None:
    process = start()
    assert process.wait(timeout=120) == 0, log.read_text("utf-8")[-3000:]


def read(url: str | None, home: Path) -> results.Results:
    store = stores.open(url or f"sqlite:///{home / 'diptych.sqlite'}", str(home / "pictures"))
    try:
        study = results.load(store)
        for sample in study.samples:  # every picture is there, whole
            assert (sample.picture is not None) == (sample.state == "done")
            if sample.picture is not None:
                assert len(store.pictures.get(sample.picture)) == sample.bytes
        return study
    finally:
        store.close()


def charged_twice(charges: Sequence[Mapping[str, object]]) -> list[object]:
    """What was charged more than once, by what was asked for."""
    counted = Counter((charge["model"], charge["prompt"], charge["seed"]) for charge in charges)
    return [what for what, times in counted.items() if times > 1]
