"""A TOML file with settings, and where in it a key stands, for people."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.errors import InvalidSetting

__all__ = ["TomlFile", "printable", "read_toml"]

_MOST_LINES: Final = 400
"""A line is looked for only in files of this length, since each beginning of the file is parsed for it."""


@dataclass(frozen=True, slots=True)
class TomlFile:
    """What a file holds. Keys lead to a value from the top: names of tables and keys, and numbers of elements of arrays."""

    path: Path
    text: str
    table: Mapping[str, Any]

    def source(self, *keys: str | int) -> str:
        """A value for people, such as "memory in [pools.web] of orchestrator.toml"."""
        table = f"{_header(keys[:-1])} of " if len(keys) > 1 else ""
        return f"{printable(str(keys[-1]))} in {table}{self.path}"

    def place(self, *keys: str | int) -> str:
        """As `source`, with the line where that is certain."""
        return self.source(*keys) + self._line(keys)

    def place_of_table(self, *keys: str | int) -> str:
        """A table for people, such as "[pools.web] of orchestrator.toml (line 12)"."""
        return f"{_header(keys)} of {self.path}{self._line(keys)}"

    def _line(self, keys: Sequence[str | int]) -> str:
        line = _line_of(self.text, keys)
        return f" (line {line})" if line else ""


def read_toml(path: Path) -> TomlFile:
    """Raises InvalidSetting."""
    try:
        text = path.read_text(encoding="utf-8")
        return TomlFile(path, text, tomllib.loads(text))
    except OSError as error:
        raise InvalidSetting(f"The configuration file {path} cannot be read: {error.strerror}.") from None
    except RecursionError:
        raise InvalidSetting(f"The configuration file {path} is nested too deeply.") from None
    except ValueError as error:  # wrong TOML, wrong UTF-8, or a number with more digits than Python reads
        raise InvalidSetting(f"The configuration file {path} is not valid TOML: {printable(str(error))}.") from None


def printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _header(keys: Sequence[str | int]) -> str:
    """The header of a table in the file: [pools.web], or [[pools.web.windows]] for an element of an array."""
    name = ".".join(printable(key) for key in keys if isinstance(key, str))
    return f"[[{name}]]" if isinstance(keys[-1], int) else f"[{name}]"


def _line_of(text: str, keys: Sequence[str | int]) -> int | None:
    """The line on which the statement begins that sets this value: it is in no shorter beginning of the file."""
    lines = text.split("\n")
    parsed = 0
    for count in range(1, len(lines) + 1) if len(lines) <= _MOST_LINES else ():
        try:
            table = tomllib.loads("\n".join(lines[:count]) + "\n")
        except (ValueError, RecursionError):  # the value goes on
            continue
        if _has(table, keys):
            return parsed + 1
        parsed = count
    return None


def _has(table: Any, keys: Sequence[str | int]) -> bool:
    for key in keys:
        try:
            table = table[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True
