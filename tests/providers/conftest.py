"""What the tests of hosted providers share: a stand-in per vendor, and the keys that it accepts in the environment."""

from __future__ import annotations

import pytest

from diptych.providers import calling
from diptych.settings import KEYS
from tests.standins.fixtures import (  # noqa: F401
    black_forest_labs,
    fal,
    google,
    huggingface,
    no_client_settings,
    one_certificate,
    openai,
    replicate,
)

KEY = "test-key"
"""Of every stand-in."""


@pytest.fixture(autouse=True)
def keys(no_client_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811  # as pytest has it
    """The stand-ins' key under the first variable of each vendor, and no other setting of their clients."""
    for source in KEYS.values():
        monkeypatch.setenv(source.variables[0], KEY)


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could be tried again is not, and so is not waited for."""
    monkeypatch.setattr(calling, "ATTEMPTS", 1)
