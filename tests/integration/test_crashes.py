"""What was answered survives `kill -9`, whenever it comes: seeded random kills under load, and one at each crash point."""

from __future__ import annotations

import http.client
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest
from tests.integration.conftest import Start
from tests.integration.docker_command import LABEL, docker, is_podman
from tests.integration.running import Running
from tests.integration.waiting import eventually

KILLS = int(os.environ.get("KILLS", "12"))
SEED = int(os.environ.get("SEED", "1"))
CLIENTS = 6
PATIENCE_S = 60.0
"""For a crash point, before which there may be a dozen calls of a busy engine."""
CRASHING = Path(__file__).with_name("crashing_service.py")
FLAGS = ("--min-idle", "2", "--max-machines", "10", "--assign-timeout", "5", "--refresh-interval", "1")


@dataclass(slots=True)
class Client:
    """One client, who writes down what it was told. Its projects are its own, so nobody else changes them.

    `held` is what must be there, `free` what must not: a project whose last request was never answered is in neither.
    """

    service: Running
    name: str
    chance: random.Random
    held: dict[str, str] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)
    destroyed: set[str] = field(default_factory=set)
    answered: int = 0
    cut_off: int = 0
    broken: list[str] = field(default_factory=list)
    stopped: bool = False

    def work(self) -> None:
        while not self.stopped:
            try:
                self.one_request()
            except (OSError, http.client.HTTPException):
                self.cut_off += 1
                return  # the service is gone
            self.answered += 1

    def one_request(self) -> None:
        project = f"{self.name}-{self.chance.randrange(3)}"
        machine = self.held.get(project)
        if machine is None or self.chance.random() < 0.3:
            self.assign(project)
        elif self.chance.random() < 0.6:
            self.give_up(project, machine, destroy=False)
        else:
            self.give_up(project, machine, destroy=True)

    def assign(self, project: str) -> None:
        known = self.held.get(project)  # stays true, whatever becomes of this request
        self.free.discard(project)
        answer = self.service.get(f"/{project}", timeout_s=20)
        if answer.status == 200:
            found = answer.json["containerId"]
            if known not in {None, found}:
                self.broken.append(f"{project} had {known} and was given {found}")
            self.held[project] = found
        elif answer.status != 503:
            self.broken.append(f"assign {project}: {answer.status} {answer.text}")
        elif known is not None:
            self.broken.append(f"{project} has {known} and was told {answer.text}")

    def give_up(self, project: str, machine: str, *, destroy: bool) -> None:
        del self.held[project]  # from now on nobody knows, until the answer is here
        answer = self.service.post_destroy(machine) if destroy else self.service.delete(project)
        if answer.status == 200:
            self.free.add(project)
            if destroy:
                self.destroyed.add(machine)
        else:
            self.broken.append(f"{'destroy' if destroy else 'release'} {project}: {answer.status} {answer.text}")


@dataclass(slots=True)
class Crowd:
    """All clients of one service, over all its lives."""

    service: Running
    clients: list[Client]
    threads: list[Thread] = field(default_factory=list)

    @classmethod
    def of(cls, service: Running, seed: int) -> Crowd:
        clients = [Client(service, f"client-{i}", random.Random(f"{seed}/{i}")) for i in range(CLIENTS)]
        return cls(service, clients)

    def start(self) -> None:
        self.threads = [Thread(target=client.work) for client in self.clients]
        for client in self.clients:
            client.stopped = False
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        for client in self.clients:
            client.stopped = True
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client still waits for an answer"

    @property
    def answered(self) -> int:
        return sum(client.answered for client in self.clients)

    def holders(self) -> set[str]:
        return {machine["assignedProject"] for machine in self.service.machines()}

    def check(self) -> None:
        """Every answer holds: seen through the API, in the database and in Docker."""
        listed = self.service.machines()
        assigned = {machine["assignedProject"]: machine["id"] for machine in listed if machine["isUsed"]}
        stored = self.service.rows("SELECT project, id FROM machine WHERE project IS NOT NULL")
        assert len(assigned) == len([machine for machine in listed if machine["isUsed"]]), (
            f"one project twice: {listed}"
        )
        assert len(set(assigned.values())) == len(assigned), f"one machine twice: {listed}"
        assert len({row[0] for row in stored}) == len({row[1] for row in stored}) == len(stored)
        for client in self.clients:
            assert not client.broken, client.broken
            for project, machine in client.held.items():
                assert assigned.get(project) == machine, f"{project} was given {machine}, now {assigned.get(project)}"
            for project in client.free:
                assert project not in assigned, f"{project} gave its machine up, and has {assigned[project]}"
            for machine in client.destroyed:
                assert machine not in [found["id"] for found in listed], f"{machine} was destroyed"


