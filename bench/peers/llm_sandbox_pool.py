"""llm-sandbox's pool, in its best case: no language set-up, called in this process without any HTTP.

A container that it acquires is started, not asked whether it serves; here it is asked, so that cold means the same for all.
"""

from __future__ import annotations

from typing import Any

import docker
from driver import IMAGE, at_once, await_http, drive, pairs
from llm_sandbox import SandboxBackend
from llm_sandbox.pool import PoolConfig, create_pool_manager


def _pool(least: int, most: int) -> Any:
    return create_pool_manager(
        backend=SandboxBackend.DOCKER,
        config=PoolConfig(min_pool_size=least, max_pool_size=most, health_check_interval=3600.0),
        lang="python",
        image=IMAGE,
        client=docker.from_env(),
        skip_environment_setup=True,
        workdir="/tmp",  # of the container
        runtime_configs={"ports": {"9092/tcp": ("127.0.0.1", None)}},
    )


def _serves(pooled: Any) -> None:
    pooled.container.reload()
    await_http("127.0.0.1", int(pooled.container.ports["9092/tcp"][0]["HostPort"]))


class Peer:
    def cold(self, parallel: int) -> dict[str, Any]:
        pool = _pool(0, parallel)

        def one(_: int) -> Any:
            pooled = pool.acquire()
            _serves(pooled)
            return pooled

        seconds, made = at_once(parallel, one)
        _remove(pool, made)
        return {"seconds": seconds}

    def warm(self, clients: int, seconds: float, machines: int) -> dict[str, Any]:
        pool = _pool(0, machines)
        _, made = at_once(machines, lambda _: pool.acquire())
        for pooled in made:
            pool.release(pooled)
        result = pairs(clients, seconds, pool.acquire, pool.release)
        _remove(pool, made)
        return result

    def close(self) -> None:
        """Nothing to do: each measurement removes what it made."""


def _remove(pool: Any, made: list[Any]) -> None:
    at_once(len(made), lambda number: made[number].container.remove(force=True))
    pool._pool.clear()
    pool.close()


if __name__ == "__main__":
    drive(Peer())
