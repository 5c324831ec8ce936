"""What the settings promise and a pod cannot keep: refused at the start, with what to do, and never dropped. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.errors import EngineRejected

__all__ = ["refuse_unkept"]

_PIDS: Final = 2048
_LOG: Final = 30 * 1024**2
"""The defaults of settings that only the kubelet decides on. They cannot be told from a wish, so they are let pass."""
_RUNTIME_CLASS: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def refuse_unkept(options: DockerOptions) -> None:
    """Raises EngineRejected for the first of these options that a pod cannot keep."""
    for why in _unkept(options):
        raise EngineRejected(why)


def _unkept(options: DockerOptions) -> Iterator[str]:
    if options.parked:
        yield "A pod cannot be paused, so none can be parked: leave out --parked, and set a higher --min-idle."
    if options.late_post:
        yield "Values are not posted to workers on Kubernetes (--late-post): set --late-dir, and have the worker look there."
    if options.ready == "healthcheck":
        yield "Kubernetes does not run the HEALTHCHECK of an image: choose --ready http or --ready tcp."
    if options.ports:
        yield "A pod has one address, without names of ports: leave out --ports, and set --worker-port."
    if options.runtime and not _RUNTIME_CLASS.fullmatch(options.runtime):
        yield f"--runtime is the name of a RuntimeClass on Kubernetes, which {options.runtime} cannot be."
    yield from _decided_by_others(options)


def _decided_by_others(options: DockerOptions) -> Iterator[str]:
    if options.network or options.insecure_shared_network:
        yield (
            "Pods have no networks to choose from (--network, --insecure-shared-network): leave that out. Which pods reach "
            "each other is said by a NetworkPolicy."
        )
    if options.outbound != "any":
        yield (
            "What a pod can connect to is said by a NetworkPolicy, and not by --outbound: leave it out, and write a "
            "policy for the label worker-orchestrator/machine."
        )
    if options.pids_limit not in {0, _PIDS}:
        yield "How many processes a pod may have is said by its kubelet (podPidsLimit): leave out --pids-limit."
    if options.log_limit not in {0, _LOG}:
        yield "How much output is kept is said by the kubelet (containerLogMaxSize): leave out --log-limit."
