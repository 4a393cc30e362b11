"""A pytest fixture per vendor, each with a server to itself, and `process` for a vendor as its own process.

A test package takes them into its conftest.py:

    from tests.standins.fixtures import google, openai  # noqa: F401
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.standins.black_forest_labs import BlackForestLabs
from tests.standins.fal import Fal
from tests.standins.google import Google
from tests.standins.huggingface import HuggingFace
from tests.standins.openai import OpenAI
from tests.standins.replicate import Replicate
from tests.standins.server import HOST

CLIENT_VARIABLES = ("GOOGLE_", "GEMINI_", "OPENAI_", "BFL_", "REPLICATE_", "HF_", "HUGGING", "FAL_")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trust store of one certificate. Each client loads the store anew, and the usual one takes it 30 ms or more."""
    import certifi

    end = "-----END CERTIFICATE-----\n"
    path = tmp_path_factory.mktemp("tls") / "one.pem"
    path.write_text(Path(certifi.where()).read_text("utf-8").partition(end)[0] + end, "utf-8")
    return path


@pytest.fixture
def no_client_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, one_certificate: Path) -> None:
    """Nothing in the environment, and no token on disk, that would change what the vendors' clients do."""
    for name in os.environ:
        if name.startswith(CLIENT_VARIABLES) or name == "SSL_CERT_DIR":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(one_certificate))
    from huggingface_hub import constants  # which looks at the environment once, when it is imported

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)


@pytest.fixture
def google(no_client_settings: None) -> Iterator[Google]:
    with Google() as vendor:
        yield vendor


@pytest.fixture
def openai(no_client_settings: None) -> Iterator[OpenAI]:
    with OpenAI() as vendor:
        yield vendor


@pytest.fixture
def black_forest_labs(no_client_settings: None) -> Iterator[BlackForestLabs]:
    with BlackForestLabs() as vendor:
        yield vendor


@pytest.fixture
def replicate(no_client_settings: None) -> Iterator[Replicate]:
    with Replicate() as vendor:
        yield vendor


@pytest.fixture
def huggingface(no_client_settings: None) -> Iterator[HuggingFace]:
    with HuggingFace() as vendor:
        yield vendor


@pytest.fixture
def fal(no_client_settings: None) -> Iterator[Fal]:
    with Fal() as vendor:
        yield vendor


@contextmanager
def process(vendor: str, *options: str) -> Iterator[str]:
    """`python -m tests.standins VENDOR OPTIONS` while the context lasts; yields its address.

    Raises if it does not end well: a mistake of the stand-in itself must not pass for one of the code under test.
    """
    command = [sys.executable, "-m", "tests.standins", vendor, *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            port = running.stdout.readline().strip()
            assert port.isdecimal(), f"{' '.join(command)} did not start"
            yield f"http://{HOST}:{port}"
        finally:
            running.terminate()
            running.wait(10)
    assert running.returncode == 0, f"{' '.join(command)} ended with {running.returncode}"
