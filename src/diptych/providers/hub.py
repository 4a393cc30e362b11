"""The Hugging Face hub as a place that weights come from: what a repository holds, and its files, byte by byte.

Downloads go on where they stopped, also in another process and another week, and are checked against the digest that
the hub gives. huggingface_hub does neither from version 2 on, so the transfer itself is done here.
Sources: huggingface.co/docs/hub/api, and huggingface_hub's file_download.py for headers and the layout of the cache.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from diptych import settings
from diptych.errors import InvalidRequest, MissingExtra, NotAvailable, OutputError, Unreachable, WeightsError
from diptych.providers.calling import HTTP_CLIENTS, shortened
from diptych.settings import redact

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

NAME = "huggingface"
HOME = "https://huggingface.co"
CHUNK = 2**20
PATIENCE = 5
"""Attempts in a row that bring nothing, before a download is given up."""
PAUSE = 1.0
"""Seconds before the second attempt; twice as long before each further one."""
ANSWER_WITHIN = 60.0
"""Seconds without a byte."""
BUSY = (408, 429, 500, 502, 503, 504)

Watch = Callable[[int], None]
"""Called with the bytes of a file that are here."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository."""

    name: str
    """With its folders, divided by slashes."""
    size: int
    etag: str
    """SHA-256 of a large file (64 characters), else git's id of its content (40); by it the cache names the content."""


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    repo: str
    revision: str
    """As it was asked for: a branch, a tag or a commit."""
    commit: str
    files: tuple[HubFile, ...]
    gated: bool


def page(repo: str) -> str:
    """Where a person reads about the repository and accepts its licence."""
    return f"{HOME}/{repo}"


