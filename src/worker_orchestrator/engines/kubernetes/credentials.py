"""What proves to an API server who we are: a text that never changes, a file that is written anew, or a program.

Each is asked for the header `Authorization` before every call. It keeps its answer for a while, and asks anew when the
server refused the one before: a service account's token is replaced while the service runs.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from worker_orchestrator.errors import EngineUnavailable, InvalidSetting
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["Credentials", "FromFile", "FromProgram", "Unchanging", "basic"]

READ_AGAIN_S: Final = 60.0
"""A token in a file is replaced long before it ends, so it need not be read for each call."""
PROGRAM_LIMIT_S: Final = 30.0
_EARLY_S: Final = 60.0
"""So long before its end a program's token is not used any more."""
_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Credentials(Protocol):
    """Who we are."""

    async def authorization(self, *, anew: bool = False) -> str:
        """The header `Authorization`; empty if a certificate says it. `anew`: the server refused the last one.

        Raises EngineUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unchanging:
    """A header that is the same for ever."""

    header: str = ""

    async def authorization(self, *, anew: bool = False) -> str:  # noqa: ARG002 # there is no other one
        return self.header


def basic(user: str, password: str) -> Unchanging:
    """A name and a password, which servers before 1.19 take."""
    return Unchanging("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii"))


class FromFile:
    """A token in a file that somebody writes anew, as the kubelet does with that of a service account."""

    def __init__(self, file: Path) -> None:
        self._file, self._header, self._read_at = file, "", 0.0

    async def authorization(self, *, anew: bool = False) -> str:
        now = asyncio.get_running_loop().time()
        if anew or not self._header or now - self._read_at > READ_AGAIN_S:
            try:
                token = self._file.read_text("ascii").strip()
            except (OSError, ValueError) as error:
                raise EngineUnavailable(
                    f"The token for Kubernetes in {self._file} cannot be read ({plain(error)})."
                ) from error
            self._header, self._read_at = f"Bearer {token}", now
        return self._header


class FromProgram:
    """A program that is asked for a token, as those of cloud providers are.

    Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], version: str) -> None:
        """`version` is that of its protocol. Raises InvalidSetting for one that is not known."""
        if version not in _VERSIONS:
            raise InvalidSetting(
                f"The kubeconfig names a program for credentials ({command[0]}) that speaks {plain(version, 80)}, but it "
                f"must be one of {', '.join(_VERSIONS)}. Update the program, and its entry in the kubeconfig."
            )
        self._command, self._env, self._version = command, env, version
        self._header, self._good_until = "", 0.0
        self._asking = asyncio.Lock()

    async def authorization(self, *, anew: bool = False) -> str:
        refused = self._header if anew else None
        async with self._asking:  # many calls may need one at the same time
            now = dt.datetime.now(dt.UTC).timestamp()
            if not self._header or now >= self._good_until or self._header == refused:
                self._header, self._good_until = _header_of(self._command[0], await self._answer())
        return self._header

    async def _answer(self) -> Any:
        asks = {"apiVersion": self._version, "kind": "ExecCredential", "spec": {"interactive": False}}
        env = {**os.environ, **self._env, "KUBERNETES_EXEC_INFO": json.dumps(asks)}
        name, process = self._command[0], None
        try:
            async with asyncio.timeout(PROGRAM_LIMIT_S):
                process = await asyncio.create_subprocess_exec(
                    *self._command, env=env, stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
                output, complaints = await process.communicate()
        except TimeoutError:
            raise EngineUnavailable(f"{name}, which gives credentials, took more than {PROGRAM_LIMIT_S:g} s.") from None
        except OSError as error:
            raise EngineUnavailable(f"{name}, which gives credentials, cannot be run ({plain(error)}).") from error
        finally:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        if process.returncode:
            said = plain(complaints.decode(errors="replace"))
            raise EngineUnavailable(f"{name}, which gives credentials, ended with {process.returncode}: {said}")
        try:
            return json.loads(output)
        except ValueError as error:
            raise EngineUnavailable(f"{name}, which gives credentials, answered no JSON.") from error


def _header_of(name: str, answer: Any) -> tuple[str, float]:
    """The header in a program's answer, and until when it is good (seconds since 1970)."""
    status = answer.get("status") if isinstance(answer, dict) else None
    token = status.get("token") if isinstance(status, dict) else None
    if not isinstance(token, str) or not token:
        raise EngineUnavailable(
            f"{name}, which gives credentials, answered without a token; a certificate from it is not supported."
        )
    ends = status.get("expirationTimestamp") if isinstance(status, dict) else None
    try:
        good_until = dt.datetime.fromisoformat(ends).timestamp() - _EARLY_S if ends else None
    except (AttributeError, ValueError):
        good_until = None
    return f"Bearer {token}", float("inf") if good_until is None else good_until
