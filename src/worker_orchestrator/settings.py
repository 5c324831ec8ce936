"""What the operator chooses: flags over ORCHESTRATOR_* environment over orchestrator.toml over defaults.

Each setting is one field of `Settings`; its flag, its variable, its TOML key, its help and its checks all come from there.
Durations are seconds. Whatever is unknown or not allowed is refused at the start, by name, with the value and what is
allowed.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from worker_orchestrator import parsers
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.token import token as parse_token

__all__ = ["DEFAULT_ENV", "Setting", "Settings", "load", "settings"]

ENV_PREFIX: Final = "ORCHESTRATOR_"
CONFIG_FILE: Final = "orchestrator.toml"
DEFAULT_ENV: Final[Mapping[str, str]] = {
    "DATABASE_URL": "postgresql://postgres:postgres@host.docker.internal:5432/postgres",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the operator meets it."""

    name: str
    help: str
    parse: Callable[[Any], Any]
    default: Any
    repeatable: bool = False
    secret: bool = False

    @property
    def flag(self) -> str:
        """Empty for a secret: every user of a computer can read its command lines."""
        return "" if self.secret else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.upper()


def _setting(default: Any, parse: Callable[[Any], Any], help_text: str, *, repeatable: bool = False) -> Any:
    metadata = {"parse": parse, "help": help_text, "repeatable": repeatable}
    if repeatable:
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _secret(parse: Callable[[Any], Any], help_text: str) -> Any:
    """A text that has no flag, and that nothing ever shows; empty if it is not given."""
    return field(
        default="", repr=False, metadata={"parse": parse, "help": help_text, "repeatable": False, "secret": True}
    )


def _switch(help_text: str) -> Any:
    """A setting that is off unless its flag is given."""
    return _setting(default=False, parse=parsers.yes_no, help_text=help_text)


