"""As whom a client wants a command to run, and what a path of that user means.

E2B's clients name a user in `Authorization: Basic`, or in the query of a file. One that the image has not is the image's own
user: the older clients always ask for E2B's `user`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Exec
from worker_orchestrator.errors import EngineRejected
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.v1.engine_calls import not_supported

__all__ = ["User", "Users"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WHO: Final = r"""
if [ -n "$1" ]; then
  found=
  while IFS=: read -r name _; do [ "$name" = "$1" ] && found=1; done </etc/passwd
  [ -n "$found" ] || exit 7
fi
id -u; id -g; pwd; printf '%s\n' "$HOME"
"""
_UNKNOWN: Final = 7


@dataclass(frozen=True, slots=True)
class User:
    """`name` is empty for the image's own. `folder` is where its commands begin, `home` what ~ means."""

    name: str
    uid: int
    gid: int
    folder: str
    home: str

    def path(self, given: str) -> str:
        """The absolute path that this one means. Raises Refusal."""
        if not given or "\0" in given or len(given) > 4096:
            raise Refusal.invalid("A path must have 1 to 4096 characters, without NUL.")
        if given == "~" or given.startswith("~/"):
            given = f"{self.home}{given[1:]}"
        return given if given.startswith("/") else f"{self.folder.rstrip('/')}/{given}"


class Users:
    """The users of sandboxes; each is looked up once."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._known: dict[tuple[str, int, str], User] = {}

    async def of(self, request: Request, machine: Machine) -> User:
        """As whom this call is made. Raises Refusal, OrchestratorError."""
        name = request.query_params.get("username") or _basic(request.headers.get("authorization", ""))
        if name and not _NAME.fullmatch(name):
            raise Refusal.invalid(f"The user {name[:40]!r} is no name of a user.")
        key = (machine.id, machine.generation, name)
        user = self._known.get(key)
        if user is None:
            machines = self._orchestrator.fleet.machines
            living = {(one.id, one.generation) for one in machines.values()}
            self._known = {one: kept for one, kept in self._known.items() if one[:2] in living}
            user = self._known[key] = await self._look_up(machine, name) or await self._own(machine)
        return user

    async def _own(self, machine: Machine) -> User:
        own = await self._look_up(machine, "")
        assert own is not None, "the image has a user"
        return own

    async def _look_up(self, machine: Machine, name: str) -> User | None:
        """None if the image has no such user."""
        engine = self._orchestrator.engine
        if not isinstance(engine, Exec):
            raise not_supported("run a command in a worker")
        try:
            done = await engine.exec(machine.id, ["sh", "-c", _WHO, "sh", name], user=name, timeout_s=20)
        except EngineRejected:
            if name:
                return None
            raise
        lines = done.stdout.decode(errors="surrogateescape").splitlines()
        if done.exit_code == 0 and len(lines) == 4 and lines[0].isdigit() and lines[1].isdigit():
            return User(name, int(lines[0]), int(lines[1]), lines[2], lines[3] or "/")
        if name:
            return None
        said = done.stderr.decode(errors="replace").strip()[:200]
        raise EngineRejected(f"The worker cannot tell its user, for which it needs `sh` and `id`: {said}")


def _basic(authorization: str) -> str:
    """The user's name in these credentials; empty if there is none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
