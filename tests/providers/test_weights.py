"""Weights from a hub on this machine: whole, gone on with, refused, checked and removed."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save

from diptych import settings
from diptych.errors import InvalidRequest, NotAvailable, OutputError, Unreachable, WeightsError
from diptych.providers import hub, weights
from tests.providers.hub_standin import OTHER, TOKEN, Hub, Repository
from tests.standins.server import serve


def tensors(seed: int, size: int = 4000) -> bytes:
    drawn = np.random.default_rng(seed).standard_normal(size, dtype=np.float32)
    return save({"a": drawn, "b": drawn[:7]})


FLUX = {
    "LICENSE.md": b"Apache-2.0",
    "README.md": b"# A tiny model",
    "model_index.json": b'{"_class_name": "FluxPipeline"}',
    "flux-tiny.safetensors": tensors(1),
    "ae.safetensors": tensors(2),
    "teaser.png": b"\x89PNG",
    "transformer/config.json": b'{"layers": 1}',
    "transformer/diffusion_pytorch_model.safetensors": tensors(3),
    "vae/diffusion_pytorch_model.safetensors": tensors(4),
    "text_encoder/model.safetensors": tensors(5),
    "text_encoder/model.fp16.safetensors": tensors(6),
    "text_encoder/pytorch_model.bin": b"pickle" * 400,
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges.txt": b"#version",
}
FOLDERS = {
    "LICENSE.md",
    "model_index.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
}
SINGLE = {
    "LICENSE.md",
    "model_index.json",
    "flux-tiny.safetensors",
    "ae.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
}
REPO = "tiny-lab/flux-tiny"


class Place(NamedTuple):
    hub: Hub
    cache: Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A hub of the test's own, an empty cache, and nobody logged in."""
    small = Hub(
        {
            REPO: Repository(dict(FLUX), tags=("v1",)),
            "tiny-lab/gated": Repository(dict(FLUX), gated=True),
            "tiny-lab/words": Repository({"config.json": b"{}", "notes.txt": b"none"}),
        }
    )
    for variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(hub, "PAUSE", 0.0)
    with serve(small.app()) as url, serve(small.large()) as small.elsewhere:
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield Place(small, tmp_path / "hf/hub")


def nobody(_name: str, _done: int, _size: int) -> None:
    pass


def pull(repo: str = REPO, **more: object) -> weights.Pulled:
    return weights.pull(weights.plan(repo, **more), nobody)  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# Pulling


def test_a_repository_comes_whole_and_once(place: Place) -> None:
    seen: list[tuple[str, int, int]] = []
    plan = weights.plan(REPO)
    assert plan.left == sum(len(FLUX[name]) for name in FOLDERS)
    assert {file.name for file in plan.missing} == FOLDERS
    one = weights.pull(plan, lambda *at: seen.append(at))
    assert names(one.folder) == FOLDERS
    assert all((one.folder / name).read_bytes() == FLUX[name] for name in FOLDERS)
    assert one.missing == []
    assert {name: done for name, done, _ in seen} == {name: len(FLUX[name]) for name in FOLDERS}
    assert all(done <= size for _, done, size in seen)
    assert weights.pulled() == [one]

    before = len(place.hub.seen)
    again = weights.plan(REPO)
    assert (again.missing, again.left) == ((), 0)
    assert weights.pull(again, nobody) == one
    assert len(place.hub.seen) == before


def test_the_librarys_own_tools_find_what_was_pulled(place: Place) -> None:
    from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache

    one = pull()
    found = try_to_load_from_cache(REPO, "transformer/config.json", cache_dir=place.cache)
    assert found == str(one.folder / "transformer/config.json")
    again = hf_hub_download(
        REPO, "vae/diffusion_pytorch_model.safetensors", cache_dir=place.cache, local_files_only=True
    )
    assert Path(again).read_bytes() == FLUX["vae/diffusion_pytorch_model.safetensors"]
    (repo,) = scan_cache_dir(place.cache).repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.commit_hash, set(revision.refs)) == (REPO, one.commit, {"main"})
    assert repo.size_on_disk == one.size


def test_what_the_librarys_own_tools_brought_is_not_brought_again(place: Place) -> None:
    from huggingface_hub import hf_hub_download

    name = "transformer/diffusion_pytorch_model.safetensors"
    hf_hub_download(REPO, name, cache_dir=place.cache, endpoint=os.environ["HF_ENDPOINT"])
    plan = weights.plan(REPO)
    assert {file.name for file in plan.missing} == FOLDERS - {name}
    one = weights.pull(plan, nobody)
    assert names(one.folder) == FOLDERS


