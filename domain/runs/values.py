"""Tags, params and configurations: what clients may attach to a run, and the bounds that keep it storable.

JSON given by clients is held as Python values and stored as text. It must survive every edge unchanged, so numbers
are finite, whole numbers fit 64 bits, and texts hold neither NUL nor lone surrogates.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from domain import names
from domain.errors import BadUserInput, PayloadTooLarge

JsonValue = Any
"""None, bool, int, float, str, or lists and string-keyed mappings of them."""

MAX_CONFIG_BYTES: Final = 256 * 1024
MAX_CONFIG_DEPTH: Final = 32
MAX_PARAM_TEXT: Final = 8_192
MAX_PARAM_DEPTH: Final = 8
MAX_TAG: Final = 5_000
MAX_AT_ONCE: Final = 1_000
MAX_PER_RUN: Final = 5_000

_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tag:
    """A text under a key, replaceable and removable."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter, written once. `text` is the value as text; `number` its number, when it is one."""

    key: str
    value: JsonValue
    text: str

    @property
    def number(self) -> float | None:
        """What the value compares as among numbers: a JSON number, or a text that spells a finite one."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | str):
            return None
        if isinstance(self.value, str) and _DECIMAL.fullmatch(self.value) is None:
            return None
        number = float(self.value)
        return number if math.isfinite(number) else None

    def equals(self, other: Param) -> bool:
        """Whether both say the same: the same text, or equal JSON numbers (1 and 1.0)."""
        return self.text == other.text or (
            _is_number(self.value) and _is_number(other.value) and self.value == other.value
        )


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def key(text: str, *, field: str) -> str:
    """A param or tag key: 1 to 250 characters in NFC, no control characters, no spaces at the edges."""
    return names.title(text, field=field)


def make_tags(given: Iterable[tuple[str, str]], *, field: str = "tags") -> tuple[Tag, ...]:
    """Checked tags in order of key. Raises BadUserInput naming `field[place].key` or `.value`."""
    found: dict[str, Tag] = {}
    for place, (name, value) in enumerate(given):
        if place >= MAX_AT_ONCE:
            raise BadUserInput(f"at most {MAX_AT_ONCE} tags at once", field=field)
        tag = Tag(
            key(name, field=f"{field}[{place}].key"),
            names.notes(value, field=f"{field}[{place}].value", most=MAX_TAG),
        )
        if found.setdefault(tag.key, tag) != tag:
            raise BadUserInput(f"tag {tag.key!r} is given twice with different values", field=f"{field}[{place}].key")
    return _by_key(found)


def make_params(given: Iterable[tuple[str, JsonValue]], *, field: str = "params") -> tuple[Param, ...]:
    """Checked params in order of key. Raises BadUserInput naming `field[place].key` or `.value`."""
    found: dict[str, Param] = {}
    for place, (name, value) in enumerate(given):
        if place >= MAX_AT_ONCE:
            raise BadUserInput(f"at most {MAX_AT_ONCE} params at once", field=field)
        where = f"{field}[{place}].value"
        check_json(value, most_depth=MAX_PARAM_DEPTH, field=where)
        text = as_text(value)
        if len(text) > MAX_PARAM_TEXT:
            raise BadUserInput(f"expected at most {MAX_PARAM_TEXT} characters, got {len(text)}", field=where)
        param = Param(key(name, field=f"{field}[{place}].key"), value, text)
        if not found.setdefault(param.key, param).equals(param):
            raise BadUserInput(
                f"param {param.key!r} is given twice with different values", field=f"{field}[{place}].key"
            )
    return _by_key(found)


def _by_key(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(found[name] for name in sorted(found))


def make_config(value: JsonValue, *, field: str = "config") -> Mapping[str, JsonValue]:
    """A checked configuration: an object of at most 256 KiB as compact JSON, at most 32 levels deep."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadUserInput("expected an object", field=field)
    check_json(value, most_depth=MAX_CONFIG_DEPTH, field=field)
    size = len(as_json(value).encode())
    if size > MAX_CONFIG_BYTES:
        raise PayloadTooLarge(f"expected at most {MAX_CONFIG_BYTES} bytes of JSON, got {size}", field=field)
    return value


def as_json(value: JsonValue) -> str:
    """Compact JSON that reads back as an equal value, the order of keys included."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def as_text(value: JsonValue) -> str:
    """A param's value as text: a text as it is, everything else as JSON."""
    return value if isinstance(value, str) else as_json(value)


def check_json(value: JsonValue, *, most_depth: int, field: str) -> None:
    """Refuses what cannot be kept and answered unchanged. Raises BadUserInput."""
    if most_depth < 0:
        raise BadUserInput("nested too deeply", field=field)
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        names.notes(value, field=field, most=MAX_CONFIG_BYTES)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise BadUserInput("a whole number does not fit 64 bits; send it as a text", field=field)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise BadUserInput("NaN and infinite numbers are not JSON; send them as texts", field=field)
    elif isinstance(value, list | dict):
        for element in _elements(value, field):
            check_json(element, most_depth=most_depth - 1, field=field)
    else:
        raise BadUserInput("expected JSON", field=field)


def _elements(value: list[JsonValue] | dict[Any, JsonValue], field: str) -> Iterable[JsonValue]:
    """The members of a list, or of an object whose keys are in order."""
    if isinstance(value, list):
        return value
    for name in value:
        if not isinstance(name, str):
            raise BadUserInput("the keys of an object must be texts", field=field)
        names.notes(name, field=field)
    return value.values()


_FIRST: Final = (
    "amber autumn bold brisk calm clear coral cosmic crisp daring deep early eager fair fierce gentle gilded golden "
    "hidden humble icy jade keen late lively lucid lunar mellow misty noble opal patient plain polar quick quiet rapid "
    "roaming ruby rustic silent silver solar steady still subtle sunny tidal vivid warm wild young"
)
_SECOND: Final = (
    "acorn aspen badger bay beacon birch brook canyon cedar cliff cloud comet coast crane delta dune elm ember falcon "
    "fern field finch fjord forest fox glacier grove harbor hawk heron hill island lake lark lynx maple meadow meteor "
    "moon moss oak orbit otter owl peak pine prairie raven reef ridge river robin sparrow spruce stone summit thicket "
    "tide valley willow wren"
)


def made_up_name() -> str:
    """A name for a run that was given none, such as `quiet-heron-4821`."""
    return f"{secrets.choice(_FIRST.split())}-{secrets.choice(_SECOND.split())}-{secrets.randbelow(9_000) + 1_000}"
