"""`diptych doctor`: what is there, what is broken, what to do next; 1 only for what is broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diptych import settings
from diptych.providers import local
from diptych.providers.local import this_machine
from diptych.studies import doctor
from tests.cli.conftest import Run
from tests.cli.test_keys import PLANTED, no_variables

__all__ = ["no_variables"]  # a fixture that holds here too


def ask(run_cli: Run, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = run_cli("doctor", "--json", *arguments)
    assert err == ""
    return code, json.loads(out)


def test_a_fresh_installation_is_well(run_cli: Run, home: Path) -> None:
    code, out, err = run_cli("doctor")
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= 80
    for part in ("This machine", "Models that run here", "Keys", "Store", "Extras", "Next"):
        assert f"\n{part}\n" in out
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "ready" in lines["builtin-flow"]
    assert "weights alone" in out
    assert "0 studies, 0 pictures" in lines["holds"]
    assert "not set" in lines["dollars"]
    assert "Broken" not in out
    assert "1.  For hosted models, keep a vendor's key: diptych keys set google" in out
    assert "diptych pilot -m" in out


def test_it_is_told_as_json(run_cli: Run, home: Path) -> None:
    code, found = ask(run_cli)
    assert code == 0
    machine = found["machine"]
    assert machine["device"] in ("cpu", "cuda", "mps")
    assert machine["dtype"] in ("float32", "bfloat16")
    assert 0 < machine["memory_free"] < machine["memory"]
    assert found["home"] == str(home)
    assert found["store"]["name"] == f"sqlite:///{home}/diptych.sqlite"
    assert found["store"]["disk_free"] > 0
    assert {one["package"] for one in found["extras"]} >= {"torch", "openai", "ray", "psycopg"}
    assert found["problems"] == []
    assert len(found["next_steps"]) >= 3


def test_what_was_done_is_counted_and_no_longer_advised(run_cli: Run, home: Path, folder: Path) -> None:
    home.mkdir()
    (home / "diptych.toml").write_text("dollars_per_hour = 1.25", "utf-8")
    settings.store_key("google", PLANTED)
    for number in range(3):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"a fox {number}.png")
    assert run_cli("import", folder, "-m", "elsewhere")[0] == 0
    code, found = ask(run_cli)
    assert code == 0
    assert found["dollars_per_hour"] == 1.25
    assert (found["store"]["studies"], found["store"]["pictures"]) == (1, 3)
    assert {key["provider"]: key["source"] for key in found["keys"]}["google"] == str(home / "keys.json")
    assert found["next_steps"] == ["See what your latest study says: diptych report"]


def test_no_key_is_shown_in_any_way(run_cli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.store_key("google", PLANTED)
    settings.store_key("my-studio", PLANTED + "2")
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED + "3")
    for arguments in (("doctor",), ("doctor", "--json"), ("doctor", "--store", "postgresql://u:pw@127.0.0.1:1/x")):
        _, out, err = run_cli(*arguments)
        assert PLANTED not in out + err
        assert "OPENAI_API_KEY" in out
        assert "my-studio" in out


class TestWhatIsBroken:
    def test_a_store_that_does_not_answer(self, run_cli: Run) -> None:
        url = "postgresql+psycopg://me:secret-word@127.0.0.1:1/none"
        code, out, err = run_cli("doctor", "--store", url)
        assert code == 1
        assert "does not answer: see below" in out
        assert "Broken: The store postgresql+psycopg://me:***@127.0.0.1:1/none cannot be used" in " ".join(out.split())
        assert "1.  Mend the store" in out
        assert "secret-word" not in out + err
        code, found = ask(run_cli, "--store", url)
        assert code == 1
        assert "secret-word" not in json.dumps(found)
        assert found["machine"]["cores"], "the rest is looked at all the same"

    def test_a_damaged_database(self, run_cli: Run, home: Path) -> None:
        home.mkdir()
        (home / "diptych.sqlite").write_bytes(b"this is no database, whatever it is called\n" * 100)
        code, found = ask(run_cli)
        assert code == 1
        assert "file is not a database" in found["store"]["problem"]

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("diptych.toml", "store = [", "diptych.toml is not TOML"),
            ("diptych.toml", "dollars = 3", "sets dollars, which is not a setting. Did you mean dollars_per_hour?"),
            ("keys.json", f'{{"google": "{PLANTED}"', "keys.json is not the file of keys that diptych writes"),
            ("models.toml", "[[models]", "models.toml is not valid TOML"),
        ],
    )
    def test_a_file_of_settings(self, name: str, content: str, said: str, run_cli: Run, home: Path) -> None:
        home.mkdir()
        (home / name).write_text(content, "utf-8")
        (home / name).chmod(0o600)
        code, out, err = run_cli("doctor")
        assert (code, err) == (1, "")
        assert said in " ".join(out.split())
        assert out.count("Broken:") == 1
        assert PLANTED not in out
        code, found = ask(run_cli)
        assert code == 1
        assert len(found["problems"]) == 1


class TestThisMachine:
    def test_without_torch(self, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        for name in [n for n in sys.modules if n.startswith("diptych.engines")]:
            monkeypatch.delitem(sys.modules, name)
        code, out, _ = run_cli("doctor")
        assert code == 0
        assert "torch is not installed" in out
        assert '1.  For models that run here: pip install "diptych[local]"' in out
        assert "diptych pilot -m fake-a -m fake-b" in " ".join(out.split())

    @pytest.mark.parametrize(
        ("gib", "card", "state"),
        [(5, None, "too large"), (8.5, None, "tight"), (16, None, "fits"), (64, 5, "too large"), (4, 24, "fits")],
    )
    def test_weights_are_held_against_the_memory_that_counts(
        self, gib: float, card: float | None, state: str, run_cli: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """FLUX.2 klein 4B: 3.8755 billion parameters are 7.2 GiB."""
        here = local.Machine(
            device="cuda" if card else "cpu",
            name="a machine",
            dtype="bfloat16",
            memory=round(gib * 2**30),
            memory_free=2**30,
            device_memory=round(card * 2**30) if card else None,
        )
        monkeypatch.setattr(local, "machine", lambda: here)
        _, found = ask(run_cli)
        (model,) = [one for one in found["models"] if one["name"] == "flux-2-klein-4b"]
        assert (model["state"], model["weights"]) == (state, 7_751_000_000)

    def test_memory_that_nobody_tells(self, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local, "machine", lambda: local.Machine(device=None, name=""))
        code, out, _ = run_cli("doctor")
        assert code == 0
        assert any(line.split() == ["memory", "unknown"] for line in out.splitlines())

    def test_a_container_s_limit_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        texts = {
            "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4194304 kB\n",
            "/sys/fs/cgroup/memory.max": "1073741824\n",
            "/sys/fs/cgroup/memory.current": "268435456\n",
        }
        monkeypatch.setattr(this_machine, "_text", lambda path: texts[path])
        assert this_machine._memory() == (2**30, 3 * 2**28)
        texts["/sys/fs/cgroup/memory.max"] = "max\n"
        assert this_machine._memory()[1] == 2**32


def test_a_full_disk_is_warned_of(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_disk_free", lambda _: 2**20)
    code, found = ask(run_cli)
    assert code == 0
    assert found["next_steps"][0].startswith("Make room on the disk of")


def test_a_key_without_its_client(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.store_key("openai", PLANTED)
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "openai" else version(package))
    _, found = ask(run_cli)
    assert 'openai has a key but not its client: pip install "diptych[openai]"' in found["next_steps"]
