"""Prompts: read from files or as they are, and the sets that come with diptych.

    read_prompts(["prompts.csv"])                       .txt, .csv, .tsv, .jsonl
    read_prompts(["a fox in snow", "a red apple"])      prompts themselves
    prompt_set("portraits")                             one of `PROMPT_SETS`

A text file holds a prompt a line; blank lines and lines that begin with # are passed over. A table has a column
`prompt` and may have `category`, in any case of letters, beside others. A line of JSONL is a text, or an object with
the same two names. Everything is UTF-8.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from diptych.errors import InvalidRequest, near
from diptych.images import Request

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl")
LONGEST_CATEGORY = 64
"""Characters; what the store keeps."""

SETS = ("basics", "portraits", "hands", "products", "typography", "landscapes", "illustration", "composition")
"""Files in `prompt_sets`. `basics` is what the built-in models know; the others part larger models."""
PROMPT_SETS = (*SETS, "all")
"""What `prompt_set` takes; `all` is everything but `basics`."""


@dataclass(frozen=True)
class Prompt:
    text: str
    category: str | None = None


@dataclass(frozen=True)
class Prompts:
    """At least one prompt, each once."""

    prompts: tuple[Prompt, ...]
    source: str
    """Where they are from, in words."""
    merged: int = 0
    """How many were left out because they say the same as an earlier one."""


def read_prompts(given: Sequence[str]) -> Prompts:
    """Every prompt of `given`: files, and prompts written out, in this order.

    What exists as a file is read; what looks like the name of one (its suffix, or a path without spaces) and does not
    exist is refused; everything else is a prompt. Prompts that differ in white space alone are merged, and the first
    category that is said of them is kept.

    Raises InvalidRequest, which names file and line: for a file that is missing, empty, not UTF-8 or malformed, and
    for a prompt that is empty or too long.
    """
    found: list[Prompt] = []
    files: list[str] = []
    for one in given:
        if is_file(one):
            files.append(one)
            found += read_file(Path(one))
        else:
            found.append(checked(one, None))
    if not found:
        raise InvalidRequest("There is no prompt: give one or more, or a file of them (.txt, .csv, .tsv or .jsonl).")
    names = [*dict.fromkeys(files)] + (["as given"] if len(files) < len(given) else [])
    return _merged(found, ", ".join(names))


def prompt_set(name: str) -> Prompts:
    """One of the sets that come with diptych. Raises InvalidRequest for another name, and suggests near ones."""
    if name not in PROMPT_SETS:
        hint = f"Did you mean {' or '.join(near(name, PROMPT_SETS))}? " if near(name, PROMPT_SETS) else ""
        raise InvalidRequest(f"There is no set of prompts named {name!r}. {hint}There are {', '.join(PROMPT_SETS)}.")
    folder = Path(str(resources.files("diptych.studies"))) / "prompt_sets"
    names = [one for one in SETS if one != "basics"] if name == "all" else [name]
    return _merged([p for one in names for p in read_file(folder / f"{one}.csv")], f"the set {name}")


def is_file(given: str) -> bool:
    """Whether `given` names a file and is no prompt. Raises InvalidRequest for a name of no file."""
    looks_like_one = given.lower().endswith(SUFFIXES) or (
        any(separator and separator in given for separator in (os.sep, os.altsep))
        and not any(c.isspace() for c in given)
    )
    if os.path.isdir(given):  # unlike Path.is_dir it never raises, whatever a prompt holds
        if looks_like_one:
            raise InvalidRequest(f"{given} is a folder; prompts are read from a file (.txt, .csv, .tsv or .jsonl).")
        return False
    if os.path.exists(given):
        return True
    if looks_like_one:
        raise InvalidRequest(f"There is no file {given}.")
    return False


def read_file(path: Path) -> list[Prompt]:
    """The prompts of one file, as they stand there. Raises InvalidRequest as `read_prompts` does."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        found = [
            checked(row["prompt"], row.get("category"), at)
            for at, row in read_table(path, needs="prompt", separator="\t" if suffix == ".tsv" else ",")
        ]
    elif suffix == ".jsonl":
        found = [_from_json(line, at) for at, line in _lines(path)]
    else:
        found = [checked(line, None, at) for at, line in _lines(path) if not line.lstrip().startswith("#")]
    if not found:
        raise InvalidRequest(f"{path} holds no prompt.")
    return found


