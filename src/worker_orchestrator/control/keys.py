"""The keys of callers beside the operator: made, shown, revoked, and found by their values.

A value is `orc_NAME_SECRET` with 32 random bytes, and only its SHA-256 is kept. It is compared in constant time with the
digest under its name. A name is no secret, but an unknown one takes as long as a known one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.key import Key, Right, held, key_name
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.key_errors import KeyExists, KeyNotFound
from worker_orchestrator.store.keys import StoredKeys

__all__ = ["PREFIX", "Keys"]

PREFIX: Final = b"orc_"
"""How the value of every key begins."""
USE_STORED_MS: Final = 60_000
"""The last use of a key is stored at most so often."""
MOST: Final = 1_000
_NOBODY: Final = bytes(32)
_log = structlog.get_logger(__name__)


class Keys:
    """The keys of one store. `wall_ms` is the wall time."""

    def __init__(self, stored: StoredKeys, fleet: Fleet, wall_ms: Callable[[], int]) -> None:
        self._stored, self._fleet, self._wall_ms = stored, fleet, wall_ms
        self._keys = {key.name: key for key in stored.all()}
        self._revoked: dict[str, asyncio.Event] = {}
        self._stored_ms = {name: key.used_ms for name, key in self._keys.items()}
        fleet.keys = {key.name: key.max_machines for key in self._keys.values()}

    def all(self) -> list[Key]:
        """By name."""
        return [self._keys[name] for name in sorted(self._keys)]

    def create(
        self, name: str, pools: Iterable[str], max_machines: int | None, may: Iterable[Right]
    ) -> tuple[Key, str]:
        """A new key and its value, which is told only now. Raises InvalidInput, KeyExists, CommitFailed."""
        if key_name(name) in self._keys:
            raise KeyExists(f"There is a key {name} already. Revoke it first, or choose another name.")
        if left := sorted(held(self._fleet, name)):
            raise KeyExists(
                f"The project {left[0]} has a machine, and would belong to a key {name}. Release it, or choose another name."
            )
        if len(self._keys) >= MOST:
            raise InvalidInput(f"There are {MOST} keys, which is the most that there can be. Revoke one of them.")
        value = f"{PREFIX.decode()}{name}_{secrets.token_hex(32)}"
        rights = frozenset(may)
        key = Key(name, _digest(value.encode()), tuple(dict.fromkeys(pools)), max_machines, rights, self._wall_ms())
        self._stored.add(key)
        self._keys[name], self._fleet.keys[name] = key, max_machines
        _log.info("key created", key=name, pools=key.pools, max_machines=max_machines, may=sorted(rights))
        return key, value

    def revoke(self, name: str) -> Key:
        """Forget this key. Its requests that go on end. Raises KeyNotFound, CommitFailed."""
        if name not in self._keys:
            raise KeyNotFound(f"There is no key {name[:40]!r}. `orchestrator key list` lists them.")
        self._stored.remove(name)
        key = self._keys.pop(name)
        del self._fleet.keys[name]
        self._revoked.pop(name, asyncio.Event()).set()
        _log.info("key revoked", key=name)
        return key

    def find(self, value: bytes) -> Key | None:
        """The key with this value; None if there is none."""
        name = value[len(PREFIX) :].partition(b"_")[0].decode("latin-1") if value.startswith(PREFIX) else ""
        key = self._keys.get(name)
        is_right = hmac.compare_digest(_digest(value), _NOBODY if key is None else key.digest)
        return key if is_right else None

    def named(self, name: str) -> Key | None:
        """The key with this name; None if there is none."""
        return self._keys.get(name)

    def note_used(self, name: str) -> None:
        """A request came with this key just now."""
        key, now_ms = self._keys.get(name), self._wall_ms()
        if key is None:
            return
        self._keys[name] = msgspec.structs.replace(key, used_ms=now_ms)
        if now_ms - self._stored_ms.get(name, 0) >= USE_STORED_MS and self._stored.note_used({name: now_ms}):
            self._stored_ms[name] = now_ms

    def lease(self, key: Key, machine: str) -> KeyLease:
        """How long a request with this key may go on that is about this machine; empty: about none."""
        ended = self._revoked.setdefault(key.name, asyncio.Event())
        had = self._fleet.machines.get(machine)
        return KeyLease(ended, self._fleet, machine, 0 if had is None else had.generation)


class KeyLease:
    """It is over when the key is revoked, and when the machine has left the project that had it."""

    LOOKS_EVERY_S: Final = 0.1

    def __init__(self, revoked: asyncio.Event, fleet: Fleet, machine: str, generation: int) -> None:
        self._revoked, self._fleet, self._machine, self._generation = revoked, fleet, machine, generation

    async def over(self) -> None:
        """Return when it is over."""
        if not self._generation:
            await self._revoked.wait()
        while not self._revoked.is_set() and self._is_still_there():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._revoked.wait(), self.LOOKS_EVERY_S)

    def _is_still_there(self) -> bool:
        machine = self._fleet.machines.get(self._machine)
        return machine is not None and machine.generation == self._generation and machine.holding is not None


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