def _default_state_dir() -> Path:
    return Path(platformdirs.user_state_dir("worker-orchestrator"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Field order is the order of the help."""

    host: str = _setting("localhost", parsers.text, "Address to listen on; localhost is 127.0.0.1 and ::1.")
    port: int = _setting(9092, parsers.number(1, 65535), "Port to listen on.")
    engine: str = _setting(
        "docker", parsers.one_of("docker", "memory"), "Where workers run: docker, or memory (a demo)."
    )
    image: str = _setting("yashtech00/worker:v1", parsers.text, "The worker image.")
    worker_port: int | None = _setting(
        None,
        parsers.number(1, 65535),
        "The worker's port in the container. Default: the one that the image exposes, else 9092.",
    )
    min_idle: int = _setting(2, parsers.number(0, 10_000), "Idle machines to keep ready.")
    max_idle: int | None = _setting(
        None, parsers.number(0, 10_000), "Idle machines above this are removed. Default: none are."
    )
    max_machines: int = _setting(100, parsers.number(1, 10_000), "Hard limit of machines.")
    first_port: int = _setting(9093, parsers.number(1, 65535), "First host port of workers.")
    last_port: int = _setting(65535, parsers.number(1, 65535), "Last host port of workers.")
    publish_address: str = _setting(
        "localhost", parsers.text, "Host address that workers are published on; localhost is 127.0.0.1 and ::1."
    )
    advertise_host: str = _setting("localhost", parsers.text, "Host name in the URLs given to callers.")
    network: str = _setting("", parsers.network_name, "Docker network of the workers. Default: one of their own.")
    outbound: str = _setting(
        "any",
        parsers.one_of("any", "host"),
        "What workers can talk to: any address, or host, the computer of the engine only.",
    )
    env: Mapping[str, str] = _setting(
        DEFAULT_ENV, parsers.environment, "Environment variable of the workers, K=V.", repeatable=True
    )
    memory: str = _setting(
        "", parsers.size("6m"), "Memory of each worker, swap included, as 512m or 2g. Default: no limit."
    )
    cpus: float | None = _setting(
        None, parsers.processors, "Processors that each worker may keep busy, as 1.5. Default: no limit."
    )
    pids_limit: int = _setting(2048, parsers.number(0, 4_194_304), "Processes and threads of each worker; 0: no limit.")
    log_limit: str = _setting(
        "30m",
        parsers.size("64k", zero=True),
        "Size of the output that Docker keeps of each worker; 0: as the engine is set up.",
    )
    cap_drop: tuple[str, ...] = _setting(
        (), parsers.capabilities, "Linux capability that workers lack, as NET_RAW, or ALL.", repeatable=True
    )
    allow_sudo: bool = _switch("Let sudo and other setuid programs gain privileges in workers.")
    read_only: bool = _switch("Workers can write to /tmp (in memory) and volumes only.")
    user: str = _setting("", parsers.user, "User that workers run as, as 1000 or web:web. Default: the image's.")
    runtime: str = _setting("", parsers.text, "Container runtime, as runsc. Default: the engine's own.")
    ready: str = _setting("http", parsers.one_of("http", "tcp", "healthcheck"), "How a worker shows that it serves.")
    ready_path: str = _setting("/", parsers.url_path, "Path that is asked with --ready http; any status will do.")
    refresh_interval: float = _setting(10.0, parsers.seconds(0.5, 3600), "Seconds between full listings of the engine.")
    assign_timeout: float = _setting(30.0, parsers.seconds(0.1, 3600), "Seconds that a request waits for a machine.")
    start_timeout: float = _setting(60.0, parsers.seconds(1, 3600), "Seconds that a new worker has to answer.")
    on_release: str = _setting(
        "reuse",
        parsers.one_of("reuse", "recycle"),
        "A released machine is used again as it is, or replaced by a new one.",
    )
    state_dir: Path = field(
        default_factory=_default_state_dir,
        metadata={"parse": parsers.path, "help": "Folder of the database.", "repeatable": False},
    )
    docker_host: str = _setting("", parsers.text, "The Docker engine. Default: as the docker command finds it.")
    allow_host: tuple[str, ...] = _setting(
        (), parsers.texts, "Further name that callers may use for this service.", repeatable=True
    )
    allow_origin: tuple[str, ...] = _setting(
        (), parsers.texts, "Web origin (https://app.example.com) that may call.", repeatable=True
    )
    token: str = _secret(parse_token, "Token that callers must send, or `token` in orchestrator.toml.")
    token_file: Path | None = field(
        default=None,
        metadata={"parse": parsers.path, "help": "File with the token that callers must send.", "repeatable": False},
    )
    insecure_no_auth: bool = _switch("Listen beyond this machine without a token: whoever gets there may call.")
    rate_limit: int | None = _setting(
        None,
        parsers.number(0, 1_000_000),
        "Requests a second for each client address; 0: any number. Default: 100, and any number on loopback.",
    )
    max_connections: int = _setting(1000, parsers.number(1, 65_536), "Open connections for each client address.")
    durability: str = _setting(
        "process",
        parsers.one_of("process", "power"),
        "What an answer survives: the death of the process, or a power cut (fsync).",
    )
    log_format: str = _setting("console", parsers.one_of("console", "json"), "How log lines look.")

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
        if self.token and self.token_file is not None:
            raise InvalidSetting(f"token and token_file ({self.token_file}) are both given, but only one may be.")
        if self.network and self.outbound != "any":
            raise InvalidSetting(
                f"outbound is {self.outbound}, which needs a network of our own: leave network ({self.network}) out."
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
            f.metadata.get("secret", False),
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
            raise InvalidSetting(f"{source} is {_shown(known[name], raw)}, but must be {error}.") from None
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
                raise InvalidSetting(f"{_printable(variable)} is no setting. {_hint(name, known, ENV_PREFIX)}")
            given[name] = (text, variable)
    for name, raw in flags.items():
        if raw is not None and raw != ():
            given[name] = (raw, known[name].flag)
    return given


_NOT_SETTINGS: Final = frozenset({ENV_PREFIX + "CONFIG", ENV_PREFIX + "URL"})


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
    except RecursionError:
        raise InvalidSetting(f"The configuration file {path} is nested too deeply.") from None
    except ValueError as error:  # of TOML, of UTF-8, or a number of more digits than Python reads
        raise InvalidSetting(f"The configuration file {path} is no valid TOML: {_printable(str(error))}.") from None
    found: dict[str, tuple[Any, str]] = {}
    for key, raw in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise InvalidSetting(f"{_printable(key)} in {path} is no setting. {_hint(name, known, '')}")
        found[name] = (raw, f"{key} in {path}")
    return found


def _hint(name: str, known: Mapping[str, Setting], prefix: str) -> str:
    import difflib  # noqa: PLC0415 # only here, and not for free

    close = difflib.get_close_matches(name, known, n=1)
    names = close or sorted(known)
    shown = ", ".join(prefix + (n.upper() if prefix else n) for n in names)
    return f"Did you mean {shown}?" if close else f"Settings are: {shown}."


def _shown(setting: Setting, raw: Any) -> str:
    """A value for an error message; environment variables of workers may be secrets, so only their names show."""
    if setting.secret:
        return "not shown here"
    if setting.name == "env":
        return repr(_names(raw))
    try:
        return repr(raw)
    except ValueError:
        return "a number of more digits than Python shows"


def _names(raw: Any) -> list[str]:
    """Up to the first item that is no NAME=value: without its name it may be a secret, and so may what follows."""
    if isinstance(raw, Mapping):
        return list(raw)
    names: list[str] = []
    for item in raw.splitlines() if isinstance(raw, str) else raw if isinstance(raw, list | tuple) else (None,):
        name, equals, _ = item.partition("=") if isinstance(item, str) else ("", "", "")
        good = equals and parsers.ENV_NAME.fullmatch(name)
        names.append(name if good or (equals and not name) else "…")
        if not good:
            break
    return names


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)
