"""The classifier: learns, is resumed after a kill as if nothing had been, and is read back strictly."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.errors import OutputError, WeightsError
from diptych.training.classifier import (
    COLOUR_NAMES,
    Classifier,
    ClassifierPlan,
    disturb,
    load_classifier,
    read,
    train_classifier,
)
from diptych.training.evaluate import judge_scenes
from diptych.training.library import Library, load_library
from diptych.training.scenes import Maker
from tests.training.conftest import LISTING

TINY = ClassifierPlan(size=32, widths=(8, 8, 16), steps=6, batch=4, save_every=2)
LEARNS = ClassifierPlan(size=32, widths=(16, 24, 48), steps=150, batch=24, save_every=50)
# Stops itself, unsaved work in hand, at the step that is named on the command line.
KILLED = """
import os, signal, sys
from pathlib import Path
from diptych.training import checkpoint, classifier, library
from tests.training.conftest import LISTING
from tests.training.test_classifier import TINY
step, advance = int(sys.argv[3]), checkpoint.Checkpoint.advance
def killing(self, decay):
    if self.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
    advance(self, decay)
checkpoint.Checkpoint.advance = killing
things = library.load_library(Path(sys.argv[1]), listing=LISTING, size=64)
classifier.train_classifier(things, TINY, Path(sys.argv[2]), print)
"""


@pytest.fixture(scope="module")
def trained(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return train_classifier(library, LEARNS, tmp_path_factory.mktemp("classifier"), lambda line: None)


def test_it_learns_what_it_is_shown(trained: Classifier, library: Library) -> None:
    """On held-out compositions, well above what guessing gives: a sixth, a twelfth, a third, a half."""
    shares = {name: share for name, (share, _) in judge_scenes(trained, library, 120, size=48).items()}
    assert shares["thing, top-1"] > 0.6
    assert shares["background colour"] > 0.4
    assert shares["count of one to three"] > 0.6
    assert shares["position (both in the top-5 and in place)"] > 0.8


def test_where_a_thing_is_read(trained: Classifier, library: Library) -> None:
    batch = Maker(library, 11, kind="pair").batch(0, 40, 64)
    where = read(trained, batch.pictures).where
    gaps = [
        np.abs(where[i, scene.groups[p.group].thing] - (p.x, p.y)).max()
        for i, scene in enumerate(batch.scenes)
        for p in scene.placed
    ]
    assert np.median(gaps) < 0.15


def test_killed_and_resumed_is_as_if_undisturbed(emoji: Path, library: Library, tmp_path: Path) -> None:
    said: list[str] = []
    straight = train_classifier(library, TINY, tmp_path / "straight", said.append)
    assert [line.split(",")[0] for line in said] == [f"classifier {n}/6" for n in (2, 4, 6)]
    command = [sys.executable, "-c", KILLED, str(emoji), str(tmp_path / "killed"), "3"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    said.clear()
    resumed = train_classifier(library, TINY, tmp_path / "killed", said.append)
    assert not any(line.startswith("classifier 2/") for line in said)  # it went on; it did not begin again
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert max(p.stat().st_size for p in (tmp_path / "killed").iterdir()) < 16 * 2**20


def test_a_checkpoint_of_another_plan_or_of_other_things_is_refused(
    emoji: Path, library: Library, tmp_path: Path
) -> None:
    train_classifier(library, replace(TINY, steps=2), tmp_path, lambda line: None)
    with pytest.raises(WeightsError, match=r"of another recipe .*batch is 4 there and 5 here"):
        train_classifier(library, replace(TINY, steps=2, batch=5), tmp_path, lambda line: None)
    fewer = load_library(emoji, listing="apple\nstar\n", size=64)
    with pytest.raises(WeightsError, match=r"of another recipe .*things is"):
        train_classifier(fewer, replace(TINY, steps=2), tmp_path, lambda line: None)
    with pytest.raises(WeightsError, match=r"knows 6 things, which are not the 2 of this list"):
        load_classifier(tmp_path, fewer)


def test_read_back_it_reads_the_same(library: Library, tmp_path: Path) -> None:
    written = train_classifier(library, TINY, tmp_path, lambda line: None)
    loaded = load_classifier(tmp_path, library)
    pictures = Maker(library, 1).batch(0, 5, 40).pictures
    first, second = read(written, pictures, batch=2), read(loaded, pictures)
    np.testing.assert_allclose(first.things, second.things, atol=1e-5)
    assert first.best(2).shape == (5, 2)
    assert first.colours.shape == (5, len(COLOUR_NAMES))


def test_what_cannot_be_loaded_or_written_is_said_so(library: Library, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There is no classifier in"):
        load_classifier(tmp_path)
    train_classifier(library, replace(TINY, steps=1), tmp_path, lambda line: None)
    weights = tmp_path / "classifier.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_classifier(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        train_classifier(library, replace(TINY, steps=1), tmp_path / "file", lambda line: None)


def test_disturbed_pictures_are_near_what_they_were(library: Library, rng: np.random.Generator) -> None:
    pictures = Maker(library, 1).batch(0, 40, 32).pictures
    worse = disturb(rng, pictures)
    gaps = np.abs(worse.astype(int) - pictures).mean(axis=(1, 2, 3))
    assert (gaps == 0).any()
    assert (gaps > 2).any()
    assert gaps.max() < 40


def test_the_listing_of_the_tests_has_six_things() -> None:
    assert sum(not line.startswith("#") for line in LISTING.splitlines()) == 6
