"""Measuring in other processes: the same numbers, and nothing left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from diptych.errors import BadPicture
from diptych.measure import Measures, Pool, measure
from tests.measure.pictures import photograph, png, white_noise

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")


def test_the_numbers_are_those_of_this_process() -> None:
    pictures = [png(photograph(name)) for name in ("coffee", "chelsea", "text")]
    with Pool(2) as pool:
        futures = [pool.submit(data) for data in pictures * 2]
        assert [future.result() for future in futures] == [measure(data) for data in pictures] * 2
    assert not multiprocessing.active_children()


def test_bytes_that_are_no_picture_fail_alone() -> None:
    good = png(white_noise(9, 32))
    with Pool(1) as pool:
        bad, after = pool.submit(b"no picture"), pool.submit(good)
        with pytest.raises(BadPicture, match="10 bytes that are no PNG"):
            bad.result()
        assert after.result() == measure(good)


def test_nothing_starts_before_the_first_picture() -> None:
    with Pool(2) as pool:
        assert not multiprocessing.active_children()
        pool.submit(png(white_noise(9, 32))).result()
        assert len(multiprocessing.active_children()) == 1  # one picture needs one process
    assert not multiprocessing.active_children()


def test_a_closed_pool_takes_nothing_more() -> None:
    pool = Pool(1)
    pool.close()
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(b"")


def test_leaving_waits_for_what_was_submitted() -> None:
    with Pool(1) as pool:
        futures = [pool.submit(png(white_noise(9, 64, seed))) for seed in range(5)]
    assert all(isinstance(future.result(), Measures) for future in futures)


def test_leaving_by_an_error_drops_what_has_not_begun() -> None:
    data = png(white_noise(9, 1024))
    futures = []
    with contextlib.suppress(LookupError), Pool(1) as pool:
        futures += [pool.submit(data) for _ in range(200)]
        futures[0].result()
        raise LookupError
    assert all(future.done() for future in futures)
    assert sum(future.cancelled() for future in futures) > 100
    with pytest.raises(CancelledError):
        futures[-1].result()
    assert not multiprocessing.active_children()


def test_a_killed_process_is_replaced() -> None:
    data = png(white_noise(9, 64))
    with Pool(1) as pool:
        pool.submit(data).result()
        (worker,) = multiprocessing.active_children()
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        outcomes = []
        for _ in range(2):  # that it died may not be noticed yet
            try:
                outcomes.append(pool.submit(data).result())
            except BrokenProcessPool:
                continue
        assert outcomes
        assert set(outcomes) == {measure(data)}
    assert not multiprocessing.active_children()


def test_threads_may_submit() -> None:
    data = png(white_noise(9, 64))
    found: list[Measures] = []
    with Pool(2) as pool:
        threads = [threading.Thread(target=lambda: found.append(pool.submit(data).result())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [measure(data)] * 8


def test_a_worker_has_one_thread_and_no_ear_for_ctrl_c() -> None:
    with Pool(1) as pool:
        pool.submit(png(white_noise(9, 32))).result()
        executor = pool._executor
        assert executor is not None
        there = [
            executor.submit(eval, expression).result()
            for expression in (
                "__import__('cv2').getNumThreads()",
                "__import__('os').environ['OMP_NUM_THREADS']",
                "__import__('signal').getsignal(2) == __import__('signal').SIG_IGN",
            )
        ]
    assert there == [1, "1", True]


SCRIPT = """
    import sys
    from pathlib import Path

    from diptych.measure import Pool

    if __name__ == "__main__":
        data = Path(sys.argv[1]).read_bytes()
        try:
            with Pool(2) as pool:
                futures = [pool.submit(data) for _ in range(500)]
                if sys.argv[2] == "working":
                    futures[0].result()
                print("ready", flush=True)
                for future in futures:
                    future.result()
        except KeyboardInterrupt:
            sys.stderr.write("stopped\\n")
            sys.exit(130)
"""


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    path, picture = tmp_path / "script.py", tmp_path / "picture.png"
    path.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    picture.write_bytes(png(white_noise(9, 1024)))
    return [sys.executable, "-X", "dev", "-W", "error", str(path), str(picture)]


@pytest.mark.parametrize("moment", ["starting", "working"])
def test_ctrl_c_ends_all_of_it_quietly(script: list[str], moment: str) -> None:
    """Everything that the script starts holds its standard output: reading to its end is waiting for all of them."""
    with subprocess.Popen(
        [*script, moment], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "stopped\n")


def test_workers_end_with_a_parent_that_is_killed(script: list[str]) -> None:
    with subprocess.Popen([*script, "working"], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.communicate(timeout=60) == ("", None)
