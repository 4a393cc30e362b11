"""`diptych judge --judge MODEL`: its cost first, then its votes, and what it agrees on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.store.database import Store
from diptych.studies import votes
from tests.cli.conftest import Run
from tests.report.conftest import Builder, picture
from tests.standins.fixtures import no_client_settings, one_certificate  # noqa: F401
from tests.standins.openai import OpenAI
from tests.voting import a_judge, vote

MODEL = "openai/some-vision-model"


@pytest.fixture
def openai(no_client_settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAI]:  # noqa: F811
    with OpenAI() as vendor:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{vendor.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", vendor.key)
        vendor.reply = json.dumps({"choice": "tie", "reason": "Both are alike."})
        yield vendor


@pytest.fixture
def study(home: Path) -> Store:
    opened = stores.open()
    built = Builder(opened, "my foxes")
    built.prompt("a fox")
    for at, name in enumerate(("one", "two")):
        built.contestant(name)
        for number in range(2):
            built.sample(0, at, number, picture(10 * at + number))
    vote(opened, int(built.id), a_judge(opened), "one", "two", "tie")
    return opened


def test_cost_first_then_votes_and_agreement(run_cli: Run, openai: OpenAI, study: Store) -> None:
    code, out, err = run_cli("judge", "--judge", MODEL, "--votes", 3, "--yes")
    assert code == 0
    assert f"{MODEL} is asked about 3 pairs, each in both orders: 6 answers. What that costs is unknown" in err
    assert f"{MODEL} on overall: 3 votes, 0 inconsistent; 3 in all." in out
    assert "Cost: unknown." in out
    assert "It agrees with people in 1 of 1 votes (100%)" in out
    assert 'Next: diptych leaderboard "my foxes" --judges models' in out
    assert len(openai.requests) == 6
    again = run_cli("judge", "--judge", MODEL, "--votes", 3)  # nothing left to pay for, so nobody is asked
    assert (again[0], len(openai.requests)) == (0, 6)
    code, out, _ = run_cli("leaderboard", "--judges", "models")
    assert (code, "3 votes by 1 model" in out) == (0, True)


def test_nobody_there_to_agree(run_cli: Run, openai: OpenAI, study: Store) -> None:
    code, out, err = run_cli("judge", "--judge", MODEL)
    assert (code, out, openai.requests) == (1, "", [])
    assert "nobody is here to agree: say --yes" in err


def test_inconsistent_answers_and_the_favourite_side(run_cli: Run, openai: OpenAI, study: Store) -> None:
    openai.reply = '{"choice": "left", "reason": "The left one."}'
    code, out, _ = run_cli("judge", "--judge", MODEL, "--votes", 2, "-y", "--criterion", "detail")
    assert code == 0
    assert f"{MODEL} on detail: 0 votes, 2 inconsistent; 2 in all." in out
    assert "It chose the first picture in 100% of its answers" in out
    assert "No pair was judged both by it and by a person" in out
    assert votes.load(study).inconsistent == 2


def test_a_model_that_never_answers_as_asked(run_cli: Run, openai: OpenAI, study: Store) -> None:
    openai.reply = "Lovely pictures!"
    code, out, err = run_cli("judge", "--judge", MODEL, "-y")
    assert code == 0  # all four pairs were asked about; one more in a row would have ended it
    assert "failed; 0 in all." in out
    assert "Failed 4 times: the answer is no JSON, twice." in out
    assert "the answer is no JSON, twice" in err


def test_a_wrong_key(run_cli: Run, openai: OpenAI, study: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    code, out, _ = run_cli("judge", "--judge", MODEL, "-y")
    assert code == 1
    assert "It ended early." in out
    assert "401" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "builtin-flow", "-y"], "builtin-flow answers no questions here"),
        (["--judge", "nothing", "-y"], "There is no model named 'nothing'"),
        (["--judge", MODEL, "--reveal", "--uniform"], "--reveal and --uniform are of the page"),
        (["--judge", MODEL, "--host", "0.0.0.0"], "--host is of the page"),  # noqa: S104  # never served
        (["--judge", MODEL, "--criterion", "beauty"], "--criterion is 'beauty'"),
        (["--yes"], "--yes goes with --judge MODEL"),
    ],
)
def test_what_cannot_be(run_cli: Run, openai: OpenAI, study: Store, arguments: list[str], message: str) -> None:
    code, out, err = run_cli("judge", *arguments)
    assert (code in (1, 2), out, openai.requests) == (True, "", [])
    assert message in err
