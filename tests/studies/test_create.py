"""Studies that several make at once, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from diptych import store as stores
from diptych.errors import StudyError
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import create, plan
from diptych.studies.prompts import read_prompts
from tests.servers import fresh_database

MANY = 6


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'studies.sqlite'}"
    if request.param == "postgresql":
        url = fresh_database(request.getfixturevalue("postgres_server"), tmp_path.name)
    opened = stores.open(url)
    yield opened
    opened.close()


def planned(model: str = "fake-a") -> plan.Plan:
    return plan.make_plan(None, read_prompts(["a red fox", "a blue fox"]), [model], samples=2)


def at_once(
    store: Store, do: Callable[[int], tuple[int, str, bool]]
) -> tuple[list[tuple[int, str, bool]], list[Exception]]:
    start = threading.Barrier(MANY)
    made: list[tuple[int, str, bool]] = []
    failed: list[Exception] = []

    def make(number: int) -> None:
        start.wait()
        try:
            made.append(do(number))
        except Exception as error:  # noqa: BLE001  # a thread's error would be lost
            failed.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made, failed


def count(store: Store, table: str) -> int:
    with store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(schema.metadata.tables[table])) or 0


@pytest.mark.parametrize("name", [None, "foxes"])
def test_the_same_plan_at_once_is_one_study(store: Store, name: str | None) -> None:
    same = planned()
    made, failed = at_once(store, lambda _: create.create(store, same, name))
    assert failed == []
    assert len({study for study, _, _ in made}) == len({called for _, called, _ in made}) == 1
    assert sorted(new for _, _, new in made) == [False] * (MANY - 1) + [True]
    assert (count(store, "studies"), count(store, "prompts"), count(store, "samples")) == (1, 2, 4)


def test_plans_that_differ_at_once_have_names_of_their_own(store: Store) -> None:
    plans = [planned(model) for model in ("fake-a", "fake-b") * (MANY // 2)]
    made, failed = at_once(store, lambda number: create.create(store, plans[number]))
    assert failed == []
    assert {name for _, name, _ in made} == {"a-red-fox", "a-red-fox-2"}
    assert count(store, "studies") == 2


def test_one_name_for_two_plans_at_once_is_told_plainly(store: Store) -> None:
    plans = [planned(model) for model in ("fake-a", "fake-b") * (MANY // 2)]
    made, failed = at_once(store, lambda number: create.create(store, plans[number], "foxes"))
    assert (len(made), len(failed)) == (MANY // 2, MANY // 2)
    assert {study for study, _, _ in made} == {made[0][0]}
    for error in failed:
        assert isinstance(error, StudyError)
        assert "There is a study 'foxes' already" in str(error)
