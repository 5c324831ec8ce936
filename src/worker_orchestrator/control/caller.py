"""The key with which a request came, and what is its own. Nothing else is there for it.

The variable is valid for what the request does itself. Background work that a request starts inherits it, and must not read
it: the orchestrator's own parts below `control/orchestrator.py` do not.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from functools import lru_cache
from typing import Final

from worker_orchestrator.core.key import SEPARATOR, Key, full_name, own_name
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.project import CHARACTERS
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.errors import PoolNotFound

__all__ = ["CALLER", "is_visible", "pool_of_caller", "recorded", "shown", "shown_project"]

CALLER: Final[ContextVar[Key | None]] = ContextVar("caller", default=None)
"""The key of the request; None for the operator."""

_HOLDERS: Final = re.compile(r" Held longest: .*?\.(?= [A-Z]|$)")
"""Who has the machines that nobody else can get (`core/wanted.py`). The id of a project has no blanks."""


def recorded(project: str) -> str:
    """How the project is recorded that this caller calls so."""
    key = CALLER.get()
    return project if key is None else full_name(key.name, project)


def is_visible(machine: Machine) -> bool:
    """Whether there is such a machine for this caller."""
    key = CALLER.get()
    return key is None or own_name(key.name, machine.project) is not None


def shown_project(project: str | None) -> str | None:
    """What this caller calls a project that is recorded so; None for one that is not its own."""
    key = CALLER.get()
    return project if key is None else own_name(key.name, project)


def shown(text: str) -> str:
    """This text of ours, in which the projects of this caller are called as it calls them, and others are not named."""
    key = CALLER.get()
    return text if key is None else _beginning(key.name).sub("", _HOLDERS.sub("", text))


def pool_of_caller(pool: str | None, *, has_machine: bool) -> str | None:
    """The pool from which this caller is given a machine. Raises PoolNotFound for one that is not for its key."""
    key = CALLER.get()
    if key is None or not key.pools:
        return pool
    if pool is None:
        return None if has_machine or DEFAULT_POOL in key.pools else key.pools[0]
    if pool not in key.pools:
        raise PoolNotFound(f"There is no pool {pool!r} for the key {key.name}. It may use: {', '.join(key.pools)}.")
    return pool


@lru_cache(maxsize=256)
def _beginning(key: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![{re.escape(CHARACTERS)}]){re.escape(key)}{SEPARATOR}(?=[{re.escape(CHARACTERS)}])")
