"""`orchestrator down`: stop the service of this state directory, and remove its machines from the engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import click

from worker_orchestrator.cli.asking import ask
from worker_orchestrator.cli.event_loop import run_on_event_loop
from worker_orchestrator.cli.existing_database import existing_database, refuse_cluster_store
from worker_orchestrator.clock import Clock
from worker_orchestrator.core import commands
from worker_orchestrator.core.instance import Instance, Snapshot
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.unrecorded import orphans
from worker_orchestrator.engines.removal import remove
from worker_orchestrator.errors import EngineError, EngineRejected, StoreError, StoreLocked
from worker_orchestrator.service import opening
from worker_orchestrator.service.egress.proxy import remove_memory
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import Store
from worker_orchestrator.telemetry import logs

__all__ = ["run", "stop_service"]

STOP_TIMEOUT_S = 15.0
LATE_CREATE_S = 5.0
"""A container may still appear this long after its service, which asked for it, was killed."""
LATE_PAUSE_S = 0.1
PARALLEL = 100
"""At most so many workers are stopped at the same time, each on a connection to the engine."""


def run(settings: Settings, *, everything: bool, yes: bool) -> None:
    """`everything`: assigned machines too. `yes`: without asking, else before anything is done. Raises OrchestratorError."""
    logs.configure(settings.log_format)
    refuse_cluster_store(settings, _without_database(settings))
    assigned = _assigned_before(settings) if everything and not yes else []
    confirmed: set[tuple[str, str | None]] = set()
    if assigned and _is_confirmed(assigned, "No machine was removed, and no service was stopped."):
        confirmed = {(machine.id, machine.project) for machine in assigned}
    is_declined = bool(assigned) and not confirmed
    stop_service(settings)
    if settings.engine != "memory":
        existing_database(settings, ", so nothing was removed")
    run_on_event_loop(_down(settings, confirmed, everything=everything and not is_declined, yes=yes))


def _without_database(settings: Settings) -> str:
    where = f"--namespace {settings.namespace} " if settings.namespace else ""
    which = f"--selector worker-orchestrator/owner={settings.owner}"
    return f"End all replicas, and run `kubectl {where}delete pods,leases {which}`: it removes all machines."


def _assigned_before(settings: Settings) -> list[Machine]:
    """The machines of projects as they are on record, also while the service runs. Empty if the records cannot be read:
    whatever is wrong with them is told when they are opened.
    """
    try:
        with Store(existing_database(settings, ""), look_only=True) as store:
            machines = store.machines()
    except StoreError:
        return []
    return [machine for machine in machines if machine.project is not None and not machine.gone]


def stop_service(settings: Settings) -> None:
    """End the process that holds the state directory, if there is one."""
    pid = Lock.holder(settings.state_dir)
    if pid is None:
        return
    click.echo(f"Stopping the service (pid {pid}).", err=True)
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while Lock.holder(settings.state_dir) is not None:
        if time.monotonic() > deadline:
            raise StoreLocked(
                f"The service (pid {pid}) did not stop within {STOP_TIMEOUT_S:g} s. Run this command again."
            )
        time.sleep(0.05)


async def _down(
    settings: Settings, confirmed: AbstractSet[tuple[str, str | None]], *, everything: bool, yes: bool
) -> None:
    """Remove what is to be removed. Whatever a project got after it was asked about the `confirmed` ones is asked about."""
    async with opening.open_fleet(settings) as opened:
        machines = list(opened.fleet.machines.values())
        present = (await opened.engine.list()).instances
        # A machine that vanished while a project had it may be there again: then its files are there as before.
        assigned = [m for m in machines if m.project is not None and (not m.gone or m.id in present)]
        to_remove = [machine for machine in machines if machine.project is None]
        unasked = [machine for machine in assigned if (machine.id, machine.project) not in confirmed]
        if everything and (
            yes or not unasked or _is_confirmed(unasked, "No machine was removed. The service is stopped.")
        ):
            to_remove += assigned
        left_assigned = [machine for machine in assigned if machine not in to_remove]
        _forget(opened, [machine for machine in machines if machine not in to_remove and machine not in assigned])
        slots = asyncio.Semaphore(PARALLEL)
        results = await asyncio.gather(
            *(
                _remove(opened, machine, settings.pools.get(machine.pool, settings).stop_timeout, slots)
                for machine in to_remove
            )
        )
        removed = {machine.id for machine, done in zip(to_remove, results, strict=True) if done}
        failed = len([machine for machine in to_remove if not machine.gone]) - len(removed)
        removed |= await _remove_late(
            opened, {m.id for m in to_remove if m.state is State.STARTING and m.id not in present}
        )
        remaining = [m for m in opened.fleet.machines.values() if not m.gone]
        if not remaining and not _others((await opened.engine.list()).instances, opened.fleet.owner):
            await _remove_traces(opened)
    click.echo(f"Removed {len(removed)} container{'' if len(removed) == 1 else 's'}.")
    for machine in left_assigned:
        stays = "is kept asleep" if machine.state is State.SLEEPING else "keeps running"
        click.echo(f"  {machine.id} {stays} for {machine.project} (--all removes it too)")
    if failed:
        raise EngineError("Some containers could not be removed. Run this command again.")


async def _remove_late(opened: opening.Opened, coming: set[str]) -> set[str]:
    """Remove instances that the records do not have any more, and return their ids. Waits for those that may be `coming`."""
    fleet, removed = opened.fleet, set[str]()
    deadline = time.monotonic() + LATE_CREATE_S
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


def _is_confirmed(assigned: list[Machine], otherwise: str) -> bool:
    """Whether somebody says that these may be removed. `otherwise`: what follows where nobody can be asked."""
    for machine in assigned:
        click.echo(f"  {machine.id}  assigned to {machine.project}", err=True)
    machines = "1 assigned machine" if len(assigned) == 1 else f"{len(assigned)} assigned machines"
    return ask(f"Remove {machines} with all files?", otherwise)


def _forget(opened: opening.Opened, gone: list[Machine]) -> None:
    """Remove these from the records. If their containers appear again they are left alone, since they may hold files."""
    for machine in gone:
        opened.fleet.apply(machine, None, Cause.FORGOTTEN, asyncio.get_running_loop().time())
    _store(opened)


async def _remove(opened: opening.Opened, machine: Machine, stop_timeout_s: float, slots: asyncio.Semaphore) -> bool:
    """Record that it is stopping, remove it, and forget it. If this is interrupted, the next start of the service continues.

    The worker of a project gets time to end. Returns whether it was removed.
    """
    fleet, now = opened.fleet, asyncio.get_running_loop().time()
    stopping = commands.destroy(fleet, machine, now)
    _store(opened)
    if stopping is None:
        return False
    try:
        async with slots:
            if fleet.watches[machine.id].ends_gently and stop_timeout_s:
                with contextlib.suppress(EngineRejected):  # then it is removed without having stopped
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


async def _remove_traces(opened: opening.Opened) -> None:
    """The last things that we leave on an engine: a network, or a mark."""
    for name in ("remove_network", "remove_mark"):
        remove = getattr(opened.engine, name, None)
        if remove is not None:
            await remove()
    remove_memory(opened.fleet.owner)
