"""Caddy as the reverse proxy beside the door, and the worker behind both. Each ends with its `with` block."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil

from bench.subjects import PATHS, ROOT, Subject, free_port, own_folder, running

__all__ = ["caddy", "caddyfile", "door_cpu_s", "has_caddy", "origin"]

_EXAMPLE: Final = ROOT / "examples" / "proxies" / "Caddyfile"
_PLAIN: Final = """
http://:{port} {{
	reverse_proxy 127.0.0.1:{worker}
}}
"""


def has_caddy() -> bool:
    return shutil.which("caddy") is not None


@contextmanager
def origin(port: int) -> Iterator[Subject]:
    """The worker, on this port."""
    with own_folder("origin") as home:
        yield from running(Subject("origin", port, [sys.executable, "-m", "bench.origin", str(port)], home, PATHS))


def caddyfile(plain: int, asking: int, worker: int, service: int) -> str:
    """What Caddy is to do on the ports `plain` and `asking`, of which the second is as in the example, but without TLS."""
    example = _EXAMPLE.read_text(encoding="utf-8").replace("127.0.0.1:9092", f"127.0.0.1:{service}")
    example = re.sub(r"https://(\*\.)?\S+ {\n\ttls .*\n", rf"http://\g<1>localhost:{asking} {{\n", example)
    return example + _PLAIN.format(port=plain, worker=worker)


@contextmanager
def caddy(worker: int, service: int) -> Iterator[tuple[Subject, int]]:
    """A plain reverse proxy of the worker; and the port on which it asks the service first, as in the example.

    Without TLS, as the door has none.
    """
    with own_folder("caddy") as home:
        plain, asking = free_port(), free_port()
        file = home / "Caddyfile"
        file.write_text(caddyfile(plain, asking, worker, service), encoding="utf-8")
        command = ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]
        quiet = {"XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home), "ORCHESTRATOR_BEARER": ""}
        with contextmanager(running)(Subject("caddy", plain, command, home, quiet)) as subject:
            yield subject, asking


def door_cpu_s(service: Subject) -> float:
    """Seconds of processor that the door of this service has used."""
    assert service.process is not None
    children = psutil.Process(service.process.pid).children()
    return sum(
        sum(child.cpu_times()[:2]) for child in children if "worker_orchestrator.door.process" in child.cmdline()
    )
