"""Which device and which dtype this machine computes fastest with, found by a short measurement.

bfloat16 is several times faster than float32 on processors with AVX512-BF16 or AMX and several times slower on those
without (docs/log.md has numbers), so the processor is asked, not guessed. The answer is kept per machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import time
from pathlib import Path

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SIDE = 768
"""Side of the square matrices that are multiplied: large enough to be bound by arithmetic, done in milliseconds."""
ROUNDS = 6


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def best_dtype(device: torch.device, cache: Path) -> torch.dtype:
    """bfloat16 where it is measured faster than float32 on `device`, else float32.

    cache: a JSON file with earlier answers; it is added to, and an unreadable or unwritable one is measured past.
    """
    key = _machine(device)
    try:
        known = dict(json.loads(cache.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    answer = known.get(key)
    if isinstance(answer, str) and answer in DTYPES:
        return DTYPES[answer]
    chosen = _fastest(device)
    with contextlib.suppress(OSError):  # a home that cannot be written costs milliseconds at a start, nothing else
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(f".{os.getpid()}.part")
        temporary.write_text(json.dumps({**known, key: chosen}, indent=2), "utf-8")
        os.replace(temporary, cache)
    return DTYPES[chosen]


def _machine(device: torch.device) -> str:
    """What the answer depends on: the processor, the library, and threads and allowed instructions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "all")
    return f"{device.type} {name}, torch {torch.__version__}, {torch.get_num_threads()} threads, instructions {limit}"


def _processor() -> str:
    """The processor's name and a digest of its instruction set: virtual machines share names, not instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags") or fields.get("Features") or ""
    name = fields.get("model name") or platform.machine()
    return f"{name} {hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def _fastest(device: torch.device) -> str:
    """The name of the faster dtype.

    The two are measured in turn and each keeps its best round: what else runs on the machine meanwhile slows both.
    """
    best = dict.fromkeys(("float32", "bfloat16"), math.inf)
    for _ in range(ROUNDS):
        for name in best:
            best[name] = min(best[name], _measure(DTYPES[name], device))
    return min(best, key=lambda name: best[name])


def _measure(dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of one matrix product."""
    a = torch.ones(SIDE, SIDE, device=device, dtype=dtype)
    start = time.perf_counter()
    product = a @ a
    product[0, 0].item()  # waits for the device
    return time.perf_counter() - start


def device_name(device: torch.device) -> str:
    """What a person calls it: the processor's or the card's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return re.sub(r" [0-9a-f]{8}$", "", _processor())  # without the digest


def device_memory(device: torch.device) -> tuple[int, int] | None:
    """Free and total bytes of a card's own memory; None where it computes in the machine's."""
    return torch.cuda.mem_get_info(device) if device.type == "cuda" else None


def forget_peak(device: torch.device) -> None:
    """Let `peak_memory` count from now. Source: proc(5), clear_refs: 5 resets the peak resident set size."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # elsewhere than on Linux the peak is that of the whole process
            Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_memory(device: torch.device) -> int | None:
    """Bytes held at most: by tensors on a card, else by this process, libraries and weights included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    except OSError:
        return None
