"""`diptych report`: a page, a folder, or data."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from diptych import store
from diptych.store.database import Store
from tests.cli.conftest import Run
from tests.report.conftest import Builder, picture


@pytest.fixture
def own(home: Path) -> Store:
    return store.open()


@pytest.fixture
def study(own: Store) -> Builder:
    built = Builder(own, "foxes in snow")
    built.prompt("a fox in snow")
    built.contestant("builtin-flow", "builtin-flow", "local")
    for number in range(2):
        built.sample(0, 0, number, picture(number), seconds=0.5)
    return built


def test_the_latest_study_becomes_a_page_named_after_it(run_cli: Run, folder: Path, study: Builder) -> None:
    code, out, err = run_cli("report")
    assert (code, out.strip(), err) == (0, "foxes-in-snow.html", "")
    page = (folder / "foxes-in-snow.html").read_text("utf-8")
    assert "a fox in snow" in page


def test_a_study_by_name(run_cli: Run, folder: Path, study: Builder, own: Store) -> None:
    Builder(own, "later").prompt("a bear")
    code, out, _ = run_cli("report", "foxes in snow", "-o", "sub/foxes.html")
    assert (code, out.strip()) == (0, "sub/foxes.html")
    assert "a fox in snow" in (folder / "sub" / "foxes.html").read_text("utf-8")


def test_only_a_report_is_replaced_without_force(run_cli: Run, folder: Path, study: Builder) -> None:
    assert run_cli("report")[0] == 0
    assert run_cli("report")[0] == 0
    page = folder / "foxes-in-snow.html"
    page.write_text("mine", "utf-8")
    code, out, err = run_cli("report")
    assert (code, out) == (1, "")
    assert "foxes-in-snow.html exists already" in err
    assert page.read_text("utf-8") == "mine"
    assert run_cli("report", "--force")[0] == 0


def test_a_folder_with_the_originals(run_cli: Run, folder: Path, study: Builder) -> None:
    code, out, _ = run_cli("report", "--full")
    assert (code, out.strip()) == (0, "foxes-in-snow-report/index.html")
    kept = [path.read_bytes() for path in sorted((folder / "foxes-in-snow-report" / "pictures").iterdir())]
    assert kept == [picture(0), picture(1)]


def test_the_data(run_cli: Run, folder: Path, study: Builder) -> None:
    code, out, err = run_cli("report", "--json")
    assert (code, err) == (0, "")
    assert len(json.loads(out)["samples"]) == 2
    code, out, _ = run_cli("report", "--csv")
    assert code == 0
    assert [row["seconds"] for row in csv.DictReader(io.StringIO(out))] == ["0.5", "0.5"]
    code, out, _ = run_cli("report", "--csv", "-o", "foxes.csv")
    assert (code, out.strip()) == (0, "foxes.csv")
    assert (folder / "foxes.csv").read_text("utf-8").count("\n") == 3
    assert run_cli("report", "--csv", "-o", "foxes.csv")[0] == 1


def test_another_store(run_cli: Run, folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.sqlite'}"
    other = store.open(url)
    built = Builder(other, "elsewhere")
    built.prompt("a heron")
    built.contestant("one")
    built.sample(0, 0, 0, state="refused", error="no")
    other.close()
    code, out, _ = run_cli("report", "--store", url)
    assert (code, out.strip()) == (0, "elsewhere.html")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 1, "There is no study named 'nothing'."),
        (["--json", "--csv"], 2, "--json and --csv do not go together"),
        (["--full", "--json"], 2, "--full and --json do not go together"),
        (["--store", "mysql://x/y"], 1, "The store is SQLite"),
    ],
)
def test_what_cannot_be(run_cli: Run, study: Builder, arguments: list[str], code: int, message: str) -> None:
    found, out, err = run_cli("report", *arguments)
    assert (found, out) == (code, "")
    assert message in err


def test_without_any_study(run_cli: Run, folder: Path) -> None:
    code, out, err = run_cli("report")
    assert (code, out) == (1, "")
    assert "`diptych pilot` makes one" in err
