"""How much memory this machine has left."""

from __future__ import annotations

import math
import pathlib
import re


def free_host_bytes() -> float:
    """Memory that this process may still take: the machine's, or its control group's where that is less; infinity where
    unknown."""
    free = math.inf
    meminfo, group = pathlib.Path("/proc/meminfo"), pathlib.Path("/sys/fs/cgroup")
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        free = float(match[1]) * 1024 if match else free
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, float(limit) - float((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return max(free, 0.0)
