"""What the operator chose for each pool, and what is known of machines whose pool is no longer among those.

A machine outlives the settings that it was made with: after a reload, or at the next start of the service, its pool may be
gone from them. It goes on as it was. The labels of its container say how it shows that it is ready, and whether it gets
answers from beyond this computer. Older versions wrote no such labels. Then the options that its pool last had in this
process count, and after a restart those of the default pool.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.docker.template import OUTBOUND, READY, READY_PATH, READY_PORT, DockerOptions
from worker_orchestrator.errors import EngineObstructed, EngineRejected

__all__ = ["PoolOptions", "in_pool", "naming_pool", "ready_port_of", "without_flags"]

_READY: Final = frozenset({"http", "tcp", "healthcheck"})
_OUTBOUND: Final = frozenset({"any", "host", "names"})
_PATH: Final = re.compile(r"/[!-~]*")
_FLAG: Final = re.compile(
    f"--({'|'.join(option.name.replace('_', '-') for option in fields(DockerOptions))})(?![\\w-])"
)


class PoolOptions:
    """The options of each pool by its name: as they are, and as they were where a pool was left out since."""

    def __init__(self, options: Mapping[str, DockerOptions]) -> None:
        self._now, self._last = dict(options), dict(options)

    def configure(self, options: Mapping[str, DockerOptions]) -> frozenset[str]:
        """Take these from now on. Returns the names of the pools that are new, or have other options than before."""
        changed = frozenset(name for name, chosen in options.items() if self._now.get(name) != chosen)
        self._now = dict(options)
        self._last |= options
        return changed

    @property
    def all(self) -> Mapping[str, DockerOptions]:
        """Those of the pools that there are now."""
        return self._now

    def chosen(self, pool: str) -> DockerOptions:
        """The options of new machines of this pool. Raises EngineRejected if there is no such pool."""
        options = self._now.get(pool)
        if options is None:
            raise EngineRejected(f"The settings have no pool {pool}, so the engine does not know what it would run.")
        return options

    def of_machine(self, pool: str, labels: Mapping[str, str]) -> DockerOptions:
        """The options that hold for a machine of this pool. `labels` are those of its container, empty if unknown.

        For a pool that is unknown, `image` and `env` are empty: those of another pool say nothing.
        """
        options = self._now.get(pool)
        if options is not None:
            return options
        options = self._last.get(pool) or replace(self._default(), image="", env=None)
        ready, path, outbound = (labels.get(label, "") for label in (READY, READY_PATH, OUTBOUND))
        return replace(
            options,
            ready=ready if ready in _READY else options.ready,
            ready_path=path if _PATH.fullmatch(path) else options.ready_path,
            outbound=outbound if outbound in _OUTBOUND else options.outbound,
        )

    def _default(self) -> DockerOptions:
        return self._now.get(DEFAULT_POOL) or next(iter(self._now.values()), DockerOptions(""))


def ready_port_of(machine: Machine, options: DockerOptions, labels: Mapping[str, str]) -> tuple[str, int | None]:
    """The name and the host port of the port that is asked whether this machine is ready; the name may be empty.

    A machine has the names that it was made with, which the options of its pool need not have any more.
    """
    ports = dict(machine.ports)
    asked = (options.ready_port, labels.get(READY_PORT, ""))
    name = next((name for name in asked if name in ports), next(iter(ports), ""))
    return name, ports.get(name, machine.port)


@contextmanager
def naming_pool(pool: str) -> Iterator[None]:
    """Wraps what may be refused because of a pool's options: the sentence names the pool. Causes outside do not."""
    try:
        yield
    except EngineObstructed:
        raise
    except EngineRejected as error:
        if pool == DEFAULT_POOL:
            raise
        raise EngineRejected(in_pool(pool, error.message)) from error


def in_pool(pool: str, sentence: str) -> str:
    """What is said of this pool: it is named unless it is the default one, with settings in place of the flags.

    The flags of the command line are those of the default pool.
    """
    return sentence if pool == DEFAULT_POOL else f"In pool {pool}: {without_flags(sentence)}"


def without_flags(sentence: str) -> str:
    """The same, with the names of settings in place of those of flags that are about workers."""
    return _FLAG.sub(lambda flag: flag[1].replace("-", "_"), sentence)
