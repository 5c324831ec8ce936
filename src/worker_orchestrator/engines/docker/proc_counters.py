"""What the kernel counts of a container, by the number of its main process: it costs a fraction of what the engine takes.

It is read from /proc and from the control groups of this computer, so the container must run here, and its process must be
visible from here. Sources: proc(5), https://docs.kernel.org/networking/proc_net_tcp.html,
https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

__all__ = ["connections_in", "cpu_seconds_of", "is_listening", "tables_of", "traffic_in", "traffic_of"]

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
_RECEIVED, _SENT = 0, 8  # the columns of bytes in net/dev
_SNMP6_WORDS: Final = 80  # the first forty counters are those of IPv6 itself
_ESTABLISHED: Final = "01"
_LISTENING: Final = "0A"
_NANO: Final = 1_000_000_000
_MICRO: Final = 1_000_000


def traffic_of(pid: int) -> tuple[int, int] | None:
    """The same as `traffic_in`, of the network of this process."""
    net = PROC / str(pid) / "net"
    try:
        devices, netstat = (net / "dev").read_text(), (net / "netstat").read_text()
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            return traffic_in(devices, netstat, (net / "snmp6").read_text())
    except OSError:
        return None
    return traffic_in(devices, netstat, "")


def traffic_in(devices: str, netstat: str, snmp6: str) -> tuple[int, int] | None:
    """The bytes of IP packets that a network has received from one sender for itself, and has sent so, by these tables.

    That is without its loopback and without what a network says to all its containers: a kilobyte at the start of each, and
    42 bytes at the start of each neighbour. `snmp6` is empty without IPv6. None if that is not known.
    """
    try:
        loopback = _loopback(devices)
        received, sent = map(int.__add__, _ip(netstat), _ipv6(snmp6))
    except (LookupError, ValueError):
        return None
    return max(0, received - loopback[0]), max(0, sent - loopback[1])


def _loopback(devices: str) -> tuple[int, int]:
    """The bytes that went over the loopback, without Ethernet headers: the kernel counts them as received and as sent."""
    line = next((line for line in devices.splitlines() if line.lstrip().startswith("lo:")), "lo:" + " 0" * 16)
    columns = line.partition(":")[2].split()
    return int(columns[_RECEIVED]), int(columns[_SENT])


def _ip(netstat: str) -> tuple[int, int]:
    _, names, values, *_ = netstat.split("IpExt:")
    counts = dict(zip(names.split(), map(int, values.partition("\n")[0].split()), strict=True))
    received, sent = (
        counts[f"{way}Octets"] - counts[f"{way}McastOctets"] - counts[f"{way}BcastOctets"] for way in ("In", "Out")
    )
    return received, sent


def _ipv6(snmp6: str) -> tuple[int, int]:
    """Without IPv6 in the container its kernel counts what comes, also to all, and discards it: that is nothing."""
    if not snmp6:
        return 0, 0
    words = snmp6.split(maxsplit=_SNMP6_WORDS)
    counts = dict(zip(words[:-1:2], words[1::2], strict=False))
    received, taken = int(counts["Ip6InOctets"]), counts["Ip6InReceives"] != counts["Ip6InDiscards"]
    return (
        received - int(counts["Ip6InMcastOctets"]) if taken else 0,
        int(counts["Ip6OutOctets"]) - int(counts["Ip6OutMcastOctets"]),
    )


def cpu_seconds_of(pid: int, container_id: str) -> float | None:
    """The processor time of this container, all its processes together; None if that is not known."""
    try:
        for line in (PROC / str(pid) / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            above, found, _ = path.rpartition(container_id)
            if not found:
                continue
            below = path[len(above) :].partition("/")[0]  # such as ID.scope, without what the container made below
            folder = (above + below).lstrip("/")
            if not controllers:
                return _usage_usec(CGROUPS / folder / "cpu.stat") / _MICRO
            if "cpuacct" in controllers.split(","):
                return int((CGROUPS / controllers / folder / "cpuacct.usage").read_text()) / _NANO
    except (OSError, LookupError, ValueError):
        pass
    return None


def _usage_usec(file: Path) -> int:
    return int(dict(line.split() for line in file.read_text().splitlines())["usage_usec"])


def tables_of(pid: int) -> str:
    """The tables of TCP connections in the network of this process; empty if they cannot be read."""
    texts = []
    for name in ("tcp", "tcp6"):
        try:
            texts.append((PROC / str(pid) / "net" / name).read_text())
        except OSError:  # without IPv6 there is no second one
            continue
    return "".join(texts)


def is_listening(tables: str, ports: Collection[int]) -> bool:
    """Whether something listens on one of these ports, by these tables."""
    return any(port in ports for port in _local_ports(tables, _LISTENING))


def connections_in(tables: str, ports: Collection[int]) -> int:
    """How many connections to one of these ports are open, by these tables."""
    return sum(port in ports for port in _local_ports(tables, _ESTABLISHED))


def _local_ports(tables: str, state: str) -> Iterator[int]:
    """The local port of each socket in this state."""
    for line in tables.splitlines():
        columns = line.split()
        if len(columns) > 3 and columns[3] == state:
            with contextlib.suppress(ValueError):  # a worker may have written this itself
                yield int(columns[1].rpartition(":")[2], 16)
