"""What only a Docker engine can show: files, volumes, networks, images that do not run, connections that break."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from tests.contract.proxy import Proxy
from tests.contract.tcp_proxy import How, TcpProxy
from tests.contract.test_engine_contract import CALLS, Call
from tests.contract.worlds import ADDRESSES, DockerWorld, soon, until_named
from tests.integration.docker_command import LABEL, a_name, docker, docker_json, make_image
from tests.promises import refused

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.docker.connect import Endpoint, connect, open_client
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.extras import Logs
from worker_orchestrator.errors import (
    EngineError,
    EngineRejected,
    EngineUnavailable,
    InvalidSetting,
    OutcomeUnknown,
    PortTaken,
)

Tag = Callable[..., str]


@pytest.fixture
def tagged(docker_world: DockerWorld) -> Iterator[Tag]:
    """Makes images that go with the test: the example image with these Dockerfile instructions on top."""
    tags: list[str] = []

    def make(*changes: str) -> str:
        tags.append(f"{a_name('image')}:latest")
        make_image(tags[-1], *changes)
        return tags[-1]

    yield make
    for tag in tags:
        docker("rmi", "-f", tag, check=False)  # Podman keeps an image whose containers run


# what a container is made of


async def test_a_container_is_made_as_the_template_says(docker_world: DockerWorld) -> None:
    """Labels, environment, an init, a network of its own, and the way to the host."""
    machine = await docker_world.running()
    found = docker_world.inspect(machine)
    labels = {key: value for key, value in found["Config"]["Labels"].items() if not key.startswith(f"{LABEL}.example")}
    assert labels == {
        f"{LABEL}.owner": docker_world.owner,
        f"{LABEL}.machine": machine.id,
        f"{LABEL}.pool": machine.pool,
        f"{LABEL}.template": machine.template,
        f"{LABEL}.network": docker_world.network_of(machine),
        f"{LABEL}.published": " ".join(ADDRESSES),
        f"{LABEL}.advertised": "localhost",
        f"{LABEL}.ready": "http",
        f"{LABEL}.ready-path": "/",
        f"{LABEL}.outbound": "any",
    }
    assert "A=b" in found["Config"]["Env"]
    assert found["HostConfig"]["Init"] is True
    assert found["HostConfig"]["ExtraHosts"] == ["host.docker.internal:host-gateway"]
    network = docker_json("network", "inspect", docker_world.network_of(machine))
    assert list(found["NetworkSettings"]["Networks"]) == [network["Name"]]
    if docker_world.dialect.isolates_by_network:
        assert network["Labels"] == {f"{LABEL}.owner": docker_world.owner, f"{LABEL}.machine": machine.id}
    else:
        store = {f"{LABEL}.image-store": docker_world.dialect.image_store}
        assert network["Labels"] == {f"{LABEL}.owner": docker_world.owner, **store}
        assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"


@pytest.mark.promise("ipv6")
async def test_a_container_is_published_on_every_address_asked_for(
    docker_world: DockerWorld, request: pytest.FixtureRequest
) -> None:
    """`localhost` is ::1 first for some clients."""
    if not docker_world.dialect.answers_on_ipv6:
        with pytest.raises(EngineRejected, match="accepts to publish on ::1, but nothing answers there"):
            await (await docker_world.open_engine(publish_addresses=("::1",))).template(DEFAULT_POOL)
        refused(request)
    addresses = ("127.0.0.1", "::1") if docker_world.dialect.answers_on_ipv6 else ("127.0.0.1", "127.0.0.2")
    engine = await docker_world.open_engine(publish_addresses=addresses)
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    await docker_world.serves(machine)
    for address in addresses:
        with socket.create_connection((address, machine.port or 0), timeout=5):
            pass


async def test_the_worker_port_is_the_one_that_the_image_exposes(docker_world: DockerWorld, tagged: Tag) -> None:
    """Or the one that the operator names."""
    image = tagged("EXPOSE 9092")
    assert "9092/tcp" in docker_json("image", "inspect", image)["Config"]["ExposedPorts"]
    machine = await docker_world.running()
    assert list(docker_world.inspect(machine)["HostConfig"]["PortBindings"]) == ["9092/tcp"]
    chosen = await docker_world.open_engine(worker_port=8080)
    other = replace(await docker_world.machine(), template=await chosen.template(DEFAULT_POOL))
    await chosen.create(other)
    assert list(docker_world.inspect(other)["HostConfig"]["PortBindings"]) == ["8080/tcp"]
    assert "does the worker listen on 0.0.0.0:8080?" in str(await chosen.probe(other))


async def test_an_image_that_exposes_no_port_is_asked_on_9092(docker_world: DockerWorld) -> None:
    """An image that says nothing follows the API document's number."""
    image = f"{a_name('image')}:latest"
    source = docker("create", docker_world.image).out
    changes = "--change 'ENTRYPOINT [\"/bin/worker\"]' --change 'ENV PATH=/bin'"
    exported = f"docker export {source} | docker import {changes} - {image}"
    process = await asyncio.create_subprocess_shell(exported, stdout=asyncio.subprocess.DEVNULL)
    try:
        assert await process.wait() == 0
        assert not docker_json("image", "inspect", image)["Config"].get("ExposedPorts")
        engine = await docker_world.open_engine(image)
        machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
        await engine.create(machine)
        await docker_world.serves(machine)
        assert list(docker_world.inspect(machine)["HostConfig"]["PortBindings"]) == ["9092/tcp"]
    finally:
        docker("rm", "-f", source)
        docker("rm", "-f", *docker("ps", "-aq", "--filter", f"ancestor={image}").lines)
        docker("rmi", "-f", image)


