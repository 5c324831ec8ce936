"""What the proxies of pools refused to the workers of assignments: the last few hosts of each, and how often."""

from __future__ import annotations

from typing import Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["RefusedRequests"]

_MOST_HOSTS: Final = 10
_MOST_MACHINES: Final = 1000
_LONGEST: Final = 100


class RefusedRequests:
    """By machine and generation, so that no project hears what another one's worker asked for."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], dict[str, int]] = {}

    def note(self, machine: Machine, what: str) -> None:
        """A request for `what`: HOST:PORT, or a URL, of which only the host is kept."""
        key = (machine.id, machine.generation)
        hosts = self._counts.pop(key, {})
        host = plain(what.partition("://")[2].partition("/")[0].rpartition("@")[2] or what, _LONGEST)
        hosts[host] = hosts.pop(host, 0) + 1
        if len(hosts) > _MOST_HOSTS:
            del hosts[next(iter(hosts))]
        self._counts[key] = hosts
        if len(self._counts) > _MOST_MACHINES:
            del self._counts[next(iter(self._counts))]

    def told(self, machine: Machine) -> str:
        """A sentence after a blank; empty if there was none."""
        hosts = self._counts.get((machine.id, machine.generation))
        if not hosts:
            return ""
        named = ", ".join(f"{host} ({count} times)" if count > 1 else host for host, count in reversed(hosts.items()))
        return (
            f" The proxy refused its worker's requests to {named}. What it may reach is said by `outbound` of its pool."
        )
