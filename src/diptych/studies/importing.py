"""Pictures made anywhere become samples of a study, to be measured, judged and reported beside the others.

Which prompt a picture shows is found out in `matching`.
"""

from __future__ import annotations

import hashlib
import io
import platform
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Insert, func, insert, select

from diptych import catalogue
from diptych.errors import BadPicture, InvalidRequest, RecipeError
from diptych.images import MEDIA_TYPES, RECIPE_KEY, inspect_picture, read_recipe
from diptych.store import schema
from diptych.store.database import Store, one_at_a_time
from diptych.studies.create import LONGEST_NAME, NAMES, now
from diptych.studies.matching import PictureFile, Shows, few, match_by_itself, match_to_list, read_list, read_mapping
from diptych.studies.plan import LONGEST_LABEL
from diptych.studies.prompts import Prompt, same, slug

PROVIDER = "import"
"""Of contestants whose pictures were made elsewhere: nobody is asked for them."""
LARGEST_FILE = 2**28
"""Bytes; a picture of as many pixels as are decoded, not compressed, is smaller."""


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    study: str
    new_study: bool
    label: str
    """The contestant: the model's name, or that and "(imported)" where the study asks the model itself."""
    added: int
    already: int
    """Pictures that the study had already, for the same prompt and contestant."""
    prompts: int
    """That the added pictures show."""
    learned: Mapping[str, int]
    """Pictures by where their prompt was learned from: "table", "list", "recipe", "parameters", "name"."""
    skipped: tuple[str, ...] = ()
    """Files that are no pictures, each with the reason."""
    left_out: tuple[str, ...] = ()
    """Files that the table does not name."""
    texts: tuple[str, ...] = ()
    """The new prompts."""


def import_pictures(
    store: Store,
    folder: Path,
    model: str,
    *,
    prompts: str | None = None,
    study: str | None = None,
    skip_unreadable: bool = False,
) -> Imported:
    """Make samples of the pictures in `folder`, without its folders and hidden files.

    model: the contestant's name; where the catalogue has it, its facts are kept with the study. prompts: a file or the
    name of a set, see above. study: one that exists, or the name of a new one; without it the study of this folder,
    which is made at the first import. What is there already is not added again, so an import can be repeated.
    All or nothing: the rows are one transaction.

    Raises InvalidRequest for a folder without pictures and for pictures whose prompt cannot be learned, BadPicture for
    files that are none unless `skip_unreadable`, StoreError.
    """
    label = " ".join(model.split())
    if not label or not label.isprintable() or len(label) > LONGEST_LABEL - len(" (imported)"):
        raise InvalidRequest(f"The model is {model[:60]!r}; it is named in 1 to {LONGEST_LABEL - 11} characters.")
    if study is not None and (not re.fullmatch(r"[\w][\w .-]*", study) or len(study) > LONGEST_NAME):
        raise InvalidRequest(
            f"A study cannot be named {study[:80]!r}: 1 to {LONGEST_NAME} letters, digits, dots, dashes, spaces."
        )
    paths = _paths(folder)
    with store.reading() as connection:
        known = _study_prompts(connection, _find_study(connection, folder, study))
    table = None if prompts is None else read_mapping(Path(prompts), folder)
    left_out: list[str] = []
    if table is not None:
        left_out = [path.name for path in paths if path.resolve() not in table and not _is(path, prompts)]
        paths = list(table)
    paths = [path for path in paths if not _is(path, prompts)]
    files, skipped = _read(paths, folder, skip_unreadable)
    if table is not None:
        shown = [table[file.path] for file in files]
    elif prompts is not None:
        shown = match_to_list(files, read_list(prompts), prompts)
    else:
        shown = match_by_itself(files, known)
    for file in files:
        if store.pictures.put(file.path.read_bytes()) != file.sha256:
            raise BadPicture(f"{file.path} was changed while it was imported.")
    facts = _facts(label)
    with store.writing() as connection:
        one_at_a_time(connection, NAMES)
        return _write(
            connection, folder, study, (label, facts), list(zip(files, shown, strict=True)), skipped, left_out
        )


