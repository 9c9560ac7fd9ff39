"""Where settings come from, and what is refused before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from cluster.errors import OperatorError
from cluster.settings import Settings, describe, inherited_environment, load


def read(environment: dict[str, str] | None = None, **overrides: object) -> Settings:
    return load(overrides, environment or {}).settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a hereabouts.toml."""
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_a_development_engine_on_loopback(tmp_path: Path) -> None:
    settings = read()
    assert (settings.mode, settings.bind, settings.port, settings.gateway_port) == (
        "development", "127.0.0.1", 8000, 8001,
    )  # fmt: skip
    assert settings.data == tmp_path / ".hereabouts"
    assert settings.privacy_k == 1
    assert settings.url == "http://127.0.0.1:8000"


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    (tmp_path / "hereabouts.toml").write_text(
        'port = 1001\nshards = 3\nidle_deactivate_s = 2\nmode = "development"\n'
    )
    loaded = load({"port": 1003, "bind": None}, {"HEREABOUTS_PORT": "1002", "HEREABOUTS_SHARDS": "4"})
    assert (loaded.settings.port, loaded.settings.shards, loaded.settings.idle_deactivate_s) == (1003, 4, 2.0)
    sources = loaded.sources
    assert sources["port"] == "command line"
    assert sources["shards"] == "HEREABOUTS_SHARDS"
    assert sources["idle_deactivate_s"] == "hereabouts.toml"
    assert sources["bind"] == "default"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot read"):
        read({"HEREABOUTS_CONFIG": str(tmp_path / "absent.toml")})


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HEREABOUTS_PORT", "http", "port"),
        ("HEREABOUTS_PORT", "70000", "from 1 to 65534"),
        ("HEREABOUTS_SHARDS", "0", "from 1 to 256"),
        ("HEREABOUTS_SHARDS", "2.5", "shards"),
        ("HEREABOUTS_ACCESS_TOKEN_S", "nan", "seconds"),
        ("HEREABOUTS_MODE", "prod", "development or production"),
        ("HEREABOUTS_BIND", "localhost", "bind"),
        ("HEREABOUTS_DATABASE_URL", "mysql://h/d", "postgresql://"),
        ("HEREABOUTS_REDIS_URL", "http://h", "redis://"),
        ("HEREABOUTS_ALLOWED_ORIGINS", "https://a.example,b.example", "b.example"),
        ("HEREABOUTS_RATE_LIMITS", "maybe", "on or off"),
        ("HEREABOUTS_SECRET_KEY", "short", "32 characters"),
        ("HEREABOUTS_GATEWAY_PORT", "8000", "both 8000"),
    ],
)
def test_a_wrong_value_is_refused_by_name(variable: str, value: str, says: str) -> None:
    with pytest.raises(OperatorError, match=says):
        read({variable: value})


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(OperatorError, match="HEREABOUTS_SHARD is not a setting") as refused:
        read({"HEREABOUTS_SHARD": "2"})
    assert "HEREABOUTS_SHARDS" in refused.value.fix


def test_empty_variables_and_those_of_the_tests_are_left_alone() -> None:
    assert read({"HEREABOUTS_PORT": "", "HEREABOUTS_TEST_ES_URL": "http://x"}).port == 8000


def test_production_needs_its_secret_and_keeps_its_limits() -> None:
    with pytest.raises(OperatorError, match="HEREABOUTS_SECRET_KEY"):
        read({"HEREABOUTS_MODE": "production"})
    production = {"HEREABOUTS_MODE": "production", "HEREABOUTS_SECRET_KEY": "k" * 32}
    assert read(production).privacy_k == 5
    with pytest.raises(OperatorError, match="rate_limits"):
        read(production | {"HEREABOUTS_RATE_LIMITS": "off"})


def test_the_embedded_servers_are_never_bound_beyond_loopback() -> None:
    with pytest.raises(OperatorError, match="other machines"):
        read(bind="0.0.0.0")
    external = {
        "HEREABOUTS_DATABASE_URL": "postgresql://u@127.0.0.1/d",
        "HEREABOUTS_REDIS_URL": "redis://127.0.0.1",
    }
    assert read(external, bind="0.0.0.0").bind == "0.0.0.0"


@pytest.mark.parametrize(
    "url",
    ["postgresql://u@127.0.0.1/d", "postgresql://u@[::1]/d", "postgresql:///d?host=/run/postgresql",
     "postgresql://u@db.example/d?sslmode=verify-full"],
)  # fmt: skip
def test_a_database_here_or_behind_verified_tls_is_taken(url: str) -> None:
    assert read({"HEREABOUTS_DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize("mode", ["", "?sslmode=require", "?sslmode=verify-ca"])
def test_a_database_elsewhere_needs_verify_full(mode: str) -> None:
    with pytest.raises(OperatorError, match="verified TLS"):
        read({"HEREABOUTS_DATABASE_URL": f"postgresql://u@db.example/d{mode}"})


def test_secrets_are_shown_nowhere() -> None:
    secret: dict[str, Any] = {
        "HEREABOUTS_SECRET_KEY": "s3cret" * 6,
        "HEREABOUTS_DATABASE_URL": "postgresql://u:s3cret@127.0.0.1/d",
    }
    rows = describe(load({}, secret))
    assert not any("s3cret" in part for row in rows for part in row)
    assert all(doc for *_, doc in rows)
    with pytest.raises(OperatorError) as refused:
        read({"HEREABOUTS_DATABASE_URL": "mysql://u:s3cret@h/d"})
    assert "s3cret" not in str(refused.value)


def test_the_engine_s_processes_inherit_neither_settings_nor_another_ray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEREABOUTS_SECRET_KEY", "x" * 32)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("LANG", "C.UTF-8")
    inherited = inherited_environment()
    assert inherited["LANG"] == "C.UTF-8"
    assert not [name for name in inherited if name.startswith(("HEREABOUTS_", "RAY_"))]
