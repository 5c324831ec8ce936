"""The name of a project as a label of a host name (`my-project.localhost`), and of one of its ports (`api--my-project.…`).

Project ids are case-sensitive and wider than a label of the DNS, so only some of them stand as they are. All others are
`x--` and a part of their SHA-256, from which nobody can find the id without knowing it: who reads a label looks for the
project among those that there are (`Label.is_of`).

No two projects, and no two ports of one, share a label. https://www.rfc-editor.org/rfc/rfc1123#section-2.1
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from worker_orchestrator.core.project import is_project_id

__all__ = ["LONGEST_LABEL", "LONGEST_PLAIN", "Label", "label_of", "name_of", "read_label"]

LONGEST_PLAIN: Final = 40
LONGEST_LABEL: Final = 63
_DIGEST: Final = 32
_HASHED: Final = "x--"
_BETWEEN: Final = "--"
_PLAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_PORT: Final = re.compile(r"[a-z][a-z0-9-]*")
_LABEL: Final = re.compile(rf"(?:(?P<port>.+)--)??x--(?P<digest>[a-z2-7]{{{_DIGEST}}})")


@dataclass(frozen=True, slots=True)
class Label:
    """What a label says. `project` is None if it only says the `digest` of its id. `port` is empty for the first port."""

    port: str = ""
    project: str | None = None
    digest: str = ""

    def is_of(self, project: str) -> bool:
        """Whether it names this project, or one of its ports."""
        return project == self.project if self.project is not None else _digest_of(project) == self.digest


def name_of(project: str) -> str:
    """The name of this project in a host name."""
    return project if _is_plain(project) else _hashed(project)


def label_of(project: str, port: str = "") -> str | None:
    """The label of this project, or of its port of this name. None if that would be longer than a label may be."""
    name = name_of(project)
    if not port:
        return name
    label = f"{port}{_BETWEEN}{name}"
    read = read_label(label)
    if read is None or not read.is_of(project):  # it is too long, or says something else
        label = f"{port}{_BETWEEN}{_hashed(project)}"
    return label if len(label) <= LONGEST_LABEL else None


def read_label(label: str) -> Label | None:
    """What this label, in lower case, says; None if no project has it."""
    if len(label) > LONGEST_LABEL:
        return None
    hashed = _LABEL.fullmatch(label)
    if hashed is not None:
        port = hashed["port"] or ""
        return Label(port, digest=hashed["digest"]) if not port or _PORT.fullmatch(port) else None
    port, between, name = label.rpartition(_BETWEEN)
    if between and not _PORT.fullmatch(port):
        return None
    return Label(port, name) if _is_plain(name) else None


def _is_plain(project: str) -> bool:
    """Whether an id stands as it is."""
    is_short = len(project) <= LONGEST_PLAIN and _BETWEEN not in project
    return is_short and _PLAIN.fullmatch(project) is not None and is_project_id(project)


def _hashed(project: str) -> str:
    return f"{_HASHED}{_digest_of(project)}"


@lru_cache(maxsize=16_384)
def _digest_of(project: str) -> str:
    """160 bits of it, so that nobody finds two projects with the same one.

    They are kept, since a visitor who asks for one has it compared with that of each project.
    """
    return base64.b32encode(hashlib.sha256(project.encode()).digest()).decode().lower()[:_DIGEST]
