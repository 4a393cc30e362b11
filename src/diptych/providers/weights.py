"""Weights on this machine: pulled from the hub, listed, checked and removed.

They lie in the hub's own cache (`HF_HUB_CACHE`, else `HF_HOME/hub`), where diffusers, transformers and others find them
too, and what those brought is not brought again. What diptych pulled is noted in `weights/` of the home folder: a file
per repository and commit with the names, sizes and digests of what it must hold.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from diptych import settings
from diptych.errors import InvalidRequest, NotAvailable, OutputError, WeightsError, near
from diptych.providers import hub
from diptych.providers.hub import HubFile, Listing

Layout = Literal["auto", "diffusers", "single"]
Progress = Callable[[str, int, int], None]
"""Called with the name of a file, its bytes that are done, and all its bytes."""
USED = (".safetensors", ".json", ".txt", ".model", ".jinja")
"""Endings of the files that are read here; pickles, other formats and pictures are left."""
TWICE = ("transformer/", "vae/")
"""What Black Forest Labs' single files hold too."""
VARIANT = re.compile(r"\.(fp16|bf16|fp8|fp32|non_ema)(?=[.-])")
LONGEST_HEADER = 100_000_000
"""Bytes. The safetensors format allows no longer one."""


@dataclass(frozen=True)
class Plan:
    """What a pull would do."""

    listing: Listing
    files: tuple[HubFile, ...]
    """What is wanted."""
    missing: tuple[HubFile, ...]
    """What of that is not here yet."""
    left: int
    """Bytes that have to come; what is there of unfinished files is taken off."""
    free: int
    """Bytes free on the disk that they would come to."""


@dataclass(frozen=True)
class Pulled:
    """Weights that were pulled, or begun to be."""

    repo: str
    revision: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def folder(self) -> Path:
        """Where the files lie, under their own names."""
        return _repository(self.repo) / "snapshots" / self.commit

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def missing(self) -> list[str]:
        """Files that are not here, or not of their size."""
        return [file.name for file in self.files if _size(self.folder / file.name) != file.size]


