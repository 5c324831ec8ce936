"""What `orchestrator doctor` finds out on this computer: ports, state directory, clock, limits, a running service."""

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

from worker_orchestrator.cli.doctor.engine_checks import Engine
from worker_orchestrator.cli.doctor.finding import Finding, bad, good, odd
from worker_orchestrator.cli.doctor.network_checks import check_publish_address
from worker_orchestrator.cli.service_connection import connect, read_token
from worker_orchestrator.errors import OrchestratorError, ServiceUnreachable, StoreError
from worker_orchestrator.http.server.listening import has_ipv6_loopback
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.database import look_at
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import DATABASE

__all__ = ["check_host", "check_service", "url_of"]

_TIMEOUT_S: Final = 3.0
_LITTLE_BYTES: Final = 50 * 1024**2
_SOME_BYTES: Final = 1024**3
_EARLIEST_S: Final = 1_750_000_000
"""June 2025: no clock that is right showed less when this was written."""
_LATEST_S: Final = 4_000_000_000
_FILES: Final = 4096
_INOTIFY_PER_WORKER: Final = 2
_PROC: Final = Path("/proc/sys")
_MEMORY: Final = Path("/proc/meminfo")
_LITTLE_MEMORY_KB: Final = 64 * 1024


def check_host(settings: Settings, engine: Engine, *, running: bool) -> Iterator[Finding]:
    """All that concerns this computer. `running`: our service answers at its port."""
    yield _api_port(settings, running=running)
    if settings.engine == "docker" and engine.is_local is not False:
        yield _worker_ports(settings, engine.worker_ports)
        yield from check_publish_address(settings.publish_address)
        yield from _urls(settings)
    yield from _state_dir(settings)
    yield from _room("Docker's disk", engine.root, "`docker system prune` removes what is unused")
    if engine.root is not None:
        yield from _memory(_MEMORY)
    yield _clock()
    yield from _limits(settings, engine)


# the service


def url_of(settings: Settings, url: str | None) -> str:
    """The service that is asked: the one that was named, else the one that these settings make."""
    return (url or os.environ.get("ORCHESTRATOR_URL") or f"http://localhost:{settings.port}").rstrip("/")


def check_service(settings: Settings, url: str) -> tuple[Finding, bool]:
    """How the service at this URL is, and whether one answers there at all."""
    try:
        token = settings.token or (read_token(settings.token_file) if settings.token_file is not None else None)
        with connect(url, token or None, timeout_s=_TIMEOUT_S) as client:
            found = client.health()
    except ServiceUnreachable:
        hint = f"`orchestrator serve --image {settings.image}` starts one"
        return good("service", f"None runs at {url} yet.", hint), False
    except OrchestratorError as error:
        return bad("service", error.message, "name its token with --token-file, or the right address with --url"), True
    if found.status == "ok":
        return good("service", f"Version {found.version} runs at {url}; all is well."), True
    problems = [*filter(None, [found.engine.problem]), *found.problems]
    says = f"The service at {url} is {found.status}: {' '.join(problems)}"
    return (bad if found.status == "down" else odd)("service", says, "see its log, and what else is wrong here"), True


# ports


def _api_port(settings: Settings, *, running: bool) -> Finding:
    taken = _taken(settings.port)
    if not taken:
        return good("port", f"{settings.port} is free.")
    if running or _holder(settings) is not None:
        return good("port", f"{settings.port} is taken, by the running service.")
    fix = f"find out by whom (`sudo ss -ltnp 'sport = :{settings.port}'`) and end that, or serve with --port N"
    return bad("port", f"{settings.port} is taken by something else.", fix)


def _worker_ports(settings: Settings, ours: set[int]) -> Finding:
    """Whether there are enough for `max_machines`: free ones, and those that workers have."""
    usable = 0
    last = settings.first_port - 1
    for last in range(settings.first_port, settings.last_port + 1):
        usable += last in ours or (last != settings.port and not _taken(last))
        if usable == settings.max_machines:
            return good("workers' ports", f"{usable} from {settings.first_port} to {last} are usable.")
    says = (
        f"Only {usable} from {settings.first_port} to {last} are usable, for at most {settings.max_machines} machines."
    )
    fix = f"serve with a wider range (--first-port, --last-port) or with --max-machines {max(1, usable)}"
    return (odd if usable else bad)("workers' ports", says, fix)


