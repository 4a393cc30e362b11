"""The report as a page: one file that holds everything, or a folder with the original pictures."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from diptych import settings
from diptych.errors import OutputError, StoreError
from diptych.images import check_writable, write_file
from diptych.report import claims, gallery, sections, tradeoff, voting, words
from diptych.report.gallery import Choice, Missing, Set, Shot
from diptych.report.judged import Jury
from diptych.report.plots import COLOURS
from diptych.report.summary import names_of, size_is_right, summarise
from diptych.studies.results import ContestantRow, Results, SampleRow

if TYPE_CHECKING:
    from diptych.store.pictures import Pictures

LIMIT = 25_000_000
"""Bytes of the page, whatever the study."""
FOR_PICTURES = 14_000_000
"""Bytes of the pictures in it; base64 makes a third more of them. The rest is for words and plots."""
HERO_BYTES = 400_000
"""Of one picture at the top of the page: a larger one is not put there a second time."""
TEMPLATES = Path(__file__).parent / "templates"
GENERATOR = "diptych report"
MOST_ACROSS = 6
SMALL = 256
"""Pixels of a side up to which pictures are shown smaller."""
LONGEST_UNBROKEN = 20
LONGEST_PROMPT, LONGEST_WORDS = 600, 400
STATES = {
    "refused": "Refused",
    "failed": "Failed",
    "unknown": "No answer, possibly charged",
    "planned": "Not asked yet",
    "sent": "Under way",
    "waiting": "Under way",
}

Shots = Sequence[tuple[Shot | Missing | None, ...]]


def write_page(results: Results, pictures: Pictures, out: Path, jury: Jury, *, force: bool) -> Path:
    """One HTML file of less than LIMIT bytes; an earlier report there is replaced. Raises OutputError."""
    force = force or is_report(out)
    check_writable(out, force=force)
    budget = float(FOR_PICTURES)
    while True:
        choice = gallery.choose(results, budget)
        shots = list(gallery.embedded(choice, pictures, budget))
        page = render(results, choice, shots, jury).encode(
            "utf-8", "replace"
        )  # vendors' words may hold half a character
        if len(page) <= LIMIT or not choice.sets:
            return write_file(out, page, force=force)
        budget /= 2


def write_folder(results: Results, pictures: Pictures, out: Path, jury: Jury) -> Path:
    """`index.html`, and every original picture in `pictures`; the path of the former. Raises OutputError.

    The folder appears whole or not at all. One that is there is replaced, if it is a report.
    """
    _check_folder(out)
    building = out.parent / f".{out.name[:40]}.{secrets.token_hex(8)}.part"
    try:
        (building / "pictures").mkdir(parents=True)
        try:
            choice = gallery.choose(results, None)
            shots = [_originals(one, results.contestants, pictures, building) for one in choice.sets]
            page = render(results, choice, shots, jury, linked=True).encode("utf-8", "replace")
            (building / "index.html").write_bytes(page)
            _put_in_place(building, out)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{out} cannot be written: {error.strerror or error}.") from None
    return out / "index.html"


def _originals(
    one: Set, contestants: Sequence[ContestantRow], pictures: Pictures, folder: Path
) -> tuple[Shot | Missing | None, ...]:
    shots: list[Shot | Missing | None] = []
    for sample, contestant in zip(one.samples, contestants, strict=True):
        if sample is None or sample.picture is None:
            shots.append(None)
            continue
        name = gallery.file_name(sample, contestant, one.prompt)
        try:
            data = pictures.get(sample.picture)
        except StoreError as error:
            shots.append(Missing(str(error)))
            continue
        (folder / "pictures" / name).write_bytes(data)
        shots.append(Shot(f"pictures/{quote(name)}"))
    return tuple(shots)


def is_report(path: Path) -> bool:
    """Whether this file is a page that was written here."""
    try:
        with path.open("rb") as stream:
            return f'content="{GENERATOR}"'.encode() in stream.read(4000)
    except OSError:
        return False


def _check_folder(out: Path) -> None:
    if not os.path.lexists(out):
        check_writable(out)
    elif not out.is_dir():
        raise OutputError(f"{out} is a file; a folder was to be written there.")
    elif any(out.iterdir()) and not is_report(out / "index.html"):
        raise OutputError(f"{out} is a folder that is no report, so it is not replaced. Choose another name.")


def _put_in_place(building: Path, out: Path) -> None:
    old = building.with_suffix(".old")
    if out.exists():
        os.replace(out, old)
    os.replace(building, out)
    shutil.rmtree(old, ignore_errors=True)


# The page


def render(results: Results, choice: Choice, shots: Shots, jury: Jury, *, linked: bool = False) -> str:
    """The HTML. linked: pictures are files beside the page; else they are in it. The same study gives the same text."""
    summary = summarise(results)
    css, script = ((TEMPLATES / name).read_text("utf-8") for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found = sections.headline(summary, results, jury)
    page = _environment().get_template("report.html.j2").render(
        css=css,
        js=script,
        policy=_policy(digest, linked=linked),
        generator=GENERATOR,
        linked=linked,
        study={
            "name": results.name,
            "created": results.created,
            "date": sections.day(results.created),
            "scope": ", ".join(
                [
                    words.count(len(results.prompts), "prompt"),
                    words.count(len(results.contestants), "model"),
                    words.count(len(results.samples), "sample"),
                ]
            ),
        },
        answer=found,
        headline=_unbroken(found.headline, [contestant.label for contestant in results.contestants]),
        long=len(found.headline) > 120,
        hero=_hero(results, choice, shots),
        votes=voting.of_people(jury.people, summary.lines, _quoted(results.name)),
        models_votes=voting.of_models(jury.models, summary.lines, jury.names),
        tradeoff=tradeoff.section(jury.people, summary.lines),
        numbers=sections.numbers(summary),
        seconds=sections.seconds(results, summary),
        dollars=sections.dollars(results, summary),
        detail=sections.detail(results, summary),
        gallery=_gallery(results, choice, shots),
        claims=sections.claims(claims.check(results, summary.lines, jury.people), summary),
        settings=sections.settings(results, summary),
        colophon=sections.colophon(results, summary, linked=linked),
    )  # fmt: skip
    return settings.redact(page)


def _quoted(name: str) -> str:
    """As a command takes it."""
    return f'"{name}"' if " " in name else name


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(digest: str, *, linked: bool) -> str:
    """Nothing is fetched: one script, known by its hash, and pictures from the page or the folder beside it."""
    pictures = "'self' file: data:" if linked else "data:"
    return (
        f"default-src 'none'; img-src {pictures}; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hero(results: Results, choice: Choice, shots: Shots) -> dict[str, Any] | None:
    """The first set with a picture, at the top of the page: taken by number, whatever is on it."""
    for at, (one, its) in enumerate(zip(choice.sets, shots, strict=True)):
        there = [shot for shot in its if isinstance(shot, Shot)]
        if not there:
            continue
        if len(one.samples) > 4 or max(len(shot.src) for shot in there) > HERO_BYTES:
            return None
        tiles = _tiles(results, one, its)
        side = max(tile["width"] for tile in tiles if tile["shot"])
        which = "The first sample" if at == 0 else f"Sample {one.number + 1} of prompt {one.prompt.position + 1}"
        which += " of each model" if len(tiles) > 1 else ""
        return {
            "tiles": tiles,
            "beside": len(tiles) < 3,
            "of": _set_id(at),
            "aspect": _aspect(tiles),
            "most": max(256, 3 * side),
            "prompt": words.cut(one.prompt.text, 200),
            "caption": f"{which}, chosen by number and not by looks.",
        }
    return None


def _unbroken(text: str, labels: Sequence[str]) -> Markup:
    """`text`, escaped, with the short words of labels in it kept in one line: they are full of dashes."""
    names = {name for label in labels for name in label.split() if 4 <= len(name) <= LONGEST_UNBROKEN}
    if not names:
        return escape(text)
    pattern = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
    pieces = re.split(f"({pattern})", text)
    return Markup("").join(
        Markup('<span class="unbroken">{}</span>').format(piece) if i % 2 else escape(piece)
        for i, piece in enumerate(pieces)
    )


def _gallery(results: Results, choice: Choice, shots: Shots) -> dict[str, Any]:
    contestants = len(results.contestants)
    prompts: list[dict[str, Any]] = []
    for at, (one, its) in enumerate(zip(choice.sets, shots, strict=True)):
        if not prompts or prompts[-1]["id"] != one.prompt.id:
            prompts.append(
                {
                    "id": one.prompt.id,
                    "number": one.prompt.position + 1,
                    "text": words.cut(one.prompt.text, LONGEST_PROMPT),
                    "category": one.prompt.category,
                    "sets": [],
                }
            )
        tiles = _tiles(results, one, its)
        prompts[-1]["sets"].append(
            {
                "id": _set_id(at),
                "aspect": _aspect(tiles),
                "tiles": tiles,
                "name": f"Prompt {one.prompt.position + 1}, sample {one.number + 1}",
            }
        )
    across = math.ceil(contestants / math.ceil(contestants / MOST_ACROSS)) if contestants else 1
    return {
        "prompts": prompts,
        "across": across,
        "small": all(max(s.width or 0, s.height or 0) <= SMALL for s in results.samples),
        "many": contestants > 2,
        "shown": _shown(results, choice),
    }


def _shown(results: Results, choice: Choice) -> str | None:
    """How the samples on the page were chosen, where they are not all."""
    if choice.samples == len(results.samples):
        return None
    parts = []
    if choice.prompts < choice.all_prompts:
        parts.append(f"{choice.prompts:,} of {choice.all_prompts:,} prompts")
    if choice.numbers < choice.all_numbers:
        parts.append(f"{choice.numbers:,} of {choice.all_numbers:,} samples of each prompt and model")
    which = f" ({words.listed(parts)})" if parts else ""
    return (
        f"{choice.samples:,} of {len(results.samples):,} samples are shown{which}, chosen evenly by number and never "
        "by looks. diptych report --full has all of them."
    )


def _tiles(results: Results, one: Set, shots: Sequence[Shot | Missing | None]) -> list[dict[str, Any]]:
    return [
        _tile(contestant, name, at, one, sample, shot)
        for at, (contestant, name, sample, shot) in enumerate(
            zip(results.contestants, names_of(results.contestants), one.samples, shots, strict=True)
        )
    ]


def _tile(
    contestant: ContestantRow, name: str, at: int, one: Set, sample: SampleRow | None, shot: Shot | Missing | None
) -> dict[str, Any]:
    tile: dict[str, Any] = {
        "label": name,
        "colour": at % COLOURS,
        "shot": None,
        "facts": [],
        "words": None,
        "what": "No such sample",
    }
    if sample is None:
        return tile
    if isinstance(shot, Shot):
        seed = sample.request.get("seed")
        named = f"{contestant.label}, sample {one.number + 1}" + (f", seed {seed}" if seed is not None else "")
        return tile | {
            "shot": shot,
            "width": sample.width or 1,
            "height": sample.height or 1,
            "alt": f"{named}: {words.cut(one.prompt.text, 160)}",
            "facts": _facts(sample, one),
        }
    if isinstance(shot, Missing):
        return tile | {"what": "Cannot be shown", "words": words.cut(shot.why, LONGEST_WORDS)}
    said = words.cut(sample.error, LONGEST_WORDS) if sample.error else None
    charged = [f"{words.dollars(sample.cost)} charged"] if sample.cost else []
    seed = [f"seed {sample.request['seed']}"] if sample.request.get("seed") is not None else []
    return tile | {"what": STATES.get(sample.state, sample.state), "words": said, "facts": [*charged, *seed]}


def _facts(sample: SampleRow, one: Set) -> list[str]:
    """What stands under a picture."""
    facts = ["time unknown" if sample.seconds is None else words.seconds(sample.seconds)]
    facts.append("cost unknown" if sample.cost is None else words.dollars(sample.cost))
    size = words.size(sample.width, sample.height)
    if size is not None and sample.width and sample.height:
        right = size_is_right(sample, (sample.width, sample.height))
        asked = words.size(sample.request.get("width"), sample.request.get("height"))
        asked = asked or sample.request.get("image_size")
        if right.size is False:
            size = f"{size}, not {asked}"
        elif right.aspect is False:
            size = f"{size}, not {sample.request['aspect_ratio']}"
        facts.append(size)
    if sample.request.get("seed") is not None:
        facts.append(f"seed {sample.request['seed']}")
    if sample.request.get("prompt") not in (None, one.prompt.text):
        facts.append("prompt rewritten")
    return facts


def _aspect(tiles: Sequence[dict[str, Any]]) -> str:
    """Width over height of the places in a set: that of the picture in the middle, within reason."""
    ratios = sorted(tile["width"] / tile["height"] for tile in tiles if tile["shot"])
    ratio = ratios[len(ratios) // 2] if ratios else 1.0
    return f"{min(3.0, max(1 / 2.2, ratio)):.4g}"


def _set_id(at: int) -> str:
    return f"set-{at + 1}"
