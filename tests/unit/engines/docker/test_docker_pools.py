"""Several pools on one engine: whose options make a machine, and which networks they live on.

A server answers in the engine's place, also as Podman does.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.engines.docker.test_docker_guards import INFO, LABELS, MACHINE, PODMAN, Fake

from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.errors import EngineRejected

PLAIN = DockerOptions("image")
IMAGE = {"Id": "sha256:1", "Config": {"Cmd": ["serve"], "Healthcheck": {"Test": ["CMD", "true"]}}}


class Recording(Fake):
    """Has every image but `missing:v1`, and records how networks are made."""

    def __init__(self) -> None:
        super().__init__()
        self.info, self.warnings = {**INFO, "NCPU": 4}, []
        self.made: dict[str, dict[str, Any]] = {}

    def _said(self, method: str, path: str, body: bytes) -> tuple[int, Any] | None:
        if "/images/" in path:
            return (404, {"message": "No such image"}) if "missing" in path else (200, IMAGE)
        if path.endswith("/networks/create"):
            made = msgspec.json.decode(body)
            name, labels = made.get("Name") or made["name"], made.get("Labels") or made["labels"]
            self.made[name] = made
            self.networks.append({"Name": name, "Labels": labels})
            return 200, {"Id": name}
        return super()._said(method, path, body)


@asynccontextmanager
async def an_engine(
    fake: Fake, options: Mapping[str, DockerOptions], dialect: Dialect = DOCKER
) -> AsyncIterator[DockerEngine]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wo-") as folder:  # short: a socket's path has 104 bytes
        path = Path(folder, "s")
        async with await asyncio.start_unix_server(fake.answer, path):
            endpoint = Endpoint(f"unix://{path}", "test")
            client = open_client(endpoint)
            client.api_version = "v1.41"
            engine = DockerEngine(endpoint, client, "owner", options, dialect=dialect)
            try:
                async with asyncio.timeout(20):
                    yield engine
            finally:
                await engine.aclose()


def test_pools_of_the_same_options_have_one_template_and_each_its_own_way_to_be_ready() -> None:
    """`ready` is no part of the fingerprint, and yet each container must remember its own."""

    async def story() -> None:
        pools = {"default": PLAIN, "gpu": DockerOptions("image", ready="healthcheck", ready_path="/live")}
        async with an_engine(fake := Recording(), pools) as engine:
            prints = {await engine.template(pool) for pool in pools}
            assert len(prints) == 1
            for pool, ready in (("default", ("http", "/")), ("gpu", ("healthcheck", "/live"))):
                fake.container = None
                assert await engine.create(msgspec.structs.replace(MACHINE, pool=pool, template=min(prints)))
                labels = fake.container["Labels"]  # type: ignore[index] # the create made it
                assert labels["worker-orchestrator.pool"] == pool
                assert (labels["worker-orchestrator.ready"], labels["worker-orchestrator.ready-path"]) == ready

    asyncio.run(story())


def test_what_one_pool_lacks_keeps_no_other_from_its_machines() -> None:
    async def story() -> None:
        pools = {"gone": DockerOptions("missing:v1"), "greedy": DockerOptions("image", cpus=9.0), "default": PLAIN}
        async with an_engine(Recording(), pools) as engine:
            assert await engine.template("gone", fetch=False) == ""
            with pytest.raises(
                EngineRejected, match=r"In pool greedy: cpus is 9, but the engine has only 4: choose less"
            ):
                await engine.template("greedy")
            assert await engine.template("default")

    asyncio.run(story())


def test_options_may_change_while_the_engine_is_open() -> None:
    """What was begun under a template that is out of date is still made as that says, or not at all."""

    async def story() -> None:
        async with an_engine(fake := Recording(), {"default": PLAIN, "gpu": PLAIN}) as engine:
            before = await engine.template("gpu")
            assert engine.take_options({"default": PLAIN, "gpu": DockerOptions("image", memory=2**29)}) == {"gpu"}
            after = await engine.template("gpu")
            assert after != before == await engine.template("default")
            await engine.create(msgspec.structs.replace(MACHINE, pool="gpu", template=after))
            assert fake.container is not None
            assert fake.container["HostConfig"]["Memory"] == 2**29
            assert engine.take_options({"default": PLAIN}) == frozenset()
            with pytest.raises(EngineRejected, match="The settings have no pool gpu"):
                await engine.template("gpu")
            assert engine.progress("gpu") == ""

    asyncio.run(story())


def test_older_machines_are_asked_as_they_were_made_for() -> None:
    """Else a new image with a HEALTHCHECK would cost all idle machines of the old one before the first new one is up."""

    async def until_it_hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    async def story() -> None:
        async with (
            await asyncio.start_server(until_it_hangs_up, "127.0.0.1", 0) as worker,
            an_engine(fake := Recording(), {"default": DockerOptions("image", ready="tcp")}) as engine,
        ):
            port = worker.sockets[0].getsockname()[1]
            old = msgspec.structs.replace(MACHINE, port=port, template=await engine.template("default"))
            await engine.create(old)
            assert await engine.probe(old) is None
            engine.take_options({"default": DockerOptions("image", ready="healthcheck", memory=2**29)})
            assert await engine.probe(old) is None
            new = msgspec.structs.replace(MACHINE, template=await engine.template("default"))
            assert await engine.probe(old) is None
            fake.container = {**fake.container, "State": {}}  # type: ignore[dict-item] # the create made it
            assert await engine.probe(new) == "the image image has no HEALTHCHECK; choose --ready http or --ready tcp"
            engine.take_options({"default": DockerOptions("image", ready="tcp", memory=2**29)})
            assert await engine.template("default") == new.template
            assert await engine.probe(msgspec.structs.replace(new, port=port)) is None, "it may have been a slip"

    asyncio.run(story())


def test_last_lines_keep_the_secrets_that_a_worker_was_made_with_when_its_pool_has_others() -> None:
    """They go into the store, the log and replies."""

    class Speaking(Recording):
        def _said(self, method: str, path: str, body: bytes) -> tuple[int, Any] | None:
            if path.endswith("/logs"):
                return 200, "the password old-secret is wrong"
            labels = {**LABELS, "worker-orchestrator.pool": "default"}
            listed = {"Id": "c1", "ImageID": "i1", "Names": [f"/{MACHINE.id}"], "State": "exited", "Labels": labels}
            if path.endswith("/containers/json"):
                return 200, [listed]
            if path.endswith("/c1/json"):
                config = {"Tty": True, "Labels": labels, "Env": ["PASSWORD=old-secret"]}
                return 200, {"Id": "c1", "Config": config, "State": {"Status": "exited"}, "Image": "i1"}
            return super()._said(method, path, body)

    async def story() -> None:
        async with an_engine(Speaking(), {"default": DockerOptions("image", env={"PASSWORD": "old-secret"})}) as engine:
            engine.take_options({"default": DockerOptions("image", env={"PASSWORD": "new-secret"})})
            assert await engine.last_lines(MACHINE.id, 9) == '"the password $PASSWORD is wrong"'

    asyncio.run(story())


def test_pools_share_a_network_only_where_it_keeps_their_workers_apart() -> None:
    """That of the default pool has the name that it always had."""
    pools = {
        "default": PLAIN,
        "same": DockerOptions("other"),
        "closed": DockerOptions("image", outbound="host"),
        "closed too": DockerOptions("image", outbound="host"),
        "open": DockerOptions("image", insecure_shared_network=True),
        "open-too": DockerOptions("image", insecure_shared_network=True),
        "named": DockerOptions("image", network="backend"),
    }

    async def story() -> None:
        async with an_engine(Recording(), pools) as engine:
            assert {pool: engine._network_for(pool, options) for pool, options in pools.items()} == {
                "default": "worker-orchestrator-owner",
                "same": "worker-orchestrator-owner",
                "closed": "worker-orchestrator-owner-host",
                "closed too": "worker-orchestrator-owner-host",
                "open": "worker-orchestrator-owner-shared-open",
                "open-too": "worker-orchestrator-owner-shared-open-too",
                "named": "backend",
            }
            flat = DockerOptions("image", insecure_shared_network=True)
            assert engine._network_for("default", flat) == "worker-orchestrator-owner-shared"

    asyncio.run(story())


def test_networks_are_made_by_what_they_are_for_and_bear_our_label() -> None:
    async def story() -> None:
        closed, shared = DockerOptions("image", outbound="host"), DockerOptions("image", insecure_shared_network=True)
        async with an_engine(fake := Recording(), {"default": PLAIN, "closed": closed, "open": shared}) as engine:
            for pool in ("default", "closed", "open"):
                await engine.template(pool)
        bridge, name = "com.docker.network.bridge", "worker-orchestrator-owner"
        assert {made: body.get("Options", {}) for made, body in fake.made.items()} == {
            name: {f"{bridge}.enable_icc": "false"},
            f"{name}-host": {f"{bridge}.enable_icc": "false", f"{bridge}.enable_ip_masquerade": "false"},
            f"{name}-shared-open": {},
        }
        assert {body["Labels"]["worker-orchestrator.owner"] for body in fake.made.values()} == {"owner"}

    asyncio.run(story())


def test_on_podman_each_worker_has_a_network_with_the_way_out_of_its_pool() -> None:
    """Where workers of a pool share one, it is kept apart from all others."""

    async def story() -> None:
        fake = Recording()
        fake.info["BuildahVersion"] = "1.43.2"
        pools = {
            "default": PLAIN,
            "closed": DockerOptions("image", outbound="host"),
            "open": DockerOptions("image", insecure_shared_network=True),
        }
        async with an_engine(fake, pools, PODMAN) as engine:
            for pool in pools:
                fake.container, fake.networks = None, []
                template = await engine.template(pool)
                await engine.create(msgspec.structs.replace(MACHINE, id=f"worker-{pool}", pool=pool, template=template))
        made = {name: body.get("options", {}) for name, body in fake.made.items()}
        assert made == {
            "worker-orchestrator-owner": {},
            "worker-default": {"isolate": "strict"},
            "worker-closed": {"isolate": "strict", "no_default_route": "true"},
            "worker-orchestrator-owner-shared-open": {"isolate": "strict"},
        }

    asyncio.run(story())
