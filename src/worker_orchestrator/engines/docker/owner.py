"""Whose number a container's user has. No I/O.

Source: https://docs.docker.com/reference/dockerfile/#user
"""

from __future__ import annotations

from typing import Final

from worker_orchestrator.engines.late_archive import Owner

__all__ = ["numeric_owner", "owner_named"]

_MOST: Final = 2**32 - 2


def numeric_owner(user: str) -> Owner | None:
    """The numbers in what Docker calls a user: a name or number, and perhaps a group. None if it is by name.

    Files that only their owner may read do not need the right group: where it is not given as a number it is 0.
    """
    name, _, group = user.partition(":")
    number = _number(name) if name else 0
    return None if number is None else (number, _number(group) or 0)


def owner_named(user: str, passwd: str) -> Owner | None:
    """The same of one by name, by the lines of the container's /etc/passwd; None if it is not there."""
    name, _, group = user.partition(":")
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and fields[0] == name:
            number, own_group = _number(fields[2]), _number(fields[3])
            if number is not None:
                given = _number(group)
                return number, (own_group or 0) if given is None else given
    return None


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 10
    return int(text) if is_number and int(text) <= _MOST else None
