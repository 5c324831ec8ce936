"""Who may call: for E2B's API a key is our token or a key of ours; what goes on in a sandbox needs the sandbox's own token.

A token of a sandbox is bound to its machine's generation, and to the key of whoever got it. So nobody who had the sandbox
before can use it, and it may do what that key may, for as long as there is that key. It is derived from a secret that only
this service can read, and stored nowhere. It says what it is of, and is signed, so whoever has none hears the same of every
sandbox, whether there is one or not.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from worker_orchestrator.control.caller import CALLER
from worker_orchestrator.control.keys import PREFIX as OUR_KEY
from worker_orchestrator.control.keys import Keys
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.key import SEPARATOR, Key, own_name
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.errors import ProjectHasNoMachine
from worker_orchestrator.http.access.keyed import right_refusal
from worker_orchestrator.http.e2b.refusal import Refusal, of_reply
from worker_orchestrator.http.server.streamed_response import LEASE

__all__ = ["PREFIX", "Access", "as_bearer", "is_of_sandbox"]

PREFIX: Final = "/e2b/"
SANDBOX: Final = "e2b-sandbox-id"
"""The header that names a sandbox. With it a call is one for E2B's agent inside of that sandbox."""
AGENT: Final = ("/e2b/health", "/e2b/files", "/e2b/process.Process/", "/e2b/filesystem.Filesystem/")
"""Where what goes on in a sandbox is asked for. Each of these calls checks the sandbox's token itself."""
_KEY: Final = b"x-api-key"
_TOKEN: Final = "x-access-token"  # noqa: S105 # the name of a header
_HEXADECIMAL: Final = re.compile(rb"e2b_((?:[0-9a-f]{2})+)")
"""The form of a key that E2B's clients around 2.40 insist on."""


def is_of_sandbox(path: str) -> bool:
    """Whether this is a call of what goes on in one sandbox: then that sandbox's token decides, and no key."""
    return path.startswith(AGENT)


def as_bearer(path: str, headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The same headers, with the key of E2B's clients where other clients of this service send its token."""
    if not path.startswith(PREFIX) or _KEY not in headers:
        return headers
    return {**headers, b"authorization": b"Bearer " + _ours(headers[_KEY])}


def _ours(key: bytes) -> bytes:
    """A key of ours that comes in hexadecimal digits, behind `e2b_`; any other one as it is."""
    match = _HEXADECIMAL.fullmatch(key)
    decoded = b"" if match is None else bytes.fromhex(match[1].decode())
    return decoded if decoded.startswith(OUR_KEY) else key


@dataclass(frozen=True, slots=True)
class _Told:
    """What a token says that it is of: a recorded project with its machine and generation."""

    project: str
    machine: str
    generation: int


class Access:
    """Makes and checks the tokens of sandboxes."""

    def __init__(self, orchestrator: Orchestrator, secret: bytes, keys: Keys | None) -> None:
        self._orchestrator, self._secret, self._keys = orchestrator, secret, keys

    def token_of(self, machine: Machine) -> str:
        """The token with which this caller uses the sandbox that has this machine now.

        It names the sandbox: E2B's clients until 2.39 send nothing else of one that they have connected to.
        """
        told = _Told(str(machine.project), machine.id, machine.generation)
        return f"{_encoded(told)}.{self._signature(told, CALLER.get()).hex()}"

    async def machine_of(self, request: Request) -> Machine:
        """The machine of the sandbox that this call names, if the call has its token. Raises Refusal."""
        told, key = self._admitted(request.headers.get(_TOKEN, ""), request.headers.get(SANDBOX, ""))
        if key is not None:
            refusal = right_refusal(key, request.method, request.url.path.removesuffix("/"))
            if refusal is not None:
                raise of_reply(refusal)
            assert self._keys is not None, "it has this key"
            self._keys.note_used(key.name)
            CALLER.set(key)
            request.scope[LEASE] = self._keys.lease(key, told.machine)
        try:
            machine = await self._orchestrator.machine_of(told.project)
        except ProjectHasNoMachine:
            raise Refusal.gone(told.project if key is None else str(own_name(key.name, told.project))) from None
        if (machine.id, machine.generation) != (told.machine, told.generation):
            raise _refused()
        return machine

    def _admitted(self, token: str, named: str) -> tuple[_Told, Key | None]:
        """What this token is of, and the key of whoever got it: None for the operator. Raises Refusal."""
        encoded, _, signature = token.partition(".")
        told = _decoded(encoded)
        if told is None:
            raise _refused()
        owner, separator, own = told.project.partition(SEPARATOR)
        key = self._keys.named(owner) if self._keys is not None and separator else None
        given = signature.encode()
        is_operators = hmac.compare_digest(self._signature(told, None).hex().encode(), given)
        is_keys = key is not None and hmac.compare_digest(self._signature(told, key).hex().encode(), given)
        if not (is_operators or is_keys) or named not in {"", own if is_keys else told.project}:
            raise _refused()
        return told, key if is_keys else None

    def _signature(self, told: _Told, key: Key | None) -> bytes:
        bound = f"{told.project}\0{told.machine}\0{told.generation}".encode()
        return hmac.digest(self._secret, bound if key is None else bound + b"\0" + key.digest, hashlib.sha256)


def _refused() -> Refusal:
    return Refusal(
        401,
        "unauthenticated",
        "The access token is not the one of this sandbox, or the sandbox has ended. Connect to it again with the API key.",
    )


def _encoded(told: _Told) -> str:
    text = f"{told.project}\0{told.machine}\0{told.generation}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(encoded: str) -> _Told | None:
    try:
        text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        project, machine, generation = text.split("\0")
        return _Told(project, machine, int(generation))
    except (binascii.Error, ValueError):
        return None
