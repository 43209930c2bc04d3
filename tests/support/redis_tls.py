"""A Redis server that speaks TLS only, with a certificate from an authority made for the test."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.redis import RedisServer
from tests.support.servers import free_port

_DAY = dt.timedelta(days=1)


@dataclass
class TlsRedis(RedisServer):
    """Where it listens there is nothing without TLS."""

    folder: Path = Path()

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={quote(str(self.authority))}"

    @property
    def unverified_url(self) -> str:
        """The same server for somebody who does not know the authority."""
        return f"rediss://127.0.0.1:{self.port}/0"

    def options(self) -> list[str]:
        files = {"cert": "server.pem", "key": "server.key", "ca-cert": "authority.pem"}
        named = [part for name, file in files.items() for part in (f"--tls-{name}-file", str(self.folder / file))]
        return ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *named]


def speaks_tls() -> bool:
    """Whether the redis-server of this machine was built with TLS: then it knows the option, and refuses the value."""
    try:
        shown = subprocess.run(
            ["redis-server", "--tls-port", "none"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except OSError:
        return False
    return "Bad directive" not in shown.stdout + shown.stderr


def make_certificates(folder: Path) -> None:
    """An authority, and a certificate of it for 127.0.0.1."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    authority = _signed(name, name, authority_key.public_key(), authority_key, x509.BasicConstraints(True, 0))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of a test")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = _signed(subject, name, key.public_key(), authority_key, address)
    (folder / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    ssl.create_default_context(cafile=str(folder / "authority.pem"))  # it can be read


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(by, hashes.SHA256())
    )


@asynccontextmanager
async def tls_redis(folder: Path) -> AsyncIterator[TlsRedis]:
    """A Redis server with TLS on a free port of the loopback, ended with the block."""
    make_certificates(folder)
    server = TlsRedis(free_port(), folder=folder)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
