"""The JSON shapes of where a worker is seen: its ports by name, and links to its preview. A part of `wire/v1.py`."""

from __future__ import annotations

from datetime import datetime

import msgspec

__all__ = ["Link", "LinkBody", "PreviewTarget", "PublishedPort"]


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a worker that its pool gave a name: where it is on the host. `url` is None once the container is gone.

    `preview_url` is as in `Machine`.
    """

    port: int
    url: str | None
    preview_url: str | None = None


class LinkBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`seconds`: for how long the link is good; None: an hour. `port`: of the worker, by its name; None: the first one."""

    seconds: float | None = None
    port: str | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A URL by which the preview of a project is seen. `expires_at` is None where everybody may see it anyway."""

    project: str
    machine: str
    generation: int
    url: str
    expires_at: datetime | None


class PreviewTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The worker to which the host of a preview leads: `target` is its address and port, `host` the Host that it is told."""

    project: str
    target: str
    host: str