async def test_an_image_that_exposes_several_ports_is_refused(docker_world: DockerWorld, tagged: Tag) -> None:
    """The message names them and the setting."""
    image = tagged("EXPOSE 8080", "EXPOSE 3000")
    engine = await docker_world.open_engine(image)
    with pytest.raises(EngineRejected, match=r"3000, 8080, 9092.*--worker-port") as refused:
        await engine.template(DEFAULT_POOL)
    assert image in refused.value.message
    chosen = await docker_world.open_engine(image, worker_port=8080)
    assert await chosen.template(DEFAULT_POOL)


async def test_an_image_that_is_not_there_is_refused(docker_world: DockerWorld) -> None:
    """The message names the image and what to do."""
    image = "localhost:1/no/such-image:v9"
    engine = await docker_world.open_engine(image)
    with pytest.raises(EngineRejected, match=r"--image") as refused:
        await engine.template(DEFAULT_POOL)
    assert image in refused.value.message
    assert engine.progress(DEFAULT_POOL) == ""


async def test_settings_that_change_a_worker_change_the_template(docker_world: DockerWorld) -> None:
    """The same settings give the same template, in every process."""
    first = await docker_world.engine.template(DEFAULT_POOL)
    assert await (await docker_world.open_engine()).template(DEFAULT_POOL) == first
    others = [
        await docker_world.open_engine(env={"A": "c"}),
        await docker_world.open_engine(worker_port=8080),
        await docker_world.open_engine(publish_addresses=("127.0.0.1", "127.0.0.2")),
        await docker_world.open_engine(network="bridge"),
    ]
    templates = {first, *[await engine.template(DEFAULT_POOL) for engine in others]}
    assert len(templates) == 5


# where it lives


