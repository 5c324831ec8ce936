"""Who may call: for E2B's API a key is our token, and what goes on in a sandbox needs that sandbox's own token.

A token of a sandbox is bound to its machine's generation: whoever had the sandbox before cannot use it. It is derived from a
key that only this service can read, so it is stored nowhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.errors import ProjectHasNoMachine
from worker_orchestrator.http.e2b.refusal import Refusal

__all__ = ["PREFIX", "SANDBOX", "Access", "as_bearer", "is_of_sandbox"]

PREFIX: Final = "/e2b/"
SANDBOX: Final = "e2b-sandbox-id"
"""The header that names a sandbox. With it a call is one for E2B's agent inside of that sandbox."""
AGENT: Final = ("/e2b/health", "/e2b/files", "/e2b/process.Process/", "/e2b/filesystem.Filesystem/")
"""Where what goes on in a sandbox is asked for. Each of these calls checks the sandbox's token itself."""
_KEY: Final = b"x-api-key"
_TOKEN: Final = "x-access-token"  # noqa: S105 # the name of a header


def is_of_sandbox(path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether this is a call of what goes on in one sandbox: then that sandbox's token decides, not the service's."""
    return path.startswith(AGENT) and (SANDBOX.encode() in headers or _TOKEN.encode() in headers)


def as_bearer(path: str, headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The same headers, with the key of E2B's clients where other clients of this service send its token."""
    if not path.startswith(PREFIX) or _KEY not in headers:
        return headers
    return {**headers, b"authorization": b"Bearer " + headers[_KEY]}


class Access:
    """Makes and checks the tokens of sandboxes."""

    def __init__(self, orchestrator: Orchestrator, key: bytes) -> None:
        self._orchestrator, self._key = orchestrator, key

    def token_of(self, machine: Machine) -> str:
        """The token of the sandbox that has this machine now, with its name before a dot.

        E2B's clients until 2.39 do not name a sandbox that they have connected to: they send its token alone.
        """
        bound = f"{machine.project}\0{machine.id}\0{machine.generation}".encode()
        name = base64.urlsafe_b64encode(str(machine.project).encode()).decode().rstrip("=")
        return f"{name}.{hmac.digest(self._key, bound, hashlib.sha256).hex()}"

    async def machine_of(self, request: Request) -> Machine:
        """The machine of the sandbox that this call names, if the call has its token. Raises Refusal."""
        given = request.headers.get(_TOKEN, "")
        name = request.headers.get(SANDBOX) or _named_in(given)
        try:
            machine = await self._orchestrator.machine_of(name)
        except ProjectHasNoMachine:
            raise Refusal.gone(name) from None
        if not hmac.compare_digest(self.token_of(machine).encode(), given.encode()):
            raise Refusal(
                401,
                "unauthenticated",
                f"The access token is not the one of the sandbox {name[:40]!r}, or the sandbox has ended and its name was "
                "given anew. Connect to it again with the API key.",
            )
        return machine


def _named_in(token: str) -> str:
    """The sandbox that this token names; empty if it names none."""
    encoded = token.partition(".")[0]
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, ValueError):
        return ""