def test_the_other_layout_adds_to_the_first(place: Place) -> None:
    assert names(pull(layout="single").folder) == SINGLE
    one = pull(layout="diffusers")
    assert names(one.folder) == FOLDERS | SINGLE
    assert {file.name for file in one.files} == FOLDERS | SINGLE


def test_patterns_say_what_comes(place: Place) -> None:
    assert names(pull(include=["ae.*", "tokenizer/*"]).folder) == {
        "ae.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
    }
    with pytest.raises(InvalidRequest, match=r"No file of tiny-lab/flux-tiny matches \*\.gguf"):
        weights.plan(REPO, include=["*.gguf"])


@pytest.mark.parametrize("revision", ["v1", "main", "commit"])
def test_revisions(place: Place, revision: str) -> None:
    commit = place.hub.repositories[REPO].commit
    one = pull(revision=commit if revision == "commit" else revision)
    assert one.commit == commit
    assert weights.folder(REPO) == one.folder
    assert weights.folder(REPO, commit[:8]) == one.folder
    reference = place.cache / "models--tiny-lab--flux-tiny/refs" / revision
    assert reference.exists() == (revision != "commit")


# What is chosen


def test_the_variants_of_weights_that_are_there_in_full_are_left() -> None:
    full = ["a-00001-of-00002.safetensors", "a-00002-of-00002.safetensors", "a.safetensors.index.json"]
    half = ["a.fp16.safetensors", "a.fp16-00001-of-00002.safetensors", "a.safetensors.index.fp16.json"]
    chosen = weights.choose([f"transformer/{name}" for name in full + half], REPO)
    assert chosen == {f"transformer/{name}" for name in full}
    assert weights.choose(["transformer/a.fp16.safetensors"], REPO) == {"transformer/a.fp16.safetensors"}


def test_an_encoder_of_its_own_comes_whole() -> None:
    there = ["config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json", "tokenizer.json"]
    assert weights.choose([*there, "pytorch_model.bin", "README.md"], "Qwen/Qwen3-4B") == set(there)


def test_flux3s_own_layout_comes_whole() -> None:
    there = ["model.safetensors", "ae.safetensors", "text_encoder/model.safetensors", "text_encoder/tokenizer.json"]
    assert weights.choose(there, "black-forest-labs/flux-3-image-klein") == set(there)
    with pytest.raises(InvalidRequest, match="has no weights in folders"):
        weights.choose(there, "black-forest-labs/flux-3-image-klein", "diffusers")
    with pytest.raises(InvalidRequest, match="has no weights in a single file"):
        weights.choose(["transformer/a.safetensors"], "x/y", "single")


# Going on


def test_a_broken_connection_is_taken_up_where_it_broke(place: Place) -> None:
    place.hub.cut = [5000, 3000]
    place.hub.busy = 2
    one = pull(include=["flux-tiny.safetensors"])
    assert (one.folder / "flux-tiny.safetensors").read_bytes() == FLUX["flux-tiny.safetensors"]
    asked = [span for _, span in place.hub.seen if span]
    assert asked == ["bytes=5000-", "bytes=8000-"]


def test_a_pull_that_was_given_up_goes_on_later(place: Place) -> None:
    size = len(FLUX["flux-tiny.safetensors"])
    place.hub.cut = [5000] + [0] * hub.PATIENCE
    with pytest.raises(Unreachable, match=r"What came of flux-tiny.safetensors is kept; the same command goes on"):
        pull(include=["flux-tiny.safetensors"])
    (begun,) = weights.pulled()
    assert begun.missing == ["flux-tiny.safetensors"]
    with pytest.raises(NotAvailable, match=r"is not here in full: flux-tiny.safetensors missing"):
        weights.folder(REPO)
    plan = weights.plan(REPO, include=["flux-tiny.safetensors"])
    assert plan.left == size - 5000
    place.hub.seen.clear()
    one = weights.pull(plan, nobody)
    assert place.hub.seen == [("flux-tiny.safetensors", "bytes=5000-")]
    assert (one.folder / "flux-tiny.safetensors").read_bytes() == FLUX["flux-tiny.safetensors"]
    assert not list(place.cache.rglob("*.incomplete"))


def test_a_server_without_ranges_begins_anew(place: Place) -> None:
    place.hub.cut = [5000]
    place.hub.ranges = False
    one = pull(include=["flux-tiny.safetensors"])
    assert (one.folder / "flux-tiny.safetensors").read_bytes() == FLUX["flux-tiny.safetensors"]


def test_a_beginning_of_something_else_is_found_out(place: Place) -> None:
    place.hub.cut = [5000] + [0] * hub.PATIENCE
    with pytest.raises(Unreachable):
        pull(include=["flux-tiny.safetensors"])
    (part,) = place.cache.rglob("*.incomplete")
    part.write_bytes(b"x" * 5000)
    with pytest.raises(WeightsError, match="came altered, and was deleted"):
        pull(include=["flux-tiny.safetensors"])
    assert names(pull(include=["flux-tiny.safetensors"]).folder) == {"flux-tiny.safetensors"}


