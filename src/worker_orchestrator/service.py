"""From settings to a running service: lock, store, engine, orchestrator, HTTP, in this order and back again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from worker_orchestrator.clock import Clock
from worker_orchestrator.engines import Engine, Identity
from worker_orchestrator.errors import InvalidSetting, StoreRefused
from worker_orchestrator.fleet import Fleet
from worker_orchestrator.http.app import App
from worker_orchestrator.http.document import Document
from worker_orchestrator.http.guard import Guard
from worker_orchestrator.machine import DEFAULT_POOL, Machine, PoolSpec, Spec, State
from worker_orchestrator.orchestrator import Limits, Orchestrator
from worker_orchestrator.settings import Settings
from worker_orchestrator.store import Lock, Store

__all__ = ["Opened", "load_fleet", "open_engine", "open_fleet", "serve"]

STOP_TIMEOUT_S: Final = 5
_MACHINE_ID_FILES: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@dataclass(slots=True)
class Opened:
    """A state directory that is ours, the fleet that it holds, and the engine that it belongs to."""

    store: Store
    fleet: Fleet
    engine: Engine
    identity: Identity


@asynccontextmanager
async def open_fleet(settings: Settings, *, accept: bool = False, look_only: bool = False) -> AsyncIterator[Opened]:
    """Lock the state directory, load the fleet and reach its engine. `look_only`: beside a running service, to read.

    Raises StoreLocked, StoreRefused (unless `accept`, for a store of another engine or machine), EngineUnavailable,
    InvalidSetting.
    """
    file = settings.state_dir / "orchestrator.db"
    path = None if settings.engine == "memory" or (look_only and not file.exists()) else file
    # What the memory engine runs ends with the process, and so does the record of it.
    lock = Lock(settings.state_dir) if path is not None and not look_only else None
    try:
        with Store(path, durability=settings.durability) as store:
            meta = store.meta()
            engine = await open_engine(settings, meta["owner"])
            try:
                identity = await engine.identity()
                _check_home(store, identity, accept=accept or look_only)
                if not look_only:
                    store.commit([], {"engine": identity.id, "home": _home()}, Clock().wall_ms())
                yield Opened(store, load_fleet(store), engine, identity)
            finally:
                await engine.aclose()
    finally:
        if lock is not None:
            lock.release()


def load_fleet(store: Store) -> Fleet:
    """The fleet as it is on disk now."""
    meta = store.meta()
    last_port = int(meta["last_port"]) if meta.get("last_port", "None") != "None" else None
    fleet = Fleet(meta["owner"], generation=int(meta.get("generation", 0)), last_port=last_port)
    fleet.load(store.machines(), store.tombstones(), asyncio.get_running_loop().time())
    return fleet


async def open_engine(settings: Settings, owner: str) -> Engine:
    """The engine that the settings name. Raises EngineUnavailable, InvalidSetting."""
    if settings.engine == "memory":
        from worker_orchestrator.engines.memory import MemoryEngine  # noqa: PLC0415 # only what is used is loaded

        return MemoryEngine(owner)
    from worker_orchestrator.engines.docker import DockerEngine  # noqa: PLC0415 # as above
    from worker_orchestrator.engines.docker_connect import connect  # noqa: PLC0415
    from worker_orchestrator.engines.docker_template import DockerOptions  # noqa: PLC0415

    endpoint, client = await connect(settings.docker_host or None)
    addresses: tuple[str, ...] = (settings.publish_address,)
    if settings.publish_address == "localhost":
        addresses = ("127.0.0.1", "::1") if endpoint.is_local and has_ipv6_loopback() else ("127.0.0.1",)
    options = DockerOptions(
        image=settings.image,
        worker_port=settings.worker_port,
        env=settings.env,
        publish_addresses=addresses,
        network=settings.network,
        ready=settings.ready,
        ready_path=settings.ready_path,
    )
    return DockerEngine(endpoint, client, owner, options)


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _home() -> str:
    """Which machine this is; empty where it does not say."""
    for path in _MACHINE_ID_FILES:
        with contextlib.suppress(OSError):
            if text := path.read_text(encoding="ascii", errors="replace").strip():
                return text
    return ""


def _check_home(store: Store, identity: Identity, *, accept: bool) -> None:
    meta, held = store.meta(), [machine for machine in store.machines() if not machine.gone]
    known_engine, known_home, home = meta.get("engine", identity.id), meta.get("home", ""), _home()
    if accept or not held:
        return
    what = ""
    if known_engine != identity.id and not identity.marked:
        what = f"it was used with another engine ({known_engine}, not {identity.id})"
    elif known_home and home and known_home != home:
        what = "it was copied from another computer"
    if what:
        raise StoreRefused(
            f"The database {store.name} records {len(held)} machines, but {what}. Nothing was changed. Switch back to "
            "that engine, or run `orchestrator recover` to see and decide what becomes of them.",
        )


def spec_of(settings: Settings, *, plans_ports: bool = True) -> Spec:
    """What the settings want of the fleet; the template is found out later."""
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
    )


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets: for localhost on 127.0.0.1 and, where there is one, ::1.

    Raises InvalidSetting where the address cannot be had.
    """
    addresses = [host]
    if host == "localhost":
        addresses = ["127.0.0.1", "::1"] if has_ipv6_loopback() else ["127.0.0.1"]
    sockets = []
    for address in addresses:
        try:
            family, *_, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            listener = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(where)
        except OSError as error:
            for opened in sockets:
                opened.close()
            raise InvalidSetting(
                f"--port {port} on {address} cannot be listened on: {error.strerror or error}. "
                "Stop what uses it, or choose another with --port or --host.",
            ) from None
    return sockets


async def serve(settings: Settings, announce: Callable[[list[socket.socket]], None]) -> list[Machine]:
    """Run until SIGINT or SIGTERM. Returns the machines that keep running.

    `announce` is called once the service answers. Raises what `open_fleet` raises, and what a defect raised.
    """
    sockets = listen(settings.host, settings.port)
    try:
        async with open_fleet(settings) as opened:
            orchestrator = Orchestrator(
                opened.fleet,
                spec_of(settings, plans_ports=opened.engine.plans_ports),
                opened.engine,
                opened.store,
                Clock(),
                Limits(settings.assign_timeout, settings.refresh_interval),
                opened.identity.id,
            )
            document = Document(orchestrator, settings.advertise_host)
            guard = Guard(settings.allow_host, settings.allow_origin)
            server = _Server(App(document, guard, orchestrator.stop_because), lambda: announce(sockets))
            await _run(server, orchestrator, sockets)
            kept = {State.READY, State.STARTING, State.STOPPING}
            return [machine for machine in opened.fleet.machines.values() if machine.state in kept or machine.project]
    finally:
        for listener in sockets:
            listener.close()


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: we end the orchestrator together with it."""

    def __init__(self, app: App, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
            ),
        )
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run(server: _Server, orchestrator: Orchestrator, sockets: list[socket.socket]) -> None:
    """Both until a signal ends them, or a defect in one ends the other."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        orchestrator.turn_all_away()
        server.force_exit = server.should_exit  # a second signal does not wait for open connections
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "nt":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
        else:
            loop.add_signal_handler(number, stop)
    pool = asyncio.create_task(orchestrator.run(), name="orchestrator")
    pool.add_done_callback(lambda _: stop())
    try:
        await orchestrator.first_look()
        await server.serve(sockets)
    finally:
        pool.cancel()
        await asyncio.wait({pool})
        if not pool.cancelled() and (defect := pool.exception()) is not None:
            raise defect
