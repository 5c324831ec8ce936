"""What the operator can choose. Each setting is one field of `Settings`, with its flag, variable, TOML key, help and checks.

Durations are seconds. `loading.py` reads the values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings import parsers
from worker_orchestrator.settings.token import token as parse_token

__all__ = ["DEFAULT_ENV", "DEFAULT_POOL", "ENV_PREFIX", "Setting", "Settings", "settings"]

ENV_PREFIX: Final = "ORCHESTRATOR_"
DEFAULT_POOL: Final = "default"
"""The pool that is used where none is named."""
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
    values: str = ""
    """What stands for a value in the help, such as N or a|b; empty for a switch."""
    repeatable: bool = False
    secret: bool = False

    @property
    def flag(self) -> str:
        """Empty for a secret, since every user of a computer can read the command lines of its processes."""
        return "" if self.secret else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.upper()


def _setting(default: Any, parse: Callable[[Any], Any], values: str, help_text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help_text, "values": values})


def _repeatable(default: Any, parse: Callable[[Any], Any], values: str, help_text: str) -> Any:
    """A setting whose flag may be repeated."""
    text = help_text + " May be repeated."
    metadata = {"parse": parse, "help": text, "values": values, "repeatable": True}
    return field(default_factory=lambda: default, metadata=metadata)


def _choice(allowed: tuple[str, ...], help_text: str) -> Any:
    """One of these words; the first is the default."""
    return _setting(allowed[0], parsers.one_of(*allowed), "|".join(allowed), help_text)


def _secret(parse: Callable[[Any], Any], help_text: str) -> Any:
    """A text that has no flag and is never shown; empty by default."""
    return field(default="", repr=False, metadata={"parse": parse, "help": help_text, "secret": True})


def _switch(help_text: str) -> Any:
    """A setting that is off unless its flag is given."""
    return _setting(default=False, parse=parsers.yes_no, values="", help_text=help_text)


def _default_state_dir() -> Path:
    return Path(platformdirs.user_state_dir("worker-orchestrator"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Field order is the order of the help."""

    host: str = _setting(
        "localhost", parsers.text, "ADDRESS", "Address to listen on; localhost means 127.0.0.1 and ::1."
    )
    port: int = _setting(9092, parsers.number(1, 65535), "N", "Port to listen on.")
    engine: str = _choice(("docker", "memory"), "Where workers run; memory is a demo without containers.")
    image: str = _setting("yashtech00/worker:v1", parsers.image, "IMAGE", "The worker image.")
    worker_port: int | None = _setting(
        None,
        parsers.number(1, 65535),
        "N",
        "Port of the worker in its container. Default: the port that the image exposes, otherwise 9092.",
    )
    min_idle: int = _setting(2, parsers.number(0, 10_000), "N", "Number of idle machines to keep ready.")
    max_idle: int | None = _setting(
        None, parsers.number(0, 10_000), "N", "Idle machines above this number are removed. Default: no limit."
    )
    max_machines: int = _setting(
        100, parsers.number(1, 10_000), "N", "Limit on the number of machines, idle and assigned."
    )
    first_port: int = _setting(9093, parsers.number(1, 65535), "N", "First host port that workers may get.")
    last_port: int = _setting(65535, parsers.number(1, 65535), "N", "Last host port that workers may get.")
    publish_address: str = _setting(
        "localhost",
        parsers.local_address,
        "ADDRESS",
        "IP address of the host on which ports of workers are published; localhost means 127.0.0.1 and ::1.",
    )
    advertise_host: str = _setting("localhost", parsers.host_name, "NAME", "Host name in the URLs that callers get.")
    network: str = _setting(
        "", parsers.network_name, "NAME", "Docker network of the workers. Default: a network of their own."
    )
    outbound: str = _choice(
        ("any", "host"), "What workers can connect to: any address, or only the host that the engine runs on."
    )
    env: Mapping[str, str] = _repeatable(
        DEFAULT_ENV, parsers.environment, "K=V", "Environment variable for the workers."
    )
    memory: str = _setting(
        "",
        parsers.size("6m"),
        "SIZE",
        "Memory limit of each worker, swap included, such as 512m or 2g. Default: no limit.",
    )
    cpus: float | None = _setting(
        None, parsers.processors, "N", "Number of processors that each worker may use, such as 1.5. Default: no limit."
    )
    pids_limit: int = _setting(
        2048, parsers.number(0, 4_194_304), "N", "Limit on the processes and threads of each worker; 0 means no limit."
    )
    log_limit: str = _setting(
        "30m",
        parsers.size("64k", zero=True),
        "SIZE",
        "How much output of each worker Docker keeps; 0 means as much as the engine is configured to keep.",
    )
    cap_drop: tuple[str, ...] = _repeatable(
        (), parsers.capabilities, "CAPABILITY", "Linux capability to take from workers, such as NET_RAW, or ALL."
    )
    allow_sudo: bool = _switch("Let sudo and other setuid programs gain privileges in workers.")
    read_only: bool = _switch("Let workers write only to /tmp (in memory) and to volumes.")
    user: str = _setting(
        "", parsers.user, "USER", "User that workers run as, such as 1000 or web:web. Default: the image's user."
    )
    runtime: str = _setting(
        "", parsers.text, "NAME", "Container runtime, such as runsc. Default: the engine's default runtime."
    )
    ready: str = _choice(("http", "tcp", "healthcheck"), "How a worker shows that it is ready.")
    ready_path: str = _setting(
        "/", parsers.url_path, "PATH", "Path to request with --ready http; a reply with any status means ready."
    )
    refresh_interval: float = _setting(
        10.0, parsers.seconds(0.5, 3600), "SECONDS", "Time between full listings of the engine's containers."
    )
    assign_timeout: float = _setting(
        30.0, parsers.seconds(0.1, 3600), "SECONDS", "How long a request waits for a machine."
    )
    start_timeout: float = _setting(
        60.0, parsers.seconds(1, 3600), "SECONDS", "How long a new worker may take until it is ready."
    )
    stop_timeout: float = _setting(
        10.0,
        parsers.seconds(0, 3600),
        "SECONDS",
        "How long a worker may take to stop after its project was done with it; an idle one is killed at once.",
    )
    on_release: str = _choice(
        ("reuse", "recycle"), "Whether a released machine is used again as it is, or replaced by a new one."
    )
    state_dir: Path = field(
        default_factory=_default_state_dir,
        metadata={"parse": parsers.path, "help": "Folder for the database.", "values": "FOLDER"},
    )
    docker_host: str = _setting(
        "", parsers.text, "ADDRESS", "Address of the Docker engine. Default: the engine that the docker command uses."
    )
    allow_host: tuple[str, ...] = _repeatable(
        (), parsers.host_names, "NAME", "Additional host name under which callers may reach this service."
    )
    allow_origin: tuple[str, ...] = _repeatable(
        (), parsers.origins, "ORIGIN", "Web origin, such as https://app.example.com, whose pages may call this service."
    )
    token: str = _secret(
        parse_token, "Token that callers must send. It may also stand in orchestrator.toml, as `token`."
    )
    token_file: Path | None = field(
        default=None,
        metadata={"parse": parsers.path, "help": "File with the token that callers must send.", "values": "FILE"},
    )
    insecure_no_auth: bool = _switch("Let other computers call this service without a token.")
    rate_limit: int | None = _setting(
        None,
        parsers.number(0, 1_000_000),
        "N",
        "Requests per second for each client address; 0 means no limit. Default: 100, and no limit on loopback.",
    )
    max_connections: int = _setting(
        1000, parsers.number(1, 65_536), "N", "Limit on open connections for each client address."
    )
    durability: str = _choice(
        ("process", "power"), "What an answered change survives: the end of the process, or also a power cut (fsync)."
    )
    log_format: str = _choice(("console", "json"), "Format of log lines.")

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
            raise InvalidSetting(f"token and token_file ({self.token_file}) are both set. Set only one of them.")
        if self.network and self.outbound != "any":
            raise InvalidSetting(
                f"outbound is {self.outbound}, which needs the network that the service makes: do not set network "
                f"({self.network})."
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
            f.metadata.get("values", ""),
            f.metadata.get("repeatable", False),
            f.metadata.get("secret", False),
        )
        for f in dataclasses.fields(Settings)
    ]
