"""Anyone's folder of pictures with captions, packed into one file to train on.

Captions are in text files beside the pictures (``fox.png`` and ``fox.txt``, one caption a line), or in a list:
``captions.csv``, ``captions.jsonl`` or ``metadata.jsonl`` with a file name and a caption on each line. What cannot be
used is named, with its line and what is wanted, and the rest is packed.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from diptych.errors import DiptychError, InvalidRequest, OutputError

LISTS = ("metadata.jsonl", "captions.jsonl", "captions.csv")
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
FILE_KEYS = ("file_name", "file", "image", "picture", "path")
CAPTION_KEYS = ("text", "caption", "prompt", "captions")
LARGEST_PICTURE = 64_000_000
"""Pixels; what is larger is not decoded."""
LIMIT = 24 * 2**20
"""Bytes of a packed file."""
QUALITY = 90
INDEX = "captions.jsonl"


@dataclass(frozen=True)
class Complaint:
    """Something in the folder that is not used."""

    where: str
    """A file, with its line where it has lines."""
    what: str
    """What is wrong and what is possible."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Entry:
    picture: str
    """Path inside the folder, with forward slashes."""
    captions: tuple[str, ...]
    where: str
    """Where the first caption stands."""


@dataclass(frozen=True)
class Summary:
    """What was packed and what was not."""

    pictures: int
    captions: int
    size: int
    """Pixels along a side."""
    bytes: int
    complaints: tuple[Complaint, ...]

    def __str__(self) -> str:
        used = (
            f"{self.pictures} pictures with {self.captions} captions at {self.size}x{self.size}, {self.bytes:,} bytes"
        )
        return f"{used}; {len(self.complaints)} not used" if self.complaints else used


