"""Pictures in a folder and at a URL: the same bytes once, whole, and checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from diptych.errors import StoreError
from diptych.store.pictures import Folder, Pictures, Remote, open_pictures
from tests.servers import free_port
from tests.store.child import Child

Start = Callable[..., Child]
DATA = bytes(range(256)) * 100
SHA256 = hashlib.sha256(DATA).hexdigest()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture(params=["folder", "file", "local", "memory", "dir"])
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Pictures:
    """At every kind of place that can be had without a network; `dir` is a folder by way of fsspec."""
    places = {
        "folder": str(tmp_path / "a b" / "pictures"),
        "file": f"file://{tmp_path / 'a b' / 'pictures'}",
        "local": f"local://{tmp_path / 'a b' / 'pictures'}",
        "memory": f"memory://{tmp_path.name}/pictures/",
    }
    if request.param == "dir":
        from fsspec.implementations.local import LocalFileSystem

        return Remote(LocalFileSystem(), str(tmp_path / "a b" / "pictures"), "dir://")
    return open_pictures(places[request.param])


def test_bytes_come_back(pictures: Pictures) -> None:
    assert pictures.put(DATA) == SHA256
    assert pictures.get(SHA256) == DATA
    assert pictures.put(DATA) == SHA256
    other = pictures.put(b"")
    assert (pictures.get(SHA256), pictures.get(other)) == (DATA, b"")


def test_a_url_of_this_machine_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for place, folder in (
        ("pictures", tmp_path / "pictures"),
        ("~/pictures", tmp_path / "me" / "pictures"),
        (f"file://{tmp_path}/x", tmp_path / "x"),
        (f"local://{tmp_path}/x", tmp_path / "x"),
    ):
        found = open_pictures(place)
        assert isinstance(found, Folder)
        assert (found.folder, found.place) == (folder, str(folder))


def test_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    pictures = Folder(tmp_path)
    pictures.put(DATA)
    path = pictures.path(SHA256)
    assert files(tmp_path) == [path] == [tmp_path / SHA256[:2] / SHA256[2:]]
    before = path.stat()
    pictures.put(DATA)
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_many_put_the_same_at_once(pictures: Pictures, tmp_path: Path) -> None:
    ready = threading.Barrier(8)

    def put(number: int) -> str:
        ready.wait()
        return pictures.put(DATA if number % 2 else b"other")

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(put, range(8)))
    assert set(names[1::2]) == {SHA256}
    assert pictures.get(SHA256) == DATA
    assert len(files(tmp_path)) in (0, 2)  # none in memory


def test_a_picture_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    pictures = Folder(tmp_path)
    data = DATA * 200
    path = pictures.path(hashlib.sha256(data).hexdigest())
    seen: set[int] = set()
    with ThreadPoolExecutor() as pool:
        for _ in range(5):
            putting = pool.submit(pictures.put, data)
            while not putting.done():
                with contextlib.suppress(FileNotFoundError):
                    seen.add(path.stat().st_size)
            putting.result()
            path.unlink()
    assert seen <= {len(data)}


def test_what_is_missing(pictures: Pictures) -> None:
    with pytest.raises(StoreError, match=rf"{SHA256}.*({pictures.place}|No such file)"):
        pictures.get(SHA256)


@pytest.mark.parametrize(
    "name", ["", "x", "../../etc/passwd", SHA256.upper(), f"{SHA256}\n", f"{SHA256[:2]}/{SHA256[3:]}"]
)
def test_what_is_no_hash_is_no_path(name: str, pictures: Pictures) -> None:
    with pytest.raises(StoreError, match="is not the SHA-256 of a picture"):
        pictures.get(name)


@pytest.mark.parametrize("damaged", [b"", DATA[:-1], DATA[:-1] + b"?"])
def test_damage_is_told_and_mended(damaged: bytes, tmp_path: Path) -> None:
    pictures = Folder(tmp_path)
    pictures.put(DATA)
    pictures.path(SHA256).write_bytes(damaged)
    with pytest.raises(StoreError, match=f"{SHA256} in {tmp_path} is damaged"):
        pictures.get(SHA256)
    assert pictures.put(DATA) == SHA256
    assert pictures.get(SHA256) == DATA


def test_a_transfer_that_was_cut_short_is_made_again() -> None:
    pictures = open_pictures("memory://cut")
    assert isinstance(pictures, Remote)
    pictures.put(DATA)
    pictures.system.pipe_file(pictures._path(SHA256), DATA[:100])
    with pytest.raises(StoreError, match="is damaged"):
        pictures.get(SHA256)
    pictures.put(DATA)
    assert pictures.get(SHA256) == DATA


# What goes wrong


def test_a_full_disk(tmp_path: Path, start: Start) -> None:
    """A file cannot grow beyond a limit: the picture is not kept, and nothing of it is left."""
    child = start()
    child.ask("limit", 10_000)
    answer = child.ask("put", str(tmp_path / "pictures"), 20_000)
    assert answer == {
        "error": f"A picture cannot be kept in {tmp_path / 'pictures'}: File too large.",
        "kind": "StoreError",
    }
    assert files(tmp_path / "pictures") == []
    sha256 = child.ask("put", str(tmp_path / "pictures"), 5_000)
    assert files(tmp_path / "pictures") == [Folder(tmp_path / "pictures").path(sha256)]


def test_a_folder_that_cannot_be_written(tmp_path: Path, mere_owner: Child) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for place in (closed, closed / "pictures"):
        answer = mere_owner.ask("put", str(place), 10)
        assert answer == {"error": f"A picture cannot be kept in {place}: Permission denied.", "kind": "StoreError"}
    assert list(closed.iterdir()) == []


def test_a_picture_that_may_not_be_read(tmp_path: Path, mere_owner: Child) -> None:
    sha256 = mere_owner.ask("put", str(tmp_path), 10)
    Folder(tmp_path).path(sha256).chmod(0)
    answer = mere_owner.ask("get", str(tmp_path), sha256)
    assert answer["error"] == f"The picture {sha256} cannot be read from {tmp_path}: Permission denied."


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    for place in (tmp_path / "file", tmp_path / "file" / "pictures"):
        pictures = open_pictures(str(place))
        with pytest.raises(StoreError, match=f"A picture cannot be kept in {place}: (Not a directory|File exists)"):
            pictures.put(DATA)
        with pytest.raises(StoreError, match="cannot be read"):
            pictures.get(SHA256)


def test_a_remote_place_that_fails(tmp_path: Path) -> None:
    from fsspec.implementations.local import LocalFileSystem

    (tmp_path / "file").write_text("x", "utf-8")
    pictures = Remote(LocalFileSystem(), str(tmp_path / "file"), "dir://file")
    with pytest.raises(StoreError, match="A picture cannot be kept at dir://file: Not a directory"):
        pictures.put(DATA)
    with pytest.raises(StoreError, match=rf"{SHA256} cannot be read from dir://file: Not a directory"):
        pictures.get(SHA256)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nope://bucket/x", r"Pictures cannot be kept at nope://bucket/x: Protocol not known: nope\."),
        ("s3://bucket/x", r"s3://bucket/x: Install s3fs to access S3\."),
        ("gs://bucket/x", r"gs://bucket/x: Please install gcsfs"),
        ("s3://key:secret@bucket/x", r"s3://\*\*\*@bucket/x: Install s3fs"),
        ("~nobody-of-that-name/x", "Pictures cannot be kept in ~nobody-of-that-name/x: "),
    ],
)
def test_places_that_cannot_be(place: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as error:
        open_pictures(place)
    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there() -> None:
    port = free_port()
    with pytest.raises(StoreError, match=rf"Pictures cannot be kept at ftp://\*\*\*@127.0.0.1:{port}/x: .*refused"):
        open_pictures(f"ftp://me:secret@127.0.0.1:{port}/x")


def test_names_of_new_folders_are_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is safe in a folder that is not would be lost with a power cut: every new name is flushed."""
    flushed: list[str] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux tells the name of an open file")
    monkeypatch.setattr(os, "fsync", watch)
    pictures = Folder(tmp_path / "new" / "pictures")
    pictures.put(DATA)
    folder = str(tmp_path / "new" / "pictures" / SHA256[:2])
    part = flushed.pop(3)
    assert part.startswith(f"{folder}/.")
    assert part.endswith(".part")
    assert flushed == [str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new" / "pictures"), folder]
