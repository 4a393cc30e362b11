"""`diptych weights`: what it prints, asks and returns, against a small hub on this machine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from diptych.providers import hub
from tests.cli.conftest import Run
from tests.providers.hub_standin import Hub, Repository
from tests.providers.test_weights import FLUX, FOLDERS, REPO, names
from tests.standins.server import serve

KLEIN = "black-forest-labs/FLUX.2-klein-4B"


class Place(NamedTuple):
    hub: Hub
    cache: Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    small = Hub(
        {REPO: Repository(dict(FLUX)), KLEIN: Repository(dict(FLUX)), "lab/gated": Repository(FLUX, gated=True)}
    )
    for variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(hub, "PAUSE", 0.0)
    with serve(small.app()) as url, serve(small.large()) as small.elsewhere:
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield Place(small, tmp_path / "hf/hub")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_pull_prints_the_plan_and_the_folder(run_cli: Run, place: Place) -> None:
    code, out, err = run_cli("weights", "pull", REPO)
    assert code == 0
    folder = Path(out.strip())
    assert names(folder) == FOLDERS
    commit = place.hub.repositories[REPO].commit
    assert err.startswith(f"{REPO} at {commit[:12]}: 8 files, 47.4 KiB; 47.4 KiB to come; ")
    assert "15.8 KiB  transformer/diffusion_pytorch_model.safetensors" in err
    code, out, err = run_cli("weights", "pull", REPO)
    assert (code, out.strip()) == (0, str(folder))
    assert err == f"{REPO} at {commit[:12]}: 8 files, 47.4 KiB; all of it here\n"


def test_a_dry_run_brings_nothing(run_cli: Run, place: Place, home: Path) -> None:
    code, out, err = run_cli("weights", "pull", REPO, "--layout", "single", "--dry-run")
    assert (code, out) == (0, "")
    assert "flux-tiny.safetensors" in err
    assert "transformer" not in err
    assert place.hub.seen == []
    assert not (home / "weights").exists()


def test_a_model_of_the_catalogue_has_its_repository(run_cli: Run, place: Place) -> None:
    code, _, err = run_cli("weights", "pull", "flux-2-klein-4b")
    assert code == 0
    assert err.startswith(KLEIN)
    code, out, _ = run_cli("weights", "check", "flux-2-klein-4b")
    assert (code, out) == (0, f"{KLEIN} ({place.hub.repositories[KLEIN].commit[:12]}): whole\n")
    code, out, err = run_cli("weights", "pull", "flux-2-klein-4c")
    assert (code, out) == (2, "")
    assert "There is no model named 'flux-2-klein-4c'. Did you mean flux-2-klein-4b" in err
    code, _, err = run_cli("weights", "pull", "gpt-image-2")
    assert code == 2
    assert "gpt-image-2 has no open weights on the hub, as far as the catalogue knows." in err


def test_a_gated_repository_is_an_error_that_says_what_to_do(run_cli: Run, place: Place) -> None:
    code, out, err = run_cli("weights", "pull", "lab/gated")
    assert (code, out) == (1, "")
    assert "diptych: lab/gated is gated" in err
    assert "https://huggingface.co/lab/gated" in err
    assert "Traceback" not in err


def test_list(run_cli: Run, place: Place) -> None:
    code, out, _ = run_cli("weights", "list")
    assert (code, out) == (0, "No weights were pulled yet. Call: diptych weights pull OWNER/NAME\n")
    run_cli("weights", "pull", REPO)
    commit = place.hub.repositories[REPO].commit
    code, out, _ = run_cli("weights", "list")
    first, second = out.splitlines()
    assert first == f"{REPO}  47.4 KiB  main ({commit[:12]})"
    folder = Path(second.strip())
    assert names(folder) == FOLDERS
    (folder / "LICENSE.md").unlink()
    assert "  1 of 8 files missing" in run_cli("weights", "list")[1]
    (entry,) = json.loads(run_cli("weights", "list", "--json")[1])
    assert (entry["repo"], entry["commit"], entry["missing"]) == (REPO, commit, ["LICENSE.md"])
    assert entry["folder"] == str(folder)
    assert {file["name"] for file in entry["files"]} == FOLDERS


def test_check_ends_with_1_and_mends(run_cli: Run, place: Place) -> None:
    folder = Path(run_cli("weights", "pull", REPO)[1].strip())
    assert run_cli("weights", "check")[0] == 0
    blob = (folder / "vae/diffusion_pytorch_model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + bytes([blob.read_bytes()[-1] ^ 1]))
    code, out, _ = run_cli("weights", "check", REPO)
    assert code == 1
    assert "1 file is wrong" in out
    assert "vae/diffusion_pytorch_model.safetensors was altered" in out
    assert "diptych weights check --drop" in out
    assert run_cli("weights", "check", "--drop")[0] == 1
    assert run_cli("weights", "pull", REPO)[0] == 0
    assert run_cli("weights", "check")[0] == 0


def test_rm_asks(run_cli: Run, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(run_cli("weights", "pull", REPO)[1].strip())
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, _, err = run_cli("weights", "rm", REPO)
    assert code == 2
    assert "--yes goes without" in err
    for answer, there in (("n\n", True), ("y\n", False)):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        code, out, err = run_cli("weights", "rm", REPO)
        assert f"Delete {REPO} (" in err
        assert folder.exists() == there
        assert code == int(there)
    assert out.strip() == "Freed 47.4 KiB."
    run_cli("weights", "pull", REPO)
    assert run_cli("weights", "rm", REPO, "--yes")[1].strip() == "Freed 47.4 KiB."
    code, _, err = run_cli("weights", "rm", REPO, "--yes")
    assert code == 1
    assert f"{REPO} was not pulled" in err


def test_a_pull_that_was_killed_goes_on(run_cli: Run, place: Place, home: Path) -> None:
    place.hub.hang = 6000
    command = [sys.executable, "-m", "diptych.cli", "weights", "pull", REPO, "--include", "ae.safetensors"]
    process = subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not any(part.stat().st_size for part in place.cache.rglob("*.incomplete")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    (part,) = place.cache.rglob("*.incomplete")
    came = part.stat().st_size
    assert 0 < came <= 6000
    place.hub.seen.clear()
    code, out, _ = run_cli("weights", "pull", REPO, "--include", "ae.safetensors")
    assert code == 0
    assert place.hub.seen == [("ae.safetensors", f"bytes={came}-")]
    assert (Path(out.strip()) / "ae.safetensors").read_bytes() == FLUX["ae.safetensors"]
