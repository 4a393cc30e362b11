"""Stores and studies for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diptych import store as stores
from diptych.store.database import Store
from diptych.studies import create, plan, prompts, run

Make = Callable[..., int]


@pytest.fixture
def store() -> Iterator[Store]:
    """SQLite in this test's home folder."""
    opened = stores.open()
    yield opened
    opened.close()


@pytest.fixture
def make(store: Store) -> Make:
    """A study of two prompts; takes models and what `make_plan` takes."""

    def made(*models: str, texts: tuple[str, ...] = ("a red fox", "a blue fox"), **settings: Any) -> int:
        settings.setdefault("samples", 2)
        settings.setdefault("size", "64x64")
        planned = plan.make_plan(store, prompts.read_prompts(list(texts)), models, **settings)
        return create.create(store, planned)[0]

    return made


@pytest.fixture
def go(store: Store) -> Callable[..., run.Outcome]:
    """Run a study to its end."""

    def gone(study_id: int, **settings: Any) -> run.Outcome:
        return asyncio.run(run.run(store, study_id, **settings))

    return gone


@pytest.fixture
def empty_home(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    return home
