"""Opens what the settings name: the lock, then the store, then the engine. They are closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker_orchestrator.clock import Clock
from worker_orchestrator.core.activity import ActivityRules, Traffic
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import OnExpiry, Terms
from worker_orchestrator.core.spec import Late, PoolSpec, Spec
from worker_orchestrator.engines import open as engines
from worker_orchestrator.engines.base import Engine, Identity
from worker_orchestrator.engines.docker.template import DockerOptions, PublishOptions
from worker_orchestrator.engines.open import ClusterOptions
from worker_orchestrator.errors import InvalidSetting, StoreRefused
from worker_orchestrator.http.server.listening import has_ipv6_loopback
from worker_orchestrator.service import late_key
from worker_orchestrator.service.origin import home_of, is_latest, next_session, reason_for_doubt, record_sessions
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.parsers import as_bytes
from worker_orchestrator.settings.pods import as_table
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.event_numbers import count_to_skip
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import DATABASE, Store

__all__ = [
    "ADOPTED_OWNERS",
    "Opened",
    "configure_engine",
    "docker_options",
    "load_fleet",
    "open_engine",
    "open_fleet",
    "publish_options",
    "spec_of",
]

ADOPTED_OWNERS: Final = "adopted_owners"
"""The fact in the store that names the owners whose machines it took over. Their containers keep the old owner's label."""
SHRINK_AFTER_S: Final = 300.0
"""So long a pool that windows or `spare` made larger keeps what is too much, unless `shrink_after` says otherwise."""


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
    needed = any(_late_of(pool) is not None for pool in settings.pools.values())
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
        cluster=_cluster_options(settings),
        adopted_owners=meta.get(ADOPTED_OWNERS, "").split(),
        has_ipv6=has_ipv6_loopback,
    )


def _cluster_options(settings: Settings) -> ClusterOptions:
    host_ports = range(settings.first_port, settings.last_port + 1) if settings.pod_address == "node" else None
    return ClusterOptions(str(settings.kubeconfig or ""), settings.kube_context, settings.namespace, host_ports)


def configure_engine(engine: Engine, settings: Settings) -> frozenset[str]:
    """Give an open engine what these settings say of each pool. Returns the pools whose templates may be others now."""
    return engines.configure(engine, docker_options(settings))


def docker_options(settings: Settings) -> Mapping[str, DockerOptions]:
    """What the settings say of the Docker containers of each pool, by its name."""
    return {name: _options_of(pool) for name, pool in settings.pools.items()}


def _options_of(pool: PoolSettings) -> DockerOptions:
    return DockerOptions(
        image=pool.image,
        worker_port=pool.worker_port,
        ports=pool.ports,
        ready_port=pool.ready_port,
        env=pool.env,
        network=pool.network,
        outbound=pool.outbound_kind,
        insecure_shared_network=pool.insecure_shared_network,
        ready=pool.ready,
        ready_path=pool.ready_path,
        memory=as_bytes(pool.memory),
        cpus=pool.cpus or 0.0,
        pids_limit=pool.pids_limit,
        cap_drop=pool.cap_drop,
        allow_sudo=pool.allow_sudo,
        read_only=pool.read_only,
        user=pool.user,
        runtime=pool.runtime,
        log_limit=as_bytes(pool.log_limit),
        late_dir=pool.late_dir,
        late_post=pool.late_post,
        parked=pool.parked or 0,
        pod_template=as_table(pool.pod_template),
    )


def publish_options(settings: Settings) -> PublishOptions:
    """Where the settings say that ports of workers are published."""
    return PublishOptions((settings.publish_address,), settings.advertise_host)


