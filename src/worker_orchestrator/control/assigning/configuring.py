"""Gives a machine that is running already what its project sends along: values, secrets, files; and runs the pool's hook.

A set-up goes on to its end whoever hangs up meanwhile, since half of it is worth nothing. There is one per machine at a
time: who sends the same values waits for it, who sends others is refused or comes after it. What is stored is only how far
it is, and a digest of the values under a key (`service/late_key`), which tells whether those that come again are the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
from dataclasses import dataclass
from typing import Final

import msgspec

from worker_orchestrator.control.assigning.hook_output import HookOutput
from worker_orchestrator.control.assignment import SetupReport
from worker_orchestrator.control.background import Background
from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.uses import Uses
from worker_orchestrator.core import configure
from worker_orchestrator.core.configuration import Stage
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import DEFAULT_POOL, Late
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Configurable, Exec, LateValues
from worker_orchestrator.engines.late_archive import late_archive, may_be_too_large
from worker_orchestrator.errors import (
    CommitFailed,
    ConfiguredOtherwise,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    InvalidInput,
    NoMachineAvailable,
    NotRunning,
    NotSupported,
    OrchestratorError,
    OutcomeUnknown,
    ProjectHasNoMachine,
    SetupFailed,
)
from worker_orchestrator.telemetry.blotting import BlottedOutput

__all__ = ["Configured", "Configuring"]

WRITE_TIMEOUT_S: Final = 35.0
STOPPING_S: Final = 3.0
"""So long a set-up may go on while the service is stopping, before all that wait for it are turned away."""
LEAST_OF_VARIABLE: Final = 4
LEAST_OF_HOOK_S: Final = 1.0
"""For a hook where writing took nearly all of the time."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A machine that has its values. `report` tells of its set-up; None if there was neither a hook nor a post."""

    machine: Machine
    report: SetupReport | None


@dataclass(frozen=True, slots=True)
class _SetUp:
    """One that is under way. The task returns the error instead of raising it: several may wait for it."""

    generation: int
    digest: str
    task: asyncio.Task[Configured | OrchestratorError]


