"""Opens what the settings name: the lock, then the store, then the engine. They are closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker_orchestrator.clock import Clock
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.engines import open as engines
from worker_orchestrator.engines.base import Engine, Identity
from worker_orchestrator.errors import StoreRefused
from worker_orchestrator.http.server.listening import has_ipv6_loopback
from worker_orchestrator.service import late_key
from worker_orchestrator.service.engine_options import cluster_options, docker_options, publish_options
from worker_orchestrator.service.origin import home_of, is_latest, next_session, reason_for_doubt, record_sessions
from worker_orchestrator.service.specification import late_of
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.event_numbers import count_to_skip
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import DATABASE, Store

__all__ = ["ADOPTED_OWNERS", "Opened", "load_fleet", "open_engine", "open_fleet"]

ADOPTED_OWNERS: Final = "adopted_owners"
"""The fact in the store that names the owners whose machines it took over. Their containers keep the old owner's label."""


@dataclass(slots=True)
class Opened:
    """A state directory that this process may use, the fleet in it, and the engine that the fleet runs on.

    `home` says where the store is used now. `doubt` says why the store may not know what runs there; it is empty if nothing
    suggests that, or if the store has no machines. `is_older`: a newer copy of the database may have used the numbers of
    events and generations that this one would use next. `values_key` is that of the digests of what machines are given,
    `links_key` that of links to previews.
    """

    store: Store
    fleet: Fleet
    engine: Engine
    identity: Identity
    home: Mapping[str, str]
    doubt: str
    is_older: bool
    file: Path | None
    values_key: bytes
    links_key: bytes

    def skip_numbers(self) -> dict[str, object]:
        """Skip numbers of generations and events that a newer copy may have used. Returns the facts to commit with it."""
        count = count_to_skip(Clock().wall_ms())
        self.fleet.generation += count
        return {"generation": self.fleet.generation, **self.store.skip_event_numbers(count)}

    def move_in(self, more: Mapping[str, object] | None = None) -> None:
        """Commit that the store belongs here from now on, with all pending changes. Raises StoreRefused, CommitFailed."""
        session = "" if self.file is None else next_session(self.file, self.store.meta().get("session", ""))
        facts = {**self.home, "session": session, **(more or {})}
        self.store.commit(self.fleet.take_pending(), facts, Clock().wall_ms())
        if self.file is not None:
            record_sessions(self.file, session)


@asynccontextmanager
async def open_fleet(settings: Settings, *, accept: bool = False, look_only: bool = False) -> AsyncIterator[Opened]:
    """Lock the state directory, load the fleet and connect to its engine.

    `look_only`: read it without the lock, since a service may be running. With `accept` or `look_only` a store that is in
    doubt is opened as well, and its recorded home is not changed.
    Raises StoreLocked, StoreRefused, CommitFailed, EngineUnavailable, InvalidSetting.
    """
    file = settings.state_dir / DATABASE
    path = None if settings.engine == "memory" or (look_only and not file.exists()) else file
    # The machines of the memory engine end with the process, so their record does as well.
    lock = Lock(settings.state_dir) if path is not None and not look_only else None
    try:
        with Store(path, durability=settings.durability, look_only=look_only) as store:
            engine = await open_engine(settings, store.meta())
            try:
                key = _late_key(settings, makes=not look_only)
                engines.use_key(engine, late_key.derived(key, "token"))
                identity = await engine.identity()
                opened = _opened(store, path, engine, identity, key)
                if not accept and not look_only:
                    _refuse_if_in_doubt(opened, settings)
                    opened.move_in(opened.skip_numbers() if opened.is_older else {})
                yield opened
            finally:
                await engine.aclose()
    finally:
        if lock is not None:
            lock.release()


def _opened(store: Store, path: Path | None, engine: Engine, identity: Identity, key: bytes) -> Opened:
    fleet, here = load_fleet(store), home_of(path, identity)
    is_empty = all(machine.gone for machine in fleet.machines.values())
    matters = {**here, "engine": ""} if is_empty else here  # a store without machines may be used with any engine
    why = reason_for_doubt(store.meta(), matters, marked=identity.marked)
    if not why and path is not None and not is_latest(path, store.meta().get("session", "")):
        why = "it is an older copy than the one that was used last, and does not know what happened since"
    values_key, links_key = late_key.derived(key, "values"), late_key.derived(key, "links")
    doubt = "" if is_empty else why
    return Opened(store, fleet, engine, identity, here, doubt, bool(why), path, values_key, links_key)


def _refuse_if_in_doubt(opened: Opened, settings: Settings) -> None:
    if opened.doubt:
        count = sum(not machine.gone for machine in opened.fleet.machines.values())
        raise StoreRefused(
            f"The database {opened.store.name} records {count} machine{'' if count == 1 else 's'}, but {opened.doubt}. "
            f"Nothing was changed. Use it where it belongs; or run `{command_line(settings, 'recover')}` to see what runs "
            f"here, and `{command_line(settings, 'recover --accept')}` to go on with this database.",
        )


def load_fleet(store: Store) -> Fleet:
    """The fleet as it is stored now."""
    meta = store.meta()
    last_port = int(meta["last_port"]) if meta.get("last_port", "None") != "None" else None
    fleet = Fleet(meta["owner"], generation=int(meta.get("generation", 0)), last_port=last_port)
    fleet.load(store.machines(), store.tombstones(), asyncio.get_running_loop().time())
    return fleet


def _late_key(settings: Settings, *, makes: bool) -> bytes:
    """The key of configurations. `makes`: also if there is none yet. Raises InvalidSetting if a pool needs it."""
    if settings.engine == "memory":
        return late_key.fleeting()
    needed = any(late_of(pool) is not None for pool in settings.pools.values())
    return late_key.read_or_go_without(settings.state_dir, makes=makes, needed=needed)


async def open_engine(settings: Settings, meta: Mapping[str, str]) -> Engine:
    """The engine that the settings name, for the owner in `meta`, the facts of the store.

    Raises EngineUnavailable, InvalidSetting.
    """
    return await engines.open_engine(
        settings.engine,
        meta["owner"],
        docker_options(settings),
        publish_options(settings),
        docker_host=settings.docker_host or None,
        cluster=cluster_options(settings),
        adopted_owners=meta.get(ADOPTED_OWNERS, "").split(),
        has_ipv6=has_ipv6_loopback,
    )
