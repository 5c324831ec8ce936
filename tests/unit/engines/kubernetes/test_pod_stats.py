"""What pods use: by the metrics of the cluster, by files of the kernel, or not known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from tests.unit.engines.kubernetes.fake_server import a_pod, served, status

from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.extras import Usage
from worker_orchestrator.engines.kubernetes.counted import contents, cpu_seconds, memory, memory_limit
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.engines.kubernetes.stats import quantity
from worker_orchestrator.errors import EngineUnavailable

pytestmark = pytest.mark.promise("stats")

MACHINE = "worker-1700000000000-aaaaaaaaa"
OUTPUT = b"""= /sys/fs/cgroup/cpu.stat
 usage_usec 2500000
 user_usec 1000000
= /sys/fs/cgroup/memory.current
 50000
= /sys/fs/cgroup/memory.stat
 anon 1
 inactive_file 20000
= /sys/fs/cgroup/memory.max
 max
"""


def test_the_files_of_both_versions_of_control_groups_are_read() -> None:
    """With no limit where there is none."""
    new = contents(OUTPUT)
    assert (cpu_seconds(new), memory(new), memory_limit(new)) == (2.5, 30000, None)
    old = {
        "/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage": "1500000000",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "50000",
        "/sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 10000",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    }
    assert (cpu_seconds(old), memory(old), memory_limit(old)) == (1.5, 40000, None)
    assert memory_limit({**old, "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1024"}) == 1024


def test_what_is_not_counted_is_not_known() -> None:
    """And never 0."""
    for output in (b"", b"= /sys/fs/cgroup/cpu.stat\n nr_periods 0\n", b"\xff\n= /sys/fs/cgroup/memory.current\n 0\n"):
        files = contents(output)
        assert (cpu_seconds(files), memory(files), memory_limit(files)) == (None, None, None)


QUANTITIES: dict[str | None, float | None] = {
    "1500m": 1.5, "250000000n": 0.25, "2": 2, "128974848": 128974848, "128Ki": 131072, "1e3": 1000,
    "1.5Gi": 1.5 * 1024**3, "5M": 5e6, "": None, None: None, "x": None, "1 Ki": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), QUANTITIES.items())
def test_a_quantity_is_a_number(text: str | None, value: float | None) -> None:
    """In each of its spellings."""
    assert quantity(text) == value


def used(metrics: Callable[[], web.Response]) -> Usage:
    """Of a pod without a shell."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/metrics.k8s.io/" in request.path:
            assert request.path.endswith(f"/namespaces/ns/pods/{MACHINE}")
            return metrics()
        if request.path.endswith("/exec"):
            socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
            await socket.prepare(request)
            await socket.send_bytes(b'\3{"status": "Failure", "message": "exec: \\"sh\\": executable file not found"}')
            return socket
        pod = a_pod(MACHINE)
        pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": "64Mi"}}
        return web.json_response(pod)

    async def ask() -> Usage:
        async with served(answer) as client:
            return await KubernetesEngine(client, "me", {"default": DockerOptions(image="any")}).stats(MACHINE)

    return asyncio.run(ask())


def test_the_metrics_of_the_cluster_are_taken_where_it_has_any() -> None:
    """Those of the worker, without its sidecars."""
    measured: list[dict[str, Any]] = [
        {"name": "sidecar", "usage": {"cpu": "4", "memory": "1Gi"}},
        {"name": "worker", "usage": {"cpu": "250m", "memory": "10Mi"}},
    ]
    usage = used(lambda: web.json_response({"containers": measured}))
    assert usage == Usage(25.0, None, 10 * 1024**2, 64 * 1024**2, None, None, None)


@pytest.mark.parametrize("code", [404, 403, 503])
def test_what_nobody_can_tell_is_not_known(code: int) -> None:
    """Here the limit is, since the pod says it."""
    usage = used(lambda: status(code, "no such thing"))
    assert usage == Usage(None, None, None, 64 * 1024**2, None, None, None)


def test_a_server_that_fails_is_no_answer() -> None:
    """It may be asked again later."""
    with pytest.raises(EngineUnavailable):
        used(lambda: status(500, "etcd is away"))
