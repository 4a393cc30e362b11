"""Studies of real models, as if they had been asked: pictures, costs, seconds, refusals and votes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from diptych import store as stores
from diptych.store.database import Store
from tests.report.conftest import Builder, picture
from tests.voting import Said, a_judge, many_votes

PRO, FLASH, FLOW = "flux-2-pro", "gemini-3.1-flash-image", "builtin-flow"


@pytest.fixture
def store() -> Iterator[Store]:
    opened = stores.open()
    yield opened
    opened.close()


class Asked(Builder):
    """A study with samples: cost and seconds of each contestant."""

    def ask(
        self, label: str, model: str, provider: str, number: int = 4, *, size: tuple[int, int] = (64, 64), **values: Any
    ) -> None:
        """number: pictures for the first prompt. values: of every sample, or of the contestant (values)."""
        at = len(self.contestants)
        self.contestant(label, None if provider == "import" else model, provider, values=values.pop("settings", {}))
        first = picture(at + 1, (64, 64))
        for i in range(number):
            self.sample(
                0, at, i, first if i == 0 else picture(at * 100 + i, (64, 64)), measured=True,
                **{"width": size[0], "height": size[1], **values},
            )  # fmt: skip

    def refuse(self, label: str, times: int) -> None:
        at = self.labels.index(label)
        for i in range(times):
            self.sample(0, at, 100 + i, state="refused", error="no", error_kind="Refused")

    @property
    def labels(self) -> list[str]:
        from diptych.studies import results

        return [row.label for row in results.load(self.store, self.name).contestants]

    def judged(self, said: list[Said], judges: int = 2, **given: Any) -> None:
        many_votes(self.store, int(self.id), [a_judge(self.store) for _ in range(judges)], said, **given)


def asked(store: Store, name: str = "asked", category: str | None = "portraits") -> Asked:
    study = Asked(store, name)
    study.prompt("a portrait", category)
    return study


@pytest.fixture
def study(store: Store) -> Asked:
    """Four pictures each, and no votes. flux-2-pro: 0.03 and 8 s. Gemini: 0.067 and 3 s. builtin-flow: 0.4 s."""
    study = asked(store)
    study.ask(PRO, PRO, "black_forest_labs", seconds=8.0, cost=0.03, cost_basis="stated")
    study.ask(FLASH, FLASH, "google", seconds=3.0, cost=0.067, cost_basis="usage")
    study.ask(FLOW, FLOW, "local", seconds=0.4)
    return study


def wins(one: str, other: str, times: int, against: int = 0, ties: int = 0) -> list[Said]:
    """Votes for `one`, from both sides in turn, and some against it."""
    return [
        *[(one, other, "left") if i % 2 else (other, one, "right") for i in range(times)],
        *[(one, other, "right") if i % 2 else (other, one, "left") for i in range(against)],
        *[(one, other, "tie")] * ties,
    ]
