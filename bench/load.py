"""A load client that costs little itself: raw sockets, prepared requests, no library's event loop.

Two kinds of load. *Closed*: each connection sends its next request as soon as it has its reply, which shows how much a
server can do. *Open*: requests begin at fixed times whether or not earlier ones are answered, and a reply's time counts from
the planned moment, so that a stall of the server lengthens the time of every request that it delays
(https://www.scylladb.com/2021/04/22/on-coordinated-omission/).

Each run measures the client's own limits against an empty server (`limits.client`), so that a reader can see that the
figures are not the client's.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

__all__ = ["Load", "closed", "opened", "request"]

_SPIN_S: Final = 0.0001
"""The client stays awake for this time before a planned moment, since a kernel timer can be late by as much."""
_STUCK_S: Final = 10.0
_GOOD: Final = frozenset({b"200", b"201"})
_READ_BYTES: Final = 1 << 18


@dataclass(slots=True)
class Load:
    """The result of one load: milliseconds by kind of request, and how late the client itself was."""

    seconds: float = 0.0
    took_ms: dict[str, list[float]] = field(default_factory=dict)
    late_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def rate(self, kind: str) -> float:
        """Replies of this kind a second."""
        return len(self.took_ms[kind]) / self.seconds


def request(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class _KeptAlive:
    """One kept-alive connection. `more` reads what has arrived and returns True once a reply is complete."""

    __slots__ = ("_parts", "kind", "pair", "since", "socket", "status")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parts = b""
        self.kind, self.pair, self.since, self.status = "", 0, 0.0, b""

    def more(self) -> bool:
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("the server hung up")
        if self._parts:
            data = self._parts + data
        head = data.find(b"\r\n\r\n")
        if head < 0 or len(data) < head + 4 + _length(data[:head]):
            self._parts = data
            return False
        self._parts, self.status = b"", data[9:12]
        return True


def _length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    if at < 0:
        raise ValueError(f"a reply without a length: {head!r}")
    end = lowered.find(b"\r", at)
    return int(lowered[at + 15 : end if end >= 0 else None])


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep this process's garbage collector from pausing it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def closed(port: int, connections: int, seconds: float, cycle: Callable[[int], list[tuple[str, bytes]]]) -> Load:
    """Each connection sends the requests of `cycle(its number)` in turn, for so many seconds. All replies are recorded.

    A cycle that was begun is completed, so that nothing stays assigned.
    """
    load = Load()
    lines = {(line := _KeptAlive(port)).socket.fileno(): (line, cycle(number)) for number in range(connections)}
    for _, wanted in lines.values():
        for kind, _request in wanted:
            load.took_ms.setdefault(kind, [])
    with _undisturbed():
        begun = time.perf_counter()
        _keep_asking(load, lines, begun + seconds)
        load.seconds = time.perf_counter() - begun
    for line, _ in lines.values():
        line.socket.close()
    return load


def _keep_asking(load: Load, lines: dict[int, tuple[_KeptAlive, list[tuple[str, bytes]]]], end: float) -> None:
    now, poll = time.perf_counter, select.epoll()
    for number, (line, wanted) in lines.items():
        poll.register(number, select.EPOLLIN)
        line.kind, line.since = wanted[0][0], now()
        line.socket.send(wanted[0][1])
    asking = len(lines)
    while asking:
        for number, _ in poll.poll(_STUCK_S) or _stuck():
            line, wanted = lines[number]
            if not line.more():
                continue
            at = now()
            load.took_ms[line.kind].append((at - line.since) * 1000)
            if line.status not in _GOOD:
                load.failed.append(f"{line.kind} {line.status.decode()}")
            line.pair = (line.pair + 1) % len(wanted)
            if at >= end and line.pair == 0:
                poll.unregister(number)
                asking -= 1
                continue
            line.kind, line.since = wanted[line.pair][0], at
            line.socket.send(wanted[line.pair][1])
    poll.close()


def _stuck() -> NoReturn:
    raise TimeoutError(f"no reply within {_STUCK_S:g} s")


@dataclass(slots=True)
class _Open:
    """The state of an open load: its connections, and the releases that wait for the reply to their assign."""

    port: int
    load: Load
    begun: float
    step_s: float
    counts_from: int
    requests: list[bytes]
    lines: dict[int, _KeptAlive] = field(default_factory=dict)
    free: list[_KeptAlive] = field(default_factory=list)
    answered: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    """Pairs whose release is due and whose assign is not answered yet."""
    waiting: deque[int] = field(default_factory=deque)
    under_way: int = 0

    def planned(self, number: int) -> float:
        return self.begun + number * self.step_s

    def due(self, number: int) -> None:
        """The planned moment of this request is here: even numbers assign, odd ones release."""
        if number % 2 and number // 2 not in self.answered:
            self.late.add(number // 2)
            return
        self.send(number)

    def send(self, number: int) -> None:
        line = self.free.pop() if self.free else self._connect()
        line.kind, line.pair = ("release" if number % 2 else "assign"), number
        self.under_way += 1
        line.socket.send(self.requests[number])
        if number >= self.counts_from and number // 2 not in self.late:
            self.load.late_ms.append((time.perf_counter() - self.planned(number)) * 1000)

    def _connect(self) -> _KeptAlive:
        line = _KeptAlive(self.port)
        self.lines[line.socket.fileno()] = line
        return line

    def arrived(self, descriptor: int) -> None:
        line = self.lines[descriptor]
        try:
            if not line.more():
                return
        except ConnectionError:
            if line not in self.free:
                raise
            self.free.remove(line)  # the server closed it, since it was idle for too long
            del self.lines[descriptor]
            line.socket.close()
            return
        number, at = line.pair, time.perf_counter()
        self.free.append(line)
        self.under_way -= 1
        if line.status not in _GOOD:
            self.load.failed.append(f"{line.kind} {line.status.decode()}")
        is_late = number // 2 in self.late
        if number >= self.counts_from and not (number % 2 and is_late):
            self.load.took_ms[line.kind].append((at - self.planned(number)) * 1000)
        if number % 2 == 0:
            self.answered.add(number // 2)
            if is_late:
                self.send(number + 1)


def opened(
    port: int, rate: float, seconds: float, pair: Callable[[int], tuple[bytes, bytes]], *, warm_up_s: float = 0.5
) -> Load:
    """`rate` assigns a second on a clock, and as many releases halfway between them; `pair(n)` gives both requests.

    A release whose assign is not answered in time is sent after that reply, and is not counted: it missed its moment.
    """
    pairs = int((seconds + warm_up_s) * rate)
    load = Load(seconds, {"assign": [], "release": []})
    flat = [part for number in range(pairs) for part in pair(number)]
    step_s = 0.5 / rate
    with _undisturbed():
        state = _Open(port, load, time.perf_counter() + 0.01, step_s, 2 * int(warm_up_s * rate), flat)
        number = 0
        while number < len(flat) or state.under_way:
            until = (state.planned(number) - time.perf_counter()) if number < len(flat) else _STUCK_S
            if until <= 0:
                state.due(number)
                number += 1
                continue
            pause = until - _SPIN_S if until > _SPIN_S else 0.0
            ready, _, _ = select.select(list(state.lines), (), (), pause)
            for descriptor in ready:
                state.arrived(descriptor)
            if not ready and pause > _STUCK_S / 2:
                _stuck()
    for line in state.lines.values():
        line.socket.close()
    return load
