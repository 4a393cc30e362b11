"""Request and picture: what is asked of a model, and what came back."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diptych.errors import BadPicture, InvalidRequest, OutputError, RecipeError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

RECIPE_KEY = "diptych"
RECIPE_VERSION = 1
LARGEST_SEED = 2**63 - 1
LONGEST_PROMPT = 32_000
"""Characters; the longest prompt that any vendor of the catalogue accepts (GPT Image). Models may allow less."""


MOST_PIXELS = 64_000_000
"""Of a picture that is decoded: four times the largest that any model of the catalogue makes (4096x4096)."""

Option = str | int | float | bool


@dataclass(frozen=True)
class Input:
    """A picture that goes into a request: a reference, or a mask. Raises BadPicture for bytes that are none."""

    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        inspect_picture(self.data)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def media_type(self) -> str:
        return inspect_picture(self.data).media_type

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Input:
        """Raises BadPicture for a file that is missing or no picture."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise BadPicture(f"{path} cannot be read: {error.strerror or error}.") from None
        try:
            return cls(data)
        except BadPicture as error:
            raise BadPicture(f"{path}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One picture, asked for. `None` means the model's own default.

    Raises InvalidRequest for what no model could do. What one model cannot do is refused where the model is known.
    """

    prompt: str
    negative: str | None = None
    width: int | None = None
    """Pixels, as is `height`; both are given or neither."""
    height: int | None = None
    aspect_ratio: str | None = None
    """As in "16:9", for models that take a shape and a class of size in place of pixels."""
    image_size: str | None = None
    """A vendor's class of size, as in "2K"."""
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    quality: str | None = None
    """A vendor's grade, as in "low", "medium", "high"."""
    references: tuple[Input, ...] = ()
    """Pictures to edit or to take things from, in the order in which the prompt may speak of them."""
    mask: Input | None = None
    """Where the first reference may change."""
    follows: Picture | None = None
    """The picture that this one continues: the conversation that made it is sent along."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """Settings that only some vendors have, under the vendor's own names."""
    original_prompt: str | None = None
    """What the person wrote, where a text model has rewritten it to `prompt`."""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise InvalidRequest("The prompt is empty: say in a few words what the picture shows.")
        if self.negative is not None and not isinstance(self.negative, str):
            raise InvalidRequest(f"negative is {self.negative!r}; it must be text.")
        for name, text in (("prompt", self.prompt), ("negative prompt", self.negative or "")):
            if len(text) > LONGEST_PROMPT:
                raise InvalidRequest(
                    f"The {name} has {len(text):,} characters; no model takes more than {LONGEST_PROMPT:,}."
                )
            if any("\ud800" <= c <= "\udfff" for c in text):  # what Python makes of bytes that are not UTF-8
                raise InvalidRequest(f"The {name} is not Unicode text: {text[:40]!a}. Give it in UTF-8.")
        if (self.width is None) != (self.height is None):
            raise InvalidRequest("A size needs both a width and a height.")
        for name in ("width", "height", "steps"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidRequest(f"{name} is {value!r}; it must be a whole number of at least 1.")
        if self.guidance is not None and not (
            isinstance(self.guidance, int | float)
            and not isinstance(self.guidance, bool)
            and 0 <= self.guidance < float("inf")
        ):
            raise InvalidRequest(f"guidance is {self.guidance!r}; it must be a number of at least 0.")
        if self.seed is not None and not (
            isinstance(self.seed, int) and not isinstance(self.seed, bool) and 0 <= self.seed <= LARGEST_SEED
        ):
            raise InvalidRequest(f"seed is {self.seed!r}; it must be a whole number from 0 to {LARGEST_SEED}.")
        if self.aspect_ratio is not None and not re.fullmatch(r"[1-9]\d{0,4}:[1-9]\d{0,4}", str(self.aspect_ratio)):
            raise InvalidRequest(f'aspect_ratio is {self.aspect_ratio!r}; it is written WIDTH:HEIGHT, as in "16:9".')
        for name in ("image_size", "quality"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise InvalidRequest(f"{name} is {value!r}; it must be text.")
        if self.mask is not None and not self.references:
            raise InvalidRequest("A mask needs a picture to which it belongs: give it as the first reference.")
        for name, value in self.options.items():
            if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
                raise InvalidRequest(f"{name} is {value!r}; a setting is text, a number, true or false.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], find: Callable[[str], bytes] | None = None) -> Request:
        """The inverse of `to_dict`; raises InvalidRequest for a setting it does not know.

        find: gives the bytes of an input picture by its SHA-256. Without it a request that has any is refused.
        """
        known = {f.name for f in dataclasses.fields(cls)} - {"follows"}
        unknown = sorted(set(values) - known)
        if unknown or "prompt" not in values:
            what = f"unknown settings {', '.join(unknown)}" if unknown else "no prompt"
            raise InvalidRequest(f"A request with {what}; what is possible: {', '.join(sorted(known))}.")
        given = dict(values)
        if ("references" in given or "mask" in given) and find is None:
            raise InvalidRequest("A request with input pictures, which are not at hand.")
        if find is not None:
            if "references" in given:
                given["references"] = tuple(Input(find(name)) for name in given["references"])
            if "mask" in given:
                given["mask"] = Input(find(given["mask"]))
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Only what was set, fit for JSON; input pictures by their SHA-256."""
        plain: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value is None or value == () or value == {}:
                continue
            if f.name == "references":
                value = [one.sha256 for one in value]
            elif f.name == "mask":
                value = value.sha256
            elif f.name == "follows":
                value = hashlib.sha256(value.data).hexdigest()
            elif f.name == "options":
                value = dict(value)
            plain[f.name] = value
        return plain


@dataclass(frozen=True)
class Cost:
    """What a picture cost, or will cost, in US dollars, and how that is known.

    basis: `stated` by the vendor for this very request; `usage` that the vendor counted, times its price; `price`:
    a price list, before the fact; `machine`: measured seconds times what this machine costs an hour.
    """

    dollars: float
    basis: Literal["stated", "usage", "price", "machine"]
    source: str | None = None
    """Of the price, where one was used; `date` is when it was read there."""
    date: str | None = None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds from asking to having a picture. What was not measured is None."""

    total: float
    """From sending the request to having every byte of the picture. Loading a local model is not counted."""
    queued: float | None = None
    """Waiting at the vendor, or for a turn on this machine, before work on the picture began."""
    first_byte: float | None = None
    """From sending to the first byte of the answer that holds the picture, or a link to it."""
    download: float | None = None
    """Fetching the picture's bytes, where that is a request of its own."""
    per_step: float | None = None
    peak_memory: int | None = None
    """Bytes that a local engine held at most."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What came back for a request.

    `request` is as it was really sent: with every default of the model filled in. `data` holds the original bytes.
    """

    request: Request
    model: str
    data: bytes = field(repr=False)
    media_type: str = "image/png"
    width: int
    height: int
    timing: Timing
    recipe: dict[str, Any] = field(repr=False)
    cost: Cost | None = None
    """None: unknown, which is not the same as nothing."""
    usage: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """As the vendor counted it, in its own words: tokens, megapixels."""
    text: str | None = None
    """What a model wrote beside the picture."""
    request_id: str | None = None
    """Under which the vendor finds the request in its logs."""
    state: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What a vendor wants back when a conversation goes on from this picture."""

    @property
    def seconds(self) -> float:
        """From asking to having the bytes; loading the model is not counted."""
        return self.timing.total

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def image(self) -> Image:
        """Decoded, as Pillow's image."""
        from PIL import Image

        decoded = Image.open(io.BytesIO(self.data))
        decoded.load()
        return decoded

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the original bytes, whole or not at all; an existing file only with `force`."""
        return write_file(Path(path), self.data, force=force)

    def _repr_png_(self) -> bytes | None:
        return self.data if self.media_type == "image/png" else None

    def _repr_jpeg_(self) -> bytes | None:
        return self.data if self.media_type == "image/jpeg" else None


@dataclass(frozen=True)
class Inspected:
    """What the header and the whole of a picture's bytes say."""

    media_type: str
    width: int
    height: int


MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}


def inspect_picture(data: bytes) -> Inspected:
    """Check that `data` is a whole picture that is safe to decode. Raises BadPicture, which says what is wrong."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise BadPicture("The picture is empty: 0 bytes.")
    try:
        with Image.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES)) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise BadPicture(
                    f"The picture says it is {width}x{height}; more than {MOST_PIXELS:,} pixels are not decoded."
                )
            image.load()
            return Inspected(MEDIA_TYPES[image.format or ""], width, height)
    except UnidentifiedImageError:
        begins = data[:16].decode("ascii", "replace").strip()
        raise BadPicture(f"{len(data):,} bytes that are no PNG, JPEG, WebP or GIF; they begin {begins!r}.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, OSError, SyntaxError, ValueError) as error:
        raise BadPicture(f"The picture cannot be decoded: {error}.") from None


def random_seed() -> int:
    return secrets.randbelow(2**31)  # what every vendor takes: Google's field is 32 bits with a sign


def parse_size(text: str) -> tuple[int, int]:
    """`"512x384"` to (512, 384)."""
    width, _, height = text.lower().replace("×", "x").partition("x")
    sides = width.strip(), height.strip()
    if not all(side.isdecimal() and len(side) <= 9 for side in sides):
        shown = text if len(text) <= 40 else f"{text[:39]}…"
        raise InvalidRequest(f"size is {shown!r}; it is written WIDTHxHEIGHT in pixels, as in 1024x768.")
    return int(sides[0]), int(sides[1])


def encode_png(image: Image, recipe: dict[str, Any]) -> bytes:
    """PNG bytes that carry `recipe` twice: as JSON under a key of ours, and in the form that other tools read.

    The same image and recipe give the same bytes: nothing of the moment (time, host) goes in.
    """
    from PIL.PngImagePlugin import PngInfo

    info: PngInfo = PngInfo()
    info.add_itxt(RECIPE_KEY, json.dumps(recipe, ensure_ascii=False, sort_keys=True), zip=False)
    info.add_itxt("parameters", _parameters(recipe), zip=False)
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _parameters(recipe: dict[str, Any]) -> str:
    """The text block that AUTOMATIC1111's web UI writes and many tools parse."""
    request = recipe["request"]
    lines = [request["prompt"]]
    if request.get("negative"):
        lines.append(f"Negative prompt: {request['negative']}")
    pairs = {
        "Steps": request.get("steps"),
        "Sampler": recipe.get("sampler"),
        "CFG scale": request.get("guidance"),
        "Seed": request.get("seed"),
        "Size": f"{request['width']}x{request['height']}" if "width" in request else None,
        "Model hash": recipe["weights"][:10] if recipe.get("weights") else None,
        "Model": recipe["model"],
        "Version": f"diptych {recipe['versions']['diptych']}",
    }
    lines.append(", ".join(f"{k}: {v}" for k, v in pairs.items() if v is not None))
    return "\n".join(lines)


def read_recipe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The recipe inside a PNG of ours: `model`, `request`, `weights` (SHA-256), `versions` and more.

    Raises RecipeError when the file is not a picture, has no recipe of ours, or one that cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    try:
        with Image.open(path) as image:
            image.load()
            text = image.info.get(RECIPE_KEY)
    except FileNotFoundError:
        raise RecipeError(f"There is no file {path}.") from None
    except UnidentifiedImageError:
        raise RecipeError(f"{path} is not a picture.") from None
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        said = (isinstance(error, OSError) and error.strerror) or error
        raise RecipeError(f"{path} is not a picture that can be read: {said}.") from None
    if not isinstance(text, str):
        raise RecipeError(f"{path} carries no recipe: it was not made here by diptych, or its metadata was removed.")
    try:
        recipe = json.loads(text)
        version = recipe["version"]
        if version != RECIPE_VERSION:
            raise RecipeError(
                f"{path} carries a recipe of version {version}; this diptych reads version {RECIPE_VERSION}."
            )
        Request.from_dict({k: v for k, v in recipe["request"].items() if k not in ("references", "mask", "follows")})
        if not isinstance(recipe["model"], str) or not isinstance(recipe["versions"], dict):
            raise TypeError("model is not a name, or versions is not a table")
    except (json.JSONDecodeError, RecursionError, AttributeError, KeyError, TypeError, InvalidRequest) as error:
        raise RecipeError(f"{path} carries a damaged recipe: {type(error).__name__}: {error}") from None
    return dict(recipe)


def made_here(path: Path) -> bool:
    """Whether `path` is a PNG that diptych wrote: a picture with its recipe, or a contact sheet."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return RECIPE_KEY in image.info or image.info.get("Software") == "diptych"
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        return False


def check_writable(path: Path, *, force: bool = False) -> None:
    """Raise OutputError now for what `write_file` would refuse later, before time or money is spent on the content."""
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; a file was to be written there.")
        if os.path.lexists(path) and not force:
            raise _taken(path)
        nearest = next(p for p in (path.absolute().parent, *path.absolute().parents) if p.exists())
    except OutputError:
        raise
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise _cannot(path, error) from None
    if not nearest.is_dir():
        raise OutputError(f"{path} cannot be written: {nearest} is not a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission to write in {nearest}.")


def write_file(path: Path, data: bytes, *, force: bool = False) -> Path:
    """Write whole or not at all: to a temporary neighbour, then into place. Raises OutputError."""
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
            if force:
                os.replace(temporary, path)
            elif not _place_new(temporary, path):
                raise _taken(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OutputError:
        raise
    except OSError as error:
        raise _cannot(path, error) from None
    return path


def _place_new(temporary: Path, path: Path) -> bool:
    """Give the file the name `path`, or return False when that is taken, which exists() could not promise."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links, such as exFAT: claim the name first, then take its place
        try:
            path.open("xb").close()
        except FileExistsError:
            return False
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink()
            raise
    return True


def _taken(path: Path) -> OutputError:
    return OutputError(f"{path} exists already. Choose another name, or pass --force to replace it.")


def _cannot(path: Path, error: OSError) -> OutputError:
    if isinstance(error, FileExistsError):  # from making the folders: the only thing that may exist in the way
        return OutputError(f"{path} cannot be written: {error.filename} is not a folder.")
    return OutputError(f"{path} cannot be written: {error.strerror or error}.")
