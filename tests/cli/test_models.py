"""`diptych models`: what a person sees, and what a script reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diptych.catalogue import load
from diptych.catalogue.reading import load_packaged
from diptych.cli import models
from diptych.errors import CatalogueError, UnknownModel

NAMES = load_packaged().names  # known before a test has its own home folder


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def run(*arguments: str) -> str:
    """What the command prints; what it raises is raised here, as the main app would meet it."""
    result = CliRunner().invoke(models.app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def line_of(output: str, start: str) -> str:
    return next(line for line in output.splitlines() if line.strip().startswith(start))


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_fits_and_cuts_nothing(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    output = run()
    assert max(len(line) for line in output.splitlines()) <= width
    assert "…" not in output
    for model in load().models:
        assert line_of(output, f"{model.name} ")


def test_a_line_of_the_list() -> None:
    output = run()
    assert line_of(output, "flux-2-pro").split() == ["flux-2-pro", "hosted", "0.03–0.08", "≠", "1185", "1157", "·"]
    assert line_of(output, "flux-2-klein-4b").split() == ["flux-2-klein-4b", "both", "0.014", "1058", "1024", "·"]
    assert line_of(output, "builtin-flow").split() == ["builtin-flow", "here", "·", "·", "·", "·"]
    assert line_of(output, "gemini-2.5-flash").split()[-2:] == ["2026-10-02", "≠"]
    for maker in ("Black Forest Labs", "Google", "OpenAI"):
        assert line_of(output, maker)
    assert "two scales" in output


def test_the_list_as_json_is_the_catalogue() -> None:
    printed = json.loads(run("--json"))
    catalogue = load()
    assert [entry["name"] for entry in printed["models"]] == list(catalogue.names)
    for entry, model in zip(printed["models"], catalogue.models, strict=True):
        conflicts = entry.pop("conflicts")
        assert entry == model.model_dump(mode="json")
        assert len(conflicts) == len(model.conflicts())
    assert printed["makers"] == [maker.model_dump(mode="json") for maker in catalogue.makers]


@pytest.mark.parametrize(("name", "width"), [*((name, 80) for name in NAMES), ("flux-2-pro", 120), ("gpt-image-2", 60)])
def test_one_model_fits(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    output = run("show", name)
    assert max(len(line) for line in output.splitlines()) <= width
    assert load().find(name).title in output, "a title in brackets is not markup"


def test_one_model_shows_sources_dates_and_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    output = run("show", "flux-2-pro")
    for said in (
        ("0.055 an image", "blog.laozhang.ai", "2026-03"),
        ("0.08 an image", "blog.gomajossi.com", "2026-05"),
        ("1265", "blog.laozhang.ai", "2026-03"),
        ("10 images", "docs.bfl.ai", "undated"),
        ("15 to 30 s", "blog.laozhang.ai", "2026-03"),
    ):
        line = next(line for line in output.splitlines() if all(part in line for part in said))
        assert line.startswith("≠")
    assert not line_of(output, "released").startswith("≠")
    assert "sources disagree" in output
    assert "https://docs.bfl.ai" in output


def test_one_model_says_what_is_unknown() -> None:
    assert "unknown: a request is sent as it is" in " ".join(run("show", "gemini-3-pro-image").split())
    assert "sources disagree" not in run("show", "gemini-3-pro-image")


def test_one_model_as_json() -> None:
    printed = json.loads(run("show", "flux-2-pro", "--json"))
    model = load().find("flux-2-pro")
    assert printed.pop("conflicts") == json.loads(json.dumps([c.to_dict() for c in model.conflicts()]))
    assert printed == model.model_dump(mode="json")
    assert printed["maker"] == "black_forest_labs"
    assert printed["weights"] is None, "unknown is null"


def test_an_unknown_name_is_raised_for_the_main_app() -> None:
    with pytest.raises(UnknownModel, match="Did you mean flux-2-pro"):
        run("show", "flux-2-prp")


def test_add_show_remove() -> None:
    assert "Added sdxl to" in run("add", "--provider", "replicate", "stability-ai/sdxl")
    assert "stability-ai/sdxl" in run("show", "sdxl")
    assert line_of(run(), "Added by you")
    assert line_of(run(), "sdxl").split() == ["sdxl", "hosted", "·", "·", "·", "·"]
    assert "Removed sdxl from" in run("remove", "sdxl")
    with pytest.raises(UnknownModel):
        run("show", "sdxl")


def test_add_a_local_folder(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.json").write_text('{"settings": {"steps": {"default": 9}}}')
    run("add", str(folder), "--name", "mine")
    assert "default 9" in run("show", "mine")
    with pytest.raises(CatalogueError, match="already"):
        run("add", str(folder), "--name", "mine")


def test_json_in_the_wrong_place_is_refused() -> None:
    result = CliRunner().invoke(models.app, ["--json", "show", "flux-2-pro"])
    assert result.exit_code == 2
