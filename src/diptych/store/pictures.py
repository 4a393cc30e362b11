"""Pictures by the SHA-256 of their bytes: a folder, or any place that fsspec reaches (S3, GCS, ...)."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from diptych.errors import StoreError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


class Pictures(Protocol):
    """The same bytes have the same name, so putting them twice keeps them once."""

    place: str
    """Folder or URL, without a password."""

    def put(self, data: bytes) -> str:
        """Keep `data`, on disk when this returns; its SHA-256. Raises StoreError."""

    def get(self, sha256: str) -> bytes:
        """The original bytes. Raises StoreError where they are missing or not those that were put."""

    def check(self) -> None:
        """Raise StoreError now where `put` would later."""


def open_pictures(place: str) -> Pictures:
    """place: a folder, or a URL that fsspec knows. Raises StoreError."""
    shown = re.sub(r"//[^/]*@", "//***@", place)
    protocol, separator, path = place.partition("://")
    if not separator or protocol in ("file", "local"):
        try:
            return Folder(Path(path if separator else place).expanduser().absolute())
        except RuntimeError as error:  # ~somebody
            raise StoreError(f"Pictures cannot be kept in {place}: {error}") from None
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(place)
    except ImportError as error:  # fsspec says which package it needs
        raise StoreError(f"Pictures cannot be kept at {shown}: {error}.") from None
    except Exception as error:  # some log in here, and every file system raises errors of its own
        raise StoreError(f"Pictures cannot be kept at {shown}: {error}.") from error
    return Remote(system, path, shown)


class Folder:
    """A folder on this machine: two characters of the hash, then the rest. A picture appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)

    def path(self, sha256: str) -> Path:
        """Where the picture is, whether or not it is there. Raises StoreError for what is no SHA-256."""
        return self.folder.joinpath(*_parts(sha256))

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        temporary = path.with_name(f".{secrets.token_hex(8)}.part")
        # Paid for: the bytes and their names must outlive a power cut, as the row that names them does.
        try:
            if not _holds(path, data):
                _make(path.parent)
                try:
                    with temporary.open("xb") as stream:
                        stream.write(data)
                        stream.flush()
                        os.fsync(stream.fileno())
                    os.replace(temporary, path)
                finally:
                    temporary.unlink(missing_ok=True)
            _sync(path.parent)
        except OSError as error:
            raise StoreError(f"A picture cannot be kept in {self.folder}: {_said(error)}.") from None
        return sha256

    def check(self) -> None:
        probe = self.folder / f".{secrets.token_hex(8)}.part"
        try:
            _make(self.folder)
            try:
                probe.write_bytes(b"?")
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"Pictures cannot be kept in {self.folder}: {_said(error)}.") from None

    def get(self, sha256: str) -> bytes:
        try:
            data = self.path(sha256).read_bytes()
        except OSError as error:
            raise StoreError(f"The picture {sha256} cannot be read from {self.folder}: {_said(error)}.") from None
        return _checked(data, sha256, self.place)


class Remote:
    """A bucket, or whatever fsspec opens. Buckets show a picture whole or not at all; elsewhere `get` tells."""

    def __init__(self, system: AbstractFileSystem, root: str, place: str) -> None:
        self.system, self.root, self.place = system, root.rstrip("/"), place

    def _path(self, sha256: str) -> str:
        return "/".join((self.root, *_parts(sha256)))

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        if self._has(path, len(data)):
            return sha256
        try:
            try:
                self.system.pipe_file(path, data)
            except FileNotFoundError:  # where there are folders; asking first would cost a bucket another request
                self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
                self.system.pipe_file(path, data)
        except Exception as error:  # every file system raises errors of its own
            raise StoreError(f"A picture cannot be kept at {self.place}: {_said(error)}.") from error
        return sha256

    def check(self) -> None:
        probe = f"{self.root}/.{secrets.token_hex(8)}.part"
        try:
            self.system.makedirs(self.root, exist_ok=True)
            self.system.pipe_file(probe, b"?")
            self.system.rm_file(probe)
        except Exception as error:
            raise StoreError(f"Pictures cannot be kept at {self.place}: {_said(error)}.") from error

    def get(self, sha256: str) -> bytes:
        path = self._path(sha256)
        try:
            data = self.system.cat_file(path)
        except FileNotFoundError:
            raise StoreError(f"The picture {sha256} is not in {self.place}.") from None
        except Exception as error:
            raise StoreError(f"The picture {sha256} cannot be read from {self.place}: {_said(error)}.") from error
        return _checked(data, sha256, self.place)

    def _has(self, path: str, size: int) -> bool:
        """By its size: a transfer that was cut short is made again."""
        try:
            return bool(self.system.size(path) == size)
        except Exception:  # noqa: BLE001  # missing, or not to be looked at by this user: the writing tells
            return False


def _parts(sha256: str) -> tuple[str, str]:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):  # it becomes part of a path
        raise StoreError(f"{sha256!r} is not the SHA-256 of a picture.")
    return sha256[:2], sha256[2:]


def _checked(data: bytes, sha256: str, place: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError(f"The picture {sha256} in {place} is damaged: its bytes are not those that were kept.")
    return data


def _holds(path: Path, data: bytes) -> bool:
    """Whether these very bytes are there: what was damaged is mended when it comes again."""
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def _make(folder: Path) -> None:
    """As mkdir --parents, with the names of new folders on disk."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """The names in a folder are on disk; other systems than POSIX have no call for it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
