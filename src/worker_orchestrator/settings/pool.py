"""What the operator chooses for a pool: what makes its workers, and how many machines it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.core.activity import DEFAULT_TRAFFIC_MIN
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.core.windows import Window
from worker_orchestrator.settings import egress_names, late, parsers, pods
from worker_orchestrator.settings.named_ports import named_ports
from worker_orchestrator.settings.setting import Inherited, choice, repeatable, setting, switch

__all__ = ["DEFAULT_ENV", "DEFAULT_POOL", "PoolSettings"]

DEFAULT_ENV: Final[Mapping[str, str]] = {
    "DATABASE_URL": "postgresql://postgres:postgres@host.docker.internal:5432/postgres",
}
_ALWAYS, _WITH_IMAGE, _SIZE = Inherited.ALWAYS, Inherited.WITH_IMAGE, Inherited.NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """All settings of one pool. `pool_tables` says what a pool inherits; here, everything is resolved.

    The fields with a help are also flags and variables, and may stand outside of all tables of orchestrator.toml.
    """

    image: str = setting("yashtech00/worker:v1", parsers.image, "IMAGE", "The worker image.", _ALWAYS)
    worker_port: int | None = setting(
        None,
        parsers.number(1, 65535),
        "N",
        "Port of the worker in its container. Default: the port that the image exposes, otherwise 9092.",
        _WITH_IMAGE,
    )
    ports: tuple[tuple[str, int], ...] = repeatable(
        (),
        named_ports,
        "NAME=N",
        "A port of the worker in its container, with a name. The first one is that of its URL. In place of --worker-port.",
        _WITH_IMAGE,
    )
    min_idle: int = setting(2, parsers.number(0, 10_000), "N", "Number of idle machines to keep ready.", _SIZE)
    max_idle: int | None = setting(
        None, parsers.number(0, 10_000), "N", "Idle machines above this number are removed. Default: no limit.", _SIZE
    )
    spare: float = setting(
        0.0,
        parsers.share,
        "SHARE",
        "Idle machines to keep as a share of the assigned ones, such as 25%, if that is more than --min-idle.",
        _SIZE,
    )
    sizing: str = choice(
        ("fixed", "adaptive"),
        "Whether idle machines are as many as the settings say, or follow demand: --min-idle at least, and as many more as "
        "--target needs.",
        _SIZE,
    )
    target: float = setting(
        0.99,
        parsers.hit_ratio,
        "RATIO",
        "With --sizing adaptive, and for `orchestrator plan`: the share of the assigns that find a machine ready.",
        _SIZE,
    )
    shrink_after: float | None = setting(
        None,
        parsers.seconds(0, 86_400),
        "SECONDS",
        "How long idle machines are kept that are too many. Default: 0 for those above --max-idle, and 300 where a window, "
        "--spare or --sizing adaptive had made the pool larger.",
        _SIZE,
    )
    parked: int | None = setting(
        None,
        parsers.number(0, 10_000),
        "N",
        "Number of machines to keep besides the idle ones, started and paused. They use no processor, and one goes on in a "
        "moment where none is idle. Default: none, and with --sizing adaptive as many as demand asks for; with 0 none ever.",
        _SIZE,
    )
    parked_check: float = setting(
        300.0,
        parsers.seconds(1, 86_400),
        "SECONDS",
        "How often each of the --parked machines goes on for a moment, to show that it still answers.",
        _ALWAYS,
    )
    max_machines: int | None = setting(
        None, parsers.number(1, 10_000), "N", "Limit on the number of machines of the pool, idle and assigned.", _SIZE
    )
    network: str = setting(
        "", parsers.network_name, "NAME", "Docker network of the workers. Default: a network of their own.", _ALWAYS
    )
    outbound: str | tuple[str, ...] = setting(
        "any",
        egress_names.outbound,
        "any|host|NAMES",
        "What workers can connect to: any address, only the host that the engine runs on, or only these web hosts.",
        _ALWAYS,
    )
    insecure_shared_network: bool = switch(
        "Let workers reach each other: one network without isolation. On Podman they start faster so.", _ALWAYS
    )
    env: Mapping[str, str] = repeatable(
        DEFAULT_ENV, parsers.environment, "K=V", "Environment variable for the workers.", _ALWAYS
    )
    memory: str = setting(
        "",
        parsers.size("6m"),
        "SIZE",
        "Memory limit of each worker, swap included, such as 512m or 2g. Default: no limit.",
        _ALWAYS,
    )
    cpus: float | None = setting(
        None,
        parsers.processors,
        "N",
        "Number of processors that each worker may use, such as 1.5. Default: no limit.",
        _ALWAYS,
    )
    pids_limit: int = setting(
        2048,
        parsers.number(0, 4_194_304),
        "N",
        "Limit on the processes and threads of each worker; 0 means no limit.",
        _ALWAYS,
    )
    log_limit: str = setting(
        "30m",
        parsers.size("64k", zero=True),
        "SIZE",
        "How much output of each worker Docker keeps; 0 means as much as the engine is configured to keep.",
        _ALWAYS,
    )
    cap_drop: tuple[str, ...] = repeatable(
        (),
        parsers.capabilities,
        "CAPABILITY",
        "Linux capability to take from workers, such as NET_RAW, or ALL.",
        _ALWAYS,
    )
    allow_sudo: bool = switch("Let sudo and other setuid programs gain privileges in workers.", _ALWAYS)
    read_only: bool = switch("Let workers write only to /tmp (in memory) and to volumes.", _ALWAYS)
    user: str = setting(
        "",
        parsers.user,
        "USER",
        "User that workers run as, such as 1000 or web:web. Default: the image's user.",
        _ALWAYS,
    )
    runtime: str = setting(
        "", parsers.text, "NAME", "Container runtime, such as runsc. Default: the engine's default runtime.", _ALWAYS
    )
    pod_template: str = setting(
        "",
        pods.pod_template,
        "FILE",
        "File of YAML or JSON that is merged over the pods of workers, with --engine kubernetes. Default: none.",
        _ALWAYS,
    )
    ready: str = choice(("http", "tcp", "healthcheck"), "How a worker shows that it is ready.", _WITH_IMAGE)
    ready_path: str = setting(
        "/",
        parsers.url_path,
        "PATH",
        "Path to request with --ready http; a reply with any status means ready.",
        _WITH_IMAGE,
    )
    ready_port: str = setting(
        "",
        parsers.text,
        "NAME",
        "Which of the --ports is asked whether a worker is ready. Default: the first one.",
        _WITH_IMAGE,
    )
    start_timeout: float = setting(
        60.0, parsers.seconds(1, 3600), "SECONDS", "How long a new worker may take until it is ready.", _ALWAYS
    )
    stop_timeout: float = setting(
        10.0,
        parsers.seconds(0, 3600),
        "SECONDS",
        "How long a worker may take to stop after its project was done with it; an idle one is killed at once.",
        _ALWAYS,
    )
    unreachable_grace: int = setting(
        0,
        parsers.duration(0, 31_536_000),
        "DURATION",
        "With --engine kubernetes: a project that asks when the node of its machine has not reported for longer gets "
        "another machine, without its files; 0 means never.",
        _ALWAYS,
    )
    on_release: str = choice(
        ("reuse", "recycle"),
        "Whether a released machine is used again as it is, or replaced by a new one.",
        _ALWAYS,
    )
    late_dir: str = setting(
        "",
        late.directory,
        "FOLDER",
        "Folder in workers, in memory, for the env, secrets and files that an assign brings, such as /run/project. "
        "Default: workers take none.",
        _WITH_IMAGE,
    )
    late_hook: tuple[str, ...] = setting(
        (),
        late.command,
        "COMMAND",
        "Command to run in a worker once these are in --late-dir, such as /app/configure. Default: none.",
        _WITH_IMAGE,
    )
    late_post: str = setting(
        "",
        parsers.url_path,
        "PATH",
        "Path on the port of the worker to post these to, as JSON. Needs --on-release recycle. Default: none.",
        _WITH_IMAGE,
    )
    late_timeout: float = setting(
        late.TIMEOUT_S,
        parsers.seconds(1, 3600),
        "SECONDS",
        "How long it may take to set up a worker with these.",
        _WITH_IMAGE,
    )
    on_setup_failure: str = choice(
        ("keep", "replace"),
        "What happens to a machine whose set-up failed: its project keeps it, or it is removed.",
        _WITH_IMAGE,
    )
    ttl: int | None = setting(
        None,
        parsers.duration(1, 31_536_000),
        "DURATION",
        "A project loses its machine so long after it last asked for it or kept it, such as 1h. Default: never.",
        _ALWAYS,
    )
    max_age: int | None = setting(
        None,
        parsers.duration(1, 31_536_000),
        "DURATION",
        "A project has its machine no longer than this. Default: no limit.",
        _ALWAYS,
    )
    idle_timeout: int | None = setting(
        None,
        parsers.duration(1, 31_536_000),
        "DURATION",
        "A project loses its machine if it does not use it for so long, such as 15m. Default: never.",
        _ALWAYS,
    )
    confirm_within: int | None = setting(
        None,
        parsers.duration(1, 31_536_000),
        "DURATION",
        "A machine that its project does not use at all goes back after so long. Default: never.",
        _ALWAYS,
    )
    on_expiry: str = choice(
        ("release", "sleep", "destroy"),
        "What happens to a machine whose time is over: it is removed, is stopped and kept for its project, or is killed.",
        _ALWAYS,
    )
    warn_before: int = setting(
        60,
        parsers.duration(0, 86_400),
        "DURATION",
        "How long before a machine expires its project is warned, by an event and the webhook; 0 means never.",
        _ALWAYS,
    )
    idle_traffic: str = choice(
        ("inbound", "any", "off"),
        "Which traffic of a worker counts as use for --idle-timeout: what it receives, also what it sends, or none.",
        _ALWAYS,
    )
    idle_traffic_min: int = setting(
        DEFAULT_TRAFFIC_MIN,
        parsers.number(0, 999_999_999),
        "BYTES",
        "Traffic of a worker of at most so much between two readings is no use of it.",
        _ALWAYS,
    )
    idle_cpu: float | None = setting(
        None,
        parsers.processors,
        "N",
        "A worker that uses more processors than this, such as 0.05, is in use. Default: its work does not count.",
        _ALWAYS,
    )
    wake_on_visit: str = choice(
        ("on", "off"), "Whether who visits the preview of a project that sleeps wakes its machine.", _ALWAYS
    )
    preview_access: str = choice(
        ("auto", "public", "link"),
        "Who may see previews: everybody, or who has a link. Default: everybody on this computer, without a token.",
        _ALWAYS,
    )
    preview_host: str = choice(
        ("own", "localhost"),
        "Which Host a worker sees of the visitors of its preview: its own, or localhost with its port.",
        _WITH_IMAGE,
    )
    windows: tuple[Window, ...] = ()
    """Times at which it keeps more idle machines. A flag or variable for them would not be readable."""

    @property
    def outbound_kind(self) -> str:
        """any, host or names."""
        return self.outbound if isinstance(self.outbound, str) else egress_names.NAMES