async def test_workers_without_a_way_out_live_on_a_network_of_their_own(docker_world: DockerWorld) -> None:
    """Without address translation, and published all the same. Both networks of ours go at the end."""
    closed = await docker_world.open_engine(outbound="host")
    machine = replace(await docker_world.machine(), template=await closed.template(DEFAULT_POOL))
    await closed.create(machine)
    await docker_world.serves(machine)
    (name,) = docker_world.inspect(machine)["NetworkSettings"]["Networks"]
    network = docker_json("network", "inspect", name)
    assert (network["Internal"], network["EnableIPv6"]) == (False, False)
    if docker_world.dialect.isolates_by_network:
        assert name == machine.id
    else:
        assert name == f"{LABEL}-{docker_world.owner}-host"
        assert network["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
        assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert (await closed.identity()).marked
    await closed.destroy(machine.id)
    await closed.remove_network()
    assert not docker("network", "ls", "-q", "--filter", f"label={LABEL}.owner={docker_world.owner}").lines


async def test_workers_that_are_published_on_loopback_do_not_reach_each_other(docker_world: DockerWorld) -> None:
    """Neither directly, nor through the host by the address of their bridge, where Docker's proxy would take it."""
    one, other = await docker_world.running(), await docker_world.running()
    (network,) = docker_world.inspect(other)["NetworkSettings"]["Networks"].values()
    for place in (f"{network['IPAddress']}:9092", f"{network['Gateway']}:{other.port}"):
        fetch = f"busybox timeout 2 wget -q -O - http://{place}/index.html"
        assert docker("exec", one.id, "sh", "-c", fetch, check=False).failed, place
    own = "busybox timeout 2 wget -q -O - http://127.0.0.1:9092/index.html"
    assert docker("exec", one.id, "sh", "-c", own).out, "it can fetch"


async def test_a_restart_makes_the_network_again_that_its_machine_was_on(docker_world: DockerWorld) -> None:
    """Whatever is chosen for new ones by now. Docker alone would look for the old network's id for ever."""
    machine = await docker_world.running()
    docker_world.kill(machine)
    docker_world.remove_network(machine)
    closed = await docker_world.open_engine(outbound="host")
    await closed.restart(machine.id)
    await docker_world.serves(machine)


async def test_a_named_network_must_be_there(docker_world: DockerWorld) -> None:
    """It is the operator's: nothing is made in its place."""
    name = a_name("network")
    engine = await docker_world.open_engine(network=name)
    with pytest.raises(EngineRejected, match=rf"`docker network create {name}`"):
        await engine.template(DEFAULT_POOL)
    assert docker("network", "inspect", name, check=False).failed


@pytest.mark.parametrize("name", ["host", "none", "internal"])
async def test_a_named_network_must_publish_ports(docker_world: DockerWorld, name: str) -> None:
    """Docker would run the worker there, and nobody could reach it."""
    if name == "internal":
        name = a_name("network")
        docker("network", "create", "--internal", "--label", f"{LABEL}.owner={docker_world.owner}", name)
    engine = await docker_world.open_engine(network=name)
    with pytest.raises(EngineRejected, match=rf"No ports can be published on the network {name}"):
        await engine.template(DEFAULT_POOL)


async def test_a_user_that_the_image_lacks_is_refused_and_leaves_nothing(docker_world: DockerWorld) -> None:
    """The message is Docker's own, which names the user."""
    engine = await docker_world.open_engine(user="nobody-known")
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    with pytest.raises(EngineRejected, match="nobody-known"):
        await engine.create(machine)
    assert not docker_world.exists(machine)


# what must not be lost, and what must not be left


async def test_a_restart_keeps_the_files(docker_world: DockerWorld) -> None:
    """They are somebody's work."""
    machine = await docker_world.running()
    docker("exec", machine.id, "sh", "-c", "echo kept >/srv/files/note.txt")
    docker_world.kill(machine)
    await docker_world.engine.restart(machine.id)
    await docker_world.serves(machine)
    url = f"http://127.0.0.1:{machine.port}/files/note.txt"
    with await asyncio.to_thread(urllib.request.urlopen, url, timeout=5) as reply:
        assert reply.read() == b"kept\n"


async def test_a_destroy_removes_anonymous_volumes(docker_world: DockerWorld, tagged: Tag) -> None:
    """Nobody would ever find them again."""
    engine = await docker_world.open_engine(tagged("VOLUME /data"))
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    (volume,) = [mount["Name"] for mount in docker_world.inspect(machine)["Mounts"]]
    await engine.destroy(machine.id)
    assert docker("volume", "inspect", volume, check=False).failed


async def test_a_port_that_a_container_holds_leaves_no_container_and_no_volume(
    docker_world: DockerWorld, tagged: Tag
) -> None:
    """Docker makes the container before it finds the port taken."""
    engine = await docker_world.open_engine(tagged("VOLUME /data"))
    first = await docker_world.running()
    volumes = set(docker("volume", "ls", "-q").lines)
    second = replace(await docker_world.machine(first.port), template=await engine.template(DEFAULT_POOL))
    with pytest.raises(PortTaken):
        await engine.create(second)
    assert not docker_world.exists(second)
    assert not set(docker("volume", "ls", "-q", "--filter", "dangling=true").lines) - volumes


@pytest.mark.parametrize(
    "entrypoint",
    ['["/no/such/program"]', '["/srv/index.html"]', '["/srv"]'],
    ids=["missing", "no program", "a folder"],
)
async def test_an_entrypoint_that_cannot_be_run_ends_at_once_and_says_why(
    docker_world: DockerWorld, tagged: Tag, entrypoint: str
) -> None:
    """The init can be started, so Docker does not refuse it: what it could not run stands in its last lines."""
    engine = await docker_world.open_engine(tagged(f"ENTRYPOINT {entrypoint}"))
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)

    async def has_ended() -> bool:
        return await docker_world.status(machine) is Status.EXITED

    await soon(has_ended, "the container ends")
    assert "exec" in await engine.last_lines(machine.id, 10)


