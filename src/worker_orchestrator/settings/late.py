"""How workers take values when they are running already: the settings for that, and what goes with them.

A file may give them as one table, `late = { dir = ..., hook = [...], post = ..., timeout = ... }`. Such a table is a whole:
a pool that has one takes over nothing of the one outside of its table.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.toml_file import TomlFile

__all__ = [
    "LATE",
    "LATE_SETTINGS",
    "TIMEOUT_S",
    "command",
    "contradictions_of_late",
    "directory",
    "unfolded",
]

LATE: Final = "late"
"""The key of the table."""
TIMEOUT_S: Final = 60.0
_KEYS: Final = ("dir", "hook", "post", "timeout")
LATE_SETTINGS: Final = tuple(f"{LATE}_{key}" for key in _KEYS)
"""The settings that the table has."""

_FOLDER: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._@+-]{1,128}){1,16}", re.ASCII)
_SYSTEM: Final = frozenset({"/tmp", "/bin", "/etc", "/lib", "/lib64", "/sbin", "/usr"})  # noqa: S108 # names that are refused
_KERNEL: Final = frozenset({"proc", "sys", "dev"})
_LONGEST: Final = 255


def directory(value: Any) -> str:
    """A folder of a worker that is covered by one in memory. Raises ValueError with what is allowed."""
    said = value.rstrip("/") if isinstance(value, str) else ""
    is_fit = _FOLDER.fullmatch(said) and len(said) <= _LONGEST
    if not is_fit or said in _SYSTEM or said.split("/")[1] in _KERNEL:
        raise ValueError(
            "an absolute path of letters, digits and . _ @ + - that is not /, /tmp or a system folder, and not below "
            "/proc, /sys or /dev, such as /run/project"
        )
    return said


def command(value: Any) -> tuple[str, ...]:
    """From a list of words or, in a flag or variable, a text that is split as a shell splits it; empty for none."""
    said = "a command and its arguments, such as /app/configure --fast; a file has a list of them"
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:
            raise ValueError(f"{said}; one quote is not closed") from None
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise ValueError(said)
    if value and not value[0].strip():
        raise ValueError(f"{said}; the first word is empty")
    if any("\0" in word or not word.isprintable() for word in value):
        raise ValueError(f"{said}; they are printable text")
    return tuple(value)


def unfolded(file: TomlFile, *above: str) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """All keys of a table of the file, with their names as settings and their raw values; those in `late` among them.

    `above` leads to the table. Raises InvalidSetting.
    """
    table: Mapping[str, Any] = file.table
    for key in above:
        table = table[key]
    names = {key.replace("-", "_"): key for key in table}
    for key, raw in table.items():
        name = key.replace("-", "_")
        if name != LATE:
            yield (*above, key), name, raw
            continue
        for keys, inner, value in _in_late(file, (*above, key), raw):
            if inner in names:
                raise InvalidSetting(
                    f"{file.place(*above, names[inner])} is also in the table {LATE}. Set it in one of these places only."
                )
            yield keys, inner, value


def _in_late(file: TomlFile, keys: tuple[str, ...], table: Any) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    if not isinstance(table, Mapping):
        raise InvalidSetting(
            f"{file.place(*keys)} must be a table with some of {', '.join(_KEYS)}, such as "
            'late = { dir = "/run/project", hook = ["/app/configure"] }.'
        )
    for key, raw in table.items():
        if key not in _KEYS:
            raise InvalidSetting(
                f"{file.place(*keys, key)} is not a key of {LATE}. The keys of {LATE} are: {', '.join(_KEYS)}."
            )
        yield (*keys, key), f"{LATE}_{key}", raw


def contradictions_of_late(  # the settings that go together
    folder: str, hook: tuple[str, ...], post: str, timeout_s: float, on_failure: str, on_release: str
) -> Iterator[str]:
    """What of this does not go together, as sentences that begin with a setting."""
    if hook and not folder:
        yield f"late_hook is {shlex.join(hook)!r}, which needs late_dir: the hook reads there what it is to set up."
    if post and on_release == "reuse":
        yield (
            f"late_post is {post!r}, which needs on_release to be recycle, but it is reuse: the project that had a machine "
            "before knows the token with which values are posted to it."
        )
    if folder or post:
        return
    if on_failure != "keep":
        yield f"on_setup_failure is {on_failure}, but neither late_dir nor late_post is set, so nothing is set up."
    if timeout_s != TIMEOUT_S:
        yield f"late_timeout is {timeout_s:g}, but neither late_dir nor late_post is set, so nothing is set up."
