"""The root secret, and what is derived from it.

The root is never a key itself: each purpose gets its own key by HKDF-SHA256 (RFC 5869), and what is sealed is bound
to its place by associated data, so a ciphertext moved to another row does not open. The root never leaves this
module, and neither its text nor its bytes appear in a message.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE_NAME: Final = "secret"
LEAST_BYTES: Final = 32
_FORMAT: Final = b"\x01"
_NONCE: Final = 12
_TAG: Final = 16


class RootSecretError(Exception):
    """The root secret cannot be used; read by the person who starts the server, so it says why."""


class SealBroken(Exception):  # noqa: N818  # reads as a condition
    """A sealed value does not open: it was changed, moved, or sealed under another root secret."""


class Vault:
    """Seals and opens small secrets under keys derived from the root secret."""

    __slots__ = ("_root",)

    def __init__(self, root: bytes) -> None:
        if len(root) < LEAST_BYTES:
            raise RootSecretError(f"the root secret needs at least {LEAST_BYTES} bytes")
        self._root = root

    def fingerprint(self) -> str:
        """64 hexadecimal digits that recognise the root and tell nothing about it."""
        return self._derive("fingerprint").hex()

    def seal(self, purpose: str, plain: bytes, place: str) -> bytes:
        """AES-256-GCM under the key of `purpose`; opens only with the same `place`."""
        nonce = secrets.token_bytes(_NONCE)
        return _FORMAT + nonce + AESGCM(self._derive(purpose)).encrypt(nonce, plain, _bound(purpose, place))

    def open(self, purpose: str, sealed: bytes, place: str) -> bytes:
        """Raises SealBroken."""
        if sealed[:1] != _FORMAT or len(sealed) < 1 + _NONCE + _TAG:
            raise SealBroken(f"not a sealed value ({purpose})")
        nonce, box = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        try:
            return AESGCM(self._derive(purpose)).decrypt(nonce, box, _bound(purpose, place))
        except InvalidTag:
            raise SealBroken(f"a sealed value does not open ({purpose})") from None

    def mark(self, purpose: str, text: str) -> str:
        """64 hexadecimal digits that stand for a text and tell it to nobody: HMAC-SHA256 under the key of `purpose`."""
        return hmac.digest(self._derive(purpose), text.encode("utf-8", "surrogatepass"), "sha256").hex()

    def _derive(self, purpose: str) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"axonml/1/{purpose}".encode()).derive(self._root)


def _bound(purpose: str, place: str) -> bytes:
    return f"{purpose}\x1f{place}".encode()


def open_vault(setting: str | None, data_dir: Path) -> Vault:
    """The vault of this instance: under the configured secret, else under `<data>/secret`, made on the first start.

    Raises RootSecretError.
    """
    if setting is not None:
        return Vault(setting.encode())
    path = data_dir / FILE_NAME
    try:
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(48))
        return Vault(read_secret(path))
    except OSError as problem:
        raise RootSecretError(f"cannot use the root secret {path}: {problem.strerror}") from None


def read_secret(path: Path) -> bytes:
    """The secret in a file that nobody else can read. Raises RootSecretError, OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            raise RootSecretError(f"{path} must be a file that belongs to the user who runs the server")
        if facts.st_mode & 0o077:
            raise RootSecretError(f"{path} can be read by others; run: chmod 600 {path}")
        text = file.read(4_096).strip()
    if len(text) < LEAST_BYTES:
        raise RootSecretError(f"{path} holds fewer than {LEAST_BYTES} bytes; restore it from your backup")
    return text


def write_secret(path: Path, text: str) -> None:
    """Makes the file (0600) appear whole or not at all; another process that is faster wins. Raises OSError."""
    descriptor, draft = tempfile.mkstemp(prefix=".secret-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
