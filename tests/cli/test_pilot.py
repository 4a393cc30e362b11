"""`diptych pilot` as a person uses it: the plan, the question, the study, and going on with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.store.database import Store
from diptych.studies import results
from tests.cli.conftest import Run
from tests.standins import faults
from tests.standins.openai import OpenAI

SMALL = ("--size", "64x64", "--no-measure")


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = stores.open()
    yield opened
    opened.close()


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAI]:
    with OpenAI() as vendor:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{vendor.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", vendor.key)
        yield vendor


def test_a_pilot_shows_its_plan_and_what_came_of_it(run_cli: Run, store: Store) -> None:
    code, out, err = run_cli("pilot", "a fox", "a cat", "-m", "fake-a", "-m", "fake-b", "-n", 3, *SMALL)
    assert code == 0
    assert re.search(r"Study a-fox +2 prompts from as given", err)
    assert re.search(r"fake-a +6 +\$0 +\$0", err)
    assert "To pay: $0." in err
    assert re.search(r"fake-a +6/6", out)
    assert "diptych report a-fox" in out
    assert len(results.load(store).samples) == 12


def test_the_same_again_goes_on(run_cli: Run, store: Store) -> None:
    again = ("pilot", "a fox", "-m", "fake-a", "-n", 2, *SMALL)
    run_cli(*again)
    before = results.load(store)
    code, _, err = run_cli(*again)
    assert code == 0
    assert "going on: 2 there, 0 left" in err
    assert results.load(store) == before
    code, _, err = run_cli("pilot", "--name", "a-fox", "--no-measure")
    assert code == 0
    assert "going on: 2 there, 0 left" in err


def test_the_three_prompts_that_come_along(run_cli: Run, store: Store) -> None:
    assert run_cli("pilot", "-m", "fake-a", "-n", 1, *SMALL)[0] == 0
    study = results.load(store)
    assert study.name == "basics"
    assert len(study.prompts) == 3


def test_a_file_of_prompts_with_categories(run_cli: Run, folder: Path, store: Store) -> None:
    (folder / "mine.csv").write_text("prompt,category\na fox,animals\na fox,animals\na chair,product\n", "utf-8")
    code, _, err = run_cli("pilot", "mine.csv", "-m", "fake-a", "-n", 1, *SMALL)
    assert code == 0
    assert "1 double one merged" in err
    study = results.load(store, "mine")
    assert [(p.text, p.category) for p in study.prompts] == [("a fox", "animals"), ("a chair", "product")]


def test_a_dry_run_keeps_and_sends_nothing(run_cli: Run, openai: OpenAI, store: Store) -> None:
    code, out, err = run_cli("pilot", "a fox", "-m", "gpt-image-2:quality=high", "-n", 10, "--dry-run")
    assert (code, err) == (0, "")
    assert re.search(r"gpt-image-2 quality=high +10 ", out)
    assert "To pay: $2.11" in out
    assert results.names(store) == []
    assert openai.requests == []


def test_nothing_is_spent_unless_somebody_agrees(run_cli: Run, openai: OpenAI) -> None:
    spend = ("pilot", "a fox", "-m", "gpt-image-2:quality=low", "-n", 2, "--no-measure")
    code, _, err = run_cli(*spend)
    assert code == 1
    assert "This costs about $0.01, and nobody is here to agree: say --yes to spend it." in err
    assert openai.requests == []
    assert run_cli(*spend, "--yes")[0] == 0
    assert len(openai.charges) == 2


def test_what_costs_nobody_knows_how_much_asks_too(run_cli: Run, openai: OpenAI) -> None:
    code, _, err = run_cli("pilot", "a fox", "-m", "openai/some-model", "-n", 1)
    assert code == 1
    assert "This costs an unknown amount" in err
    assert openai.requests == []


def test_what_happened_is_said(run_cli: Run, openai: OpenAI) -> None:
    openai.next(faults.Refused(), faults.ServerError(status=500), faults.Dropped(charged=True))
    arguments = ("-m", "openai/some-model", "-n", 5, "--price", "openai/some-model=0.5", "--budget", 100)
    code, out, _ = run_cli("pilot", "a fox", *arguments, "--concurrency", 1, "--yes", "--no-measure")
    assert code == 0
    assert re.search(r"some-model +2/5 +1 +1 +1 ", out)
    assert "Spent: $2.00, of which $1.00 may not have been charged." in out
    assert "--retry-unknown repeats them" in out
    assert "--retry-failed repeats them" in out
    assert openai.key not in out


def test_a_wrong_key_is_said_once_and_is_a_failure(run_cli: Run, openai: OpenAI) -> None:
    openai.when(lambda seen: True, faults.Unauthorized())
    code, out, _ = run_cli("pilot", "a fox", "-m", "gpt-image-2:quality=low", "-n", 50, "--yes", "--no-measure")
    assert code == 1
    assert "gpt-image-2 quality=low was not asked further. openai answered 401" in out
    assert openai.key not in out


def test_a_budget_that_ends_the_study_can_be_raised(run_cli: Run, store: Store) -> None:
    pilot = ("pilot", "a fox", "-m", "fake-a:price=0.3", "-n", 10, *SMALL, "--yes")
    code, out, _ = run_cli(*pilot, "--budget", 1)
    assert code == 0
    assert "the budget does not reach the rest" in out
    assert re.search(r"3/10 +7 ", out)
    assert run_cli("pilot", "--name", "a-fox", "--budget", 100, "--yes", "--no-measure")[0] == 0
    assert {sample.state for sample in results.load(store).samples} == {"done"}


def test_a_dry_run_changes_nothing_of_a_study(run_cli: Run, store: Store) -> None:
    run_cli("pilot", "a fox", "-m", "fake-a", "-n", 1, *SMALL, "--budget", 5)
    before = results.load(store)
    code, out, _ = run_cli("pilot", "--name", "a-fox", "--budget", 77, "--dry-run")
    assert code == 0
    assert "of a budget of $77.00" in out
    assert results.load(store) == before
    _, out, err = run_cli("pilot", "--name", "a-fox", "--no-measure")
    assert "of a budget of $5.00" in err


def test_a_price_that_is_given_later_counts(run_cli: Run, openai: OpenAI, store: Store) -> None:
    pilot = ("pilot", "a fox", "-m", "openai/some-model", "-n", 4, "--no-measure")
    assert run_cli(*pilot)[0] == 1  # nobody agreed
    code, _, err = run_cli("pilot", "--name", "a-fox", "--budget", 1, "--yes")
    assert code == 1
    assert "what openai/some-model costs is unknown" in err
    assert openai.requests == []
    priced = ("--price", "openai/some-model=0.4", "--budget", 1, "--yes", "--no-measure")
    assert run_cli("pilot", "--name", "a-fox", *priced)[0] == 0
    assert len(openai.charges) == 2


def test_the_list_of_studies(run_cli: Run) -> None:
    assert "no study yet" in run_cli("studies")[1]
    run_cli("pilot", "a fox", "-m", "fake-a:price=0.5", "-n", 2, *SMALL, "--yes")
    run_cli("pilot", "a cat", "-m", "fake-a", "-m", "fake-b", "-n", 1, *SMALL)
    _, cat, fox = run_cli("studies")[1].splitlines()
    assert re.fullmatch(r"a-cat +\d{4}-\d\d-\d\d +1 +2 +2/2 +\$0 *", cat)
    assert re.fullmatch(r"a-fox +\d{4}-\d\d-\d\d +1 +1 +2/2 +\$1\.00 *", fox)


def test_no_picture_is_paid_for_that_could_not_be_written(run_cli: Run, openai: OpenAI, folder: Path) -> None:
    (folder / "fox.jpg").write_bytes(b"mine")
    arguments = ("--set", "quality=low", "--set", "output_format=jpeg", "-o", "fox.png")
    code, _, err = run_cli("generate", "a fox", "-m", "gpt-image-2", *arguments)
    assert code == 1
    assert "fox.jpg exists already" in err
    assert openai.requests == []


def test_pictures_without_a_seed_are_numbered_on(run_cli: Run, openai: OpenAI, folder: Path) -> None:
    again = ("generate", "a fox", "-m", "gpt-image-2", "--set", "quality=low", "-o", "foxes")
    assert run_cli(*again)[1] == "foxes/a-fox-1.png\n"
    assert run_cli(*again, "-n", 2)[1] == "foxes/a-fox-2.png\nfoxes/a-fox-3.png\n"
    assert run_cli(*again, "--force")[1] == "foxes/a-fox-1.png\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a fox"], "at least one model"),
        ([], "A study needs models"),
        (["a fox", "-m", "fak-a"], "no model named 'fak-a'. Did you mean fake-a"),
        (["a fox", "-m", "fake-a", "-n", "0"], "samples is 0"),
        (["a fox", "-m", "fake-a", "--set", "steps"], "--set is 'steps'; it is written KEY=VALUE"),
        (["a fox", "-m", "fake-a", "--set", "steps=4"], "fake-a has no setting steps"),
        (["a fox", "-m", "fake-a", "--set", "latency=1", "--set", "latency=2"], "--set names latency twice"),
        (["a fox", "-m", "fake-a", "--price", "fake-a=cheap"], "--price fake-a is 'cheap'"),
        (["a fox", "-m", "fake-a:price=2", "--budget", "1"], "too small for one picture"),
        (["a fox", "-m", "fake-a", "--on", "mars"], "--on is 'mars'; it is ray, or ray://HOST:PORT"),
        (["a fox", "-m", "fake-a", "--gpus", "1"], "--gpus goes with --on ray"),
        (["a fox", "--prompts", "basics", "-m", "fake-a"], "Prompts are given twice"),
        (["--prompts", "portrait", "-m", "fake-a"], "portraits"),
        (["nowhere.csv", "-m", "fake-a"], "nowhere.csv"),
        (["empty.txt", "-m", "fake-a"], "empty.txt"),
        (["broken.csv", "-m", "fake-a"], "line 3"),
    ],
)
def test_bad_input_is_a_usage_error(run_cli: Run, folder: Path, arguments: list[str], said: str) -> None:
    (folder / "empty.txt").write_text("\n# nothing\n", "utf-8")
    (folder / "broken.csv").write_text("prompt,category\na fox,animals\na,b,c,d\n", "utf-8")
    code, out, err = run_cli("pilot", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--store", "postgresql+psycopg://nobody:secret@127.0.0.1:9/x"], "cannot be used"),
        (["--store", "mysql://somewhere/x"], "The store is SQLite, or PostgreSQL"),
        (["--name", "nothing"], "no study yet"),
    ],
)
def test_what_fails_is_one_line(run_cli: Run, arguments: list[str], said: str) -> None:
    models = [] if "--name" in arguments else ["a fox", "-m", "fake-a"]
    code, out, err = run_cli("pilot", *models, *arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert "secret" not in err
    assert "Traceback" not in err


def test_a_vendor_without_a_key(run_cli: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BFL_API_KEY", "BFL_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = run_cli("pilot", "a fox", "-m", "flux-2-pro", "-m", "fake-a", "--size", "512x512", "--yes")
    assert code == 1
    assert "BFL_API_KEY" in err
    assert results.names(store) == []


def test_pictures_and_rows_in_places_of_ones_own(run_cli: Run, folder: Path, home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "diptych.toml").write_text(f'pictures = "{folder / "pictures"}"\n', "utf-8")
    database = folder / "mine.sqlite"
    assert run_cli("pilot", "a fox", "-m", "fake-a", "-n", 1, *SMALL, "--store", f"sqlite:///{database}")[0] == 0
    assert database.exists()
    assert [path.suffix for path in (folder / "pictures").rglob("*") if path.is_file()] == [""]
    assert not (home / "diptych.sqlite").exists()


def test_a_plugin_is_asked_like_any_other(tmp_path: Path, home: Path) -> None:
    """A real package, installed into a folder of its own."""
    package = Path(__file__).parents[1] / "plugins" / "diptych_echo"
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", target, package], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    run = [sys.executable, "-m", "diptych.cli", "pilot", "a fox", "-m", "echo/plain", "-n", "2", "--yes"]
    done = subprocess.run([*run, "--no-measure"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"echo/plain +2/2", done.stdout)


def test_an_edit_sends_the_picture(run_cli: Run, openai: OpenAI, folder: Path) -> None:
    code, out, _ = run_cli("generate", "a fox", "-m", "gpt-image-2", "--set", "quality=low", "-o", "fox.png")
    assert (code, out.strip()) == (0, "fox.png")
    code, out, _ = run_cli("edit", "fox.png", "make it dusk", "-m", "gpt-image-2", "-o", "dusk.png")
    assert (code, out.strip()) == (0, "dusk.png")
    assert openai.seen("generate")[-1].path.endswith("/images/edits")
    assert (folder / "dusk.png").read_bytes() == list(openai.pictures.values())[-1]
    code, _, err = run_cli("edit", "make it dusk", "-m", "gpt-image-2")
    assert code == 2
    assert "An edit needs a picture and a prompt" in err
    code, _, err = run_cli("edit", "missing.png", "make it dusk", "-m", "gpt-image-2")
    assert code == 1
    assert "missing.png" in err


def test_what_a_vendor_sends_keeps_its_type(run_cli: Run, openai: OpenAI, folder: Path) -> None:
    arguments = ("--set", "quality=low", "--set", "output_format=jpeg")
    code, out, _ = run_cli("generate", "a fox", "-m", "gpt-image-2", *arguments, "-o", "fox.png")
    assert (code, out.strip()) == (0, "fox.jpg")
    assert (folder / "fox.jpg").read_bytes()[:2] == b"\xff\xd8"
