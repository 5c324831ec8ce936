"""Which engine a setting names, and how it is made. Only the modules of the engine that is used are loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol, runtime_checkable

from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.docker.template import DockerOptions, PublishOptions

__all__ = ["FOLLOW_HOST", "GATEWAY", "ClusterOptions", "configure", "open_engine", "published", "use_key"]

FOLLOW_HOST: Final = "localhost"
"""As an address to publish on: all loopback addresses that the engine's host has at the moment."""
GATEWAY: Final = "gateway"
"""As an address to publish on: that of the engine's host on the network of the container in which this process runs."""


@runtime_checkable
class _TakesOptions(Protocol):
    """An engine that needs to know what the operator chose for each pool."""

    def take_options(self, options: Mapping[str, DockerOptions]) -> frozenset[str]: ...


def configure(engine: Engine, options: Mapping[str, DockerOptions]) -> frozenset[str]:
    """Give an open engine the options of each pool, by its name, anew.

    Returns the names of the pools that are new or have other options than before: their templates are to be found out again.
    """
    return engine.take_options(options) if isinstance(engine, _TakesOptions) else frozenset()


@runtime_checkable
class _GivesTokens(Protocol):
    """An engine whose workers get a token each, which is made with this key."""

    late_key: bytes


def use_key(engine: Engine, key: bytes) -> None:
    """Make the tokens of workers with this key from now on. Without it they hold as long as this process."""
    if isinstance(engine, _GivesTokens):
        engine.late_key = key


@runtime_checkable
class _Publishes(Protocol):
    """An engine that publishes ports of workers on its host."""

    @property
    def published(self) -> PublishOptions: ...


def published(engine: Engine) -> PublishOptions | None:
    """Where an open engine publishes the ports of workers; None if it publishes none."""
    return engine.published if isinstance(engine, _Publishes) else None


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which namespace of which cluster; what is empty is found out as kubectl does.

    `host_ports`: of nodes, if workers are reached at the addresses of these.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    host_ports: range | None = None


async def open_engine(  # noqa: PLR0913 # what makes an engine
    name: str,
    owner: str,
    options: Mapping[str, DockerOptions],
    publish: PublishOptions,
    *,
    docker_host: str | None,
    adopted_owners: Collection[str],
    cluster: ClusterOptions = ClusterOptions(),  # it is frozen
    has_ipv6: Callable[[], bool],
) -> Engine:
    """The engine of this name, for this owner, who has also adopted the machines of others; with the options of each pool.

    `has_ipv6` returns whether this computer has an IPv6 loopback address now. Raises EngineUnavailable, InvalidSetting.
    """
    if name == "memory":
        from worker_orchestrator.engines.memory.engine import MemoryEngine  # noqa: PLC0415 # only what is used is loaded

        return MemoryEngine(owner, options=options)
    if name == "kubernetes":
        return _open_cluster(owner, options, cluster, adopted_owners)
    return await _open_docker(owner, options, publish, docker_host, adopted_owners, has_ipv6)


async def _open_docker(  # what makes an engine
    owner: str,
    options: Mapping[str, DockerOptions],
    publish: PublishOptions,
    docker_host: str | None,
    adopted_owners: Collection[str],
    has_ipv6: Callable[[], bool],
) -> Engine:
    from worker_orchestrator.engines.docker.connect import connect  # noqa: PLC0415 # as above
    from worker_orchestrator.engines.docker.engine import DockerEngine  # noqa: PLC0415
    from worker_orchestrator.engines.docker.own_container import gateway_address  # noqa: PLC0415
    from worker_orchestrator.engines.docker.reach import recognised  # noqa: PLC0415

    endpoint, client = await connect(docker_host)
    follows_host = publish.addresses == (FOLLOW_HOST,)
    try:
        dialect = await recognised(client)
        if publish.addresses == (GATEWAY,):
            address = await gateway_address(client)
            host = address if publish.advertise_host == FOLLOW_HOST else publish.advertise_host
            publish = PublishOptions((address,), host)
    except BaseException:
        await client.close()
        raise

    def host_addresses() -> tuple[str, ...]:
        takes_both = endpoint.is_local and dialect.answers_on_ipv6 and has_ipv6()
        return ("127.0.0.1", "::1") if takes_both else ("127.0.0.1",)

    if follows_host:
        publish = replace(publish, addresses=host_addresses())
    follow = host_addresses if follows_host else None
    engine = DockerEngine(endpoint, client, owner, options, follow, dialect, publish)
    engine.owners.update(adopted_owners)
    return engine


def _open_cluster(
    owner: str, options: Mapping[str, DockerOptions], cluster: ClusterOptions, adopted_owners: Collection[str]
) -> Engine:
    from worker_orchestrator.engines.kubernetes.client import Client  # noqa: PLC0415 # only what is used is loaded
    from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine  # noqa: PLC0415 # as above
    from worker_orchestrator.engines.kubernetes.kubeconfig import find_access  # noqa: PLC0415

    client = Client(find_access(cluster.kubeconfig, cluster.context, cluster.namespace))
    engine = KubernetesEngine(client, owner, options, cluster.host_ports)
    engine.owners.update(adopted_owners)
    return engine
