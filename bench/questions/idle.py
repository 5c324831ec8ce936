"""Assigns while 10,000 idle connections are open: how long they take, and how much memory the service uses.

Connections come from 127.0.0.2 and on, 500 each, and say nothing; the service closes each after 10 s, and 1,200 a second are
opened again. Needs 11,000 file descriptors.
"""

from __future__ import annotations

import multiprocessing
import resource
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from typing import Final

from bench import load
from bench.questions.limits import pair
from bench.run import Run
from bench.subjects import Subject, in_memory, until

__all__ = ["idle"]

IDLE: Final = 10_000
PER_ADDRESS: Final = 500
OPENED_PER_S: Final = 1200
_LOOK_S: Final = 0.1


def idle(run: Run) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with in_memory(20) as subject, _crowd(subject.port) as is_open, _peak(subject) as seen_mib:
        until(lambda: is_open.value >= 0.95 * IDLE, "the connections are open", 60, _LOOK_S)
        for _ in range(run.rounds(3)):
            found = load.opened(subject.port, 100, run.seconds(10.0, 3.0), pair)
            run.book.add_times("idle", found.took_ms["assign"])
            run.book.add("idle.failed", len(found.failed))
            run.book.add("idle.open", is_open.value)
            run.book.add("idle.memory_mib", max(seen_mib))


@contextmanager
def _crowd(port: int) -> Iterator[Synchronized[int]]:
    is_open = multiprocessing.Value("i", 0)
    others = multiprocessing.Process(target=_keep_open, args=(port, is_open), daemon=True)
    others.start()
    try:
        yield is_open
    finally:
        others.kill()
        others.join()


def _keep_open(port: int, is_open: Synchronized[int]) -> None:
    """Keep 10,000 connections open, in a process of its own, until that is ended."""
    poll, lines = select.epoll(), dict[int, tuple[socket.socket, int]]()
    free = deque(range(IDLE))
    begun, tried = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * OPENED_PER_S) - tried
        for _ in range(min(due, len(free), 50)):
            place = free.popleft()
            line = socket.socket()
            try:
                line.bind((f"127.0.0.{2 + place // PER_ADDRESS}", 0))
                line.connect(("127.0.0.1", port))
            except OSError:
                line.close()
                free.append(place)
                continue
            lines[line.fileno()] = line, place
            poll.register(line, select.EPOLLIN)
        tried += due
        for number, _ in poll.poll(0.005):
            line, place = lines.pop(number)
            line.close()
            free.append(place)
        is_open.value = len(lines)


@contextmanager
def _peak(subject: Subject) -> Iterator[list[float]]:
    """Record the service's memory ten times a second."""
    seen, over = [subject.memory_mib()], threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            seen.append(subject.memory_mib())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()
