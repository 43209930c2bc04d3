"""What loading a version at an endpoint cost, kept so that it can be read after a restart, and while it is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from domain.serving import WarmUp


@dataclass(frozen=True, slots=True)
class WarmUpReport:
    """The newest measurement of one version. `max_batch_rows` is the size behind `batch_max_ms`."""

    version_id: str
    measured: WarmUp
    max_batch_rows: int
    device: str
    measured_at: datetime


Reports: TypeAlias = dict[str, list[WarmUpReport]]
"""By endpoint id, the version with the largest share first; endpoints without a report are left out."""