# Files


def _paths(folder: Path) -> list[Path]:
    try:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise InvalidRequest(f"{folder} {what}; pictures are imported from a folder.")
        found = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()]
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be read: {error.strerror or error}.") from None
    if not found:
        raise InvalidRequest(f"{folder} holds no files; folders in it are not looked into.")
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name.casefold())]


def _is(path: Path, other: str | None) -> bool:
    return other is not None and path.resolve() == Path(other).resolve()


def _read(paths: Sequence[Path], folder: Path, skip_unreadable: bool) -> tuple[list[PictureFile], tuple[str, ...]]:
    files: list[PictureFile] = []
    unreadable: list[str] = []
    for path in paths:
        try:
            files.append(_read_one(path))
        except BadPicture as error:
            unreadable.append(f"{path.name} ({str(error).rstrip('.')})")
    if unreadable and not skip_unreadable:
        one = len(unreadable) == 1
        raise BadPicture(
            f"{len(unreadable)} of {len(paths)} files in {folder} {'is no picture' if one else 'are no pictures'}: "
            f"{few(unreadable)}. Nothing was imported; --skip-unreadable leaves {'it' if one else 'them'} out."
        )
    if not files:
        raise InvalidRequest(f"{folder} holds no pictures: {few(unreadable)}.")
    return files, tuple(unreadable)


def _read_one(path: Path) -> PictureFile:
    from PIL import Image

    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise BadPicture(f"The file has {size:,} bytes; more than {LARGEST_FILE:,} are not read.")
        data = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"The file cannot be read: {error.strerror or error}.") from None
    seen = inspect_picture(data)
    recipe = parameters = None
    if seen.media_type == "image/png":
        with Image.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES)) as image:
            image.load()  # what is said of a PNG may stand after its pixels
            info = image.info
        if RECIPE_KEY in info:
            try:
                recipe = read_recipe(path)
            except RecipeError:
                recipe = None  # damaged: its prompt is learned in another way
        if isinstance(info.get("parameters"), str):
            parameters = info["parameters"]
    return PictureFile(path, hashlib.sha256(data).hexdigest(), len(data), seen, recipe, parameters)


# Rows


def _find_study(connection: Connection, folder: Path, name: str | None) -> int | None:
    t = schema.studies
    wanted = t.c.name == name if name is not None else t.c.fingerprint == _fingerprint(folder)
    return connection.scalar(select(t.c.id).where(wanted).order_by(t.c.id.desc()).limit(1))


def _fingerprint(folder: Path) -> str:
    """The same folder finds its study again."""
    return hashlib.sha256(f"pictures in {folder.resolve()}".encode(errors="surrogateescape")).hexdigest()


def _study_prompts(connection: Connection, study_id: int | None) -> list[Prompt]:
    t = schema.prompts
    rows = connection.execute(select(t.c.text, t.c.category).where(t.c.study_id == study_id).order_by(t.c.position))
    return [Prompt(*row) for row in rows]


