"""What some tests need that pip does not bring: skipped with a reason where it is missing, never in CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def need(found: str | None, what: str) -> str:
    """The path `found`, or the test ends: skipped on a person's machine, failed where `.ci/run` installs it."""
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed, and CI installs it")
    pytest.skip(f"{what} is not installed")


def chromium() -> str:
    return need(shutil.which("chromium"), "Chromium (Debian's package chromium)")


def postgres_programs() -> Path:
    """The folder of initdb and postgres."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(need(str(packaged[-1]) if packaged else shutil.which("initdb"), "PostgreSQL's server")).parent
