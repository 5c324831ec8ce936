"""What the kernel counts of a pod, read from inside by a shell of the worker, and what these files say. No I/O.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

__all__ = [
    "CPU",
    "PROCESSES",
    "READ",
    "TABLES",
    "TRAFFIC",
    "USAGE",
    "contents",
    "cpu_seconds",
    "memory",
    "memory_limit",
    "number",
]

READ: Final = r"""
for file; do
  [ -r "$file" ] || continue
  printf '= %s\n' "$file"
  while IFS= read -r line; do printf ' %s\n' "$line"; done <"$file"
done 2>/dev/null
exit 0
"""
"""Writes each of the files that is there, its name before it. It uses builtins only, so that it is one process."""

_GROUPS: Final = "/sys/fs/cgroup"
CPU: Final = tuple(f"{_GROUPS}/{name}" for name in ("cpu.stat", "cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage"))
_MEMORY: Final = tuple(f"{_GROUPS}/{name}" for name in ("memory.current", "memory/memory.usage_in_bytes"))
_DETAIL: Final = tuple(f"{_GROUPS}/{name}" for name in ("memory.stat", "memory/memory.stat"))
_LIMIT: Final = tuple(f"{_GROUPS}/{name}" for name in ("memory.max", "memory/memory.limit_in_bytes"))
PROCESSES: Final = tuple(f"{_GROUPS}/{name}" for name in ("pids.current", "pids/pids.current"))
TRAFFIC: Final = ("/proc/net/dev", "/proc/net/netstat", "/proc/net/snmp6")
TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
USAGE: Final = (*CPU, *_MEMORY, *_DETAIL, *_LIMIT, *PROCESSES, TRAFFIC[0])
_NO_LIMIT: Final = 1 << 62
_NANO: Final = 1_000_000_000
_MICRO: Final = 1_000_000
_CACHED: Final = ("total_inactive_file", "inactive_file")  # cgroups 1, cgroups 2

Contents = Mapping[str, str]


def contents(output: bytes) -> Contents:
    """The files that were there, by name."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.decode(errors="replace").splitlines():
        if line.startswith("= "):
            lines = found.setdefault(line[2:], [])
        else:
            lines.append(line[1:])
    return {name: "\n".join(lines) for name, lines in found.items()}


def cpu_seconds(files: Contents) -> float | None:
    """What all processes of the worker have computed; None where that is not counted."""
    with contextlib.suppress(LookupError, ValueError):
        return int(_columns(files[CPU[0]])["usage_usec"]) / _MICRO
    counted = number(files, CPU[1:])
    return None if counted is None else counted / _NANO


def memory(files: Contents) -> int | None:
    """Without the file cache; None where that is not counted."""
    used = number(files, _MEMORY)
    if not used:
        return None
    detail = next((_columns(files[name]) for name in _DETAIL if name in files), {})
    cached = next((int(detail[name]) for name in _CACHED if detail.get(name, "").isdigit()), 0)
    return used - cached if cached < used else used


def memory_limit(files: Contents) -> int | None:
    limit = number(files, _LIMIT)
    return None if limit is None or limit >= _NO_LIMIT else limit


def number(files: Contents, names: tuple[str, ...]) -> int | None:
    """The number in the first of these files that is there; None without, or if it is none, such as `max`."""
    text = next((files[name] for name in names if name in files), "").strip()
    return int(text) if text.isdigit() else None


def _columns(text: str) -> dict[str, str]:
    return dict(line.split(None, 1) for line in text.splitlines() if " " in line)
