"""The worlds that the engine contract is checked in: an engine, and what others may do to its instances behind its back."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from tests.contract.proxy import Proxy
from tests.integration.docker_command import (
    EXAMPLE,
    LABEL,
    a_name,
    clean_up,
    docker,
    docker_json,
    make_image,
    processes_of,
)
from tests.integration.waiting import PortBlock

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.docker.connect import connect
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.reach import recognised
from worker_orchestrator.engines.docker.template import DockerOptions, PublishOptions
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.settings.settings import DEFAULT_POOL

__all__ = ["SAID", "DockerWorld", "MemoryWorld", "World", "listening_on", "soon", "until_named"]

ADDRESSES: Final = ("127.0.0.1",)
SAID: Final = "/something"
_T = TypeVar("_T")
_PAUSE_S: Final = 0.01
_numbers = itertools.count(1)


async def until_named(watch: AsyncIterator[str | None], machine_id: str) -> None:
    """Read on until this instance is named. Events of others' images and workers may come before."""
    while await anext(watch) != machine_id:
        pass


class World(ABC):
    """One engine and its surroundings."""

    engine: Engine
    owner: str
    ends_at_once = True  # its `destroy` returns when the instance is gone
    serves_within_s = 15.0  # of its create

    def __init__(self, ports: PortBlock) -> None:
        self._ports = ports
        self._next_port = itertools.count(ports.first)

    @property
    def somebody_else(self) -> str:
        """Another owner, whose instances go with this world."""
        return f"not-{self.owner}"

    def port(self) -> int:
        """A host port that nobody uses."""
        port = next(self._next_port)
        assert port <= self._ports.last
        return port

    async def machine(self, port: int | None = None, pool: str = DEFAULT_POOL, engine: Engine | None = None) -> Machine:
        """A machine of the current template of this pool, only on record."""
        template = await (engine or self.engine).template(pool)
        planned = (port or self.port()) if self.engine.plans_ports else None
        return Machine(a_machine_id(), pool, template, State.STARTING, planned)

    async def running(self) -> Machine:
        """A machine that was created and serves."""
        machine = await self.machine()
        await self.engine.create(machine)
        await self.serves(machine)
        return machine

    async def serves(self, machine: Machine) -> None:
        async def look() -> bool:
            return await self.probe(machine) is None

        await soon(look, f"{machine.id} serves", within_s=self.serves_within_s)

    async def probe(self, machine: Machine) -> str | None:
        """As the orchestrator does it: with what the last listing showed."""
        return await self.engine.probe(machine, await self.instance(machine))

    async def instance(self, machine: Machine) -> Instance | None:
        return (await self.engine.list()).instances.get(machine.id)

    async def destroyed(self, machine: Machine) -> None:
        """It is destroyed, and known to be gone: as the engine says, or as a listing shows if it has only accepted that."""
        if not await self.engine.destroy(machine.id):
            assert not self.ends_at_once, "it says when it is done"

            async def is_gone() -> bool:
                return await self.instance(machine) is None

            await soon(is_gone, f"{machine.id} is gone", within_s=90)

    async def status(self, machine: Machine) -> Status | None:
        instance = await self.instance(machine)
        return None if instance is None else instance.status

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    def kill(self, machine: Machine) -> None:
        """Its worker ends, its container stays."""

    @abstractmethod
    def remove(self, machine: Machine) -> None:
        """Its container is removed."""

    @abstractmethod
    async def say(self, machine: Machine) -> None:
        """It writes a line of `SAID`."""

    @abstractmethod
    def put(self, machine: Machine, owner: str) -> None:
        """Somebody else's container, with our labels, under this machine's id, not running."""

    @abstractmethod
    def put_created(self, machine: Machine) -> None:
        """What a create leaves that was cut off before the start: our container, on the machine's port, not running."""

    @abstractmethod
    def rebuild(self) -> None:
        """What a create would run is something else from now on."""

    @abstractmethod
    def unreachable(self) -> AbstractAsyncContextManager[Engine]:
        """The same engine, while it cannot be reached."""


class MemoryWorld(World):
    """The memory engine. Without `plans_ports` it gives the addresses."""

    engine: MemoryEngine

    def __init__(self, ports: PortBlock, *, plans_ports: bool = True) -> None:
        super().__init__(ports)
        self._plans_ports = plans_ports

    async def open(self) -> None:
        self.owner = "owner-1"
        self.engine = MemoryEngine(self.owner, plans_ports=self._plans_ports)

    async def close(self) -> None:
        await self.engine.aclose()
        await asyncio.sleep(0)  # let the servers of the pages close

    def kill(self, machine: Machine) -> None:
        self.engine.kill(machine.id)

    def remove(self, machine: Machine) -> None:
        self.engine.remove(machine.id)

    async def say(self, machine: Machine) -> None:
        instance = await self.instance(machine)
        assert instance is not None
        reader, writer = await asyncio.open_connection(instance.address, instance.port)
        writer.write(f"GET {SAID} HTTP/1.1\r\n\r\n".encode())
        await reader.read()
        writer.close()

    def put(self, machine: Machine, owner: str) -> None:
        self._put(machine, owner, Status.EXITED)

    def put_created(self, machine: Machine) -> None:
        self._put(machine, self.owner, Status.CREATED)

    def _put(self, machine: Machine, owner: str, status: Status) -> None:
        self.engine.put(
            Instance(machine.id, owner, machine.pool, machine.template, status, f"of {owner}", port=machine.port)
        )

    def rebuild(self) -> None:
        self.engine.image = "rebuilt"

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[Engine]:
        self.engine.up = False
        yield self.engine
        self.engine.up = True


