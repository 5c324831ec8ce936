"""What the operator can choose. Each setting is one field, with its flag, variable, TOML key, help and checks.

`pool.py` has the settings that each pool has for itself; here are those of the service. `loading.py` reads the values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import platformdirs

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings import parsers, pods, replicas
from worker_orchestrator.settings import preview as preview_values
from worker_orchestrator.settings.pool import DEFAULT_ENV, DEFAULT_POOL, PoolSettings
from worker_orchestrator.settings.pool_contradictions import contradictions
from worker_orchestrator.settings.root_path import root_path as parse_root_path
from worker_orchestrator.settings.setting import (
    ENV_PREFIX,
    Inherited,
    Setting,
    choice,
    repeatable,
    secret,
    setting,
    settings_of,
    switch,
)
from worker_orchestrator.settings.token import token as parse_token
from worker_orchestrator.settings.webhook_secret import webhook_secret as parse_webhook_secret

__all__ = ["DEFAULT_ENV", "DEFAULT_POOL", "ENV_PREFIX", "PoolSettings", "Setting", "Settings", "settings"]

KUBERNETES: Final = "kubernetes"
"""The engine whose machines are pods."""
_FIRST_IN_HELP: Final = ("host", "port", "engine")


def _default_state_dir() -> Path:
    return Path(platformdirs.user_state_dir("worker-orchestrator"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(PoolSettings):
    """All settings, checked.

    The fields of `PoolSettings` have what holds for the pool `default`, but for `max_machines`, which is the limit on the
    machines of all pools. `pools` has each pool, and `default` among them.
    """

    max_machines: int = setting(
        100,
        parsers.number(1, 10_000),
        "N",
        "Limit on the number of machines, idle and assigned.",
        Inherited.NEVER,
    )
    max_awake: int | None = setting(
        None,
        parsers.number(1, 10_000),
        "N",
        "Limit on the number of machines that do not sleep. Default: no other limit than --max-machines.",
    )
    host: str = setting(
        "localhost", parsers.text, "ADDRESS", "Address to listen on; localhost means 127.0.0.1 and ::1."
    )
    port: int = setting(9092, parsers.number(1, 65535), "N", "Port to listen on.")
    engine: str = choice(("docker", "kubernetes", "memory"), "Where workers run; memory is a demo without containers.")
    first_port: int = setting(9093, parsers.number(1, 65535), "N", "First host port that workers may get.")
    last_port: int = setting(65535, parsers.number(1, 65535), "N", "Last host port that workers may get.")
    publish_address: str = setting(
        "localhost",
        parsers.local_address,
        "ADDRESS",
        "IP address of the host on which ports of workers are published; localhost means 127.0.0.1 and ::1, gateway the "
        "address of the host on the network of the container in which this service runs.",
    )
    advertise_host: str = setting("localhost", parsers.host_name, "NAME", "Host name in the URLs that callers get.")
    refresh_interval: float = setting(
        10.0, parsers.seconds(0.5, 3600), "SECONDS", "Time between full listings of the engine's containers."
    )
    activity_interval: float = setting(
        30.0,
        parsers.seconds(2, 3600),
        "SECONDS",
        "How often it is looked at whether a worker with an --idle-timeout is used; more often if that is short.",
    )
    assign_timeout: float = setting(
        30.0, parsers.seconds(0.1, 3600), "SECONDS", "How long a request waits for a machine."
    )
    state_dir: Path = field(
        default_factory=_default_state_dir,
        metadata={"parse": parsers.path, "help": "Folder for the database.", "values": "FOLDER"},
    )
    store: str = choice(
        ("sqlite", "kubernetes"),
        "Where it is recorded who has which machine: a database in --state-dir, or the cluster, for several replicas.",
    )
    owner: str = setting(
        "", replicas.owner, "NAME", "Name that all replicas of this service have in common, with --store kubernetes."
    )
    replica_address: str = setting(
        "",
        replicas.replica_address,
        "URL",
        "Where other replicas and their callers reach this one, with --store kubernetes.",
    )
    standby: str = choice(
        ("forward", "redirect", "refuse"),
        "What a replica that does not lead does with requests: pass them on to the leader, answer 307 with its address, or "
        "503.",
    )
    docker_host: str = setting(
        "", parsers.text, "ADDRESS", "Address of the Docker engine. Default: the engine that the docker command uses."
    )
    namespace: str = setting(
        "",
        pods.namespace,
        "NAME",
        "Namespace of the pods, with --engine kubernetes. Default: that of the context, or of the pod of this service.",
    )
    kube_context: str = setting(
        "", parsers.text, "NAME", "Context of the kubeconfig, with --engine kubernetes. Default: the current one."
    )
    kubeconfig: Path | None = field(
        default=None,
        metadata={
            "parse": parsers.path,
            "help": "Kubeconfig file, with --engine kubernetes. Default: as kubectl finds it, or that of a pod.",
            "values": "FILE",
        },
    )
    pod_address: str = choice(
        ("pod", "node"),
        "Where pods are reached: at their own address, or at a port of their node, from --first-port to --last-port.",
    )
    allow_host: tuple[str, ...] = repeatable(
        (), parsers.host_names, "NAME", "Additional host name under which callers may reach this service."
    )
    allow_origin: tuple[str, ...] = repeatable(
        (), parsers.origins, "ORIGIN", "Web origin, such as https://app.example.com, whose pages may call this service."
    )
    e2b: bool = switch("Also take the calls of E2B's clients, under /e2b.")
    mcp: bool = switch("Also serve agents by MCP over HTTP, at /v1/mcp, to callers with the token or a key.")
    mcp_max_machines: int = setting(
        3,
        parsers.number(1, 1000),
        "N",
        "Limit on machines that models have by /v1/mcp, for each key and for the token.",
    )
    root_path: str = setting(
        "", parse_root_path, "PATH", "Path under which a proxy shows this service, such as /pool. Default: none."
    )
    token: str = secret(
        parse_token, "Token that callers must send. It may also stand in orchestrator.toml, as `token`."
    )
    token_file: Path | None = field(
        default=None,
        metadata={"parse": parsers.path, "help": "File with the token that callers must send.", "values": "FILE"},
    )
    insecure_no_auth: bool = switch("Let other computers call this service without a token.")
    rate_limit: int | None = setting(
        None,
        parsers.number(0, 1_000_000),
        "N",
        "Requests per second for each client address; 0 means no limit. Default: 100, and no limit on loopback.",
    )
    max_connections: int = setting(
        1000, parsers.number(1, 65_536), "N", "Limit on open connections for each client address."
    )
    webhook: str = setting(
        "", parsers.web_url, "URL", "Where to POST that machines expire, and that they will soon. Default: nowhere."
    )
    webhook_secret: str = secret(
        parse_webhook_secret,
        "Secret with which these messages are signed. Default: the one in --webhook-secret-file. It may also stand in "
        "orchestrator.toml, as `webhook_secret`.",
    )
    webhook_secret_file: Path | None = field(
        default=None,
        metadata={
            "parse": parsers.path,
            "help": "File with the secret with which these messages are signed. Default: one that is made in --state-dir.",
            "values": "FILE",
        },
    )
    preview: str = choice(
        ("on", "off"), "Whether projects have addresses of their own at this service, such as my-project.localhost."
    )
    preview_domain: str = setting(
        "localhost",
        preview_values.domain,
        "NAME",
        "Domain of these addresses. Names below localhost lead to this computer.",
    )
    url_template: str = setting(
        "",
        preview_values.template,
        "URL",
        "How the addresses of previews are told, such as https://{name}.example.com/. Default: as this service has them.",
    )
    durability: str = choice(
        ("process", "power"), "What an answered change survives: the end of the process, or also a power cut (fsync)."
    )
    log_format: str = choice(("console", "json"), "Format of log lines.")
    traces: bool = switch(
        "Send traces of OpenTelemetry. Where to, and how many, is in the variables OTEL_… of its standard."
    )
    own_max_machines: int | None = None
    """The limit of the pool `default` itself, which only `[pools.default]` can set."""
    other_pools: Mapping[str, PoolSettings] = field(default_factory=dict)
    """All pools but `default`."""
    without_image: tuple[str, ...] = ()
    """Pools that have the default image although `[pools.default]` names one: that is not inherited."""

    @property
    def pools(self) -> Mapping[str, PoolSettings]:
        """Every pool by its name, `default` first. The `max_machines` of each is its own limit."""
        of_default = {each.name: getattr(self, each.name) for each in dataclasses.fields(PoolSettings)}
        return {DEFAULT_POOL: PoolSettings(**of_default | {"max_machines": self.own_max_machines}), **self.other_pools}

    def __post_init__(self) -> None:
        for name, pool in self.pools.items():
            where = f"In pool {name}, " if self.other_pools else ""
            for said in contradictions(pool, self.max_machines):
                raise InvalidSetting(f"{where}{said}")
        self._refuse_too_many_idle()
        self._refuse_range_of_ports()
        self._refuse_settings_of_other_engines()
        for said in replicas.contradictions(self):
            raise InvalidSetting(said)
        if self.token and self.token_file is not None:
            raise InvalidSetting(f"token and token_file ({self.token_file}) are both set. Set only one of them.")
        if self.webhook_secret and self.webhook_secret_file is not None:
            both = f"webhook_secret and webhook_secret_file ({self.webhook_secret_file})"
            raise InvalidSetting(f"{both} are both set. Set only one of them.")

    def _refuse_too_many_idle(self) -> None:
        """Parked machines count as well, since they take room, and memory."""
        kept = {name: pool.min_idle + (pool.parked or 0) for name, pool in self.pools.items()}
        what = "min_idle and parked" if any(pool.parked for pool in self.pools.values()) else "min_idle"
        if sum(kept.values()) > self.max_machines:
            each = ", ".join(f"{name} ({count})" for name, count in kept.items() if count)
            raise InvalidSetting(
                f"The {what} of all pools together is {sum(kept.values())}, but must be at most max_machines, which is "
                f"{self.max_machines}: {each}."
            )
        if self.max_awake is not None and sum(kept.values()) > self.max_awake:
            raise InvalidSetting(
                f"max_awake is {self.max_awake}, but must be at least the {what} of all pools together, which is "
                f"{sum(kept.values())}."
            )

    def _refuse_settings_of_other_engines(self) -> None:
        """What would have no effect on this engine."""
        if self.engine == KUBERNETES:
            names = [name for name in ("docker_host", "publish_address") if getattr(self, name) != _DEFAULTS[name]]
            why = "is for Docker"
        else:
            names = [name for name in ("namespace", "kube_context", "kubeconfig") if getattr(self, name)]
            names += ["pod_address"] if self.pod_address != _DEFAULTS["pod_address"] else []
            names += ["pod_template"] if any(pool.pod_template for pool in self.pools.values()) else []
            names += ["unreachable_grace"] if any(pool.unreachable_grace for pool in self.pools.values()) else []
            why = "is for the engine kubernetes"
        if names:
            raise InvalidSetting(
                f"{names[0]} {why}, but engine is {self.engine}. Leave it out, or choose another engine."
            )

    def _refuse_range_of_ports(self) -> None:
        least = self.first_port
        if self.last_port < least:
            raise InvalidSetting(f"last_port is {self.last_port}, but must be at least first_port, which is {least}.")
        count, name = max((len(pool.ports), name) for name, pool in self.pools.items())
        if self.last_port < least + count - 1:
            raise InvalidSetting(
                f"last_port is {self.last_port}, but must be at least {least + count - 1}: first_port is {least}, and a "
                f"machine of the pool {name} needs {count} host ports."
            )


_DEFAULTS: Final = {each.name: each.default for each in dataclasses.fields(Settings)}


def settings() -> list[Setting]:
    """Every setting that has a flag or a variable, in the order of the help."""
    return sorted(settings_of(Settings()), key=lambda each: each.name not in _FIRST_IN_HELP)
