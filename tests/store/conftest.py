"""Stores on both databases, and processes beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.settings import HOME_VARIABLE
from diptych.store.database import Store
from tests.servers import fresh_database
from tests.store.child import Child


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        (tmp_path / "store").mkdir()
        return f"sqlite:///{tmp_path / 'store' / 'diptych.sqlite'}"
    return fresh_database(request.getfixturevalue("postgres_server"), tmp_path.name)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = stores.open(url)
    yield opened
    opened.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Starts a process, which ends with the test."""
    started: list[Child] = []

    def begin(**how: bool) -> Child:
        started.append(Child(**how))
        return started[-1]

    yield begin
    for child in started:
        child.end()


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Child, Child, Child]]:
    """Three processes for all tests of a file: for what leaves nothing behind in them."""
    env = {HOME_VARIABLE: str(tmp_path_factory.mktemp("home"))}
    started = Child(env=env), Child(env=env), Child(env=env)
    for child in started:
        child.tell("hello")
    for child in started:
        child.hear()
    yield started
    for child in started:
        child.end()


@pytest.fixture(scope="module")
def mere_owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """A process that may not do what the permissions of a file forbid, as only root may."""
    child = Child(mere_owner=True, env={HOME_VARIABLE: str(tmp_path_factory.mktemp("home"))})
    yield child
    child.end()