def listing(repo: str, revision: str = "main") -> Listing:
    """What the hub says of a repository. Raises MissingExtra, InvalidRequest, NotAvailable, Unreachable."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingExtra("Weights from the hub", "huggingface", "huggingface_hub") from error
    if _offline():
        raise NotAvailable(
            f"{repo} cannot be asked for: HF_HUB_OFFLINE is set. `diptych weights list` says what is here."
        )
    api = HfApi(endpoint=_endpoint(), token=_token() or False)
    try:
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=ANSWER_WITHIN)
    except HFValidationError:
        raise InvalidRequest(f"{repo!r} is no repository of the hub: those are called OWNER/NAME.") from None
    except HfHubHTTPError as error:
        raise _refused(error, repo, revision) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] in HTTP_CLIENTS or isinstance(error, OSError):
            raise _unreachable(str(error) or type(error).__name__) from error
        raise
    files = []
    for sibling in info.siblings or []:
        size = sibling.lfs.size if sibling.lfs else sibling.size
        etag = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if size is None or not etag or not _is_safe(sibling.rfilename) or not etag.isalnum():
            raise WeightsError(f"The hub's list of {repo} cannot be used: {sibling.rfilename!r}, {size} bytes, {etag}.")
        files.append(HubFile(sibling.rfilename, int(size), etag))
    if not info.sha or not info.sha.isalnum():
        raise WeightsError(f"The hub says no commit of {repo}.")
    return Listing(repo, revision, info.sha, tuple(files), bool(info.gated))


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", HOME).rstrip("/")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _token() -> str | None:
    """The key of diptych, else the one that `hf auth login` keeps."""
    from huggingface_hub import get_token

    return settings.find_key(NAME) or get_token()


def _is_safe(name: str) -> bool:
    """Whether a file of this name stays in the folder that it is put into."""
    parts = name.split("/")
    return not any(part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts)


def _refused(error: HfHubHTTPError, repo: str, revision: str) -> NotAvailable | InvalidRequest | Unreachable:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return gated(repo)
    if isinstance(error, RevisionNotFoundError):
        return InvalidRequest(f"{repo} has no revision {revision!r}; {page(repo)}/commits/main lists them.")
    status = error.response.status_code
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403, 404):
        return _unknown(repo)
    said = redact(shortened(str(error.server_message or error)))
    return Unreachable(f"The hub answered {status} to a question about {repo}: {said}", provider=NAME, status=status)


def gated(repo: str) -> NotAvailable:
    """The error of a repository whose licence was not accepted, or not by who is logged in."""
    log_in = f"log in with `diptych keys set {NAME}` (a token from {HOME}/settings/tokens), HF_TOKEN or `hf auth login`"
    if _token():
        log_in = "the token that is set here must be that account's, and may read gated repositories"
    return NotAvailable(
        f"{repo} is gated: its weights are given to those who accepted its licence. Accept it with your account at "
        f"{page(repo)}; {log_in}."
    )


def _unknown(repo: str) -> NotAvailable:
    hint = "" if _token() else f" A private one needs a token: `diptych keys set {NAME}`."
    return NotAvailable(f"The hub has no repository {repo}, or none that may be seen from here.{hint}")


def _unreachable(said: str) -> Unreachable:
    return Unreachable(f"The hub ({_endpoint()}) cannot be reached: {redact(shortened(said))}.", provider=NAME)


# One file


def fetch(found: Listing, file: HubFile, part: Path, watch: Watch) -> None:
    """Bring the rest of `file` into `part`, which may hold its beginning, and check the whole.

    Goes on after broken connections. Raises NotAvailable (gated), Unreachable and OutputError, after which the part
    stays and can be gone on with; WeightsError where the content is not what the hub says, after which it is gone.
    """
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > file.size:
            part.unlink()
        transfer = _Transfer(file, part)
        watch(transfer.done)
        _bring(found, transfer, watch)
    except OSError as error:
        raise OutputError(
            f"{part} cannot be written: {error.strerror or error}. What came of {file.name} is kept; the same command "
            "goes on with it."
        ) from None
    if transfer.digest.hexdigest() != file.etag:
        part.unlink(missing_ok=True)
        raise WeightsError(f"{file.name} of {found.repo} came altered, and was deleted: call the same command again.")


class _Transfer:
    """What is here of a file, and its digest so far."""

    def __init__(self, file: HubFile, part: Path) -> None:
        self.file = file
        self.part = part
        self.start()
        if part.exists():
            for chunk in chunks(part):
                self.digest.update(chunk)
                self.done += len(chunk)

    def start(self) -> None:
        self.digest = hasher(self.file)
        self.done = 0


def hasher(file: HubFile) -> hashlib._Hash:
    """What the content of `file` is digested with so that its etag comes out: SHA-256, or SHA-1 as git does it."""
    if len(file.etag) == 64:
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _bring(found: Listing, transfer: _Transfer, watch: Watch) -> None:
    file = transfer.file
    url = f"{_endpoint()}/{found.repo}/resolve/{found.commit}/{quote(file.name)}"
    headers = {"accept-encoding": "identity"}  # sizes and ranges are of the content itself
    token = _token()
    if token:
        headers["authorization"] = f"Bearer {token}"  # which httpx does not hand on to other hosts
    transfer.part.touch()
    failures = 0
    with httpx.Client(follow_redirects=True, timeout=ANSWER_WITHIN, headers=headers) as client:
        while transfer.done < file.size:
            before, wait, said = transfer.done, 0.0, "it is busy, or its answers are empty"
            try:
                wait = _stream(client, url, found, transfer, watch)
            except httpx.TransportError as error:
                said = str(error) or type(error).__name__
            if transfer.done > file.size:
                transfer.part.unlink()
                raise WeightsError(f"{file.name} of {found.repo} came longer than the hub says, and was deleted.")
            failures = 0 if transfer.done > before else failures + 1
            if failures >= PATIENCE:
                raise Unreachable(
                    f"{_unreachable(said)} What came of {file.name} is kept; the same command goes on with it.",
                    provider=NAME,
                )
            if transfer.done < file.size and failures:
                time.sleep(max(wait, PAUSE * 2 ** (failures - 1)))


def _stream(client: httpx.Client, url: str, found: Listing, transfer: _Transfer, watch: Watch) -> float:
    """One request for what is missing. Returns the seconds that a busy hub asks to wait, or 0."""
    done = transfer.done
    with client.stream("GET", url, headers={"range": f"bytes={done}-"} if done else {}) as response:
        status = response.status_code
        if status in BUSY:
            after = response.headers.get("retry-after", "")
            return min(60.0, float(after)) if after.isdecimal() else 0.0
        if status in (401, 403) or response.headers.get("x-error-code") == "GatedRepo":
            raise gated(found.repo) if found.gated or status == 403 else _unknown(found.repo)
        if status not in (200, 206):
            raise NotAvailable(f"The hub answered {status} when asked for {transfer.file.name} of {found.repo}.")
        whole = status == 200 or not response.headers.get("content-range", "").startswith(f"bytes {done}-")
        if whole and done:  # a server that takes no notice of ranges begins anew
            if status == 206:
                raise WeightsError(f"The hub sent another range of {transfer.file.name} than was asked for.")
            transfer.start()
        with transfer.part.open("r+b") as stream:
            stream.truncate(transfer.done)
            stream.seek(transfer.done)
            for chunk in response.iter_bytes():  # as they come: nothing is lost when the connection breaks
                stream.write(chunk)
                transfer.digest.update(chunk)
                transfer.done += len(chunk)
                watch(transfer.done)
    return 0.0
