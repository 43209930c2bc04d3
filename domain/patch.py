"""How a patch says "leave this as it is", so that None can mean "clear it"."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Keep(Enum):
    """The type of KEEP, so that `str | None | Keep` can be written."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
