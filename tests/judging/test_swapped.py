"""Blindness: a whole sitting twice, the second time with the models swapped. All that reaches the browser is the same,
byte for byte, but for what is drawn in the pictures."""

from __future__ import annotations

import io
import itertools
import json
import re
import secrets
import socket
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diptych import store as stores
from diptych.judging.app import PAGE
from diptych.store.database import Store
from diptych.studies import results
from tests.judging.conftest import served
from tests.judging.test_blind import chunks
from tests.report.conftest import Builder, picture

ALPHA, BETA = "alpha-quick steps=4", "beta-dear"
PROVIDERS = {ALPHA: "alphaprovider", BETA: "betaprovider"}
PROMPTS = dict.fromkeys(("a red fox", "a lighthouse", "an orange", "a street", "a pear", "a boat", "a hat"), "things")
CHOICES = ("left", "tie", "right", "skip", "both_bad", "left")
CACHING = {
    "If-None-Match": '"x", W/"y", *',
    "If-Modified-Since": "Sun, 22 Nov 2026 09:00:00 GMT",
    "Range": "bytes=0-100",
    "Cache-Control": "max-age=3600",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}


def drawn_by(label: str, number: int, sizes: dict[str, tuple[int, int]]) -> bytes:
    """Two models that differ in everything a file can differ in: format, length, metadata, and where wanted size."""
    if label == ALPHA:
        text = PngInfo()
        text.add_itxt("diptych", json.dumps({"model": "alpha/quick", "sampler": "alphasampler"}))
        out = io.BytesIO()
        Image.open(io.BytesIO(picture(number, sizes[ALPHA]))).save(out, "PNG", pnginfo=text)
        return out.getvalue()
    exif = Image.Exif()
    exif[0x0131] = "betamaker"
    out = io.BytesIO()
    flat = Image.new("RGB", sizes[BETA], (9 * number % 256, 90, 160))  # packs far tighter than the other's noise
    flat.save(out, "JPEG", quality=60, exif=exif)
    return out.getvalue()


def a_study(folder: Path, labels: tuple[str, str], sizes: dict[str, tuple[int, int]]) -> Store:
    opened = stores.open(f"sqlite:///{folder / 'store.sqlite'}", str(folder / "pictures"))
    study = Builder(opened, "alpha against beta")
    for text, category in PROMPTS.items():
        study.prompt(text, category)
    for at, label in enumerate(labels):
        study.contestant(label, provider=PROVIDERS[label], facts={"maker": label})
        for prompt in range(len(PROMPTS)):  # one sample of each: so every trial has the same two pictures, exchanged
            data = drawn_by(label, prompt, sizes)
            study.sample(prompt, at, 0, data, seconds=len(label), cost=0.01, recipe={"model": label})
    return opened


class Wire:
    """One connection, and every byte that came over it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.cookies: dict[str, str] = {}
        self.token = "page"  # noqa: S105  # the page's own word before it has one
        self.said: list[tuple[str, bytes, bytes]] = []

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
        data = b"" if body is None else json.dumps(body).encode()
        # The port is any free one, so it is named by a port of the same length in all runs: none.
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Diptych: {self.token}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if self.cookies:
            lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        came = b""
        while b"\r\n\r\n" not in came:
            came += self._more()
        head, _, rest = came.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        while len(rest) < length:
            rest += self._more()
        assert len(rest) == length
        for name, value in re.findall(r"set-cookie: ([^=]+)=([^;]*)", head.decode("latin-1")):
            self.cookies[name] = value
        self.said.append((f"{method} {path}", head, rest))
        return rest

    def _more(self) -> bytes:
        data = self.socket.recv(1 << 16)
        assert data, "the server hung up"
        return data

    def following(self) -> Any:
        state = json.loads(self.ask("GET", "/api/next"))
        self.token = state["token"]
        return state


def a_whole_sitting(port: int, *, caching: bool) -> list[tuple[str, bytes, bytes]]:
    """All that comes before the end, as a browser asks for it; with `caching`, everything is asked for again."""
    wire = Wire(port)
    for path in PAGE:
        wire.ask("GET", path)
    seen: set[str] = set()

    def look(state: Any) -> None:
        for trial in state["trials"]:
            names = [*trial["whole"]["pictures"], *(trial["detail"] or {"pictures": []})["pictures"]]
            for name in names:
                if name not in seen or caching:
                    wire.ask("GET", f"/p/{name}", headers=CACHING if caching else None)
                    seen.add(name)

    state = wire.following()
    look(state)
    for number, choice in enumerate(CHOICES):
        state = wire.following()
        look(state)
        key = f"key-{number:08}"
        vote = {"trial": state["trials"][0]["trial"], "choice": choice, "criterion": "overall", "key": key}
        wire.ask("POST", "/api/vote", {**vote, "seconds": 1.0})
        wire.ask("POST", "/api/vote", vote)  # as after an answer that was lost
        if number == 2:
            wire.ask("POST", "/api/back", {"of": key, "key": "key-takes-back"})
        if caching:
            for path in PAGE:
                wire.ask("GET", path, headers=CACHING)
    wire.ask("GET", "/p/nothing")
    wire.ask("POST", "/api/vote", {"trial": "nothing", "choice": "left", "criterion": "overall", "key": "key-nothing"})
    wire.following()
    wire.socket.close()
    return wire.said


def without_pixels(said: list[tuple[str, bytes, bytes]]) -> list[Any]:
    """Of a picture: its length, header and the names of its chunks; all else as it came."""
    kept: list[Any] = []
    for asked, head, body in said:
        if not body.startswith(b"\x89PNG"):
            kept.append((asked, head, body))
            continue
        parts = dict(chunks(body))
        assert set(parts) == {b"IHDR", b"IDAT", b"paDd", b"IEND"}
        kept.append((asked, head, len(body), parts[b"IHDR"], sorted(parts)))
    return kept


def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn as a secret: the same in the same order."""
    count = itertools.count()
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size=16: f"{next(count):0{size}}")


SAME = {ALPHA: (64, 48), BETA: (64, 48)}
OTHER = {ALPHA: (64, 48), BETA: (80, 100)}


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("sizes", [SAME, OTHER])
def test_swapped_models_send_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, tuple[int, int]], caching: bool
) -> None:
    runs = []
    for labels in ((ALPHA, BETA), (BETA, ALPHA)):
        folder = tmp_path / labels[0][:4]
        folder.mkdir()
        opened = a_study(folder, labels, sizes)
        with monkeypatch.context() as patch:
            fixed(patch)
            with served(opened, seed=5) as running:
                runs.append(a_whole_sitting(int(running.url.rpartition(":")[2]), caching=caching))
        hashes = {sample.picture for sample in results.load(opened).samples}
        opened.close()
        came = b"\n".join(part for _, head, body in runs[-1] for part in (head, body))
        told = re.findall(rb"(?i)alpha\w*|beta\w*|steps|sampler|recipe|provider", came)
        assert not told
        assert not [name for name in hashes if name and name[:12].encode() in came]
    one, other = runs
    assert without_pixels(one) == without_pixels(other)
    # And the models were really swapped: the pictures are others, side by side.
    pictures = [[body for _, _, body in run if body.startswith(b"\x89PNG")] for run in runs]
    assert len(pictures[0]) >= 2 * len(CHOICES)
    assert all(a != b for a, b in zip(*pictures, strict=True))
