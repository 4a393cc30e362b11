"""`diptych pick`: the choice, why, and what it rests on, in 80 columns or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.store.database import Store
from tests.choose.conftest import FLASH, FLOW, PRO, Asked, asked, wins
from tests.cli.conftest import Run


@pytest.fixture
def own(home: Path) -> Store:
    return stores.open()


@pytest.fixture
def study(own: Store) -> Asked:
    study = asked(own)
    study.ask(PRO, PRO, "black_forest_labs", seconds=8.0, cost=0.03, cost_basis="stated")
    study.ask(FLASH, FLASH, "google", seconds=3.0, cost=0.067, cost_basis="usage")
    study.ask(FLOW, FLOW, "local", seconds=0.4)
    study.judged([*wins(FLASH, PRO, 30, 5), *wins(PRO, FLOW, 16, 14)])
    return study


def flat(text: str) -> str:
    return " ".join(text.split())


def test_choice_reasons_and_runners_up(run_cli: Run, study: Asked) -> None:
    code, out, err = run_cli("pick")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == FLASH
    assert lines[1].startswith("Ranked by own votes, 65 votes by 2 people on 1 prompt")
    assert max(map(len, lines)) <= 80
    assert f"{FLASH} is rated above {PRO} by" in flat(out)
    assert "price $0.067 a picture [studies here, 2026-11-20] mean of 4 pictures, by tokens that were counted" in flat(
        out
    )
    table = {
        line.split()[0]: line.split()[2:] for line in lines if line.startswith((FLASH, PRO, FLOW)) and "  " in line
    }
    assert table == {FLASH: ["0.067", "3", "yes"], PRO: ["0.03", "8", "yes", "yes"], FLOW: ["unknown", "0.4", "yes"]}
    assert "Left out: 4 models; --all says why." in out


def test_limits(run_cli: Run, study: Asked) -> None:
    code, out, _ = run_cli("pick", "--max-seconds", 5, "--needs", "seed", "--min-size", "32x32")
    assert (code, out.splitlines()[0]) == (0, FLASH)
    assert f"Left out, {PRO}: 8 s (median of 4 pictures, measured from here), more than 5 s." in flat(
        run_cli("pick", "--max-seconds", 5, "--all")[1]
    )


def test_the_command_of_the_guide(run_cli: Run, own: Store) -> None:
    limits = ["--max-cost", 0.05, "--max-seconds", 3, "--min-size", "2048x2048", "--needs", "steps,guidance"]
    code, out, err = run_cli("pick", "--for", "portraits", *limits, "--licence", "commercial")
    assert (code, err) == (1, "")
    assert "No model keeps to every limit." in out
    code, out, _ = run_cli("pick", "--for", "portraits", *limits, "--licence", "commercial", "--allow-unknown")
    assert code == 1
    assert "Nothing ranks the models that keep to every limit: flux-2-klein-base-4b and flux-3-image." in flat(out)


def test_without_votes_one_scale(run_cli: Run, own: Store) -> None:
    code, out, _ = run_cli("pick", "--max-cost", 0.1, "--for", "portraits")
    assert code == 0
    assert "Ranked by Artificial Analysis, as of 2026-07-10" in flat(out)
    assert "The evidence does not separate" in out
    assert "LM Arena has" in flat(out)  # how many it has, and no rating of it
    assert "arena.ai" not in out


def test_as_json(run_cli: Run, study: Asked) -> None:
    code, out, err = run_cli("pick", "--json", "--max-cost", 0.07)
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert (data["choice"]["label"], data["basis"]) == (FLASH, "own votes")
    assert {"what", "value", "source", "date", "strength"} == set(data["choice"]["evidence"][0])
    assert data["limits"] == {"max_cost": 0.07}
    none = run_cli("pick", "--json", "--max-cost", 0)
    assert (none[0], json.loads(none[1])["choice"]) == (1, None)


def test_only_some_studies(run_cli: Run, own: Store, study: Asked) -> None:
    later = asked(own, "later")
    later.ask(PRO, PRO, "black_forest_labs")
    assert run_cli("pick", "--study", "asked")[1].splitlines()[0] == FLASH
    assert "Artificial Analysis" in run_cli("pick", "--study", "later")[1]
    assert run_cli("pick", "--study", "nothing")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--needs", "stepz"], "No model has a setting 'stepz'. Did you mean steps?"),
        (["--min-size", "big"], "size is 'big'"),
        (["--licence", "mine"], "mine"),
        (["--max-cost", "-1"], "--max-cost"),
        (["--max-refusals", "2"], "--max-refusals"),
    ],
)
def test_what_cannot_be(run_cli: Run, own: Store, arguments: list[str], message: str) -> None:
    code, out, err = run_cli("pick", *arguments)
    assert (code, out) == (2, "")
    assert message in err
