"""`diptych keys`: kept where only the user reads, listed by name, never shown."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from diptych import settings
from tests.cli.conftest import Run

PLANTED = "sk-planted-0123456789-abcdefghijklmnop"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of whoever runs the tests."""
    for source in settings.KEYS.values():
        for variable in source.variables:
            monkeypatch.delenv(variable, raising=False)


class Input(io.TextIOWrapper):
    """Standard input: a pipe, or a terminal at which nobody types unless the prompt is replaced."""

    def __init__(self, data: bytes, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def piped(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call `diptych` with something on standard input."""

    def run(data: bytes, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", Input(data))
        return run_cli(*arguments)

    return run


def test_nothing_is_set_at_first(run_cli: Run, home: Path) -> None:
    code, out, err = run_cli("keys")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines() if line[:1].isalpha()}
    assert [rows[name] for name in settings.KEYS] == ["-"] * len(settings.KEYS)
    assert "OPENAI_API_KEY, made at" in out
    assert "diptych keys set PROVIDER" in out
    assert not home.exists()
    assert max(len(line) for line in out.splitlines()) <= 80


def test_a_piped_key_is_kept_for_the_user_alone(piped: Any, run_cli: Run) -> None:
    code, out, err = piped(f"{PLANTED}\nsecond line\n".encode(), "keys", "set", "openai")
    assert (code, err) == (0, "")
    assert out == f"The key of openai is kept in {settings.keys_file()}.\n"
    assert stat.S_IMODE(settings.keys_file().stat().st_mode) == 0o600
    assert settings.key("openai") == PLANTED
    code, out, err = run_cli("keys")
    (line,) = [line for line in out.splitlines() if line.startswith("openai")]
    assert line.split()[1] == "set"
    assert PLANTED not in out + err


def test_it_is_asked_for_at_a_terminal_unseen(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def prompt(text: str, **how: Any) -> str:
        asked.update(how, text=text)
        return f" {PLANTED} "

    monkeypatch.setattr("diptych.cli.keys.typer.prompt", prompt)
    monkeypatch.setattr(sys, "stdin", Input(b"", terminal=True))
    code, out, err = run_cli("keys", "set", "google")
    assert code == 0
    assert asked["hide_input"] is True
    assert asked["err"] is True
    assert settings.key("google") == PLANTED
    assert PLANTED not in out + err


def test_a_key_that_was_there_is_replaced_and_others_stay(piped: Any) -> None:
    piped(b"first-key-of-openai", "keys", "set", "openai")
    piped(b"the-key-of-google", "keys", "set", "google")
    piped(PLANTED.encode(), "keys", "set", "openai")
    assert json.loads(settings.keys_file().read_text("utf-8")) == {"google": "the-key-of-google", "openai": PLANTED}
    assert stat.S_IMODE(settings.keys_file().stat().st_mode) == 0o600


def test_a_provider_of_somebody_else_is_possible(piped: Any, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert piped(PLANTED.encode(), "keys", "set", "my-studio")[0] == 0
    out = run_cli("keys")[1]
    assert [line.split()[1] for line in out.splitlines() if line.startswith("my-studio")] == ["set"]
    assert settings.key("my-studio") == PLANTED


def test_the_environment_comes_first_and_is_named(piped: Any, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", PLANTED)
    code, out, err = run_cli("keys")
    (line,) = [line for line in out.splitlines() if line.startswith("google")]
    assert line.split() == ["google", "set", "GOOGLE_API_KEY"]
    code, out, err = piped(b"another-key-for-google", "keys", "set", "google")
    assert code == 0
    assert err == "The variable GOOGLE_API_KEY is set too, and comes before keys.json.\n"
    assert "another" not in out + err
    code, out, err = run_cli("keys", "remove", "google")
    assert (code, err) == (0, "The variable GOOGLE_API_KEY is set too, and comes before keys.json.\n")
    code, out, err = run_cli("keys", "remove", "google")
    assert code == 2
    assert "There is no key of google in" in err
    assert "It comes from the variable GOOGLE_API_KEY; unset that." in err


def test_removing(piped: Any, run_cli: Run) -> None:
    piped(PLANTED.encode(), "keys", "set", "fal")
    code, out, err = run_cli("keys", "remove", "fal")
    assert (code, out, err) == (0, f"The key of fal was removed from {settings.keys_file()}.\n", "")
    assert settings.find_key("fal") is None
    assert run_cli("keys", "remove", "fal")[0] == 2


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("set", "openai", PLANTED), "A key is not given as an argument"),
            (("set", "openai", f"--key={PLANTED}"), "A key is not given as an argument"),
            (("set", "openai", "--key", PLANTED), "A key is not given as an argument"),
            (("set", PLANTED, "openai"), "A key is not given as an argument"),
            (("set", PLANTED), "That is no name of a provider; there are google, black_forest_labs"),
            (("set", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz"), "That is no name of a provider"),
            (("remove", PLANTED), "That is no name of a provider"),
            (("remove", "openai", PLANTED), "Name one provider, as `diptych keys` lists it."),
            (("openai", PLANTED), "There are `diptych keys`, `diptych keys set PROVIDER`"),
            ((PLANTED,), "There are `diptych keys`, `diptych keys set PROVIDER`"),
            (("set", "opnai"), "There is no provider named 'opnai'. Did you mean openai?"),
            (("set", "local"), "local needs no key: its models run on this machine."),
            (("set", "fake"), "fake needs no key"),
            (("set",), "Missing argument"),
            (("remove", "openai"), "There is no key of openai in"),
        ],
    )
    def test_nothing_typed_is_repeated_that_may_be_a_key(
        self, arguments: tuple[str, ...], said: str, piped: Any, home: Path
    ) -> None:
        code, out, err = piped(f"{PLANTED}\n".encode(), "keys", *arguments)
        assert code == 2
        assert said in err
        assert PLANTED not in out + err
        assert PLANTED[3:] not in out + err
        assert "AbCdEf" not in out + err
        assert not (home / "keys.json").exists()

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "No key came: standard input is empty."),
            (b"\n", "No key came"),
            (b"two words-planted", "That is no key for openai: a key is one word of plain characters."),
            ("sk-pl\u00e4nted".encode(), "That is no key for openai"),
            (b"\xff\xfe\x00planted", "That is no key for openai"),
            (b"sk-\x07planted", "That is no key for openai"),
        ],
    )
    def test_what_is_no_key_is_not_kept(self, data: bytes, said: str, piped: Any, home: Path) -> None:
        code, out, err = piped(data, "keys", "set", "openai")
        assert code == 2
        assert said in err
        assert "planted" not in out + err
        assert not (home / "keys.json").exists()


class TestABrokenFile:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (f'{{"openai": "{PLANTED}"', "is not the file of keys that diptych writes: it is not JSON."),
            (f'["{PLANTED}"]', "it holds no table of texts."),
            (f'{{"openai": {{"key": "{PLANTED}"}}}}', "it holds no table of texts."),
        ],
    )
    @pytest.mark.parametrize("arguments", [(), ("set", "google"), ("remove", "openai")])
    def test_it_is_said_and_left_alone(
        self, content: str, said: str, arguments: tuple[str, ...], piped: Any, home: Path
    ) -> None:
        home.mkdir()
        path = home / "keys.json"
        path.write_text(content, "utf-8")
        path.chmod(0o600)
        code, out, err = piped(b"a-new-key-for-google", "keys", *arguments)
        assert code == 1
        assert said in err
        assert "Traceback" not in err
        assert PLANTED not in out + err
        assert "a-new-key" not in out + err
        assert path.read_text("utf-8") == content

    @pytest.mark.parametrize("arguments", [(), ("set", "google"), ("remove", "openai")])
    def test_one_that_others_may_read_is_not_used(self, arguments: tuple[str, ...], piped: Any, home: Path) -> None:
        home.mkdir()
        path = home / "keys.json"
        path.write_text(json.dumps({"openai": PLANTED}), "utf-8")
        path.chmod(0o644)
        code, out, err = piped(b"a-new-key-for-google", "keys", *arguments)
        assert code == 1
        assert f"{path} can be read by others, so it is not used. Mend it with: chmod 600 {path}" in err
        assert PLANTED not in out + err

    def test_a_home_that_cannot_be_written(self, piped: Any, home: Path) -> None:
        home.write_bytes(b"a file")
        code, out, err = piped(PLANTED.encode(), "keys", "set", "openai")
        assert code == 1
        assert "keys.json cannot be" in err
        assert PLANTED not in out + err
        assert sorted(os.listdir(home.parent)) == ["home", "work"]