def spec_of(
    settings: Settings,
    *,
    plans_ports: bool = True,
    restarts_in_place: bool = True,
    pauses: bool = True,
    sees_use: bool = True,
) -> Spec:
    """What the settings want of the fleet, on an engine that can do this; the templates are found out later.

    Raises InvalidSetting if a pool names ports and the engine cannot give several of them to one worker, if machines of a
    pool are to sleep and the engine cannot start them again, if some are to be parked and the engine cannot pause them, or
    if some are to go when nobody uses them and the engine cannot tell.
    """
    _refuse_unable(
        settings, plans_ports=plans_ports, restarts_in_place=restarts_in_place, pauses=pauses, sees_use=sees_use
    )
    return Spec(
        {name: _spec_of_pool(pool) for name, pool in settings.pools.items()},
        max_machines=settings.max_machines,
        max_awake=settings.max_awake,
        first_port=settings.first_port if plans_ports else None,
        last_port=settings.last_port,
        start_timeout_s=settings.start_timeout,
        restarts_in_place=restarts_in_place,
        sees_use=sees_use,
    )


def _refuse_unable(
    settings: Settings, *, plans_ports: bool, restarts_in_place: bool, pauses: bool, sees_use: bool
) -> None:
    if not plans_ports and (named := [name for name, pool in settings.pools.items() if pool.ports]):
        raise InvalidSetting(
            f"ports is set for the pool {named[0]}, but the engine {settings.engine} gives each worker one address, without "
            "names of ports. Leave ports out, and say with worker_port which port it is."
        )
    asleep = [name for name, pool in settings.pools.items() if pool.on_expiry == OnExpiry.SLEEP]
    if asleep and not restarts_in_place:
        raise InvalidSetting(
            f"on_expiry is sleep for the pool {asleep[0]}, but the engine {settings.engine} cannot start a worker again in "
            "place, with its files. Set it to release or destroy."
        )
    unseen = [(name, pool) for name, pool in settings.pools.items() if pool.idle_timeout or pool.confirm_within]
    if unseen and not sees_use:
        name, pool = unseen[0]
        raise InvalidSetting(
            f"{'idle_timeout' if pool.idle_timeout else 'confirm_within'} is set for the pool {name}, but the engine "
            f"{settings.engine} cannot tell whether a worker is used. Set a ttl, which clients renew."
        )
    parked = [name for name, pool in settings.pools.items() if pool.parked]
    if parked and not pauses:
        raise InvalidSetting(
            f"parked is set for the pool {parked[0]}, but the engine {settings.engine} cannot pause workers. Leave it out, "
            "and set a higher min_idle."
        )


def _spec_of_pool(pool: PoolSettings) -> PoolSpec:
    is_adaptive = pool.sizing == "adaptive"
    shrinks = bool(pool.spare or pool.windows or is_adaptive)
    # `spare` never wants more than `max_idle`
    grew = bool(pool.windows) or is_adaptive or (shrinks and pool.max_idle is None)
    shrink_after_s = SHRINK_AFTER_S if grew else 0.0
    return PoolSpec(
        None,
        min_idle=pool.min_idle,
        max_idle=pool.max_idle,
        recycle=pool.on_release == "recycle",
        pending=True,
        max_machines=pool.max_machines,
        spare=pool.spare,
        shrinks=shrinks,
        shrink_after_s=shrink_after_s if pool.shrink_after is None else pool.shrink_after,
        shed_after_s=SHRINK_AFTER_S if pool.shrink_after is None else pool.shrink_after,
        windows=pool.windows,
        is_adaptive=is_adaptive,
        target=pool.target,
        start_timeout_s=pool.start_timeout,
        port_names=tuple(name for name, _ in pool.ports),
        terms=Terms(pool.ttl, pool.max_age, pool.idle_timeout, pool.confirm_within) or None,
        on_expiry=OnExpiry(pool.on_expiry),
        warn_before_s=pool.warn_before,
        activity=ActivityRules(Traffic(pool.idle_traffic), pool.idle_traffic_min, pool.idle_cpu),
        late=_late_of(pool),
        parked=pool.parked or 0,
        never_parks=pool.parked == 0,
        parked_check_s=pool.parked_check,
        unreachable_grace_s=pool.unreachable_grace,
    )


def _late_of(pool: PoolSettings) -> Late | None:
    """How its workers take values when they are running already."""
    if not pool.late_dir and not pool.late_post:
        return None
    replaces = pool.on_setup_failure == "replace"
    return Late(pool.late_dir, pool.late_post, pool.late_hook, pool.late_timeout, replaces)
