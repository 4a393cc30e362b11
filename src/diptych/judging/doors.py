"""Who may come in: the names of this machine, and the join code.

A page in the same browser could make its own host name point here (DNS rebinding), and could then read everything. So
a request is answered only where its Host is an address, which nobody can rebind, or a name of this machine.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import secrets
import socket
from collections import deque
from collections.abc import Callable

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; nothing that looks like a digit."""
CODE_LENGTH = 6
"""20^6 codes: at TRIES_IN_ALL a minute half of them take two years."""
TRIES_EACH, TRIES_IN_ALL = 6, 30
"""Wrong codes in a minute, from one address and from all: beyond that no code is looked at."""
MINUTE = 60.0


def own_names() -> frozenset[str]:
    """What this machine is called, in lower case."""
    names = {"localhost"}
    with contextlib.suppress(OSError, UnicodeError):
        own = socket.gethostname().lower()
        names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
    return frozenset(names - {""})


@functools.lru_cache(maxsize=256)
def is_own_host(header: str, names: frozenset[str]) -> bool:
    """Whether a Host header is an address or one of the names. Ports do not matter: it is the name that is rebound."""
    host = header.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    if host.rstrip(".") in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine can reach `address`."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def new_code() -> str:
    """As in "KXQ-TMR"."""
    letters = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
    return f"{letters[:3]}-{letters[3:]}"


class Door:
    """Asks for the join code once; who gave it has a pass from then on, as long as this program runs.

    clock: seconds that only go up.
    """

    def __init__(self, code: str | None, clock: Callable[[], float], token: Callable[[], str]) -> None:
        """code: None leaves the door open."""
        self._code = None if code is None else _plain(code)
        self._pass = token()
        self._clock = clock
        self._wrong: deque[tuple[float, str]] = deque()

    def lets_in(self, shown: str | None) -> bool:
        """Whether this pass, from a cookie, opens the door."""
        return self._code is None or (
            shown is not None and secrets.compare_digest(shown.encode("utf-8", "replace"), self._pass.encode())
        )

    def knock(self, code: str, address: str) -> str | None:
        """The pass for a right code; None for a wrong one. Raises TooMany where there were too many wrong ones."""
        if self._code is None:
            return self._pass
        now = self._clock()
        while self._wrong and self._wrong[0][0] <= now - MINUTE:
            self._wrong.popleft()
        mine = [when for when, whose in self._wrong if whose == address]
        if len(mine) >= TRIES_EACH or len(self._wrong) >= TRIES_IN_ALL:
            oldest = mine[0] if len(mine) >= TRIES_EACH else self._wrong[0][0]
            raise TooMany(oldest + MINUTE - now)
        if secrets.compare_digest(_plain(code).encode("utf-8", "replace"), self._code.encode()):
            return self._pass
        self._wrong.append((now, address))
        return None


class TooMany(Exception):
    """Too many wrong codes: `seconds` until the next is looked at."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(seconds)


def _plain(code: str) -> str:
    return "".join(c for c in code.upper() if c.isalnum())[:64]
