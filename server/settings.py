"""Every setting of the server: its name, bounds, default and meaning, and the order in which sources win.

Command line > environment > TOML file > default. A name that is not in this file is refused wherever it is
written, because a misspelt setting that is silently ignored is an outage with a delay. Secrets are
`SecretStr`, so that printing or logging settings never shows them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.edge.buckets import parse_rate

PREFIX: Final = "AXONML_"
KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

_SAMPLE_SECRETS: Final = (
    "your-secure",
    "your_secure",
    "change-me",
    "changeme",
    "change_me",
    "replace-me",
    "example",
    "secret-here",
)
BUS_SCHEMES: Final = ("redis", "rediss")
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class SettingsError(Exception):
    """The settings cannot be used; `problems` has one line per fault, none of which shows a value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _split(value: object) -> object:
    """A list given as text: `a, b` or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _home(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str | Path) else value


def _level(value: object) -> object:
    """A level, or a filter in the form of RUST_LOG (`axonml_server=info,hyper=warn`): the first counts."""
    if not isinstance(value, str):
        return value
    for directive in value.lower().split(","):
        level = directive.rpartition("=")[2].strip()
        level = {"trace": "debug", "warn": "warning", "off": "critical"}.get(level, level)
        if level in _LEVELS:
            return level
    return value


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError("expected addresses or networks, such as 10.0.0.7 or 10.0.0.0/8") from None


def _rate(text: str) -> str:
    parse_rate(text)
    return text


TextList = Annotated[tuple[str, ...], BeforeValidator(_split)]
HomePath = Annotated[Path, BeforeValidator(_home)]
NetworkList = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_split)]
RateText = Annotated[str, AfterValidator(_rate)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, str_strip_whitespace=True)


def default_data_dir() -> Path:
    """`/var/lib/axonml` for root, `~/.axonml` for everybody else."""
    return Path("/var/lib/axonml") if os.geteuid() == 0 else Path.home() / ".axonml"


class ServerSettings(_Section):
    """Where the server listens and whom it listens to."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(3000, ge=0, le=65535, description="Port to listen on; 0 takes a free one and prints it.")
    data_dir: HomePath = Field(
        default_factory=default_data_dir,
        description="Directory of everything the server keeps. Refused inside `<data>/config.toml`.",
        json_schema_extra={"default_text": "`~/.axonml`, as root `/var/lib/axonml`"},
    )
    workers: int = Field(
        1,
        ge=1,
        le=16,
        description="Web processes. With 1 the server is a single process beside PostgreSQL and the replicas.",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+$",
        description="Origin under which browsers reach the server, when it is not the bound address; "
        "`https://` marks cookies Secure.",
    )
    trusted_hosts: TextList = Field(
        (),
        description="Further names the server answers to, besides localhost, the bound address"
        " and that of `public_url`.",
    )
    trusted_proxies: NetworkList = Field(
        (),
        description="Addresses and networks of the proxies in front of the server, whose `X-Forwarded-For` is believed;"
        " without them a proxy's own address counts as everybody's.",
    )
    cors_origins: TextList = Field(
        (), description="Origins whose pages may call the API with a token. Cookies are never shared."
    )
    shutdown_seconds: float = Field(
        20.0, gt=0, le=600, description="Longest time for each step of a graceful shutdown."
    )

    @property
    def origin(self) -> str:
        """Where a person on this machine reaches the server, without a slash at the end."""
        if self.public_url is not None:
            return self.public_url
        host = self.host
        if host in ("0.0.0.0", "::", ""):  # noqa: S104 - shown, not bound to
            host = "127.0.0.1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @model_validator(mode="after")
    def _no_wildcards(self) -> ServerSettings:
        if "*" in self.cors_origins:
            raise ValueError("cors_origins: '*' is refused; list the origins")
        if "*" in self.trusted_hosts:
            raise ValueError("trusted_hosts: '*' is refused; list the names")
        return self


class DatabaseSettings(_Section):
    """PostgreSQL: the bundled one, or one of yours."""

    url: SecretStr | None = Field(
        None,
        description="`postgresql://…` of a server of version 15 to 18. "
        "Unset: the bundled PostgreSQL in the data directory.",
    )
    pool_size: int = Field(16, ge=2, le=200, description="Most connections of one process.")
    start_seconds: float = Field(
        120.0, gt=0, le=3600, description="Longest wait for the bundled PostgreSQL, crash recovery included."
    )


