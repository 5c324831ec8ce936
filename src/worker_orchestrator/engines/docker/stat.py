"""What is at one path of a container, as Docker's archives say it, and the call for the archive of a path.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerArchiveInfo
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import quote

import aiodocker
import msgspec

from worker_orchestrator.engines.archive import printable
from worker_orchestrator.engines.docker.calls import NOT_FOUND
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.reach import send_request
from worker_orchestrator.errors import EngineUnavailable

__all__ = ["SPECIAL", "Stat", "archive_call", "stat_of"]

_LINK: Final = 1 << 27
_FOLDER: Final = 1 << 31
_NO_FILE: Final = _FOLDER | _LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
"""The bits of all that is no regular file."""
_URL_ALPHABET: Final = b"-_"
"""What Podman writes for + and / in base64. Both are understood."""
SPECIAL: Final = re.compile(r"[\\?\[]")
"""What stands for something else in a pattern, unless a backslash comes before it."""


class Stat(msgspec.Struct, rename="camel"):
    """What Docker says of a path. `link_target`: where a link leads in the end; others say more or less there."""

    mode: int
    link_target: str = ""

    @property
    def is_link(self) -> bool:
        return bool(self.mode & _LINK)

    @property
    def is_file(self) -> bool:
        return not self.mode & _NO_FILE

    @property
    def is_folder(self) -> bool:
        return bool(self.mode & _FOLDER)


async def stat_of(client: aiodocker.Docker, native_id: str, path: str, dialect: Dialect) -> Stat:
    """What is at a path, with its mode in the bits of Go; links are not followed.

    Raises DockerError if nothing can be there. Source: https://pkg.go.dev/io/fs#FileMode
    """
    try:
        # Podman says 404 of a link that leads to nothing, and what it knows of the link.
        async with send_request(
            client, "HEAD", archive_call(native_id, path, dialect), params={}, allowed={NOT_FOUND}
        ) as response:
            header = response.headers.get("X-Docker-Container-Path-Stat", "")
            if response.status != NOT_FOUND or header:
                return msgspec.json.decode(base64.b64decode(header, _URL_ALPHABET), type=Stat)
    except aiodocker.DockerError as error:
        if error.status == NOT_FOUND:
            raise
    except (ValueError, msgspec.DecodeError) as error:
        raise EngineUnavailable(f"What {dialect.name} says of a path cannot be read.") from error
    else:
        raise aiodocker.DockerError(NOT_FOUND, f"There is no {printable(path)}.")
    # Only a GET says why, but it would read a whole folder.
    async with send_request(client, "GET", archive_call(native_id, path, dialect), params={}):
        raise EngineUnavailable(f"What {dialect.name} says of a path changes.")


def archive_call(native_id: str, path: str, dialect: Dialect) -> str:
    """The call for this path, which may contain bytes that are not text."""
    asked = SPECIAL.sub(r"\\\g<0>", path) if dialect.takes_patterns else path
    return f"/containers/{native_id}/archive?path={quote(asked, safe='', errors='surrogateescape')}"
