"""What `orchestrator doctor` checks on this computer: ports, state directory, clock, limits, a running service."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from worker_orchestrator.cli.doctor.engine_checks import EngineFacts
from worker_orchestrator.cli.doctor.finding import Finding, ok, warning, wrong
from worker_orchestrator.cli.doctor.network_checks import check_publish_address
from worker_orchestrator.cli.service_connection import open_client, read_token
from worker_orchestrator.errors import InvalidSetting, OrchestratorError, ServiceUnreachable, StoreError
from worker_orchestrator.http.server.listening import has_ipv6_loopback
from worker_orchestrator.service.egress.keeper import refuse_without_squid
from worker_orchestrator.settings.egress_names import NAMES
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.database import look_at
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import DATABASE

__all__ = ["check_host", "check_service", "url_of"]

_TIMEOUT_S: Final = 3.0
_TOO_FEW_FREE_BYTES: Final = 50 * 1024**2
_FEW_FREE_BYTES: Final = 1024**3
_EARLIEST_S: Final = 1_750_000_000
"""June 2025: a correct clock shows a later time, since this was written then."""
_LATEST_S: Final = 4_000_000_000
_FEWEST_OPEN_FILES: Final = 4096
_INOTIFY_PER_WORKER: Final = 2
_PROC: Final = Path("/proc/sys")
_MEMORY: Final = Path("/proc/meminfo")
_LEAST_MEMORY_KB: Final = 64 * 1024


def check_host(settings: Settings, engine: EngineFacts, *, running: bool) -> Iterator[Finding]:
    """Everything about this computer. `running`: our service answers at its port."""
    yield _api_port(settings, running=running)
    if settings.engine == "docker" and engine.is_local is not False:
        yield _worker_ports(settings, engine.worker_ports)
        yield from check_publish_address(settings.publish_address)
        yield from _urls(settings)
    yield from _proxy(settings)
    yield from _state_dir(settings)
    yield from _room("the engine's disk", engine.root, f"`{engine.command} system prune` removes what is unused")
    if engine.root is not None:
        yield from _memory(_MEMORY)
    yield _clock()
    yield from _limits(settings, engine)


def _proxy(settings: Settings) -> Iterator[Finding]:
    """Whether what a pool needs that reaches names is there."""
    if any(pool.outbound_kind == NAMES for pool in settings.pools.values()):
        try:
            refuse_without_squid(settings)
            yield ok("proxy", "Squid is installed, by which workers reach the names in outbound.")
        except InvalidSetting as error:
            yield wrong("proxy", error.message, "`apt-get install squid`, or set outbound to any or host")


# the service


def url_of(settings: Settings, url: str | None) -> str:
    """The address of the service: the one that was named, else the one that these settings lead to."""
    return (url or os.environ.get("ORCHESTRATOR_URL") or f"http://localhost:{settings.port}").rstrip("/")


def check_service(settings: Settings, url: str) -> tuple[Finding, bool]:
    """A finding about the service at this URL, and whether one answers there at all."""
    try:
        token = settings.token or (read_token(settings.token_file) if settings.token_file is not None else None)
        with open_client(url, token or None, timeout_s=_TIMEOUT_S) as client:
            health = client.health()
    except ServiceUnreachable:
        hint = f"`orchestrator serve --image {settings.image}` starts one"
        return ok("service", f"No service runs at {url} yet.", hint), False
    except OrchestratorError as error:
        return wrong(
            "service", error.message, "name the file of its token with --token-file, or the right address with --url"
        ), True
    if health.status == "ok":
        return ok("service", f"Version {health.version} runs at {url}; all is well."), True
    problems = [*filter(None, [health.engine.problem]), *health.problems]
    says = f"The service at {url} is {health.status}: {' '.join(problems)}"
    return (wrong if health.status == "down" else warning)(
        "service", says, "read its log, and the other findings here"
    ), True


# ports


def _api_port(settings: Settings, *, running: bool) -> Finding:
    if not _is_taken(settings.port):
        return ok("port", f"{settings.port} is free.")
    if running or _holder(settings) is not None:
        return ok("port", f"{settings.port} is taken, by the running service.")
    fix = (
        f"find out which program has it (`sudo ss -ltnp 'sport = :{settings.port}'`) and end it, or serve with --port N"
    )
    return wrong("port", f"{settings.port} is taken by something else.", fix)


def _worker_ports(settings: Settings, ours: set[int]) -> Finding:
    """Whether there are enough ports for `max_machines`: free ones, and those that workers have.

    Each machine counts with the most ports that one of any pool needs.
    """
    each = max(1, *(len(pool.ports) for pool in settings.pools.values()))
    usable, needed = 0, settings.max_machines * each
    last = settings.first_port - 1
    for last in range(settings.first_port, settings.last_port + 1):
        usable += last in ours or (last != settings.port and not _is_taken(last))
        if usable == needed:
            return ok("workers' ports", f"{usable} from {settings.first_port} to {last} are usable.")
    says = (
        f"Only {usable} from {settings.first_port} to {last} are usable, for at most {settings.max_machines} machines"
        f"{'' if each == 1 else f' with {each} ports each'}."
    )
    fix = f"serve with a wider range (--first-port, --last-port) or with --max-machines {max(1, usable // each)}"
    return (warning if usable else wrong)("workers' ports", says, fix)


def _urls(settings: Settings) -> Iterator[Finding]:
    """Whether the host in workers' URLs leads to the address on which they are published."""
    host, published = settings.advertise_host, settings.publish_address
    in_urls, bound = _addresses(host), _addresses(published)
    if not in_urls or not bound or in_urls & bound or any(address.is_unspecified for address in bound):
        return
    says = f"They are on {host}, which is {min(map(str, in_urls))}, but workers are published on {published} only."
    if any(address.is_loopback for address in in_urls):
        fix = f"serve with --advertise-host {published} as well"
    else:
        fix = f"serve with --publish-address 0.0.0.0 as well, unless something forwards {host} to {published}"
    yield warning("workers' URLs", says, fix)