def _urls(settings: Settings) -> Iterator[Finding]:
    """Whether the host in workers' URLs can lead to where they are published."""
    host, published = settings.advertise_host, settings.publish_address
    found, there = _addresses(host), _addresses(published)
    if not found or not there or found & there or any(address.is_unspecified for address in there):
        return
    says = f"They are on {host}, which is {min(map(str, found))}, but workers are published on {published} only."
    if any(address.is_loopback for address in found):
        fix = f"serve with --advertise-host {published} as well"
    else:
        fix = f"serve with --publish-address 0.0.0.0 as well, unless something forwards {host} to {published}"
    yield odd("workers' URLs", says, fix)


def _addresses(host: str) -> set[IPv4Address | IPv6Address]:
    """What this name or address means here; empty where nobody knows."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {ip_address(str(address[0]).partition("%")[0]) for *_, address in found}


def _taken(port: int) -> bool:
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
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        fix = f"`sudo chown $USER {there}`, or serve with --state-dir FOLDER"
        yield bad("state directory", f"{there} cannot be written to.", fix)
        return
    holder = _holder(settings)
    if holder is not None:
        yield good("state directory", f"{folder} is in use by the service with pid {holder}.")
    elif there != folder:
        yield good("state directory", f"{folder} can be made.")
    else:
        yield good("state directory", f"{folder} can be written to, and nobody uses it.")
    yield from _database(folder / DATABASE, alone=holder is None)
    yield from _room("state directory", there, "free some, or serve with --state-dir FOLDER on another disk")


def _database(file: Path, *, alone: bool) -> Iterator[Finding]:
    if not file.exists():
        return
    try:
        version = look_at(file, alone=alone)
    except StoreError as error:
        yield bad(
            "database", error.message, "restore a backup, or move it away to begin anew; `recover` finds its machines"
        )
    else:
        yield good("database", f"{file} is sound (version {version}).")


def _room(check: str, folder: Path | None, fix: str) -> Iterator[Finding]:
    if folder is None:
        return
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if free < _SOME_BYTES:
        says = f"Its disk has {free // 1024**2} MiB left."
        yield (bad if free < _LITTLE_BYTES else odd)(check, says, fix)


# the rest


def _clock() -> Finding:
    now = time.time()
    if _EARLIEST_S < now < _LATEST_S:
        return good("clock", time.strftime("It is %Y-%m-%d %H:%M:%S UTC.", time.gmtime(now)))
    says = time.strftime("It says %Y-%m-%d, which cannot be.", time.gmtime(now))
    return bad("clock", says, "`sudo timedatectl set-ntp true`")


def _limits(settings: Settings, engine: Engine) -> Iterator[Finding]:
    try:
        import resource  # noqa: PLC0415 # not on Windows
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        fix = "raise it: `LimitNOFILE=65536` in the systemd unit, or `ulimit -Hn 65536` as root before"
        yield odd("limits", f"A process here may open only {hard} files, and each connection is one.", fix)
    else:
        yield good("limits", "A process may open enough files.")
    instances = _kernel("fs/inotify/max_user_instances")
    wanted = _INOTIFY_PER_WORKER * settings.max_machines
    if engine.root is not None and instances is not None and instances < wanted:
        fix = f"`sudo sysctl fs.inotify.max_user_instances={max(1024, wanted)}`, where workers watch files"
        yield odd("limits", f"All workers of one user share {instances} inotify instances.", fix)


def _memory(file: Path) -> Iterator[Finding]:
    """What the kernel says that programs may still take."""
    try:
        found = re.search(r"^MemAvailable:\s*([0-9]+) kB$", file.read_text(), re.MULTILINE)
    except OSError:
        return
    if found is not None and int(found[1]) < _LITTLE_MEMORY_KB:
        fix = "end something, or serve with less (--min-idle, --max-machines, --memory)"
        yield odd("memory", f"This computer has {int(found[1]) // 1024} MiB of memory left.", fix)


def _kernel(name: str) -> int | None:
    try:
        return int((_PROC / name).read_text())
    except (OSError, ValueError):
        return None
