"""Reads Docker's config.json: above all, who may pull an image from which registry.

The engine keeps no passwords. Every pull brings its own, and it is the client that looks them up: in config.json or
in a credential helper that config.json names. aiodocker leaves that to its caller.

Rules: https://docs.docker.com/reference/cli/docker/login/ and https://github.com/docker/docker-credential-helpers.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = [
    "Credentials",
    "RegistryAuth",
    "config_dir",
    "credentials_for",
    "full_reference",
    "home_folder",
    "read_config",
    "read_json_object",
    "registry_of",
]

HELPER_LIMIT_S = 10.0
HELPER_DRAIN_LIMIT_S = 1.0
ANSWER_LIMIT_BYTES = 64 * 1024
CONFIG_LIMIT_BYTES = 4 * 1024 * 1024
DOCKER_HUB = "https://index.docker.io/v1/"
_HUB_HOSTS = ("docker.io", "index.docker.io")
_TOKEN_USER = "<token>"  # noqa: S105 - the helpers' word for "the secret is an identity token"


class RegistryAuth(Mapping[str, str]):
    """What aiodocker's `images.pull(auth=...)` takes. It prints without its secrets and is no dict, so that neither a
    repr, a log line, a JSON encoder nor a traceback with local variables shows them.

    It always has the key `identitytoken`, empty beside a password. The engine takes empty for none; aiodocker leaves a
    mapping with that key as it is and would otherwise write the first part of the image's name over `serveraddress`,
    and an engine with the containerd image store uses credentials only for the server that they name.
    """

    __slots__ = ("_fields",)

    def __init__(self, serveraddress: str, *, username: str = "", password: str = "", identitytoken: str = "") -> None:
        fields = {"username": username, "password": password} if not identitytoken else {}
        self._fields = {**fields, "identitytoken": identitytoken, "serveraddress": serveraddress}

    def __getitem__(self, key: str) -> str:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<RegistryAuth for {self['serveraddress']}>"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Either `auth`, or in `note` one sentence that says why there is none; then the pull is anonymous."""

    auth: RegistryAuth | None
    note: str | None


async def credentials_for(image: str, environ: Mapping[str, str], home: Path) -> Credentials:
    """The credentials that Docker's own tools would send when they pull `image`; a missing one is no error.

    Pull with `images.pull(full_reference(image), auth=credentials.auth)`. May run a credential helper, at most 10 s.
    """
    registry = registry_of(image)
    directory = config_dir(environ, home)
    try:
        config = await asyncio.to_thread(read_config, directory)
        helper = _helper_for(registry, config, directory)
        stored = _from_auths(registry, config, directory)
    except InvalidSetting as error:
        return Credentials(None, error.message)
    if not helper:
        return stored
    answer = await _ask_helper(helper, registry, environ)
    # The CLI, too, falls back to what the file holds when the helper does not work.
    return answer if answer.auth or not stored.auth else stored


def registry_of(image: str) -> str:
    """The registry as credentials are filed under it: "ghcr.io", "localhost:5000"; Docker Hub by its old url.

    A first part with a dot, a colon or a capital, or "localhost", is a registry; else the image is Docker Hub's. Source:
    https://github.com/distribution/reference/blob/main/normalize.go
    """
    return DOCKER_HUB if (domain := _split(image)[0]) == "docker.io" else domain


def full_reference(image: str) -> str:
    """`image` with its registry spelled out ("redis:7" is "docker.io/library/redis:7"); aiodocker asks for that."""
    return "/".join(_split(image))


