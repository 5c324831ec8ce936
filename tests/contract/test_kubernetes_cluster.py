"""What a cluster does with our pods beside the contract: no room, images that are not there, commands, watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.conftest import cluster_world
from tests.contract.kubernetes_world import IMAGE, NODE_PORTS, KubernetesWorld
from tests.contract.worlds import soon, until_named
from tests.integration.waiting import PortBlock

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.kubernetes import pods
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.errors import EngineObstructed, EngineRejected, NotRunning, NotSupported
from worker_orchestrator.settings.settings import DEFAULT_POOL

pytestmark = pytest.mark.cluster
ENOUGH = 1024**5


@pytest.fixture
def cluster(runner: asyncio.Runner, ports: PortBlock) -> Iterator[KubernetesWorld]:
    yield from cluster_world(runner, ports)


async def shown(cluster: KubernetesWorld, engine: KubernetesEngine, **wanted: Any) -> Instance:
    """A machine that this engine made, once a listing shows it so."""
    machine = await cluster.machine(engine=engine)
    await engine.create(machine)

    async def look() -> Instance | None:
        instance = await cluster.instance(machine)
        return instance if instance and all(getattr(instance, k) == v for k, v in wanted.items()) else None

    instance = await soon(look, f"{wanted}", within_s=60)
    assert instance is not None
    return instance


# no room, and what cannot run


async def test_a_quota_is_no_room(cluster: KubernetesWorld) -> None:
    """It is no refusal of the image, and leaves nothing behind."""
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    path = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas"
    machine = await cluster.machine()
    await cluster.call("POST", path, quota)

    async def is_counted() -> bool:
        return bool((await cluster.call("GET", f"{path}/q"))["status"].get("hard"))

    await soon(is_counted, "the quota is in force")
    with pytest.raises(EngineObstructed, match="exceeded quota: q") as refused:
        await cluster.engine.create(machine)
    assert refused.value.kind == "quota"
    assert await cluster.instance(machine) is None
    assert await cluster.engine.template(DEFAULT_POOL) == machine.template  # an obstacle is no fault of the template


async def test_what_no_node_has_room_for_is_unplaced(cluster: KubernetesWorld) -> None:
    """With the scheduler's words."""
    instance = await shown(cluster, cluster.open_engine(memory=ENOUGH), status=Status.PENDING)

    async def look() -> str:
        listed = await cluster.engine.list()
        return listed.instances[instance.id].unplaced

    assert "Insufficient memory" in await soon(look, "the scheduler has looked at it")


async def test_an_image_that_is_not_there_is_told_in_the_kubelets_words(cluster: KubernetesWorld) -> None:
    """And the machine has ended, as far as we are concerned."""
    never = {"spec": {"containers": [{"name": "worker", "imagePullPolicy": "Never"}]}}
    engine = cluster.open_engine(image="never/heard:1", pod_template=never)
    instance = await shown(cluster, engine, status=Status.EXITED)
    assert "(ErrImageNeverPull)" in instance.detail
    assert "never/heard:1" in instance.detail


async def test_what_this_version_does_not_know_of_a_pod_is_refused_at_the_start(cluster: KubernetesWorld) -> None:
    """A server would drop it without a word."""
    with pytest.raises(EngineRejected, match=r"spec\.noSuchThing"):
        await cluster.open_engine(pod_template={"spec": {"noSuchThing": "a"}}).template(DEFAULT_POOL)
    with pytest.raises(EngineRejected):
        await cluster.open_engine(pod_template={"spec": {"nodeSelector": {"a": 1}}}).template(DEFAULT_POOL)


# ports of nodes


async def test_a_port_that_every_node_has_given_away_is_no_room_and_another_machine_has_another_one(
    cluster: KubernetesWorld,
) -> None:
    """Whoever has it: here a daemon of the cluster, on each of its nodes."""
    engine = cluster.open_engine(of_nodes=NODE_PORTS[:2])
    await taken_on_every_node(cluster, NODE_PORTS[0])
    machines = [await cluster.machine(engine=engine) for _ in range(2)]
    for machine in machines:
        await engine.create(machine)

    async def look() -> bool:
        instances = (await engine.list()).instances
        refused = [each for each in instances.values() if "free ports" in each.unplaced]
        served = [each for each in instances.values() if each.status is Status.RUNNING]
        return len(refused) == 1 and [each.port for each in served] == [NODE_PORTS[1]]

    await soon(look, "one of them has no room, and the other one runs", within_s=60)


