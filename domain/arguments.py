"""Typed, bounded arguments of operations: what a document may write, and its canonical form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from domain.errors import BadUserInput
from domain.tensors import MAX_RANK, shown

Kind = Literal["int", "float", "bool", "ints", "choice"]

_REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Argument:
    """A typed, bounded argument. `ints` of a fixed `length` also accept one int for all."""

    name: str
    kind: Kind
    low: float = 0
    high: float = 0
    length: int | None = None
    choices: tuple[str, ...] = ()
    default: Any = _REQUIRED
    absent: str = "none"
    """What leaving it out means, in words, where the default is none."""

    @property
    def required(self) -> bool:
        """Whether a document must give it."""
        return self.default is _REQUIRED

    def parse(self, value: object, field: str) -> Any:
        """The value in canonical form (ints as a tuple), or BadUserInput naming `field`."""
        if value is None and self.default is None:
            return None
        if self.kind == "bool":
            if isinstance(value, bool):
                return value
        elif self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
        elif self.kind == "ints":
            return self._parse_ints(value, field)
        elif isinstance(value, int if self.kind == "int" else int | float) and not isinstance(value, bool):
            number = value if self.kind == "int" else _as_float(value)
            if self.low <= number <= self.high:
                return number
        raise BadUserInput(f"expected {self.wanted}, got {shown(value)}", field=field)

    def _parse_ints(self, value: object, field: str) -> tuple[int, ...]:
        if self.length is not None and isinstance(value, int) and not isinstance(value, bool):
            value = [value] * self.length
        if not isinstance(value, list | tuple) or not value:
            raise BadUserInput(f"expected {self.wanted}, got {shown(value)}", field=field)
        if len(value) > MAX_RANK or (self.length is not None and len(value) != self.length):
            raise BadUserInput(f"expected {self.wanted}, got {len(value)} of them", field=field)
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int) or not self.low <= item <= self.high:
                raise BadUserInput(f"expected {self.wanted}, got {shown(item)}", field=field)
        return tuple(value)

    @property
    def wanted(self) -> str:
        """What is accepted, in words."""
        if self.kind == "bool":
            return "true or false"
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "ints":
            plural = "s" if self.length != 1 else ""
            count = f"{self.length} whole number{plural}" if self.length else "a list of whole numbers"
            return f"{count} from {self.low} to {self.high}"
        if self.kind == "int":
            return f"a whole number from {self.low} to {self.high}"
        return f"a number from {self.low:g} to {self.high:g}"


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def integer(name: str, low: int, high: int, default: Any = _REQUIRED, *, absent: str = "none") -> Argument:
    """A whole number."""
    return Argument(name, "int", low, high, default=default, absent=absent)


def number(name: str, low: float, high: float, default: Any = _REQUIRED, *, absent: str = "none") -> Argument:
    """A finite number."""
    return Argument(name, "float", low, high, default=default, absent=absent)


def flag(name: str, *, default: bool) -> Argument:
    """True or false."""
    return Argument(name, "bool", default=default)


def integers(
    name: str, low: int, high: int, length: int | None = None, default: Any = _REQUIRED, *, absent: str = "none"
) -> Argument:
    """A list of whole numbers."""
    return Argument(name, "ints", low, high, length, default=default, absent=absent)


def choice(name: str, choices: tuple[str, ...], default: Any = _REQUIRED) -> Argument:
    """One of a few words."""
    return Argument(name, "choice", choices=choices, default=default)
