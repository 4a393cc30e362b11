"""From the database to a leaderboard: votes of fifty models in SQLite, read, rated, with intervals and ranks.

    python bench/leaderboard.py [--votes 1000000] [--rounds 3]

Prints the seconds of reading and of rating, on the clock and of the processor: on a busy machine the clock runs ahead.
Of several rounds the best counts. The votes are independent, on 200 prompts by 100 judges.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from diptych import store
from diptych.arena import ratings
from diptych.arena.votes import CHOICES
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes as kept
from diptych.studies.leaderboard import leaderboard

MODELS, PROMPTS, JUDGES = 50, 200, 100
WHEN = "2026-11-20T09:30:00.000+00:00"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        opened = store.open(f"sqlite:///{folder}/diptych.sqlite", f"{folder}/pictures")
        fill(opened, options.votes)
        loaded = kept.load(opened, pictures=False).votes
        steps = {
            "read": lambda: kept.load(opened, pictures=False),
            "read, with pictures": lambda: kept.load(opened),
            "rate": lambda: ratings.rate(loaded),
            "leaderboard of all": lambda: leaderboard(opened),
            "leaderboard of the study": lambda: leaderboard(opened, 1),
        }
        print(f"{len(loaded):,} votes, {len(loaded.models)} models".ljust(32) + "clock, s   processor, s")
        for name, step in steps.items():
            clock, processor = best(step, options.rounds)
            print(f"{name:32}{clock:8.2f}{processor:15.2f}")
        opened.close()


def best(step: Any, rounds: int) -> tuple[float, float]:
    taken = []
    for _ in range(rounds):
        clock, processor = time.perf_counter(), time.process_time()
        step()
        taken.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(taken)


def fill(opened: Store, votes: int) -> None:
    """Rows as the page writes them, past SQLAlchemy: a million through it would take many minutes."""
    rng = np.random.default_rng(1)
    strengths = rng.normal(0, 0.5, MODELS)
    left = rng.integers(0, MODELS, votes)
    right = (left + rng.integers(1, MODELS, votes)) % MODELS
    wins = rng.random(votes) < 1 / (1 + np.exp(strengths[right] - strengths[left]))
    choice = np.where(rng.random(votes) < 0.25, rng.integers(2, len(CHOICES), votes), np.where(wins, 0, 1))
    prompt, judge, seconds = rng.integers(0, PROMPTS, votes), rng.integers(0, JUDGES, votes), rng.exponential(5, votes)
    judges = [secrets.token_urlsafe(12) for _ in range(JUDGES)]

    def trials() -> Iterator[tuple[Any, ...]]:
        for i, (a, b, p, j) in enumerate(
            zip(left.tolist(), right.tolist(), prompt.tolist(), judge.tolist(), strict=True)
        ):
            samples = p * MODELS + a + 1, p * MODELS + b + 1
            yield i + 1, 1, secrets.token_urlsafe(16), judges[j], p + 1, *samples, a + 1, b + 1, "uniform", WHEN

    def rows() -> Iterator[tuple[Any, ...]]:
        for i, (c, s) in enumerate(zip(choice.tolist(), seconds.tolist(), strict=True)):
            yield i + 1, i + 1, "overall", CHOICES[c], None, secrets.token_urlsafe(16), s, None, WHEN

    models = [(m + 1, 1, m, f"model-{m}", f"model-{m}", "fake", "{}", "{}") for m in range(MODELS)]
    connection: Any = opened.engine.raw_connection()
    raw = connection.driver_connection
    raw.execute("PRAGMA foreign_keys = OFF")
    raw.execute("BEGIN")
    raw.execute("INSERT INTO studies VALUES (1, 'bench', 'bench', ?, NULL, NULL, '{}', '{}')", (WHEN,))
    for table, columns, values in (
        ("prompts", "id, study_id, position, text", [(p + 1, 1, p, f"prompt {p}") for p in range(PROMPTS)]),
        ("contestants", 'id, study_id, position, label, model, provider, "values", facts', models),
        ("judges", "id, kind, created", [(judge_id, "person", WHEN) for judge_id in judges]),
        (
            "trials",
            ", ".join(column.name for column in schema.trials.c),
            trials(),
        ),
        ("votes", "id, trial_id, criterion, choice, takes_back, key, seconds, reason, cast", rows()),
    ):
        marks = ", ".join("?" * (columns.count(",") + 1))
        raw.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)  # noqa: S608  # our own names
    raw.execute("COMMIT")
    connection.close()


if __name__ == "__main__":
    main()
