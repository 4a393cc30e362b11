"""Studies with pictures to judge, and sittings on them, over HTTP where wanted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from diptych import store as stores
from diptych.judging import serving
from diptych.judging.app import make_app
from diptych.judging.sitting import Sitting
from diptych.store.database import Store
from diptych.studies import results
from tests.report.conftest import Builder, picture

QUICK, DEAR = "quick-model steps=8", "dear-model"
"""Labels that occur nowhere else."""
PROMPTS = {"a red fox in the snow": "animals", "a lighthouse at dusk": "places", "a bowl of oranges": "things"}


@pytest.fixture
def judged(tmp_path: Path) -> Iterator[Store]:
    opened = stores.open(f"sqlite:///{tmp_path / 'judged.sqlite'}", str(tmp_path / "pictures"))
    yield opened
    opened.close()


def a_study(
    opened: Store,
    *labels: str,
    samples: int = 2,
    size: tuple[int, int] = (64, 48),
    sizes: dict[str, tuple[int, int]] | None = None,
    name: str = "study",
    prompts: dict[str, str] | None = None,
) -> Builder:
    """Every model with pictures of every prompt. sizes: of single models."""
    study = Builder(opened, name)
    for text, category in (prompts or PROMPTS).items():
        study.prompt(text, category)
    for at, label in enumerate(labels or (QUICK, DEAR)):
        study.contestant(label)
        for prompt, number in itertools.product(range(len(study.prompts)), range(samples)):
            drawn = picture(1000 * at + 10 * prompt + number, (sizes or {}).get(label, size))
            study.sample(prompt, at, number, drawn, seconds=0.5 + at, cost=0.01 * at)
    return study


def a_sitting(opened: Store, seed: int = 1, name: str | None = None, **given: Any) -> Sitting:
    """With a generator of its own, so that a test sees the same pairs each time."""
    return Sitting(opened, results.load(opened, name), rng=np.random.default_rng(seed), **given)


@dataclass
class Served:
    """A sitting behind the real server, in a thread with an event loop of its own."""

    url: str
    sitting: Sitting
    ended: list[None]
    stop: Callable[[], None]


@contextlib.contextmanager
def served(
    opened: Store, *, port: int = 0, code: str | None = None, clock: Any = None, **given: Any
) -> Iterator[Served]:
    sitting = a_sitting(opened, **given)
    listening = serving.listen("127.0.0.1", port)
    ready = threading.Event()
    failed: list[BaseException] = []
    ended: list[None] = []
    loop: list[asyncio.AbstractEventLoop] = []
    over: list[asyncio.Event] = []

    async def run() -> None:
        loop.append(asyncio.get_running_loop())
        over.append(asyncio.Event())
        more = {} if clock is None else {"clock": clock}
        async with sitting:
            app = make_app(sitting, code=code, ended=lambda: ended.append(None), **more)
            await serving.serve(app, listening, ready.set, over[0])

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  # raised again in the test's own thread
            failed.append(error)
            ready.set()

    def stop() -> None:
        if thread.is_alive():
            loop[0].call_soon_threadsafe(over[0].set)
        thread.join()
        listening.socket.close()
        if failed:
            raise failed[0]

    thread = threading.Thread(target=main, name="sitting")
    thread.start()
    assert ready.wait(30)
    try:
        yield Served(listening.addresses[0].rstrip("/"), sitting, ended, stop)
    finally:
        stop()


class Judge(httpx.Client):
    """One browser: cookies, and the header that the page sends with everything."""

    def __init__(self, url: str, **given: Any) -> None:
        super().__init__(base_url=url, headers={"X-Diptych": "page"}, **given)
        self.count = 0

    def following(self) -> dict[str, Any]:
        answer = self.get("/api/next")
        assert answer.status_code == 200, answer.text
        state: dict[str, Any] = answer.json()
        self.headers["X-Diptych"] = state.get("token", "page")
        return state

    def key(self) -> str:
        self.count += 1
        return f"key-of-a-test-{id(self)}-{self.count}"

    def vote(self, trial: str, choice: str = "left", key: str | None = None, **more: Any) -> httpx.Response:
        body = {"trial": trial, "choice": choice, "criterion": "overall", "key": key or self.key(), **more}
        return self.post("/api/vote", json=body)


def the_votes(opened: Store) -> list[tuple[str, str | None, str]]:
    """Every row of the table of votes: judge, choice, key."""
    from sqlalchemy import text

    with opened.reading() as connection:
        query = "SELECT t.judge_id, v.choice, v.key FROM votes v JOIN trials t ON t.id = v.trial_id ORDER BY v.id"
        return [(row[0], row[1], row[2]) for row in connection.execute(text(query))]
