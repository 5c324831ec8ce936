"""Translates Docker's errors into ours.

A call that never reached the engine raises EngineUnavailable. One that was cut off after it was sent raises OutcomeUnknown
if it writes, and EngineUnavailable if it reads. A refusal raises EngineRejected, unless `obstacles` knows it as a cause
outside or as a port that is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import aiohttp
import aiohttp.http
import msgspec
from aiodocker import DockerError

from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.engines.docker.obstacles import is_port_taken, obstacle
from worker_orchestrator.engines.docker.podman_host import USE_RUNC
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable, OutcomeUnknown, PortTaken
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = [
    "CONFLICT",
    "NOT_FOUND",
    "UNREADABLE",
    "docker_message",
    "is_missing",
    "is_network_missing",
    "is_taken",
    "is_unanswered",
    "not_shown",
    "note_call",
    "reading",
    "status_of",
    "writing",
]

NOT_FOUND: Final = HTTPStatus.NOT_FOUND
CONFLICT: Final = HTTPStatus.CONFLICT
_FULL_ID: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_CONNECTION_FAILED: Final = 900  # aiodocker's own number
UNREADABLE: Final = (
    aiohttp.http.HttpProcessingError,
    msgspec.DecodeError,
    ValueError,  # no JSON, no UTF-8, a line of more than the half megabyte that aiohttp reads as one
    RecursionError,
    LookupError,
    TypeError,
    AttributeError,
)
"""An answer that is cut off or mangled, or of another shape than Docker's: a proxy may say anything."""
_NAME_TAKEN: Final = re.compile(r"name \S+ is already in use by|that name is already in use")
_NOTE: Final = "in answer to "
_SAID_BY: Final = "said by "
_DEEDS: Final = (
    (re.compile(r"POST containers/create\b"), "create the container"),
    (re.compile(r"POST containers/[^/]+/start\b"), "start the container"),
    (re.compile(r"POST containers/[^/]+/stop\b"), "stop the container"),
    (re.compile(r"POST containers/[^/]+/pause\b"), "pause the container"),
    (re.compile(r"POST containers/[^/]+/unpause\b"), "let the container go on"),
    (re.compile(r"DELETE containers/[^/]+$"), "remove the container"),
    (re.compile(r"POST networks/create\b"), "create the network"),
)
"""What was to be done, by the call that was refused."""
_KEPT_PORT: Final = (
    "If no other container has it, Docker kept it when it was killed: restart Docker (`sudo systemctl restart docker`)."
)
_REMEDIES: Final = {
    "Podman": ((re.compile(r"cgroups in hybrid mode not supported"), sentence(f"What helps: {USE_RUNC}")),),
    "Docker": ((re.compile(r"port is already allocated"), _KEPT_PORT),),
}
"""What helps where an engine's words do not say it, by its name."""
_GOING_AWAY: Final = re.compile(
    r"transport is closing|shutting down|client connection is closing|context canceled|error reading from server|"
    r"update store for object type",
    re.IGNORECASE,
)
"""What Docker says with status 500 while it stops. It is not a fault of the request."""


def note_call(error: BaseException, method: str, path: object, engine: str = "Docker") -> None:
    """Note on this error which call the engine of this name was asked for."""
    if _call_of(error):
        return
    short = _FULL_ID.sub(r"\1", str(path)).lstrip("/")
    error.add_note(f"{_NOTE}{method} {plain(short, 80)}")
    error.add_note(f"{_SAID_BY}{engine}")


