"""Histories of three replicas on one cluster, with all that goes wrong there, and what must hold in each of them.

Answers and requests get lost, or requests land much later. Replicas are killed, stopped and cut off. Pods are drained, and
Leases removed by others. In every second history clocks are sound: they run at nearly the same speed. In the others they
prove nothing: a leader never finds that its time is over, and two of them believe at once.

Safety properties, after each write that lands:

1. What was acknowledged stands: the project has just that machine, in what a new leader would read.
2. A project has one machine, and a machine one project.
3. A leader whose term has ended changes nothing that its successor has taken over. With sound clocks it changes nothing
   of which project has which machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, NamedTuple

from tests.simulation.cluster_api import ModelApi
from tests.simulation.cluster_replica import COORDINATION, ME, Replica, Reply

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.store.cluster.calls import Answer, Call, Create, Delete, Kind, Patch, Verdict
from worker_orchestrator.store.cluster.objects import assignment_of, lease_name, pod_of
from worker_orchestrator.store.cluster.recovery import recovered
from worker_orchestrator.store.cluster.terms import Term

__all__ = ["Violated", "World", "live"]

PROJECTS: Final = tuple(f"project-{number}" for number in range(5))
TIMEOUT_S: Final = 2.0
"""So long a replica waits for an answer."""
CLIENT_WAITS_S: Final = 15.0
HEALS_AT_S: Final = 90.0
ENDS_AT_S: Final = 125.0
CALM_S: Final = 6.0
"""So long before the end nobody asks for anything any more."""
MOST_NOTES: Final = 60


class Violated(AssertionError):
    """A safety property does not hold, or nothing goes on although all is well again."""


class Expected(NamedTuple):
    """What a client was told. `metadata` is None if it cannot know that."""

    machine: str
    generation: int
    metadata: str | None


class World:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.random, self.now = Random(seed), 0.0
        self.has_sound_clocks = seed % 2 == 0
        self.api = ModelApi()
        self.expected: dict[str, Expected] = {}
        self.flying: dict[str, str] = {}  # by project: what its client asked for and has no reply to
        self.done: dict[str, int] = {}  # how often something was acknowledged, by kind
        self._unleased: dict[str, float] = {}  # when somebody removed the Lease of a project
        self._served = set[str]()  # projects that got what they asked for after all was well again
        self.notes: list[str] = []
        self.terms = 0  # how many takeovers came to their end
        self._newest = 0  # the epoch of the last of them
        self._is_away, self._is_healed = False, False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.replicas = [self._replica(), self._replica(), self._replica()]

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def _replica(self) -> Replica:
        spread = (0.95, 1.05) if self.has_sound_clocks else (0.3, 4.0)
        return Replica(self, f"replica-{self.next_number()}", self.random.uniform(*spread))

    def note(self, text: str) -> None:
        self.notes = [*self.notes[-MOST_NOTES:], f"{self.now:8.3f} {text}"]

    # time

    def later(self, wait_s: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + wait_s, self.next_number(), then))

    def run(self) -> None:
        for project in PROJECTS:
            self.later(self.random.uniform(0, 5), lambda project=project: self._client(project))  # type: ignore[misc]
        self.later(1.0, self._fault)
        self.later(0.5, self._kubelet)
        self.later(HEALS_AT_S, self._heal)
        while self._events and self._events[0][0] < ENDS_AT_S:
            self.now, _, then = heapq.heappop(self._events)
            then()
        self._judge_the_end()

    # the network

    def send(self, replica: Replica, call: Call, term: Term | None, then: Callable[[Answer], None]) -> None:
        """Bring this to the server, and its answer back, unless something goes wrong."""
        ways = ("fine", "lost", "unheard", "late", "refused")
        way = self.random.choices(ways, (100, 2, 2, 2, 0.5))[0] if not self._is_healed else "fine"
        if replica.is_cut or self._is_away:
            way = "lost"
        there, back = self.random.expovariate(100), self.random.expovariate(100)

        def land() -> None:
            self._land(call, term)

        def land_and_answer() -> None:
            answer = self._land(call, term)
            replica.later(back, lambda: then(answer))

        if way == "refused" and isinstance(call, Create | Patch) and term is not None:
            replica.later(there + back, lambda: then(Answer(Verdict.REFUSED, message="Quota.")))
        elif way in {"fine", "refused"}:
            self.later(there, land_and_answer)
        else:
            wait_s = {"lost": None, "unheard": there, "late": self.random.uniform(0, 30)}[way]
            if wait_s is not None:
                self.later(wait_s, land)
            replica.later(TIMEOUT_S, lambda: then(Answer(Verdict.UNKNOWN)))

    def _land(self, call: Call, term: Term | None) -> Answer:
        if term is None or not isinstance(call, Create | Patch | Delete):
            return self.api.carry_out(call)
        found = self.api.find(call.kind, call.name)
        is_over = term.epoch < self._newest
        before = self.truth() if is_over else {}
        answer = self.api.carry_out(call)
        if answer.verdict is not Verdict.DONE:
            return answer
        self.note(f"{term.leader} ({term.epoch}): {type(call).__name__} {call.kind} {call.name}")
        if not isinstance(call, Create):
            assert found is not None
            written = pod_of(found).term if call.kind is Kind.POD else assignment_of(found).term
            self._insist(written.epoch <= term.epoch, f"term {term.epoch} changed what is of {written}: {call}")
        if is_over and self.has_sound_clocks:
            self._insist(
                _owners(before) == _owners(self.truth()), f"term {term.epoch} is over and changed an owner: {call}"
            )
        self._check()
        if call.kind is Kind.POD:
            self._tell(call.name)
        return answer

    # what must hold

    def truth(self) -> dict[str, Machine]:
        """By project: its machine, as a new leader would read it now."""
        pods = {name: pod_of(pod) for name, pod in self.api.of(Kind.POD).items()}
        leases = [assignment_of(lease) for lease in self.api.of(Kind.LEASE).values()]
        owned = [machine for machine in recovered(pods, leases).machines.values() if machine.project is not None]
        self._insist(
            len({machine.project for machine in owned}) == len(owned), f"one project has two machines: {owned}"
        )
        return {machine.project or "": machine for machine in owned}

    def _check(self) -> None:
        truth = self.truth()
        pods = self.api.of(Kind.POD)
        for project, told in self.expected.items():
            asked, machine = self.flying.get(project), truth.get(project)
            is_gone = told.machine not in pods or (machine is not None and machine.gone)
            if asked == "release" or (asked == "assign" and is_gone):
                continue
            has = None if machine is None else (machine.id, machine.generation)
            self._insist(has == told[:2], f"{project} was told {told}, and has {machine}")
            assert machine is not None
            if told.metadata is not None and asked != "annotate":
                self._insist(machine.metadata == told.metadata, f"{project} was told {told}, and has {machine}")

    def has_taken_over(self, replica: Replica, term: Term, machines: list[Machine]) -> None:
        self.terms += 1
        # Where nothing is left that has a term, and nobody who knows one, terms begin anew.
        self._newest = max(self._newest, term.epoch) if machines else term.epoch
        self.note(
            f"{replica.name} has taken over in term {term.epoch}: {[(each.project, each.id) for each in machines]}"
        )
        own = {machine.project: machine.id for machine in machines if machine.project is not None}
        if self.has_sound_clocks and replica.leads:
            for project, told in self.expected.items():
                is_asked = self.flying.get(project) in {"release", "assign"}
                self._insist(is_asked or own.get(project) == told.machine, f"{replica.name} does not know {told}")

    def _insist(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 # as assert
        if not holds:
            raise Violated("\n".join([otherwise, *self.notes]))

    def _judge_the_end(self) -> None:
        leaders = [replica for replica in self.replicas if replica.leads and replica.standing.may_write(replica.now())]
        self._insist(len(leaders) == 1, f"there are {len(leaders)} leaders at the end")
        known = leaders[0].machines or {}
        own = _owners({machine.project: machine for machine in known.values() if machine.project is not None})
        truth = _owners(self.truth())
        self._insist(own == truth, f"the leader knows {own}, and it is {truth}")
        self._insist(
            len(self._served) == len(PROJECTS), f"after all was well, only {self._served} got what they asked for"
        )

    # clients

    def _client(self, project: str) -> None:
        if self.now > ENDS_AT_S - CALM_S:
            return
        leaders = [replica for replica in self.replicas if replica.leads]
        can_ask = [replica for replica in leaders if not replica.is_cut and self.now >= replica.wakes_at]
        if project in self.flying or not can_ask:
            self.later(self.random.uniform(0.2, 2), lambda: self._client(project))
            return
        replica = self.random.choice(can_ask)
        self._ask(replica, project, self._wish(project))

    def _wish(self, project: str) -> str:
        if project not in self.expected:  # it may have one all the same
            return self.random.choices(("assign", "release"), (3, 1))[0]
        return self.random.choices(("assign", "release", "annotate", "hand over"), (2, 3, 3, 2))[0]

    def _ask(self, replica: Replica, project: str, wish: str) -> None:
        match wish:
            case "assign":
                replica.assign(project, self._reply_to(project, wish))
            case "release":
                replica.release(project, self._reply_to(project, wish))
            case "annotate":
                text = f'{{"n":{self.next_number()}}}'
                replica.annotate(project, text, self._reply_to(project, wish))
            case _:
                takers = [each for each in PROJECTS if each not in self.expected and each not in self.flying]
                if not takers:
                    self.later(0.1, lambda: self._client(project))
                    return
                replies = (self._reply_to(project, "release"), self._reply_to(takers[0], "assign", is_guest=True))
                replica.hand_over(project, takers[0], replies)

    def _reply_to(self, project: str, wish: str, *, is_guest: bool = False) -> Reply:
        """Takes the reply, once, or none after a while. A guest is no client of its own: another one asked for it."""
        self.flying[project] = wish
        is_over, asked_at = False, self.now

        def reply(kind: str, machine: Machine | None) -> None:
            nonlocal is_over
            if is_over:
                return
            is_over = True
            del self.flying[project]
            self._take_reply(project, wish, kind, machine, asked_at)
            if not is_guest:
                self.later(self.random.expovariate(1), lambda: self._client(project))

        self.later(CLIENT_WAITS_S, lambda: reply("unknown", None))
        return reply

    def _take_reply(self, project: str, wish: str, kind: str, machine: Machine | None, asked_at: float) -> None:
        self.note(f"{project}: {wish} {kind} {'' if machine is None else machine.id}")
        told = self.expected.get(project)
        if kind in {"done", "known"} and self._is_healed:
            self._served.add(project)
        if kind == "known" and not self.has_sound_clocks:
            return  # nothing was written, so this may be of a leader that is none
        if kind in {"done", "known"}:
            self.done[wish] = self.done.get(wish, 0) + 1
            if wish == "release":
                self.expected.pop(project, None)
            else:
                assert machine is not None
                has_lease = self.api.find(Kind.LEASE, lease_name(ME, project)) is not None
                was_removed = self._unleased.get(project, -1.0) >= asked_at  # perhaps after it was written
                metadata = machine.metadata if has_lease and not was_removed else None
                self.expected[project] = Expected(machine.id, machine.generation, metadata)
                self._check_reply(project, machine)
        elif kind == "unknown" and told is not None:
            if wish == "annotate":
                self.expected[project] = told._replace(metadata=None)
            elif wish == "release" or told.machine not in self.api.of(Kind.POD):
                del self.expected[project]

    def _check_reply(self, project: str, machine: Machine) -> None:
        others = {
            each.machine for other, each in self.expected.items() if other != project and other not in self.flying
        }
        self._insist(machine.id not in others, f"{machine.id} is told to two projects")
        self._check()

    # nodes, and what goes wrong

    def _kubelet(self) -> None:
        """Nodes write to pods as well, so versions change for no reason of ours."""
        self.later(0.5, self._kubelet)
        for name, pod in self.api.of(Kind.POD).items():
            if "status" not in pod or self.random.random() < 0.05:
                self.api.change(Kind.POD, name, {"status": {"seen": self.next_number()}})
                self._tell(name)

    def _tell(self, name: str) -> None:
        """The watch of each leader, which may be late, and then tells of what is long over."""
        pod = self.api.find(Kind.POD, name)
        for replica in self.replicas:
            replica.later(self.random.choice((0.001, 0.01, 3.0)), _teller(replica, name, pod))

    def _fault(self) -> None:
        if self._is_healed:
            return
        self.later(self.random.expovariate(1 / 4), self._fault)
        self.random.choice((self._kill, self._kill, self._stop, self._stop, self._cut, self._go_away, self._drain,
                            self._unlease, self._unseat))()  # fmt: skip

    def _kill(self) -> None:
        replica = self.random.choice(self.replicas)
        self.note(f"{replica.name} is killed")
        replica.is_alive = False
        self.replicas.remove(replica)
        self.replicas.append(self._replica())

    def _stop(self) -> None:
        replica = self.random.choice(self.replicas)
        replica.wakes_at = self.now + self.random.uniform(0, 15)
        self.note(f"{replica.name} is stopped until {replica.wakes_at:.3f}")

    def _cut(self) -> None:
        replica = self.random.choice(self.replicas)
        self.note(f"{replica.name} is cut off")
        replica.is_cut = True
        self.later(self.random.uniform(0, 15), lambda: setattr(replica, "is_cut", False))

    def _go_away(self) -> None:
        self.note("the server is away")
        self._is_away = True
        self.later(self.random.uniform(0, 8), lambda: setattr(self, "_is_away", False))

    def _drain(self) -> None:
        pods = self.api.of(Kind.POD)
        if pods:
            name = self.random.choice(list(pods))
            pod = pod_of(pods[name])
            lease = None if pod.says.project is None else self.api.find(Kind.LEASE, lease_name(ME, pod.says.project))
            if pod.says.project is not None and (lease is None or not assignment_of(lease).is_in_force(pod)):
                return  # somebody removed its Lease: both records of it would be gone
            self.note(f"{name} is drained")
            self.api.remove(Kind.POD, name)
            self._tell(name)

    def _unlease(self) -> None:
        """Somebody removes the Lease of a project that has its machine. What was not told since the assignment is lost."""
        owned = [project for project, machine in self.truth().items() if not machine.gone]
        if owned:
            project = self.random.choice(owned)
            self.note(f"the Lease of {project} is removed")
            self.api.remove(Kind.LEASE, lease_name(ME, project))
            self._unleased[project] = self.now
            if project in self.expected:
                self.expected[project] = self.expected[project]._replace(metadata=None)

    def _unseat(self) -> None:
        self.note("the coordination Lease is removed")
        self.api.remove(Kind.LEASE, COORDINATION)

    def _heal(self) -> None:
        self.note("all is well again")
        self._is_healed, self._is_away = True, False
        for replica in self.replicas:
            replica.is_cut, replica.wakes_at = False, 0.0


def _owners(truth: Mapping[str, Machine]) -> dict[str, tuple[str, int]]:
    """A machine that is gone is left out: a Lease that came late may name one, and its project is told so at the most."""
    return {project: (machine.id, machine.generation) for project, machine in truth.items() if not machine.gone}


def _teller(replica: Replica, name: str, pod: Mapping[str, Any] | None) -> Callable[[], None]:
    def tell() -> None:
        if replica.ledger is not None:
            if pod is None:
                replica.ledger.forget_pod(name)
            else:
                replica.ledger.note_pod(pod)

    return tell


def live(seed: int) -> World:
    """Live through the history of this seed. Raises Violated."""
    world = World(seed)
    world.run()
    return world
