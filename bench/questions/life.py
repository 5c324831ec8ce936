"""The life of a pool on real Docker: refill after a burst, death and replacement, and a start with running containers."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench import load
from bench.questions.limits import pair
from bench.questions.scale import tick
from bench.run import Run
from bench.subjects import Subject, ask, in_memory, service, until

__all__ = ["at_rest", "death", "refill", "start_in_memory", "start_up"]

BURST: Final = 10
REST_S: Final = 20.0


def refill(run: Run) -> None:
    """Take all ten idle machines at once; time an eleventh project on the drained pool, and the refill to ten idle ones."""
    with service("--min-idle", str(BURST), "--max-machines", "40") as subject:
        for number in range(run.rounds(5)):
            subject.await_idle(BURST)
            begun = time.perf_counter()
            for project in range(BURST):
                status, _ = ask(subject.port, "GET", f"/r{number}-{project}")
                assert status == 200, status
            run.book.add("refill.burst_ms", (time.perf_counter() - begun) * 1000)
            asked = time.perf_counter()
            status, _ = ask(subject.port, "GET", f"/r{number}-last")
            assert status == 200, status
            run.book.add("refill.drained_ms", (time.perf_counter() - asked) * 1000)
            subject.await_idle(BURST)
            run.book.add("refill.full_ms", (time.perf_counter() - begun) * 1000)
            for machine in subject.machines():
                if machine["isUsed"]:
                    ask(subject.port, "POST", "/destroy", {"containerId": machine["id"]})


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over Docker's socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")


@contextmanager
def _deaths() -> Iterator[dict[str, float]]:
    """When Docker reported the death of each container, by name, on this process's clock."""
    told: dict[str, float] = {}
    connection = _UnixConnection("docker")
    connection.request("GET", "/v1.41/events?filters=" + '{"event":["die"]}'.replace('"', "%22"))
    response = connection.getresponse()

    def follow() -> None:
        while line := response.readline():
            told.setdefault(json.loads(line)["Actor"]["Attributes"]["name"], time.perf_counter())

    threading.Thread(target=follow, daemon=True).start()
    try:
        yield told
    finally:
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RDWR)


def death(run: Run) -> None:
    """`docker kill` of an idle machine: when it is no longer listed, and when another one replaces it."""
    with service("--min-idle", "3", "--max-machines", "10") as subject, _deaths() as told:
        subject.await_idle(3)
        for _ in range(run.rounds(10)):
            _one_death(run, subject, told)
            subject.await_idle(3)


def _one_death(run: Run, subject: Subject, told: dict[str, float]) -> None:
    before = {machine["id"] for machine in subject.machines()}
    victim = min(before)
    killer = _UnixConnection("docker")
    killer.connect()
    begun = time.perf_counter()
    killer.putrequest("POST", f"/v1.41/containers/{victim}/kill")
    killer.endheaders()
    until(lambda: victim not in {machine["id"] for machine in subject.machines()}, "it is listed no longer", 30, 0.0005)
    run.book.add("death.unlisted_ms", (time.perf_counter() - begun) * 1000)
    until(lambda: victim in told, "Docker tells of its death", 30)
    run.book.add("death.event_ms", (told[victim] - begun) * 1000)
    until(lambda: bool({machine["id"] for machine in subject.machines()} - before), "there is another", 60)
    run.book.add("death.replaced_ms", (time.perf_counter() - begun) * 1000)
    killer.getresponse().read()
    killer.close()


# the start


def _until_served(subject: Subject, expected: int) -> tuple[float, float]:
    """Milliseconds from the start of the process to its first answer, and to the list with all its machines."""
    begun = time.perf_counter()
    subject.start(await_answer=False)
    until(subject.is_listening, "it listens", 120, 0.001)
    first: list[float] = []

    def is_whole() -> bool:
        try:
            found = len(subject.machines())
        except OSError:
            return False
        if not first:
            first.append(time.perf_counter())
        return found >= expected

    until(is_whole, f"{expected} machines are listed", 120, 0.001)
    return (first[0] - begun) * 1000, (time.perf_counter() - begun) * 1000


def start_in_memory(run: Run) -> None:
    """The start with 0, 1,000 and 10,000 recorded machines and without Docker: the service's own share."""
    for count in (0, 1000, 10_000):
        with in_memory(count, start=False) as subject:
            subject.start()
            subject.await_idle(count)
            subject.stop()
            for _ in range(run.rounds(5)):
                first, whole = _until_served(subject, count)
                run.book.add(f"start.memory.{count}.first_ms", first)
                run.book.add(f"start.memory.{count}.ready_ms", whole)
                subject.stop()


def start_up(run: Run) -> None:
    """With 0, 10, 100 and 300 real containers: use of memory and processor at rest, cost of a tick, duration of a start."""
    with service("--min-idle", "0", start=False) as subject:
        _starts(run, subject, 0)
    with service("--max-machines", "300", start=False, as_users=True) as subject:
        command = subject.command
        for count in (10, 100, 300):
            subject.command = [*command, "--min-idle", str(count)]
            subject.start()
            subject.await_idle(count)
            at_rest(run, subject, count)
            subject.stop()
            tick(run, f"tick.docker.{count}", "docker", str(count), str(subject.folder / "state"))
            _starts(run, subject, count)


def _starts(run: Run, subject: Subject, count: int) -> None:
    for _ in range(run.rounds(5)):
        first, whole = _until_served(subject, count)
        run.book.add(f"start.{count}.first_ms", first)
        run.book.add(f"start.{count}.ready_s", whole / 1000)
        subject.stop()


def at_rest(run: Run, subject: Subject, count: int) -> None:
    """Memory and processor without requests, and what an open load costs with so many machines."""
    time.sleep(5)  # the last machines are probed, and the last events sent
    for _ in range(run.rounds(3, least=1)):
        before_s = subject.cpu_s()
        time.sleep(REST_S)
        run.book.add(f"rest.{count}.cpu_percent", (subject.cpu_s() - before_s) / REST_S * 100)
        run.book.add(f"rest.{count}.memory_mib", subject.memory_mib())
    found = load.opened(subject.port, 250, run.seconds(8.0, 3.0), pair)
    run.book.add_times(f"rest.{count}.open", found.took_ms["assign"])
    run.book.add(f"rest.{count}.loaded_memory_mib", subject.memory_mib())
