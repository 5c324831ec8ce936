"""Which hosts are those of previews: all names below their domain, but for those that are the service's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from worker_orchestrator.http.access.authority import hostname

__all__ = ["NO_HOSTS", "PreviewHosts"]


class PreviewHosts:
    """`domain` is what they end with. `own` are names below it under which the service itself is called."""

    def __init__(self, domain: str, own: Iterable[str] = ()) -> None:
        self.domain = domain.lower().strip(".")
        self._end = f".{self.domain}"
        names = (name.lower().rstrip(".") for name in own)
        self.own = frozenset(name for name in names if name.endswith(self._end))

    def __contains__(self, authority: object) -> bool:
        """Whether this host, with or without a port, is one of a preview."""
        name = hostname(authority) if isinstance(authority, str) else None
        return name is not None and name.endswith(self._end) and name not in self.own

    def label(self, host: str) -> str | None:
        """What stands before the domain, in lower case; None if that is not one label."""
        name = hostname(host)
        if name is None or not name.endswith(self._end) or name in self.own:
            return None
        label = name[: -len(self._end)]
        return None if "." in label else label


NO_HOSTS: Final[tuple[str, ...]] = ()
"""Where there are no previews."""
