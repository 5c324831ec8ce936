"""Previews: the door beside Caddy as a plain reverse proxy of the same worker, and what previews cost those who use none.

The service's machines are in memory, so its worker is `bench/origin.py` on the port of the only one. Both proxies get the
same requests on the same connections, in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench import load, transfers
from bench.in_memory import FIRST_PORT
from bench.proxies import caddy, door_cpu_s, has_caddy, origin
from bench.questions.limits import cycle, pair
from bench.run import Run
from bench.subjects import Subject, ask, in_memory

__all__ = ["previews", "without_previews"]

CONNECTIONS: Final = 16
RATE: Final = 250.0
"""Requests a second on a clock."""
LARGE_BYTES: Final = 128 * 2**20
HOST: Final = "shown.localhost"
MACHINES: Final = 20
_MIB: Final = 2**20
_Side = tuple[str, int, Callable[[], float]]
"""A name, a port, and the seconds of processor that it has used."""


def previews(run: Run) -> None:
    """Small requests in a row and on a clock, and large bodies."""
    if not has_caddy():
        run.book.note("previews", "Caddy: not installed (`apt-get install caddy`), so previews were not compared")
        return
    with origin(FIRST_PORT) as worker, in_memory(1) as ours, caddy(FIRST_PORT, ours.port) as (theirs, asking):
        status, body = ask(ours.port, "PUT", "/v1/projects/shown/machine")
        assert status == 201, body
        door: _Side = ("door", ours.port, lambda: door_cpu_s(ours))
        plain: _Side = ("caddy", theirs.port, theirs.cpu_s)
        asks: _Side = ("asking", asking, theirs.cpu_s)
        bare: _Side = ("worker", worker.port, worker.cpu_s)
        sides = (door, plain, asks)
        for _, port, _ in sides:
            load.closed(port, CONNECTIONS, 1.0, _one)
        for side in run.interleaved(9, (*sides, bare), least=5):
            _closed(run, side)
        for side in run.interleaved(12, (*sides, bare), least=5):
            _opened(run, side)
        for side in run.interleaved(7, (door, plain), least=5):
            _bodies(run, side)


def _request(_number: int) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % HOST.encode()


def _one(number: int) -> list[tuple[str, bytes]]:
    return [("get", _request(number))]


def _two(number: int) -> tuple[bytes, bytes]:
    return _request(number), _request(number)


def _closed(run: Run, side: _Side) -> None:
    name, port, cpu_s = side
    before_s = cpu_s()
    found = load.closed(port, CONNECTIONS, run.seconds(3.0), _one)
    assert not found.failed, found.failed[:3]
    run.book.add(f"previews.{name}.rate", found.rate("get"))
    run.book.add(f"previews.{name}.cpu_us", (cpu_s() - before_s) / len(found.took_ms["get"]) * 1e6)
    run.book.add_times(f"previews.{name}", found.took_ms["get"])


def _opened(run: Run, side: _Side) -> None:
    """Half of the requests are in the places of assigns, half in those of releases."""
    name, port, _ = side
    found = load.opened(port, RATE / 2, run.seconds(6.0, 3.0), _two)
    assert not found.failed, found.failed[:3]
    run.book.add_times(f"previews.{name}.open", [*found.took_ms["assign"], *found.took_ms["release"]])


def _bodies(run: Run, side: _Side) -> None:
    name, port, cpu_s = side
    for way, move in (("down", transfers.down), ("up", transfers.up)):
        before_s = cpu_s()
        took_s = move(port, HOST, LARGE_BYTES)
        run.book.add(f"previews.{name}.{way}", LARGE_BYTES / _MIB / took_s)
        run.book.add(f"previews.{name}.{way}.cpu_ms", (cpu_s() - before_s) / (LARGE_BYTES / _MIB) * 1e3)


def without_previews(run: Run) -> None:
    """Assigns of a service that relays previews but has no visitor, and of one without previews."""
    with in_memory(MACHINES, "--preview", "on") as on, in_memory(MACHINES, "--preview", "off") as off:
        sides = [("on", on), ("off", off)]
        for _, subject in sides:
            subject.await_idle(MACHINES)
            load.closed(subject.port, CONNECTIONS, 1.0, cycle)
        for name, subject in run.interleaved(24, sides, least=8):
            _assigns(run, name, subject)


def _assigns(run: Run, name: str, subject: Subject) -> None:
    before_s = subject.cpu_s()
    found = load.closed(subject.port, CONNECTIONS, run.seconds(1.5, 1.0), cycle)
    run.book.add(f"preview.{name}.cpu_us", (subject.cpu_s() - before_s) / len(found.took_ms["assign"]) * 1e6)
    run.book.add(f"preview.{name}.pairs", found.rate("assign"))
    found = load.opened(subject.port, RATE, run.seconds(2.0, 1.0), pair)
    run.book.add_times(f"preview.{name}", found.took_ms["assign"])
