"""How many CUDA devices replicas can compute on, found without importing torch and without touching a device."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pynvml


def available(environ: Mapping[str, str] = os.environ) -> int:
    """Devices that a replica sees: none when torch was built for CPUs only, or where there is no driver."""
    return visible(_driver_count, environ) if _built_for_cuda() else 0


def visible(count: Callable[[], int], environ: Mapping[str, str]) -> int:
    """The devices of the driver, or as many of them as CUDA_VISIBLE_DEVICES names."""
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None and not [part for part in named.split(",") if part.strip() not in ("", "-1")]:
        return 0
    found = count()
    return found if named is None else min(found, len(named.split(",")))


def _built_for_cuda() -> bool:
    """Whether the installed torch can use CUDA, read from its sources: importing it would cost seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    return built_for_cuda((Path(spec.origin).parent / "version.py").read_text())


def built_for_cuda(version_source: str) -> bool:
    """What torch's `version.py` says."""
    found = re.search(r"^cuda(?:: [^=]+)? = (.+)$", version_source, re.MULTILINE)
    return found is not None and found[1].strip() != "None"


def _driver_count() -> int:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0  # no driver
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