async def test_what_docker_refuses_to_start_leaves_nothing(docker_world: DockerWorld, tagged: Tag) -> None:
    """A working directory that cannot be entered is Docker's own refusal."""
    engine = await docker_world.open_engine(tagged("WORKDIR /bin/busybox"))
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    with pytest.raises(EngineRejected, match=r"^Docker (says|refused to (create|start) the container): "):
        await engine.create(machine)
    assert not docker_world.exists(machine)


async def test_a_container_of_that_name_without_our_labels_stays(docker_world: DockerWorld) -> None:
    """The refusal names it."""
    machine = await docker_world.machine()
    native = docker("create", "--name", machine.id, docker_world.image).out
    try:
        with pytest.raises(EngineRejected, match=machine.id):
            await docker_world.engine.create(machine)
        await docker_world.engine.destroy(machine.id)
        assert docker_world.inspect(machine)["Id"] == native
        assert await docker_world.instance(machine) is None
    finally:
        docker("rm", "-f", native)


async def test_the_network_comes_back_when_somebody_removed_it(docker_world: DockerWorld) -> None:
    """`docker network prune` takes it as soon as nobody uses it."""
    machine = await docker_world.machine()
    docker_world.remove_network(machine)
    await docker_world.engine.create(machine)
    await docker_world.serves(machine)


async def test_statuses_are_told_as_they_are(docker_world: DockerWorld) -> None:
    """A paused worker is paused, a killed one was killed from outside, a stopped one has its exit code."""
    paused, killed, stopped = [await docker_world.running() for _ in range(3)]
    docker("pause", paused.id)
    docker("kill", killed.id)
    docker("stop", "-t", "5", stopped.id)
    docker("wait", killed.id, stopped.id)  # newer engines may answer before a listing shows the end
    listed = (await docker_world.engine.list()).instances
    assert listed[paused.id].status is Status.PAUSED
    assert (listed[killed.id].status, listed[killed.id].killed) == (Status.EXITED, True)
    assert "137" in listed[killed.id].detail
    assert (listed[stopped.id].status, listed[stopped.id].killed) == (Status.EXITED, False)
    assert listed[stopped.id].detail.startswith("The container exited with code ")


async def test_the_last_lines_are_those_of_the_worker(docker_world: DockerWorld) -> None:
    """Of one that runs, of one that ended, and of none that does not exist."""
    machine = await docker_world.running()
    assert isinstance(docker_world.engine, Logs)
    assert "listens on 0.0.0.0:9092" in await docker_world.engine.last_lines(machine.id, 10)
    docker_world.kill(machine)
    assert "listens on 0.0.0.0:9092" in await docker_world.engine.last_lines(machine.id, 10)
    assert await docker_world.engine.last_lines("worker-1700000000000-neverwas1", 10) == ""


async def test_at_most_so_many_lines_are_kept(docker_world: DockerWorld, tagged: Tag) -> None:
    """Of standard error too, the last ones, 8 KiB at most."""
    script = "for i in $(seq 500); do echo line $i is quite a long one; done >&2; echo last words >&2; exit 3"
    engine = await docker_world.open_engine(tagged(f'ENTRYPOINT ["sh", "-c", "{script}"]'))
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    docker("wait", machine.id)
    lines = (await engine.last_lines(machine.id, 3)).splitlines()
    assert len(lines) == 3
    assert lines[-1] == "last words"
    assert len(await engine.last_lines(machine.id, 500)) <= 8192


