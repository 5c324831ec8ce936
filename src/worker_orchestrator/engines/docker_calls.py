"""What Docker's answers mean, in the words of `errors`.

A call that never reached the engine is unavailable. One that was cut off after it left has an unknown outcome if it
writes, and is unavailable if it reads. An answer that refuses is rejected, unless it speaks of a cause outside
(docker_obstacles) or of a port that somebody holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import aiohttp
import aiohttp.http
import msgspec
from aiodocker import DockerError

from worker_orchestrator.engines.docker_obstacles import obstacle
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable, OutcomeUnknown, PortTaken

__all__ = ["CONFLICT", "NOT_FOUND", "is_missing", "reading", "writing"]

NOT_FOUND: Final = HTTPStatus.NOT_FOUND
CONFLICT: Final = HTTPStatus.CONFLICT
_CONNECTION_FAILED: Final = 900  # aiodocker's own number
_UNREADABLE: Final = (aiohttp.http.HttpProcessingError, json.JSONDecodeError, UnicodeDecodeError, msgspec.DecodeError)
"""An answer that is cut off or mangled, or an event of more than the half megabyte that aiohttp reads as one line."""
_PORT_TAKEN: Final = re.compile(
    r"port is already allocated|address already in use|failed to bind host port|ports are not available", re.IGNORECASE
)
_GOING_AWAY: Final = re.compile(
    r"transport is closing|shutting down|client connection is closing|context canceled|error reading from server|"
    r"update store for object type",
    re.IGNORECASE,
)
"""What Docker says with status 500 while it stops: no fault of the request."""


@contextmanager
def reading() -> Iterator[None]:
    """Around calls that change nothing: what was cut off is simply unavailable."""
    try:
        yield
    except DockerError as error:
        meaning = _meaning(error)
        raise (EngineUnavailable(meaning.message) if isinstance(meaning, OutcomeUnknown) else meaning) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise EngineUnavailable(f"Docker does not answer ({str(error) or type(error).__name__}).") from error
    except _UNREADABLE as error:
        raise EngineUnavailable(f"What Docker says cannot be read ({type(error).__name__}).") from error


@contextmanager
def writing() -> Iterator[None]:
    """Around calls that change something: what was cut off may have happened."""
    try:
        yield
    except DockerError as error:
        raise _meaning(error) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise EngineUnavailable(f"Docker does not answer ({error}).") from error
    except (aiohttp.ClientError, OSError, *_UNREADABLE) as error:
        raise OutcomeUnknown(f"The connection to Docker broke ({error}).") from error


def is_missing(error: EngineRejected) -> bool:
    """Whether Docker refused because what was named is not there."""
    return isinstance(error.__cause__, DockerError) and error.__cause__.status == NOT_FOUND


def _meaning(error: DockerError) -> EngineError:
    if error.status == _CONNECTION_FAILED:
        if isinstance(error.__context__, aiohttp.ClientConnectorError):
            return EngineUnavailable(f"Docker does not answer ({error.message}).")
        return OutcomeUnknown(f"The connection to Docker broke ({error.message}).")
    if error.status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}:
        return OutcomeUnknown(error.message)
    if _GOING_AWAY.search(error.message):
        return OutcomeUnknown(f"Docker is stopping ({error.message}).")
    obstructed = obstacle(error.message)
    if obstructed is not None:
        return obstructed
    if _PORT_TAKEN.search(error.message):
        return PortTaken(f"Docker says: {error.message}")
    return EngineRejected(f"Docker says: {error.message}")