def _split(image: str) -> tuple[str, str]:
    first, slash, rest = image.partition("/")
    if not slash or not (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        return "docker.io", image if slash else f"library/{image}"
    if first in _HUB_HOSTS:
        return "docker.io", rest if "/" in rest else f"library/{rest}"
    return first, rest


def config_dir(environ: Mapping[str, str], home: Path) -> Path:
    """The folder of Docker's config.json, contexts and default certificates: DOCKER_CONFIG or ~/.docker."""
    return Path(environ.get("DOCKER_CONFIG") or home / ".docker")


def home_folder() -> Path:
    """The user's home; the root if there is none, as for a user id without an entry among the users."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def read_config(directory: Path) -> dict[str, Any]:
    """Docker's config.json in `directory`, {} if there is no such file.

    Raises InvalidSetting if it is there and cannot be read: what it would have said is then unknown, not absent.
    """
    path = directory / "config.json"
    try:
        return read_json_object(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a JSON object"
        # "from None", because the error carries the text of the file, and that may hold passwords.
        raise InvalidSetting(f"Docker's {path} cannot be read ({why}): repair it or remove it.") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`. Raises OSError if it cannot be read, ValueError if it holds anything else."""
    try:
        value = json.loads(_content(path))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if isinstance(value, dict):
        return value
    raise ValueError("not a JSON object")


def _content(path: Path) -> bytes:
    """What is in a file that others wrote. Refuses a pipe, which may have no writer, and a file that is too large."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no regular file")
    with path.open("rb") as file:
        content = file.read(CONFIG_LIMIT_BYTES + 1)
    if len(content) > CONFIG_LIMIT_BYTES:
        raise ValueError(f"more than {CONFIG_LIMIT_BYTES} bytes")
    return content


def _helper_for(registry: str, config: dict[str, Any], directory: Path) -> str:
    """The helper's name without its prefix; an empty one in credHelpers means the file even where credsStore is set."""
    special = _filed_under(registry, config.get("credHelpers") or {}, directory)
    helper = (config.get("credsStore") or "") if special is None else special
    if isinstance(helper, str):
        return helper
    raise InvalidSetting(
        f"A credential helper in {directory / 'config.json'} is not a name but {type(helper).__name__}."
    )


def _from_auths(registry: str, config: dict[str, Any], directory: Path) -> Credentials:
    entry = _filed_under(registry, config.get("auths") or {}, directory) or {}
    try:
        if token := entry.get("identitytoken"):
            return Credentials(RegistryAuth(registry, identitytoken=str(token)), None)
        if not entry.get("auth"):
            return Credentials(None, f"There are no credentials for {registry} in {directory / 'config.json'}.")
        username, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (AttributeError, TypeError, ValueError):
        username = colon = password = ""
    if not colon:
        why = "is not base64 of user:password; log in again"
        return Credentials(None, f"The entry for {registry} in {directory / 'config.json'} {why}.")
    return Credentials(RegistryAuth(registry, username=username, password=password.strip("\0")), None)


def _filed_under(registry: str, entries: Any, directory: Path) -> Any:
    """The entry for exactly this registry or, failing that, for a url of the same host; None if there is neither."""
    if not isinstance(entries, dict):
        raise InvalidSetting(f"In {directory / 'config.json'} credHelpers and auths must be JSON objects.")
    if registry in entries:
        return entries[registry]
    return next((entry for key, entry in entries.items() if _hostname(key) == _hostname(registry)), None)


def _hostname(address: str) -> str:
    host = address.rpartition("://")[2].partition("/")[0]
    return "docker.io" if host in _HUB_HOSTS else host


async def _ask_helper(helper: str, registry: str, environ: Mapping[str, str]) -> Credentials:
    """What a credential helper says. It is a foreign program that may do anything, so each failure becomes a note."""
    name = f"docker-credential-{plain(helper, 60)}"
    try:
        program = shutil.which(f"docker-credential-{helper}", path=environ.get("PATH", os.defpath))
        if program is None:
            return Credentials(None, f"{name}, which Docker's config.json names for {registry}, is not on the PATH.")
        returncode, output = await _ask(program, registry, environ)
    except TimeoutError:
        return Credentials(None, f"{name} did not answer for {registry} within {HELPER_LIMIT_S:g} s.")
    except OSError as error:
        return Credentials(None, f"{name} cannot be run: {error.strerror or plain(error)}.")
    except (RuntimeError, ValueError) as error:  # a name with NUL in it; uvloop, when a program ends while it is begun
        return Credentials(None, f"{name} cannot be run: {plain(error)}.")
    if len(output) > ANSWER_LIMIT_BYTES:
        return Credentials(None, f"{name} said more than {ANSWER_LIMIT_BYTES} bytes for {registry}.")
    if returncode == 0:
        return _from_answer(name, registry, output)
    # What a failing helper printed is not repeated: it may hold the secret.
    why = "has no credentials" if b"credentials not found" in output else f"failed with exit status {returncode}"
    return Credentials(None, f"{name} {why} for {registry}; `docker login` stores them.")


def _from_answer(name: str, registry: str, output: bytes) -> Credentials:
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, LookupError, TypeError, RecursionError):
        username, secret = None, None
    if not isinstance(username, str) or not isinstance(secret, str):
        return Credentials(None, f"{name} did not answer for {registry} in the form of a credential helper.")
    if not secret:
        return Credentials(None, f"{name} has no credentials for {registry}; `docker login` stores them.")
    if username == _TOKEN_USER:
        return Credentials(RegistryAuth(registry, identitytoken=secret), None)
    return Credentials(RegistryAuth(registry, username=username, password=secret), None)


async def _ask(program: str, registry: str, environ: Mapping[str, str]) -> tuple[int, bytes]:
    """Its exit code and the beginning of what it wrote. Raises TimeoutError, OSError, RuntimeError, ValueError.

    The question is written to its input before it is started. Otherwise a helper that ends without reading would break our
    end of the pipe, which uvloop reports in ways of its own.
    """
    question, ours = os.pipe()
    try:
        try:
            if sys.platform != "win32":
                os.set_blocking(ours, False)
            os.write(ours, registry.encode())
        finally:
            os.close(ours)
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=question,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    finally:
        os.close(question)
    try:
        async with asyncio.timeout(HELPER_LIMIT_S):
            output = await _beginning(process)
            if len(output) <= ANSWER_LIMIT_BYTES:
                await process.wait()
    except BaseException:
        await _stop(process)
        raise
    if process.returncode is None:
        await _stop(process)
    return process.returncode or 0, output


async def _beginning(process: asyncio.subprocess.Process) -> bytes:
    """What it writes, until there is no more or it is longer than any answer."""
    assert process.stdout is not None, "it writes to a pipe"
    output = b""
    while len(output) <= ANSWER_LIMIT_BYTES and (more := await process.stdout.read(ANSWER_LIMIT_BYTES + 1)):
        output += more
    return output


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ends the helper and all that it started, which may hold the pipe open after the helper itself is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError, RuntimeError):
        async with asyncio.timeout(HELPER_DRAIN_LIMIT_S):
            await process.communicate()