async def test_a_look_at_a_missing_image_pulls_nothing(docker_world: DockerWorld) -> None:
    """And finds one that is there."""
    missing = await docker_world.open_engine("127.0.0.1:1/no/such:image")
    assert await missing.template(DEFAULT_POOL, fetch=False) == ""
    assert missing.progress(DEFAULT_POOL) == ""
    assert await docker_world.engine.template(DEFAULT_POOL, fetch=False) == await docker_world.engine.template(
        DEFAULT_POOL
    )


# probes


async def _refuses_health_checks(engine: DockerEngine) -> bool:
    """Where they are run by systemd, and there is none."""
    if not engine._dialect.checks_health_by_systemd or os.path.isdir("/run/systemd/system"):  # noqa: ASYNC240, PTH112
        return False
    with pytest.raises(EngineRejected, match="systemd run the health checks of containers, and this host runs without"):
        await engine.template(DEFAULT_POOL)
    return True


@pytest.mark.promise("healthcheck")
@pytest.mark.parametrize("ready", ["http", "tcp", "healthcheck"])
async def test_every_kind_of_probe_finds_a_worker_that_serves(
    docker_world: DockerWorld, tagged: Tag, ready: str, request: pytest.FixtureRequest
) -> None:
    """And none that is dead, though a proxy may still hold its port."""
    image = tagged("HEALTHCHECK --interval=200ms CMD wget -q -O /dev/null http://127.0.0.1:9092/health")
    engine = await docker_world.open_engine(image, ready=ready)
    if ready == "healthcheck" and await _refuses_health_checks(engine):
        refused(request)
        return
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    assert await engine.probe(machine)
    await engine.create(machine)
    docker_world.engine = engine
    await docker_world.serves(machine)
    docker_world.kill(machine)
    if ready != "healthcheck":
        assert await engine.probe(machine)


async def test_a_worker_on_its_own_loopback_is_told_so(docker_world: DockerWorld, tagged: Tag) -> None:
    """It runs, and nobody can reach it: the message says what to look at."""
    engine = await docker_world.open_engine(tagged('ENTRYPOINT ["httpd", "-f", "-p", "127.0.0.1:9092", "-h", "/srv"]'))
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    assert "does the worker listen on 0.0.0.0:9092?" in str(await engine.probe(machine))


async def test_a_worker_that_takes_its_time_serves_if_it_is_given_that(docker_world: DockerWorld, tagged: Tag) -> None:
    """And one that speaks no HTTP is told by what it says."""
    slow = 'ENTRYPOINT ["nc", "-ll", "-p", "9092", "-e", "sh", "-c", "read l; sleep 2; echo HTTP/1.1 200 OK"]'
    engine = await docker_world.open_engine(tagged(slow))
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    async with asyncio.timeout(20):
        while not str(missing := await engine.probe(machine, limit_s=0.5)).startswith("no answer on port"):
            assert missing is not None
    assert await engine.probe(machine, limit_s=10.0) is None
    await engine.destroy(machine.id)
    other = await docker_world.open_engine(tagged('ENTRYPOINT ["nc", "-ll", "-p", "9092", "-e", "echo", "220 mail"]'))
    machine = replace(await docker_world.machine(), template=await other.template(DEFAULT_POOL))
    await other.create(machine)
    async with asyncio.timeout(20):
        while "speaks SMTP or FTP" not in (missing := str(await other.probe(machine, limit_s=2.0))):
            assert missing != "None"


