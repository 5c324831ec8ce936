"""What the operator chooses: flags over ORCHESTRATOR_* environment over orchestrator.toml over defaults.

Each setting is one field of `Settings`; its flag, its variable, its TOML key, its help and its checks all come from there.
Durations are seconds. Whatever is unknown or not allowed is refused at the start, by name, with the value and what is
allowed.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from worker_orchestrator.errors import InvalidSetting

__all__ = ["DEFAULT_ENV", "Setting", "Settings", "load", "settings"]

ENV_PREFIX: Final = "ORCHESTRATOR_"
CONFIG_FILE: Final = "orchestrator.toml"
DEFAULT_ENV: Final[Mapping[str, str]] = {
    "DATABASE_URL": "postgresql://postgres:postgres@host.docker.internal:5432/postgres",
}
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the operator meets it."""

    name: str
    help: str
    parse: Callable[[Any], Any]
    default: Any
    repeatable: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.upper()


def _setting(default: Any, parse: Callable[[Any], Any], help_text: str, *, repeatable: bool = False) -> Any:
    metadata = {"parse": parse, "help": help_text, "repeatable": repeatable}
    if repeatable:
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _text(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("a text that is not empty")


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value in allowed:
            return str(value)
        raise ValueError("one of " + ", ".join(allowed))

    return parse


def _number(low: int, high: int | None) -> Callable[[Any], int]:
    said = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def parse(value: Any) -> int:
        text = str(value).strip()
        good = not isinstance(value, bool) and re.fullmatch(r"\d{1,9}", text, re.ASCII)
        if good and low <= int(text) and (high is None or int(text) <= high):
            return int(text)
        raise ValueError(said)

    return parse


def _seconds(low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        text = str(value).strip()
        good = not isinstance(value, bool) and re.fullmatch(r"\d{1,9}(\.\d+)?", text, re.ASCII)
        if good and low <= float(text) <= high:
            return float(text)
        raise ValueError(f"seconds from {low:g} to {high:g}")

    return parse


def _path(value: Any) -> Path:
    if isinstance(value, str | Path) and str(value).strip():
        return Path(value).expanduser()
    raise ValueError("a path")


def _url_path(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"/[!-~]*", value):
        return value
    raise ValueError("a path that begins with / and has no spaces")


def _texts(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if isinstance(items, list | tuple) and all(isinstance(item, str) and item.strip() for item in items):
        return tuple(item.strip() for item in items)
    raise ValueError("texts, in a variable separated by commas")


def _environment(value: Any) -> Mapping[str, str]:
    """From a TOML table, a list of K=V, or (in a variable) lines of K=V: a value may contain commas."""
    if isinstance(value, str):
        value = [line for line in value.splitlines() if line.strip()]
    if isinstance(value, Mapping):
        value = [f"{name}={text}" for name, text in value.items()]
    pairs: dict[str, str] = {}
    for item in value if isinstance(value, list | tuple) else (None,):
        name, equals, text = item.partition("=") if isinstance(item, str) else ("", "", "")
        if not equals or not _ENV_NAME.fullmatch(name) or "\0" in text:
            raise ValueError("NAME=value, where the name is letters, digits and _")
        pairs[name] = text
    return pairs


def _default_state_dir() -> Path:
    return Path(platformdirs.user_state_dir("worker-orchestrator"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Field order is the order of the help."""

    host: str = _setting("localhost", _text, "Address to listen on; localhost is 127.0.0.1 and ::1.")
    port: int = _setting(9092, _number(1, 65535), "Port to listen on.")
    engine: str = _setting("docker", _one_of("docker", "memory"), "Where workers run: docker, or memory (a demo).")
    image: str = _setting("yashtech00/worker:v1", _text, "The worker image.")
    worker_port: int | None = _setting(
        None,
        _number(1, 65535),
        "The worker's port in the container. Default: the one that the image exposes, else 9092.",
    )
    min_idle: int = _setting(2, _number(0, 10_000), "Idle machines to keep ready.")
    max_idle: int | None = _setting(
        None, _number(0, 10_000), "Idle machines above this are removed. Default: none are."
    )
    max_machines: int = _setting(100, _number(1, 10_000), "Hard limit of machines.")
    first_port: int = _setting(9093, _number(1, 65535), "First host port of workers.")
    last_port: int = _setting(65535, _number(1, 65535), "Last host port of workers.")
    publish_address: str = _setting(
        "localhost", _text, "Host address that workers are published on; localhost is 127.0.0.1 and ::1."
    )
    advertise_host: str = _setting("localhost", _text, "Host name in the URLs given to callers.")
    network: str = _setting("", _text, "Docker network of the workers. Default: one of their own.")
    env: Mapping[str, str] = _setting(
        DEFAULT_ENV, _environment, "Environment variable of the workers, K=V.", repeatable=True
    )
    ready: str = _setting("http", _one_of("http", "tcp", "healthcheck"), "How a worker shows that it serves.")
    ready_path: str = _setting("/", _url_path, "Path that is asked with --ready http; any status will do.")
    refresh_interval: float = _setting(10.0, _seconds(0.5, 3600), "Seconds between full listings of the engine.")
    assign_timeout: float = _setting(30.0, _seconds(0.1, 3600), "Seconds that a request waits for a machine.")
    start_timeout: float = _setting(60.0, _seconds(1, 3600), "Seconds that a new worker has to answer.")
    on_release: str = _setting(
        "reuse", _one_of("reuse", "recycle"), "A released machine is used again as it is, or replaced by a new one."
    )
    state_dir: Path = field(
        default_factory=_default_state_dir,
        metadata={"parse": _path, "help": "Folder of the database.", "repeatable": False},
    )
    docker_host: str = _setting("", _text, "The Docker engine. Default: as the docker command finds it.")
    allow_host: tuple[str, ...] = _setting(
        (), _texts, "Further name that callers may use for this service.", repeatable=True
    )
    allow_origin: tuple[str, ...] = _setting(
        (), _texts, "Web origin (https://app.example.com) that may call.", repeatable=True
    )
    durability: str = _setting(
        "process",
        _one_of("process", "power"),
        "What an answer survives: the death of the process, or a power cut (fsync).",
    )
    log_format: str = _setting("console", _one_of("console", "json"), "How log lines look.")

    def __post_init__(self) -> None:
        if self.max_idle is not None and self.max_idle < self.min_idle:
            raise InvalidSetting(
                f"max_idle is {self.max_idle}, but must be at least min_idle, which is {self.min_idle}."
            )
        if self.min_idle > self.max_machines:
            raise InvalidSetting(
                f"min_idle is {self.min_idle}, but must be at most max_machines, which is {self.max_machines}."
            )
        if self.last_port < self.first_port:
            raise InvalidSetting(
                f"last_port is {self.last_port}, but must be at least first_port, which is {self.first_port}."
            )


def settings() -> list[Setting]:
    """Every setting, in the order of the help."""
    defaults = Settings()
    return [
        Setting(
            f.name,
            f.metadata["help"],
            f.metadata["parse"],
            getattr(defaults, f.name),
            f.metadata["repeatable"],
        )
        for f in dataclasses.fields(Settings)
    ]


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Settings from what was given: `flags` by setting name (None: not given), the environment, a TOML file.

    `config` must exist if it is named; else orchestrator.toml in the working directory is read where there is one.
    Raises InvalidSetting with one sentence that names the setting, its value and what is allowed.
    """
    known = {setting.name: setting for setting in settings()}
    chosen: dict[str, Any] = {}
    for name, (raw, source) in _given(known, flags, environ, config).items():
        try:
            value = known[name].parse(raw)
        except ValueError as error:
            raise InvalidSetting(f"{source} is {_shown(name, raw)}, but must be {error}.") from None
        chosen[name] = {**DEFAULT_ENV, **value} if name == "env" else value
    return Settings(**chosen)


def _given(
    known: Mapping[str, Setting], flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None
) -> dict[str, tuple[Any, str]]:
    """By setting name: the raw value that counts, and where it came from."""
    given = _from_file(known, config or _named_config(environ))
    for variable, text in environ.items():
        if variable.startswith(ENV_PREFIX) and variable not in _NOT_SETTINGS:
            name = variable.removeprefix(ENV_PREFIX).lower()
            if name not in known:
                raise InvalidSetting(f"{variable} is no setting. {_hint(name, known, ENV_PREFIX)}")
            given[name] = (text, variable)
    for name, raw in flags.items():
        if raw is not None and raw != ():
            given[name] = (raw, known[name].flag)
    return given


_NOT_SETTINGS: Final = frozenset({ENV_PREFIX + "CONFIG", ENV_PREFIX + "URL", ENV_PREFIX + "TOKEN"})


def _named_config(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(ENV_PREFIX + "CONFIG")
    if named:
        return Path(named)
    here = Path(CONFIG_FILE)
    return here if here.is_file() else None


def _from_file(known: Mapping[str, Setting], path: Path | None) -> dict[str, tuple[Any, str]]:
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSetting(f"The configuration file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"The configuration file {path} is no valid TOML: {error}.") from None
    found: dict[str, tuple[Any, str]] = {}
    for key, raw in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise InvalidSetting(f"{key} in {path} is no setting. {_hint(name, known, '')}")
        found[name] = (raw, f"{key} in {path}")
    return found


def _hint(name: str, known: Mapping[str, Setting], prefix: str) -> str:
    import difflib  # noqa: PLC0415 # only here, and not for free

    close = difflib.get_close_matches(name, known, n=1)
    names = close or sorted(known)
    shown = ", ".join(prefix + (n.upper() if prefix else n) for n in names)
    return f"Did you mean {shown}?" if close else f"Settings are: {shown}."


def _shown(name: str, raw: Any) -> str:
    """A value for an error message; environment variables of workers may be secrets, so only their names show."""
    if name != "env":
        return repr(raw)
    items = raw.splitlines() if isinstance(raw, str) else raw if isinstance(raw, list | tuple | dict) else ["…"]
    return repr([str(item).partition("=")[0] for item in items])