class BusSettings(_Section):
    """How processes tell each other that something changed."""

    url: SecretStr | None = Field(
        None,
        description="`redis://…` or `rediss://…` of a Redis server. Unset: the database itself.",
    )

    @model_validator(mode="after")
    def _known(self) -> BusSettings:
        # Nothing of the URL is repeated: it may hold a password.
        if self.url is None:
            return self
        try:
            parts = urlsplit(self.url.get_secret_value())
            usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            raise ValueError("url: this is not a URL") from None
        if parts.scheme not in BUS_SCHEMES:
            raise ValueError(f"url: must start with {', '.join(f'{known}://' for known in BUS_SCHEMES)}")
        if not usable:
            raise ValueError("url: names no server; write redis://host:6379/0")
        return self


class AuthSettings(_Section):
    """Sign-in and sessions."""

    jwt_secret: SecretStr | None = Field(
        None,
        description="Root secret that protects signing keys, at least 32 bytes. "
        "Unset: `<data>/secret`, generated on the first start.",
    )
    access_token_minutes: float = Field(10.0, gt=0, le=60, description="Life of an access token.")
    session_timeout_minutes: float = Field(720.0, gt=0, description="A session that is not used for so long ends.")
    jwt_expiry_hours: float = Field(168.0, gt=0, description="A session ends after this time, used or not.")
    registration: Literal["closed", "invite", "open"] = Field(
        "closed",
        description="Who may make an account: nobody, whoever was invited to a workspace, or anybody (with a workspace"
        " of their own). Administrators make accounts whatever stands here.",
    )
    require_mfa: bool = Field(
        False,
        description="Everybody needs a second factor: whoever signs in without one can add one and sign out, nothing"
        " else, and API keys of people without one do not work. Passwords then need 8 characters instead of 15.",
    )
    admin_email: str | None = Field(None, description="First administrator, created only on an instance without users.")
    admin_password: SecretStr | None = Field(None, description="Password of the first administrator; read only then.")
    admin_password_file: HomePath | None = Field(None, description="File with that password, instead of the value.")

    @model_validator(mode="after")
    def _usable(self) -> AuthSettings:
        if self.jwt_secret is not None:
            check_secret(self.jwt_secret.get_secret_value())
        if self.admin_password is not None and self.admin_password_file is not None:
            raise ValueError("admin_password: set either the password or the file, not both")
        has_password = self.admin_password is not None or self.admin_password_file is not None
        if has_password != (self.admin_email is not None):
            raise ValueError("admin_email: the first administrator needs an e-mail address and a password")
        return self

    def first_admin_password(self) -> SecretStr | None:
        """The password of the first administrator, read from its file when one is set.

        Raises SettingsError when the file cannot be read or is empty.
        """
        if self.admin_password_file is None:
            return self.admin_password
        try:
            text = self.admin_password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
            raise SettingsError(
                [f"auth.admin_password_file: cannot read {self.admin_password_file}: {reason}"]
            ) from None
        if not text:
            raise SettingsError([f"auth.admin_password_file: {self.admin_password_file} is empty"])
        return SecretStr(text)


def check_secret(secret: str) -> None:
    """Raises ValueError for a root secret that is too short, or a sample."""
    if len(secret.encode()) < 32:
        raise ValueError("jwt_secret: at least 32 bytes are needed, for example the output of `openssl rand -hex 32`")
    lowered = secret.lower()
    if any(sample in lowered for sample in _SAMPLE_SECRETS) or len(set(secret)) < 8:
        raise ValueError("jwt_secret: this is a sample value; generate one, for example with `openssl rand -hex 32`")