async def test_a_health_check_that_docker_does_not_tell_is_no_verdict(docker_world: DockerWorld, tagged: Tag) -> None:
    """Nor is it waited for: neither where Docker cannot be reached nor where it says nothing."""
    image = tagged("HEALTHCHECK --interval=200ms CMD wget -q -O /dev/null http://127.0.0.1:9092/health")
    async with TcpProxy(docker_world.engine._endpoint.url.removeprefix("unix://")) as proxy:
        engine = await docker_world.open_engine(image, docker_host=proxy.url, ready="healthcheck")
        if await _refuses_health_checks(engine):
            return
        machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
        await engine.create(machine)
        docker_world.engine = engine
        await docker_world.serves(machine)
        for how in (How.SILENT, How.REFUSES, How.LATE):
            proxy.behave(how)
            async with asyncio.timeout(5):
                with pytest.raises(EngineUnavailable):
                    await engine.probe(machine)
        proxy.behave(How.WELL)
        assert await engine.probe(machine) is None
        docker("rm", "-f", machine.id)
        assert "No such container" in str(await engine.probe(machine))


async def test_a_healthcheck_that_the_image_lacks_is_named(docker_world: DockerWorld) -> None:
    """With the setting that would help."""
    engine = await docker_world.open_engine(ready="healthcheck")
    machine = await docker_world.running()
    assert "--ready" in str(await engine.probe(machine))


# connections that break


WRITES = {
    "create": r"POST .*/containers/create",
    "start": r"POST .*/containers/\w+/start",
    "restart": r"POST .*/containers/\w+/start",
    "destroy": r"DELETE .*/containers/",
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_reply_that_was_lost_leaves_the_outcome_unknown(docker_world: DockerWorld, name: str) -> None:
    """Docker carried it out and nobody heard of it: whoever asks again finds it done."""
    call = CALLS["create" if name == "start" else name]
    async with docker_world.proxied() as (engine, proxy):
        machine = await docker_world.machine()
        if name in {"restart", "destroy"}:
            await engine.create(machine)
            docker_world.kill(machine)
        proxy.lose = WRITES[name]
        with pytest.raises(OutcomeUnknown):
            await call(engine, machine)
        assert proxy.lost >= 1
        proxy.lose = "nothing"
        await call(engine, machine)
        status = await docker_world.status(machine)
        assert status is (None if name == "destroy" else Status.RUNNING)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("ping", "GET .*/_ping"),
        ("identity", "GET .*/info"),
        ("template", "GET .*/images/"),
        ("list", "GET .*/containers/json"),
        ("restart", "GET .*/containers/json"),
        ("destroy", "GET .*/containers/json"),
    ],
)
async def test_a_question_whose_answer_was_lost_may_be_asked_again(
    docker_world: DockerWorld, name: str, lost: str
) -> None:
    """Nothing was changed, so nothing is unknown."""
    call: Call = CALLS[name]
    async with docker_world.proxied() as (engine, proxy):
        machine = await docker_world.machine()
        proxy.lose = lost
        with pytest.raises(EngineUnavailable):
            await call(engine, machine)
        assert proxy.lost >= 1


async def test_a_watch_ends_when_its_connection_does(docker_world: DockerWorld) -> None:
    """It ends, or says that the engine is unavailable: it does not wait for ever."""
    async with docker_world.proxied() as (engine, proxy):
        watch = engine.watch()
        async with asyncio.timeout(15):
            await anext(watch)
            await proxy.close()
            with pytest.raises((StopAsyncIteration, EngineError)):
                await until_named(watch, "nobody")


async def test_nobody_there_is_unavailable(docker_world: DockerWorld) -> None:
    """The message names each place that was tried."""
    with pytest.raises(EngineUnavailable, match=r"unix:///nowhere/docker.sock"):
        await connect("unix:///nowhere/docker.sock")
    with pytest.raises(InvalidSetting, match="nonsense"):
        await connect("nonsense")


async def test_a_switch_of_the_image_store_is_another_engine(docker_world: DockerWorld) -> None:
    """Docker keeps its id, and hides the containers of before: nobody may conclude that they are gone."""
    if docker_world.dialect.isolates_by_network:
        return  # Podman has one store
    await docker_world.engine.template(DEFAULT_POOL)
    here = await docker_world.engine.identity()
    assert here.marked
    docker_world.remove_network(await docker_world.machine())
    labels = ("--label", f"{LABEL}.owner={docker_world.owner}", "--label", f"{LABEL}.image-store=another")
    docker("network", "create", *labels, f"{LABEL}-{docker_world.owner}")
    switched = await docker_world.engine.identity()
    assert (switched.marked, switched.id.startswith(f"{here.id} with its ")) == (False, True)


