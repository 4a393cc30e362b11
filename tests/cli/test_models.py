"""`diptych models`: what a person sees, and what a script reads."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from diptych.catalogue import load
from diptych.catalogue.reading import load_packaged
from diptych.cli import models
from diptych.errors import CatalogueError, UnknownModel

NAMES = load_packaged().names  # known before a test has its own home folder
TODAY = dt.date(2026, 11, 15)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def run(*arguments: str) -> str:
    """What the command prints; what it raises is raised here, as the main app would meet it."""
    result = CliRunner().invoke(models.app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def without_stale(value: Any) -> Any:
    if isinstance(value, list):
        return [without_stale(item) for item in value]
    if isinstance(value, dict):
        return {key: without_stale(item) for key, item in value.items() if key != "stale"}
    return value


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


def test_the_list_as_json_is_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_today", lambda: TODAY)
    printed = json.loads(run("--json"))
    catalogue = load()
    assert [entry["name"] for entry in printed["models"]] == list(catalogue.names)
    for entry, model in zip(printed["models"], catalogue.models, strict=True):
        conflicts, retired, ending = entry.pop("conflicts"), entry.pop("retired"), entry.pop("ending")
        assert without_stale(entry) == model.model_dump(mode="json")
        assert len(conflicts) == len(model.conflicts())
        assert (retired, ending) == (model.retired(TODAY), model.ending(TODAY))
    assert without_stale(printed["makers"]) == [maker.model_dump(mode="json") for maker in catalogue.makers]


def test_the_list_can_be_narrowed() -> None:
    def names(*arguments: str) -> set[str]:
        return {entry["name"] for entry in json.loads(run(*arguments, "--json"))["models"]}

    everything = names()
    assert names("--search", "klein 4B") == {"flux-2-klein-4b", "flux-2-klein-base-4b"}
    assert names("--search", "GOOGLE ultra") == {"imagen-4.0-ultra"}
    assert "flux-1-schnell" in names("--search", "fal-ai")
    here, hosted = names("--local"), names("--hosted")
    assert here & hosted == {"flux-1-schnell", "flux-1-dev", "flux-2-klein-4b", "flux-2-klein-9b"}
    assert everything - here - hosted == {"fake-a", "fake-b"}
    assert names("--search", "klein", "--hosted") == {"flux-2-klein-4b", "flux-2-klein-9b"}
    output = run("--search", "gpt")
    assert line_of(output, "gpt-image-2")
    assert "flux-2-pro" not in output
    assert "Black Forest Labs" not in output
    assert run("--search", "zzz") == "No model of the catalogue matches 'zzz'; `diptych models` lists all.\n"
    assert json.loads(run("--search", "zzz", "--json")) == {"models": [], "makers": []}


def test_fake_models_are_listed_apart() -> None:
    run("add", "--provider", "replicate", "owner/mine")
    lines = run().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Fake models, for rehearsals"))
    assert [line.split() for line in lines[at + 1 : at + 3]] == [["fake-a", "fake"], ["fake-b", "fake"]]
    assert next(i for i, line in enumerate(lines) if "mine" in line) < at, "last, also behind your own"
    assert "for rehearsing: they make no real pictures" in " ".join(lines)


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *((name, 80) for name in NAMES),
        *((name, 140) for name in NAMES),
        ("flux-2-pro", 120),
        ("gpt-image-2", 60),
        ("gemini-3-pro-image", 40),
    ],
)
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
    output = run("show", "replicate/owner/name")
    assert "unknown: a request is sent as it is" in output
    assert "in no file" in output
    assert "sources disagree" not in run("show", "gemini-3-pro-image")


def test_one_model_shows_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    output = run("show", "gemini-3.1-flash-image")
    assert line_of(output, "image_size").split(maxsplit=1)[1].strip() == "512, 1K, 2K or 4K; default 1K"
    assert "at most 14 pictures" in line_of(output, "references")
    assert line_of(output, "personGeneration").rstrip().endswith("ALLOW_NONE; on Vertex AI alone")
    assert "googleapis/python-genai 3.4.0, 2026-11" in output
    assert "60 image out" in output
    klein = run("show", "flux-2-klein-4b")
    assert "settings by black forest labs" in klein
    assert "0 to 5; 0 is the strictest" in line_of(klein, "safety_tolerance")
    by_route = run("show", "flux-2-klein-4b@black_forest_labs")
    assert "steps" not in by_route
    assert line_of(by_route, "black forest labs  ").split()[-1] == "flux-2-klein-4b"


def test_one_model_says_first_that_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(models, "_today", lambda: TODAY)
    lines = run("show", "gemini-2.5-flash-image").splitlines()
    assert lines[3] == (
        "gemini-2.5-flash-image was shut down on 2026-10-02, says ai.google.dev; "
        "LiteLLM price file (2026-09) says 2027-03-15."
    )
    assert "will be shut down on 2026-12-01" in run("show", "gpt-image-1.5")
    assert "shut down" not in run("show", "gpt-image-2")


def test_what_is_stale_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(models, "_today", lambda: TODAY)
    output = run("show", "gpt-image-2")
    assert line_of(output, "Artificial Analysis").rstrip().endswith("2026-07-10 stale")
    assert line_of(output, "LM Arena").rstrip().endswith("2026-08-24")
    assert line_of(output, "released").rstrip().endswith("undated stale")
    printed = json.loads(run("show", "gpt-image-2", "--json"))
    assert [rating["stale"] for rating in printed["ratings"]] == [True, False]
    assert printed["dates"]["released"][0]["stale"] is True
    assert printed["settings"]["stale"] is True
    assert "stale" not in printed["settings"]["size"]
    disputed = json.loads(run("show", "gemini-2.5-flash-image", "--json"))
    assert [claim["stale"] for claim in disputed["conflicts"][0]["claims"]] == [True, False]
    assert "says 2027-03-15" in disputed["retired"]


def test_piped_output_is_plain() -> None:
    for arguments in ((), ("show", "gemini-2.5-flash-image")):
        assert "\x1b" not in run(*arguments)


def test_one_model_as_json() -> None:
    printed = json.loads(run("show", "flux-2-pro", "--json"))
    model = load().find("flux-2-pro")
    conflicts = [conflict.to_dict() for conflict in model.conflicts()]
    assert without_stale(printed.pop("conflicts")) == json.loads(json.dumps(conflicts))
    assert (printed.pop("retired"), printed.pop("ending")) == (None, None)
    assert without_stale(printed) == model.model_dump(mode="json")
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


@pytest.mark.parametrize("before", [["--json"], ["--local"], ["--search", "x"]])
def test_what_is_for_the_list_is_refused_before_a_verb(before: list[str]) -> None:
    result = CliRunner().invoke(models.app, [*before, "show", "flux-2-pro"])
    assert result.exit_code == 2
    assert before[0] in result.output
