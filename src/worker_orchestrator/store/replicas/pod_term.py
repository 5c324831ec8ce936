"""The term of a leader, as its engine needs it: on each pod that is made, and looked for before one is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from worker_orchestrator.errors import EngineUnavailable, StoreError
from worker_orchestrator.store.cluster.calls import Outdated, Steps
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.objects import Pod, pod_body, pod_of
from worker_orchestrator.store.replicas.taking import Steward

__all__ = ["PodTerm"]

_log = structlog.get_logger(__name__)


class PodTerm:
    """What `engines/kubernetes/in_term.py` asks for. `lost` is told what shows that somebody else leads."""

    def __init__(
        self, ledger: Ledger, steward: Steward, leads: Callable[[], bool], lost: Callable[[Outdated], None]
    ) -> None:
        self._ledger, self._steward, self._leads, self._lost = ledger, steward, leads, lost

    def stamped(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        self._insist()
        return pod_body(pod, self._ledger.term)

    def heard(self, pod: Mapping[str, Any]) -> None:
        try:
            self._ledger.note_pod(pod)
        except StoreError as error:
            _log.warning("a pod cannot be read", why=error.message)

    def gone(self, name: str) -> None:
        self._ledger.forget_pod(name)

    async def listed(self, pods: Iterable[Mapping[str, Any]]) -> None:
        self._insist()
        for pod in pods:
            try:
                late = pod_of(pod)
            except StoreError as error:
                _log.warning("a pod cannot be read", why=error.message)
                continue
            if late.term == self._ledger.term:
                self._ledger.note_pod(pod)
            else:
                await self._remove(late)

    async def _remove(self, late: Pod) -> None:
        """Remove what an older leader made and nobody knew when this term began. If it is a project's, we lead no more."""
        try:
            await self._steward.take(_removed(self._ledger, late))
        except Outdated as error:
            self._lost(error)
            raise _no_more() from error
        _log.info("a pod of an earlier leader came late, and is removed", pod=late.name)

    def version_of(self, pod: Mapping[str, Any]) -> str:
        self._insist()
        try:
            found = pod_of(pod)
        except StoreError as error:
            raise EngineUnavailable(error.message) from error
        if found.term != self._ledger.term:
            raise EngineUnavailable(f"The pod {found.name} is of the term of {found.term.leader or 'nobody'}.")
        return found.version

    def _insist(self) -> None:
        if not self._leads():
            raise _no_more()


def _removed(ledger: Ledger, late: Pod) -> Steps[None]:
    yield from ledger.admit(late)
    yield from ledger.remove_pod(late.name)


def _no_more() -> EngineUnavailable:
    return EngineUnavailable("This replica leads no more.")
