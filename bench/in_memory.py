"""The service with machines that exist only in memory, for numbers of machines that no single Docker engine can run.

usage: in_memory.py MACHINES STATE_DIR PORT [FLAG…]

Everything but the engine is real: HTTP, the core, a database on disk. The machines are recorded as idle before the start, so
filling the pool takes no time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from worker_orchestrator import cli
from worker_orchestrator.clock import Clock
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.service import opening
from worker_orchestrator.settings.settings import DEFAULT_POOL, Settings
from worker_orchestrator.store.database import connect
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import DATABASE, Store

__all__ = ["MemoryEngine", "fill", "instance"]

FIRST_PORT = 10_000


def fill(store: Store, count: int) -> None:
    """Record so many idle machines."""
    fleet, clock = Fleet(store.meta()["owner"]), Clock()
    for number in range(count):
        machine = Machine(clock.machine_id(), DEFAULT_POOL, "memory", State.READY, FIRST_PORT + number)
        fleet.apply(None, machine, Cause.CREATED, 0.0)
    store.commit(fleet.take_pending(), {"last_port": FIRST_PORT + count}, clock.wall_ms())


def instance(owner: str, machine_id: str, port: int) -> Instance:
    return Instance(
        machine_id,
        owner,
        DEFAULT_POOL,
        "memory",
        Status.RUNNING,
        native_id=machine_id.encode().hex()[-12:],
        address="127.0.0.1",
        port=port,
    )


def _serve_over(state_dir: Path) -> None:
    """Let the service open an engine in which every recorded machine runs. The settings say "docker", so that
    the service uses the database file.
    """

    async def open_engine(settings: Settings, meta: Mapping[str, str]) -> Engine:
        assert settings.state_dir == state_dir
        engine = MemoryEngine(meta["owner"], serve_http=False)
        with closing(connect(state_dir / DATABASE)) as db:
            for machine_id, port in db.execute("SELECT id, port FROM machine WHERE gone = 0"):
                engine.put(instance(meta["owner"], machine_id, port))
        await asyncio.sleep(0)
        return engine

    opening.open_engine = open_engine


if __name__ == "__main__":
    count, state_dir = int(sys.argv[1]), Path(sys.argv[2])
    if not (state_dir / DATABASE).exists():
        lock = Lock(state_dir)
        with Store(state_dir / DATABASE) as store:
            fill(store, count)
        lock.release()
    _serve_over(state_dir)
    ports = ["--port", sys.argv[3], "--first-port", str(FIRST_PORT)]
    sizes = ["--min-idle", str(count), "--max-machines", str(max(1, count))]
    words = ["serve", "--state-dir", str(state_dir), "--log-format", "json", *ports, *sizes, *sys.argv[4:]]
    sys.argv = ["orchestrator", *words]
    cli.main()