def read_captions(folder: Path) -> tuple[list[Entry], list[Complaint]]:
    """Every picture of `folder` that has a caption and is there, and what cannot be used; no picture is decoded yet.

    Raises InvalidRequest when there is no such folder.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder. Give one that holds pictures and their captions.")
    found: dict[str, Entry] = {}
    complaints: list[Complaint] = []
    for name in LISTS:
        if (folder / name).is_file():
            for where, picture, caption in _listed(folder / name, complaints):
                _take(folder, found, complaints, where, picture, caption)
    pictures = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file()
    )
    for picture in pictures:
        beside = (folder / picture).with_suffix(".txt")
        if beside.is_file():
            where = beside.relative_to(folder).as_posix()
            lines = _text(beside, where, complaints).splitlines()
            for number, line in enumerate(lines, 1):
                if line.strip():
                    _take(folder, found, complaints, f"{where} line {number}", picture, line)
        if picture not in found and not any(picture in c.where for c in complaints):
            complaints.append(
                Complaint(picture, "has no caption. Put one into a text file of the same name, or a list.")
            )
    return list(found.values()), complaints


def _take(
    folder: Path, found: dict[str, Entry], complaints: list[Complaint], where: str, picture: str, caption: str
) -> None:
    """Add a caption to what was found, or say why not."""
    caption = " ".join(caption.split())
    name = PurePosixPath(picture.replace("\\", "/"))
    path = folder / name
    if not caption:
        complaints.append(Complaint(where, f"the caption of {picture} is empty."))
    elif name.is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        complaints.append(Complaint(where, f"{picture} is outside of the folder; only what is inside can be used."))
    elif not path.is_file():
        complaints.append(Complaint(where, f"there is no picture {picture}."))
    else:
        key = path.relative_to(folder).as_posix()
        old = found.get(key, Entry(key, (), where))
        if caption not in old.captions:
            found[key] = Entry(key, (*old.captions, caption), old.where)


def _text(path: Path, where: str, complaints: list[Complaint]) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        complaints.append(Complaint(where, "is not text in UTF-8; save it so."))
    except OSError as error:
        complaints.append(Complaint(where, f"cannot be read: {error.strerror}."))
    return ""


def _listed(path: Path, complaints: list[Complaint]) -> Iterator[tuple[str, str, str]]:
    """Where it stands, the picture and the caption, of each line that says both."""
    text = _text(path, path.name, complaints)
    rows = _csv_rows(text, path.name, complaints) if path.suffix == ".csv" else _json_rows(text, path.name, complaints)
    for where, row in rows:
        picture = next((row[key] for key in FILE_KEYS if row.get(key) is not None), None)
        values = next((row[key] for key in CAPTION_KEYS if row.get(key) is not None), None)
        captions = [c for c in (values if isinstance(values, list) else [values]) if isinstance(c, str)]
        if not isinstance(picture, str) or not captions:
            wanted = f"a file name ({', '.join(FILE_KEYS)}) and a caption ({', '.join(CAPTION_KEYS)})"
            complaints.append(Complaint(where, f"has {', '.join(map(str, row)) or 'nothing'}; wanted is {wanted}."))
            continue
        for caption in captions:
            yield where, picture, caption


def _json_rows(text: str, name: str, complaints: list[Complaint]) -> Iterator[tuple[str, dict[str, object]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            complaints.append(Complaint(where, f"is not JSON ({error}); wanted is one object a line."))
            continue
        if isinstance(row, dict):
            yield where, row
        else:
            complaints.append(Complaint(where, f"is {type(row).__name__}; wanted is one object a line."))


def _csv_rows(text: str, name: str, complaints: list[Complaint]) -> Iterator[tuple[str, dict[str, object]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        where = f"{name} line {line}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            complaints.append(Complaint(where, f"is not CSV ({error}); put quotes around a caption with commas."))
            continue
        if row is None:
            return
        if not row:
            continue
        if header is None:
            header = [column.strip().lower() for column in row]
            if not set(header) & set(FILE_KEYS) or not set(header) & set(CAPTION_KEYS):
                wanted = f"one of {', '.join(FILE_KEYS)} and one of {', '.join(CAPTION_KEYS)}"
                complaints.append(Complaint(where, f"names the columns {', '.join(header)}; wanted is {wanted}."))
                return
        elif len(row) != len(header):
            what = f"has {len(row)} fields, the first line {len(header)}; put quotes around a caption with commas."
            complaints.append(Complaint(where, what))
        else:
            yield where, dict(zip(header, row, strict=True))


def pack_folder(folder: Path, out: Path, *, size: int = 256, limit: int = LIMIT) -> Summary:
    """Pack the pictures and captions of `folder` into the file `out`, written whole or not at all.

    Every picture becomes a square of `size`: cut to its middle, resized, what is transparent made white. Raises
    InvalidRequest when nothing can be used or the file would have more than `limit` bytes, OutputError when `out`
    cannot be written.
    """
    entries, complaints = read_captions(folder)
    part = out.with_name(out.name + ".part")
    index: list[str] = []
    captions = 0
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for entry in entries:
                try:
                    picture = decode((folder / entry.picture).read_bytes(), size)
                except (DiptychError, OSError) as error:
                    what = f"{error} Its {len(entry.captions)} captions ({entry.where}) are left out."
                    complaints.append(Complaint(entry.picture, what))
                    continue
                stream = io.BytesIO()
                Image.fromarray(picture).save(stream, "WEBP", quality=QUALITY)
                name = f"pictures/{len(index):06}.webp"
                archive.writestr(name, stream.getvalue())
                index.append(json.dumps({"file_name": name, "captions": entry.captions}, ensure_ascii=False))
                captions += len(entry.captions)
                if archive.fp is not None and archive.fp.tell() > limit:
                    raise InvalidRequest(
                        f"More than {limit:,} bytes after {len(index)} of {len(entries)} pictures at {size}x{size}. "
                        "Use fewer pictures, or a smaller size."
                    )
            archive.writestr(INDEX, "\n".join(index) + "\n", zipfile.ZIP_DEFLATED)
        if not index:
            first = "".join(f"\n  {complaint}" for complaint in complaints[:8])
            raise InvalidRequest(f"{folder} holds no picture with a caption that can be used.{first}")
        part.replace(out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}.") from None
    finally:
        part.unlink(missing_ok=True)
    return Summary(len(index), captions, size, out.stat().st_size, tuple(complaints))


def decode(data: bytes, size: int) -> NDArray[np.uint8]:
    """A picture's bytes as a square of `size`, (size, size, 3). Raises DiptychError: corrupt, too large, no picture."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > LARGEST_PICTURE:
                raise DiptychError(f"is {width}x{height}; at most {LARGEST_PICTURE:,} pixels are decoded.")
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DiptychError(f"cannot be decoded ({error}).") from None
    white = Image.new("RGBA", upright.size, "white")
    white.alpha_composite(upright)
    return np.asarray(ImageOps.fit(white.convert("RGB"), (size, size), Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class Packed:
    """What `pack_folder` wrote, in memory."""

    pictures: tuple[bytes, ...]
    """Encoded as WebP."""
    captions: tuple[tuple[str, ...], ...]
    """Of each picture, one or more."""

    def batch(self, rng: np.random.Generator, count: int, size: int) -> tuple[NDArray[np.uint8], list[str]]:
        """Random pictures, (count, size, size, 3), RGB, and one caption of each."""
        chosen = rng.integers(len(self.pictures), size=count)
        pictures = np.stack([decode(self.pictures[i], size) for i in chosen])
        return pictures, [self.captions[i][int(rng.integers(len(self.captions[i])))] for i in chosen]


def load_packed(path: Path) -> Packed:
    """Read what `pack_folder` wrote. Raises DiptychError for a file that is missing, damaged or something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            rows = [json.loads(line) for line in archive.read(INDEX).decode().splitlines()]
            pictures = tuple(archive.read(row["file_name"]) for row in rows)
            captions = tuple(tuple(row["captions"]) for row in rows)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise DiptychError(f"{path} is not a packed folder of pictures: {error}.") from None
    if not pictures or not all(captions):
        raise DiptychError(f"{path} is not a packed folder of pictures: it has none, or one without a caption.")
    return Packed(pictures, captions)
