"""A look into a worker by its own page, which runs a script: so it needs no daemon. What has it, and where?"""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.values import RUNS_FILE, marks_in
from tests.integration.calling import call
from tests.integration.late_service import DIRECTORY

__all__ = ["Look", "look_into"]

TIMEOUT_S: Final = 5.0
_SCRIPT: Final = f"""
ready() {{ [ -f ready ] && stat -c '%i %z' ready; }}
{{
hostname; echo --
cd {DIRECTORY} || exit 1
ready; echo --
tar -c -f - . | base64; echo --
ready; echo --
cat $(find /dev/shm -type f) /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep '[p]lanted-c'; echo --
cat {RUNS_FILE}; echo --
}} 2>/dev/null
"""
_SECTIONS: Final = 6


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. `host`: the beginning of the container's id. `ready`: it was there, the same one all the time.

    `files` are those of the folder by their paths, `marks` whose values were seen anywhere, `runs` what hooks noted.
    """

    host: str
    ready: bool
    files: Mapping[str, bytes]
    marks: frozenset[tuple[str, int]]
    runs: Sequence[str]


def look_into(port: int) -> Look | None:
    """What is in the worker that answers there; None if it does not, or ended meanwhile."""
    try:
        answer = call(port, "POST", "/cgi-bin/run", _SCRIPT.encode(), timeout_s=TIMEOUT_S)
    except (OSError, http.client.HTTPException):
        return None
    if answer.status != http.client.OK:
        return None
    return parsed(answer.text)


def parsed(said: str) -> Look | None:
    """None of what is not whole."""
    sections = [section.strip("\n") for section in said.split("--\n")]
    if len(sections) == 2:
        return Look(sections[0], ready=False, files={"(no folder)": b""}, marks=frozenset(), runs=())
    if len(sections) != _SECTIONS + 1:
        return None
    host, before, packed, after, elsewhere, runs = sections[:_SECTIONS]
    try:
        files = _unpacked(base64.b64decode(packed, validate=False))
    except (binascii.Error, tarfile.TarError, EOFError):
        return None
    marks = marks_in(elsewhere.encode()).union(*map(marks_in, files.values()))
    return Look(host, bool(before) and before == after, files, frozenset(marks), runs.splitlines())


def _unpacked(archive: bytes) -> dict[str, bytes]:
    """A link, and a file that ended while it was read, count as files with these names."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as entries:
        for entry in entries:
            if not entry.isdir():
                file = entries.extractfile(entry) if entry.isreg() else None
                found[entry.name.removeprefix("./")] = b"(no file)" if file is None else file.read()
    return found
