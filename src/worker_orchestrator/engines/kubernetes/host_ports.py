"""Chooses ports of nodes for pods that are reached from outside, at the address of their node.

A port has to be free on one node only, and it is the scheduler that finds one: it places two pods of one port apart. A port
that no node has free leaves its pod unplaced; that machine is dropped, and the next one has another port. What a process
of the node itself listens on, nobody can know. Source: docs/kubernetes.md
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

from worker_orchestrator.errors import EngineObstructed

__all__ = ["HostPorts"]


class HostPorts:
    """The ports of this range. The same machine is given the same one, unless another one has it."""

    def __init__(self, ports: range) -> None:
        self._ports = ports
        self._given: dict[str, int] = {}  # by machine id

    def keep(self, taken: dict[str, int]) -> None:
        """These machines have these ports, and what is not among them has none any more."""
        self._given = dict(taken)

    def of(self, machine_id: str) -> int:
        """The port for this machine. Raises EngineObstructed if all are given."""
        known = self._given.get(machine_id)
        if known is None:
            known = self._given[machine_id] = self._free(machine_id, set(self._given.values()))
        return known

    def _free(self, machine_id: str, taken: Collection[int]) -> int:
        """From a place on that differs from machine to machine, so that a port that is taken is not tried again."""
        count = len(self._ports)
        begin = zlib.crc32(machine_id.encode()) % count
        for step in range(count):
            port = self._ports[(begin + step) % count]
            if port not in taken:
                return port
        raise EngineObstructed(
            f"All {count} ports for workers are taken: raise --last-port, or lower --max-machines.", kind="ports"
        )
