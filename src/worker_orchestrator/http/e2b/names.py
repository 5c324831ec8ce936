"""What makes a project a sandbox, the ids of sandboxes, and which one `get_host` of E2B's clients means.

`get_host(3000)` is `3000-SANDBOX.DOMAIN`, and says nothing of the key whose sandbox it is. So an id that this service gives
ends in a digest over its beginning and that key: no other key can take it, neither beside the first one nor after it. A name
that a client chose itself is found for the operator alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec

from worker_orchestrator.control.caller import CALLER
from worker_orchestrator.control.keys import Keys
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.key import SEPARATOR, Key
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.settings.pool import PoolSettings

__all__ = ["MARK", "Mark", "Names", "SandboxHosts", "mark_of"]

MARK: Final = "e2b"
_LAST_MS: Final = 253_402_300_799_000  # the end of the year 9999
_BEGIN, _END = 16, 12
_GIVEN: Final = re.compile(rf"sandbox-([0-9a-f]{{{_BEGIN}}})([0-9a-f]{{{_END}}})")
_HOST: Final = re.compile(r"([1-9][0-9]{0,4})-([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)")


class Mark(msgspec.Struct):
    """What makes a project a sandbox. `since` is the time of its creation, in milliseconds since 1970."""

    template: str
    since: Annotated[int, msgspec.Meta(ge=0, le=_LAST_MS)]


def mark_of(machine: Machine) -> Mark | None:
    """What makes this machine's project a sandbox; None if it is none, whatever its metadata look like."""
    if machine.project is None or machine.gone or not machine.metadata or f'"{MARK}"' not in machine.metadata:
        return None
    try:
        return msgspec.json.decode(json.loads(machine.metadata)[MARK], type=Mark)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError):
        return None


class Names:
    """Gives the ids of sandboxes. `secret` is what their ends are made from."""

    def __init__(self, secret: bytes, keys: Keys | None) -> None:
        self._secret, self._keys = secret, keys

    def new(self, seed: str) -> str:
        """One for this caller; the same for the same seed, unless that is empty."""
        begin = hashlib.sha256(seed.encode()).hexdigest()[:_BEGIN] if seed else secrets.token_hex(_BEGIN // 2)
        return f"sandbox-{begin}{self._end(begin, CALLER.get())}"

    def was_given_to(self, key: str, sandbox: str) -> bool:
        """Whether the key of this name, which there must be still, was given this id."""
        match, known = _GIVEN.fullmatch(sandbox), self._keys.named(key) if self._keys is not None else None
        return match is not None and known is not None and hmac.compare_digest(self._end(match[1], known), match[2])

    def _end(self, begin: str, key: Key | None) -> str:
        whose = b"" if key is None else key.digest
        return hmac.digest(self._secret, begin.encode() + b"\0" + whose, hashlib.sha256).hex()[:_END]


class SandboxHosts:
    """Finds the port of a sandbox by its number. `pools` are the settings of the pools in force."""

    def __init__(
        self, orchestrator: Orchestrator, names: Names, pools: Callable[[], Mapping[str, PoolSettings]]
    ) -> None:
        self._orchestrator, self._names, self._pools = orchestrator, names, pools

    def find(self, label: str) -> tuple[str, str] | None:
        """The recorded project that `3000-SANDBOX` means, and the name of its port; None if there is no such sandbox.

        The name is empty for the first port, and the number for one that has no name in its pool: nothing is there.
        """
        match = _HOST.fullmatch(label)
        machine = None if match is None else self._machine(match[2])
        if match is None or machine is None:
            return None
        return str(machine.project), self._port(machine.pool, int(match[1]))

    def _machine(self, sandbox: str) -> Machine | None:
        fleet = self._orchestrator.fleet
        own = fleet.of_project(sandbox)
        if own is not None:
            return own if mark_of(own) is not None else None
        for machine in fleet.machines.values():
            key, separator, name = (machine.project or "").partition(SEPARATOR)
            if separator and name == sandbox and self._names.was_given_to(key, name) and mark_of(machine) is not None:
                return machine
        return None

    def _port(self, pool: str, number: int) -> str:
        settings = self._pools().get(pool)
        if settings is None:
            return str(number)
        if number == settings.worker_port:
            return ""
        return next((name for name, port in settings.ports if port == number), str(number))
