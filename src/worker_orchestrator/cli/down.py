"""`orchestrator down`: stop the service of this state directory, and remove its machines from the engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping

import click

from worker_orchestrator.cli.database import database
from worker_orchestrator.cli.serve import run_loop
from worker_orchestrator.clock import Clock
from worker_orchestrator.core import commands
from worker_orchestrator.core.machine import Cause, Instance, Machine, Snapshot, State
from worker_orchestrator.core.reconcile import orphans
from worker_orchestrator.engines.removal import remove
from worker_orchestrator.errors import EngineError, EngineRejected, StoreLocked
from worker_orchestrator.service import opening
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.telemetry import logs

__all__ = ["run", "stop_service"]

STOP_TIMEOUT_S = 15.0
LATE_S = 5.0
"""A create whose service was killed lands this late."""
LATE_PAUSE_S = 0.1
PARALLEL = 100
"""So many workers end at once, each on a connection to the engine."""


def run(settings: Settings, *, everything: bool, yes: bool) -> None:
    """Raises OrchestratorError."""
    logs.configure(settings.log_format)
    stop_service(settings)
    if settings.engine != "memory":
        database(settings, ", so nothing was removed")
    run_loop(_down(settings, everything=everything, yes=yes))


def stop_service(settings: Settings) -> None:
    """End the process that holds the state directory, if there is one."""
    pid = Lock.holder(settings.state_dir)
    if pid is None:
        return
    click.echo(f"Stopping the service (pid {pid}).", err=True)
    with contextlib.suppress(ProcessLookupError):  # it just ended
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while Lock.holder(settings.state_dir) is not None:
        if time.monotonic() > deadline:
            raise StoreLocked(f"The service (pid {pid}) did not stop within {STOP_TIMEOUT_S:g} s.")
        time.sleep(0.05)


async def _down(settings: Settings, *, everything: bool, yes: bool) -> None:
    async with opening.open_fleet(settings) as opened:
        machines = list(opened.fleet.machines.values())
        present = (await opened.engine.list()).instances
        # What vanished while a project had it may have turned up again: then its files are there as before.
        assigned = [one for one in machines if one.project is not None and (not one.gone or one.id in present)]
        doomed = [machine for machine in machines if machine.project is None]
        if everything and assigned and (yes or _agreed(assigned)):
            doomed += assigned
        kept = [machine for machine in assigned if machine not in doomed]
        _forget(opened, [machine for machine in machines if machine not in doomed and machine not in assigned])
        room = asyncio.Semaphore(PARALLEL)
        results = await asyncio.gather(*(_remove(opened, machine, settings.stop_timeout, room) for machine in doomed))
        removed = {machine.id for machine, done in zip(doomed, results, strict=True) if done}
        failed = len([machine for machine in doomed if not machine.gone]) - len(removed)
        removed |= await _remove_late(
            opened, {m.id for m in doomed if m.state is State.STARTING and m.id not in present}
        )
        remaining = [m for m in opened.fleet.machines.values() if not m.gone]
        if not remaining and not _others((await opened.engine.list()).instances, opened.fleet.owner):
            await _remove_network(opened)
    click.echo(f"Removed {len(removed)} container{'' if len(removed) == 1 else 's'}.")
    for machine in kept:
        click.echo(f"  {machine.id} keeps running for {machine.project} (--all removes it too)")
    if failed:
        raise EngineError("Some containers could not be removed; run it again.")


async def _remove_late(opened: opening.Opened, coming: set[str]) -> set[str]:
    """Remove what runs under an id that we let go, and return those ids. Waits a while for those that may be `coming`."""
    fleet, removed = opened.fleet, set[str]()
    deadline = time.monotonic() + LATE_S
    while True:
        listed = (await opened.engine.list()).instances
        late = {orphan.id for orphan in orphans(fleet, Snapshot(0.0, listed))}
        await asyncio.gather(*(remove(opened.engine, machine_id) for machine_id in late))
        removed |= late
        if not late and (coming <= removed or time.monotonic() > deadline):
            return removed
        await asyncio.sleep(LATE_PAUSE_S)


def _others(instances: Mapping[str, Instance], owner: str) -> list[str]:
    return [instance.id for instance in instances.values() if instance.owner == owner]


def _agreed(assigned: list[Machine]) -> bool:
    for machine in assigned:
        click.echo(f"  {machine.id}  assigned to {machine.project}", err=True)
    machines = "1 assigned machine" if len(assigned) == 1 else f"{len(assigned)} assigned machines"
    return click.confirm(f"Remove {machines} with all files?", default=False, err=True)


def _forget(opened: opening.Opened, gone: list[Machine]) -> None:
    """Give these up, and leave alone what turns up of them: somebody's files may be in it."""
    for machine in gone:
        opened.fleet.apply(machine, None, Cause.FORGOTTEN, asyncio.get_running_loop().time())
    _store(opened)


async def _remove(opened: opening.Opened, machine: Machine, stop_timeout_s: float, room: asyncio.Semaphore) -> bool:
    """Record that it goes, remove it, forget it: what is cut off in between, the next start goes on with.

    The worker of a project has time to end.
    """
    fleet, now = opened.fleet, asyncio.get_running_loop().time()
    stopping = commands.destroy(fleet, machine, now)
    _store(opened)
    if stopping is None:
        return False
    try:
        async with room:
            if fleet.watches[machine.id].held and stop_timeout_s:
                with contextlib.suppress(EngineRejected):  # then it is removed as it is
                    await opened.engine.stop(machine.id, stop_timeout_s)
            await remove(opened.engine, machine.id)
    except EngineError as error:
        click.echo(f"orchestrator: {machine.id}: {error.message}", err=True)
        return False
    fleet.apply(stopping, None, Cause.FORGOTTEN, now)
    _store(opened)
    return True


def _store(opened: opening.Opened) -> None:
    opened.store.commit(opened.fleet.take_pending(), {}, Clock().wall_ms())


async def _remove_network(opened: opening.Opened) -> None:
    remove = getattr(opened.engine, "remove_network", None)
    if remove is not None:
        await remove()
