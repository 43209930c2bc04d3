"""How many processor cores this process may really use. Never the machine's count: containers get less."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def available(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smaller of the scheduler's affinity and the cgroup's CPU quota (v2 or v1), at least 1."""
    affinity = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, min(affinity, int(quota))) if quota else affinity


def _quota(cgroup: Path) -> float | None:
    with suppress(OSError, ValueError):
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    with suppress(OSError, ValueError):
        limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
        period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        return None if int(limit) <= 0 else int(limit) / int(period)
    return None
