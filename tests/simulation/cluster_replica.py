"""A replica of a simulated cluster: the decisions of `store/cluster`, sent by a process that may end or stop at any time.

What a leader decides for its projects is a small stand-in for the core: it assigns, releases and annotates, and makes
machines. How that is stored is the real thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec.structs import replace

from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.engines.kubernetes.template import MACHINE, OWNER, POOL, TEMPLATE
from worker_orchestrator.store.cluster import election
from worker_orchestrator.store.cluster.calls import Answer, Call, Kind, Outdated, Read, ReadAll, Steps, Verdict
from worker_orchestrator.store.cluster.carrying_out import carry_out
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.objects import pod_of
from worker_orchestrator.store.cluster.recovery import take_over
from worker_orchestrator.store.cluster.terms import Term, generation_before
from worker_orchestrator.store.cluster.transactions import Transaction, transactions

if TYPE_CHECKING:
    from tests.simulation.cluster import World

__all__ = ["COORDINATION", "ME", "Replica", "Reply"]

T = TypeVar("T")
ME: Final = "me"
COORDINATION: Final = "worker-orchestrator-leader"
IDLE: Final = 3
TICK_S: Final = 2.0
GATHERS_S: Final = 0.02

Reply = Callable[[str, Machine | None], None]
"""`done` with the machine as it is now (None: none), `known` (it had that), `refused` (nothing was changed), `unknown`."""


class Replica:
    """One run of one process. What it knows ends with it."""

    def __init__(self, world: World, name: str, rate: float) -> None:
        self.world, self.name, self._rate = world, name, rate
        self.is_alive, self.is_cut, self.wakes_at = True, False, 0.0
        self.known = election.Replica(name, COORDINATION, f"http://{name}")
        self.standing, self.term = election.Standing(), None
        self.ledger: Ledger | None = None
        self.machines: dict[str, Machine] | None = None  # None: it does not lead, or takes over
        self._generation = 0
        self._locked, self._touched = set[str](), dict[str, float]()
        self._batch: list[tuple[list[Change], Reply]] = []
        self._polls = False
        self.later(world.random.random(), self._poll)
        self.later(world.random.random(), self._tick)

    term: Term | None

    def now(self) -> float:
        """Its own monotonic clock, which begins and runs as it likes."""
        return 1000.0 + self.world.now * self._rate

    def later(self, wait_s: float, then: Callable[[], None]) -> None:
        """While it is stopped, nothing happens in it. What comes meanwhile is found when it wakes."""

        def when_awake() -> None:
            if self.is_alive and self.world.now < self.wakes_at:
                self.world.later(self.wakes_at - self.world.now, when_awake)
            elif self.is_alive:
                then()

        self.world.later(wait_s, when_awake)

    def may_write(self) -> bool:
        return not self.world.has_sound_clocks or self.standing.may_write(self.now())

    @property
    def leads(self) -> bool:
        return self.machines is not None and self.may_write()

    # sending

    def ask(self, call: Call, term: Term | None, then: Callable[[Answer], None]) -> None:
        self.world.send(self, call, term, then)

    def drive(self, steps: Steps[T], then: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """Take these steps. Every write looks at the clock before; a leader whose time is over goes no further.

        Nor does its term, also if a renewal that was under way comes through a moment later: what it left is not known.
        """
        ledger = self.ledger
        assert ledger is not None

        def go_on(answers: tuple[Answer, ...] | None) -> None:
            try:
                calls = next(steps) if answers is None else steps.send(answers)
            except StopIteration as end:
                then(end.value)
                return
            except Outdated as error:
                failed(error if self.ledger is ledger else TimeoutError("Its time was over before."))
                return
            got: dict[int, Answer] = {}
            may_send = self.ledger is ledger and self.may_write()
            if not may_send and not all(isinstance(call, Read | ReadAll) for call in calls):
                failed(Outdated("Its time is over.") if self.ledger is ledger else TimeoutError("It was over before."))
                return

            def take(number: int, answer: Answer) -> None:
                got[number] = answer
                if len(got) == len(calls):
                    go_on(tuple(got[each] for each in range(len(calls))))

            for number, call in enumerate(calls):
                self.ask(call, ledger.term, lambda answer, number=number: take(number, answer))  # type: ignore[misc]

        go_on(None)

    # the election

    def _poll(self) -> None:
        self.later(election.RENEW_EVERY_S, self._poll)
        if self._polls:
            return
        self._polls = True
        if self.standing.may_write(self.now()):
            self._stand()
        else:
            self.ask(Read(Kind.LEASE, COORDINATION), None, self._have_seen)

    def _have_seen(self, answer: Answer) -> None:
        if answer.verdict is Verdict.UNKNOWN:
            self._polls = False
            return
        found = answer.found if answer.verdict is Verdict.DONE else None
        self.standing = election.seen(self.standing, self.known, found, self.now())
        self._mind_the_term()
        self._stand()

    def _stand(self) -> None:
        wall = datetime.fromtimestamp(self.world.now, UTC)
        sent_at, call = self.now(), election.next_call(self.standing, self.known, self.now(), wall)
        if call is None:
            self._polls = False
            return

        def take(answer: Answer) -> None:
            self.standing = election.answered(self.standing, self.known, answer, sent_at, self.now())
            self._mind_the_term()
            if answer.verdict is Verdict.DONE:
                self._polls = False
            else:
                self.ask(Read(Kind.LEASE, COORDINATION), None, self._have_read)

        self.ask(call, None, take)

    def _have_read(self, answer: Answer) -> None:
        self._polls = False
        if answer.verdict is not Verdict.UNKNOWN:
            found = answer.found if answer.verdict is Verdict.DONE else None
            self.standing = election.seen(self.standing, self.known, found, self.now())
            self._mind_the_term()

    def _mind_the_term(self) -> None:
        term = self.standing.term(self.known)
        if term == self.term:
            return
        self._step_down()
        self.term = term
        if term is not None:
            self.world.note(f"{self.name} leads in term {term.epoch}")
            ledger = self.ledger = Ledger(ME, term)
            self.drive(take_over(ledger), lambda machines: self._have_taken_over(ledger, machines), self._have_failed)

    def _have_taken_over(self, ledger: Ledger, machines: list[Machine]) -> None:
        if self.ledger is not ledger:
            return  # it leads in a later term by now
        self.machines = {machine.id: machine for machine in machines}
        self._generation = generation_before(ledger.term.epoch)
        self.world.has_taken_over(self, ledger.term, machines)

    def _have_failed(self, error: Exception) -> None:
        """Begin anew in a later term. One whose time is over finds that out by the election."""
        if isinstance(error, Outdated):
            self.world.note(f"{self.name} is outdated: {error}")
            self.standing = self.standing.ended(error.epoch)
            self._step_down()
            self.term = None

    def _step_down(self) -> None:
        self.ledger, self.machines = None, None
        for _, reply in self._batch:
            reply("refused", None)
        self._batch, self._locked, self._touched = [], set(), {}

    # what projects ask for

    def of_project(self, project: str) -> Machine | None:
        assert self.machines is not None
        own = [machine for machine in self.machines.values() if machine.project == project]
        assert len(own) <= 1, f"{project} has {own}"
        return own[0] if own else None

    def assign(self, project: str, reply: Reply) -> None:
        own = self.of_project(project)
        if self._is_locked(project, own):
            reply("refused", None)
        elif own is not None and not own.gone:
            reply("known", own)
        else:
            self._assign_anew(project, own, reply)

    def _assign_anew(self, project: str, own: Machine | None, reply: Reply) -> None:
        assert self.machines is not None
        idle = [machine for machine in self.machines.values() if machine.is_idle and machine.id not in self._locked]
        if not idle:
            reply("refused", None)
            return
        forgotten = [] if own is None else [Change(own, None, Cause.FORGOTTEN)]
        self._store([*forgotten, self._given(self.world.random.choice(idle), project)], reply)

    def _given(self, machine: Machine, project: str) -> Change:
        self._generation += 1
        after = replace(machine, holding=Holding(project), generation=self._generation)
        return Change(machine, after, Cause.ASSIGNED)

    def release(self, project: str, reply: Reply) -> None:
        own = self.of_project(project)
        if own is None or self._is_locked(project, own):
            reply("refused", None)
        else:
            self._store([self._released(own, is_reused=self.world.random.random() < 0.5)], reply)

    def _released(self, machine: Machine, *, is_reused: bool) -> Change:
        if machine.gone:
            return Change(machine, None, Cause.RELEASED)
        state = State.READY if is_reused else State.STOPPING
        return Change(machine, replace(machine, holding=None, state=state), Cause.RELEASED)

    def annotate(self, project: str, text: str, reply: Reply) -> None:
        own = self.of_project(project)
        if own is None or self._is_locked(project, own):
            reply("refused", None)
        else:
            self._store([Change(own, replace(own, holding=Holding(project, text)), Cause.ANNOTATED)], reply)

    def hand_over(self, giver: str, taker: str, replies: tuple[Reply, Reply]) -> None:
        """Both in one turn, as when somebody stands in line for what another one releases."""
        own, other = self.of_project(giver), self.of_project(taker)
        if own is None or own.gone or other is not None or self._is_locked(giver, own) or taker in self._locked:
            for reply in replies:
                reply("refused", None)
            return
        released = self._released(own, is_reused=True)
        assert released.after is not None
        self._store([released], replies[0])
        self._store([self._given(released.after, taker)], replies[1])

    def _is_locked(self, project: str, own: Machine | None) -> bool:
        return project in self._locked or (own is not None and own.id in self._locked)

    # storing

    def _store(self, changes: list[Change], reply: Reply) -> None:
        for change in changes:
            self._locked |= _keys(change)
        if not self._batch:
            self.later(GATHERS_S, self._flush)
        self._batch.append((changes, reply))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        for transaction in transactions([change for changes, _ in batch for change in changes]):
            if self.ledger is None:
                return  # who asked hears nothing
            kept = {id(change) for change in transaction.changes}
            replies = [(changes, reply) for changes, reply in batch if id(changes[0]) in kept]
            self._carry_out(self.ledger, transaction, replies)

    def _carry_out(self, ledger: Ledger, transaction: Transaction, waiting: list[tuple[list[Change], Reply]]) -> None:
        def stored(why: str) -> None:
            if self.ledger is ledger and self.machines is not None:
                self._unlock(transaction.changes)
                if not why:
                    self._apply(transaction.changes)
            for changes, reply in waiting:
                reply("refused", None) if why else reply("done", changes[-1].after)

        def failed(error: Exception) -> None:
            for _, reply in waiting:
                reply("unknown", None)
            if self.ledger is ledger:
                self._have_failed(error)

        self.drive(carry_out(ledger, transaction), stored, failed)

    def _unlock(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._locked -= _keys(change)
            self._touched[change.machine.id] = self.world.now

    def _apply(self, changes: Iterable[Change]) -> None:
        assert self.machines is not None
        for change in changes:
            if change.after is None:
                self.machines.pop(change.machine.id, None)
            else:
                self.machines[change.machine.id] = change.after

    # the tick

    def _tick(self) -> None:
        self.later(TICK_S, self._tick)
        if not self.leads or self.ledger is None:
            return
        ledger, begun_at = self.ledger, self.world.now

        def compare(found: tuple[Mapping[str, Any], ...]) -> None:
            if self.ledger is ledger and self.machines is not None:
                self._compare(ledger, {pod["metadata"]["name"]: pod for pod in found}, begun_at)

        self.drive(ledger.read_all(Kind.POD), compare, self._have_failed)

    def _compare(self, ledger: Ledger, pods: Mapping[str, Mapping[str, Any]], begun_at: float) -> None:
        """Any write may show that its time is over, or that it is outdated: then it knows no machines any more."""
        for name, machine in list((self.machines or {}).items()):
            if self.machines is not None and self._is_settled(name, begun_at):
                self._compare_one(ledger, machine, pods.get(name))
        for name, pod in pods.items():
            if self.machines is not None and self._is_settled(name, begun_at):
                known = self.machines.get(name)
                if known is None or known.gone:
                    self._meet_stranger(ledger, name, pod)
        for _ in range(IDLE - sum(machine.holding is None for machine in (self.machines or {}).values())):
            if self.ledger is ledger:
                self._make(ledger)

    def _is_settled(self, name: str, begun_at: float) -> bool:
        """Whether nothing of this machine is being written, or was since the listing was asked for."""
        return name not in self._locked and self._touched.get(name, -1.0) < begun_at

    def _compare_one(self, ledger: Ledger, machine: Machine, pod: Mapping[str, Any] | None) -> None:
        assert self.machines is not None
        if pod is None:
            self._miss(machine)
        elif machine.state is State.STARTING and "status" in pod:
            self.machines[machine.id] = replace(machine, state=State.READY)
        elif machine.state is State.STOPPING:
            self._remove(ledger, machine.id)

    def _miss(self, machine: Machine) -> None:
        assert self.machines is not None
        if machine.holding is None:
            del self.machines[machine.id]
        elif not machine.gone:
            gone = replace(machine, state=State.FAILED, port=None, gone=True)
            self._store([Change(machine, gone, Cause.FAILED)], lambda *_: None)

    def _meet_stranger(self, ledger: Ledger, name: str, pod: Mapping[str, Any]) -> None:
        """What an older leader sent came late, or what this one sent came twice."""
        late = pod_of(pod)
        if late.term == ledger.term:
            self._remove(ledger, name)
        else:
            self._drive_alone(ledger, name, ledger.admit(late), lambda _: None)

    def _remove(self, ledger: Ledger, name: str) -> None:
        machines = self.machines
        assert machines is not None
        is_double = name in machines and machines[name].gone
        self._drive_alone(ledger, name, ledger.remove_pod(name), lambda _: is_double or machines.pop(name, None))

    def _make(self, ledger: Ledger) -> None:
        machines, name = self.machines, f"worker-{self.world.next_number()}"
        assert machines is not None

        def made(why: str) -> None:
            if not why:
                machines[name] = Machine(name, "default", "t1", State.STARTING, None)

        known = {OWNER: ME, MACHINE: name, POOL: "default", TEMPLATE: "t1"}
        body = {"metadata": {"name": name, "labels": known, "annotations": known}}
        self._drive_alone(ledger, name, ledger.make_pod(name, body), made)

    def _drive_alone(self, ledger: Ledger, name: str, steps: Steps[T], then: Callable[[T], object]) -> None:
        self._locked.add(name)

        def done(result: T) -> None:
            if self.ledger is ledger:
                self._locked.discard(name)
                self._touched[name] = self.world.now
                then(result)

        self.drive(steps, done, lambda error: self._have_failed(error) if self.ledger is ledger else None)


def _keys(change: Change) -> set[str]:
    projects = {machine.project for machine in (change.before, change.after) if machine is not None}
    return {change.machine.id, *(project for project in projects if project is not None)}
