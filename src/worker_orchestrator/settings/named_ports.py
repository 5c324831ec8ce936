"""The ports of a worker by name: how they are read, and what goes with them.

`worker_port` and `ports` are two ways to say one thing. Where settings of two places meet, whichever is given in the place
that wins displaces the other one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from worker_orchestrator.settings.parsers import number
from worker_orchestrator.settings.values import Value

__all__ = ["contradictions_of_ports", "named_ports", "without_displaced"]

_NamedPorts = tuple[tuple[str, int], ...]
"""Names with ports of the container, the worker's own first. The order counts, so it is no mapping."""

_MOST: Final = 16
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SAID: Final = (
    f"at most {_MOST} names with different ports of the container, such as http=3000; a name has 1 to 31 lower-case "
    "letters, digits and hyphens, and begins with a letter"
)
_port: Final = number(1, 65535)
_ONE_OF_TWO: Final = ("worker_port", "ports")


def named_ports(value: Any) -> _NamedPorts:
    """From a TOML table, a list of NAME=N or, in a variable, a text with commas. Raises ValueError with what is allowed."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise ValueError(_SAID)
        texts = [text for item in items for text in item.split(",") if item]
        pairs = [(name.strip(), port) for name, _, port in (text.partition("=") for text in texts)]
    found = dict[str, int]()
    for name, port in pairs:
        if not _NAME.fullmatch(name) or name in found:
            raise ValueError(_SAID)
        try:
            found[name] = _port(port)
        except ValueError:
            raise ValueError(_SAID) from None
    if len(found) > _MOST or len(set(found.values())) < len(found):
        raise ValueError(_SAID)
    return tuple(found.items())


def contradictions_of_ports(worker_port: int | None, ports: _NamedPorts, ready_port: str) -> Iterator[str]:
    """What of this does not go together, as sentences that begin with a setting."""
    if worker_port is not None and ports:
        yield f"worker_port is {worker_port}, and ports says which ports the worker has as well. Set only one of them."
    names = [name for name, _ in ports]
    if ready_port and not names:
        yield f"ready_port is {ready_port!r}, but ports gives no port a name."
    elif ready_port and ready_port not in names:
        yield f"ready_port is {ready_port!r}, but must be one of the names in ports: {', '.join(names)}."


def without_displaced(lower: Mapping[str, Value], upper: Mapping[str, Value]) -> dict[str, Value]:
    """What still holds of the settings `lower` beside those of `upper`, which win."""
    if not any(name in upper for name in _ONE_OF_TWO):
        return dict(lower)
    names = dict(upper["ports"].value) if "ports" in upper else {}
    left_out = {*_ONE_OF_TWO}
    if "ready_port" in lower and lower["ready_port"].value not in names:
        left_out.add("ready_port")
    return {name: value for name, value in lower.items() if name not in left_out}
