"""What the operator chose and this engine cannot keep: it is refused at the start, with what to do. No I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.podman_host import SHARED_INSTEAD, USE_NFTABLES
from worker_orchestrator.engines.docker.template import TOKEN, DockerOptions
from worker_orchestrator.errors import EngineRejected
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["EngineHost", "has_health_check", "refuse_unkept", "why_not_parked"]


@dataclass(frozen=True, slots=True)
class EngineHost:
    """What is known of the computer that the engine runs on. The defaults are for one that cannot be looked at."""

    may_have_systemd: bool = True
    firewall_driver: str = ""


def refuse_unkept(
    options: DockerOptions,
    dialect: Dialect,
    info: Mapping[str, Any],
    host: EngineHost,
    addresses: Collection[str] = (),
) -> None:
    """Refuse what this engine would refuse at every create, or would drop without a word.

    `info`: what it says of itself (GET /info). `addresses`: those to publish on. Raises EngineRejected.
    """
    for why in [
        *_unkept(options, dialect, info, host),
        *_unanswered(addresses, dialect),
        *_unfenced(options, dialect, addresses),
    ]:
        raise EngineRejected(why)


def has_health_check(image: Mapping[str, Any]) -> bool:
    """Whether the engine runs a check of its own in containers of this image, as it shows that."""
    test = ((image.get("Config") or {}).get("Healthcheck") or {}).get("Test") or ["NONE"]
    return bool(test[0] != "NONE")


def why_not_parked(options: DockerOptions, dialect: Dialect, *, is_checked: bool = False) -> str:
    """Why workers with these options cannot be paused until somebody needs them, with what to do; empty if they can.

    `is_checked`: their image has a health check. The engine starts it by itself, and if it pauses a container just then, it
    can never let it go on (`programs.py`).

    Docker ends the health check of what it pauses, and begins it anew when that goes on: its first answer comes after the
    whole interval of the check, and until then Docker says `unhealthy`.
    """
    if dialect.cannot_pause:
        return (
            "The engine cannot pause workers, as --parked needs it: it has no control groups for them. Set them up "
            f"({_delegation(dialect)}), or choose --parked 0."
        )
    if options.ready == "healthcheck":
        return (
            "--parked is for workers that go on within milliseconds, but after a pause the engine says only at the next run "
            "of a health check whether a worker is ready: choose --ready http or --ready tcp, or --parked 0."
        )
    if is_checked:
        return (
            "The image has a HEALTHCHECK. If the engine pauses a container just as it starts that, the container hangs "
            "for good. Build the image without it (HEALTHCHECK NONE) for --parked, or choose --parked 0."
        )
    return ""


def _unfenced(options: DockerOptions, dialect: Dialect, addresses: Collection[str]) -> Iterator[str]:
    """Why workers cannot be kept from all but the names that were given."""
    if options.outbound != "names":
        return
    if dialect.isolates_by_network or dialect.is_rootless:
        kind = "A rootless engine" if dialect.is_rootless else dialect.name
        yield (
            f"{kind} keeps its networks where no proxy of this service can listen, so --outbound cannot be names: "
            "choose any or host, or use Docker Engine on Linux."
        )
    beyond = [it for it in addresses if it != "localhost" and not ipaddress.ip_address(it).is_loopback]
    if beyond:
        yield (
            f"Workers with --outbound of names have no way back to callers that reach them on {beyond[0]}: leave "
            "--publish-address at localhost, or choose --outbound any or host."
        )


def _unanswered(addresses: Collection[str], dialect: Dialect) -> Iterator[str]:
    if not dialect.answers_on_ipv6 and (ipv6 := [it for it in addresses if ":" in it]):
        yield (
            f"{dialect.name} accepts to publish on {ipv6[0]}, but nothing answers there: choose an IPv4 address with "
            "--publish-address, or leave it out."
        )


def _unkept(options: DockerOptions, dialect: Dialect, info: Mapping[str, Any], host: EngineHost) -> Iterator[str]:
    if (kind := info.get("OSType") or "linux") != "linux":
        yield f"The engine runs {plain(kind, 40)} containers: switch it to Linux containers."
    if needed := dialect.lacks_host_gateway:
        yield f"{dialect} cannot lead workers to its host: install {needed} or newer."
    yield from _runtime(options, dialect, info)
    yield from _late(options, dialect, info)
    if options.parked and (why := why_not_parked(options, dialect)):
        yield why
    processors = info.get("NCPU") or 0
    if processors and options.cpus > processors:
        yield f"--cpus is {options.cpus:g}, but the engine has only {processors}: choose less."
    for chosen, can, flag, instead in (
        (options.memory, "MemoryLimit", "--memory", "leave it out"),
        (options.cpus, "CpuCfsQuota", "--cpus", "leave it out"),
        (options.pids_limit, "PidsLimit", "--pids-limit", "choose --pids-limit 0"),
    ):
        if chosen and (dialect.lacks_cgroups or info.get(can) is False):
            yield (
                f"The engine cannot enforce {flag}: its cgroups lack what that needs. Set them up "
                f"({_delegation(dialect)}), or {instead}."
            )
    if options.outbound == "host" and dialect.is_rootless:
        yield (
            "A rootless engine leads workers to its host by the same way as to everybody else, so with --outbound host they "
            "would not reach the host either: leave --outbound out, or use an engine that runs as root."
        )
    if options.ready == "healthcheck" and dialect.checks_health_by_systemd and not host.may_have_systemd:
        yield (
            f"{dialect.name} lets systemd run the health checks of containers, and this host runs without systemd: choose "
            "--ready http or --ready tcp."
        )
    needs_isolation = dialect.isolates_by_network and not options.network and not options.insecure_shared_network
    if needs_isolation and host.firewall_driver == "iptables":
        yield (
            f"{dialect.name} uses iptables here (by its containers.conf or by netavark's own choice), with "
            f"which workers do not stay apart: {USE_NFTABLES}. Or {SHARED_INSTEAD}."
        )


def _late(options: DockerOptions, dialect: Dialect, info: Mapping[str, Any]) -> Iterator[str]:
    if options.late_post and TOKEN in (options.env or {}):
        yield (
            f"--env sets {TOKEN}, in which each worker gets a token of its own with --late-post: give yours another name."
        )
    drivers = (info.get("Plugins") or {}).get("Volume")
    if options.late_dir and not dialect.archives_reach_memory and drivers is not None and "local" not in drivers:
        yield (
            "The engine has no volumes of its driver local, in which --late-dir keeps values in memory: leave it out, or "
            "use another engine."
        )


def _runtime(options: DockerOptions, dialect: Dialect, info: Mapping[str, Any]) -> Iterator[str]:
    if not options.runtime:
        return
    if not dialect.takes_runtime:
        if options.runtime != info.get("DefaultRuntime"):
            yield (
                f"{dialect.name} ignores --runtime, and would use {plain(info.get('DefaultRuntime', 'its own'), 40)}: set "
                f'`runtime = "{options.runtime}"` under [engine] in its containers.conf, restart it, and leave --runtime as '
                "it is."
            )
        return
    runtimes = sorted(info.get("Runtimes") or ())
    if options.runtime not in runtimes:
        named = plain(", ".join(map(str, runtimes))) or "none"
        yield (
            f"The engine has no runtime {options.runtime} (it has: {named}). Install it, or choose another with --runtime."
        )


def _delegation(dialect: Dialect) -> str:
    if dialect.is_rootless:
        return "a rootless engine needs them delegated to its user, which takes cgroups version 2 and systemd"
    return "the kernel's command line may switch them off"