async def taken_on_every_node(cluster: KubernetesWorld, port: int) -> None:
    """By pods that are none of ours."""
    container = {
        "name": "c",
        "image": IMAGE,
        "command": ["sleep", "3600"],
        "ports": [{"containerPort": 1, "hostPort": port}],
    }
    labels = {"takes": "ports"}
    everywhere = [{"operator": "Exists"}]
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container], "tolerations": everywhere}}
    daemon = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": pod}}
    path = f"/apis/apps/v1/namespaces/{cluster.namespace}/daemonsets"
    await cluster.call("POST", path, daemon)

    async def look() -> bool:
        status = (await cluster.call("GET", f"{path}/d"))["status"]
        return bool(status.get("numberReady")) and status["numberReady"] == status["desiredNumberScheduled"]

    await soon(look, "a pod on each node has the port", within_s=90)


# the end


async def test_a_worker_that_is_asked_to_end_has_time_for_it(cluster: KubernetesWorld) -> None:
    """It ends by itself, long before its grace is over."""
    machine = await cluster.running()
    now = asyncio.get_running_loop().time
    begun_at = now()
    await cluster.engine.stop(machine.id, 120)
    assert now() - begun_at < 100
    with pytest.raises(NotRunning):
        await cluster.engine.exec(machine.id, ["true"])


# commands


async def test_commands_have_their_output_their_exit_code_and_leave_no_process(cluster: KubernetesWorld) -> None:
    """Also those whose time is up, and those that left something in the background."""
    machine, engine = await cluster.running(), cluster.engine
    done = await engine.exec(
        machine.id, ["sh", "-c", "echo $B; pwd; echo e >&2; exit 7"], env={"B": "x y"}, workdir="/tmp/.."
    )
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"x y\n/\n", b"e\n")
    assert (await engine.exec(machine.id, ["cat"], stdin=b"abc" * 50_000)).stdout == b"abc" * 50_000
    assert (await engine.exec(machine.id, ["no-such-program"])).exit_code == 127
    assert (await engine.exec(machine.id, ["echo"], workdir="/no-such-folder")).exit_code == 126
    late = await engine.exec(machine.id, ["sh", "-c", "echo a; sleep 1000 & sleep 1000"], timeout_s=2)
    assert (late.exit_code, late.stdout) == (None, b"a\n")
    left = await engine.exec(machine.id, ["sh", "-c", "for f in /proc/[0-9]*/cmdline; do read -r x <$f; echo $x; done"])
    assert b"1000" not in left.stdout
    with pytest.raises(NotSupported):
        await engine.exec(machine.id, ["echo"], user="web")


async def test_a_terminal_is_typed_into_resized_and_closed(cluster: KubernetesWorld) -> None:
    """With nothing of it left."""
    machine = await cluster.running()
    terminal = await cluster.engine.terminal(machine.id, ["sh"], columns=100, rows=30)
    await terminal.write(b"sleep 1000 & exit 4\n")
    seen = b""
    while piece := await terminal.read():
        seen += piece
    assert b"exit 4" in seen
    assert await terminal.exit_code() == 4
    await terminal.aclose()
    left = await cluster.engine.exec(machine.id, ["sh", "-c", "cat /proc/[0-9]*/cmdline"])
    assert b"sleep1000" not in left.stdout.replace(b"\0", b"")


# watches


async def test_a_watch_goes_on_over_the_end_of_its_connections(
    cluster: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends each after a while. Nothing that happens in between is missed."""
    monkeypatch.setattr(pods, "_WATCH_S", 1)
    machine = await cluster.running()
    watch = cluster.engine.watch()
    assert await anext(watch) is None
    await asyncio.sleep(3.5)
    cluster.remove(machine)
    async with asyncio.timeout(20):
        await until_named(watch, machine.id)
    await watch.aclose()


async def test_a_version_that_is_too_old_ends_a_watch_without_an_error(cluster: KubernetesWorld) -> None:
    """Then everything is listed anew."""
    async with asyncio.timeout(30):
        told = [event async for event in pods.watch_pods(cluster.engine._client, "1")]
    assert all(event is None for event in told)