class DockerWorld(World):
    """The real thing, with an image tag, an owner and a network of its own."""

    engine: DockerEngine

    async def open(self) -> None:
        self.owner = a_name("owner")
        self.image = f"{a_name('image')}:latest"
        docker("tag", EXAMPLE, self.image)
        self._more: list[DockerEngine] = []
        self._watch: AsyncGenerator[str | None, None] | None = None
        self.engine = await self.open_engine()

    async def open_engine(
        self,
        image: str = "",
        *,
        docker_host: str | None = None,
        host_addresses: Callable[[], tuple[str, ...]] | None = None,
        **options: Any,
    ) -> DockerEngine:
        """One more engine of the same owner with one pool, closed with this world."""
        publish = PublishOptions(
            options.pop("publish_addresses", ADDRESSES), options.pop("advertise_host", "localhost")
        )
        pools = {DEFAULT_POOL: self.options(image=image or self.image, **options)}
        return await self.open_pools(pools, publish, docker_host=docker_host, host_addresses=host_addresses)

    def options(self, **chosen: Any) -> DockerOptions:
        """Options of a pool, of which these are chosen."""
        return DockerOptions(**{"image": self.image, "env": {"A": "b"}, **chosen})

    async def open_pools(
        self,
        pools: Mapping[str, DockerOptions],
        publish: PublishOptions = PublishOptions(ADDRESSES),  # noqa: B008 # it is frozen
        *,
        docker_host: str | None = None,
        host_addresses: Callable[[], tuple[str, ...]] | None = None,
    ) -> DockerEngine:
        """One more engine of the same owner with these pools, closed with this world."""
        endpoint, client = await connect(docker_host)
        self.dialect = await recognised(client)
        engine = DockerEngine(endpoint, client, self.owner, pools, host_addresses, self.dialect, publish)
        self._more.append(engine)
        return engine

    async def watch(self) -> None:
        """Its engine hears Docker's events until this world is closed: a stream that nobody keeps is closed at once."""
        self._watch = self.engine.watch()
        await anext(self._watch)

    async def close(self) -> None:
        if self._watch is not None:
            await self._watch.aclose()
        for engine in self._more:
            await engine.aclose()
        clean_up(self.somebody_else)
        clean_up(self.owner)
        docker("rmi", "-f", self.image)

    def kill(self, machine: Machine) -> None:
        docker("kill", machine.id)
        docker("wait", machine.id)  # newer engines answer before it has ended

    def remove(self, machine: Machine) -> None:
        docker("rm", "-f", "-v", machine.id)

    async def say(self, machine: Machine) -> None:
        docker("exec", machine.id, "sh", "-c", f"echo {SAID} >/proc/1/fd/1")

    def put(self, machine: Machine, owner: str) -> None:
        self._put(machine, owner)

    def put_created(self, machine: Machine) -> None:
        self._put(machine, self.owner)

    def _put(self, machine: Machine, owner: str) -> None:
        labels = {"owner": owner, "machine": machine.id, "pool": machine.pool, "template": machine.template}
        words = [word for key, value in labels.items() for word in ("--label", f"{LABEL}.{key}={value}")]
        published = f"{ADDRESSES[0]}:{machine.port}:9092"
        docker("create", "--name", machine.id, "--init", *words, "-p", published, self.image)

    def rebuild(self) -> None:
        make_image(self.image, f"LABEL rebuilt={next(_numbers)}")

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[Engine]:
        async with self.proxied() as (engine, proxy):
            await proxy.close()
            yield engine

    @asynccontextmanager
    async def proxied(self) -> AsyncIterator[tuple[DockerEngine, Proxy]]:
        """One more engine of this owner that reaches Docker through a proxy, and knows its template."""
        async with Proxy(self.engine._endpoint.url.removeprefix("unix://")) as proxy:
            engine = await self.open_engine(docker_host=proxy.url)
            await engine.template(DEFAULT_POOL)
            yield engine, proxy

    def put_running(self, machine: Machine, owner: str) -> None:
        """Somebody else's container, with our labels, under this machine's id, which runs."""
        self._put(machine, owner)
        docker("start", machine.id)

    def network_of(self, machine: Machine) -> str:
        """The name of the network that this machine is on by default."""
        return machine.id if self.dialect.isolates_by_network else f"{LABEL}-{self.owner}"

    def remove_network(self, machine: Machine) -> None:
        """As somebody does who tidies up. Podman refuses it as long as there is a container, running or not."""
        docker("network", "rm", self.network_of(machine), check=not self.dialect.isolates_by_network)

    def processes(self, machine: Machine) -> list[str]:
        """What runs in its container, as its host sees it."""
        return processes_of(machine.id)

    def inspect(self, machine: Machine) -> Any:
        return docker_json("inspect", machine.id)

    def exists(self, machine: Machine) -> bool:
        return not docker("container", "inspect", machine.id, check=False).failed


def a_machine_id() -> str:
    return f"worker-{time.time_ns() // 1_000_000}-{os.getpid() % 100_000:05}{next(_numbers):04}"


@contextmanager
def listening_on(port: int) -> Iterator[None]:
    """Another process has this host port."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((ADDRESSES[0], port))
        taken.listen()
        yield


async def soon(look: Callable[[], Awaitable[_T]], what: str, *, within_s: float = 15.0) -> _T:
    """The first true value that `look` returns; fails with `what` should have been."""
    deadline = time.monotonic() + within_s
    while not (seen := await look()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(_PAUSE_S)
    return seen