def _addresses(host: str) -> set[IPv4Address | IPv6Address]:
    """The addresses of this name, as this computer resolves it; empty if it cannot."""
    try:
        results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {ip_address(str(address[0]).partition("%")[0]) for *_, address in results}


def _is_taken(port: int) -> bool:
    addresses = [(socket.AF_INET, "127.0.0.1")] + ([(socket.AF_INET6, "::1")] if has_ipv6_loopback() else [])
    for family, address in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                    return True
    return False


# the state directory


def _holder(settings: Settings) -> int | None:
    try:
        return Lock.holder(settings.state_dir)
    except StoreError:
        return None


def _state_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.state_dir.absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        fix = f"`sudo chown $USER {existing}`, or serve with --state-dir FOLDER"
        yield wrong("state directory", f"{existing} cannot be written to.", fix)
        return
    holder = _holder(settings)
    if holder is not None:
        yield ok("state directory", f"{folder} is in use by the service with pid {holder}.")
    elif existing != folder:
        yield ok("state directory", f"{folder} can be created.")
    else:
        yield ok("state directory", f"{folder} can be written to, and no service uses it.")
    yield from _database(folder / DATABASE, alone=holder is None)
    yield from _room("state directory", existing, "free some space, or serve with --state-dir FOLDER on another disk")


def _database(file: Path, *, alone: bool) -> Iterator[Finding]:
    if not file.exists():
        return
    try:
        version = look_at(file, alone=alone)
    except StoreError as error:
        yield wrong(
            "database",
            error.message,
            "restore a backup, or move it away to start with a new one; `recover` finds its machines",
        )
    else:
        yield ok("database", f"{file} is sound (version {version}).")


def _room(check: str, folder: Path | None, fix: str) -> Iterator[Finding]:
    if folder is None:
        return
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if free < _FEW_FREE_BYTES:
        says = f"Its disk has {free // 1024**2} MiB left."
        yield (wrong if free < _TOO_FEW_FREE_BYTES else warning)(check, says, fix)


# the rest


def _clock() -> Finding:
    now = time.time()
    if _EARLIEST_S < now < _LATEST_S:
        return ok("clock", time.strftime("It is %Y-%m-%d %H:%M:%S UTC.", time.gmtime(now)))
    says = time.strftime("It shows %Y-%m-%d, which cannot be right.", time.gmtime(now))
    return wrong("clock", says, "`sudo timedatectl set-ntp true`")


def _limits(settings: Settings, engine: EngineFacts) -> Iterator[Finding]:
    try:
        import resource  # noqa: PLC0415 # not on Windows
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < _FEWEST_OPEN_FILES:
        fix = "raise it: `LimitNOFILE=65536` in the systemd unit, or `ulimit -Hn 65536` as root before it starts"
        yield warning("limits", f"A process may open only {hard} files here, and each connection counts as one.", fix)
    else:
        yield ok("limits", "A process may open enough files.")
    instances = _kernel("fs/inotify/max_user_instances")
    wanted = _INOTIFY_PER_WORKER * settings.max_machines
    if engine.root is not None and instances is not None and instances < wanted:
        fix = f"`sudo sysctl fs.inotify.max_user_instances={max(1024, wanted)}`, if workers watch files"
        yield warning("limits", f"All workers of one user share {instances} inotify instances.", fix)


def _memory(file: Path) -> Iterator[Finding]:
    """Whether programs may still take enough memory, as the kernel reports it."""
    try:
        match = re.search(r"^MemAvailable:\s*([0-9]+) kB$", file.read_text(), re.MULTILINE)
    except OSError:
        return
    if match is not None and int(match[1]) < _LEAST_MEMORY_KB:
        fix = "end another program, or serve with smaller values (--min-idle, --max-machines, --memory)"
        yield warning("memory", f"This computer has {int(match[1]) // 1024} MiB of memory left.", fix)


def _kernel(name: str) -> int | None:
    try:
        return int((_PROC / name).read_text())
    except (OSError, ValueError):
        return None
