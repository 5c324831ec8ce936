"""What the kernel counts of a container: read from files as kernels of both kinds write them, and from this one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from worker_orchestrator.engines.docker import proc_counters
from worker_orchestrator.engines.docker.proc_counters import (
    connections_in,
    cpu_seconds_of,
    is_listening,
    tables_of,
    traffic_of,
)

ID = "3f" * 32
PID = 4711
DEVICES = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    2000      10    0    0    0     0          0         0     2000      10    0    0    0     0       0          0
  eth0: 9999999     130    0    0    0     0          0         0  9999999      10    0    0    0     0       0          0
"""
NETSTAT = """\
TcpExt: SyncookiesSent SyncookiesRecv
TcpExt: 0 0
IpExt: InNoRoutes InOctets OutOctets InMcastOctets OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors
IpExt: 0 6000 7000 300 30 200 20 0
MPTcpExt: MPCapableSYNRX MPCapableSYNTX
MPTcpExt: 0 0
"""


def snmp6(discarded: int) -> str:
    counts = {"InReceives": 12, "InDiscards": discarded, "InOctets": 944, "OutOctets": 80, "InMcastOctets": 44}
    lines = [f"Ip6{name:<29}\t{count}" for name, count in {**counts, "OutMcastOctets": 8, "InNoECTPkts": 12}.items()]
    return "\n".join([*lines, *(f"Icmp6Counter{number:<20}\t0" for number in range(60))])


TABLES = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31 1 0000000000000000 100 0
   1: 020011AC:2384 010011AC:D1A2 01 00000000:00000000 02:00000CF5 00000000     0        0 32 2 0000000000000000 20 4
   2: 020011AC:2384 010011AC:D1A4 06 00000000:00000000 03:00000CF5 00000000     0        0 0 3 0000000000000000
   3: 020011AC:D1A2 010011AC:2384 01 00000000:00000000 02:00000CF5 00000000     0        0 34 2 0000000000000000 20 4
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt
   0: 0000000000000000FFFF0000020011AC:1F90 0000000000000000FFFF0000010011AC:D1A6 01 00000000:00000000 00:00000000 00000000
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer with one process, whose files a test writes below proc/ and cgroup/."""
    monkeypatch.setattr(proc_counters, "PROC", tmp_path / "proc")
    monkeypatch.setattr(proc_counters, "CGROUPS", tmp_path / "cgroup")
    return tmp_path


def write(host: Path, path: str, text: str) -> None:
    file = host / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("files", "traffic"),
    [
        ({"netstat": NETSTAT}, (3500, 4950)),
        ({"netstat": NETSTAT, "snmp6": snmp6(discarded=0)}, (3500 + 900, 4950 + 72)),
        ({"netstat": NETSTAT, "snmp6": snmp6(discarded=12)}, (3500, 4950 + 72)),
    ],
)
def test_traffic_is_what_is_meant_for_the_container_alone_and_comes_from_outside(
    host: Path, files: dict[str, str], traffic: tuple[int, int]
) -> None:
    """Neither its loopback, nor what is said to all; where it has no IPv6, not what it discards either."""
    for name, text in {"dev": DEVICES, **files}.items():
        write(host, f"proc/{PID}/net/{name}", text)
    assert traffic_of(PID) == traffic


def test_traffic_is_known_without_a_loopback_and_never_less_than_nothing(host: Path) -> None:
    write(host, f"proc/{PID}/net/netstat", NETSTAT)
    write(host, f"proc/{PID}/net/dev", DEVICES.replace("lo:", "eth1:"))
    assert traffic_of(PID) == (5500, 6950)
    write(host, f"proc/{PID}/net/dev", DEVICES.replace("2000", "9999"))
    assert traffic_of(PID) == (0, 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dev", None),
        ("dev", "a\nb\n lo: 1 2 3\n"),
        ("dev", "a\nb\n lo: x x x x x x x x x x\n"),
        ("netstat", None),
        ("netstat", "TcpExt: a\nTcpExt: 0\n"),
        ("netstat", "IpExt: InOctets\nIpExt: 1\n"),
        ("snmp6", "Ip6InReceives 1\n"),
    ],
)
def test_traffic_that_cannot_be_read_is_not_known(host: Path, name: str, text: str | None) -> None:
    for other, usual in {"dev": DEVICES, "netstat": NETSTAT, name: text}.items():
        if usual is not None:
            write(host, f"proc/{PID}/net/{other}", usual)
    assert traffic_of(PID) is None


@pytest.mark.parametrize(
    ("line", "file", "text", "seconds"),
    [
        (f"4:cpu,cpuacct:/docker/{ID}", f"cpu,cpuacct/docker/{ID}/cpuacct.usage", "1500000000\n", 1.5),
        (f"5:cpuacct:/docker/{ID}/made-inside", f"cpuacct/docker/{ID}/cpuacct.usage", "250000000\n", 0.25),
        (f"0::/docker/{ID}", f"docker/{ID}/cpu.stat", "usage_usec 1500000\nuser_usec 1\n", 1.5),
        (
            f"0::/system.slice/docker-{ID}.scope/init.scope",
            f"system.slice/docker-{ID}.scope/cpu.stat",
            "usage_usec 7\nuser_usec 7\n",
            0.000007,
        ),
    ],
)
def test_the_time_of_the_processor_is_that_of_the_whole_container(
    host: Path, line: str, file: str, text: str, seconds: float
) -> None:
    write(host, f"proc/{PID}/cgroup", f"12:memory:/docker/{ID}\n{line}\n")
    write(host, f"cgroup/{file}", text)
    assert cpu_seconds_of(PID, ID) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "groups", [None, "0::/\n", "0::/somewhere/else\n", f"0::/docker/{ID}\n", "nonsense\n", f"3:memory:/docker/{ID}\n"]
)
def test_the_time_of_another_group_is_not_read(host: Path, groups: str | None) -> None:
    """Nor that of a group which cannot be seen from here, as in a namespace of control groups."""
    if groups is not None:
        write(host, f"proc/{PID}/cgroup", groups)
    write(host, "cgroup/cpu.stat", "usage_usec 1\n")
    assert cpu_seconds_of(PID, ID) is None


def test_connections_are_the_established_ones_to_a_port_of_the_worker() -> None:
    assert [connections_in(TABLES, {port}) for port in (9092, 8080, 53666, 80)] == [1, 1, 1, 0]
    assert connections_in(TABLES, {9092, 8080}) == 2
    assert is_listening(TABLES, {9092})
    assert not is_listening(TABLES, {8080, 53666})
    assert connections_in("", {9092}) == 0


def test_the_tables_are_those_that_there_are(host: Path) -> None:
    assert tables_of(PID) == ""
    write(host, f"proc/{PID}/net/tcp", "four\n")
    assert tables_of(PID) == "four\n"
    write(host, f"proc/{PID}/net/tcp6", "six\n")
    assert tables_of(PID) == "four\nsix\n"


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="this is not Linux")
def test_the_files_of_this_kernel_can_be_read() -> None:
    assert traffic_of(os.getpid()) is not None
    assert cpu_seconds_of(os.getpid(), ID) is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_listening(tables_of(os.getpid()), {port})
        assert connections_in(tables_of(os.getpid()), {port}) == 0
        with socket.create_connection(("127.0.0.1", port)) as client:
            mine = client.getsockname()[1]
            assert connections_in(tables_of(os.getpid()), {port, mine}) == 2


def test_what_a_worker_wrote_itself_in_place_of_a_table_is_left_out() -> None:
    assert connections_in("0: zz 0 01\n0: 00000000:zz 0 01\n" + TABLES, {9092}) == 1
