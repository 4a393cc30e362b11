"""Providers by their names: those of this package, imported when asked for, and the refusal of others."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from diptych import providers
from diptych.errors import NotAvailable


@pytest.mark.parametrize("name", providers.OWN)
def test_every_own_provider_opens(name: str) -> None:
    async def go() -> None:
        async with providers.open(name) as provider:
            assert type(provider).__name__ == providers.OWN[name]
            assert type(provider).__module__ == f"diptych.providers.{name}"
            assert isinstance(provider.jobs, bool)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gogle", r"no provider named 'gogle'\. Did you mean google\?"),
        ("", "no provider named ''"),
        ("jobs", "no provider named 'jobs'"),
        ("os.path", "no provider named 'os.path'"),
    ],
)
def test_no_such_provider(name: str, message: str) -> None:
    with pytest.raises(NotAvailable, match=message):
        providers.open(name)


def test_vendors_clients_are_imported_when_they_are_used() -> None:
    """Not with the package, and not with the provider: a key or a package that is missing is said by `check`."""
    code = f"""
import sys
from diptych import providers
names = {list(providers.OWN)!r}
heavy = ("torch", "google.genai", "openai", "replicate", "huggingface_hub", "httpx")
assert not set(heavy) & set(sys.modules), "diptych.providers itself"
for name in names:
    providers.open(name)
assert not set(heavy[:-1]) & set(sys.modules), sorted(set(heavy) & set(sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
