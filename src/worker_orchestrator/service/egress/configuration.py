"""What Squid is told. No I/O but a look at the addresses of this computer.

A name that no entry has is refused before anybody resolves it, else the question itself would carry data out. One that is
allowed must not lead to this computer, to a private network or to a link (where clouds have their metadata), unless its
entry says so with an address: then that one holds, whatever the DNS says.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from worker_orchestrator.engines.fenced import PROXY_PORT, Fence
from worker_orchestrator.settings.egress_names import Entry, read_entry

__all__ = ["configuration", "hosts", "own_addresses"]

_NEVER: Final = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *(
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "64:ff9b::/96",
        "2002::/16",
    ),
    *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)
_LOCAL: Final = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL")
_HEAD: Final = """\
http_port {address}:{port}
pid_filename none
cache_log /dev/null
cache_store_log none
cache deny all
cache_mem 0 MB
memory_cache_shared off
netdb_filename none
pinger_enable off
coredump_dir none
visible_hostname egress
httpd_suppress_version_string on
forwarded_for delete
via off
max_filedescriptors 4096
shutdown_lifetime 1 seconds
hosts_file {hosts_file}
logformat egress %>a %Ss %rm %ru
access_log stdio:/dev/stdout logformat=egress
acl CONNECT method CONNECT
acl web proto HTTP
acl workers src {subnet}
acl never dst {never}
http_access deny manager
http_access deny !workers
http_access deny !CONNECT !web
"""


def own_addresses(proc: Path = Path("/proc/net")) -> tuple[str, ...]:
    """The addresses of this computer that are in no range which is refused anyway."""
    found = set[str]()
    with contextlib.suppress(OSError):
        found |= {*_LOCAL.findall((proc / "fib_trie").read_text())}
    with contextlib.suppress(OSError):
        lines = (proc / "if_inet6").read_text().splitlines()
        found |= {str(ipaddress.ip_address(bytes.fromhex(line.split()[0]))) for line in lines}
    ranges = [ipaddress.ip_network(each) for each in _NEVER]
    addresses = [ipaddress.ip_address(each) for each in found]
    return tuple(sorted(str(one) for one in addresses if not any(one in each for each in ranges)))


def configuration(fence: Fence, names: Sequence[str], hosts_file: str, own: Sequence[str] = ()) -> str:
    """For the proxy of a pool with these entries. `own`: more addresses that no name may lead to."""
    never = " ".join([*_NEVER, *own])
    values = {"port": PROXY_PORT, "hosts_file": hosts_file, "subnet": fence.subnet, "never": never}
    lines = [line for number, name in enumerate(names) for line in _allowed(number, read_entry(name))]
    return _HEAD.format(address=fence.address, **values) + "\n".join([*lines, "http_access deny all", ""])


def _allowed(number: int, entry: Entry) -> Iterator[str]:
    """With -n no address is looked up in reverse: who owns it decides what name it has there."""
    asked, ports = f"name{number}", f"ports{number}"
    yield f"acl {asked} dstdomain -n {'.' if entry.below else ''}{entry.name}"
    yield f"acl {ports} port {' '.join(map(str, entry.ports))}"
    conditions = f"{asked} {ports}"
    if entry.below:  # Squid counts the name itself among those below it
        yield f"acl apex{number} dstdomain -n {entry.name}"
        conditions += f" !apex{number}"
    if not entry.address:
        yield f"http_access deny {conditions} never"
    yield f"http_access allow {conditions}"


def hosts(names: Sequence[str], file: Path = Path("/etc/hosts")) -> str:
    """The names that lead where the operator says, and those of this computer's own file, as its lines."""
    said = {entry.name: entry.address for entry in map(read_entry, names) if entry.address}
    lines = [f"{address} {name}" for name, address in said.items()]
    with contextlib.suppress(OSError):
        known = [line.partition("#")[0].lower().split() for line in file.read_text(errors="replace").splitlines()]
        lines += [" ".join([one[0], *(it for it in one[1:] if it not in said)]) for one in known if len(one) > 1]
    return "\n".join([*lines, ""])
