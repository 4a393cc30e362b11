"""Which prompt a picture shows that was made elsewhere.

It is learned from, in this order:

with a table of `file`, `prompt` and perhaps `category` and `seed`
    the row that names the file
with a list of prompts, or a set of ours
    1. the file's name: the prompt in the words of `prompts.slug`, perhaps with a number before and numbers after it,
       as in `2-a-fox-in-snow-17.png`
    2. the number that the name begins with: `3.png`, `03-dusk.png` and `3_2.png` show the third prompt of the list
    3. the recipe inside the picture, where its prompt is on the list
with neither
    1. the recipe inside the picture: ours, or the `parameters` that AUTOMATIC1111's web UI and others write
    2. the file's name, held against the prompts that the study has already
    3. the file's name, read as words
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from diptych.errors import InvalidRequest
from diptych.images import LARGEST_SEED, Inspected
from diptych.studies.prompts import PROMPT_SETS, Prompt, checked, prompt_set, read_file, read_table, same, slug

SHOWN = 3
"""Files that a message names, before it counts the rest."""
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@dataclass(frozen=True)
class PictureFile:
    """A picture as it lies in the folder. Its bytes are read again when they are kept, so that memory stays flat."""

    path: Path
    sha256: str
    size: int
    seen: Inspected
    recipe: Mapping[str, Any] | None
    parameters: str | None


@dataclass(frozen=True)
class Shows:
    """What a picture shows, and how that is known."""

    prompt: Prompt
    learned: str
    seed: int | None = None


def few(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def read_mapping(path: Path, folder: Path) -> dict[Path, Shows] | None:
    """What a table with a column `file` says of each file; None for any other file of prompts."""
    separator = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    if separator is None or not path.is_file():
        return None
    found: dict[Path, Shows] = {}
    for at, row in read_table(path, needs="prompt", separator=separator):
        if "file" not in row:
            return None
        file = _inside(folder, row["file"].strip(), at)
        if file in found:
            raise InvalidRequest(f"{at}: {file.name} was named before; a picture shows one prompt.")
        found[file] = Shows(
            checked(row["prompt"], row.get("category"), at), "table", _seed(row.get("seed", "").strip(), at)
        )
    if not found:
        raise InvalidRequest(f"{path} holds no prompt.")
    return found


def _inside(folder: Path, name: str, at: str) -> Path:
    """The file of that name, which lies in `folder` or below it: a table of somebody else must not reach further."""
    try:
        file = (folder / name).resolve()
        outside = not name or not file.is_relative_to(folder.resolve())
        missing = not outside and not file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        outside, missing, file = False, True, folder
    if outside:
        raise InvalidRequest(f"{at}: file is {name!r}; it is the name of a picture in {folder}.")
    if missing:
        raise InvalidRequest(f"{at}: there is no file {shorten(name, 100, placeholder='...')!r} in {folder}.")
    return file


def _seed(text: str, at: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > LARGEST_SEED:
        raise InvalidRequest(f"{at}: seed is {text[:40]!r}; it is a whole number from 0 to {LARGEST_SEED}.")
    return int(text)


def read_list(prompts: str) -> list[Prompt]:
    """As they stand in the file: a picture's number counts the prompts there, repeated ones too."""
    if prompts in PROMPT_SETS and not Path(prompts).exists():
        return list(prompt_set(prompts).prompts)
    return read_file(Path(prompts))


def match_to_list(files: Sequence[PictureFile], prompts: Sequence[Prompt], source: str) -> list[Shows]:
    found: list[Shows] = []
    lost: list[str] = []
    by_name = _ByName(prompts)
    for file in files:
        recipe = _from_inside(file)
        prompt = by_name.named(file.path.stem) or by_name.numbered(file.path.stem)
        if prompt is None and recipe is not None:
            prompt = next((one for one in prompts if same(one.text) == same(recipe.prompt.text)), None)
        if prompt is None:
            lost.append(file.path.name)
        else:
            seed = recipe.seed if recipe is not None and same(recipe.prompt.text) == same(prompt.text) else None
            found.append(Shows(prompt, "list", seed))
    if lost:
        raise InvalidRequest(
            f"Which of the {len(prompts)} prompts of {source} do these show: {few(lost)}? A name is the prompt in "
            f"words ({slug(prompts[0].text)}-1.png) or begins with its number (1-2.png: the first prompt, second "
            "picture). Or give a table: --prompts FILE.csv with the columns file and prompt."
        )
    return found


