"""What there is in a folder of a sandbox, and making, moving and removing it: short commands as the user who asks.

The worker needs `sh`, `find`, `stat` and `readlink`, as busybox and the GNU tools have them.
"""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Exec
from worker_orchestrator.http.e2b import connect
from worker_orchestrator.http.e2b.access import Access
from worker_orchestrator.http.e2b.messages import ListDirRequest, MoveRequest, PathRequest
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.e2b.users import User, Users

__all__ = ["DEEPEST", "Filesystem", "entries_in"]

_LIMIT_S: Final = 30.0
DEEPEST: Final = 64
_FORMAT: Final = "%f %s %Y %U %G %n"
_LINE: Final = re.compile(r"([0-9a-f]+) ([0-9]+) (-?[0-9]+) (\S+) (\S+) (/.*)", re.DOTALL)
_MISSING, _NO_FOLDER, _IS_THERE = 3, 4, 5
_SHOW: Final = r"""
[ -e "$1" ] || [ -L "$1" ] || exit 3
stat -c "$2" -- "$1" || exit 1
printf '\0'
if [ -L "$1" ]; then printf '%s\0' "$1" "$(readlink "$1")"; fi
"""
_LIST: Final = r"""
[ -e "$1" ] || exit 3
[ -d "$1" ] || exit 4
cd "$1" || exit 1
case $PWD in /) place=/ ;; *) place=$PWD/ ;; esac
find "$place" -mindepth 1 -maxdepth "$3" -exec stat -c "$2" -- {} + || exit 1
printf '\0'
find "$place" -mindepth 1 -maxdepth "$3" -type l -exec \
  sh -c 'for it; do printf "%s\0%s\0" "$it" "$(readlink "$it")"; done' sh {} +
"""
_MAKE: Final = r"""
[ -d "$1" ] && exit 5
mkdir -p -- "$1" || exit 1
"""
_MOVE: Final = r"""
[ -e "$1" ] || [ -L "$1" ] || exit 3
[ -d "$2" ] && exit 5
case $2 in ?*/*) mkdir -p -- "${2%/*}" || exit 1 ;; esac
mv -f -- "$1" "$2" || exit 1
"""
_REMOVE: Final = r"""
[ -e "$1" ] || [ -L "$1" ] || exit 3
rm -rf -- "$1" || exit 1
"""


class Filesystem:
    """The service `filesystem.Filesystem` of E2B's agent."""

    def __init__(self, orchestrator: Orchestrator, access: Access, users: Users) -> None:
        self._orchestrator, self._access, self._users = orchestrator, access, users

    async def stat(self, request: Request) -> Response:
        asked, machine, user = await self._call(request, PathRequest)
        return connect.reply({"entry": await self._entry(machine, user, user.path(asked.path))})

    async def list(self, request: Request) -> Response:
        asked, machine, user = await self._call(request, ListDirRequest)
        depth = max(1, asked.depth)
        if depth > DEEPEST:
            raise Refusal.invalid(f"depth is {depth}, but must be at most {DEEPEST}.")
        told = await self._run(machine, user, _LIST, user.path(asked.path), _FORMAT, str(depth))
        return connect.reply({"entries": entries_in(told)})

    async def make(self, request: Request) -> Response:
        asked, machine, user = await self._call(request, PathRequest)
        path = user.path(asked.path)
        await self._run(machine, user, _MAKE, path)
        return connect.reply({"entry": await self._entry(machine, user, path)})

    async def move(self, request: Request) -> Response:
        asked, machine, user = await self._call(request, MoveRequest)
        destination = user.path(asked.destination)
        await self._run(machine, user, _MOVE, user.path(asked.source), destination)
        return connect.reply({"entry": await self._entry(machine, user, destination)})

    async def remove(self, request: Request) -> Response:
        asked, machine, user = await self._call(request, PathRequest)
        await self._run(machine, user, _REMOVE, user.path(asked.path))
        return connect.reply({})

    async def _call(self, request: Request, kind: type[Any]) -> tuple[Any, Machine, User]:
        machine = await self._access.machine_of(request)
        return await connect.unary(request, kind), machine, await self._users.of(request, machine)

    async def _entry(self, machine: Machine, user: User, path: str) -> dict[str, Any]:
        found = entries_in(await self._run(machine, user, _SHOW, path, _FORMAT))
        if not found:
            raise Refusal(404, "not_found", f"The path {path!r} does not exist.")
        return found[0]

    async def _run(self, machine: Machine, user: User, script: str, path: str, *more: str) -> str:
        """What this script says. Raises Refusal."""
        engine = self._orchestrator.engine
        assert isinstance(engine, Exec), "its user was looked up"
        words = ["sh", "-c", script, "sh", path, *more]
        work = engine.exec(machine.id, words, user=user.name, timeout_s=_LIMIT_S)
        done = await self._orchestrator.uses.during(machine, work)
        if done.exit_code == 0 and not done.truncated:
            return done.stdout.decode(errors="replace")
        if done.exit_code == _MISSING:
            raise Refusal(404, "not_found", f"The path {path!r} does not exist.")
        if done.exit_code == _NO_FOLDER:
            raise Refusal.invalid(f"The path {path!r} is not a directory.")
        if done.exit_code == _IS_THERE:
            raise Refusal(409, "already_exists", f"The directory {(more or (path,))[0]!r} is there already.")
        if done.truncated:
            raise Refusal(413, "resource_exhausted", f"There is too much in {path!r} to list. Ask for less depth.")
        said = done.stderr.decode(errors="replace").strip()[:300] or f"It took longer than {_LIMIT_S:g} s."
        raise Refusal(500, "internal", said)


def entries_in(told: str) -> list[dict[str, Any]]:
    """The entries in what the scripts say: a line of `stat` for each, NUL, and pairs of links and what they lead to."""
    lines, _, pairs = told.partition("\0")
    found: list[str] = []
    for line in lines.splitlines(keepends=True):
        if _LINE.fullmatch(line.rstrip("\n")) or not found:
            found.append(line)
        else:
            found[-1] += line  # the name goes on
    parts = pairs.split("\0")
    targets = dict(zip(parts[::2], parts[1::2], strict=False))
    matches = (_LINE.fullmatch(line.removesuffix("\n")) for line in found)
    return [_entry(match, targets) for match in matches if match is not None]


def _entry(match: re.Match[str], targets: dict[str, str]) -> dict[str, Any]:
    mode, path = int(match[1], 16), match[6]
    entry = {
        "name": path.rpartition("/")[2],
        "type": _type(mode),
        "path": path,
        "size": match[2],
        "mode": stat.S_IMODE(mode),
        "permissions": stat.filemode(mode),
        "owner": match[4],
        "group": match[5],
        "modifiedTime": datetime.fromtimestamp(int(match[3]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if path in targets:
        entry["symlinkTarget"] = targets[path]
    return entry


def _type(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "FILE_TYPE_DIRECTORY"
    if stat.S_ISLNK(mode):
        return "FILE_TYPE_SYMLINK"
    return "FILE_TYPE_FILE" if stat.S_ISREG(mode) else "FILE_TYPE_UNSPECIFIED"
