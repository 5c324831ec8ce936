"""Recognises what Docker says in place of a command that it could not start, and says it as a shell would.

Docker may answer as if the command ran: then its own words are on standard output, and the exit code is 126, whatever the
cause. Or it refuses the start with the same words. What the kernel refuses to run, runc says on standard error, with code 1
or 255.

A worker may write anything, so what is looked at is short, and what looks at it takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["NOT_EXECUTABLE", "NOT_FOUND", "Unstarted", "goes_on", "may_be_refusal", "unstarted"]

NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
"""The exit codes by which a shell tells the two apart."""
_LONGEST: Final = 4096
"""In bytes, or characters: beyond that it is output of the command."""
_DOCKER: Final = re.compile(
    r"(?:OCI runtime exec failed|rpc error: .*oci runtime error|unable to find (?:user|group)) ?"
)
_RUNTIME: Final = re.compile(
    r"exec(?: [^\n]*)?: (?:no such file or directory|permission denied|exec format error|argument list too long)\n",
    re.IGNORECASE,
)
"""What runc and crun say themselves."""
_PODMAN: Final = re.compile(r"Error: [a-z]{1,20}: [^\n]*: OCI [^\n]*\n")
"""What Podman says on standard error, with the name of the runtime. It goes on about the connection that it then loses."""
_GOES_ON: Final = re.compile(rb"Error: read unixpacket [^\n]*\n")
_NOBODY: Final = re.compile(r"unable to find (user|group) ([^:\s]{1,256}): no matching entries")
_FOLDER: Final = re.compile(
    r'chdir to (?:cwd \(\\?"|`)([^"`\r\n]{0,4096}?)(?:\\?"\)|`)(?: set in config\.json)?(?: failed)?: ([A-Za-z ]{1,80})'
)
_CODES_OF_DOCKER: Final = (NOT_EXECUTABLE, NOT_FOUND)
_CODES_OF_RUNTIME: Final = (1, 255)
_SHOWN: Final = 200


class Unstarted(NamedTuple):
    """A command that was not started: the exit code of a shell, and a sentence that ends its line."""

    exit_code: int
    sentence: str


def may_be_refusal(data: bytes, *, is_error: bool) -> bool:
    """Whether the first bytes that came on one stream may be no output of the command, but be said in its place."""
    if len(data) > _LONGEST:
        return False
    text = data.decode(errors="replace")
    if is_error:
        return _RUNTIME.fullmatch(text) is not None or _PODMAN.fullmatch(text) is not None
    return _DOCKER.match(text) is not None and text.endswith("\r\n")


def goes_on(data: bytes) -> bool:
    """Whether the next bytes on standard error may belong to what was said in place of the command."""
    return len(data) <= _LONGEST and _GOES_ON.fullmatch(data) is not None


def unstarted(
    said: str, exit_code: int | None, command: Sequence[str], *, user: str = "", workdir: str = ""
) -> Unstarted | None:
    """What this means, if it is all that was said; None if the command itself said it. `exit_code`: None for a refusal.

    A command may be a Docker client itself: what Docker says counts only if it names what was asked for here.
    """
    said = said[:_LONGEST]
    if exit_code is None or exit_code in _CODES_OF_DOCKER:
        is_engines = _DOCKER.match(said) or _PODMAN.match(said)
        is_of_this = is_engines and (exit_code is None or _is_of_this(said, command[0], user, workdir))
        return _of_engine(said, command) if is_of_this else None
    if exit_code in _CODES_OF_RUNTIME:
        for begin in (f"exec {command[0]}: ", f"exec `{command[0]}`: ", "exec: "):  # the last: crun 1.21
            if said.startswith(begin):
                return _of_program(said.removeprefix(begin), command[0], is_found=True)
    return None


def _is_of_this(said: str, program: str, user: str, workdir: str) -> bool:
    """Whether these words of Docker name this program, user or folder. Without a `workdir` it is the image's."""
    if nobody := _NOBODY.search(said):
        return nobody[2] in user.split(":")
    if folder := _FOLDER.search(said):
        return workdir in {"", folder[1]}
    return any(begin in said for begin in (f'exec: "{program}"', f'exec: \\"{program}\\"', f"`{program}`"))


def _of_engine(said: str, command: Sequence[str]) -> Unstarted:
    if nobody := _NOBODY.search(said):
        return _line(NOT_EXECUTABLE, f"The worker has no {nobody[1]} {_quoted(nobody[2])}.")
    if folder := _FOLDER.search(said):
        if "no such file" in folder[2].lower():
            return _line(NOT_EXECUTABLE, f"The worker has no folder {_quoted(folder[1])} to run the command in.")
        return _line(
            NOT_EXECUTABLE, f"The command cannot run in the folder {_quoted(folder[1])} of the worker: {folder[2]}."
        )
    return _of_program(said, command[0], is_found=False)


def _of_program(why: str, program: str, *, is_found: bool) -> Unstarted:
    """`is_found`: the file is there, so that what is missing is what it needs."""
    name, why = _quoted(program), why[:_LONGEST]
    lower = why.lower()
    if "executable file not found in $path" in lower or "` not found in $path" in lower:
        return _line(NOT_FOUND, f"The worker has no program {name} in its PATH.")
    if "no such file or directory" in lower or "not a directory" in lower:
        missing = f"The worker has no file {name}."
        needs = f"{name} cannot be run: the worker lacks the interpreter or the loader that it names."
        return _line(NOT_FOUND, needs if is_found else missing)
    if "permission denied" in lower:
        return _line(NOT_EXECUTABLE, f"{name} is not executable in the worker, or not for this user.")
    if "exec format error" in lower:
        return _line(NOT_EXECUTABLE, f"{name} is no program that the worker can run. A script begins with #!/bin/sh.")
    if "argument list too long" in lower:
        return _line(NOT_EXECUTABLE, "The command and its variables are too long for the worker. Copy a file instead.")
    return _line(NOT_EXECUTABLE, f"{name} could not be started. The engine says: {plain(why, _SHOWN)}")


def _quoted(word: str) -> str:
    return f'"{plain(word, _SHOWN)}"'


def _line(exit_code: int, sentence: str) -> Unstarted:
    return Unstarted(exit_code, f"orchestrator: {sentence}\n")
