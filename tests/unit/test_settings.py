"""Settings: which source wins, and what is refused with which words."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from server.settings import Settings, SettingsError, fields
from server.settings_sources import dumped, load, restored
from server.settings_table import markdown

SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"


def problems(environ: dict[str, str] | None = None, config: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ={"AXONML_DATA_DIR": "/nonexistent", **(environ or {})}, config=config)
    return caught.value.problems


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_listen_on_loopback_only() -> None:
    settings = load(environ={"AXONML_DATA_DIR": "/nonexistent"})
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 3000)
    assert settings.server.cors_origins == ()
    assert settings.database.url is None


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    write(
        tmp_path / "config.toml",
        "[server]\nport = 1001\nhost = '10.0.0.1'\n[log]\nlevel = 'error'\n[limits]\ngraphql_depth = 7\n",
    )
    environ = {"AXONML_DATA_DIR": str(tmp_path), "AXONML_PORT": "1002", "AXONML_LOG__LEVEL": "debug"}
    settings = load({"server": {"port": 1003}}, environ=environ)
    assert settings.server.port == 1003
    assert settings.log.level == "debug"
    assert settings.server.host == "10.0.0.1"
    assert settings.limits.graphql_depth == 7
    assert settings.limits.graphql_aliases == 128
    assert load(environ=environ).server.port == 1002


def test_every_setting_has_a_long_environment_name(tmp_path: Path) -> None:
    for section, key, field in fields():
        assert field.description, f"{section}.{key} needs a description"
    settings = load(environ={"AXONML_DATA_DIR": str(tmp_path), "AXONML_SERVER__TRUSTED_HOSTS": "a.example, b.example"})
    assert settings.server.trusted_hosts == ("a.example", "b.example")


def test_variables_of_scripts_may_stand_in_the_environment_of_the_server() -> None:
    examples = (Path(__file__).parents[2] / "examples").glob("*.py")
    named = {name for example in examples for name in re.findall(r"AXONML_[A-Z_]+", example.read_text())}
    assert {"AXONML_URL", "AXONML_API_KEY", "AXONML_SPOOL"} <= named
    assert load(environ={"AXONML_DATA_DIR": "/nonexistent", **dict.fromkeys(named, "x")}).database.url is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AXONML_PROT": "3000"}, "AXONML_PROT: unknown environment variable; did you mean AXONML_PORT?"),
        (
            {"AXONML_SERVER__PROT": "1"},
            "AXONML_SERVER__PROT: unknown environment variable; did you mean AXONML_SERVER__PORT?",
        ),
        ({"AEGIS_HOST": "localhost"}, "AEGIS_HOST: there is no Aegis-DB here; set AXONML_DATABASE_URL"),
        ({"AXONML_PORT": "http"}, "server.port: Input should be a valid integer"),
        ({"AXONML_PORT": "70000"}, "(from AXONML_PORT)"),
        (
            {"AXONML_PORT": "1", "AXONML_SERVER__PORT": "2"},
            "server.port: AXONML_PORT and AXONML_SERVER__PORT contradict",
        ),
        ({"JWT_SECRET": "short"}, "auth.jwt_secret: at least 32 bytes are needed"),
        (
            {"JWT_SECRET": "your-secure-random-secret-here-padded-to-be-long"},
            "auth.jwt_secret: this is a sample value",
        ),
        ({"JWT_SECRET": "a" * 64}, "auth.jwt_secret: this is a sample value"),
        ({"AXONML_ADMIN_EMAIL": "a@example.org"}, "auth.admin_email: the first administrator needs"),
        ({"AXONML_SERVER__CORS_ORIGINS": "*"}, "server.cors_origins: '*' is refused"),
        ({"AXONML_SERVER__WORKERS": "0"}, "server.workers: "),
        (
            {"AXONML_INFERENCE__DEFAULT_PORT_RANGE_END": "80"},
            "inference.default_port_range_end: must not be below",
        ),
    ],
)
def test_bad_environment_is_refused_by_name(environ: dict[str, str], expected: str) -> None:
    assert any(expected in line for line in problems(environ)), problems(environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1\n", "unknown key server.prot; did you mean server.port?"),
        ("[sever]\nport = 1\n", "unknown section [sever]; did you mean [server]?"),
        ("port = 1\n", "unknown section [port]"),
        ("server = 1\n", "server must be a section"),
        ("[aegis]\nhost = 'localhost'\n", "[aegis]: there is no Aegis-DB here; set database.url"),
        ("[server\n", "cannot be read as TOML"),
        ("[server]\nport = 'x'\n", "server.port: Input should be a valid integer"),
    ],
)
def test_bad_file_is_refused_by_name(tmp_path: Path, text: str, expected: str) -> None:
    lines = problems(config=write(tmp_path / "axonml.toml", text))
    assert any(expected in line for line in lines), lines


def test_every_problem_is_reported_at_once() -> None:
    lines = problems({"AXONML_PROT": "1", "AXONML_PORT": "x", "JWT_SECRET": "short", "AEGIS_PASS": "demo"})
    assert len(lines) == 4


def test_no_problem_shows_a_value() -> None:
    lines = problems({"JWT_SECRET": "hunter2-hunter2", "AXONML_PORT": "hunter2", "AXONML_ADMIN_PASSWORD": "hunter2"})
    assert "hunter2" not in "\n".join(lines)


def test_missing_config_file_is_refused_but_the_default_one_may_be_absent(tmp_path: Path) -> None:
    assert any("there is no file" in line for line in problems(config=tmp_path / "missing.toml"))
    load(environ={"AXONML_DATA_DIR": str(tmp_path)})


def test_data_dir_inside_the_data_directory_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "config.toml", f"[server]\ndata_dir = '{tmp_path}'\n")
    expected = "server.data_dir cannot be set inside the data directory"
    with pytest.raises(SettingsError, match=expected):
        load(environ={"AXONML_DATA_DIR": str(tmp_path)})
    with pytest.raises(SettingsError, match=expected):
        load(environ={}, config=tmp_path / "config.toml")


def test_data_dir_of_a_file_elsewhere_counts(tmp_path: Path) -> None:
    config = write(tmp_path / "axonml.toml", "[server]\ndata_dir = '~/elsewhere'\n")
    assert load(environ={}, config=config).server.data_dir == Path.home() / "elsewhere"


def test_the_sample_file_of_the_requirements_loads_without_its_hole(tmp_path: Path) -> None:
    config = write(
        tmp_path / "axonml.toml",
        f"[server]\nhost = '0.0.0.0'\nport = 3000\ndata_dir = '~/.axonml'\n"
        f"[auth]\njwt_secret = '{SECRET}'\njwt_expiry_hours = 24\nsession_timeout_minutes = 30\n"
        "require_mfa = true\n"
        "[inference]\ndefault_port_range_start = 8100\ndefault_port_range_end = 8199\nmax_endpoints = 10\n"
        "[dashboard]\nport = 8080\n",
    )
    settings = load(environ={}, config=config)
    assert (settings.auth.jwt_expiry_hours, settings.auth.session_timeout_minutes) == (24, 30)
    assert settings.auth.require_mfa
    assert settings.auth.jwt_secret is not None
    assert settings.auth.jwt_secret.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("axonml_server=info", "info"),
        ("warn", "warning"),
        ("trace", "debug"),
        ("axonml=debug,hyper=warn", "debug"),
    ],
)
def test_rust_log_is_read_as_a_level(text: str, level: str) -> None:
    assert load(environ={"AXONML_DATA_DIR": "/nonexistent", "RUST_LOG": text}).log.level == level


def test_secrets_do_not_print() -> None:
    settings = load(
        environ={
            "AXONML_DATA_DIR": "/nonexistent",
            "JWT_SECRET": SECRET,
            "AXONML_DATABASE_URL": "postgresql://u:hunter2@db/x",
            "AXONML_ADMIN_EMAIL": "a@example.org",
            "AXONML_ADMIN_PASSWORD": "hunter2hunter2",
        }
    )
    assert SECRET not in repr(settings)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_admin_password_may_come_from_a_file(tmp_path: Path) -> None:
    environ = {"AXONML_DATA_DIR": "/nonexistent", "AXONML_ADMIN_EMAIL": "a@example.org"}
    file = write(tmp_path / "password", "correct horse battery staple\n")
    password = load(environ={**environ, "AXONML_ADMIN_PASSWORD_FILE": str(file)}).auth.first_admin_password()
    assert password is not None
    assert password.get_secret_value() == "correct horse battery staple"
    missing = load(environ={**environ, "AXONML_ADMIN_PASSWORD_FILE": str(tmp_path / "none")})
    with pytest.raises(SettingsError, match="cannot read"):
        missing.auth.first_admin_password()


def test_settings_are_immutable() -> None:
    settings = load(environ={"AXONML_DATA_DIR": "/nonexistent"})
    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 1  # type: ignore[misc]


def test_the_documentation_is_generated_from_the_settings() -> None:
    committed = Path(__file__).parents[2] / "docs" / "settings.md"
    assert committed.read_text(encoding="utf-8") == markdown(), (
        "run: axonml-server settings --markdown > docs/settings.md"
    )


def test_settings_class_ignores_the_environment_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER", '{"port": 1}')
    assert load(environ={"AXONML_DATA_DIR": "/nonexistent"}).server.port == 3000
    assert issubclass(type(load(environ={"AXONML_DATA_DIR": "/nonexistent"})), Settings)


@pytest.mark.parametrize("url", ["redis://h:6379/0", "rediss://u:p@h"])
def test_the_event_bus_may_be_redis(url: str) -> None:
    bus = load(environ={"AXONML_BROADCAST_URL": url}).bus
    assert bus.url is not None
    assert bus.url.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("kafka://u:hidden@h", "must start with redis://, rediss://"),
        ("postgresql://u:hidden@h/other", "must start with redis://, rediss://"),
        ("redis-stream://u:hidden@h", "must start with"),
        ("hidden", "must start with"),
        ("redis://", "names no server"),
        ("redis://u:hidden@h:port", "not a URL"),
        ("redis://u:hidden@h:99999", "not a URL"),
    ],
)
def test_another_event_bus_is_refused_and_its_url_is_not_repeated(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)) as refused:
        load(environ={"AXONML_BROADCAST_URL": url})
    (problem,) = refused.value.problems
    assert problem.startswith("bus.url: ")
    assert problem.endswith("(from AXONML_BROADCAST_URL)")
    assert "hidden" not in problem


def test_a_worker_gets_the_very_settings_of_its_host_and_looks_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {
        "AXONML_DATA_DIR": str(tmp_path),
        "JWT_SECRET": SECRET,
        "AXONML_SERVER__TRUSTED_HOSTS": "a.example,b.example",
        "AXONML_DATABASE_URL": "postgresql://u:p@h/db",
    }
    settings = load({"server": {"port": 1003, "workers": 3}}, environ=environ)
    monkeypatch.setenv("AXONML_PORT", "1")
    monkeypatch.setenv("SERVER", '{"port": 2}')
    passed = msgspec.msgpack.decode(msgspec.msgpack.encode(dumped(settings)))
    again = restored(passed)
    assert again.model_dump() == settings.model_dump()
    assert again.auth.jwt_secret == settings.auth.jwt_secret
    passed["server"]["port"] = -1
    with pytest.raises(SettingsError, match=r"server\.port"):
        restored(passed)
