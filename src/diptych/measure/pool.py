"""Processes that measure pictures while more of them arrive."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

from diptych.measure.records import Measures

MOST_WORKERS = 4
"""By default: two already keep up with any vendor, and local models want the processors for themselves."""


class Pool:
    """Measures pictures in other processes, each on one thread.

        with Pool() as pool:
            future = pool.submit(data)
            ...
            measures = future.result()

    Processes start with the first pictures, by spawning: a fork would copy the locks of torch's threads. They ignore
    Ctrl-C, which is for this process to handle, and end with it however it ends. Leaving the block waits for what was
    submitted; leaving it by an error drops what has not begun.

    As ever with spawning, a script that uses this keeps its own doings under `if __name__ == "__main__":`.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or min(MOST_WORKERS, os.cpu_count() or 1)
        self._executor: ProcessPoolExecutor | None = None
        self._closed = False
        self._lock = threading.Lock()

    def submit(self, data: bytes) -> Future[Measures]:
        """Measure a picture; the future gives what `measure` gives, or raises BadPicture as it does.

        It raises BrokenProcessPool where the system killed a process, for want of memory as a rule, together with all
        pictures that were waiting; the next `submit` starts new processes. Raises RuntimeError after `close`.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("This pool is closed.")
            try:
                return self._submit(data)
            except BrokenProcessPool:
                self._shut_down(cancel=True)
                return self._submit(data)

    def close(self, *, cancel: bool = False) -> None:
        """Wait for what was submitted, or with `cancel` only for what has begun, and end the processes."""
        with self._lock:
            self._closed = True
            self._shut_down(cancel=cancel)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(cancel=kind is not None)

    def _submit(self, data: bytes) -> Future[Measures]:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
            )
        with _interrupts_held():
            return self._executor.submit(_measure, data)

    def _shut_down(self, *, cancel: bool) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=cancel)
            self._executor = None


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process that starts within is deaf to Ctrl-C from its first moment, before it can say so itself."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when numpy is imported
        os.environ[variable] = "1"
    import cv2

    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """A parent that is killed tells nobody, and a worker would wait for its next picture for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure(data: bytes) -> Measures:
    from diptych.measure import measure

    return measure(data)
