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
"""The pool of whoever names none."""
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
    """What may be given, in a word such as N or a|b; empty for a switch."""
    repeatable: bool = False
    secret: bool = False

    @property
    def flag(self) -> str:
        """Empty for a secret: every user of a computer can read its command lines."""
        return "" if self.secret else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.upper()


def _setting(default: Any, parse: Callable[[Any], Any], values: str, help_text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help_text, "values": values})


def _repeatable(default: Any, parse: Callable[[Any], Any], values: str, help_text: str) -> Any:
    """A setting whose flag may be given several times."""
    text = help_text + " May be repeated."
    metadata = {"parse": parse, "help": text, "values": values, "repeatable": True}
    return field(default_factory=lambda: default, metadata=metadata)


def _choice(allowed: tuple[str, ...], help_text: str) -> Any:
    """One of some words; the first is the default."""
    return _setting(allowed[0], parsers.one_of(*allowed), "|".join(allowed), help_text)


def _secret(parse: Callable[[Any], Any], help_text: str) -> Any:
    """A text that has no flag, and that nothing ever shows; empty if it is not given."""
    return field(default="", repr=False, metadata={"parse": parse, "help": help_text, "secret": True})


def _switch(help_text: str) -> Any:
    """A setting that is off unless its flag is given."""
    return _setting(default=False, parse=parsers.yes_no, values="", help_text=help_text)


def _default_state_dir() -> Path:
    return Path(platformdirs.user_state_dir("worker-orchestrator"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Field order is the order of the help."""

    host: str = _setting("localhost", parsers.text, "ADDRESS", "Address to listen on; localhost is 127.0.0.1 and ::1.")
    port: int = _setting(9092, parsers.number(1, 65535), "N", "Port to listen on.")
    engine: str = _choice(("docker", "memory"), "Where workers run; memory is a demo.")
    image: str = _setting("yashtech00/worker:v1", parsers.image, "IMAGE", "The worker image.")
    worker_port: int | None = _setting(
        None,
        parsers.number(1, 65535),
        "N",
        "The worker's port in the container. Default: the one that the image exposes, else 9092.",
    )
    min_idle: int = _setting(2, parsers.number(0, 10_000), "N", "Idle machines to keep ready.")
    max_idle: int | None = _setting(
        None, parsers.number(0, 10_000), "N", "Idle machines above this are removed. Default: none are."
    )
    max_machines: int = _setting(100, parsers.number(1, 10_000), "N", "Hard limit of machines.")
    first_port: int = _setting(9093, parsers.number(1, 65535), "N", "First host port of workers.")
    last_port: int = _setting(65535, parsers.number(1, 65535), "N", "Last host port of workers.")
    publish_address: str = _setting(
        "localhost",
        parsers.local_address,
        "ADDRESS",
        "IP address of the host that workers are published on; localhost is 127.0.0.1 and ::1.",
    )
    advertise_host: str = _setting("localhost", parsers.host_name, "NAME", "Host name in the URLs given to callers.")
    network: str = _setting(
        "", parsers.network_name, "NAME", "Docker network of the workers. Default: one of their own."
    )
    outbound: str = _choice(
        ("any", "host"), "What workers can talk to: any address, or host, the computer of the engine only."
    )
    env: Mapping[str, str] = _repeatable(
        DEFAULT_ENV, parsers.environment, "K=V", "Environment variable of the workers."
    )
    memory: str = _setting(
        "", parsers.size("6m"), "SIZE", "Memory of each worker, swap included, as 512m or 2g. Default: no limit."
    )
    cpus: float | None = _setting(
        None, parsers.processors, "N", "Processors that each worker may keep busy, as 1.5. Default: no limit."
    )
    pids_limit: int = _setting(
        2048, parsers.number(0, 4_194_304), "N", "Processes and threads of each worker; 0: no limit."
    )
    log_limit: str = _setting(
        "30m",
        parsers.size("64k", zero=True),
        "SIZE",
        "Size of the output that Docker keeps of each worker; 0: as the engine is set up.",
    )
    cap_drop: tuple[str, ...] = _repeatable(
        (), parsers.capabilities, "CAPABILITY", "Linux capability that workers lack, as NET_RAW, or ALL."
    )
    allow_sudo: bool = _switch("Let sudo and other setuid programs gain privileges in workers.")
    read_only: bool = _switch("Workers can write to /tmp (in memory) and volumes only.")
    user: str = _setting(
        "", parsers.user, "USER", "User that workers run as, as 1000 or web:web. Default: the image's."
    )
    runtime: str = _setting("", parsers.text, "NAME", "Container runtime, as runsc. Default: the engine's own.")
    ready: str = _choice(("http", "tcp", "healthcheck"), "How a worker shows that it serves.")
    ready_path: str = _setting(
        "/", parsers.url_path, "PATH", "Path that is asked with --ready http; any status will do."
    )
    refresh_interval: float = _setting(
        10.0, parsers.seconds(0.5, 3600), "SECONDS", "Time between full listings of the engine."
    )
    assign_timeout: float = _setting(
        30.0, parsers.seconds(0.1, 3600), "SECONDS", "Time that a request waits for a machine."
    )
    start_timeout: float = _setting(
        60.0, parsers.seconds(1, 3600), "SECONDS", "Time that a new worker has for its first answer."
    )
    stop_timeout: float = _setting(
        10.0,
        parsers.seconds(0, 3600),
        "SECONDS",
        "Time that a worker has to end once its project is done with it; an idle one ends at once.",
    )
    on_release: str = _choice(
        ("reuse", "recycle"), "A released machine is used again as it is, or replaced by a new one."
    )
    state_dir: Path = field(
        default_factory=_default_state_dir,
        metadata={"parse": parsers.path, "help": "Folder of the database.", "values": "FOLDER"},
    )
    docker_host: str = _setting(
        "", parsers.text, "ADDRESS", "The Docker engine. Default: as the docker command finds it."
    )
    allow_host: tuple[str, ...] = _repeatable(
        (), parsers.host_names, "NAME", "Further name that callers may use for this service."
    )
    allow_origin: tuple[str, ...] = _repeatable(
        (), parsers.origins, "ORIGIN", "Web origin (https://app.example.com) that may call."
    )
    token: str = _secret(parse_token, "Token that callers must send, or `token` in orchestrator.toml.")
    token_file: Path | None = field(
        default=None,
        metadata={"parse": parsers.path, "help": "File with the token that callers must send.", "values": "FILE"},
    )
    insecure_no_auth: bool = _switch("Listen beyond this machine without a token: whoever gets there may call.")
    rate_limit: int | None = _setting(
        None,
        parsers.number(0, 1_000_000),
        "N",
        "Requests a second for each client address; 0: any number. Default: 100, and any number on loopback.",
    )
    max_connections: int = _setting(1000, parsers.number(1, 65_536), "N", "Open connections for each client address.")
    durability: str = _choice(
        ("process", "power"), "What an answer survives: the death of the process, or a power cut (fsync)."
    )
    log_format: str = _choice(("console", "json"), "How log lines look.")

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
            f.metadata.get("values", ""),
            f.metadata.get("repeatable", False),
            f.metadata.get("secret", False),
        )
        for f in dataclasses.fields(Settings)
    ]
