"""What the settings say of the engine: where it is, and what it makes for each pool."""

from __future__ import annotations

from collections.abc import Mapping

from worker_orchestrator.engines import open as engines
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.docker.template import DockerOptions, PublishOptions
from worker_orchestrator.engines.open import ClusterOptions
from worker_orchestrator.settings.parsers import as_bytes
from worker_orchestrator.settings.pods import as_table
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.settings import Settings

__all__ = ["cluster_options", "configure_engine", "docker_options", "publish_options"]


def cluster_options(settings: Settings) -> ClusterOptions:
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
