"""Every setting of the engine, and the only reader of the environment.

A value comes from, in this order: the command line, a HEREABOUTS_… variable, the TOML file, the default.
The TOML file is the one that HEREABOUTS_CONFIG names, else `hereabouts.toml` in the current directory if it
is there; its keys are the names below (`port = 8000`).
"""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from cluster.errors import OperatorError

PREFIX = "HEREABOUTS_"
TEST_PREFIX = "HEREABOUTS_TEST_"  # read by the test suite, never by the engine
CONFIG_VARIABLE = "HEREABOUTS_CONFIG"
MINIMUM_SECRET_KEY_CHARACTERS = 32


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return read


def _seconds(low: float, high: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if (
            not isinstance(value, str | int | float)
            or isinstance(value, bool)
            or not low <= float(value) <= high
        ):
            raise ValueError(f"must be seconds from {low:g} to {high:g}")
        return float(value)

    return read


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be text and not empty")
    return value


def _mode(value: object) -> str:
    if value not in ("development", "production"):
        raise ValueError("must be development or production")
    return str(value)


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise ValueError("must be on or off") from None


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser().absolute()


def _address(value: object) -> str:
    return str(ipaddress.ip_address(_text(value)))


def _origins(value: object) -> tuple[str, ...]:
    given = value if isinstance(value, list | tuple) else str(value).split(",")
    origins = tuple(str(origin).strip().rstrip("/") for origin in given if str(origin).strip())
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
            raise ValueError(f"{origin!r} is no origin such as https://app.example")
    return origins


def _url(*schemes: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        url = _text(value)
        if urlsplit(url).scheme not in schemes:
            raise ValueError("must begin with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return url

    return read


def _setting(default: Any, doc: str, read: Callable[[object], Any], *, secret: bool = False) -> Any:
    return field(default=default, metadata={"doc": doc, "read": read, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    mode: Literal["development", "production"] = _setting(
        "development",
        "development (embedded, loopback) or production (no development conveniences, its secrets given).",
        _mode,
    )
    port: int = _setting(8000, "The HTTP port.", _whole(1, 65534))
    gateway_port: int = _setting(
        0, "The port of the gateway's own WebSocket listener; 0 means port + 1.", _whole(0, 65535)
    )
    bind: str = _setting(
        "127.0.0.1",
        "The address of HTTP and WebSocket; beyond loopback only with an external database and Redis.",
        _address,
    )
    data: Path = _setting(  # noqa: RUF009 (a Path is immutable)
        Path(".hereabouts"),
        "The folder of everything durable; it also names the engine to the commands.",
        _path,
    )
    database_url: str | None = _setting(
        None,
        "postgresql://… of a server to use instead of the embedded Postgres 18.",
        _url("postgresql", "postgres"),
        secret=True,
    )
    redis_url: str | None = _setting(
        None,
        "redis://… or rediss://… of a server to use instead of the embedded Valkey 9.",
        _url("redis", "rediss"),
        secret=True,
    )
    shards: int = _setting(
        2, "How many shard actors host the virtual actors; about one a core.", _whole(1, 256)
    )
    gateways: int = _setting(1, "How many gateways hold the WebSockets.", _whole(1, 256))
    connections_per_user: int = _setting(
        64,
        "How many real-time connections one user may have at once; 0 means any number.",
        _whole(0, 100_000),
    )
    access_token_s: float = _setting(600.0, "How long an access token is valid.", _seconds(1, 86_400))
    idle_deactivate_s: float = _setting(
        900.0, "How long a virtual actor stays in memory after its last message.", _seconds(0.1, 86_400)
    )
    memory_budget_mib: int = _setting(
        512,
        "MiB for the virtual actors of one shard; above 80 % the coldest go that nobody would miss.",
        _whole(16, 65_536),
    )
    region_split_users: int = _setting(
        2_000, "A region with more people than this is split into its children.", _whole(10, 1_000_000)
    )
    position_ttl_s: float = _setting(
        900.0, "How long a position counts: who sends none for so long is nowhere.", _seconds(1, 86_400)
    )
    position_history_s: float = _setting(
        86_400.0,
        "How long the fixes of a person are kept for that person; 0 keeps none.",
        _seconds(0, 31_536_000),
    )
    models_kept: int = _setting(
        10,
        "How many of a model's newest versions keep their bytes; those in use do anyway.",
        _whole(1, 1_000),
    )
    datasets_kept_s: float = _setting(
        2_592_000.0,
        "How long a dataset that no kept model was made of, and what a job left, are kept.",
        _seconds(3_600, 31_536_000),
    )
    erase_grace_s: float = _setting(
        1_209_600.0,
        "How long after somebody gave up their account the rest of it is erased; 0: at once.",
        _seconds(0, 31_536_000),
    )
    privacy_k: int = _setting(
        0,
        "How many people a place holds before its count is shown; 0 means 1 in development, 5 in production.",
        _whole(0, 1000),
    )
    allowed_origins: tuple[str, ...] = _setting(
        (),
        "Web origins, comma-separated, that may call from a browser besides the engine's own page.",
        _origins,
    )
    rate_limits: bool = _setting(
        True,
        "Whether requests are limited by address and account; production never switches it off.",
        _switch,
    )
    ray_dashboard: bool = _setting(
        False,
        "Ray's dashboard beside its job server, on loopback; it costs 0.3 GB and 3 % of a core.",
        _switch,
    )
    secret_key: str | None = _setting(
        None,
        "Seals the signing keys at rest; at least 32 characters. Development makes one in the data folder.",
        _text,
        secret=True,
    )

    @property
    def url(self) -> str:
        return f"http://{_host(self.bind)}:{self.port}"

    @property
    def gateway_url(self) -> str:
        return f"ws://{_host(self.bind)}:{self.gateway_port}/rt"

    @property
    def fallback_url(self) -> str:
        """The same protocol through the HTTP port, where one port must do."""
        return f"ws://{_host(self.bind)}:{self.port}/rt"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each of them came from."""

    settings: Settings
    sources: Mapping[str, str]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def load(
    overrides: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Loaded:
    """Read the settings. `overrides` are command line values by name; None there means not given.

    Raises OperatorError for an unknown name, a value out of range, or values that contradict each other.
    """
    environment = os.environ if environment is None else environment
    readers = {each.name: each.metadata["read"] for each in fields(Settings)}
    given: dict[str, tuple[object, str]] = {}
    for name, (value, source) in _from_file(environment).items():
        _refuse_unknown(name, readers, f"{name} in {source}")
        given[name] = (value, source)
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        name = variable.removeprefix(PREFIX).lower()
        _refuse_unknown(name, readers, variable)
        if value:  # an empty variable is an unset one, as shells and compose files produce them
            given[name] = (value, variable)
    for name, override in (overrides or {}).items():
        if override is not None:
            given[name] = (override, "command line")
    values: dict[str, Any] = {}
    for name, (value, source) in given.items():
        try:
            values[name] = readers[name](value)
        except ValueError as wrong:
            shown = "" if name in SECRETS else f" is {value!r} and"
            raise OperatorError(f"{name} ({source}){shown} {wrong}") from None
    sources = {name: given[name][1] if name in given else "default" for name in readers}
    settings = _resolve(Settings(**values))
    _refuse_contradictions(settings)
    return Loaded(settings, sources)


def _from_file(environment: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    named = environment.get(CONFIG_VARIABLE)
    path = Path(named) if named else Path("hereabouts.toml")
    if not named and not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise OperatorError(
            f"cannot read {path}: {wrong.strerror}", f"correct {CONFIG_VARIABLE} or unset it"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise OperatorError(f"{path} is not valid TOML: {wrong}") from None
    return {name: (value, str(path)) for name, value in content.items()}


def _refuse_unknown(name: str, known: Mapping[str, object], shown: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {PREFIX}{near[0].upper()}? " if near else ""
    raise OperatorError(f"{shown} is not a setting", f"{hint}`hereabouts config` lists them all")


def _resolve(settings: Settings) -> Settings:
    values = {each.name: getattr(settings, each.name) for each in fields(Settings)}
    values["data"] = settings.data.absolute()
    values["gateway_port"] = settings.gateway_port or settings.port + 1
    values["privacy_k"] = settings.privacy_k or (1 if settings.mode == "development" else 5)
    return Settings(**values)


def _refuse_contradictions(settings: Settings) -> None:
    if settings.gateway_port == settings.port:
        raise OperatorError(f"port and gateway_port are both {settings.port}")
    if settings.secret_key is not None and len(settings.secret_key) < MINIMUM_SECRET_KEY_CHARACTERS:
        raise OperatorError(
            "secret_key is shorter than 32 characters", "make one with `openssl rand -hex 32`"
        )
    if settings.mode == "production":
        if settings.secret_key is None:
            raise OperatorError(
                "production mode needs HEREABOUTS_SECRET_KEY",
                "make one with `openssl rand -hex 32` and keep it",
            )
        if not settings.rate_limits:
            raise OperatorError("production mode does not switch rate_limits off")
    embedded = settings.database_url is None or settings.redis_url is None
    if not ipaddress.ip_address(settings.bind).is_loopback and embedded:
        raise OperatorError(
            f"bind {settings.bind} reaches other machines, and the embedded servers speak no TLS",
            "give HEREABOUTS_DATABASE_URL and HEREABOUTS_REDIS_URL, or bind to 127.0.0.1",
        )
    if settings.database_url is not None:
        _refuse_cleartext(settings.database_url)


def _refuse_cleartext(database_url: str) -> None:
    parts = urlsplit(database_url)
    query = parse_qs(parts.query)
    host = parts.hostname or query.get("host", ["/"])[0]
    if host.startswith("/") or host == "localhost":
        return
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and query.get("sslmode") != ["verify-full"]:
        raise OperatorError(
            f"database_url leads to {host}, beyond this machine, without a verified TLS connection",
            "add ?sslmode=verify-full (and sslrootcert=…) to the URL",
        )


SECRETS = frozenset(each.name for each in fields(Settings) if each.metadata["secret"])


def describe(loaded: Loaded) -> list[tuple[str, str, str, str]]:
    """(variable, value with secrets masked, source, sentence) of every setting, in order."""
    rows = []
    for each in fields(Settings):
        value = getattr(loaded.settings, each.name)
        if value is None or value == ():
            shown = "(unset)"
        elif each.name in SECRETS:
            shown = "(secret)"
        elif isinstance(value, tuple):
            shown = ",".join(value)
        elif isinstance(value, float):
            shown = f"{value:g}"
        else:
            shown = str(value)
        rows.append((PREFIX + each.name.upper(), shown, loaded.sources[each.name], each.metadata["doc"]))
    return rows


def inherited_environment() -> dict[str, str]:
    """What the engine's processes inherit: not our settings (they hold secrets) and no RAY_… variable (it
    could lead them to another cluster).
    """
    return {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "RAY_"))}
