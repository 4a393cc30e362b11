"""`diptych votes`: out of one store and into another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.store.database import Store
from diptych.studies import votes
from tests.cli.conftest import Run
from tests.voting import a_judge, a_study, vote


@pytest.fixture
def own(home: Path) -> Store:
    opened = stores.open()
    study = a_study(opened, ["one", "two"], name="my foxes")
    judge = a_judge(opened)
    for choice in ("left", "tie", "skip"):
        vote(opened, study, judge, "one", "two", choice)
    return opened


def test_printed_and_written(run_cli: Run, folder: Path, own: Store) -> None:
    code, out, err = run_cli("votes", "export")
    assert (code, out.count("\n"), err.strip()) == (0, 4, "3 votes.")
    code, printed, _ = run_cli("votes", "export", "my foxes", "-o", "votes.csv")
    assert (code, printed.strip()) == (0, "votes.csv")
    assert (folder / "votes.csv").read_text("utf-8") == out
    assert run_cli("votes", "export", "-o", "votes.csv")[0] == 1
    assert run_cli("votes", "export", "-o", "votes.csv", "--force")[0] == 0


def test_jsonl_by_name_or_by_word(run_cli: Run, folder: Path, own: Store) -> None:
    assert run_cli("votes", "export", "all", "-o", "votes.jsonl")[0] == 0
    lines = [json.loads(line) for line in (folder / "votes.jsonl").read_text("utf-8").splitlines()]
    assert [line["choice"] for line in lines] == ["left", "tie", "skip"]
    assert json.loads(run_cli("votes", "export", "--jsonl")[1].splitlines()[0])["study"] == "my foxes"


def test_formats_of_others(run_cli: Run, own: Store) -> None:
    code, out, err = run_cli("votes", "export", "--format", "plain")
    assert (code, out) == (0, "model_a,model_b,winner\none,two,model_a\none,two,tie\n")
    assert "2 votes; 1 skipped or inconsistent left out" in " ".join(err.split())
    assert run_cli("votes", "export", "--format", "fastchat")[1].startswith("question_id,model_a")
    assert run_cli("votes", "export", "--format", "excel")[0] == 2


def test_into_another_store(run_cli: Run, folder: Path, tmp_path: Path, own: Store) -> None:
    url = f"sqlite:///{tmp_path / 'other.sqlite'}"
    other = stores.open(url)
    a_study(other, ["two", "one"], name="their foxes")
    run_cli("votes", "export", "-o", "votes.csv")
    code, out, err = run_cli("votes", "import", "votes.csv", "--study", "their foxes", "--store", url)
    assert (code, err) == (0, "")
    assert out == "3 votes added to their foxes, by 1 new judge.\n"
    again = run_cli("votes", "import", "votes.csv", "--study", "their foxes", "--store", url)[1]
    assert again == "0 votes added to their foxes, 3 there already.\n"
    assert len(votes.load(other).votes) == 3


def test_what_has_no_pictures_here(run_cli: Run, folder: Path, own: Store) -> None:
    (folder / "arena.csv").write_text("model_a,model_b,winner\none,two,tie\n")
    code, out, err = run_cli("votes", "import", "arena.csv", "--study", "my foxes")
    assert (code, out) == (2, "")
    assert "is rated by: diptych rate arena.csv" in err
    assert run_cli("votes", "import", "arena.csv", "--study", "nothing")[0] == 1
    assert run_cli("votes", "import", "arena.csv")[0] == 2
