"""A provider in a package of its own: installed for real, and found by another process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "plugins" / "diptych_echo"
ASK = """
import asyncio, json
from diptych import providers
from diptych.catalogue import Model
from diptych.images import Request

async def main():
    async with providers.open("echo") as echo:
        request = Request(prompt="a fox", width=96, height=32)
        model = Model(name="echo", title="Echo", provider="echo", remote_id="echo")
        echo.check(model, [request])
        picture = await echo.generate(model, request)
        print(json.dumps({"jobs": echo.jobs, "size": picture.image.size, "sha256": picture.sha256}))

asyncio.run(main())
"""
OPEN = """
from diptych import providers
from diptych.errors import NotAvailable
try:
    providers.open({name!r})
except NotAvailable as error:
    print(error)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the package."""
    source = shutil.copytree(SOURCE, tmp_path_factory.mktemp("source") / "diptych_echo")  # building writes into it
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    ended = subprocess.run([*pip, *offline, str(source)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return target


def python(code: str, installed: Path | None) -> str:
    path = {} if installed is None else {"PYTHONPATH": str(installed)}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **path}
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_plugin_makes_a_picture(installed: Path) -> None:
    said = json.loads(python(ASK, installed))
    assert said["jobs"] is False
    assert said["size"] == [96, 32]
    assert said == json.loads(python(ASK, installed))


def test_a_plugin_that_cannot_be_loaded_is_named(installed: Path) -> None:
    said = python(OPEN.format(name="broken"), installed)
    assert "'broken' of the plugin diptych_echo.absent:Broken cannot be loaded: ModuleNotFoundError" in said


def test_plugins_are_listed_where_a_name_is_wrong(installed: Path) -> None:
    assert "There is no provider named 'ecko'. Did you mean echo?" in python(OPEN.format(name="ecko"), installed)
    assert "There is no provider named 'echo'" in python(OPEN.format(name="echo"), None)