def read_table(path: Path, *, needs: str, separator: str = ",") -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file as (where it stands, fields by the lower-case names of the header).

    needs: a column that must be there. Raises InvalidRequest for an unclosed quote, a row with too few or too many
    fields, and a header without the column or with one twice.
    """
    # In tables with tabs a quote is a quote (iana.org, text/tab-separated-values; so are PartiPrompts'), but
    # spreadsheets wrap fields that hold one: `_unwrapped` takes back what can be nothing else.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(
        io.StringIO(read_text(path), newline=""),
        delimiter=separator,
        quoting=quoting,
        strict=True,
        skipinitialspace=True,
    )
    header: list[str] | None = None
    while True:
        at = f"{path}, line {reader.line_num + 1}"
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            what = "a quote that is never closed" if "unexpected end" in str(error) else str(error)
            raise InvalidRequest(f"{at}: the row that begins here is broken: {what}.") from None
        if not fields:  # an empty line
            continue
        if separator == "\t":
            fields = [_unwrapped(field) for field in fields]
        if header is None:
            header = _header(fields, needs, separator, at)
        elif len(fields) != len(header):
            hint = " A field that holds a comma stands in double quotes." if separator == "," else ""
            raise InvalidRequest(
                f"{at}: {len(fields)} field{'s' * (len(fields) != 1)} where the header has {len(header)} "
                f"({', '.join(header)}).{hint}"
            )
        else:
            yield at, dict(zip(header, fields, strict=True))
    if header is None:
        raise InvalidRequest(f"{path} is empty: its first line must name the columns, one of them {needs}.")


_SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon"}


def _unwrapped(field: str) -> str:
    return field[1:-1].replace('""', '"') if re.fullmatch(r'"(?:[^"]|"")*"', field) else field


def _header(fields: list[str], needs: str, separator: str, at: str) -> list[str]:
    header = [name.strip().casefold() for name in fields]
    if needs not in header:
        other = next((s for s in _SEPARATORS if s != separator and needs in re.split(s, ",".join(header))), None)
        hint = f" It seems to have {_SEPARATORS[other]} between fields, not {_SEPARATORS[separator]}." if other else ""
        raise InvalidRequest(f"{at}: the header has no column {needs}; it has {', '.join(fields)}.{hint}")
    twice = [name for name in ("prompt", "category", "file", "seed") if header.count(name) > 1]
    if twice:
        raise InvalidRequest(f"{at}: the header has the column {twice[0]} {header.count(twice[0])} times.")
    return header


def read_text(path: Path) -> str:
    """Raises InvalidRequest for a file that cannot be read or is not UTF-8."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InvalidRequest(f"There is no file {path}.") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = " It seems to be UTF-16." if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise InvalidRequest(f"{path}, line {line}: this is not UTF-8.{hint} Save the file as UTF-8.") from None


def checked(text: str, category: str | None, at: str | None = None) -> Prompt:
    """A prompt that may be asked. at: where it stands, for the message. Raises InvalidRequest."""
    before = f"{at}: " if at else ""
    try:
        Request(prompt=text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{before}{error}") from None
    category = " ".join((category or "").split())
    if "\0" in text or "\0" in category:
        raise InvalidRequest(f"{before}there is a character of no text in it (NUL): is this a text file?")
    if len(category) > LONGEST_CATEGORY:
        raise InvalidRequest(f"{before}the category has {len(category)} characters; it has at most {LONGEST_CATEGORY}.")
    return Prompt(text.strip(), category or None)


def same(text: str) -> str:
    """Equal for prompts that differ in white space alone."""
    return " ".join(text.split())


def slug(text: str, longest: int | None = 48) -> str:
    """`text` as part of a file's name: its words with dashes between them."""
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", text).lower())
    return words.strip("-")[:longest].rstrip("-") or "picture"


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not blank, each with where it stands. JSON may hold U+2028, so only real line ends count."""
    for number, line in enumerate(re.split(r"\r\n|\n|\r", read_text(path)), start=1):
        if line.strip():
            yield f"{path}, line {number}", line


def _from_json(line: str, at: str) -> Prompt:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        said = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InvalidRequest(f"{at}: this is not JSON: {said}.") from None
    if isinstance(value, str):
        return checked(value, None, at)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{at}: a line is a text, or an object with prompt and perhaps category.")
    fields = {name.casefold(): item for name, item in value.items()}
    if "prompt" not in fields:
        raise InvalidRequest(f"{at}: the object has no prompt; it has {', '.join(value) or 'nothing'}.")
    for name in ("prompt", "category"):
        item = fields.get(name)
        if not isinstance(item, str) and not (name == "category" and item is None):
            raise InvalidRequest(f"{at}: {name} is {json.dumps(item)[:60]}; it must be text.")
    return checked(fields["prompt"], fields.get("category"), at)


def _merged(found: list[Prompt], source: str) -> Prompts:
    first: dict[str, Prompt] = {}
    for prompt in found:
        earlier = first.setdefault(same(prompt.text), prompt)
        if earlier.category is None and prompt.category is not None:
            first[same(prompt.text)] = replace(earlier, category=prompt.category)
    return Prompts(tuple(first.values()), source, len(found) - len(first))