def cache() -> Path:
    """The hub's cache. Source: huggingface_hub, constants.py."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        value = os.environ.get(variable)
        if value:
            return Path(os.path.expandvars(value)).expanduser() / below
    return Path.home() / ".cache" / "huggingface" / "hub"


def _repository(repo: str) -> Path:
    return cache() / f"models--{repo.replace('/', '--')}"


def _notes() -> Path:
    return settings.home() / "weights"


# Pulling


def plan(repo: str, revision: str = "main", layout: Layout = "auto", include: Sequence[str] = ()) -> Plan:
    """Ask the hub what there is, choose, and compare with what is here. Raises what `hub.listing` and `choose` do."""
    found = hub.listing(repo, revision)
    names = choose([file.name for file in found.files], repo, layout, include)
    files = tuple(file for file in found.files if file.name in names)
    missing = tuple(file for file in files if not _is_here(found, file))
    left = sum(file.size - min(file.size, _size(_part(repo, file)) or 0) for file in missing)
    return Plan(found, files, missing, left, _free(cache()))


def choose(names: Iterable[str], repo: str, layout: Layout = "auto", include: Sequence[str] = ()) -> set[str]:
    """The files that are needed. Many repositories hold the same weights twice, and hold much that is not read here.

    layout: diffusers, the folders; single, the files at the top, with the folders of text encoders; auto, the folders
    where there are any. include: shell patterns that say it instead. Raises InvalidRequest where nothing is left.
    """
    names = sorted(names)
    if include:
        chosen = {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in include)}
        if not chosen:
            raise InvalidRequest(f"No file of {repo} matches {' or '.join(include)}. There are {_some(names)}.")
        return chosen
    useful = [name for name in names if name.endswith(USED) or name.startswith("LICENSE")]
    plain = {VARIANT.sub("", name) for name in useful if not VARIANT.search(name)}
    useful = [name for name in useful if not VARIANT.search(name) or not _instead(name, plain)]
    weights = [name for name in useful if name.endswith(".safetensors")]
    folders = any(name.startswith("transformer/") for name in weights)
    if layout == "diffusers" and not folders:
        raise InvalidRequest(f"{repo} has no weights in folders (transformer/); it has {_some(weights or names)}.")
    if layout == "single" and not any("/" not in name for name in weights):
        raise InvalidRequest(f"{repo} has no weights in a single file; it has {_some(weights or names)}.")
    if not weights:
        raise InvalidRequest(f"{repo} has no safetensors files, which are all that is read; it has {_some(names)}.")
    if layout == "diffusers" or (layout == "auto" and folders):
        return {name for name in useful if "/" in name or not name.endswith(".safetensors")}
    return {name for name in useful if not name.startswith(TWICE)}


def _instead(name: str, plain: set[str]) -> bool:
    """Whether the weights of a variant such as model.fp16.safetensors are there in full, whole or in parts."""
    without = VARIANT.sub("", name)
    stem = re.sub(r"(-\d+-of-\d+)?\.safetensors(\.index\.json)?$", "", without)
    return any(re.sub(r"(-\d+-of-\d+)?\.safetensors(\.index\.json)?$", "", other) == stem for other in plain)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) or "nothing") + more


def pull(wanted: Plan, watch: Progress) -> Pulled:
    """Bring what is missing. May be stopped at any time; the same call goes on where it stopped.

    Raises OutputError where the disk has no room for it (before anything is brought) or another process is at it,
    and what `hub.fetch` does.
    """
    found = wanted.listing
    if wanted.left > wanted.free:
        raise OutputError(
            f"{found.repo} needs {shown(wanted.left)} more; {cache()} has {shown(wanted.free)} free. Free some, or set "
            "HF_HUB_CACHE to a folder on another disk."
        )
    repository = _repository(found.repo)
    known = {file.name: file for one in pulled() if one.commit == found.commit for file in one.files}
    known |= {file.name: file for file in wanted.files}
    result = Pulled(found.repo, found.revision, found.commit, tuple(known[name] for name in sorted(known)))
    lock = cache() / ".locks" / repository.name / "diptych.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        _write_note(result)
        with FileLock(lock, timeout=0):
            for file in wanted.files:
                _pull_one(found, file, partial(_tell, watch, file))
            if found.revision != found.commit:
                reference = repository / "refs" / found.revision
                reference.parent.mkdir(parents=True, exist_ok=True)
                reference.write_text(found.commit, "ascii")
    except Timeout:
        raise OutputError(f"Another process is pulling {found.repo} into {cache()}.") from None
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{error.filename or cache()} cannot be written: {error.strerror or error}.") from None
    return result


def _tell(watch: Progress, file: HubFile, done: int) -> None:
    watch(file.name, done, file.size)


def _pull_one(found: Listing, file: HubFile, watch: hub.Watch) -> None:
    if _is_here(found, file):
        watch(file.size)
    blob = _repository(found.repo) / "blobs" / file.etag
    target = _repository(found.repo) / "snapshots" / found.commit / file.name
    if _size(target) == file.size:
        return
    if _size(blob) != file.size:
        part = _part(found.repo, file)
        hub.fetch(found, file, part, watch)
        os.replace(part, blob)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(os.path.relpath(blob, target.parent))
    except OSError:  # Windows lets only some users make links; there the hub's library moves the file, too
        os.replace(blob, target)


def _is_here(found: Listing, file: HubFile) -> bool:
    repository = _repository(found.repo)
    places = (repository / "snapshots" / found.commit / file.name, repository / "blobs" / file.etag)
    return any(_size(place) == file.size for place in places)


def _part(repo: str, file: HubFile) -> Path:
    return _repository(repo) / "blobs" / f"{file.etag}.incomplete"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _free(folder: Path) -> int:
    """Bytes free where `folder` is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def shown(number: int) -> str:
    """Bytes as a person reads them."""
    for name, unit in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number} bytes"


# What is here


def _write_note(one: Pulled) -> None:
    path = _note(one)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    temporary.write_text(json.dumps(asdict(one), indent=2) + "\n", "utf-8")
    os.replace(temporary, path)


def _note(one: Pulled) -> Path:
    return _notes() / f"{one.repo.replace('/', '--')}@{one.commit[:12]}.json"


def pulled() -> list[Pulled]:
    """Everything that was pulled, or begun to be, by repository. Raises WeightsError for a note that cannot be read."""
    found = []
    for path in sorted(_notes().glob("*.json")):
        try:
            values = json.loads(path.read_bytes())
            files = tuple(HubFile(str(f["name"]), int(f["size"]), str(f["etag"])) for f in values["files"])
            found.append(Pulled(str(values["repo"]), str(values["revision"]), str(values["commit"]), files))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} says nothing of weights ({error!r}). Delete it, and pull them again.") from None
    return found


