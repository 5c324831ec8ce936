"""Chooses ports of nodes for pods that are reached from outside, at the address of their node.

A port has to be free on one node only, and it is the scheduler that finds one: it places two pods of one port apart. A port
that no node has free leaves its pod unplaced; that machine is dropped, and the next one has another port. What a process
of the node itself listens on, nobody can know. Source: docs/kubernetes.md
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping

from worker_orchestrator.errors import EngineObstructed

__all__ = ["HostPorts"]


class HostPorts:
    """The ports of this range. The same machine is given the same one, unless another one has it."""

    def __init__(self, ports: range) -> None:
        self._ports = ports
        self._given: dict[str, tuple[int, float]] = {}  # by machine id, with the loop time since when that is known
        self.is_informed = False  # it was told which machines there are

    @property
    def first(self) -> int:
        return self._ports[0]

    def keep(self, taken: Mapping[str, int], as_of: float) -> None:
        """These machines have these ports, by a listing that was begun at this loop time, and the others have none.

        What was given since then no listing can show yet.
        """
        newer = {machine_id: given for machine_id, given in self._given.items() if given[1] >= as_of}
        self._given = {machine_id: (port, as_of) for machine_id, port in taken.items()} | newer
        self.is_informed = True

    def of(self, machine_id: str, now: float) -> int:
        """The port for this machine. Raises EngineObstructed if all are given."""
        known = self._given.get(machine_id)
        port = known[0] if known else self._free(machine_id, {port for port, _ in self._given.values()})
        self._given[machine_id] = port, now
        return port

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
