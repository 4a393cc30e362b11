"""How fast studies go when no model is slow: 10 000 samples of 64x64 on `fake`, measuring left out.

    python bench/studies.py [--samples 10000]

Prints samples a second, what this machine draws in a bare loop beside it in the same run, the peak of memory after a
tenth and at the end, and how long going on with a finished study takes.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import time
from pathlib import Path

from diptych import catalogue, store
from diptych.providers.fake import Fake
from diptych.store.database import Store
from diptych.studies import create, plan, prompts, run
from diptych.studies.attempt import Event

PROMPTS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    samples = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as folder:
        opened = store.open(f"sqlite:///{folder}/diptych.sqlite", f"{folder}/pictures")
        texts = prompts.read_prompts([f"prompt number {i}" for i in range(PROMPTS)])
        each = samples // PROMPTS // 2
        planned = plan.make_plan(opened, texts, ["fake-a", "fake-b"], samples=each, size="64x64", seed=1)
        bare = drawing(planned)
        start = time.perf_counter()
        study_id = create.create(opened, planned)[0]
        print(f"plan to rows        {time.perf_counter() - start:8.2f} s")
        seconds, early, late = whole(opened, study_id, planned.count)
        rate = planned.count / seconds
        print(f"{planned.count:,} samples      {seconds:8.2f} s   {rate:6.0f} a second")
        print(f"drawing alone                    {bare:6.0f} a second; the study runs at {rate / bare:.2f} of it")
        print(
            f"peak memory         {late / 2**20:8.0f} MB at the end, {late / early:.2f}x of what it was after a tenth"
        )
        start = time.perf_counter()
        asyncio.run(run.run(opened, study_id))
        print(f"going on, all there {time.perf_counter() - start:8.2f} s")
        opened.close()


def drawing(planned: plan.Plan, seconds: float = 3.0) -> float:
    """Pictures a second of the provider alone, one after the other: nothing kept."""

    async def draw() -> float:
        provider, made, start = Fake(), 0, time.perf_counter()
        models = [contestant.model for contestant in planned.contestants]
        while time.perf_counter() - start < seconds:
            contestant = planned.contestants[made % len(models)]
            request = planned.request(contestant, planned.prompts.prompts[made % PROMPTS], made % planned.samples)
            await provider.generate(contestant.model, request)
            made += 1
        return made / (time.perf_counter() - start)

    catalogue.load()
    return asyncio.run(draw())


def whole(opened: Store, study_id: int, count: int) -> tuple[float, int, int]:
    """Seconds for the whole study, and the peak of memory in bytes after a tenth of it and at its end."""
    done, early = 0, 0

    def on_event(event: Event) -> None:
        nonlocal done, early
        done += event.state == "done"
        if done == count // 10 and not early:
            early = peak()

    start = time.perf_counter()
    asyncio.run(run.run(opened, study_id, on_event=on_event))
    return time.perf_counter() - start, early, peak()


def peak() -> int:
    """Bytes that this process held at most. Source: proc(5)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