def match_by_itself(files: Sequence[PictureFile], known: Sequence[Prompt]) -> list[Shows]:
    found: list[Shows] = []
    lost: list[str] = []
    by_name = _ByName(known)
    for file in files:
        shows = _from_inside(file)
        if shows is None:
            prompt = by_name.named(file.path.stem)
            words = _words(file.path.stem)
            if prompt is None and words:
                prompt = checked(words, None, file.path.name)
            shows = None if prompt is None else Shows(prompt, "name")
        if shows is None:
            lost.append(file.path.name)
        else:
            found.append(shows)
    if lost:
        raise InvalidRequest(
            f"What do these show: {few(lost)}? They carry no recipe, and their names are no words. "
            "Give the prompts with --prompts: a list, or a table with the columns file and prompt."
        )
    return found


def _from_inside(file: PictureFile) -> Shows | None:
    """What the picture's metadata says."""
    if file.recipe is not None:
        request = file.recipe["request"]
        return Shows(checked(request["prompt"], None, file.path.name), "recipe", request.get("seed"))
    if file.parameters is not None:
        lines = file.parameters.split("\n")
        ends = (i for i, line in enumerate(lines) if re.match(r"Negative prompt:|Steps: \d", line))
        text = "\n".join(lines[: next(ends, len(lines))]).strip()
        seed = re.search(r"\bSeed: (\d{1,19})\b", file.parameters)
        if text:
            number = int(seed[1]) if seed and int(seed[1]) <= LARGEST_SEED else None
            return Shows(checked(text, None, file.path.name), "parameters", number)
    return None


class _ByName:
    """Prompts by what a file that shows one may be named."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompts = prompts
        self._by_slug: dict[str, dict[str, Prompt]] = {}
        for prompt in prompts:
            for name in (slug(prompt.text), slug(prompt.text, longest=None)):
                self._by_slug.setdefault(name, {}).setdefault(same(prompt.text), prompt)

    def named(self, stem: str) -> Prompt | None:
        """The prompt whose words the name is. Names hold the first words alone, so several prompts may share one.

        Raises InvalidRequest where nothing tells them apart.
        """
        whole = slug(stem, longest=None)
        for forms in ([whole], _without_numbers(whole)):
            fitting = {text: one for form in forms for text, one in self._by_slug.get(form, {}).items()}
            if len(fitting) == 1:
                return next(iter(fitting.values()))
            if fitting:
                numbered = self.numbered(stem)
                if numbered is not None and same(numbered.text) in fitting:
                    return numbered
                first, second = (shorten(text, 100, placeholder="...") for text in list(fitting)[:2])
                raise InvalidRequest(
                    f"{stem} may show {first!r} or {second!r}: begin its name with the prompt's number."
                )
        return None

    def numbered(self, stem: str) -> Prompt | None:
        """The prompt whose number the name begins with, counted from 1."""
        number = re.match(r"0*([1-9][0-9]{0,5})(?=[\W_]|$)", stem)
        return self._prompts[int(number[1]) - 1] if number and int(number[1]) <= len(self._prompts) else None


def _without_numbers(name: str) -> list[str]:
    """The name without the number it begins with, and without one or more of those it ends with."""
    forms = [name, re.sub(r"^[0-9]+-", "", name)]
    for form in forms:
        shorter = re.sub(r"-[0-9]+$", "", form)
        if shorter not in forms:
            forms.append(shorter)
    return forms


def _words(stem: str) -> str:
    """A name as words, without what numbers it: `03_a-fox-in-snow_17` is "a fox in snow"."""
    text = re.sub(UUID, "", unicodedata.normalize("NFC", stem), flags=re.IGNORECASE)
    text = re.sub(r"^[\W_]*(?:[0-9]+[\W_]+)?", "", text)
    text = re.sub(r"(?:[\W_]+[0-9]+\)?)*[\W_]*$", "", text)
    if " " not in text:
        text = re.sub(r"[-_.+]+", " ", text)
    return same(text) if any(c.isalpha() for c in text) else ""