def find(repo: str, revision: str | None = None) -> Pulled:
    """What was pulled of `repo`; of several revisions, `revision` (or the beginning of a commit) says which.

    Raises NotAvailable where nothing was, InvalidRequest where it takes a revision to tell.
    """
    everything = pulled()
    found = [one for one in everything if one.repo.lower() == repo.lower()]
    if not found:
        others = [one.repo for one in everything]
        hint = f" Did you mean {near(repo, others)[0]}?" if near(repo, others) else ""
        raise NotAvailable(f"{repo} was not pulled.{hint} Call: diptych weights pull {repo}")
    if revision is not None:
        found = [one for one in found if revision == one.revision or one.commit.startswith(revision)]
        if not found:
            raise NotAvailable(
                f"{repo} was not pulled at {revision}. Call: diptych weights pull {repo} --revision {revision}"
            )
    if len(found) > 1:
        commits = ", ".join(f"{one.commit[:12]} ({one.revision})" for one in found)
        raise InvalidRequest(f"{repo} is here more than once: {commits}. Say which with a revision.")
    return found[0]


def folder(target: str, revision: str | None = None) -> Path:
    """The folder of a model: a local path as it is, or what was pulled of a repository. Touches no network.

    Raises NotAvailable where there is neither, or the pull was not finished; InvalidRequest as `find` does.
    """
    local = Path(target).expanduser()
    if local.exists():
        return local
    one = find(target, revision)
    if one.missing:
        raise NotAvailable(
            f"{one.repo} is not here in full: {_some(one.missing)} missing. Call again: diptych weights pull {one.repo}"
        )
    return one.folder


# Checking and removing


@dataclass(frozen=True)
class Complaint:
    """A file that is not as it should be."""

    file: str
    what: str


def check(one: Pulled, watch: Progress) -> list[Complaint]:
    """Read every file and compare its size and digest with the hub's; safetensors headers must be in order too.

    Returns what is wrong; nothing for weights that are whole.
    """
    problems = ((file, _problem(one, file, watch)) for file in one.files)
    return [Complaint(file.name, f"{file.name} {problem}") for file, problem in problems if problem]


def _problem(one: Pulled, file: HubFile, watch: Progress) -> str | None:
    path = one.folder / file.name
    size = _size(path)
    if size != file.size:
        return "is missing" if size is None else f"has {size} bytes of {file.size}"
    digest, done = hub.hasher(file), 0
    try:
        for chunk in hub.chunks(path):
            digest.update(chunk)
            done += len(chunk)
            watch(file.name, done, file.size)
        if digest.hexdigest() != file.etag:
            return f"was altered: its digest begins {digest.hexdigest()[:12]}, not {file.etag[:12]}"
        return _header_problem(path, file.size) if file.name.endswith(".safetensors") else None
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _header_problem(path: Path, size: int) -> str | None:
    """What keeps a file from being safetensors. Source: github.com/huggingface/safetensors, Format."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(LONGEST_HEADER, size - 8):
            return "is no safetensors file: its header has no length"
        try:
            header = json.loads(stream.read(length))
            spans = sorted(tuple(map(int, v["data_offsets"])) for k, v in header.items() if k != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return f"is no safetensors file: its header cannot be read ({type(error).__name__})"
    end = 0
    for begin, stop in spans:
        if begin != end or stop < begin:
            return f"is no whole safetensors file: its tensors leave a gap at byte {end}"
        end = stop
    return None if 8 + length + end == size else f"is no whole safetensors file: its tensors end at byte {end}"


def drop(one: Pulled, names: Iterable[str]) -> None:
    """Take away files that `check` complained of, so that the next pull brings them again."""
    for name in names:
        path = one.folder / name
        with contextlib.suppress(OSError):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def remove(one: Pulled) -> int:
    """Take a revision off the disk, whoever brought its files; the bytes that were freed.

    Content that other revisions of the repository share stays. Raises OutputError.
    """
    repository = _repository(one.repo)
    freed = 0
    try:
        shared = {
            path.resolve()
            for other in repository.glob("snapshots/*")
            if other != one.folder
            for path in other.rglob("*")
            if path.is_symlink()
        }
        for path in [*one.folder.rglob("*"), *(_part(one.repo, file) for file in one.files)]:
            blob = path.resolve()
            if blob.is_file() and blob not in shared:
                freed += blob.stat().st_size
                blob.unlink()
        shutil.rmtree(one.folder, ignore_errors=True)
        for reference in (repository / "refs").rglob("*"):
            if reference.is_file() and reference.read_text("utf-8").strip() == one.commit:
                reference.unlink()
        if not any(repository.glob("snapshots/*")):
            shutil.rmtree(repository, ignore_errors=True)
        _note(one).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{error.filename or repository} cannot be removed: {error.strerror or error}.") from None
    return freed