@contextmanager
def reading() -> Iterator[None]:
    """Wraps calls that change nothing, and the reading of their answers: what was cut off is unavailable."""
    try:
        yield
    except DockerError as error:
        meaning = _meaning(error)
        if isinstance(meaning, OutcomeUnknown):
            raise EngineUnavailable(meaning.message) from error
        if isinstance(meaning, PortTaken):  # a call that reads asks for no port
            raise EngineRejected(meaning.message) from error
        raise meaning from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        why = plain(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
        raise EngineUnavailable(f"{_engine_of(error)} does not answer ({why}{_call_of(error)}).") from error
    except UNREADABLE as error:
        raise EngineUnavailable(
            f"What {_engine_of(error)} says cannot be read ({type(error).__name__}{_call_of(error)})."
        ) from error


@contextmanager
def writing() -> Iterator[None]:
    """Wraps calls that change something: what was cut off may have happened."""
    try:
        yield
    except DockerError as error:
        raise _meaning(error) from error
    except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
        raise EngineUnavailable(f"{_engine_of(error)} does not answer ({plain(error)}{_call_of(error)}).") from error
    except (aiohttp.ClientError, OSError, *UNREADABLE) as error:
        why = plain(error) or type(error).__name__
        raise OutcomeUnknown(f"The connection to {_engine_of(error)} broke ({why}{_call_of(error)}).") from error


def docker_message(error: EngineError) -> str:
    """Docker's message of a refusal, as it came. It is to be understood, and not to be shown."""
    cause = error.__cause__
    return str(cause.message) if isinstance(cause, DockerError) else error.message


def is_missing(error: EngineRejected) -> bool:
    """Whether Docker refused because what was named is not there."""
    return isinstance(error.__cause__, DockerError) and error.__cause__.status == NOT_FOUND


def is_taken(error: EngineRejected) -> bool:
    """Whether Docker refused because the name is another's. Podman says so with status 500."""
    return status_of(error) == CONFLICT or _NAME_TAKEN.search(docker_message(error)) is not None


def is_network_missing(error: EngineRejected) -> bool:
    """Whether Docker refused because a network that was named is not there. Podman says so with status 500."""
    message = docker_message(error)
    return (is_missing(error) and "network" in message) or "network not found" in message


def status_of(error: EngineRejected) -> int:
    """The status of Docker's refusal; 0 if it was not Docker that refused."""
    return int(error.__cause__.status) if isinstance(error.__cause__, DockerError) else 0


def not_shown(name: str, engine: str) -> OutcomeUnknown:
    """Of a create whose name is taken by no container: on a busy computer one that was cut off may go on for long."""
    return OutcomeUnknown(f"{engine} says that the name {name} is taken, but shows no container of that name.")


def is_unanswered(error: DockerError) -> bool:
    """Whether this is aiodocker's error for a connection that could not be made or broke: Docker said nothing."""
    return int(error.status) == _CONNECTION_FAILED


def _meaning(error: DockerError) -> EngineError:
    said, call, engine = plain(error.message), _call_of(error), _engine_of(error)
    if is_unanswered(error):
        said = said.replace("Docker Engine", engine)  # aiodocker's words
        if isinstance(error.__context__, aiohttp.ClientConnectorError):
            return EngineUnavailable(f"{engine} does not answer ({said}{call}).")
        return OutcomeUnknown(f"The connection to {engine} broke ({said}{call}).")
    message = _refusal(said or str(error.status), call, engine)
    if error.status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}:
        return OutcomeUnknown(message)
    whole = str(error.message)  # what is shown of it is shorter
    if _GOING_AWAY.search(whole):
        return OutcomeUnknown(f"{engine} is stopping ({said}{call}).")
    obstructed = obstacle(whole, call, engine)
    if obstructed is not None:
        return obstructed
    return (PortTaken if is_port_taken(whole) else EngineRejected)(message)


def _refusal(said: str, call: str, engine: str) -> str:
    """What the engine refused, as far as that can be told from the call, and in what words."""
    asked = call.partition(_NOTE)[2]
    for pattern, deed in _DEEDS:
        if pattern.match(asked):
            remedies = [remedy for words, remedy in _REMEDIES.get(engine, ()) if words.search(said)]
            return " ".join([sentence(f"{engine} refused to {deed}: {said}"), *remedies])
    return sentence(f"{engine} says: {said}{call}")


def _call_of(error: BaseException) -> str:
    """Which call this error answers, as far as that is known."""
    noted = [note for note in getattr(error, "__notes__", ()) if note.startswith(_NOTE)]
    return f", {noted[0]}" if noted else ""


def _engine_of(error: BaseException) -> str:
    """The name of the engine that this error is about."""
    noted = [note for note in getattr(error, "__notes__", ()) if note.startswith(_SAID_BY)]
    return noted[0].removeprefix(_SAID_BY) if noted else "Docker"
