"""`diptych judge`: served until Ctrl-C, and what it says then; what it refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.judging import serving
from diptych.store.database import Store
from tests.cli.conftest import Run
from tests.judging.conftest import DEAR, QUICK, Judge, a_study
from tests.judging.test_marks import marked, scene
from tests.judging.test_sitting import prefers
from tests.report.conftest import Builder, picture
from tests.servers import free_port

Start = Callable[..., "Running"]
FIRST = r"The blind test is at (http://127\.0\.0\.1:\d+)/\n"


@pytest.fixture(autouse=True)
def quiet_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding this machine's own address connects a socket, and the network is closed in tests."""
    monkeypatch.setattr(serving, "own_address", lambda family=socket.AF_INET: None)


@pytest.fixture
def own(home: Path) -> Iterator[Store]:
    opened = stores.open()
    yield opened
    opened.close()


class Running:
    """The command in a process of its own, as a person runs it."""

    def __init__(self, home: Path, *arguments: object) -> None:
        command = [sys.executable, "-m", "diptych.cli", "judge", "--no-open", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "DIPTYCH_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        found = re.match(FIRST, self.first)
        assert found, (self.first, self.process.stderr and self.process.stderr.read())
        self.url = found[1]

    def stop(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    running: list[Running] = []

    def started(*arguments: object) -> Running:
        running.append(Running(home, *arguments))
        return running[-1]

    yield started
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def test_a_sitting_until_ctrl_c(start: Start, own: Store) -> None:
    a_study(own, samples=4, name="foxes in snow")
    running = start("foxes in snow")
    with Judge(running.url) as judge:
        for number in range(14):
            trial = judge.following()["trials"][0]["trial"]
            with own.reading() as connection:
                from diptych.studies import votes

                row = votes.trial(connection, trial)
            assert judge.vote(trial, prefers(own, row, DEAR), f"key-{number:08}").json()["status"] == "kept"
        page = judge.get("/").text
    assert "foxes in snow" not in page  # the name of a study may name models
    code, out, err = running.stop()
    assert code == 0
    assert f"14 votes by 1 judge. {DEAR} is better." in out
    assert "False-alarm rate at most 5 %" in out
    assert f"{DEAR} {14}" in out or f"{QUICK} has 0, {DEAR} 14" in out
    assert 'Next: diptych leaderboard "foxes in snow", diptych report "foxes in snow"' in out
    assert "Go on with" not in out
    assert "Traceback" not in err
    assert "Ctrl-C ends it." in err


def test_without_votes_it_says_how_to_go_on(start: Start, own: Store) -> None:
    a_study(own)
    code, out, _ = start().stop()
    assert (code, out.strip()) == (0, "No votes yet. Go on with: diptych judge study")


def test_votes_that_are_too_few(start: Start, own: Store) -> None:
    a_study(own)
    running = start("--votes", 5, "--criterion", "detail")
    with Judge(running.url) as judge:
        state = judge.following()
        assert state["criterion"] == "detail"
        assert judge.vote(state["trials"][0]["trial"], criterion="detail").json()["progress"]["more"] == (
            "At least 7 more votes are needed; the budget has 4"
        )
    _, out, _ = running.stop()
    assert "1 vote by 1 judge. The votes do not separate them yet." in out
    assert "Go on with: diptych judge study" in out


def test_a_mark_is_told_without_a_name(start: Start, own: Store) -> None:
    import io

    study = Builder(own)
    for label in (QUICK, DEAR):
        study.contestant(label)
    for prompt in range(3):
        study.prompt(f"prompt {prompt}")
        for at in range(2):
            out = io.BytesIO()
            image = scene(10 * prompt + at)
            (marked(image, "bottom right") if at else image).save(out, "PNG")
            study.sample(prompt, at, 0, out.getvalue())
    running = start("--watermarked", QUICK)
    with Judge(running.url) as judge:
        judge.vote(judge.following()["trials"][0]["trial"])
        facts = judge.post("/api/end", json={}).json()["reveal"]
    assert facts["marked"] == [QUICK, DEAR]
    _, said, err = running.stop()
    assert "the pictures of one model carry what looks like a mark in the bottom right corner" in err
    assert DEAR not in err
    assert f"With a mark that can be seen: {QUICK}, {DEAR}." in said


def test_colleagues_need_the_code(start: Start, own: Store) -> None:
    a_study(own)
    running = start("--host", "0.0.0.0")  # noqa: S104  # that is what is tested
    assert running.process.stdout is not None
    line = running.process.stdout.readline()
    if line.startswith("For colleagues"):
        line = running.process.stdout.readline()
    found = re.match(r"Join code: +([A-Z]{3}-[A-Z]{3})\n", line)
    assert found, line
    with Judge(running.url) as judge:
        assert judge.following() == {"needs": "code"}
        assert judge.post("/api/join", json={"code": found[1]}).json() == {"joined": True}
        assert judge.following()["trials"]
    assert running.stop()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nothing",), 1, "There is no study named 'nothing'. There is study."),
        (("--criterion", "beauty"), 2, "--criterion is 'beauty'; it is overall, detail, follows the prompt."),
        (("--watermarked", "quick-model"), 2, f"There is no model named 'quick-model'. Did you mean {QUICK}?"),
        (("--host", "192.0.2.1"), 2, "--host 192.0.2.1 is no address of this machine."),
        (("--port", "70000"), 2, "--port is 70000; it is 0 (any free one) to 65535."),
    ],
)
def test_what_cannot_be_is_said(run_cli: Run, own: Store, arguments: tuple[str, ...], code: int, said: str) -> None:
    a_study(own)
    ended, out, err = run_cli("judge", "--no-open", *arguments)
    assert (ended, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_a_taken_port_is_said(run_cli: Run, own: Store) -> None:
    a_study(own)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        code, _, err = run_cli("judge", "--no-open", "--port", port)
    assert (code, err) == (
        2,
        f"diptych: Port {port} is taken by another program. Name another one, or --port 0 for any free one.\n",
    )


def test_one_model_cannot_be_judged(run_cli: Run, own: Store) -> None:
    study = Builder(own, "alone")
    study.prompt("a fox")
    study.contestant("only-model")
    study.sample(0, 0, 0, picture(1))
    code, _, err = run_cli("judge", "--no-open", "--port", 0)
    assert code == 1
    assert "The study alone has one model: a blind test takes two." in err


def test_no_study_yet(run_cli: Run) -> None:
    code, _, err = run_cli("judge")
    assert code == 1
    assert "`diptych pilot` makes one" in err