class WebauthnSettings(_Section):
    """Passkeys. They work on pages with a host name over https, and on http://localhost; never on bare addresses."""

    rp_id: str | None = Field(
        None,
        description="Domain name that passkeys are made for; every origin must be on it or below it. A passkey made for"
        " one name works on no other, so changing it makes all that there are useless.",
        json_schema_extra={"default_text": "the host of `server.public_url`, else of the first origin"},
    )
    origins: TextList = Field(
        (),
        description="Origins of the pages that may ask for passkeys, such as `https://axon.example.com`.",
        json_schema_extra={"default_text": "`server.public_url`, else `http://localhost` with the port"},
    )

    @model_validator(mode="after")
    def _usable(self) -> WebauthnSettings:
        if self.rp_id is not None and not is_domain(self.rp_id):
            raise ValueError("rp_id: expected a domain name in lower case, such as example.com; an address is none")
        for origin in self.origins:
            if origin_host(origin) is None:
                raise ValueError(
                    "origins: expected scheme, host name in lower case and port if it is not the usual one, such as"
                    " https://axon.example.com; http is possible on localhost only"
                )
        return self


_DOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


def is_domain(name: str) -> bool:
    """Whether this is a domain name in lower case and not an address."""
    return _DOMAIN.fullmatch(name) is not None and not name.rpartition(".")[2].isdigit()


def origin_host(origin: str) -> str | None:
    """The host of an origin on which browsers let pages use passkeys, written as they write it; else None."""
    parts = urlsplit(origin)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    local = host == "localhost" or host.endswith(".localhost")
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    written = f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")
    secure = parts.scheme == "https" or (parts.scheme == "http" and local)
    return host if secure and is_domain(host) and port != usual and origin == written else None