def assert_nothing_leaks(service: Running) -> None:
    """Every container of ours has a record, and every machine that can serve has a running container."""

    def leaked() -> set[str]:
        containers = set(service.containers())  # first: what is created later was recorded earlier
        return containers - {row[0] for row in service.rows("SELECT id FROM machine")}

    eventually(lambda: not leaked(), f"no container without a record: {leaked()}", within_s=10)
    eventually(
        lambda: {m["id"] for m in service.machines()} <= set(service.containers()), "every machine has its container"
    )
    if is_podman():  # where each worker has a network; one that was left over goes once it is a minute old
        of_workers = ("--filter", f"label={LABEL}.owner={service.owner}", "--filter", f"label={LABEL}.machine")

        def networks() -> set[str]:
            return set(docker("network", "ls", *of_workers, "--format", "{{.Name}}").lines)

        eventually(lambda: networks() <= set(service.containers()), "no network without a container", within_s=150)


@pytest.mark.promise("kill")
def test_what_was_answered_survives_random_kills(start: Start) -> None:
    """Under load from six clients, at random times from a seed: KILLS=200 SEED=7 make integration."""
    service = start(*FLAGS)
    chance = random.Random(SEED)
    crowd = Crowd.of(service, SEED)
    begun = time.monotonic()
    for _ in range(KILLS):
        already, delay_s = crowd.answered, chance.uniform(0.02, 1.2)
        crowd.start()
        eventually(lambda already=already: crowd.answered > already, "the clients are at work")  # type: ignore[misc]
        deadline = time.monotonic() + delay_s
        eventually(lambda deadline=deadline: time.monotonic() > deadline, "the time of the kill")  # type: ignore[misc]
        service.end(signal.SIGKILL)
        crowd.join()
        service.start()
        crowd.check()
    assert_nothing_leaks(service)
    crowd.check()
    cut_off = sum(client.cut_off for client in crowd.clients)
    took_s = time.monotonic() - begun
    print(f"\n{KILLS} kills (seed {SEED}), {crowd.answered} answers, {cut_off} requests cut off, {took_s:.0f} s")
    assert crowd.answered >= KILLS
    assert cut_off > 0


POINTS = [
    *[("commit", when, number) for when in ("before", "after") for number in (2, 4, 6, 9)],
    *[("create", when, number) for when in ("before", "after") for number in (1, 3)],
    *[("destroy", when, 1) for when in ("before", "after")],
    *[("restart", when, 1) for when in ("before", "after")],
    *[("start", when, 2) for when in ("before", "after")],
    *[(change, when, 2) for change in ("created", "answered", "assigned") for when in ("before", "after")],
    *[(change, when, 1) for change in ("released", "destroyed", "forgotten") for when in ("before", "after")],
    *[(reply, "after", number) for reply, number in (("assigning", 1), ("releasing", 1), ("destroying", 1))],
]


@pytest.mark.promise("kill")
@pytest.mark.parametrize(("what", "when", "number"), POINTS)
def test_what_was_answered_survives_a_kill_between_two_effects(start: Start, what: str, when: str, number: int) -> None:
    """Around each call of the engine, each kind of commit and each reply: nothing is forgotten, doubled or left behind."""
    service = start(*FLAGS, start=False)
    service.start(command=(sys.executable, str(CRASHING), what, when, str(number)), await_answer=False)
    client = Client(service, "client", random.Random(0))
    crowd = Crowd(service, [client])
    script = Thread(target=play, args=(client,))
    script.start()
    reached = lambda: service.process is not None and service.process.poll() is not None  # noqa: E731
    eventually(reached, "the crash point is reached", within_s=PATIENCE_S)
    code = service.wait()
    client.stopped = True
    script.join(60)
    assert code == -signal.SIGKILL, f"the crash point was not reached:\n{service.log}"
    service.start()
    eventually(lambda: len(service.idle()) >= 2, "the pool is full again", within_s=30)
    eventually(lambda: set(client.held) <= crowd.holders(), "what was killed for its project runs again")
    crowd.check()
    assert_nothing_leaks(service)
    crowd.check()
    for project in list(client.held):
        assert service.assign(project)["containerId"] == client.held[project]
    service.assign("one-more")


def play(client: Client) -> None:
    """Every kind of effect once, over and over: assign, a death, a release, a destroy."""
    answers = client.service._answers_or_ended
    eventually(lambda: client.stopped or answers(), "the service answers or is gone", within_s=PATIENCE_S)
    round_ = 0
    while not client.stopped:
        round_ += 1
        kept, given_up = f"kept-{round_}", f"given-up-{round_}"
        try:
            client.assign(kept)
            if kept in client.held:
                docker("kill", client.held[kept], check=False)
            client.assign(given_up)
            if given_up in client.held:
                client.give_up(given_up, client.held[given_up], destroy=True)
            client.assign(given_up)
            if given_up in client.held:
                client.give_up(given_up, client.held[given_up], destroy=False)
        except (OSError, http.client.HTTPException):
            return
