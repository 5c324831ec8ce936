"""A client: it assigns, releases, destroys, hangs up, leaves files and looks for them, and tells the model what it heard."""

from __future__ import annotations

import http.client
import random
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Final

from tests.chaos.harm import Kind
from tests.chaos.model import Project
from tests.chaos.stage import Stage
from tests.chaos.values import PLANTED
from tests.integration.calling import Answer, call
from tests.integration.docker_command import docker

__all__ = ["PATIENCE_S", "Client", "Send"]

PROJECTS: Final = 2
PATIENCE_S: Final = 75.0
CUT_OFF_PAUSE_S: Final = 0.3
VERIFIED_S: Final = 2.0
"""So old may be what makes a machine count as alive: 1 s of the service, and a moment for the reply."""
DISK_MATTERS_S: Final = 30.0
READS: Final = (
    ("/health", (200, 503)),
    ("/machines/list", (200,)),
    ("/v1/machines", (200,)),
    ("/v1/events?follow=false", (200,)),
    ("/metrics", (200,)),
)
Send = Callable[[float], Answer]  # with so many seconds of patience
_GONE: Final = (Kind.SERVICE_DOWN,)
_DEADLY: Final = (Kind.KILLED, Kind.REMOVED, Kind.PAUSED)


@dataclass(slots=True)
class Client:
    """One client. Its projects are its own, so nobody else changes them."""

    stage: Stage
    number: int
    chance: random.Random
    done: Event
    pace: float = 5.0  # steps a second
    projects: list[Project] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    _count: int = 0

    def work(self) -> None:
        try:
            self.projects = [self._new_project() for _ in range(PROJECTS)]
            while not self.done.is_set():
                self._one_step(self.chance.randrange(PROJECTS))
                self.done.wait(self.chance.expovariate(self.pace))
        except Exception as error:
            self.stage.model.fail(f"client {self.number} failed: {error!r}")
            raise

    def _new_project(self) -> Project:
        self._count += 1
        return self.stage.model.new_project(f"c{self.number}-{self._count}", "default")

    def _one_step(self, slot: int) -> None:
        luck = self.chance.random()
        if luck < 0.06:
            self._read()
        elif luck < 0.14 and self.retired:
            self.settle()
        elif self.projects[slot].machine is None:
            self._want(slot, self.chance.random())
        else:
            self._hold(slot, self.chance.random())

    def _want(self, slot: int, luck: float) -> None:
        if luck < 0.1:
            self.assign(slot, hang_up_after_s=self.chance.uniform(0.005, 0.4))
        elif luck < 0.2:
            self._assign_twice(slot)
        elif luck < 0.9:
            self.assign(slot)
        else:
            self.release(slot)

    def _hold(self, slot: int, luck: float) -> None:
        if luck < 0.25:
            self.assign(slot)
        elif luck < 0.5:
            self._files(self.projects[slot])
        elif luck < 0.7:
            self.release(slot)
        elif luck < 0.8:
            self._destroy(slot)

    # calls

    def _ask(self, what: str, send: Send, hang_up_after_s: float | None = None) -> Answer | None:
        """The answer, or None if none came: then the service must have gone, or this client hung up."""
        timeline, asked_at = self.stage.timeline, time.monotonic()
        try:
            answer = send(hang_up_after_s or PATIENCE_S)
        except TimeoutError:
            self.stage.model.check(hang_up_after_s is not None, f"{what}: no answer within {PATIENCE_S:g} s")
            timeline.call(f"{what}: hung up")
            timeline.count(f"call {what.split(maxsplit=1)[0]} hung up")
            raise
        except (OSError, http.client.HTTPException) as error:
            down = self.stage.harm.done(*_GONE, since=asked_at)
            self.stage.model.check(down, f"{what}: {error!r}, and nobody had ended the service")
            timeline.call(f"{what}: {error!r}")
            timeline.count(f"call {what.split(maxsplit=1)[0]} cut off")
            self.done.wait(CUT_OFF_PAUSE_S)
            return None
        self.stage.model.check(PLANTED not in answer.text, f"{what}: a value is in the answer {answer.text}")
        timeline.call(f"{what}: {answer.status} {answer.text[:300]} ({answer.took_s:.2f} s)")
        timeline.count(f"call {what.split(maxsplit=1)[0]} {answer.status}")
        return answer

    def _get(self, path: str) -> Send:
        return lambda timeout_s: call(self.stage.service.ports.api, "GET", path, timeout_s=timeout_s)

    def _delete(self, name: str) -> Send:
        return lambda timeout_s: call(self.stage.service.ports.api, "DELETE", f"/{name}", timeout_s=timeout_s)

    def _post_destroy(self, machine: str) -> Send:
        body = {"containerId": machine}
        return lambda timeout_s: call(self.stage.service.ports.api, "POST", "/destroy", body, timeout_s=timeout_s)

    def _documented(self, what: str, answer: Answer, *statuses: int) -> None:
        self.stage.model.check(answer.status in statuses, f"{what}: {answer.status} {answer.text}")

    def assign(self, slot: int, hang_up_after_s: float | None = None) -> None:
        project = self.projects[slot]
        what, asked_at, first = f"assign {project.name}", time.monotonic(), project.fresh
        self.stage.model.asks(project)
        try:
            answer = self._ask(what, self._get(f"/{project.name}"), hang_up_after_s)
        except TimeoutError:
            self._retire(slot)
            return
        if answer is None:
            project.fresh = False  # it may have a machine that it was never told of
            return
        self._documented(what, answer, 200, 503)
        if answer.status == 200:
            self._told(project, *_machine_in(answer), asked_at, first=first)
        elif self.stage.harm.done(Kind.DISK, since=asked_at - DISK_MATTERS_S):
            project.fresh = False  # what was reserved for it may not be given back yet

    def _told(self, project: Project, machine: str, port: int, asked_at: float, *, first: bool) -> None:
        told_at = time.monotonic()
        self.stage.model.told(project, machine, port)
        if not first:
            return
        self.stage.timeline.count("first assigns that were called at once")
        why_not = _why_not(port)
        if why_not:
            harm = self.stage.harm
            since = (asked_at if harm.done(Kind.SERVICE_FROZEN, since=asked_at) else told_at) - VERIFIED_S
            excused = harm.done(*_DEADLY, since=since, what=machine) or harm.done(Kind.DAEMON_DYING, since=since)
            self.stage.model.check(excused, f"{project.name} was told {machine}, and port {port} gives {why_not}")
            self.stage.timeline.count("first assigns of what had just been harmed")

    def _assign_twice(self, slot: int) -> None:
        """Two clients of one project at once hear of the same machine."""
        project = self.projects[slot]
        self.stage.model.asks(project)

        def ask(_: int) -> Answer | None:
            return self._ask(f"assign {project.name}", self._get(f"/{project.name}"))

        asked_at, first = time.monotonic(), project.fresh
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(ask, range(2)))
        project.fresh = first and None not in answers
        for answer in answers:
            if answer is not None:
                self._documented(f"assign {project.name}", answer, 200, 503)
                if answer.status == 200:
                    self._told(project, *_machine_in(answer), asked_at, first=project.fresh)

    def release(self, slot: int) -> None:
        project = self.projects[slot]
        free = project.free
        machine = self.stage.model.takes(project)
        name = machine if machine is not None and self.chance.random() < 0.3 else project.name
        hang_up = self.chance.uniform(0.001, 0.05) if self.chance.random() < 0.05 else None
        what = f"release {project.name}" + (f" as {name}" if name != project.name else "")
        try:
            answer = self._ask(what, self._delete(name), hang_up)
        except TimeoutError:
            self._retire(slot)
            return
        if answer is None:
            return
        if answer.status == 500:
            self._documented(what, answer, *((500,) if self._disk_is_harmed() else ()))
            self.stage.model.kept(project, machine)
            return
        self._documented(what, answer, *self._of_release(machine, free=free))
        self.stage.model.gave_up(project)

    def _of_release(self, machine: str | None, *, free: bool) -> tuple[int, ...]:
        if free:
            return (404,)
        model = self.stage.model
        is_sure = machine is not None and machine not in model.doubtful and not model.is_removed(machine)
        return (200,) if is_sure else (200, 404)

    def _disk_is_harmed(self) -> bool:
        return self.stage.harm.done(Kind.DISK, since=time.monotonic() - VERIFIED_S)

    def _destroy(self, slot: int) -> None:
        project = self.projects[slot]
        machine = self.stage.model.takes(project)
        assert machine is not None, "it is known"
        hang_up = self.chance.uniform(0.001, 0.3) if self.chance.random() < 0.1 else None
        what = f"destroy {machine} of {project.name}"
        try:
            answer = self._ask(what, self._post_destroy(machine), hang_up)
        except TimeoutError:
            self.stage.model.doubtful.add(machine)
            self._retire(slot)
            return
        if answer is not None:
            self._documented(what, answer, 200, 500)
            if answer.status == 200:
                self.stage.model.gave_up(project, destroyed=machine)

    def _retire(self, slot: int) -> None:
        """A request whose client hung up may be carried out later, even after the next one: so there is none."""
        self.stage.model.retire(self.projects[slot])
        self.retired.append(self.projects[slot].name)
        self.projects[slot] = self._new_project()

    def settle(self) -> None:
        name = self.retired[0]
        answer = self._ask(f"release {name}", self._delete(name))
        if answer is not None:
            self._documented(f"release {name}", answer, 200, 404, 500)
            if answer.status != 500:
                self.retired.pop(0)

    def _read(self) -> None:
        path, statuses = self.chance.choice(READS)
        answer = self._ask(f"read {path}", self._get(path))
        if answer is None:
            return
        self._documented(path, answer, *statuses)
        if path == "/machines/list" and answer.status == 200:
            projects = [m["assignedProject"] for m in answer.json["machines"] if m["isUsed"]]
            self.stage.model.check(len(projects) == len(set(projects)), f"one project twice: {answer.text}")

    # files

    def _files(self, project: Project) -> None:
        """Leave a file in the project's machine, or look whether it is still there."""
        machine, file = project.machine, f"{project.name}.txt"
        assert machine is not None, "it is known"
        if project.marked == machine:
            self._look_for(file, project, machine)
        elif self.stage.docker_answers:
            try:
                words = ("sh", "-c", f"echo {project.name} >/srv/files/{file}")
                with self.stage.inside:
                    ran = docker("exec", machine, *words, host=self.stage.daemon.host, check=False, timeout_s=20)
            except subprocess.TimeoutExpired:
                return
            if not ran.failed:
                project.marked = machine
                self.stage.timeline.count("files left")

    def _look_for(self, file: str, project: Project, machine: str) -> None:
        try:
            answer = call(project.port, "GET", f"/files/{file}", timeout_s=3)
        except (OSError, http.client.HTTPException):
            return  # whether it runs is not the question here
        there = answer.status == 200 and answer.text.strip() == project.name
        gone = self.stage.model.is_removed(machine)
        self.stage.model.check(there or gone, f"{project.name} misses its file in {machine}: {answer.status}")
        self.stage.timeline.count("files found")


def _machine_in(answer: Answer) -> tuple[str, int]:
    return answer.json["containerId"], answer.json["port"]


def _why_not(port: int) -> str:
    """Why nothing answers there; empty if it does."""
    try:
        status = call(port, "GET", "/", timeout_s=5).status
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    return "" if status == 200 else str(status)
