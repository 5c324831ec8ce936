"""From settings to a fleet that is ours: lock, store, engine, in this order and back again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker_orchestrator.clock import Clock
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import PoolSpec, Spec
from worker_orchestrator.engines import open as engines
from worker_orchestrator.engines.base import Engine, Identity
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.errors import StoreRefused
from worker_orchestrator.http.server.listening import has_ipv6_loopback
from worker_orchestrator.service.origin import doubt, home, is_latest, next_session, tell_sessions
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.parsers import as_bytes
from worker_orchestrator.settings.settings import DEFAULT_POOL, Settings
from worker_orchestrator.store.event_numbers import count_to_skip
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import DATABASE, Store

__all__ = ["ADOPTED_OWNERS", "Opened", "load_fleet", "open_engine", "open_fleet", "spec_of"]

ADOPTED_OWNERS: Final = "adopted_owners"
"""The fact about the store that tells whose machines it took over, as their containers go on saying."""


@dataclass(slots=True)
class Opened:
    """A state directory that is ours, the fleet that it holds, and the engine that it belongs to.

    `home` is where the store is used now, `doubt` why it may not tell what runs there; empty where it does, and where it
    has no machines. `is_older`: numbers that it would give next may have been given already, by a newer copy of it.
    """

    store: Store
    fleet: Fleet
    engine: Engine
    identity: Identity
    home: Mapping[str, str]
    doubt: str
    is_older: bool
    file: Path | None

    def skip_numbers(self) -> dict[str, object]:
        """Go on with numbers of generations and events that were never used. The facts to commit with it."""
        count = count_to_skip(Clock().wall_ms())
        self.fleet.generation += count
        return {"generation": self.fleet.generation, **self.store.skip_event_numbers(count)}

    def move_in(self, more: Mapping[str, object] | None = None) -> None:
        """Store that it belongs here from now on, with what is pending. Raises StoreRefused, CommitFailed."""
        session = "" if self.file is None else next_session(self.file, self.store.meta().get("session", ""))
        facts = {**self.home, "session": session, **(more or {})}
        self.store.commit(self.fleet.take_pending(), facts, Clock().wall_ms())
        if self.file is not None:
            tell_sessions(self.file, session)


@asynccontextmanager
async def open_fleet(settings: Settings, *, accept: bool = False, look_only: bool = False) -> AsyncIterator[Opened]:
    """Lock the state directory, load the fleet and reach its engine. `look_only`: beside a running service, to read.

    With `accept` or `look_only` a store that is in doubt is opened as well, and its home is left as it was.
    Raises StoreLocked, StoreRefused, CommitFailed, EngineUnavailable, InvalidSetting.
    """
    file = settings.state_dir / DATABASE
    path = None if settings.engine == "memory" or (look_only and not file.exists()) else file
    # What the memory engine runs ends with the process, and so does the record of it.
    lock = Lock(settings.state_dir) if path is not None and not look_only else None
    try:
        with Store(path, durability=settings.durability, look_only=look_only) as store:
            engine = await open_engine(settings, store.meta())
            try:
                identity = await engine.identity()
                opened = _opened(store, path, engine, identity)
                if not accept and not look_only:
                    _insist_on_home(opened, settings)
                    opened.move_in(opened.skip_numbers() if opened.is_older else {})
                yield opened
            finally:
                await engine.aclose()
    finally:
        if lock is not None:
            lock.release()


def _opened(store: Store, path: Path | None, engine: Engine, identity: Identity) -> Opened:
    fleet, here = load_fleet(store), home(path, identity)
    is_empty = all(machine.gone for machine in fleet.machines.values())
    told = {**here, "engine": ""} if is_empty else here  # without machines any engine will do
    why = doubt(store.meta(), told, marked=identity.marked)
    if not why and path is not None and not is_latest(path, store.meta().get("session", "")):
        why = "it is an older copy than the one that was last in use, and does not know what happened since"
    return Opened(store, fleet, engine, identity, here, "" if is_empty else why, bool(why), path)


def _insist_on_home(opened: Opened, settings: Settings) -> None:
    if opened.doubt:
        held = sum(not machine.gone for machine in opened.fleet.machines.values())
        raise StoreRefused(
            f"The database {opened.store.name} records {held} machine{'' if held == 1 else 's'}, but {opened.doubt}. "
            f"Nothing was changed: switch back to where it belongs, or run `{command_line(settings, 'recover')}` to see "
            f"what runs here and `{command_line(settings, 'recover --accept')}` to go on with this database.",
        )


def load_fleet(store: Store) -> Fleet:
    """The fleet as it is on disk now."""
    meta = store.meta()
    last_port = int(meta["last_port"]) if meta.get("last_port", "None") != "None" else None
    fleet = Fleet(meta["owner"], generation=int(meta.get("generation", 0)), last_port=last_port)
    fleet.load(store.machines(), store.tombstones(), asyncio.get_running_loop().time())
    return fleet


async def open_engine(settings: Settings, meta: Mapping[str, str]) -> Engine:
    """The engine that the settings name, for the owner in `meta`, the facts of the store.

    Raises EngineUnavailable, InvalidSetting.
    """
    return await engines.open_engine(
        settings.engine,
        meta["owner"],
        docker_options(settings),
        docker_host=settings.docker_host or None,
        adopted_owners=meta.get(ADOPTED_OWNERS, "").split(),
        has_ipv6=has_ipv6_loopback,
    )


def docker_options(settings: Settings) -> DockerOptions:
    """What the settings say of Docker containers."""
    return DockerOptions(
        image=settings.image,
        worker_port=settings.worker_port,
        env=settings.env,
        publish_addresses=(settings.publish_address,),
        advertise_host=settings.advertise_host,
        network=settings.network,
        outbound=settings.outbound,
        ready=settings.ready,
        ready_path=settings.ready_path,
        memory=as_bytes(settings.memory),
        cpus=settings.cpus or 0.0,
        pids_limit=settings.pids_limit,
        cap_drop=settings.cap_drop,
        allow_sudo=settings.allow_sudo,
        read_only=settings.read_only,
        user=settings.user,
        runtime=settings.runtime,
        log_limit=as_bytes(settings.log_limit),
    )


def spec_of(settings: Settings, *, plans_ports: bool = True, restarts_in_place: bool = True) -> Spec:
    """What the settings want of the fleet, on an engine that can do this; the template is found out later."""
    pool = PoolSpec(
        None,
        min_idle=settings.min_idle,
        max_idle=settings.max_idle,
        recycle=settings.on_release == "recycle",
        pending=True,
    )
    return Spec(
        {DEFAULT_POOL: pool},
        max_machines=settings.max_machines,
        first_port=settings.first_port if plans_ports else None,
        last_port=settings.last_port,
        start_timeout_s=settings.start_timeout,
        restarts_in_place=restarts_in_place,
    )