class Configuring:
    """Sets machines up for their projects. `key` is that of the digests."""

    def __init__(self, decisions: Decisions, engine: Engine, background: Background, uses: Uses, key: bytes) -> None:
        self._state, self._fleet, self._journal = decisions.state, decisions.fleet, decisions.journal
        self._decisions, self._contact = decisions, decisions.contact
        self._engine, self._background, self._uses, self._key = engine, background, uses, key
        self._under_way: dict[str, _SetUp] = {}
        self._turned_away = asyncio.Event()
        self._stops_at = math.inf

    def turn_all_away(self) -> None:
        """Answer everybody who waits for a set-up that does not end soon: the service is stopping."""
        self._stops_at = min(self._stops_at, self._state.now() + STOPPING_S)
        self._turned_away.set()

    def insist_on_late(self, pool: str) -> Late:
        """How workers of this pool take values. Raises InvalidInput if they do not, NotSupported if the engine cannot."""
        late = self._state.spec.pool(pool).late
        if late is None:
            of_pool = "" if pool == DEFAULT_POOL else f" {pool}"
            raise InvalidInput(
                f"The workers of the pool{of_pool} take no env, secrets or files: its settings have no `late`."
            )
        if not isinstance(self._engine, Configurable) or (late.hook and not isinstance(self._engine, Exec)):
            raise NotSupported("This engine cannot configure a worker that is running already.")
        return late

    async def insist_on_room(self, pool: str, values: LateValues) -> None:
        """Raises what `insist_on_late` does, and InvalidInput if workers of this pool have no room for these values."""
        late = self.insist_on_late(pool)
        if late.directory and may_be_too_large(values):
            await asyncio.to_thread(late_archive, values, (0, 0), 0)

    async def configure(self, machine: Machine, values: LateValues, *, replace: bool = False) -> Configured:
        """Give this machine, which its project has just been told of, these values, unless it has them.

        `replace`: also if it was configured with other values. Raises ConfiguredOtherwise, SetupFailed, NoMachineAvailable
        if it does not run, ProjectHasNoMachine if its project loses it meanwhile, InvalidInput, EngineError, CommitFailed.
        """
        late, digest = self.insist_on_late(machine.pool), self._digest_of(values)
        while (other := self._under_way.get(machine.id)) is not None:
            if other.digest == digest and other.generation == machine.generation:
                return await self._result_of(other)
            if not replace and other.generation == machine.generation:
                raise ConfiguredOtherwise(f"{machine.id} is being configured with other values. {_REPLACE}")
            await self._until_over(other)
        own = self._own(machine)
        known = own.configuration
        if known is not None and known.stage is Stage.DONE:
            can_look = bool(late.directory)  # else only its project can know, which says so by `replace`
            if known.digest == digest and (can_look or not replace):
                is_there = await self._has_its_values(own)
                if self._own(machine).configuration is not known:  # others were quicker, perhaps with other values
                    return await self.configure(machine, values, replace=replace)
                if is_there:
                    return Configured(own, _report_of(own))
                await self._note_loss(own)
                return await self.configure(machine, values, replace=replace)
            if not replace:
                raise ConfiguredOtherwise(f"{machine.id} was configured with other values. {_REPLACE}")
        return await self._result_of(self._begin(own, late, values, digest))

    def _digest_of(self, values: LateValues) -> str:
        sent = [sorted(values.env.items()), sorted(values.secrets.items()), hashlib.sha256(values.files).hexdigest()]
        return hmac.new(self._key, msgspec.json.encode(sent), hashlib.sha256).hexdigest()

    def _own(self, machine: Machine) -> Machine:
        """The machine as it is now. Raises ProjectHasNoMachine if it is not its project's any more."""
        own = self._fleet.machines.get(machine.id)
        if own is None or own.holding is None or own.generation != machine.generation:
            raise ProjectHasNoMachine(f"{machine.id} does not belong to {machine.project} any more.")
        return own

    async def _has_its_values(self, machine: Machine) -> bool:
        """Whether they are still there: somebody may have restarted the container behind our back."""
        assert isinstance(self._engine, Configurable), "it was looked at before anything was written"
        return await self._contact.answer_of(self._engine.is_configured(machine.id))

    async def _note_loss(self, machine: Machine) -> None:
        configure.lose(self._fleet, self._own(machine), self._state.now())
        self._journal.attribute()
        await self._journal.durable()

    def _begin(self, machine: Machine, late: Late, values: LateValues, digest: str) -> _SetUp:
        """Nothing may come between this decision and the note that it is under way."""
        anew = configure.may_have_values(machine)
        try:
            machine = configure.begin(self._fleet, machine, digest, self._state.now())
        except NotRunning as error:
            raise NoMachineAvailable(error.message) from error
        self._journal.attribute()
        work = self._set_up(machine, late, values, anew=anew)
        set_up = _SetUp(machine.generation, digest, self._background.spawn(work, f"set-up of {machine.id}"))
        self._under_way[machine.id] = set_up
        set_up.task.add_done_callback(lambda _: self._over(machine.id, set_up))
        return set_up

    def _over(self, machine_id: str, set_up: _SetUp) -> None:
        if self._under_way.get(machine_id) is set_up:
            del self._under_way[machine_id]

    async def _result_of(self, set_up: _SetUp) -> Configured:
        """Wait for a set-up, which goes on if the caller gives up. Raises what it ended with, EngineUnavailable."""
        await self._until_over(set_up)
        result = set_up.task.result()
        if isinstance(result, OrchestratorError):
            raise result
        return result

    async def _until_over(self, set_up: _SetUp) -> None:
        """Raises EngineUnavailable if the service stops before."""
        leaving = asyncio.ensure_future(self._turned_away.wait())
        try:
            await asyncio.wait({set_up.task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        left_s = max(0.0, self._stops_at - self._state.now())
        done, _ = await asyncio.wait({set_up.task}, timeout=min(left_s, STOPPING_S))
        if not done or set_up.task.cancelled():
            raise EngineUnavailable("The service is stopping, and the machine is not set up. Ask again when it runs.")

    # in a task of its own

    async def _set_up(
        self, machine: Machine, late: Late, values: LateValues, *, anew: bool
    ) -> Configured | OrchestratorError:
        begun_at = self._state.now()
        output = BlottedOutput(_not_to_be_seen(values) if late.hook else [])
        exit_code: int | None = None
        problem: OrchestratorError | None = None
        try:
            await self._journal.durable()
            self._insist_on_note(machine)  # from here on it is known to be dirty, whatever happens to this process
            with self._uses.set_up(machine):
                await self._write(machine, late, values, anew=anew)
                if late.hook:
                    left_s = max(LEAST_OF_HOOK_S, late.timeout_s - (self._state.now() - begun_at))
                    exit_code = await self._run_hook(machine, late, output, left_s)
        except NotRunning as error:  # its container has just ended, and is started again: asking again helps
            problem = NoMachineAvailable(error.message)
        except OrchestratorError as error:
            problem = error
        took_ms = round((self._state.now() - begun_at) * 1000)
        if problem is None and late.hook and exit_code != 0:
            problem = _hook_failed(machine, late, exit_code)
        shown = output.last_lines() if output.is_quick else await asyncio.to_thread(output.last_lines)
        return await self._ended(machine, late, problem, SetupReport(exit_code, took_ms, shown))

    def _insist_on_note(self, machine: Machine) -> None:
        """Raises CommitFailed if it was undone that values may be in this machine, perhaps before this was waited for."""
        own = self._fleet.machines.get(machine.id)
        if own is not None and own.configuration is None:
            raise CommitFailed(
                self._journal.problem or "The set-up could not be noted, so it was not begun. Ask again."
            )

    async def _write(self, machine: Machine, late: Late, values: LateValues, *, anew: bool) -> None:
        """The engine has a limit of its own for what it writes, and `late.timeout_s` for the worker to answer a post."""
        assert isinstance(self._engine, Configurable), "it was looked at before anything was written"
        limit_s = WRITE_TIMEOUT_S + (late.timeout_s if late.post else 0.0)
        work = self._engine.configure(machine, values, anew=anew, limit_s=late.timeout_s)
        try:
            async with asyncio.timeout(limit_s):
                await self._contact.answer_of(work)
        except TimeoutError:
            raise OutcomeUnknown(f"The container engine did not answer within {limit_s:g} s.") from None

    async def _run_hook(self, machine: Machine, late: Late, output: BlottedOutput, limit_s: float) -> int | None:
        """Its exit code; None if it was killed because its time was up."""
        assert isinstance(self._engine, Exec), "it was looked at before anything was written"
        await self._contact.heard(limit_s)
        return await self._engine.exec_into(machine.id, late.hook, HookOutput(output), timeout_s=limit_s)

    async def _ended(
        self, machine: Machine, late: Late, problem: OrchestratorError | None, report: SetupReport
    ) -> Configured | OrchestratorError:
        """Store how it ended, and return what is told of that."""
        is_certain = not isinstance(problem, EngineError) or isinstance(problem, EngineRejected)
        try:
            own = configure.finish(
                self._fleet,
                machine,
                self._state.now(),
                why=None if problem is None else problem.message,
                is_certain=is_certain,
                exit_code=report.exit_code,
                took_ms=report.took_ms,
            )
            if own is not None and isinstance(problem, SetupFailed) and late.replaces and configure.may_discard(own):
                configure.discard(self._fleet, own, self._state.now())
                self._decisions.resize()
            self._journal.attribute()
            await self._journal.durable()
        except OrchestratorError as error:
            return error
        if problem is not None and (own is not None or not isinstance(problem, SetupFailed)):
            return _told(problem, machine, report)
        if own is None:
            return SetupFailed(
                f"{machine.id} did not stay as it was while it was set up: it was restarted, put to sleep or released.",
                machine=machine.id,
                took_ms=report.took_ms,
                output=report.output,
            )
        return Configured(own, report if late.hook or late.post else None)


_REPLACE: Final = "Release it first, or replace them (`replace`, on the command line `--replace`)."


def _not_to_be_seen(values: LateValues) -> list[str]:
    """Every secret, and all variables but those that are part of every text, such as 1 and yes."""
    return [*values.secrets.values(), *(value for value in values.env.values() if len(value) >= LEAST_OF_VARIABLE)]


def _hook_failed(machine: Machine, late: Late, exit_code: int | None) -> SetupFailed:
    how = f"did not end within {late.timeout_s:g} s, and was killed" if exit_code is None else f"ended with {exit_code}"
    is_removed = late.replaces and configure.may_discard(machine)
    then = "It is removed." if is_removed else "It stays with its project, and is not configured."
    return SetupFailed(f"The hook of {machine.id} {how}. {then}", machine=machine.id)


def _told(problem: OrchestratorError, machine: Machine, report: SetupReport) -> OrchestratorError:
    if not isinstance(problem, SetupFailed):
        return problem
    return SetupFailed(
        problem.message,
        machine=machine.id,
        exit_code=report.exit_code,
        took_ms=report.took_ms,
        output=problem.output or report.output,
    )


def _report_of(machine: Machine) -> SetupReport | None:
    """What is on record of its last set-up."""
    known = machine.configuration
    if known is None or known.took_ms is None:
        return None
    return SetupReport(known.exit_code, known.took_ms, "")
