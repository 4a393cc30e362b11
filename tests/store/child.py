"""Another process that uses a store: told what to do in lines of JSON, it answers each with a line."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from diptych import store as stores
from diptych.errors import DiptychError
from diptych.store import schema
from diptych.store.pictures import open_pictures

STUDY = {"name": "s", "fingerprint": "f", "created": "2026-01-01", "budget": 0.0, "settings": {}, "versions": {}}


class Child:
    """The parent's end."""

    def __init__(self, *, mere_owner: bool = False, env: Mapping[str, str] | None = None) -> None:
        """mere_owner: the permissions of files hold for it, even where the tests run as root."""
        command = [sys.executable, "-W", "error", "-m", "tests.store.child"]
        if mere_owner and os.geteuid() == 0:
            setpriv = shutil.which("setpriv")
            assert setpriv, "setpriv comes with util-linux"
            command = [setpriv, "--bounding-set", "-dac_override,-dac_read_search", *command]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **(env or {})},
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stdin
        assert self.process.stdout
        self._in, self._out = self.process.stdin, self.process.stdout

    def tell(self, *words: Any) -> None:
        self._in.write(json.dumps(words) + "\n")

    def hear(self) -> Any:
        """What it answered; {"error": ...} for a DiptychError."""
        answer = self._out.readline()
        assert answer, "the child has died, see above"
        return json.loads(answer)

    def ask(self, *words: Any) -> Any:
        self.tell(*words)
        return self.hear()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self._in.close()
        self.process.wait()
        self._out.close()


def add_study(connection: Connection, **values: Any) -> int:
    row = insert(schema.studies).values({**STUDY, **values}).returning(schema.studies.c.id)
    return int(connection.execute(row).scalar_one())


class _Work:
    """The child's end: a method for each word."""

    def __init__(self) -> None:
        self.held = ExitStack()

    def hello(self) -> str:
        return "hello"

    def open(self, url: str | None = None) -> str:
        store = stores.open(url)
        with store.reading() as connection:
            connection.execute(select(schema.studies)).all()
        store.close()
        return store.name

    def lock(self, url: str, name: str) -> str:
        self.held.enter_context(stores.open(url).lock(name))
        return "locked"

    def begin(self, url: str, name: str) -> str:
        """Add a study, and leave the transaction open."""
        add_study(self.held.enter_context(stores.open(url).writing()), name=name)
        return "begun"

    def let_go(self) -> str:
        self.held.close()
        return "done"

    def add(self, url: str, times: int) -> str:
        """A dollar to every budget, so many times."""
        store = stores.open(url)
        for _ in range(times):
            with store.writing() as connection:
                connection.execute(update(schema.studies).values(budget=schema.studies.c.budget + 1))
        store.close()
        return "done"

    def fill(self, url: str, characters: int) -> str:
        """A study with so long a value."""
        store = stores.open(url)
        try:
            with store.writing() as connection:
                add_study(connection, name="long", settings={"text": "x" * characters})
        finally:
            store.close()
        return "done"

    def write(self, url: str) -> str:
        store = stores.open(url)
        try:
            with store.writing() as connection:
                add_study(connection)
        finally:
            store.close()
        return "done"

    def put(self, place: str, size: int) -> str:
        return open_pictures(place).put(b"x" * size)

    def get(self, place: str, sha256: str) -> int:
        return len(open_pictures(place).get(sha256))

    def limit(self, size: int) -> str:
        """Files of this process cannot grow beyond so many bytes, as on a full disk."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return "limited"


def main() -> None:
    work = _Work()
    for line in sys.stdin:
        word, *arguments = json.loads(line)
        try:
            answer = getattr(work, word)(*arguments)
        except DiptychError as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
