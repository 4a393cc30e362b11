"""A process that is killed at any moment loses no picture, pays for none twice, and keeps the budget."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.servers import free_port, fresh_database
from tests.studies import killing

PROMPTS = [f"a fox number {i}" for i in range(6)]
KILLS = 10


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    if request.param == "sqlite":
        return None
    return fresh_database(request.getfixturevalue("postgres_server"), tmp_path.name)


@pytest.mark.parametrize(
    ("vendor", "model", "price", "seed"),
    [("black_forest_labs", "flux-2-pro", None, 1), ("openai", "gpt-image-2:quality=low", 0.01, 2)],
)
def test_killed_at_ten_moments(
    url: str | None, vendor: str, model: str, price: float | None, seed: int, tmp_path: Path, home: Path
) -> None:
    log = tmp_path / "log"
    with killing.counting(vendor, tmp_path, seconds=0.15) as counting:
        arguments = [*PROMPTS, "-m", model, "-n", "6", "--no-measure", "--concurrency", "3"]
        arguments += ["--size", "512x512"] if vendor == "black_forest_labs" else ["--size", "1024x1024"]
        arguments += ["--price", f"gpt-image-2={price}"] if price else ["--seed", "1"]
        if url is not None:
            arguments += ["--store", url]
        each = price or 0.03
        budget = each * 24  # of 36 samples

        def start(dollars: float) -> subprocess.Popen[bytes]:
            return killing.pilot([*arguments, "--budget", f"{dollars:.4f}"], counting.environment, log)

        killed = killing.kill_again_and_again(lambda: start(budget), lambda: len(counting.charges()), KILLS, seed)
        assert killed >= KILLS // 2, log.read_text("utf-8")[-3000:]
        killing.finish(lambda: start(budget), log)
        kept = killing.read(url, home)
        assert kept.spent <= budget + 1e-9
        assert len(counting.charges()) <= sum(sample.state in ("done", "unknown") for sample in kept.samples)

        killing.finish(lambda: start(1000.0), log)
        study = killing.read(url, home)
        charges = counting.charges()
        states = Counter(sample.state for sample in study.samples)
        assert set(states) <= {"done", "unknown"}
        assert sum(states.values()) == len(study.samples) == 36
        # Every picture that is there was charged once, and nothing was charged that is not counted as charged.
        assert states["done"] <= len(charges) <= states["done"] + states["unknown"]
        if vendor == "black_forest_labs":  # the other has no seed by which its charges could be told apart
            assert killing.charged_twice(charges) == []

        again = ["--name", study.name, "--retry-unknown", "--no-measure", *(["--store", url] if url else [])]
        killing.finish(lambda: killing.pilot(again, counting.environment, log), log)
        assert {sample.state for sample in killing.read(url, home).samples} == {"done"}
        assert len(counting.charges()) == len(charges) + states["unknown"]


def test_killed_on_ray(tmp_path: Path, home: Path) -> None:
    ray = Path(sys.executable).with_name("ray")
    port = free_port()
    environment = {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}
    head = [ray, "start", "--head", "--port", str(port), "--num-cpus", "2", "--include-dashboard", "false"]
    subprocess.run([*head, "--disable-usage-stats"], check=True, capture_output=True, env={**os.environ, **environment})
    log = tmp_path / "log"
    try:
        arguments = ["-m", "builtin-flow:steps=2", "-n", "10", "--no-measure", "--on", "ray"]

        def start() -> subprocess.Popen[bytes]:
            return killing.pilot(arguments, environment, log)

        def there() -> int:
            return sum(len(files) for _, _, files in os.walk(home / "pictures"))

        killed = killing.kill_again_and_again(start, there, KILLS, seed=3)
        assert killed >= KILLS // 2, log.read_text("utf-8")[-3000:]
        killing.finish(start, log)
    finally:
        subprocess.run([ray, "stop", "--force"], check=True, capture_output=True)
    study = killing.read(None, home)
    assert [sample.state for sample in study.samples] == ["done"] * 30
