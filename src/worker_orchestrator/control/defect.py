"""The first broken invariant. It ends the service before harm is done."""

from __future__ import annotations

import asyncio

__all__ = ["Defect"]


class Defect:
    """Holds the first error that must not happen. From then on nothing is stored, and the service stops."""

    def __init__(self) -> None:
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_found = False
        self._first.add_done_callback(_mark_as_retrieved)  # it may come when nobody waits any more

    def report(self, error: BaseException) -> None:
        """Stop the service because of this error. Only the first one counts."""
        if not self.is_found:
            self.is_found = True
            self._first.set_exception(error)

    async def wait(self) -> None:
        """Raise the first defect as soon as there is one."""
        await asyncio.shield(self._first)


def _mark_as_retrieved(first: asyncio.Future[None]) -> None:
    if not first.cancelled():
        first.exception()
