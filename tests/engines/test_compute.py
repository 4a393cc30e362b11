"""The dtype is measured once for a machine, and nothing on disk can stop a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diptych.engines import compute
from diptych.engines.compute import best_device, best_dtype

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "probe.json"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """What was measured; bfloat16 is the faster one here."""
    asked: list[torch.dtype] = []

    def measure(dtype: torch.dtype, _: torch.device) -> float:
        asked.append(dtype)
        return 1.0 if dtype is torch.bfloat16 else 2.0

    monkeypatch.setattr(compute, "_measure", measure)
    monkeypatch.setattr(compute, "ROUNDS", 1)
    return asked


def test_the_faster_one_is_chosen_and_kept(cache: Path, measured: list[torch.dtype]) -> None:
    assert best_dtype(CPU, cache) is torch.bfloat16
    assert measured == [torch.float32, torch.bfloat16]
    assert best_dtype(CPU, cache) is torch.bfloat16
    assert len(measured) == 2, "the second time it is known"
    assert list(cache.parent.iterdir()) == [cache]


def test_what_is_kept_is_believed(cache: Path, measured: list[torch.dtype]) -> None:
    cache.parent.mkdir()
    cache.write_text(json.dumps({compute._machine(CPU): "float32"}), "utf-8")
    assert best_dtype(CPU, cache) is torch.float32
    assert measured == []


@pytest.mark.parametrize("change", ["processor", "instructions", "threads", "torch"])
def test_another_machine_is_measured_anew(
    change: str, cache: Path, measured: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    best_dtype(CPU, cache)
    if change == "processor":
        monkeypatch.setattr(compute, "_processor", lambda: "another one")
    elif change == "instructions":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    elif change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    else:
        monkeypatch.setattr(torch, "__version__", "99.0")
    best_dtype(CPU, cache)
    assert len(measured) == 4


def test_the_key_tells_instruction_sets_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for flags in ("avx2", "avx2 avx512_bf16"):
        text = f"model name : One\nflags : {flags}\n"
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text: text)
        keys.add(compute._processor())
    assert len(keys) == 2
    assert all(key.startswith("One ") for key in keys)


def test_without_a_list_of_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert compute._processor()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"3", b'"float32"'])
def test_an_unreadable_cache_is_measured_past(content: bytes, cache: Path, measured: list[torch.dtype]) -> None:
    cache.parent.mkdir()
    cache.write_bytes(content)
    assert best_dtype(CPU, cache) is torch.bfloat16
    assert json.loads(cache.read_text("utf-8")) == {compute._machine(CPU): "bfloat16"}
    assert len(measured) == 2


@pytest.mark.parametrize("answer", ["int8", 3, None, [], {}, "torch.float32"])
def test_an_answer_that_is_none_is_ignored(answer: Any, cache: Path, measured: list[torch.dtype]) -> None:
    cache.parent.mkdir()
    cache.write_text(json.dumps({compute._machine(CPU): answer}), "utf-8")
    assert best_dtype(CPU, cache) is torch.bfloat16
    assert json.loads(cache.read_text("utf-8")) == {compute._machine(CPU): "bfloat16"}
    assert len(measured) == 2


def test_answers_of_other_machines_stay(cache: Path, measured: list[torch.dtype]) -> None:
    cache.parent.mkdir()
    cache.write_text('{"another machine": "float32"}', "utf-8")
    best_dtype(CPU, cache)
    assert json.loads(cache.read_text("utf-8")) == {"another machine": "float32", compute._machine(CPU): "bfloat16"}
    assert len(measured) == 2


@pytest.mark.parametrize("place", ["file/probe.json", "/proc/probe.json", "folder"])
def test_a_home_that_cannot_be_written_is_survived(place: str, tmp_path: Path, measured: list[torch.dtype]) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    assert best_dtype(CPU, tmp_path / place) is torch.bfloat16
    assert best_dtype(CPU, tmp_path / place) is torch.bfloat16
    assert len(measured) == 4, "measured every time"
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_real_measurement(cache: Path) -> None:
    assert best_dtype(best_device(), cache) in (torch.float32, torch.bfloat16)
    assert list(json.loads(cache.read_text("utf-8"))) == [compute._machine(best_device())]
