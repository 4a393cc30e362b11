"""The pictures of the page: which are shown, and in how many bytes.

One file holds them all, so the bytes are shared out. A set, the pictures of one prompt and number, is treated alike
for every contestant: its large pictures are all whole and at a quality that detail can be judged by, or where that does
not fit, all previews, with the same part cut from the middle of each for the view at 1:1. Which samples are shown goes
by number, evenly, and never by what is on them.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from diptych.errors import BadPicture, StoreError
from diptych.images import SUFFIXES
from diptych.studies.results import ContestantRow, PromptRow, Results, SampleRow

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.store.pictures import Pictures

T = TypeVar("T")

MOST_SHOWN = 480
"""Samples on one page: more is not looked at."""
ENOUGH = 64_000
"""Bytes with which a picture is well shown; when there are too many for that, fewer are shown."""
BYTES_A_PIXEL = 0.5
"""That a picture kept without loss takes at most, mostly; small ones need no more than that."""
LOSSLESS_UP_TO = 256 * 256
"""Pixels. Larger pictures are kept at WHOLE_QUALITY."""
WHOLE_QUALITY, PREVIEW_QUALITY = 90, 80
PREVIEW_SIDE, SMALLEST_SIDE = 512, 96
PROBE_SIDE = 192
LARGEST_SIDE = 16383
"""Of a WebP; a longer picture is shown in part."""
AT_ONCE = 16
"""Sets that are encoded together; what they leave of their share goes to the later ones."""


@dataclass(frozen=True)
class Set:
    """The samples of one prompt and number, one for each contestant; None where a study has no such cell."""

    prompt: PromptRow
    number: int
    samples: tuple[SampleRow | None, ...]


@dataclass(frozen=True)
class Choice:
    """What is shown of a study."""

    sets: tuple[Set, ...]
    prompts: int
    """Prompts with at least one set, of `all_prompts`."""
    all_prompts: int
    numbers: int
    """Samples shown of a prompt and contestant, of `all_numbers`."""
    all_numbers: int

    @property
    def samples(self) -> int:
        return sum(sample is not None for one in self.sets for sample in one.samples)


@dataclass(frozen=True)
class Shot:
    """A picture as the page has it. `whole`: every pixel of the original is in `src`."""

    src: str
    whole: bool = True
    crop: str | None = None
    box: tuple[float, float, float, float] | None = None
    """Where `crop` is: left, top, width and height, as parts of the picture."""


@dataclass(frozen=True)
class Missing:
    """A picture that cannot be shown, and why."""

    why: str


def choose(results: Results, budget: float | None) -> Choice:
    """Sets evenly over prompts and numbers, as many as are well shown in `budget` bytes; all of them for None."""
    cells = {(s.prompt_id, s.contestant_id, s.number): s for s in results.samples}
    numbers = sorted({s.number for s in results.samples})
    prompts: Sequence[PromptRow] = results.prompts
    shown_numbers: Sequence[int] = numbers
    most = len(results.samples) if budget is None else _most(results.samples, budget)
    if len(results.samples) > most and results.contestants:
        sets = max(1, most // len(results.contestants))
        per_prompt = max(1, sets // max(1, len(prompts)))
        shown_numbers = evenly(numbers, per_prompt)
        prompts = evenly(prompts, sets // len(shown_numbers))
    chosen = []
    for prompt in prompts:
        for number in shown_numbers:
            samples = tuple(cells.get((prompt.id, contestant.id, number)) for contestant in results.contestants)
            if any(sample is not None for sample in samples):
                chosen.append(Set(prompt, number, samples))
    return Choice(
        sets=tuple(chosen),
        prompts=len({one.prompt.id for one in chosen}),
        all_prompts=len(results.prompts),
        numbers=len(shown_numbers),
        all_numbers=len(numbers),
    )


def evenly(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of the items, at least one where there is any, the first among them."""
    if not items or len(items) <= most:
        return items
    most = max(1, most)
    return [items[i * len(items) // most] for i in range(most)]


def _most(samples: Sequence[SampleRow], budget: float) -> int:
    sizes = [s.width * s.height for s in samples if s.width is not None and s.height is not None]
    if not sizes:
        return MOST_SHOWN
    need = min(ENOUGH, max(2_000, BYTES_A_PIXEL * sum(sizes) / len(sizes)))
    return min(MOST_SHOWN, int(budget / need))


# One file


def embedded(choice: Choice, pictures: Pictures, budget: float) -> Iterator[tuple[Shot | Missing | None, ...]]:
    """For each set, its pictures as data URLs, None where a sample has none. budget: bytes before base64."""
    left = budget
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for at in range(0, len(choice.sets), AT_ONCE):
            batch = choice.sets[at : at + AT_ONCE]
            still = sum(_count(one) for one in choice.sets[at:])
            share = left / still if still else 0.0
            for encoded in pool.map(lambda one: _encode_set(one, pictures, share), batch):  # noqa: B023  # used at once
                left -= encoded.size
                yield encoded.shots


def _count(one: Set) -> int:
    return sum(sample is not None and sample.picture is not None for sample in one.samples)


@dataclass(frozen=True)
class _Encoded:
    shots: tuple[Shot | Missing | None, ...]
    size: int


def _encode_set(one: Set, pictures: Pictures, share: float) -> _Encoded:
    found = [_decoded(sample, pictures) for sample in one.samples]
    images = [image for image in found if image is not None and not isinstance(image, Missing)]
    encoded = iter(_encode(images, share))
    shots = tuple(image if image is None or isinstance(image, Missing) else next(encoded) for image in found)
    return _Encoded(shots, sum(_bytes(shot) for shot in shots if isinstance(shot, Shot)))


def _encode(images: Sequence[Image], share: float) -> list[Shot]:
    """Each in about `share` bytes at most. Those that are larger than a preview are all whole, or all in part."""
    shots: dict[int, Shot] = {}
    large = [i for i, image in enumerate(images) if max(image.size) > PREVIEW_SIDE]
    small = [i for i in range(len(images)) if i not in large]
    for group, all_or_none in ((small, False), (large, True)):
        whole = {}
        if not all_or_none or all(_may_fit(images[i], share) for i in group):
            whole = {i: data for i in group if (data := _whole(images[i], share)) is not None}
        if not all_or_none or len(whole) == len(group):
            shots |= {i: Shot(_url(data)) for i, data in whole.items()}
    rest = [i for i in range(len(images)) if i not in shots]
    shots |= zip(rest, _in_part([images[i] for i in rest], share), strict=True)
    return [shots[i] for i in range(len(images))]


def _may_fit(image: Image, share: float) -> bool:
    """Whether it is worth the time to try."""
    fits = _bytes_a_pixel(image) * image.width * image.height <= 1.15 * share
    return fits and max(image.size) <= LARGEST_SIDE


def _bytes(shot: Shot) -> int:
    return sum(len(url) * 3 // 4 for url in (shot.src, shot.crop) if url is not None)


def _decoded(sample: SampleRow | None, pictures: Pictures) -> Image | Missing | None:
    from diptych.measure.decode import decode

    if sample is None or sample.picture is None:
        return None
    try:
        return decode(pictures.get(sample.picture))[0]
    except (StoreError, BadPicture) as error:
        return Missing(str(error))


def _whole(image: Image, share: float) -> bytes | None:
    """Every pixel, within `share` bytes; None where that cannot be."""
    if image.width * image.height <= LOSSLESS_UP_TO:
        data = _webp(image, lossless=True)
        if len(data) <= share:
            return data
    data = _webp(image, WHOLE_QUALITY)
    return data if len(data) <= share else None


def _in_part(images: Sequence[Image], share: float) -> list[Shot]:
    """Previews in at most half of `share` bytes each, and of all the same part of the middle, as large as fits."""
    if not images:
        return []
    previews = [_preview(image, share / 2) for image in images]
    rooms = [max(1.0, share - len(preview)) for preview in previews]
    longest = max(max(image.size) for image in images)
    part = min(
        math.sqrt(room / (_bytes_a_pixel(image) * image.width * image.height))
        for room, image in zip(rooms, images, strict=True)
    )
    part = min(part, 1.0, LARGEST_SIDE / (longest + 1))
    while part * longest >= SMALLEST_SIDE:
        middles = [_middle(image, part) for image in images]
        crops = [_webp(middle, WHOLE_QUALITY) for middle in middles]
        over = max(len(crop) / room for crop, room in zip(crops, rooms, strict=True))
        if over <= 1:
            return [
                Shot(_url(preview), whole=False, crop=_url(crop), box=_box(image, middle))
                for preview, crop, image, middle in zip(previews, crops, images, middles, strict=True)
            ]
        part *= 0.94 / math.sqrt(over)
    return [Shot(_url(preview), whole=False) for preview in previews]


def _preview(image: Image, most: float) -> bytes:
    """Of at most PREVIEW_SIDE pixels a side, fewer as long as it has more than `most` bytes."""
    side = PREVIEW_SIDE
    data = _webp(_reduced(image, side), PREVIEW_QUALITY)
    while len(data) > most and side > SMALLEST_SIDE:
        side = max(SMALLEST_SIDE, int(0.94 * side * math.sqrt(most / len(data))))
        data = _webp(_reduced(image, side), PREVIEW_QUALITY)
    return data


def _middle(image: Image, part: float) -> Image:
    """`part` of each side, with as many pixels left out before it as behind."""
    sides = []
    for whole in image.size:
        side = max(1, min(whole, int(whole * part)))
        sides.append(side + 1 if (whole - side) % 2 else side)
    left, top = (image.width - sides[0]) // 2, (image.height - sides[1]) // 2
    return image.crop((left, top, left + sides[0], top + sides[1]))


def _box(image: Image, middle: Image) -> tuple[float, float, float, float]:
    width, height = middle.width / image.width, middle.height / image.height
    return (1 - width) / 2, (1 - height) / 2, width, height


def _bytes_a_pixel(image: Image) -> float:
    """At WHOLE_QUALITY, as the middle of the picture tells."""
    middle = _middle(image, min(1.0, PROBE_SIDE / max(image.size)))
    return len(_webp(middle, WHOLE_QUALITY)) / (middle.width * middle.height)


def _reduced(image: Image, side: int) -> Image:
    from PIL.Image import Resampling

    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Resampling.LANCZOS, reducing_gap=3.0)


def _webp(image: Image, quality: int = 0, *, lossless: bool = False) -> bytes:
    out = io.BytesIO()
    method = 4 if image.width * image.height <= LOSSLESS_UP_TO else 2
    image.save(out, "WEBP", quality=quality, lossless=lossless, method=0 if lossless else method)
    return out.getvalue()


def _url(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"


# A folder with the originals


def file_name(sample: SampleRow, contestant: ContestantRow, prompt: PromptRow) -> str:
    """`003-02-1-flux-2-pro.png`: prompt, number and contestant as the page counts them, and who that is."""
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in contestant.label)[:60]
    suffix = SUFFIXES.get(sample.media_type or "", ".bin")
    return f"{prompt.position + 1:03d}-{sample.number + 1:02d}-{contestant.position + 1}-{letters}{suffix}"
