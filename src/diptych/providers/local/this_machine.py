"""What this machine computes with: its device, its memory, and which dtype is faster here."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from diptych import settings


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What local models would compute with. Bytes; what cannot be known is None."""

    device: str | None
    """cpu, cuda or mps. None: torch is not installed, so nothing runs here."""
    name: str
    """Of the processor or the card."""
    dtype: str | None = None
    """float32 or bfloat16, whichever was measured faster."""
    cores: int | None = None
    memory: int | None = None
    """Of the machine, or of the container that this runs in."""
    memory_free: int | None = None
    device_memory: int | None = None
    """A card's own; None where it computes in the machine's."""
    device_memory_free: int | None = None


def machine() -> Machine:
    """What this machine computes with. Measures the faster dtype where that was not done before."""
    total, free = _memory()
    try:
        from diptych.engines import compute
    except ImportError:
        return Machine(
            device=None,
            name=platform.processor() or platform.machine(),
            cores=os.cpu_count(),
            memory=total,
            memory_free=free,
        )
    device = compute.best_device()
    own = compute.device_memory(device)
    return Machine(
        device=device.type,
        name=compute.device_name(device),
        dtype=str(compute.best_dtype(device, settings.probe_cache())).removeprefix("torch."),
        cores=os.cpu_count(),
        memory=total,
        memory_free=free,
        device_memory=None if own is None else own[1],
        device_memory_free=None if own is None else own[0],
    )


def _memory() -> tuple[int | None, int | None]:
    """Total and free bytes of the machine, or of the control group that limits this process (cgroup v2, Linux)."""
    total = _pages("SC_PHYS_PAGES")
    # What the system keeps for reading files again is free to whoever needs it.
    available = re.search(r"^MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    free = int(available[1]) * 1024 if available else _pages("SC_AVPHYS_PAGES")
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdecimal() and used.isdecimal() and total is not None and free is not None and int(limit) < total:
        total, free = int(limit), min(free, max(0, int(limit) - int(used)))
    return total, free


def _pages(name: str) -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf(name)
    except (AttributeError, ValueError, OSError):  # Windows has none of this; macOS does not say what is free
        return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
