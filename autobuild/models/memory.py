"""Memory that is free, and errors that say so plainly when it is not enough."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autobuild.errors import RunError

ASSUMED_BYTES = 4e9  # where the system does not say what is free
CGROUP = Path("/sys/fs/cgroup")


def free_bytes() -> float:
    """Memory that this process may still take: what the machine, its container and its own limits leave."""
    found = [_machine_bytes(), _container_bytes(), _limit_bytes()]
    return max(0.0, min(found)) if math.isfinite(min(found)) else ASSUMED_BYTES


def _machine_bytes() -> float:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return math.inf


def _container_bytes() -> float:
    """What the control group leaves; memory that holds files only can be taken."""
    with suppress(OSError, ValueError):
        limit = float((CGROUP / "memory.max").read_text())  # "max", where there is no limit, is no number
        used = float((CGROUP / "memory.current").read_text())
        files = (line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + sum(float(size) for name, size in files if name == "inactive_file")
    return math.inf


def _limit_bytes() -> float:
    """What the limit of the address space (``ulimit -v``) leaves."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return float(limit - pages * os.sysconf("SC_PAGE_SIZE"))
    return math.inf


@contextmanager
def memory_errors(what: str, advice: str) -> Iterator[None]:
    """Turn errors of the memory inside the block into a RunError.

    Args:
        what: What was computed, such as ``"the fit"``.
        advice: What the user can do.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        free = f"{free_bytes() / 1e9:.1f} GB are free now"
        raise RunError(f"{what} needs more memory than there is ({free}): {advice}") from error
