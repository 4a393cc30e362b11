"""Embeddings on disk: the same numbers, no encoder needed, damaged entries gone, the size bounded."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diptych.engines.text.cache import CachedEncoder, EmbeddingCache
from diptych.engines.text.encoders import FLUX1, FLUX2_KLEIN, FLUX3, TextEncoder, TextStates
from diptych.errors import InvalidRequest
from tests.engines.text import tiny

CPU, FLOAT = torch.device("cpu"), torch.float32


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.klein(tmp_path_factory.mktemp("cache") / "klein")


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "prompts")


def opened(root: Path, dtype: torch.dtype = FLOAT) -> TextEncoder:
    return TextEncoder.open(FLUX2_KLEIN, root, CPU, dtype)


def files(cache: EmbeddingCache) -> list[Path]:
    return sorted(cache.folder.iterdir())


def same(one: TextStates, other: TextStates) -> bool:
    if (one.pooled is None) != (other.pooled is None):
        return False
    pooled = one.pooled is None or other.pooled is None or torch.equal(one.pooled, other.pooled)
    return pooled and torch.equal(one.hidden, other.hidden)


def test_the_second_time_no_weights_are_read(klein: Path, cache: EmbeddingCache, tmp_path: Path) -> None:
    first = CachedEncoder(opened(klein), cache)
    prompts = ["", "a red fox", "", "naïve 狐"]
    assert first.missing(prompts) == prompts
    states = first.encode(prompts)
    assert same(states, opened(klein).encode(prompts))
    assert len(files(cache)) == 3
    again = CachedEncoder(opened(klein), cache)
    assert again.missing(prompts) == []
    assert same(again.encode(prompts), states)
    assert not again.encoder.loaded


def test_the_pooled_output_is_kept_too(tmp_path: Path, cache: EmbeddingCache) -> None:
    root = tiny.flux1(tmp_path / "flux1")
    states = CachedEncoder(TextEncoder.open(FLUX1, root, CPU, FLOAT), cache).encode(["a fox", ""])
    again = CachedEncoder(TextEncoder.open(FLUX1, root, CPU, FLOAT), cache)
    assert same(again.encode(["a fox", ""]), states)
    assert states.pooled is not None
    assert not again.encoder.loaded


def test_other_weights_lengths_and_dtypes_are_other_entries(klein: Path, cache: EmbeddingCache, tmp_path: Path) -> None:
    CachedEncoder(opened(klein), cache).encode(["a fox"])
    copy = Path(shutil.copytree(klein, tmp_path / "copy"))
    assert CachedEncoder(opened(copy), cache).missing(["a fox"]) == []
    others = [
        opened(klein, torch.bfloat16),
        TextEncoder.open(FLUX2_KLEIN, klein, CPU, FLOAT, longest=256),
    ]
    path = copy / "text_encoder/model.safetensors"
    save_file({key: value * 1.01 for key, value in load_file(path).items()}, path, metadata={"format": "pt"})
    others.append(opened(copy))
    for encoder in others:
        assert CachedEncoder(encoder, cache).missing(["a fox"]) == ["a fox"]
        assert same(CachedEncoder(encoder, cache).encode(["a fox"]), encoder.encode(["a fox"]))
    assert len(files(cache)) == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_entry_is_dropped_and_made_again(klein: Path, cache: EmbeddingCache, damage: str) -> None:
    encoder = opened(klein)
    states = CachedEncoder(encoder, cache).encode(["a fox"])
    (path,) = files(cache)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-5] ^= 1
    if damage == "other":
        save_file({"hidden": torch.zeros(1, 512, 7)}, path)
    else:
        path.write_bytes({"cut": data[:-9], "flipped": data, "empty": b""}[damage])
    assert cache.read(encoder, "a fox") is None
    assert files(cache) == []
    assert same(CachedEncoder(encoder, cache).encode(["a fox"]), states)
    assert cache.read(encoder, "a fox") is not None


def test_what_was_not_used_for_longest_goes(klein: Path, cache: EmbeddingCache) -> None:
    encoder = opened(klein)
    CachedEncoder(encoder, cache).encode(["one"])
    (path,) = files(cache)
    small = dataclasses.replace(cache, limit=3 * path.stat().st_size + 100)
    cached = CachedEncoder(encoder, small)
    cached.encode(["two", "three"])
    for at, prompt in enumerate(("one", "two", "three")):
        os.utime(small.path(encoder, prompt), (at, at))
    assert small.read(encoder, "one") is not None  # used: now the newest
    cached.encode(["four"])
    assert cached.missing(["one", "two", "three", "four"]) == ["two"]
    assert sum(file.stat().st_size for file in files(small)) <= small.limit


def test_what_is_larger_than_the_cache_is_not_kept(klein: Path, cache: EmbeddingCache) -> None:
    cached = CachedEncoder(opened(klein), dataclasses.replace(cache, limit=1000))
    cached.encode(["a fox"])
    assert not cache.folder.exists()


def test_without_a_cache_everything_is_encoded(klein: Path) -> None:
    cached = CachedEncoder(opened(klein))
    assert cached.missing(["a fox"]) == ["a fox"]
    assert same(cached.encode(["a fox"]), cached.encoder.encode(["a fox"]))


def test_a_folder_that_cannot_be_written_keeps_nothing(klein: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    cached = CachedEncoder(opened(klein), EmbeddingCache(tmp_path / "file"))
    assert same(cached.encode(["a fox"]), cached.encoder.encode(["a fox"]))


def test_unfinished_files_of_nobody_are_removed(klein: Path, cache: EmbeddingCache) -> None:
    cache.folder.mkdir()
    old, fresh = cache.folder / "a.part", cache.folder / "b.part"
    for path in (old, fresh):
        path.write_bytes(b"...")
    os.utime(old, (0, 0))
    CachedEncoder(opened(klein), cache).encode(["a fox"])
    assert not old.exists()
    assert fresh.exists()
    assert cache.clear() > 0
    assert files(cache) == [fresh]


def test_a_prompt_too_long_is_refused_before_anything_is_loaded(klein: Path, cache: EmbeddingCache) -> None:
    cached = CachedEncoder(opened(klein), cache)
    with pytest.raises(InvalidRequest, match="tokens; this model's text encoder reads at most"):
        cached.encode(["a fox", "fox " * 600])
    assert not cached.encoder.loaded


def test_prompts_of_two_lengths_come_one_by_one(tmp_path: Path, cache: EmbeddingCache) -> None:
    cached = CachedEncoder(TextEncoder.open(FLUX3, tiny.flux3(tmp_path / "flux3"), CPU, FLOAT), cache)
    lengths = [states.hidden.shape[1] for states in cached.encode_each(["", "a red fox in deep snow " * 12])]
    assert lengths == [80, 160]


def test_the_prompt_is_not_kept(klein: Path, cache: EmbeddingCache) -> None:
    CachedEncoder(opened(klein), cache).encode(["a secret fox"])
    (path,) = files(cache)
    assert b"secret" not in path.read_bytes()