@pytest.mark.parametrize("name", ["ae.safetensors", "tokenizer/merges.txt"])
@pytest.mark.parametrize("how", ["altered", "longer"])
def test_content_that_is_not_what_the_hub_says_is_not_kept(place: Place, name: str, how: str) -> None:
    getattr(place.hub, how).add(name)
    with pytest.raises(WeightsError, match=rf"{name} of {REPO} came {how}"):
        pull(include=[name])
    assert not [path for path in place.cache.rglob("*") if path.is_file() and path.parent.name == "blobs"]


# Refusals


def test_a_gated_repository_says_where_to_accept_its_licence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotAvailable) as raised:
        pull("tiny-lab/gated")
    said = str(raised.value)
    assert "https://huggingface.co/tiny-lab/gated" in said
    assert "diptych keys set huggingface" in said
    assert "https://huggingface.co/settings/tokens" in said
    monkeypatch.setenv("HF_TOKEN", OTHER)
    with pytest.raises(
        NotAvailable, match=r"huggingface.co/tiny-lab/gated; the token that is set here must be that acc"
    ):
        pull("tiny-lab/gated")
    monkeypatch.delenv("HF_TOKEN")
    settings.store_key("huggingface", TOKEN)
    assert names(pull("tiny-lab/gated").folder) == FOLDERS
    assert place.hub.tokens[-1] == f"Bearer {TOKEN}"
    assert set(place.hub.elsewhere_tokens) == {None}  # the token is for the hub alone


def test_an_unknown_repository(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotAvailable, match=r"The hub has no repository tiny-lab/none, .* A private one needs a token"):
        weights.plan("tiny-lab/none")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(
        NotAvailable, match=r"The hub has no repository tiny-lab/none, or none that may be seen from here\.$"
    ):
        weights.plan("tiny-lab/none")
    with pytest.raises(InvalidRequest, match="those are called OWNER/NAME"):
        weights.plan("tiny-lab/none/at/all")
    with pytest.raises(InvalidRequest, match="has no revision 'v9'"):
        weights.plan(REPO, "v9")
    with pytest.raises(InvalidRequest, match="has no safetensors files"):
        weights.plan("tiny-lab/words")


def test_without_a_network(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    one = pull()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotAvailable, match="HF_HUB_OFFLINE is set"):
        weights.plan(REPO)
    assert weights.folder(REPO) == one.folder
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"The hub \(http://127.0.0.1:9\) cannot be reached"):
        weights.plan(REPO)


def test_names_that_leave_the_folder_are_refused(place: Place) -> None:
    place.hub.repositories[REPO].files["../../evil.json"] = b"{}"
    with pytest.raises(WeightsError, match=r"list of tiny-lab/flux-tiny cannot be used: '\.\./\.\./evil.json'"):
        weights.plan(REPO)


# Disks


def test_a_disk_without_room_is_known_before_anything_comes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: real._replace(free=20_000))
    plan = weights.plan(REPO)
    with pytest.raises(OutputError, match=r"flux-tiny needs 47.4 KiB more; .* has 19.5 KiB free"):
        weights.pull(plan, nobody)
    assert place.hub.seen == []
    assert not place.cache.exists()


def test_a_disk_that_fills_up_keeps_what_came(place: Place) -> None:
    plan = weights.plan(REPO, include=["flux-tiny.safetensors"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))  # as if there were room for so much of a file
    try:
        with pytest.raises(OutputError, match=r"cannot be written: .* What came of flux-tiny.safetensors is kept"):
            weights.pull(plan, nobody)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (part,) = place.cache.rglob("*.incomplete")
    assert part.stat().st_size <= 9000
    one = weights.pull(plan, nobody)
    assert (one.folder / "flux-tiny.safetensors").read_bytes() == FLUX["flux-tiny.safetensors"]


