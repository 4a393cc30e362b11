"""What a stand-in can be told to do instead of answering well.

    Fault
    ├── Rejected                   an error in the vendor's own shape; nothing is started or charged
    │   ├── RateLimited            429, with Retry-After in seconds, as a date, in milliseconds, or in the body
    │   ├── Unauthorized           the key is not valid, or not for this
    │   ├── OutOfCredits           402, or what the vendor answers in its place
    │   ├── Invalid                a setting is refused, in each of the shapes that vendors use
    │   └── Retired                the model is no longer there
    ├── Redirected                 307 or 302 to another place
    ├── ServerError                500, 502, 503, 504: before the request is accepted, or after
    ├── Dropped                    the connection ends: before the request is read, or after it is accepted
    ├── Spoiled                    an answer that is not the one expected; the request was accepted unless said
    │   ├── Html, Empty, Garbage, OtherJson
    ├── Slow, Held                 a good answer, later: after some seconds, or when the test releases it
    ├── Trickled, Truncated        a good answer in small pieces, or one that ends too early
    ├── StreamBroken               an event stream that ends after some events, or brings an error
    ├── Refused                    the vendor's way to say no for what the prompt or the picture shows
    ├── BadPicture, OtherSize      a good answer around a picture that is truncated, a bomb, ...; or of another size
    └── for vendors that are polled
        ├── Pending                so many rounds more before it is ready
        ├── Failed                 the job fails
        ├── Lost                   the job is not known when asked for
        ├── Expired                the picture is no longer at its address
        └── Elsewhere              the address to poll, or that of the picture, is on another host

`charged` says whether the vendor accepted the request, and so bills it, before it went wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Fault:
    @property
    def accepted(self) -> bool:
        """Whether the request gets to the part of the vendor that makes pictures, and bills for them."""
        return bool(getattr(self, "charged", True))


@dataclass(frozen=True, kw_only=True)
class Rejected(Fault):
    @property
    def accepted(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class RateLimited(Rejected):
    retry_after: float | None = 1
    """Seconds."""
    form: Literal["seconds", "date", "milliseconds", "body"] = "seconds"
    """`body` is Google's way: RetryInfo among the details, and no header."""


@dataclass(frozen=True, kw_only=True)
class Unauthorized(Rejected):
    status: int = 401
    """The vendors differ; 0 takes the vendor's own for a wrong key."""


@dataclass(frozen=True, kw_only=True)
class OutOfCredits(Rejected):
    pass


@dataclass(frozen=True, kw_only=True)
class Invalid(Rejected):
    message: str = "steps must be at most 50"
    shape: Literal["vendor", "text", "list", "error"] = "vendor"
    """The vendor's own, `{"detail": "..."}`, `{"detail": [{"loc", "msg", "type"}]}` or `{"error", "message"}`."""


@dataclass(frozen=True, kw_only=True)
class Retired(Rejected):
    pass


@dataclass(frozen=True, kw_only=True)
class Redirected(Rejected):
    location: str
    status: int = 307


@dataclass(frozen=True, kw_only=True)
class ServerError(Fault):
    status: int = 503
    charged: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Dropped(Fault):
    charged: bool = False
    """False: hung up before the body of the request is read. True: accepted, and never answered."""
    reset: bool = False
    """Whether the connection is reset rather than closed."""


@dataclass(frozen=True, kw_only=True)
class Spoiled(Fault):
    status: int = 200
    charged: bool = True


@dataclass(frozen=True, kw_only=True)
class Html(Spoiled):
    pass


@dataclass(frozen=True, kw_only=True)
class Empty(Spoiled):
    pass


@dataclass(frozen=True, kw_only=True)
class Garbage(Spoiled):
    pass


@dataclass(frozen=True, kw_only=True)
class OtherJson(Spoiled):
    value: Any = None
    """What is sent; an object of no vendor's if None."""


@dataclass(frozen=True, kw_only=True)
class Slow(Fault):
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Held(Fault):
    """Accepted and charged, then silent until `Vendor.release()`."""


@dataclass(frozen=True, kw_only=True)
class Trickled(Fault):
    seconds: float
    """For the whole body."""
    pieces: int = 20


@dataclass(frozen=True, kw_only=True)
class Truncated(Fault):
    keep: float = 0.5
    """The part of the body that is sent under the Content-Length of the whole."""


@dataclass(frozen=True, kw_only=True)
class StreamBroken(Fault):
    after: int = 1
    """Events that arrive whole."""
    how: Literal["cut", "error"] = "cut"
    """The connection ends, or an error comes as an event."""


@dataclass(frozen=True, kw_only=True)
class Refused(Fault):
    how: str = ""
    """In the vendor's words, such as `IMAGE_SAFETY`; the vendor's most usual if empty."""
    charged: bool | None = None
    """None: as the vendor does for this way."""

    @property
    def accepted(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class BadPicture(Fault):
    kind: Literal["truncated", "bomb", "noise", "empty", "black"] = "truncated"


@dataclass(frozen=True, kw_only=True)
class OtherSize(Fault):
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Pending(Fault):
    rounds: int = 3
    previews: bool = False


@dataclass(frozen=True, kw_only=True)
class Failed(Fault):
    message: str = "the worker stopped"
    rounds: int = 0


@dataclass(frozen=True, kw_only=True)
class Lost(Fault):
    pass


@dataclass(frozen=True, kw_only=True)
class Expired(Fault):
    status: int = 404


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Fault):
    poll: str | None = None
    """The address up to the path, such as `https://example.org`."""
    picture: str | None = None
