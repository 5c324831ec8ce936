"""What a caller with a key may ask for: by its rights, and of the calls that concern its projects alone.

The table names every call that is for keys. All others, also those that will be added, are the operator's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from worker_orchestrator.control.caller import CALLER
from worker_orchestrator.core.key import Key, Right
from worker_orchestrator.core.project import is_reserved
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.reply import Reply, failure
from worker_orchestrator.http.server.streamed_response import LEASE

__all__ = ["admit", "right_refusal"]

_ANY: Final = frozenset(Right)
_ASSIGN, _READ = frozenset({Right.ASSIGN}), frozenset({Right.READ})
_EXEC, _FILES = frozenset({Right.EXEC}), frozenset({Right.FILES})
_PROJECT, _MACHINE = "/v1/projects/[^/]+", "/v1/machines/([^/]+)"
_SANDBOXES = "/e2b(?:/v2)?/sandboxes"
_BY_PATH: Final[Mapping[str, Mapping[str, AbstractSet[Right]]]] = {
    f"{_PROJECT}/machine": {"PUT": _ASSIGN, "DELETE": _ASSIGN, "GET": _READ | _ASSIGN},
    f"{_PROJECT}/machine/(?:keepalive|sleep|wake)": {"POST": _ASSIGN},
    f"{_PROJECT}/links": {"POST": _ASSIGN},
    f"{_PROJECT}/why": {"GET": _READ},
    "/v1/machines": {"GET": _READ},
    _MACHINE: {"GET": _READ, "DELETE": _ASSIGN},
    f"{_MACHINE}/restart": {"POST": _ASSIGN},
    f"{_MACHINE}/(?:logs|stats|environment)": {"GET": _READ},
    f"{_MACHINE}/exec": {"POST": _EXEC},
    f"{_MACHINE}/terminal": {"GET": _EXEC},
    f"{_MACHINE}/files": {"GET": _FILES, "PUT": _FILES},
    "/v1/events": {"GET": _READ},
    "/v1/mcp": {"POST": _ANY},  # each tool makes calls with the same key
    "": {"GET": _ANY},
    "/health": {"GET": _ANY},
    "/machines/list": {"GET": _READ},
    "/destroy": {"POST": _ASSIGN},
    _SANDBOXES: {"GET": _READ, "POST": _ASSIGN},
    f"{_SANDBOXES}/[^/]+": {"GET": _READ | _ASSIGN, "DELETE": _ASSIGN},
    f"{_SANDBOXES}/[^/]+/(?:connect|timeout)": {"POST": _ASSIGN},
    f"{_SANDBOXES}/[^/]+/[^/]+": {"GET": _READ},
    "/e2b/health": {"GET": _ANY},
    "/e2b/files": {"GET": _FILES, "POST": _FILES},
    "/e2b/filesystem\\.Filesystem/[^/]+": {"POST": _FILES},
    "/e2b/process\\.Process/[^/]+": {"POST": _EXEC},
}
"""By path, without the slash at its end, and method, the rights of which a key needs one. `HEAD` is as `GET`."""
_CALLS: Final = [(re.compile(path), calls) for path, calls in _BY_PATH.items()]
_PROJECT_OF_DOCUMENT: Final = re.compile("/([^/]+)")
_OF_PROJECT: Final[Mapping[str, AbstractSet[Right]]] = {"GET": _ASSIGN, "HEAD": _READ | _ASSIGN, "DELETE": _ASSIGN}


def admit(
    callers: Callers, scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes], address: str
) -> Reply | None:
    """The reply to a caller that may not make this call; None if it may. Then `CALLER` is its key, if it has one."""
    refusal = callers.refusal(address, headers)
    if refusal is not None:
        return refusal
    key = callers.key(headers)
    if key is None:
        scope[LEASE] = callers.lease(headers)
        return None
    path = scope["path"].removesuffix("/")
    refusal = right_refusal(key, scope.get("method", "GET"), path)
    if refusal is None:
        CALLER.set(key)
        match = re.match(_MACHINE, path)
        scope[LEASE] = callers.lease_of_key(key, match[1] if match else "")
    return refusal


def right_refusal(key: Key, method: str, path: str) -> Reply | None:
    """The reply to a caller with this key that may not make this call; None if it may.

    A method that a path does not have is for the route to judge.
    """
    needs = _needs(method, path)
    if needs is None:
        return failure(
            403,
            "Not for keys",
            f"This call is the operator's, and the key {key.name} is for its own projects. Send the service's token.",
        )
    if needs & key.may:
        return None
    wanted = " or ".join(sorted(needs))
    return failure(
        403,
        "The key may not do this",
        f"The key {key.name} may {', '.join(sorted(key.may))}, and this call needs {wanted}. Have the operator make a key "
        f"that may do that: `orchestrator key create NAME --may {','.join(sorted(key.may | needs))}`.",
    )


def _needs(method: str, path: str) -> frozenset[Right] | None:
    """The rights of which this call needs one; None if it is not for keys."""
    for pattern, calls in _CALLS:
        if pattern.fullmatch(path):
            return frozenset(calls.get("GET" if method == "HEAD" else method, _ANY))
    match = _PROJECT_OF_DOCUMENT.fullmatch(path)
    if match is None or is_reserved(match[1]):
        return None
    return frozenset(_OF_PROJECT.get(method, _ANY))
