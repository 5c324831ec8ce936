"""What clients were told, and what must hold because of it. It judges; it knows nothing of how the service works.

Each project belongs to one client, who asks one thing at a time. A promise is *sure* from the reply until its client asks
for its end; after a request whose answer got lost nobody knows, so nothing is demanded.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Final

from tests.chaos.given import Given
from tests.chaos.harm import Harm, Kind

__all__ = ["Model", "Project", "Row", "Sure"]

PAUSED_S: Final = 60.0
"""What chaos paused is let go on sooner than that."""
LEAK_S: Final = 20.0
"""A container without a record must be gone within this time, counted only while nothing hinders its removal."""
_HINDERS_REMOVAL: Final = (
    Kind.SERVICE_DOWN,
    Kind.SERVICE_FROZEN,
    Kind.DAEMON_DOWN,
    Kind.DAEMON_FROZEN,
    Kind.DAEMON_DYING,
    Kind.DISK,
)
_NAMES: Final = re.compile(r"worker-\d+-\w+|c\d+-\d+")


@dataclass(frozen=True, slots=True)
class Row:
    """One machine on record."""

    id: str
    state: str
    project: str | None
    port: int | None
    gone: bool
    reason: str
    pool: str = "default"
    is_configured: bool = False
    generation: int = 0


@dataclass(slots=True, eq=False)
class Project:
    """One project, as its client knows it."""

    name: str
    machine: str | None = None  # told, and sure
    port: int = 0
    free: bool = True  # it surely has no machine
    fresh: bool = True  # its next assign is a first one
    marked: str | None = None  # the machine in which it left a file
    serial: int = 0  # raised whenever something is asked or told
    pool: str = "default"
    host: str = ""  # the id of the container of the machine that it was told
    given: Given = field(default_factory=Given)


@dataclass(frozen=True, slots=True)
class Sure:
    """What was sure at one moment: the serial of each project, and the machines that were destroyed."""

    serials: Mapping[str, int]
    destroyed: frozenset[str]


@dataclass(slots=True)
class Model:
    """All projects, and every sentence that did not hold."""

    harm: Harm
    max_machines: int
    projects: dict[str, Project] = field(default_factory=dict)
    destroyed: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)  # machines that a destroy may yet reach whose client hung up
    violations: list[str] = field(default_factory=list)
    broken: Event = field(default_factory=Event)
    _unknown_s: dict[str, float] = field(default_factory=dict)
    _paused: dict[str, int] = field(default_factory=dict)  # generation of each machine of a project that was paused
    _looked_at: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock)

    def fail(self, sentence: str) -> None:
        self.violations.append(sentence)
        self.broken.set()

    def check(self, holds: bool, sentence: str) -> None:  # noqa: FBT001 # an assertion in words
        if not holds:
            self.fail(sentence)

    @property
    def names_in_violations(self) -> set[str]:
        return {name for sentence in self.violations for name in _NAMES.findall(sentence)}

    # what clients ask and hear

    def new_project(self, name: str, pool: str) -> Project:
        with self._lock:
            return self.projects.setdefault(name, Project(name, pool=pool))

    def retire(self, project: Project) -> None:
        """Nobody asks for this project any more, except to get rid of its machine."""
        with self._lock:
            del self.projects[project.name]

    def asks(self, project: Project) -> None:
        with self._lock:
            project.serial += 1
            project.free = False

    def told(self, project: Project, machine: str, port: int) -> None:
        with self._lock:
            project.serial += 1
            known = project.machine
            excused = known is not None and (known in self.doubtful or self.is_removed(known))
            self.check(known in {None, machine} or excused, f"{project.name} held {known} and was told {machine}")
            self.check(machine not in self.destroyed, f"{project.name} was told {machine}, which was destroyed")
            same_port = known != machine or port == project.port
            self.check(same_port, f"{project.name} was told port {port} of {machine}, before it was {project.port}")
            for other in self.projects.values():
                both = other is not project and other.machine == machine and machine not in self.doubtful
                self.check(not both, f"{project.name} was told {machine}, which {other.name} holds")
            project.machine, project.port, project.fresh = machine, port, False

    def takes(self, project: Project) -> str | None:
        """The end of its promise is asked for: from now on nobody knows. Returns the machine that it held."""
        with self._lock:
            project.serial += 1
            machine, project.machine = project.machine, None
            project.free = project.fresh = False
            return machine

    def kept(self, project: Project, machine: str | None) -> None:
        """The client was told that its machine was not taken from it."""
        with self._lock:
            project.serial += 1
            project.machine = machine

    def gave_up(self, project: Project, destroyed: str | None = None) -> None:
        with self._lock:
            project.serial += 1
            project.free = project.fresh = True
            project.given.ended()
            if destroyed is not None:
                self.destroyed.add(destroyed)

    def is_removed(self, machine: str) -> bool:
        return self.harm.done(Kind.REMOVED, what=machine)

    # what must hold at any time

    def sure(self) -> Sure:
        with self._lock:
            serials = {project.name: project.serial for project in self.projects.values()}
            return Sure(serials, frozenset(self.destroyed))

    def known_since(self, before: Sure) -> list[Project]:
        """The projects of which nothing was asked or told since."""
        with self._lock:
            return self._known_since(before)

    def _known_since(self, before: Sure) -> list[Project]:
        return [project for project in self.projects.values() if before.serials.get(project.name) == project.serial]

    def check_rows(self, rows: Iterable[Row], before: Sure) -> None:
        """Compare the record with whatever was sure before it was read, and still is."""
        rows = list(rows)
        by_project = {row.project: row for row in rows if row.project is not None}
        self.check(
            len(by_project) == sum(row.project is not None for row in rows), f"a project has two machines: {rows}"
        )
        held = sum(not row.gone for row in rows)
        self.check(held <= self.max_machines, f"{held} machines of {self.max_machines} on record")
        with self._lock:
            for project in self._known_since(before):
                self._check_project(project, by_project.get(project.name))
        for row in rows:
            over = row.id not in before.destroyed or row.state == "stopping"
            self.check(over, f"{row.id} was destroyed, and is {row.state}")

    def _check_project(self, project: Project, row: Row | None) -> None:
        machine = project.machine
        if machine is None:
            self.check(row is None or not project.free, f"{project.name} gave its machine up, and has {row}")
        elif machine not in self.doubtful and not self.is_removed(machine):
            self.check(row is not None and row.id == machine, f"{project.name} holds {machine}, on record it has {row}")
            self.check(row is None or not row.gone, f"{machine} is said to be gone, and nobody removed it")

    def check_containers(self, containers: Mapping[str, str], rows: Iterable[Row]) -> None:
        """Containers (id: status) that were listed before the record was read."""
        rows = list(rows)
        self._check_paused(containers, rows)
        present = {row.id: row for row in rows if not row.gone}
        running = [name for name, status in containers.items() if status in {"running", "paused"} and name in present]
        self.check(
            len(running) <= self.max_machines, f"{len(running)} containers of {self.max_machines} run: {running}"
        )
        now, unknown = time.monotonic(), containers.keys() - present.keys()
        calm = not self.harm.done(*_HINDERS_REMOVAL, since=self._looked_at)
        passed_s, self._looked_at = now - self._looked_at if calm else 0.0, now
        self._unknown_s = {name: self._unknown_s.get(name, 0.0) + passed_s for name in unknown}
        for name, for_s in self._unknown_s.items():
            self.check(
                for_s < LEAK_S, f"the container {name} has no record, for {for_s:.0f} s in which nothing hindered"
            )

    def _check_paused(self, containers: Mapping[str, str], rows: Iterable[Row]) -> None:
        """Nobody has a machine of the reserve that is paused, or was paused late.

        A machine that was assigned at the last look, and is so still, was not parked in between. The containers were listed
        in between.
        """
        paused = {
            row.id: row.generation
            for row in rows
            if row.project is not None and row.state == "ready" and containers.get(row.id) == "paused"
        }
        for name, generation in paused.items():
            own = self.harm.done(Kind.PAUSED, since=time.monotonic() - PAUSED_S, what=name)
            held = self._paused.get(name) == generation
            self.check(own or not held, f"{name} is paused, and a project has it, and nobody else paused it")
        self._paused = paused

    def may_have_failed(self, row: Row) -> bool:
        """Whether chaos did enough to an assigned machine for it to stay down, with its files.

        A dockerd that was killed may be unable to start a container ever again: "task … already exists".
        """
        killed = self.harm.done(Kind.KILLED, Kind.REMOVED, what=row.id) or "already exists" in row.reason
        return killed or self.harm.done(Kind.PORT, what=str(row.port))
