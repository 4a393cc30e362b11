"""The house is as it says it is: README, packaging, imports, network."""

import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pytest_socket import SocketConnectBlockedError

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tree_in_readme() -> set[str]:
    """Paths from the root, folders with a closing slash; two spaces of indentation are one level."""
    found = re.search(r"^```\n(src/diptych/\n.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, "README.md has no tree that starts with src/diptych/"
    paths: set[str] = set()
    above: list[str] = []
    for line in found[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        above[depth:] = [name]
        paths.add("".join(above))
    return paths


def test_what_the_tree_in_the_readme_names_exists() -> None:
    missing = {path for path in tree_in_readme() if not (ROOT / path).exists()}
    assert not missing


def test_the_tree_in_the_readme_names_every_folder() -> None:
    packages = {path.parent for path in (ROOT / "src/diptych").rglob("*.py")}
    others = {ROOT / name for name in ("tests", "bench", "docs") if (ROOT / name).is_dir()}
    real = {f"{path.relative_to(ROOT).as_posix()}/" for path in packages | others}
    assert {path for path in tree_in_readme() if path.endswith("/")} == real


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_in_the_readme_and_the_makefile(target: str) -> None:
    assert re.search(rf"^make {target}\b", README, re.MULTILINE)
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_importing_diptych_is_light() -> None:
    heavy = {"torch", "pydantic", "PIL", "numpy", "typer"}
    code = "import sys, diptych; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "diptych" in loaded
    assert not heavy & set(loaded)


def test_the_tested_versions_are_possible_ones() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert not [version for version in pins.values() if "+" in version], "a local build is not on any index"

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(text) for group in [project["dependencies"], *extras] for text in group]
    wanted = [requirement for requirement in wanted if requirement.name != project["name"]]
    unpinned = [r.name for r in wanted if canonicalize_name(r.name) not in pins]
    outside = [str(r) for r in wanted if r.name not in unpinned and pins[canonicalize_name(r.name)] not in r.specifier]
    assert (unpinned, outside) == ([], [])


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_the_network_is_closed() -> None:
    with pytest.raises(SocketConnectBlockedError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # RFC 5737: nobody's address


def test_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=1):
        pass