def test_a_cache_that_cannot_be_written(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file/cache"))
    plan = weights.plan(REPO)
    with pytest.raises(OutputError, match=f"cannot be written: {os.strerror(errno.ENOTDIR)}"):
        weights.pull(plan, nobody)


def test_two_pulls_at_once_are_one_too_many(place: Place) -> None:
    from filelock import FileLock

    plan = weights.plan(REPO)
    lock = place.cache / ".locks/models--tiny-lab--flux-tiny/diptych.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(OutputError, match="Another process is pulling tiny-lab/flux-tiny"):
        weights.pull(plan, nobody)


# Checking and removing


def test_whole_weights_are_whole(place: Place) -> None:
    seen: list[str] = []
    assert weights.check(pull(), lambda name, _done, _size: seen.append(name)) == []
    assert set(seen) == FOLDERS


def test_every_kind_of_damage_is_found_and_mended(place: Place) -> None:
    one = pull()
    blob = (one.folder / "transformer/diffusion_pytorch_model.safetensors").resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    cut = (one.folder / "vae/diffusion_pytorch_model.safetensors").resolve()
    cut.write_bytes(cut.read_bytes()[:-10])
    (one.folder / "tokenizer/vocab.json").unlink()
    small = (one.folder / "tokenizer/merges.txt").resolve()
    small.write_bytes(b"#Version")
    found = {complaint.file: complaint.what for complaint in weights.check(one, nobody)}
    assert set(found) == {
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
    }
    assert "was altered: its digest begins" in found["transformer/diffusion_pytorch_model.safetensors"]
    size = len(FLUX["vae/diffusion_pytorch_model.safetensors"])
    assert f"has {size - 10} bytes of {size}" in found["vae/diffusion_pytorch_model.safetensors"]
    assert found["tokenizer/vocab.json"].endswith("is missing")
    weights.drop(one, found)
    assert weights.check(pull(), nobody) == []


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"not a safetensors file at all", "its header has no length"),
        (b"", "its header has no length"),
        ((20).to_bytes(8, "little") + b"{" * 20, "its header cannot be read"),
        (tensors(1) + b"0000", "its tensors end at byte"),
        (tensors(1)[:-4], "its tensors end at byte"),
        (tensors(1).replace(b"[0,", b"[4,"), "its tensors leave a gap at byte 0"),
    ],
)
def test_a_file_that_the_hub_has_wrong_is_named(place: Place, data: bytes, problem: str) -> None:
    place.hub.repositories[REPO].files["ae.safetensors"] = data
    one = pull(include=["ae.safetensors"])
    (complaint,) = weights.check(one, nobody)
    assert complaint.file == "ae.safetensors"
    assert problem in complaint.what


def test_removing_frees_what_it_says(place: Place) -> None:
    one = pull()
    assert weights.remove(one) == one.size
    assert weights.pulled() == []
    assert not (place.cache / "models--tiny-lab--flux-tiny").exists()
    with pytest.raises(NotAvailable, match="tiny-lab/flux-tiny was not pulled"):
        weights.folder(REPO)


def test_what_another_revision_shares_stays(place: Place) -> None:
    first = pull()
    place.hub.repositories[REPO].files["vae/diffusion_pytorch_model.safetensors"] = tensors(9)
    second = pull()
    assert first.commit != second.commit
    with pytest.raises(InvalidRequest, match="is here more than once"):
        weights.find(REPO)
    assert weights.find(REPO, first.commit[:10]) == first
    assert weights.remove(first) == len(FLUX["vae/diffusion_pytorch_model.safetensors"])
    assert weights.check(second, nobody) == []
    assert weights.find(REPO) == second
    assert (place.cache / "models--tiny-lab--flux-tiny/refs/main").read_text("ascii") == second.commit


def test_removing_takes_what_was_begun(place: Place) -> None:
    place.hub.cut = [5000] + [0] * hub.PATIENCE
    with pytest.raises(Unreachable):
        pull(include=["flux-tiny.safetensors"])
    (begun,) = weights.pulled()
    assert weights.remove(begun) == 5000
    assert not list(place.cache.rglob("*.incomplete"))


def test_where_no_links_can_be_made_files_are_moved(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(_self: Path, _target: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "symlink_to", no_link)
    one = pull()
    assert names(one.folder) == FOLDERS
    assert weights.plan(REPO).missing == ()
    assert weights.check(one, nobody) == []
    assert weights.remove(one) == one.size


# Names


def test_a_folder_of_ones_own_is_itself(tmp_path: Path) -> None:
    assert weights.folder(str(tmp_path)) == tmp_path


def test_what_was_not_pulled_is_said_with_the_command(place: Place) -> None:
    pull()
    with pytest.raises(NotAvailable, match="Did you mean tiny-lab/flux-tiny"):
        weights.folder("tiny-lab/flux-tini")
    with pytest.raises(NotAvailable, match=f"Call: diptych weights pull {REPO} --revision v7"):
        weights.folder(REPO, "v7")


def test_a_note_that_is_none_is_named(place: Place) -> None:
    pull()
    (note,) = (settings.home() / "weights").glob("*.json")
    assert json.loads(note.read_text("utf-8"))["repo"] == REPO
    note.write_text("{}", "utf-8")
    with pytest.raises(WeightsError, match=f"{note.name} says nothing of weights"):
        weights.pulled()