def _write(
    connection: Connection,
    folder: Path,
    name: str | None,
    model: tuple[str, Mapping[str, Any]],
    pictures: Sequence[tuple[PictureFile, Shows]],
    skipped: tuple[str, ...],
    left_out: Sequence[str],
) -> Imported:
    study_id = _find_study(connection, folder, name)
    new_study = study_id is None
    if study_id is None:
        study_id = _new_study(connection, folder, name, pictures)
    contestant_id, label = _contestant(connection, study_id, *model)
    texts, positions = schema.prompts, schema.prompts.c.position
    ids = {
        same(row.text): int(row.id)
        for row in connection.execute(select(texts.c.id, texts.c.text).where(texts.c.study_id == study_id))
    }
    position = connection.scalar(select(func.max(positions)).where(texts.c.study_id == study_id))
    position = -1 if position is None else int(position)
    s = schema.samples
    there: set[tuple[int, str | None]] = set()
    next_number: Counter[int] = Counter()
    for row in connection.execute(
        select(s.c.prompt_id, s.c.number, s.c.picture).where(s.c.contestant_id == contestant_id)
    ):
        there.add((row.prompt_id, row.picture))
        next_number[row.prompt_id] = max(next_number[row.prompt_id], row.number + 1)
    rows: list[dict[str, Any]] = []
    texts_added: list[str] = []
    for file, shows in pictures:
        text = same(shows.prompt.text)
        if text not in ids:
            position += 1
            ids[text] = _inserted(
                connection,
                insert(texts).values(
                    study_id=study_id, position=position, text=shows.prompt.text, category=shows.prompt.category
                ),
            )
            texts_added.append(shows.prompt.text)
        prompt_id = ids[text]
        if (prompt_id, file.sha256) in there:
            continue
        there.add((prompt_id, file.sha256))
        rows.append(
            {
                "study_id": study_id,
                "prompt_id": prompt_id,
                "contestant_id": contestant_id,
                "number": next_number[prompt_id],
                "request": {
                    "prompt": shows.prompt.text,
                    **({"seed": shows.seed} if shows.seed is not None else {}),
                },
                "state": "done",
                "finished": now(),
                "picture": file.sha256,
                "media_type": file.seen.media_type,
                "width": file.seen.width,
                "height": file.seen.height,
                "bytes": file.size,
                "recipe": None if file.recipe is None else dict(file.recipe),
            }
        )
        next_number[prompt_id] += 1
    if rows:
        connection.execute(insert(s), rows)
    t = schema.studies
    return Imported(
        study=str(connection.scalar(select(t.c.name).where(t.c.id == study_id))),
        new_study=new_study,
        label=label,
        added=len(rows),
        already=len(pictures) - len(rows),
        prompts=len({row["prompt_id"] for row in rows}),
        learned=Counter(shows.learned for _, shows in pictures),
        skipped=skipped,
        left_out=tuple(left_out),
        texts=tuple(texts_added),
    )


def _new_study(
    connection: Connection, folder: Path, name: str | None, pictures: Sequence[tuple[PictureFile, Shows]]
) -> int:
    t = schema.studies
    if name is None:
        taken = set(connection.scalars(select(t.c.name)))
        name = next(free for free in _names(folder) if free not in taken)
    return _inserted(
        connection,
        insert(t).values(
            name=name,
            fingerprint=_fingerprint(folder),
            created=now(),
            settings={
                "samples": max(Counter(same(shows.prompt.text) for _, shows in pictures).values()),
                "prompts": f"pictures in {folder.resolve().name}",
                "set": {},
            },
            versions={
                "diptych": metadata.version("diptych"),
                "python": platform.python_version(),
                "machine": f"{platform.system()} {platform.machine()}",
            },
        ),
    )


def _names(folder: Path) -> Iterator[str]:
    stem = slug(folder.resolve().name)
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def _facts(model: str) -> Mapping[str, Any]:
    """What the catalogue knows of the model, if anything."""
    found = next((one for one in catalogue.load().models if one.name == model), None)
    return {} if found is None else found.model_dump(mode="json")


def _contestant(connection: Connection, study_id: int, model: str, facts: Mapping[str, Any]) -> tuple[int, str]:
    """The row of imported pictures of this model: its id and label."""
    t = schema.contestants
    here = {
        row.label: row
        for row in connection.execute(
            select(t.c.id, t.c.label, t.c.provider, t.c.position).where(t.c.study_id == study_id)
        )
    }
    label = model
    if label in here and here[label].provider != PROVIDER:  # the study asks this model itself
        label = f"{model} (imported)"
    if label in here:
        return int(here[label].id), label
    row = insert(t).values(
        study_id=study_id,
        position=max((row.position for row in here.values()), default=-1) + 1,
        label=label,
        model=model,
        provider=PROVIDER,
        values={},
        facts=dict(facts),
    )
    return _inserted(connection, row), label


def _inserted(connection: Connection, row: Insert) -> int:
    """The id that the database gave it."""
    return int(connection.execute(row.returning(row.table.c.id)).scalar_one())
