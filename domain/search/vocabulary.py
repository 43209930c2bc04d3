"""What a filter may name in one kind of list: its attributes, and its prefixes (`metrics.`, `params.`, `tags.`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from domain.ids import Kind


class AttributeKind(Enum):
    """What an attribute holds, and so which operators and literals it takes.

    TEXT: text operators. CHOICE: a word of a fixed set, any case. NUMBER: a double. TIME: an ISO 8601 text (UTC when
    it names no offset) or milliseconds since 1970. BOOLEAN: true or false. ID: an id. REFERENCE: an id, or the text
    by which people know the other object (a user's address, an experiment's name).
    """

    TEXT = "text"
    CHOICE = "choice"
    NUMBER = "number"
    TIME = "time"
    BOOLEAN = "boolean"
    ID = "id"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute. `choices` belong to CHOICE, `id_kind` to ID and REFERENCE."""

    kind: AttributeKind
    choices: tuple[str, ...] = ()
    id_kind: Kind | None = None


class KeyedKind(Enum):
    """What lies under a prefix.

    NUMBERS: doubles. TEXTS: text. MIXED: text that may also be a number; the literal decides how it is compared.
    """

    NUMBERS = "numbers"
    TEXTS = "texts"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The attributes by name, and the prefixes (in the plural: `metrics`) by name."""

    attributes: Mapping[str, Attribute]
    keyed: Mapping[str, KeyedKind] = field(default_factory=dict)

    def prefix(self, word: str) -> str | None:
        """The prefix that `word` names: itself, its singular, or `parameter(s)`; None when there is none."""
        lowered = word.lower()
        plural = {"parameter": "params", "parameters": "params", "alias": "aliases"}.get(lowered)
        plural = plural or (lowered if lowered.endswith("s") else lowered + "s")
        return plural if plural in self.keyed else None

    def names(self) -> str:
        """Everything that may be named, for messages."""
        return ", ".join([*self.attributes, *(f"{prefix}.<key>" for prefix in self.keyed)])


ATTRIBUTE_PREFIXES = frozenset({"attribute", "attributes", "attr"})
"""Words that may stand before an attribute's name."""