class LogSettings(_Section):
    """What is logged, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_level)] = Field(
        "info", description="Least severe level that is written."
    )
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: console on a terminal, JSON lines otherwise."
    )


class LimitsSettings(_Section):
    """How much one request may ask for."""

    body_bytes: int = Field(1 * MIB, ge=1 * KIB, description="Largest body of a request that has no limit of its own.")
    ingest_body_bytes: int = Field(
        16 * MIB, ge=1 * KIB, description="Largest body of one batch of metrics, parameters or logs."
    )
    predict_body_bytes: int = Field(64 * MIB, ge=1 * KIB, description="Largest body of a prediction over REST.")
    graphql_body_bytes: int = Field(8 * MIB, ge=1 * KIB, description="Largest GraphQL request over HTTP.")
    socket_message_bytes: int = Field(1 * MIB, ge=1 * KIB, description="Largest WebSocket message.")
    graphql_depth: int = Field(15, ge=1, description="Deepest nesting of a GraphQL operation.")
    graphql_aliases: int = Field(128, ge=1, description="Most aliases in a GraphQL operation, fragments expanded.")
    graphql_tokens: int = Field(
        4_000, ge=10, description="Most tokens in a GraphQL document; data belongs into its variables."
    )
    graphql_directives: int = Field(50, ge=1, description="Most directives in a GraphQL operation, fragments expanded.")
    graphql_root_mutations: int = Field(10, ge=1, description="Most root fields of a mutation.")
    graphql_cost: int = Field(
        1_000_000, ge=100, description="Highest estimated number of fields a GraphQL operation resolves."
    )
    graphql_seconds: float = Field(30.0, gt=0, description="Longest time for one GraphQL query or mutation.")
    graphql_input_objects: int = Field(
        2_500, ge=10, description="Most input objects (points, lines, params) in the variables of a GraphQL operation."
    )
    graphql_documents: int = Field(1_000, ge=1, description="Validated GraphQL documents kept in memory.")
    socket_init_seconds: float = Field(
        10.0, gt=0, description="A GraphQL WebSocket must send `connection_init` within this time."
    )
    socket_operations: int = Field(100, ge=1, description="Most operations running at once on one WebSocket.")
    connections: int = Field(2_000, ge=10, description="Most requests and sockets open at once; more are answered 503.")
    connections_per_caller: int | None = Field(
        None,
        ge=1,
        description="Most of them that one user may hold, with all sessions and API keys; more are answered 429, and"
        " GraphQL sockets closed with 1013. Keys leave a tenth of it to sessions. Each of several `server.workers`"
        " counts for itself. Unset: three quarters of `limits.connections`.",
    )
    connections_of_strangers: int | None = Field(
        None,
        ge=1,
        description="Most requests of callers who have not signed in, all together, and as many GraphQL sockets before"
        " `connection_init`; more are answered 429, as are these when all but a tenth of `limits.connections` is taken."
        " One address has an eighth of the requests. Unset: half of `limits.connections`.",
    )
    receive_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Within this time the head of a request must arrive, its body too or else by 1 KiB in each second,"
        " and a WebSocket must answer a ping.",
    )
    send_seconds: float = Field(
        30.0, gt=0, le=3600, description="A client that takes nothing of what it is sent for so long is cut off."
    )

    @model_validator(mode="after")
    def _within_the_whole(self) -> LimitsSettings:
        for name in ("connections_per_caller", "connections_of_strangers"):
            if (getattr(self, name) or 0) > self.connections:
                raise ValueError(f"{name}: expected at most limits.connections, which is {self.connections}")
        return self

    @property
    def most_per_caller(self) -> int:
        """How many requests and sockets of one user may be open at once."""
        return self.connections_per_caller or self.connections * 3 // 4

    @property
    def most_strangers(self) -> int:
        """How many requests of all who have not signed in may be open at once, and how many sockets."""
        return self.connections_of_strangers or self.connections // 2


class GraphqlSettings(_Section):
    """Which GraphQL operations are served."""

    trusted_documents: HomePath | None = Field(
        None,
        description="JSON file, or directory of `*.graphql` files, with the only operations that are served, besides"
        " those of the server's own pages; GraphiQL and introspection are off then. Unset: every operation within the"
        " limits.",
    )


class RatesSettings(_Section):
    """How often somebody may ask; more is answered 429 with `Retry-After`.

    `30/5m` means 30 at once, and 30 within 5 minutes in the long run (`s`, `m`, `h`); `off` sets no limit. An IPv6
    address counts as its /64. With several `server.workers` each counts what it is asked, so that together they may
    take more; `sign_in`, `refresh` and `refused` are divided among them instead.
    """

    requests: RateText = Field(
        "10000/10s", description="Requests of one user or API key, and operations on its GraphQL sockets."
    )
    ingest: RateText = Field(
        "200000/10s",
        description="Batches of metrics, params, tags and logs, and predictions, over REST, of one user or API key;"
        " they do not count as `requests`.",
    )
    graphql_cost: RateText = Field(
        "5000000/25s",
        description="Fields that the GraphQL operations of one user or API key are estimated to resolve, and twice the"
        " characters of documents that were not seen before.",
    )
    visitors: RateText = Field(
        "5000/10s", description="Requests without credentials, and handshakes of GraphQL sockets, of one address."
    )
    sign_in: RateText = Field("30/5m", description="Attempts to sign in, or to set the server up, of one address.")
    refresh: RateText = Field("600/5m", description="Renewals of sessions, of one address.")
    refused: RateText = Field(
        "600/1m",
        description="Credentials that turn out to be wrong, of one address. After that many only those are looked at"
        " that were right a while ago.",
    )


class MetricsSettings(_Section):
    """Runs and their metrics."""

    stalled_after_seconds: float = Field(
        300.0, gt=0, description="A running run without a write for so long is shown as stalled."
    )
    queue_batches: int = Field(
        1_000, ge=1, description="Most batches of metrics that wait to be stored at once; more are answered 429."
    )
    queue_points: int = Field(
        1_000_000, ge=1, description="Most points that wait to be stored at once; more are answered 429."
    )
    seal_after_seconds: float = Field(
        600.0,
        gt=0,
        description="Batches of a live run are packed for fast reading at this age, once there are enough of them or of"
        " points per key to make it worth while (those of small runs stay as they came until the run has ended); a live"
        " reader that is further behind is sent a drawing instead of every point.",
    )
    seal_beyond_points: int = Field(
        300_000,
        ge=250_000,
        description="With more points that are not packed yet, a live run is packed before that age, but for its newest"
        " 200,000 points and those of the last minute.",
    )
    seal_ended_after_seconds: float = Field(
        60.0, gt=0, description="All batches of a run are packed when it has been ended for so long."
    )
    seal_every_seconds: float = Field(15.0, gt=0, description="Pause between two searches for batches to pack.")
    run_log_lines: int = Field(
        1_000_000, ge=20_000, description="Lines kept of one run's log; the oldest beyond them are removed."
    )
    run_log_bytes: int = Field(
        256 * MIB, ge=32 * MIB, description="Text kept of one run's log; the oldest lines beyond it are removed."
    )
    run_log_line_characters: int = Field(
        65_536,
        ge=100,
        le=65_536,
        description="Longer lines of a run's log are kept shortened, which they say at their end.",
    )


class InferenceSettings(_Section):
    """Endpoints that serve predictions."""

    default_port_range_start: int = Field(
        8100, ge=1, le=65535, description="First port that an endpoint may have for itself."
    )
    default_port_range_end: int = Field(
        8199, ge=1, le=65535, description="Last port that an endpoint may have for itself."
    )
    max_endpoints: int = Field(10, ge=0, description="Most endpoints active at once on this server.")

    @model_validator(mode="after")
    def _range(self) -> InferenceSettings:
        if self.default_port_range_end < self.default_port_range_start:
            raise ValueError("default_port_range_end: must not be below default_port_range_start")
        return self


class StorageSettings(_Section):
    """Files of models, and the room that is left on the disks."""

    max_upload_bytes: int = Field(64 * GIB, ge=1 * KIB, description="Largest uploaded file.")
    max_workspace_bytes: int | None = Field(
        None,
        ge=1 * KIB,
        description="Most bytes that the files of a workspace's models may have together. What several versions share"
        " counts once, what is reserved counts in full.",
        json_schema_extra={"default_text": "no limit"},
    )
    max_model_versions: int = Field(10_000, ge=1, description="Most versions of one model.")
    max_version_files: int = Field(100, ge=1, le=1_000, description="Most files of one version, weights included.")
    upload_idle_hours: float = Field(
        72.0,
        gt=0,
        le=8_760,
        description="A reserved version to which nothing comes for so long is rejected, and what had come is removed.",
    )
    min_free_bytes: int | None = Field(
        None,
        ge=0,
        description="With less space left on its disk the server stores nothing more and answers 503; reading and"
        " deleting go on. Counts for files, and for the database when it is the bundled one.",
        json_schema_extra={"default_text": "a tenth of the disk, 64 to 512 MiB"},
    )
    reserve_bytes: int | None = Field(
        None,
        ge=0,
        description="Space put by for the recovery of the bundled PostgreSQL, given up when a full disk stops it.",
        json_schema_extra={"default_text": "a tenth of the disk, 48 to 256 MiB"},
    )


class DashboardSettings(_Section):
    """The web client."""

    port: int = Field(
        8080,
        ge=0,
        le=65535,
        description="Kept for the web client that is to come; nothing listens on it yet.",
    )


class Settings(BaseSettings):
    """All settings, by section. Build one with `load`; it is immutable afterwards."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    server: ServerSettings = Field(default_factory=ServerSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    bus: BusSettings = Field(default_factory=BusSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    webauthn: WebauthnSettings = Field(default_factory=WebauthnSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    graphql: GraphqlSettings = Field(default_factory=GraphqlSettings)
    rates: RatesSettings = Field(default_factory=RatesSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    inference: InferenceSettings = Field(default_factory=InferenceSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    dashboard: DashboardSettings = Field(default_factory=DashboardSettings)


SCRIPT_NAMES: Final = frozenset({"AXONML_URL", "AXONML_API_KEY", "AXONML_SPOOL"})
"""Variables of the programs that talk to a server, which may stand in the same environment."""

SHORT_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "AXONML_HOST": ("server", "host"),
    "AXONML_PORT": ("server", "port"),
    "AXONML_DATA_DIR": ("server", "data_dir"),
    "AXONML_DATABASE_URL": ("database", "url"),
    "AXONML_BROADCAST_URL": ("bus", "url"),
    "AXONML_SECRET_KEY": ("auth", "jwt_secret"),
    "JWT_SECRET": ("auth", "jwt_secret"),
    "AXONML_ADMIN_EMAIL": ("auth", "admin_email"),
    "AXONML_ADMIN_PASSWORD": ("auth", "admin_password"),
    "AXONML_ADMIN_PASSWORD_FILE": ("auth", "admin_password_file"),
    "RUST_LOG": ("log", "level"),
}


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Section, key and description of every setting, in the order of the documentation."""
    for section, info in Settings.model_fields.items():
        model = info.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):  # pragma: no cover
            raise TypeError(f"{section} is not a section")
        for key, field in model.model_fields.items():
            yield section, key, field
