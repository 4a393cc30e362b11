"""`diptych latency`: cost first, then numbers, errors beside them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from diptych import settings
from diptych.providers.fake import Fake
from diptych.studies import latency
from tests.cli.conftest import Run
from tests.cli.test_keys import PLANTED, Input, no_variables

__all__ = ["no_variables"]  # a fixture that holds here too

QUICK = ("--size", "64x64")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No person at the terminal."""
    monkeypatch.setattr(sys, "stdin", Input(b""))


def rows(out: str) -> dict[str, list[str]]:
    """The table's, by their first word; what is remarked comes below it."""
    table = out.partition("Seconds from asking")[0]
    return {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.strip()}


def test_models_that_cost_nothing_are_measured_at_once(run_cli: Run, home: Path) -> None:
    code, out, err = run_cli("latency", "-m", "fake-a", "-m", "fake-b", "-n", 4, *QUICK)
    assert code == 0, err
    assert "To pay: $0." in err
    assert rows(out)["model"] == ["n", "p50", "min", "max", "spread", "errors", "cost"]
    assert rows(out)["fake-a"][0] == rows(out)["fake-b"][0] == "4"
    assert "A p95 needs 20 pictures: -n 20." in " ".join(out.split())
    assert max(len(line) for line in out.splitlines()) <= 80
    assert not (home / "diptych.sqlite").exists(), "nothing is kept"


def test_twenty_have_a_p95(run_cli: Run) -> None:
    code, out, _ = run_cli("latency", "-m", "fake-a", "-n", 20, *QUICK)
    assert code == 0
    assert rows(out)["model"] == ["n", "p50", "p95", "min", "max", "spread", "errors", "cost"]
    assert "needs 20" not in out


@pytest.mark.parametrize(
    ("model", "what"),
    [("fake-a:price=0.5", "This costs about $1.50"), ("replicate/someone/some-model", "This costs an unknown amount")],
)
def test_money_is_not_spent_unasked(model: str, what: str, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def spent(*_: Any) -> None:
        raise AssertionError("asked before anybody agreed")

    monkeypatch.setattr(latency, "measure", spent)
    code, out, err = run_cli("latency", "-m", model, "-n", 3)
    assert (code, out) == (1, "")
    assert f"{what}, and nobody is here to agree: say --yes to spend it." in err


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1)])
def test_a_person_is_asked(answer: bytes, code: int, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Input(answer, terminal=True))
    found, out, err = run_cli("latency", "-m", "fake-a:price=0.5", "-n", 3, *QUICK)
    assert "Spend about $1.50? [y/N]" in err
    assert found == code
    assert ("fake-a" in out) == (code == 0)


def test_yes_spends_and_says_what_it_was(run_cli: Run) -> None:
    code, out, err = run_cli("latency", "-m", "fake-a:price=0.5", "-n", 3, "--yes", *QUICK)
    assert code == 0
    assert "To pay: $1.50." in err
    assert rows(out)["fake-a"][-1] == "$1.50"


def test_errors_are_shown_and_counted(run_cli: Run) -> None:
    code, out, _ = run_cli("latency", "-m", "fake-a:refusals=1", "-m", "fake-b", "-n", 3, *QUICK)
    assert code == 0
    said = " ".join(out.split())
    assert rows(out)["fake-a"][:3] == ["refusals=1", "0", "3"], "no seconds, three errors"
    assert "fake-a refusals=1: Refused: fake refused this prompt" in said
    assert "(3 times)" in said
    assert "3 requests without a picture may have been charged" in said


def test_where_nothing_came_it_ends_with_1(run_cli: Run) -> None:
    code, out, _ = run_cli("latency", "-m", "fake-a:failures=1", "-n", 2, *QUICK)
    assert code == 1
    assert "ProviderError: fake answered 500" in " ".join(out.split())


def test_a_local_model_warms_up_first(tiny: str, run_cli: Run) -> None:
    code, out, err = run_cli("latency", "-m", tiny, "-n", 2)
    assert code == 0
    assert "2 + 1" in err
    assert "The first picture of a local model, after loading, is not counted." in " ".join(err.split())
    assert f"{tiny}: the first picture took" in out
    assert rows(out)[tiny][0] == "2"
    assert rows(out)[tiny][-1] == "unknown"


def test_what_this_machine_costs_is_counted(tiny: str, run_cli: Run, home: Path) -> None:
    settings.config_file().write_text("dollars_per_hour = 360000", "utf-8")
    code, out, _ = run_cli("latency", "-m", tiny, "-n", 2, "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert 0 < row["cost"] <= 100 * sum(row["seconds"])  # what it waited for costs nothing


def test_json_has_every_second(run_cli: Run) -> None:
    code, out, _ = run_cli("latency", "-m", "fake-a", "-m", "fake-b:failures=1", "-n", 2, "--json", *QUICK)
    assert code == 0
    a, b = json.loads(out)
    assert (a["model"], a["region"], a["n"], a["p95"], a["cost"]) == ("fake-a", None, 2, None, 0)
    assert len(a["seconds"]) == 2
    assert a["min"] <= a["p50"] <= a["max"]
    assert (b["n"], b["p50"], len(b["errors"])) == (0, None, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Name each model with -m"),
        (("-m", "fakea"), "There is no model named 'fakea'. Did you mean fake-a"),
        (("-m", "fake-a", "-n", 0), "The number of requests is 0"),
        (("-m", "fake-a", "--region", "eu,us"), "fake-a has no setting region."),
        (("-m", "fake-a", "--size", "big"), "size is 'big'"),
        (("-m", "fake-a:colour=red"), "colour"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[object, ...], said: str, run_cli: Run) -> None:
    code, out, err = run_cli("latency", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_missing_key_is_known_before_anything_is_sent(run_cli: Run) -> None:
    code, out, err = run_cli("latency", "-m", "gpt-image-2", "-m", "fake-a", "--yes")
    assert (code, out) == (1, "")
    assert "openai needs a key: set OPENAI_API_KEY" in err


def test_ctrl_c_shows_what_was_measured(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    generate, asked = Fake.generate, []

    async def stopping(self: Fake, *arguments: Any) -> Any:
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return await generate(self, *arguments)

    monkeypatch.setattr(Fake, "generate", stopping)
    code, out, err = run_cli("latency", "-m", "fake-a", "-n", 9, *QUICK)
    assert code == 130
    assert rows(out)["fake-a"][0] == "3"
    assert "Traceback" not in err


def test_no_key_is_in_what_goes_wrong(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.store_key("openai", PLANTED)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    code, out, err = run_cli("latency", "-m", "gpt-image-2", "-n", 1, "--yes", "--prompt", f"a {PLANTED}")
    assert code == 1
    assert PLANTED not in out + err