async def test_the_marks_of_another_owner_are_not_ours(docker_world: DockerWorld) -> None:
    """An engine that knows us by nothing is not marked."""
    endpoint: Endpoint = docker_world.engine._endpoint
    options = {DEFAULT_POOL: docker_world.options()}
    stranger = DockerEngine(endpoint, open_client(endpoint), a_name("stranger"), options, dialect=docker_world.dialect)
    try:
        theirs, ours = await stranger.identity(), await docker_world.engine.identity()
        # Where only our mark tells an engine from others, each client has a word of its own for one without.
        assert theirs.id.partition(", unmarked ")[0] == ours.id.partition(", unmarked ")[0]
        assert not theirs.marked
    finally:
        await stranger.aclose()


async def test_down_removes_the_network_and_can_be_repeated(docker_world: DockerWorld) -> None:
    """The last thing that we leave on an engine."""
    await docker_world.engine.template(DEFAULT_POOL)
    await docker_world.engine.remove_network()
    await docker_world.engine.remove_network()
    assert docker("network", "inspect", f"{LABEL}-{docker_world.owner}", check=False).failed


async def test_lost_calls_over_the_proxy_are_the_exception(docker_world: DockerWorld) -> None:
    """The proxy itself changes nothing: what the tests above see is what they asked for."""
    async with Proxy(docker_world.engine._endpoint.url.removeprefix("unix://")) as proxy:
        engine = await docker_world.open_engine(docker_host=proxy.url)
        machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
        await engine.create(machine)
        assert machine.id in (await engine.list()).instances
        assert proxy.lost == 0


# ending workers


def _build(image: str, file: str) -> None:
    """A commit cannot set everything that an image says."""
    subprocess.run(["docker", "build", "-q", "-t", image, "-"], input=file.encode(), check=True, capture_output=True)


@pytest.mark.parametrize(
    ("trap", "code"),
    [
        ("trap 'exit 7' USR1", 7),  # it ends by itself, at the signal that its image names
        ("trap '' USR1 TERM", 137),  # it does not
    ],
)
async def test_a_worker_is_asked_to_end_by_the_signal_of_its_image(
    docker_world: DockerWorld, tagged: Tag, trap: str, code: int
) -> None:
    script = f"{trap}; echo ready; while :; do sleep 0.1; done"
    image = tagged()
    _build(image, f"FROM {image}\nSTOPSIGNAL SIGUSR1\nENTRYPOINT {json.dumps(['sh', '-c', script])}\n")
    engine = await docker_world.open_engine(image)
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)

    async def said() -> str:
        return await engine.last_lines(machine.id, 1)

    assert await soon(said, "it has set its trap") == "ready"
    await engine.stop(machine.id, 1.0)
    assert docker_world.inspect(machine)["State"]["ExitCode"] == code
    await engine.stop(machine.id, 1.0)
    await engine.destroy(machine.id)
    await engine.stop(machine.id, 1.0)
    assert not docker_world.exists(machine)


async def test_what_was_stopped_is_listed_so_at_once(docker_world: DockerWorld) -> None:
    """Else it would be taken for one that somebody has started again. Docker 26 answers a stop before that."""
    machine = await docker_world.running()
    for _ in range(5):
        await docker_world.engine.stop(machine.id, 1.0)
        assert await docker_world.status(machine) is Status.EXITED
        await docker_world.engine.restart(machine.id)


async def test_workers_that_do_not_end_keep_no_other_call_waiting(docker_world: DockerWorld, tagged: Tag) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    engine = await docker_world.open_engine(tagged("ENTRYPOINT " + json.dumps(["sh", "-c", script])))
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)

    async def said() -> str:
        return await engine.last_lines(machine.id, 1)

    await soon(said, "it has set its trap")
    stopping = asyncio.create_task(engine.stop(machine.id, 60.0))
    await asyncio.sleep(0)
    async with asyncio.timeout(15):
        other = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
        await engine.create(other)
        await engine.destroy(machine.id)  # as an operator may want it
        await stopping
    assert not docker_world.exists(machine)
