"""Where the host of a preview leads now. Nothing here gives a project a machine; one that sleeps may be woken.

What was said of a worker that serves is told to be `gone` as soon as its machine has another assignment, or does not serve
any more: the door asks no more while it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.core.machine import Change, Machine, State
from worker_orchestrator.core.preview_names import Label, read_label
from worker_orchestrator.door.messages import Kind, Question, Route
from worker_orchestrator.errors import OrchestratorError, ProjectHasNoMachine
from worker_orchestrator.http.previews.admission import Admission
from worker_orchestrator.http.previews.hosts import PreviewHosts
from worker_orchestrator.http.previews.traefik import Serving
from worker_orchestrator.settings.pool import PoolSettings

__all__ = ["Finding", "Spawn", "ToldRoutes"]

Spawn = Callable[[Coroutine[Any, Any, None], str], object]
"""Runs something beside, under a name."""

WAKE_S: Final = 60.0
_REFUSED: Final = (
    "This preview is not for everybody. `orchestrator url PROJECT` makes a link by which it can be seen for a while. If you "
    "have one, it has ended, or its project has another machine now."
)

_log = structlog.get_logger(__name__)


class ToldRoutes(Observer):
    """The assignments that the door knows. `gone` is called with the key of each that holds no more."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, str] = {}  # keys by machine id
        self.gone: Callable[[str], None] = lambda _: None

    def note(self, machine: Machine) -> str:
        """The door is told that this machine serves its project. Returns the key of that."""
        key = self._told[machine.id] = _key(machine)
        return key

    def forget_all(self) -> None:
        """The door has ended, and knows nothing any more."""
        self._told.clear()

    def committed(self, changes: Sequence[Change], took_s: float, requests: Sequence[str] = ()) -> None:  # noqa: ARG002 # as `Observer` has it
        if not self._told:
            return  # the way of every assign
        for change in changes:
            told = self._told.get(change.machine.id)
            if told is not None and (change.after is None or _key(change.after) != told):
                del self._told[change.machine.id]
                self.gone(told)


