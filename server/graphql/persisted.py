"""Which texts a request may stand for: any, those sent before (automatic persisted queries), or only trusted ones.

A kept text belongs to the user or the API key that sent it. Were the texts shared, a hash would tell whether somebody
else had sent a certain text, as fast as hashes can be tried, and one caller could push out what another one uses.
Callers who have not signed in keep nothing: for them every hash is unknown, on which clients send the text.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Protocol

from domain.access import Principal, Scope
from domain.errors import BadUserInput, DomainError, Forbidden

LONGEST: Final = 16 * 1024
"""Characters of a text that is kept: as long as the document that is made of it."""
MOST_EACH: Final = 1_000
BUDGET_EACH: Final = 512 * 1024
BUDGET: Final = 16 * 1024 * 1024
"""Characters that are kept for one caller, and for all together."""
_ENTRY: Final = 256
"""What an entry costs beside its characters."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FIELD: Final = "extensions.persistedQuery"


class PersistedQueryNotFound(DomainError):  # noqa: N818 - named like the other refusals, and like its message
    """The hash stands for no text that is known; clients then send the text along."""

    code: ClassVar[str] = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")  # the words that clients look for


def sha256(text: str) -> str:
    """The hash of a text as clients send it: 64 lower-case hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(extensions: Mapping[str, Any]) -> str | None:
    """The hash in `extensions.persistedQuery`; None when there is none. Raises BadUserInput."""
    given = extensions.get("persistedQuery")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadUserInput("persistedQuery must be an object", field=_FIELD)
    version = given.get("version")
    if version != 1 or isinstance(version, bool):
        raise BadUserInput("the version of persistedQuery must be 1", field=f"{_FIELD}.version")
    digest = given.get("sha256Hash")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BadUserInput("sha256Hash must be 64 lower-case hexadecimal digits", field=f"{_FIELD}.sha256Hash")
    return digest


class Texts(Protocol):
    """Where the text of an operation comes from."""

    def find(self, query: str | None, digest: str | None, caller: Scope | None) -> str:
        """The text to run, of the one that was sent and the hash that was. Raises DomainError."""
        ...

    def keep(self, text: str, digest: str, caller: Scope) -> None:
        """Takes note of a text that was sent with its hash, and may run."""
        ...


def _checked(query: str, digest: str | None) -> str:
    if digest is not None and sha256(query) != digest:
        raise BadUserInput("sha256Hash is not the hash of the query that came with it", field=f"{_FIELD}.sha256Hash")
    return query


class _Kept:
    """The texts of one caller; the one that was not asked for longest makes room."""

    def __init__(self) -> None:
        self.size = 0
        self._texts: OrderedDict[str, str] = OrderedDict()

    def find(self, digest: str) -> str | None:
        text = self._texts.get(digest)
        if text is not None:
            self._texts.move_to_end(digest)
        return text

    def keep(self, text: str, digest: str) -> None:
        if digest in self._texts:
            return
        self._texts[digest] = text
        self.size += len(text) + _ENTRY
        while len(self._texts) > MOST_EACH or self.size > BUDGET_EACH:
            _, oldest = self._texts.popitem(last=False)
            self.size -= len(oldest) + _ENTRY


def _owner(principal: Principal) -> str:
    return principal.api_key_id or principal.user_id


class KeptTexts:
    """Any text is served, and those that come with their hash are known by it from then on. Of one process."""

    def __init__(self) -> None:
        self.size = 0
        self._callers: OrderedDict[str, _Kept] = OrderedDict()

    def find(self, query: str | None, digest: str | None, caller: Scope | None) -> str:
        """Raises BadUserInput, or PersistedQueryNotFound."""
        if query is not None:
            return _checked(query, digest)
        if digest is None:
            raise BadUserInput("the operation's text is missing", field="query")
        owner = None if caller is None else _owner(caller.principal)
        kept = None if owner is None else self._callers.get(owner)
        text = None if kept is None else kept.find(digest)
        if owner is None or text is None:
            raise PersistedQueryNotFound
        self._callers.move_to_end(owner)
        return text

    def keep(self, text: str, digest: str, caller: Scope) -> None:
        """Keeps `text` for its caller, within bounds."""
        if len(text) > LONGEST:
            return
        owner = _owner(caller.principal)
        kept = self._callers.setdefault(owner, _Kept())
        self._callers.move_to_end(owner)
        before = kept.size
        kept.keep(text, digest)
        self.size += kept.size - before
        while self.size > BUDGET:
            _, longest_unused = self._callers.popitem(last=False)
            self.size -= longest_unused.size


class TrustedTexts:
    """Only the texts of a list are served, by their hash or in full."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = {sha256(text): text for text in texts}
        self._served = frozenset(self._texts.values())

    def find(self, query: str | None, digest: str | None, caller: Scope | None) -> str:  # noqa: ARG002
        """Raises BadUserInput, PersistedQueryNotFound, or Forbidden for a text that is not on the list."""
        if query is None:
            if digest is None:
                raise BadUserInput("send the hash of an operation in extensions.persistedQuery", field="query")
            if digest not in self._texts:
                raise PersistedQueryNotFound
            return self._texts[digest]
        if query not in self._served:
            raise Forbidden("this server runs only the operations on its list", field="query")
        return _checked(query, digest)

    def keep(self, text: str, digest: str, caller: Scope) -> None:
        """The list does not grow."""
