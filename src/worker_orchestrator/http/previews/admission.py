"""Who may see a preview: everybody, or who has a link or the token of the service.

Anyone who reaches a preview can use its worker. So where the service itself is guarded (by a token, or because other
computers reach it), its previews are as well, unless the operator says that those of a pool are for everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.door.admission import COOKIE
from worker_orchestrator.door.messages import Shown
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.previews.links import Links

__all__ = ["FOR_ALL", "Admission", "Admitted"]

PUBLIC: Final = "public"
BY_LINK: Final = "link"


@dataclass(frozen=True, slots=True)
class Admitted:
    """May see it. `is_for_all`: so may everybody. `left_s`: so long; None: without an end. `cookie`: that of who enters."""

    is_for_all: bool = False
    left_s: float | None = None
    cookie: str = ""


FOR_ALL: Final = Admitted(is_for_all=True)


class Admission:
    """`is_guarded`: previews are not for everybody unless their pool says so. `wall_s` is the time in seconds since 1970.

    `is_secure`: browsers reach previews over HTTPS.
    """

    def __init__(
        self, links: Links, callers: Callers, wall_s: Callable[[], float], *, is_guarded: bool, is_secure: bool
    ) -> None:
        self._links, self._callers, self._wall_s = links, callers, wall_s
        self._is_guarded, self._is_secure = is_guarded, is_secure

    def is_by_link(self, access: str) -> bool:
        """Whether the previews of a pool with this `preview_access` need a link."""
        return access == BY_LINK or (access != PUBLIC and self._is_guarded)

    def of(self, shown: Shown, machine: Machine | None, access: str) -> Admitted | None:
        """Whether who shows this may see the preview of the project that has this machine (None: it has none)."""
        if not self.is_by_link(access):
            return FOR_ALL
        if shown.token and self._is_right(shown):
            return Admitted()
        if machine is None:
            return None
        now = self._wall_s()
        left_s = self._links.left_s(shown.link, machine, now) if shown.link else None
        if left_s is not None:
            return Admitted(left_s=left_s, cookie=self._cookie(shown.link, left_s))
        ends = [left_s for one in shown.passes if (left_s := self._links.left_s(one, machine, now)) is not None]
        return Admitted(left_s=max(ends)) if ends else None

    def _is_right(self, shown: Shown) -> bool:
        """Wrong tokens count, but nobody can keep callers of the service itself out with them."""
        callers, token, way = self._callers, shown.token.encode("latin-1"), shown.way.encode("latin-1")
        return callers.need_token and callers.is_right_of_visitor(shown.address, token, way)

    def _cookie(self, text: str, left_s: float) -> str:
        """A page that is embedded in another site gets it over HTTPS only, and then for that site alone."""
        where = "Secure; SameSite=None; Partitioned" if self._is_secure else "SameSite=Lax"
        return f"{COOKIE}={text}; Path=/; HttpOnly; Max-Age={max(1, int(left_s))}; {where}"