class Finding:
    """`pools` are the settings of the pools in force. `address_of`: where the host ports of a machine are reached.

    `numbered`: the project, and the name of its port, that a label with the number of a port means, for E2B's clients.
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        hosts: PreviewHosts,
        told: ToldRoutes,
        admission: Admission,
        *,
        pools: Callable[[], Mapping[str, PoolSettings]],
        address_of: Callable[[Machine], str],
    ) -> None:
        self._orchestrator, self._hosts, self._told, self._admission = orchestrator, hosts, told, admission
        self._pools, self._address_of = pools, address_of
        self.numbered: Callable[[str], tuple[str, str] | None] = lambda _: None
        self._waking: set[str] = set()

    async def answer_for_proxy(self, question: Question) -> Route:
        """Where this host leads now. The proxy asks for each request, and nothing is woken."""
        return await self.answer(question, None)

    async def answer(self, question: Question, spawn: Spawn | None) -> Route:
        """Where this host leads. `spawn` runs what goes on beside: the wake of a machine. None: nothing is woken."""
        number = question.id
        text = self._hosts.label(question.host)
        label = None if text is None else read_label(text)
        project = None if label is None else self._project(label)
        has_machine = project is not None and self._orchestrator.fleet.of_project(project) is not None
        if text is not None and not has_machine and (numbered := self.numbered(text)) is not None:
            project, label = numbered[0], Label(numbered[1], numbered[0])
        machine = None if project is None else await self._machine_of(project)
        admitted = self._admission.of(question.shown, machine, self._access(machine))
        if admitted is None:
            return Route(number, Kind.REFUSED, detail=_REFUSED)
        if label is None or project is None:
            return Route(number, Kind.UNKNOWN)
        if machine is None:
            return Route(number, Kind.NONE, project)
        # Who has a link came to see it, wherever it stood, unless a page of another site loads it by itself.
        visits = question.visits or (bool(admitted.cookie) and not question.is_beside)
        route = self._route(number, label, project, machine, spawn if visits else None)
        return msgspec.structs.replace(
            route, is_for_all=admitted.is_for_all, ends_in_s=admitted.left_s, cookie=admitted.cookie
        )

    def serving(self) -> Iterator[Serving]:
        """Each machine that serves its project now, for a proxy that keeps all of them."""
        pools, plans_ports = self._pools(), self._orchestrator.spec.first_port is not None
        for machine in self._orchestrator.fleet.machines.values():
            if machine.project is not None and machine.port is not None and (key := _key(machine)):
                pool = pools.get(machine.pool)
                yield Serving(
                    machine.project,
                    key,
                    self._address_of(machine),
                    {"": machine.port, **dict(machine.ports)},
                    is_by_link=self.is_by_link(machine.pool),
                    may_be_reused=pool is None or pool.on_release != "recycle" or not plans_ports,
                    rewrites=pool is not None and pool.preview_host == "localhost",
                )

    def is_by_link(self, pool: str) -> bool:
        """Whether the previews of this pool need a link."""
        settings = self._pools().get(pool)
        return self._admission.is_by_link("" if settings is None else settings.preview_access)

    def _access(self, machine: Machine | None) -> str:
        settings = None if machine is None else self._pools().get(machine.pool)
        return "" if settings is None else settings.preview_access

    async def _machine_of(self, project: str) -> Machine | None:
        try:
            return await self._orchestrator.machine_of(project)
        except ProjectHasNoMachine:
            return None

    def _route(self, number: int, label: Label, project: str, machine: Machine, spawn: Spawn | None) -> Route:
        """`spawn` is None for what wakes nothing."""
        match machine.state:
            case State.READY:
                return self._to_worker(number, label, project, machine)
            case State.SLEEPING if spawn is not None and self._wakes(machine):
                self._wake(project, machine, spawn)
                return Route(number, Kind.COMING, project, "It slept, and wakes.")
            case State.SLEEPING:
                return Route(number, Kind.ASLEEP, project, wakes=self._wakes(machine))
            case State.FAILED:
                return Route(number, Kind.FAILED, project, f"The machine of {project} failed.")
            case _:
                return Route(number, Kind.COMING, project)

    def _to_worker(self, number: int, label: Label, project: str, machine: Machine) -> Route:
        port = dict(machine.ports).get(label.port) if label.port else machine.port
        if port is None:
            return Route(number, Kind.UNKNOWN, project, _no_port(machine, label.port))
        settings = self._pools().get(machine.pool)
        rewrites = settings is not None and settings.preview_host == "localhost"
        address, key = self._address_of(machine), self._told.note(machine)
        return Route(number, Kind.WORKER, project, host=address, port=port, key=key, rewrites=rewrites)

    def _project(self, label: Label) -> str | None:
        """The project that this label names; of those that are named by a digest only one that has a machine."""
        if label.project is not None:
            return label.project
        machines = self._orchestrator.fleet.machines.values()
        return next((one.project for one in machines if one.project is not None and label.is_of(one.project)), None)

    def _wakes(self, machine: Machine) -> bool:
        settings = self._pools().get(machine.pool)
        return settings is None or settings.wake_on_visit == "on"

    def _wake(self, project: str, machine: Machine, spawn: Spawn) -> None:
        if machine.id not in self._waking:
            self._waking.add(machine.id)
            spawn(self._woken(project, machine), f"wake {machine.id} for a visitor")

    async def _woken(self, project: str, machine: Machine) -> None:
        _log.info("woken by a visitor", machine=machine.id, project=project)
        try:
            await self._orchestrator.sleepers.wake(project, machine.generation, wait_s=WAKE_S)
        except OrchestratorError as error:
            _log.warning("not woken for a visitor", machine=machine.id, project=project, why=error.message)
        finally:
            self._waking.discard(machine.id)


def _key(machine: Machine) -> str:
    """Stands for this assignment of this machine while it serves; empty if it does not."""
    serves = machine.state is State.READY and machine.holding is not None
    return f"{machine.id}.{machine.generation}" if serves else ""


def _no_port(machine: Machine, name: str) -> str:
    known = ", ".join(port for port, _ in machine.ports)
    has = f"It has {known}." if known else "Its pool gives names to none."
    return f"The machine of {machine.project} has no port of the name {name}. {has}"
