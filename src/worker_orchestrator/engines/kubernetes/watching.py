"""Tells what changes, from one watch however many pools there are, and knows since when a pod's node has not reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Final

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.base import INSTANCES, EndOf
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.calls import looking
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.listing import instance_of, is_lost
from worker_orchestrator.engines.kubernetes.pods import Pod, list_pods, watch_pods
from worker_orchestrator.engines.kubernetes.reach import KubernetesReach

__all__ = ["KubernetesWatching", "sign_of"]

_OVER: Final = frozenset({Status.EXITED})
_SERVES_NOT: Final = frozenset({Status.TERMINATING, Status.UNKNOWN})


def sign_of(before: Instance | None, after: Instance | None) -> str | None:
    """What a change of one instance says to who watches (None of them: it is not there); None if nothing changed for us."""
    if before == after:
        return None
    if after is None:
        assert before is not None, "they differ"
        return None if before.status in _OVER else EndOf(before.id)
    was = before.status if before is not None else None
    if after.status in _OVER:
        return EndOf(after.id) if was not in _OVER else INSTANCES
    return after.id if was is not None and (after.status in _SERVES_NOT or was in _SERVES_NOT) else INSTANCES


class KubernetesWatching(KubernetesReach):
    """Follows the pods of a namespace."""

    def __init__(self, client: Client, owner: str, options: Mapping[str, DockerOptions]) -> None:
        super().__init__(client, owner, options)
        self._lost: dict[str, float] = {}  # by uid: since when (loop time) its node has not reported
        self._translated: dict[str, tuple[Pod, Instance]] = {}  # by machine id, of the last listing

    def _instance(self, pod: Pod) -> Instance:
        uid = pod["metadata"]["uid"]
        if is_lost(pod):
            return instance_of(pod, self._lost.setdefault(uid, asyncio.get_running_loop().time()))
        self._lost.pop(uid, None)
        return instance_of(pod)

    def _instances(self, pods: Iterable[Pod]) -> dict[str, Instance]:
        """By machine id, which is the name of the pod. What the last listing had as well is not translated again."""
        read: dict[str, tuple[Pod, Instance]] = {}
        for pod in pods:
            before = self._translated.get(pod["metadata"]["name"])
            is_known = before is not None and before[0] is pod and before[1].unreachable_since is None
            read[pod["metadata"]["name"]] = before if before is not None and is_known else (pod, self._instance(pod))
        self._translated = read
        return {instance.id: instance for _, instance in read.values()}

    async def watch(self) -> AsyncGenerator[str | None, None]:
        """One item when the stream is open, and one for each change that concerns us."""
        known: dict[str, Instance] = {}
        while True:
            with looking("watch pods"):
                pods, version = await list_pods(self._client)
                now = self._instances(pods)
                signs = [sign_of(known.get(each), now.get(each)) for each in known.keys() | now.keys()] if known else []
                known, is_open = now, False
                async with aclosing(watch_pods(self._client, version)) as events:
                    async for event in events:
                        if event is None:
                            if not is_open:
                                is_open = True
                                yield None
                                for sign in signs:
                                    if sign is not None:
                                        yield sign
                            continue
                        sign = self._take(known, *event)
                        if sign is not None:
                            yield sign

    def _take(self, known: dict[str, Instance], kind: str, pod: Pod) -> str | None:
        """What this event says; `known` is brought up to date."""
        after = self._instance(pod)
        if self.in_term is not None and after.owner == self._owner:
            if kind == "DELETED":
                self.in_term.gone(after.id)
            else:
                self.in_term.heard(pod)
        before = known.get(after.id)
        if kind != "DELETED":
            known[after.id] = after
            return sign_of(before, after)
        self._lost.pop(after.native_id, None)
        if before is None or before.native_id != after.native_id:
            return INSTANCES
        del known[after.id]
        return sign_of(before, None) or INSTANCES

    async def until_shown(self, machine_id: str) -> None:  # noqa: ARG002 # a listing is never older than what a watch told
        return
